-- The merge: what is new or differs goes into the target, what was put aside into etl.rejects. Read it from etl.merge at
-- the end; the steps it calls are here and in the two migrations before.

create or replace function etl.find_delta(target regclass)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
  key name[] := etl.key_of(target);
  rest name[] := array(select c.name from pg_temp.etl_columns c where c.name <> all (key) order by c.position);
  kept text;
  computed text;
  same bigint;
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
  -- *<> compares what is stored, byte by byte: it needs no equality operator, and sees 1.0 become 1.00.
  execute format(
    'create temp table etl_delta on commit drop as
    select %s from (
      select %s
      from pg_temp.etl_typed t
      left join %s o on %s
      where o.%I is null or row(%s)::record operator(pg_catalog.*<>) row(%s)::record
    ) d',
    concat_ws(', ', 'd.*', computed), concat_ws(', ', 't.*', format('o.%I is not null as etl_known', key[1]), kept),
    target, etl.names(key, 'o.%I = t.%I', ' and '), key[1], etl.names(rest, 't.%I'), etl.names(rest, 'o.%I')
  );
  select (select count(*) from pg_temp.etl_typed) - (select count(*) from pg_temp.etl_delta) into same;
  return same;
end
$$;
comment on function etl.find_delta(regclass) is 'Keeps what is new or differs, in etl_delta: whole rows, as they would be stored, with what the feed does not carry.
Returns the number of records that are in the target already.';

create or replace function etl.free_values(target regclass)
returns name[]
language plpgsql
set search_path = ''
as $$
declare
  key name[] := etl.key_of(target);
  twin record;
  wanted boolean;
  loosened name[] := '{}';
begin
  for twin in
    select i.*, a.attname as freed, a.attnotnull as required
    from etl.unique_indexes(target) i
    cross join lateral (
      select a.attname, a.attnotnull
      from pg_catalog.pg_attribute a
      join pg_temp.etl_columns c on c.name = a.attname and c.name <> all (key)
      left join pg_catalog.pg_depend p
        on p.classid = 'pg_catalog.pg_class'::regclass and p.objid = i.index and p.refobjid = target and p.refobjsubid = a.attnum
      where a.attrelid = target and (a.attname = any (i.columns) or p.objid is not null)
      order by (a.attname = any (i.columns)) is true desc, a.attnotnull, a.attnum
      limit 1
    ) a
  loop
    twin.holds := format(
      'from (select %1$s, %2$s from %3$s where %4$s) e join (select %1$s, %2$s from pg_temp.etl_delta where %4$s) d on %5$s and not (%6$s)',
      etl.names(key), twin.entry, target, twin.holds, twin.same, etl.names(key, 'd.%I = e.%I', ' and ')
    );
    execute 'select exists (select ' || twin.holds || ')' into wanted;
    if wanted then
      if twin.required and twin.freed <> all (loosened) then
        execute format('alter table %s alter %I drop not null', target, twin.freed);
        loosened := loosened || twin.freed;
      end if;
      execute format('update %s o set %I = null %s where %s', target, twin.freed, twin.holds, etl.names(key, 'o.%I = e.%I', ' and '));
    end if;
  end loop;
  return loosened;
end
$$;
comment on function etl.free_values(regclass) is
  'Sets to null each unique value that a row gives up and another takes in this run, in a column that the feed carries and so
fills again: Postgres looks for twins row by row, so that two rows could not swap theirs. Where the column is NOT NULL that
is lifted, and the column returned.';

create or replace function etl.write_delta(target regclass)
returns void
language plpgsql
set search_path = ''
as $$
declare
  key name[] := etl.key_of(target);
  carried name[] := array(select c.name from pg_temp.etl_columns c where c.name is not null order by c.position);
  rest name[] := array(select c.name from pg_temp.etl_columns c where c.name <> all (key) order by c.position);
  expected bigint := (select count(*) from pg_temp.etl_delta);
  written bigint;
  updated bigint;
  loosened name[] := '{}';
begin
  if expected = 0 then
    return;
  end if;
  if exists (select from pg_temp.etl_delta d where d.etl_known) then
    loosened := etl.free_values(target);
  end if;
  -- Not all by ON CONFLICT: Postgres would try the CHECKs of a known row on defaults in place of what the feed does not carry.
  execute format(
    'insert into %s (%s) overriding system value select %2$s from pg_temp.etl_delta d where not d.etl_known on conflict (%s) do %s',
    target, etl.names(carried), etl.names(key),
    coalesce('update set ' || etl.names(rest, '%I = excluded.%I'), 'nothing')
  );
  get diagnostics written = row_count;
  if written < expected and rest <> '{}' then
    execute format(
      'update %s o set %s from pg_temp.etl_delta d where d.etl_known and %s',
      target, etl.names(rest, '%I = d.%I'), etl.names(key, 'o.%I = d.%I', ' and ')
    );
    get diagnostics updated = row_count;
    written := written + updated;
  end if;
  if written <> expected then
    raise exception '% of % rows were not written', expected - written, expected
      using errcode = 'ETL05', hint = format('A trigger or rule on %s drops rows.', target);
  end if;
  if loosened <> '{}' then
    execute format('alter table %s %s', target, etl.names(loosened, 'alter %I set not null'));
  end if;
end
$$;

create or replace function etl.keep_rejects(loaded etl.feeds, run uuid, as_json boolean)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
  as_record text := 'jsonb_object(%L::text[], array[%s]), null::text';
  gone bigint;
  written bigint;
begin
  select case when as_json
    then 'case when r.sqlstate <> ''22032'' then s.record::jsonb end, case when r.sqlstate = ''22032'' then s.record end'
    else format(as_record, array_agg(c.source order by c.position), string_agg('s.c' || c.position, ', ' order by c.position))
  end
  into as_record
  from pg_temp.etl_columns c;
  execute format(
    'create temp table etl_found (record_number, record, raw, column_name, value, reason, sqlstate, constraint_name) on commit drop as
    select s.record_number, %s, r.column_name, r.value, r.reason, r.sqlstate, r.constraint_name
    from (select ctid, row_number() over (order by ctid) as record_number, * from pg_temp.etl_staging) s
    join (select distinct on (etl_staged) * from pg_temp.etl_rejected) r on r.etl_staged = s.ctid',
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

create or replace function etl.check_limit(feed etl.feeds, read bigint, rejected bigint)
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
  select concat_ws(' ', 'record', s.record_number || ',', 'column ' || r.column_name || ':', r.reason, '(' || r.constraint_name || ')')
  into example
  from (select ctid, row_number() over (order by ctid) as record_number from pg_temp.etl_staging) s
  join pg_temp.etl_rejected r on r.etl_staged = s.ctid
  order by s.record_number
  limit 1;
  raise exception '% of % records break a rule, more than the limit of % %%; the first is %',
      rejected, read, round(feed.reject_limit * 100, 2)::float8, example
    using errcode = 'ETL06', hint = 'Nothing of this feed was loaded. Have the feed mended, or raise etl.feeds.reject_limit.';
end
$$;

create or replace function etl.merge(
  feed_name text, run uuid, as_json boolean,
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
  read := etl.take_end_mark(as_json);
  inserted := 0;
  updated := 0;
  unchanged := 0;
  duplicate := 0;
  if as_json and read > 0 then
    perform etl.sift_json(feed);
  end if;
  if exists (select from pg_temp.etl_staging s where not exists (select from pg_temp.etl_rejected r where r.etl_staged = s.ctid)) then
    perform set_config('timezone', feed.time_zone, true);
    perform etl.name_cells(as_json);
    perform etl.cast_cells();
    perform etl.sift_rows(target);
    duplicate := etl.drop_duplicates(target);
    unchanged := etl.find_delta(target);
    perform etl.sift_checks(target);
    loop
      perform etl.sift_orphans(target);
      exit when not etl.sift_twins(target);
    end loop;
    perform etl.write_delta(target);
    select count(*) filter (where not d.etl_known), count(*) filter (where d.etl_known) into inserted, updated from pg_temp.etl_delta d;
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
comment on function etl.merge(text, uuid, boolean) is
  'Brings the staged feed into its target: casts, puts aside what breaks a rule, drops duplicates (the last record wins),
writes what is new or differs, and returns the counts. Nothing is written where nothing changed.
Raises ETL04 when staging was cut at a line \., ETL05 when a trigger drops rows, ETL06 above the reject limit.';

revoke all on all functions in schema etl from public;
