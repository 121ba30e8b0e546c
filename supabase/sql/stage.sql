-- A feed's bytes become rows of text; which of their columns feeds which of the target is settled here.
-- Every rule comes from pg_catalog. The steps of a load hand each other temp tables, made anew for each feed:
--   etl_staging   the feed as text: c1, c2, … for CSV, the column record for JSON; its ctid is the order of the file
--   etl_columns   which source column feeds which column of the target
--   etl_rejected  the records that are rejected, by the ctid of their staged row
--   etl_cells     a view: the staged records that can be read, under the target's names, still text
--   etl_typed     what of them is new or differs from the target, with the target's types
--   etl_delta     the same as whole rows, with what the feed does not carry

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
    return $copy$copy pg_temp.etl_staging (record) from stdin (format csv, quote e'\x01', delimiter e'\x02')$copy$;
  end if;
  perform etl.map_columns(feed, header);
  execute etl.fill(
    $sql$create temp table etl_staging ({columns}) on commit drop$sql$,
    jsonb_build_object(
      'columns', (select string_agg('c' || c.position || ' text', ', ' order by c.position) from pg_temp.etl_columns c)
    )
  );
  return format('copy pg_temp.etl_staging from stdin (format csv, delimiter %L)', delimiter);
end
$$;
comment on function etl.stage(text, text[], text) is
  'Makes the staging table of a feed, for a CSV header or (header null) for JSON, and returns the COPY statement
that fills it. Raises 42P01, ETL02 and ETL03 as etl.target_of() and etl.map_columns() do.';

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
comment on function etl.target_of(etl.feeds) is
  'The table that the feed loads. Raises 42P01 where it does not exist, ETL02 where it has no primary key.';

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

create or replace function etl.map_columns(feed etl.feeds, header text[])
returns void
language plpgsql
set search_path = ''
as $$
declare
  target regclass := etl.target_of(feed);
  fault text;
begin
  insert into pg_temp.etl_columns (position, source, name, attnum, type, base_type, textual)
  select
    h.position, h.source, a.attname, a.attnum,
    format_type(a.atttypid, a.atttypmod), format_type(a.atttypid, -1), t.typcategory = 'S'
  from unnest(header) with ordinality as h(source, position)
  left join pg_catalog.pg_attribute a
    on a.attrelid = target and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
    and a.attname = coalesce(feed.columns ->> h.source, h.source)
  left join pg_catalog.pg_type t on t.oid = a.atttypid;

  select string_agg(quote_ident(twice.source), ', ') into fault
  from (
    select min(c.source) as source
    from pg_temp.etl_columns c
    group by coalesce(c.name, c.source)
    having count(*) > 1
  ) twice;
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
  'Fills etl_columns; name is null for a source column that the target does not have. Raises ETL03 where a column is
named twice, or the key or a NOT NULL column without default is missing.';

revoke all on all functions in schema etl from public;
