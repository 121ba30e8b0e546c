-- From a feed's bytes to text cells under the target's names; then come the rules (sift) and the merge.
-- Every rule comes from pg_catalog. The steps hand each other temp tables, made anew for each feed:
--   etl_staging  the feed as text: c1, c2, … for CSV, the column record for JSON; its ctid is the order of the file
--   etl_columns  which source column feeds which column of the target
--   etl_rejected the records put aside, by the ctid of their staged row
--   etl_cells    a view: the staged records that are whole, under the target's names, still text
--   etl_typed    what of them is new or differs from the target, with the target's types
--   etl_delta    the same as whole rows, with what the feed does not carry

create or replace function etl.target_of(feed etl.feeds)
returns regclass
language plpgsql stable
set search_path = ''
as $$
declare
  target regclass := to_regclass(feed.target);
begin
  if target is null then
    raise exception 'its table % does not exist', feed.target
      using errcode = 'undefined_table', hint = 'Create it in a migration, or correct etl.feeds.target.';
  end if;
  if etl.key_of(target) is null then
    raise exception 'its table % has no primary key', feed.target
      using errcode = 'ETL02', hint = 'Rows are updated by their key: add a primary key.';
  end if;
  return target;
end
$$;

create or replace function etl.key_of(target regclass)
returns name[]
language sql stable
set search_path = ''
as $$
  select array_agg(a.attname order by k.position)
  from pg_catalog.pg_index i
  cross join unnest(i.indkey::int2[]) with ordinality as k(attnum, position)
  join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
  where i.indrelid = target and i.indisprimary
$$;
comment on function etl.key_of(regclass) is 'The columns of the primary key, in its order; null where there is none.';

create or replace function etl.names(columns name[], template text default '%I', separator text default ', ')
returns text
language sql immutable
set search_path = ''
as $$
  select string_agg(format(template, variadic array_fill(n, array[2])), separator order by position)
  from unnest(columns) with ordinality as c(n, position)
$$;
comment on function etl.names(name[], text, text) is 'SQL text: the template filled with each column''s name, at most twice, and joined.';

create or replace function etl.stage(feed_name text, header text[], delimiter text)
returns text
language plpgsql
set search_path = ''
set client_min_messages = warning
as $$
declare
  feed etl.feeds := (select f from etl.feeds f where f.name = feed_name);
begin
  perform etl.target_of(feed);
  drop table if exists
    pg_temp.etl_staging, pg_temp.etl_columns, pg_temp.etl_rejected, pg_temp.etl_typed, pg_temp.etl_delta cascade;
  create temp table etl_rejected (
    etl_staged tid, column_name text, value text, reason text, sqlstate text, constraint_name text, raw text
  ) on commit drop;
  create temp table etl_columns (
    position bigint, source text, name name, attnum smallint, type text, base_type text, textual boolean
  ) on commit drop;
  if header is null then
    create temp table etl_staging (record text) on commit drop;
    return $copy$copy pg_temp.etl_staging from stdin (format csv, quote e'\x01', delimiter e'\x02')$copy$;
  end if;
  perform etl.map_columns(feed, header);
  execute format(
    'create temp table etl_staging (%s) on commit drop',
    (select string_agg(format('c%s text', position), ', ' order by position) from pg_temp.etl_columns)
  );
  return format('copy pg_temp.etl_staging from stdin (format csv, delimiter %L)', delimiter);
end
$$;
comment on function etl.stage(text, text[], text) is
  'Makes the staging table of a feed, for a CSV header or (header null) for JSON, and returns the COPY statement that fills it.';

create or replace function etl.map_columns(feed etl.feeds, header text[])
returns void
language plpgsql
set search_path = ''
as $$
declare
  target regclass := etl.target_of(feed);
  fault text;
begin
  insert into pg_temp.etl_columns
  select
    h.position, h.source, a.attname as name, a.attnum,
    format_type(a.atttypid, a.atttypmod) as type,
    format_type(a.atttypid, -1) as base_type,
    t.typcategory = 'S' as textual
  from unnest(header) with ordinality as h(source, position)
  left join pg_catalog.pg_attribute a
    on a.attrelid = target and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
    and a.attname = coalesce(feed.columns ->> h.source, h.source)
  left join pg_catalog.pg_type t on t.oid = a.atttypid;

  select string_agg(quote_ident(twice.source), ', ') into fault
  from (select min(c.source) as source from pg_temp.etl_columns c group by coalesce(c.name, c.source) having count(*) > 1) twice;
  if fault is not null then
    raise exception 'it names a column twice: %', fault
      using errcode = 'ETL03', hint = 'Ask the partner for distinct names, or mend etl.feeds.columns.';
  end if;

  select string_agg(quote_ident(a.attname), ', ' order by a.attnum) into fault
  from pg_catalog.pg_attribute a
  where a.attrelid = target and a.attnum > 0 and not a.attisdropped
    and (a.attname = any (etl.key_of(target)) or (a.attnotnull and not a.atthasdef and a.attidentity = ''))
    and not exists (select from pg_temp.etl_columns c where c.name = a.attname);
  if fault is not null then
    raise exception 'it lacks the key or required column %; it has %', fault, (
        select left(string_agg(quote_ident(c.source), ', ' order by c.position), 500) from pg_temp.etl_columns c
      )
      using errcode = 'ETL03', hint = 'Where the feed spells a name differently, say so in etl.feeds.columns.';
  end if;
end
$$;
comment on function etl.map_columns(etl.feeds, text[]) is
  'Fills etl_columns; name is null for a source column that the target does not have.
Raises ETL03 where a column is named twice, or the key or a NOT NULL column without default is missing.';

create or replace function etl.sift_broken(mark text, as_json boolean)
returns void
language plpgsql
set search_path = ''
as $$
begin
  execute format(
    'insert into pg_temp.etl_rejected (etl_staged, reason, sqlstate, raw)
    select s.ctid, split_part(m.message, e''\n'', 1), substr(s.%1$I, length($1) + 1, 5), substr(m.message, strpos(m.message, e''\n'') + 1)
    from pg_temp.etl_staging s
    cross join lateral substr(s.%1$I, length($1) + 6) as m(message)
    where starts_with(s.%1$I, $1)',
    case when as_json then 'record' else 'c1' end
  ) using mark;
end
$$;
comment on function etl.sift_broken(text, boolean) is
  'Puts aside the records that the loader found broken. It stages such a record as one cell: the mark, five characters of
SQLSTATE, the reason, a line end and the record as it came.';

create or replace function etl.sift_json(feed etl.feeds)
returns void
language plpgsql
set search_path = ''
as $$
declare
  keys text[];
begin
  insert into pg_temp.etl_rejected (etl_staged, reason, sqlstate, raw)
  select
    s.ctid,
    case
      when not s.record is json then 'is not valid JSON'
      when not s.record is json object then 'is not a JSON object'
      when not pg_input_is_valid(s.record, 'jsonb') then 'has a string that holds \u0000 or half of a surrogate pair'
      else 'has a key twice'
    end,
    '22032',
    s.record
  from pg_temp.etl_staging s
  where not s.record is json object with unique keys
    and not exists (select from pg_temp.etl_rejected r where r.etl_staged = s.ctid);
  if not exists (select from pg_temp.etl_staging s where s.record is json object with unique keys) then
    return;
  end if;

  select array_agg(distinct k) into keys
  from (
    select s.record from pg_temp.etl_staging s where s.record is json object with unique keys limit 1000
  ) s
  cross join json_object_keys(s.record::json) k;

  perform etl.map_columns(feed, array(
    select k from unnest(keys) k
    union
    select w.source
    from (
      select coalesce((select m.key from jsonb_each_text(feed.columns) m where m.value = a.attname limit 1), a.attname) as source
      from pg_catalog.pg_attribute a
      where a.attrelid = etl.target_of(feed) and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
    ) w
    where w.source <> all (coalesce(keys, '{}')) and exists (
      select from pg_temp.etl_staging s
      where (strpos(s.record, to_json(w.source)::text) > 0 or strpos(s.record, '\') > 0)
        and case when s.record is json object with unique keys then w.source in (select json_object_keys(s.record::json)) end
    )
  ));
end
$$;
comment on function etl.sift_json(etl.feeds) is
  'Puts aside what is no JSON object, and maps the keys: those of the first 1,000 objects, and any later one that the target has.';

create or replace function etl.name_cells(as_json boolean)
returns void
language plpgsql
set search_path = ''
as $$
declare
  carried text;
  expanded text;
  whole text;
begin
  -- OFFSET 0: without it Postgres may cast what has been put aside, before it finds that it has.
  whole := case when exists (select from pg_temp.etl_rejected) then ' where not exists (
    select from pg_temp.etl_rejected r where r.etl_staged = s.ctid
  ) offset 0' else '' end;
  if as_json then
    select
      string_agg(format('x.%I::text as %I', c.source, c.name), ', '),
      format(', json_to_record(s.record::json) as x (%s)', string_agg(
        format('%I %s', c.source, case when c.base_type in ('json', 'jsonb') then 'json' else 'text' end), ', '
      ))
    into carried, expanded
    from pg_temp.etl_columns c
    where c.name is not null;
  else
    select string_agg(format('s.c%s as %I', c.position, c.name), ', '), ''
    into carried, expanded
    from pg_temp.etl_columns c
    where c.name is not null;
  end if;
  execute format(
    'create or replace temp view etl_cells as
    select s.etl_staged, %s from (select s.ctid as etl_staged, s.* from pg_temp.etl_staging s%s) s%s', carried, whole, expanded
  );
end
$$;
comment on function etl.name_cells(boolean) is 'Makes the view etl_cells, or makes it anew without what has been put aside since.';

revoke all on all functions in schema etl from public;
