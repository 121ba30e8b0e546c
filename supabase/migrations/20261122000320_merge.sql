-- The merge: what is new or differs goes into the target, what was put aside into etl.rejects. Read it from etl.merge at
-- the end; the steps it calls are here and in the migrations before.

create or replace function etl.complete_rows(target regclass)
returns void
language plpgsql
set search_path = ''
as $$
declare
  key name[] := etl.key_of(target);
  carried name[] := array(select c.name from pg_temp.etl_columns c where c.name is not null order by c.position);
  kept text;
  computed text;
  delta text;
begin
  -- A default that takes from a sequence is left out: a look at the rules must not move it.
  select
    string_agg(
      format('case when o.%I is not null then o.%I else %s end as %2$I', key[1], a.attname, coalesce(
        case when a.attidentity = '' and pg_get_expr(v.adbin, v.adrelid) !~ 'nextval\(' then pg_get_expr(v.adbin, v.adrelid) end, 'null'
      )), ', '
    ) filter (where a.attgenerated = ''),
    string_agg(format('%s as %I', pg_get_expr(v.adbin, v.adrelid), a.attname), ', ') filter (where a.attgenerated <> '')
  into kept, computed
  from pg_catalog.pg_attribute a
  left join pg_catalog.pg_attrdef v on v.adrelid = a.attrelid and v.adnum = a.attnum
  where a.attrelid = target and a.attnum > 0 and not a.attisdropped
    and not exists (select from pg_temp.etl_columns c where c.name = a.attname);
  if kept is null and computed is null then
    -- They are whole: no second copy of them.
    alter table pg_temp.etl_typed rename to etl_delta;
    return;
  end if;
  delta := format(
    'select %s from (select %s from pg_temp.etl_typed t left join %s o on %s) d',
    concat_ws(', ', 'd.*', computed), concat_ws(', ', 't.etl_staged', etl.names(carried, 't.%I'), format('o.%I is not null as etl_known', key[1]), kept),
    target, etl.names(key, 'o.%I = t.%I', ' and ')
  );
  perform etl.execute_on(
    target, 'etl_typed', 'create temp table etl_delta on commit drop as ' || delta, delta || ' where d.etl_staged between $1 and $2'
  );
end
$$;
comment on function etl.complete_rows(regclass) is
  'Makes etl_delta of etl_typed: whole rows, as they would be stored, with what the feed does not carry.';

create or replace function etl.keep_rejects(loaded etl.feeds, run uuid, as_json boolean)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
  as_record text := 'case when r.raw is null then jsonb_object(%L::text[], array[%s]) end, r.raw';
  gone bigint;
  written bigint;
begin
  select case when as_json
    -- Valid JSON can be no jsonb: a number with too large an exponent.
    then 'case when r.raw is null and pg_input_is_valid(s.record, ''jsonb'') then s.record::jsonb end,
      case when r.raw is not null or not pg_input_is_valid(s.record, ''jsonb'') then coalesce(r.raw, s.record) end'
    else format(as_record, array_agg(c.source order by c.position), string_agg('s.c' || c.position, ', ' order by c.position))
  end
  into as_record
  from pg_temp.etl_columns c;
  execute format(
    'create temp table etl_found (record_number, record, raw, column_name, value, reason, sqlstate, constraint_name) on commit drop as
    select n.record_number, %s, r.column_name, r.value, r.reason, r.sqlstate, r.constraint_name
    from (select distinct on (etl_staged) * from pg_temp.etl_rejected) r
    join (select ctid, row_number() over (order by ctid) as record_number from pg_temp.etl_staging) n on n.ctid = r.etl_staged
    join pg_temp.etl_staging s on s.ctid = r.etl_staged',
    as_record
  );
  delete from etl.rejects r
  where r.feed = loaded.name
    and not exists (select from pg_temp.etl_found f where f.record_number = r.record_number);
  get diagnostics gone = row_count;
  insert into etl.rejects as r
  select loaded.name, f.*, run, run
  from pg_temp.etl_found f
  on conflict (feed, record_number) do update
  set record = excluded.record, raw = excluded.raw, column_name = excluded.column_name, value = excluded.value,
    reason = excluded.reason, sqlstate = excluded.sqlstate, constraint_name = excluded.constraint_name, last_run = run
  where row(r.record, r.raw, r.column_name, r.value, r.reason, r.sqlstate, r.constraint_name) is distinct from
    row(excluded.record, excluded.raw, excluded.column_name, excluded.value, excluded.reason, excluded.sqlstate, excluded.constraint_name);
  get diagnostics written = row_count;
  drop table pg_temp.etl_found;
  return gone + written > 0;
end
$$;
comment on function etl.keep_rejects(etl.feeds, uuid, boolean) is
  'Makes etl.rejects what is wrong now, writing only what is new, other or gone; returns whether anything was.';

create or replace function etl.check_limit(feed etl.feeds, read bigint, rejected bigint, some_untried boolean default false)
returns void
language plpgsql
set search_path = ''
as $$
declare
  example text;
begin
  if rejected <= feed.reject_limit * read then
    return;
  end if;
  -- What a trigger or Postgres said may hold a value.
  select concat_ws(
    ' ', 'record', s.record_number || ',', 'column ' || r.column_name || ':',
    regexp_replace(r.reason, '^(is refused by a trigger|cannot be written): .*', '\1'), '(' || r.constraint_name || ')'
  )
  into example
  from (select ctid, row_number() over (order by ctid) as record_number from pg_temp.etl_staging) s
  join pg_temp.etl_rejected r on r.etl_staged = s.ctid
  order by s.record_number
  limit 1;
  raise exception '% of % records break a rule, more than the limit of % %%; the first is %',
      case when some_untried then 'at least ' else '' end || rejected, read, round(feed.reject_limit * 100, 2)::float8, example
    using errcode = 'ETL06', hint = 'Nothing of this feed was loaded. Have the feed mended, or raise etl.feeds.reject_limit.';
end
$$;

create or replace function etl.merge(
  feed_name text, run uuid, as_json boolean, mark text,
  out read bigint, out inserted bigint, out updated bigint, out unchanged bigint, out duplicate bigint, out rejected bigint,
  out ignored_columns text[], out changed boolean
)
language plpgsql
set search_path = ''
set datestyle = 'ISO, MDY'
set intervalstyle = 'postgres'
as $$
declare
  feed etl.feeds := (select f from etl.feeds f where f.name = feed_name);
  target regclass := etl.target_of(feed);
  caller_time_zone text := current_setting('timezone');
begin
  select count(*) into read from pg_temp.etl_staging;
  inserted := 0;
  updated := 0;
  unchanged := 0;
  duplicate := 0;
  if mark is not null then
    perform etl.sift_broken(mark, as_json);
  end if;
  if as_json and read > 0 then
    perform etl.sift_json(feed);
  end if;
  if exists (select from pg_temp.etl_staging s where not exists (select from pg_temp.etl_rejected r where r.etl_staged = s.ctid)) then
    perform set_config('timezone', feed.time_zone, true);
    perform etl.name_cells(as_json);
    unchanged := read - etl.cast_cells(target, as_json);
    unchanged := unchanged - (select count(distinct r.etl_staged) from pg_temp.etl_rejected r);
    perform etl.sift_rows(target);
    duplicate := etl.drop_duplicates(target, unchanged > 0);
    perform etl.complete_rows(target);
    perform etl.sift_checks(target);
    loop
      loop
        perform etl.sift_orphans(target);
        exit when not etl.sift_twins(target);
      end loop;
      select count(*) filter (where not d.etl_known), count(*) filter (where d.etl_known) into inserted, updated from pg_temp.etl_delta d;
      select count(distinct r.etl_staged) into rejected from pg_temp.etl_rejected r;
      exit when etl.write_delta(target, inserted, updated, floor(feed.reject_limit * read)::bigint - rejected);
      select count(distinct r.etl_staged) into rejected from pg_temp.etl_rejected r;
      perform etl.check_limit(feed, read, rejected, true);
    end loop;
    perform set_config('timezone', caller_time_zone, true);
  end if;
  select count(distinct r.etl_staged) into rejected from pg_temp.etl_rejected r;
  if read <> inserted + updated + unchanged + duplicate + rejected then
    raise exception 'the counts do not add up: % read, % inserted, % updated, % unchanged, % duplicate, % rejected',
        read, inserted, updated, unchanged, duplicate, rejected
      using errcode = 'internal_error';
  end if;
  perform etl.check_limit(feed, read, rejected);
  changed := inserted + updated > 0;
  if read = 0 then
    delete from etl.rejects r where r.feed = feed_name;
    changed := found;
  else
    changed := etl.keep_rejects(feed, run, as_json) or changed;
    ignored_columns := array(select c.source from pg_temp.etl_columns c where c.name is null order by c.position);
  end if;
end
$$;
comment on function etl.merge(text, uuid, boolean, text) is
  'Brings the staged feed into its target: casts, puts aside what breaks a rule, drops duplicates (the last record wins),
writes what is new or differs, and returns the counts. Nothing is written where nothing changed.
mark is what the cell of a broken record begins with, null where there is none. Raises ETL05 when a trigger drops rows, ETL06
above the reject limit, 40001 when another session deletes a row meanwhile.';

revoke all on all functions in schema etl from public;
