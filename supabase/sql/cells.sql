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
  usual text[] := etl.usual_keys();
  further text[];
begin
  if usual is null then
    return;
  end if;
  perform etl.map_columns(feed, etl.told_keys(feed, usual));
  further := etl.further_keys(usual, etl.may_have_more(feed));
  if further <> '{}' then
    delete from pg_temp.etl_columns;
    perform etl.map_columns(feed, etl.told_keys(feed, usual || further));
  end if;
  perform etl.join_sources();
  perform etl.check_columns(feed, etl.is_empty(etl.target_of(feed)), as_json => true);
end
$$;
comment on function etl.map_keys(etl.feeds) is
  'Fills etl_columns with the keys of the objects; with none where no record is one. Raises ETL03 as etl.check_columns()
does.';

create or replace function etl.told_keys(feed etl.feeds, keys text[])
returns text[]
language sql stable
set search_path = ''
as $$
  select case
    when cardinality(keys) <= 1600 then keys
    else array(
      select k.key
      from unnest(keys) with ordinality k(key, place)
      where k.place <= 100 or exists (
        select from etl.loadable_columns(etl.target_of(feed)) l
        where etl.near_name(l.name) = etl.near_name(etl.wanted_column(feed, k.key))
      )
      order by k.place
    )
  end
$$;
comment on function etl.told_keys(etl.feeds, text[]) is
  'All keys; of more than a table has columns those that the table has, however they are spelled, and the first hundred:
where names are values, as days or ids, there is no end of them.';

create or replace function etl.usual_keys()
returns text[]
language plpgsql
set search_path = ''
as $$
begin
  return (
    select o.keys
    from (
      select array(select json_object_keys(s.record::json)) as keys
      from (
        select s.record from pg_temp.etl_staging s where s.record is json object with unique keys limit 1000
      ) s
    ) o
    group by o.keys
    order by count(*) desc, o.keys
    limit 1
  );
end
$$;
comment on function etl.usual_keys() is
  'The keys of the most usual of the first 1,000 staged objects, in its order; null where no record is one.';

create or replace function etl.may_have_more(feed etl.feeds)
returns boolean
language sql
set search_path = ''
as $$
  select exists (
    select from etl.loadable_columns(etl.target_of(feed)) l
    where (l.name <> 'absent_since' or feed.absent <> 'mark') and (
      not exists (select from pg_temp.etl_columns c where c.name = l.name)
      or exists (
        select from jsonb_each_text(feed.columns) m
        where m.value::name = l.name and m.key not in (select c.source from pg_temp.etl_columns c)
      )
    )
  )
$$;
comment on function etl.may_have_more(etl.feeds) is
  'Whether the table has a column for a key that is not in etl_columns, but for other spellings of what is.';

create or replace function etl.further_keys(usual text[], may_have_more boolean)
returns text[]
language plpgsql
set search_path = ''
as $$
declare
  shape constant text := coalesce(
    (
      select string_agg('%' || regexp_replace(to_json(u.key)::text, '([\\%_])', '\\\1', 'g') || ':', '' order by u.n)
      from unnest(usual) with ordinality u(key, n)
    ),
    ''
  ) || '%';
  one_more constant text := repeat('%":', cardinality(usual) + 1) || '%';
begin
  return array(
    select k.key
    from (
      select json_object_keys(s.record::json) as key
      from (
        select s.record
        from pg_temp.etl_staging s
        where not exists (select from pg_temp.etl_rejected r where r.etl$staged = s.ctid)
          and (
            s.record not like shape
            -- Without an escape, and without a blank behind a quote, each key ends with '":', and nothing else does.
            or may_have_more and (
              s.record like one_more or s.record like '%" %' or s.record like e'%"\t%' or s.record like '%\\%'
            )
          )
        offset 0
      ) s
    ) k
    where k.key <> all (usual)
    group by k.key
    order by k.key
  );
end
$$;
comment on function etl.further_keys(text[], boolean) is
  'What keys there are beside the usual ones. Taken apart are the records alone whose text does not show that they have
the usual keys, and, where there may be more that counts, no other: to do so with all costs a quarter of a load.';

create or replace function etl.join_sources()
returns void
language plpgsql
set search_path = ''
as $$
begin
  update pg_temp.etl_columns c
  set others = o.sources
  from (
    select l.name, min(l.position) as position, (array_agg(l.source order by l.position))[2:] as sources
    from pg_temp.etl_columns l
    where l.name is not null
    group by l.name
    having count(*) > 1
  ) o
  where c.position = o.position;
  if found then
    delete from pg_temp.etl_columns c
    using pg_temp.etl_columns l
    where l.name = c.name and l.position < c.position;
  end if;
end
$$;
comment on function etl.join_sources() is
  'Makes one row of etl_columns of several keys that mean one column of the target: each JSON record may use another.';

create or replace function etl.validate_names()
returns void
language plpgsql
set search_path = ''
as $$
begin
  if not exists (select from pg_temp.etl_columns c where c.others is not null) then
    return;
  end if;
  insert into pg_temp.etl_rejected (etl$staged, column_name, value, reason, sqlstate)
  select s.etl$staged, c.name, used.cells[1], 'has a value under more than one name: ' || used.names, '22032'
  from (
    select s.ctid as etl$staged, s.record
    from pg_temp.etl_staging s
    where not exists (select from pg_temp.etl_rejected r where r.etl$staged = s.ctid)
    offset 0
  ) s
  cross join pg_temp.etl_columns c
  cross join lateral (
    select array_agg(cell.value order by n.place) as cells, etl.listed(array_agg(n.name order by n.place)) as names
    from unnest(c.source || c.others) with ordinality n(name, place)
    cross join lateral (select s.record::json ->> n.name as value) cell
    where cell.value is not null
  ) used
  where c.others is not null and cardinality(used.cells) > 1;
end
$$;
comment on function etl.validate_names() is
  'Rejects the JSON records that have values for one column under two names.';

create or replace function etl.cells(of_rejected boolean default false)
returns text
language plpgsql stable
set search_path = ''
as $$
declare
  as_json boolean := etl.is_staged_json();
  wide name[] := etl.wide_cells();
  of_json constant text := $sql$
    select s.etl$staged, {cells}
    from (select s.ctid as etl$staged, s.record from pg_temp.etl_staging s {readable}) s,
      json_to_record(s.record::json) as x ({keys})
  $sql$;
  of_csv constant text := $sql$
    select s.etl$staged, {cells}
    from (select s.ctid as etl$staged, s.* from pg_temp.etl_staging s {readable}) s {unpacked}
  $sql$;
begin
  return (
    select etl.fill(case when as_json then of_json else of_csv end, jsonb_build_object(
      'cells', string_agg(
        case when as_json then c.cell else etl.cell_at(c.position, wide) end || format(' as %I', c.name), ', '
      ),
      'unpacked', coalesce('cross join lateral ' || etl.unpacked(wide), ''),
      'keys', coalesce(string_agg(c.keys, ', '), 'etl$none text'),
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
        c.position, c.name,
        format(
          case when c.others is null then '%s' else 'coalesce(%s)' end, string_agg(k.cell, ', ' order by k.place)
        ) as cell,
        string_agg(k.key, ', ') as keys
      from pg_temp.etl_columns c
      cross join lateral (
        select
          n.place,
          case
            when n.is_name then format('x.%I::text', n.name)
            when n.is_json then format('(s.record::json -> %L)::text', n.name)
            else format('(s.record::json ->> %L)', n.name)
          end as cell,
          case when n.is_name then format('%I %s', n.name, case when n.is_json then 'json' else 'text' end) end as key
        from (
          select
            s.place, s.name, c.base_type in ('json', 'jsonb') as is_json,
            -- Postgres would cut the name of a column, and so not find the key; and it has no empty one.
            octet_length(s.name) between 1 and 63 as is_name
          from unnest(c.source || c.others) with ordinality s(name, place)
        ) n
      ) k
      where c.name is not null
      group by c.position, c.name, c.others
    ) c
  );
end
$$;
comment on function etl.cells(boolean) is
  'SQL text: the query for the cells, which are the staged records that are not rejected so far, under the target''s
names, still text. of_rejected: of those instead that are, and could be split.';

create or replace function etl.cell_at(place bigint, wide name[])
returns text
language sql immutable
set search_path = ''
as $$
  select coalesce('w.cells[' || array_position(wide, ('c' || place)::name) || ']', 's.c' || place)
$$;
comment on function etl.cell_at(bigint, name[]) is
  'SQL text: the cell at this place of the header, of a staged row s, beside etl.unpacked().';

create or replace function etl.unpacked(wide name[])
returns text
language sql immutable
set search_path = ''
as $$
  -- OFFSET 0: without it Postgres would read the array once for each of its cells.
  select '(select s.' || quote_ident(wide[1]) || '::text[] as cells offset 0) w'
$$;
comment on function etl.unpacked(name[]) is
  'SQL text: w, the cells that the staged row s had no room for, as etl.wide_cells() has them; null where there is
room.';

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
