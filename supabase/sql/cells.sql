-- From staged text to cells under the target's names; the records that cannot be read are rejected on the way.

create or replace function etl.find_cells(feed etl.feeds, as_json boolean, sentinel text)
returns void
language plpgsql
set search_path = ''
as $$
begin
  if sentinel is not null then
    perform etl.reject_unreadable(as_json, sentinel);
  end if;
  if as_json then
    perform etl.validate_json();
    perform etl.map_keys(feed);
  end if;
end
$$;
comment on function etl.find_cells(etl.feeds, boolean, text) is
  'Rejects the staged records that cannot be read, and for JSON maps the keys of the others.';

create or replace function etl.reject_unreadable(as_json boolean, sentinel text)
returns void
language plpgsql
set search_path = ''
as $$
begin
  execute etl.fill(
    $sql$
    insert into pg_temp.etl_rejected (etl$staged, reason, sqlstate, raw)
    select
      s.ctid, split_part(m.message, e'\n', 1), substr({cell}, length($1) + 1, 5),
      substr(m.message, strpos(m.message, e'\n') + 1)
    from pg_temp.etl_staging s
    cross join lateral substr({cell}, length($1) + 6) as m(message)
    where starts_with({cell}, $1)
    $sql$,
    jsonb_build_object('cell', case when as_json then 's.record' else 's.c1' end)
  ) using sentinel;
end
$$;
comment on function etl.reject_unreadable(boolean, text) is
  'Rejects the records that the loader could not split. It stages such a record as one cell: the sentinel, five
characters of SQLSTATE, the reason, a line end and the record as it came.';

create or replace function etl.validate_json()
returns void
language plpgsql
set search_path = ''
as $$
begin
  insert into pg_temp.etl_rejected (etl$staged, reason, sqlstate, raw)
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
    and not exists (select from pg_temp.etl_rejected r where r.etl$staged = s.ctid);
end
$$;
comment on function etl.validate_json() is 'Rejects the staged records that are no JSON object with distinct keys.';

create or replace function etl.map_keys(feed etl.feeds)
returns void
language plpgsql
set search_path = ''
as $$
declare
  keys text[];
begin
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
      select coalesce(
        (select m.key from jsonb_each_text(feed.columns) m where m.value = c.name limit 1), c.name
      ) as source
      from etl.loadable_columns(etl.target_of(feed)) c
    ) w
    where w.source <> all (coalesce(keys, '{}')) and exists (
      select from pg_temp.etl_staging s
      where (strpos(s.record, to_json(w.source)::text) > 0 or strpos(s.record, '\') > 0)
        and case
          when s.record is json object with unique keys then w.source in (select json_object_keys(s.record::json))
        end
    )
  ));
  perform etl.check_columns(feed, etl.is_empty(etl.target_of(feed)), as_json => true);
end
$$;
comment on function etl.map_keys(etl.feeds) is
  'Fills etl_columns with the keys of the first 1,000 objects, and any later one that the target has; with none
where no record is an object. Raises ETL03 as etl.check_columns() does.';

create or replace function etl.cells(of_rejected boolean default false)
returns text
language plpgsql stable
set search_path = ''
as $$
declare
  as_json boolean := etl.is_staged_json();
  of_json constant text := $sql$
    select s.etl$staged, {cells}
    from (select s.ctid as etl$staged, s.record from pg_temp.etl_staging s {readable}) s,
      json_to_record(s.record::json) as x ({keys})
  $sql$;
  of_csv constant text := $sql$
    select s.etl$staged, {cells}
    from (select s.ctid as etl$staged, s.* from pg_temp.etl_staging s {readable}) s
  $sql$;
begin
  return (
    select etl.fill(case when as_json then of_json else of_csv end, jsonb_build_object(
      'cells', string_agg(
        case
          when not as_json then 's.c' || c.position
          -- Postgres would cut the name of a column, and so not find the key.
          when c.is_long and c.is_json then format('(s.record::json -> %L)::text', c.source)
          when c.is_long then format('(s.record::json ->> %L)', c.source)
          else format('x.%I::text', c.source)
        end || format(' as %I', c.name),
        ', '
      ),
      'keys', coalesce(
        string_agg(format('%I %s', c.source, case when c.is_json then 'json' else 'text' end), ', ')
          filter (where not c.is_long),
        'etl$none text'
      ),
      'readable', case
        when of_rejected then $sql$
          where exists (select 1 from pg_temp.etl_rejected r where r.etl$staged = s.ctid and r.raw is null) offset 0
        $sql$
        when etl.rejected_count() = 0 then ''
        -- OFFSET 0: without it Postgres may cast what is rejected, before it finds that it is.
        else 'where not exists (select 1 from pg_temp.etl_rejected r where r.etl$staged = s.ctid) offset 0'
      end
    ))
    from (
      select
        c.position, c.source, c.name, octet_length(c.source) > 63 as is_long,
        c.base_type in ('json', 'jsonb') as is_json
      from pg_temp.etl_columns c
      where c.name is not null
    ) c
  );
end
$$;
comment on function etl.cells(boolean) is
  'SQL text: the query for the cells, which are the staged records that are not rejected so far, under the target''s
names, still text. of_rejected: of those instead that are, and could be split.';

create or replace function etl.is_staged_json()
returns boolean
language sql stable
set search_path = ''
as $$
  select exists (
    select from pg_catalog.pg_attribute a
    where a.attrelid = to_regclass('pg_temp.etl_staging') and a.attname = 'record'
  )
$$;
comment on function etl.is_staged_json() is 'Whether etl_staging holds JSON records, and not CSV.';

revoke all on all functions in schema etl from public;
