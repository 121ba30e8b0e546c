-- Written by `deno task migration` from supabase/sql. Not to be edited: change the source, and write another.
-- The functions of a file call those below them, so that their bodies are checked when they run.
set check_function_bodies = off;

-- supabase/sql/merge.sql
-- The merge: what is new or differs goes into the target, what breaks a rule into etl.rejects. Its steps are, in order,
-- in cells.sql, cast.sql, rules.sql, relations.sql, write.sql (with isolate.sql) and rejects.sql; of a feed of changes
-- in retries.sql, too, and of one whose absent rows are to go in absent.sql. The temp tables that they hand each other
-- are described in stage.sql.

create or replace function etl.merge(
  feed_name text, run uuid, place int, header text[], sentinel text, is_whole boolean default false,
  out read bigint, out inserted bigint, out updated bigint, out unchanged bigint, out duplicate bigint,
  out rejected bigint, out deleted bigint, out ignored_columns text[], out changed boolean,
  out withheld jsonb
)
language plpgsql
set search_path = ''
set client_min_messages = warning
set datestyle = 'ISO, MDY'
set intervalstyle = 'postgres'
as $$
declare
  feed etl.feeds := (select f from etl.feeds f where f.name = feed_name);
  target regclass := etl.target_of(feed);
  as_json boolean := header is null;
  rejects_wait boolean := feed.contents = 'changes';
  sources text[];
  new_records bigint := 0;
  waiting record;
  absent record;
  caller_time_zone text := current_setting('timezone');
begin
  perform set_config('timezone', feed.time_zone, true);
  read := 0;
  inserted := 0;
  updated := 0;
  unchanged := 0;
  duplicate := 0;
  deleted := 0;
  changed := false;
  if rejects_wait then
    perform etl.gather_retries(feed, target);
  end if;
  if place is not null then
    perform etl.take_staged(feed, place, header);
    select count(*) into new_records from pg_temp.etl_staging;
    perform etl.tell_step('reading cells');
    perform etl.find_cells(feed, as_json, sentinel);
    if feed.absent = 'mark' and is_whole is not null then
      perform etl.carry_mark(target, as_json);
    end if;
    select m.* into inserted, updated, unchanged, duplicate
    from etl.merge_staged(feed, target, run, new_records, has_limit => true) m;
    perform etl.empty_unnamed();
    sources := array(select c.source from pg_temp.etl_columns c order by c.position);
    ignored_columns := etl.ignored_columns();
    if rejects_wait then
      perform etl.add_retries(feed, target, as_json);
    else
      rejected := etl.rejected_count();
      perform etl.check_limit(feed, new_records);
      changed := etl.keep_rejects(feed, run, as_json);
    end if;
    if feed.absent <> 'keep' and is_whole is not null then
      perform etl.tell_step('looking for absent rows');
      select a.* into absent from etl.remove_absent(feed, target, run, is_whole, inserted) a;
      deleted := absent.deleted;
      withheld := absent.withheld;
      changed := changed or absent.changed;
      delete from pg_temp.etl_columns c where c.name = 'absent_since';
    end if;
    drop table pg_temp.etl_staging;
  end if;
  read := new_records;
  if rejects_wait then
    select w.* into waiting from etl.try_retries(feed, target, run, new_records) w;
    read := read + waiting.read;
    inserted := inserted + waiting.inserted;
    updated := updated + waiting.updated;
    unchanged := unchanged + waiting.unchanged;
    duplicate := duplicate + waiting.duplicate;
    rejected := waiting.rejected;
    perform etl.keep_waited(feed, target, run);
    changed := etl.keep_retries(feed, run);
    if place is not null then
      perform etl.empty_tables();
      perform etl.map_columns(feed, sources);
    end if;
  end if;
  changed := changed or inserted + updated > 0;
  if changed and feed.history is not null then
    perform etl.purge_changes(feed.name);
  end if;
  if read <> inserted + updated + unchanged + duplicate + rejected then
    raise exception 'the counts do not add up: % read, % inserted, % updated, % unchanged, % duplicate, % rejected',
        read, inserted, updated, unchanged, duplicate, rejected
      using errcode = 'internal_error';
  end if;
  perform set_config('timezone', caller_time_zone, true);
end
$$;
comment on function etl.merge(text, uuid, int, text[], text, boolean) is
  'Brings the feed that was staged at this place into its target: casts, rejects what breaks a rule, drops duplicates
(the last record wins), writes what is new or differs, and returns the counts. Nothing is written where nothing
changed. The staging table is gone after it; etl_columns stays for etl.remember(). place: null where nothing new came,
so that the rejects alone are tried that wait; header: as it was staged; sentinel: what the cell of an unreadable record
begins with, null where there is none; is_whole: whether the file is known not to be cut short, null where it is not
asked what it lacks. deleted, withheld: the rows that it lacks, as etl.remove_absent() has it. Raises ETL03 as
etl.check_columns() does, ETL05 where a trigger drops or keeps rows, ETL06 above the reject limit, 40001 where another
session deletes a row meanwhile.';

create or replace function etl.merge_staged(
  feed etl.feeds, target regclass, run uuid, read bigint, has_limit boolean,
  out inserted bigint, out updated bigint, out unchanged bigint, out duplicate bigint
)
language plpgsql
set search_path = ''
set client_min_messages = warning
as $$
declare
  different bigint := 0;
begin
  inserted := 0;
  updated := 0;
  unchanged := 0;
  duplicate := 0;
  if read > etl.rejected_count() then
    perform etl.set_date_order(feed);
    perform etl.tell_step('comparing rows');
    different := etl.cast_cells(target);
    unchanged := read - different - etl.rejected_count();
  end if;
  if different > 0 then
    perform etl.tell_step('checking rows');
    perform etl.validate_rows(target);
    duplicate := etl.drop_duplicates(target, unchanged > 0);
    -- For the table's own rules and triggers it is as ever.
    perform set_config('datestyle', 'ISO, MDY', true);
    perform etl.complete_rows(target);
    perform etl.validate_checks(target);
    -- A reject may take away another record's parent, or keep a unique value from another: so the rules between rows
    -- are asked, and the write is tried, until nothing more is rejected.
    loop
      perform etl.tell_step('checking keys');
      perform etl.validate_relations(target);
      perform etl.tell_step('writing rows');
      select count(*) filter (where not d.etl$exists), count(*) filter (where d.etl$exists)
      into inserted, updated
      from pg_temp.etl_delta d;
      exit when etl.write_delta(feed, target, run, inserted, updated, rejects_left => case
        when has_limit then floor(feed.reject_limit * read)::bigint - etl.rejected_count()
      end);
      if has_limit then
        perform etl.check_limit(feed, read, at_least => true);
      end if;
    end loop;
  end if;
end
$$;
comment on function etl.merge_staged(etl.feeds, regclass, uuid, bigint, boolean) is
  'Brings so many records of etl_staging into the target, their columns being mapped; what is rejected is in
etl_rejected after it. has_limit: whether ETL06 is raised as soon as it is clear that there are too many.';

revoke all on all functions in schema etl from public;

-- supabase/sql/retries.sql
-- Where a feed's files hold changes, a reject is not gone because the next file lacks its record. It waits, and is
-- tried again after what is new, until it loads or a newer record of its key comes. Two temp tables more than stage.sql
-- has:
--   etl_retries   the rejects of earlier files, and after them those of this one
--   etl_keys      their keys, where they can be read, by their place in etl_retries

create or replace function etl.gather_retries(feed etl.feeds, target regclass)
returns void
language plpgsql
set search_path = ''
as $$
declare
  alike record;
begin
  perform etl.empty_retries();
  insert into pg_temp.etl_retries (
    place, id, record_number, record, raw, as_json, column_name, value, reason, sqlstate, constraint_name, faults
  )
  select
    row_number() over (order by r.since, r.first_run, r.record_number), r.id, r.record_number, r.record, r.raw,
    r.as_json, r.column_name, r.value, r.reason, r.sqlstate, r.constraint_name, r.faults
  from etl.rejects r
  where r.feed = gather_retries.feed.name and r.record_number is not null;
  if not found then
    return;
  end if;
  perform etl.shape_keys(target);
  perform etl.set_date_order(feed);
  perform etl.find_sources(feed);
  for alike in select distinct w.as_json, w.sources from pg_temp.etl_retries w where w.record is not null loop
    if etl.stage_retries(feed, alike.as_json, alike.sources, is_empty => false) then
      perform etl.read_keys(target, of_rejected => false);
      perform etl.add_keys(target, 'pg_temp.etl_staging', 'ctid', 'etl$place');
    end if;
    alter table pg_temp.etl_staging rename to etl_again;
  end loop;
end
$$;
comment on function etl.gather_retries(etl.feeds, regclass) is
  'Fills etl_retries with the rejects of earlier files, the oldest first, and etl_keys with their keys.';

create or replace function etl.empty_retries()
returns void
language plpgsql
set search_path = ''
set client_min_messages = warning
as $$
begin
  create temp table if not exists etl_retries (
    place bigint, id uuid, record_number bigint, etl$staged tid, record jsonb, raw text, as_json boolean,
    sources text[], column_name text, value text, reason text, sqlstate text, constraint_name text, faults jsonb,
    fate text
  ) on commit drop;
  delete from pg_temp.etl_retries;
end
$$;
comment on function etl.empty_retries() is
  'Makes etl_retries, once a run, or empties it for the next feed. id: of the row in etl.rejects, null for a new one;
etl$staged: where the new file has the record; sources: the names that the target has a column for; fate: null while it
waits, loaded, superseded by a newer record, or renewed: what waited waits anew.';

create or replace function etl.shape_keys(target regclass)
returns void
language plpgsql
set search_path = ''
as $$
begin
  perform etl.shape_table('etl_keys', array['etl$place bigint'] || etl.key_columns(target));
end
$$;
comment on function etl.shape_keys(regclass) is 'Makes etl_keys an empty table for keys of the target.';

create or replace function etl.key_columns(target regclass)
returns text[]
language sql stable
set search_path = ''
as $$
  select array_agg(format('%I %s%s', c.name, c.type, c.collate_clause) order by k.position)
  from unnest(etl.key_of(target)) with ordinality as k(name, position)
  join etl.loadable_columns(target) c on c.name = k.name
$$;
comment on function etl.key_columns(regclass) is 'SQL text: the columns of the primary key, each with its type.';

create or replace function etl.find_sources(feed etl.feeds)
returns void
language plpgsql
set search_path = ''
as $$
begin
  perform etl.empty_tables();
  perform etl.map_columns(feed, array(
    select distinct k from pg_temp.etl_retries w cross join jsonb_object_keys(w.record) k order by k
  ));
  update pg_temp.etl_retries w
  set sources = array(
    select c.source from pg_temp.etl_columns c where c.name is not null and w.record ? c.source order by c.source
  )
  where w.record is not null;
end
$$;
comment on function etl.find_sources(etl.feeds) is
  'Finds out what each record that waits carries: records that carry the same are tried together, so that nothing is
taken for missing that another file''s records lack.';

create or replace function etl.stage_retries(feed etl.feeds, as_json boolean, sources text[], is_empty boolean)
returns boolean
language plpgsql
set search_path = ''
as $$
begin
  perform etl.empty_tables();
  perform etl.shape_table('etl_again', array['etl$place bigint'] || case
    when as_json then '{record text}'
    else array(select format('c%s text', n) from generate_series(1, cardinality(sources)) n)
  end);
  alter table pg_temp.etl_again rename to etl_staging;
  execute etl.fill(
    $sql$
    insert into pg_temp.etl_staging
    select {cells}
    from pg_temp.etl_retries w
    where w.record is not null and w.fate is null and w.as_json = $1 and w.sources = $2
    order by w.place
    $sql$,
    jsonb_build_object('cells', concat_ws(', ', 'w.place', case
      when as_json then 'w.record::text'
      else (
        select string_agg(format('w.record ->> %L', s.source), ', ' order by s.position)
        from unnest(sources) with ordinality s(source, position)
      )
    end))
  ) using as_json, sources;
  perform etl.map_columns(feed, sources);
  begin
    perform etl.check_columns(feed, is_empty);
  exception when sqlstate 'ETL03' then
    return false;
  end;
  return not (as_json and feed.decimal_comma);
end
$$;
comment on function etl.stage_retries(etl.feeds, boolean, text[], boolean) is
  'Makes etl_staging of the records that wait and carry these sources, and maps their columns. False where the table
or the feed is not as it was when they came, and they cannot be tried. etl_staging is to be renamed to etl_again after
it: one table serves the whole run.';

create or replace function etl.read_keys(target regclass, of_rejected boolean)
returns void
language plpgsql
set search_path = ''
as $$
declare
  key name[] := etl.key_of(target);
  places jsonb;
  template constant text := $sql$
    update pg_temp.etl_typed k set {key}
    from ({typed}) t
    where t.etl$staged = k.etl$staged and ($1 is null or k.etl$staged between $1 and $2)
  $sql$;
begin
  perform etl.shape_table('etl_typed', array['etl$staged tid'] || etl.key_columns(target));
  if not key <@ etl.carried_columns() then
    return;
  end if;
  insert into pg_temp.etl_typed (etl$staged)
  select s.ctid
  from pg_temp.etl_staging s
  where not of_rejected
    or exists (select from pg_temp.etl_rejected r where r.etl$staged = s.ctid and r.raw is null);
  places := jsonb_build_object('key', etl.each(key, '{column} = t.{column}'));
  begin
    execute etl.fill(template, places || jsonb_build_object(
      'typed', etl.typed_cells(with_length => false, of_rejected => of_rejected)
    )) using null::tid, null::tid;
  exception when others then
    if not etl.is_input_error(sqlstate) then
      raise;
    end if;
    update pg_temp.etl_columns set lenient = true where kind = 'integer';
    perform etl.isolate(target, 'etl_typed', etl.fill(template, places || jsonb_build_object(
      'typed', etl.typed_cells(with_length => false, of_rejected => of_rejected)
    )));
  end;
end
$$;
comment on function etl.read_keys(regclass, boolean) is
  'Fills etl_typed with the keys of the staged records, or of those alone that are rejected and could be split; with
nulls where a key is no value of its type.';

create or replace function etl.add_keys(target regclass, step text, staged text, place text)
returns void
language plpgsql
set search_path = ''
as $$
begin
  execute etl.fill(
    $sql$
    insert into pg_temp.etl_keys (etl$place, {key})
    select s.{place}, {values}
    from pg_temp.etl_typed k
    join {step} s on s.{staged} = k.etl$staged
    where {present}
    $sql$,
    jsonb_build_object(
      'step', step, 'staged', staged, 'place', place,
      'key', etl.each(etl.key_of(target), '{column}'), 'values', etl.each(etl.key_of(target), 'k.{column}'),
      'present', etl.each(etl.key_of(target), 'k.{column} is not null', ' and ')
    )
  );
end
$$;
comment on function etl.add_keys(regclass, text, text, text) is
  'Adds to etl_keys what etl.read_keys() has read; the place is a column of this table, where staged is a record''s
ctid.';

create or replace function etl.add_retries(feed etl.feeds, target regclass, as_json boolean)
returns void
language plpgsql
set search_path = ''
as $$
declare
  earlier bigint := (select count(*) from pg_temp.etl_retries);
begin
  if earlier = 0 and etl.rejected_count() = 0 then
    return;
  end if;
  if earlier = 0 then
    perform etl.shape_keys(target);
  end if;
  perform etl.find_faults(feed);
  perform etl.set_date_order(feed);
  execute etl.fill(
    $sql$
    insert into pg_temp.etl_retries (
      place, etl$staged, record_number, record, raw, as_json, column_name, value, reason, sqlstate, constraint_name,
      faults
    )
    select
      $1 + n.record_number, r.etl$staged, n.record_number, {nulls} || {record}, {raw}, $2,
      r.column_name, r.value, r.reason, r.sqlstate, r.constraint_name, r.faults
    from (select distinct on (etl$staged) * from pg_temp.etl_rejected) r
    join (select ctid, row_number() over (order by ctid) as record_number from pg_temp.etl_staging) n
      on n.ctid = r.etl$staged
    join pg_temp.etl_staging s on s.ctid = r.etl$staged
    $sql$,
    case
      when as_json then jsonb_build_object('record', 'etl.exact(s.record, r.raw)', 'raw', etl.rejected_json() ->> 'raw')
      else etl.rejected_csv()
    end || jsonb_build_object(
      -- What an object lacks and others of its file have is null; alone it would be left as it is.
      'nulls', quote_literal(coalesce(
        (select jsonb_object_agg(c.source, null) from pg_temp.etl_columns c where c.name is not null), '{}'
      )) || '::jsonb'
    )
  ) using earlier, as_json;
  -- The same records once more are the same rejects, the last ones first: of a key the last is left. So the same file
  -- once more writes nothing.
  with numbered as (
    select
      w.place, w.id, w.etl$staged, w.as_json, t.text, w.raw is null as is_split,
      row_number() over (
        partition by w.id is null, w.as_json, t.text, w.raw is null order by w.place desc
      ) as nth
    from pg_temp.etl_retries w
    -- A JSON element stands after whatever blanks.
    cross join lateral (
      select coalesce(case when w.as_json then btrim(w.raw, e' \t\r\n') else w.raw end, w.record::text) as text
    ) t
  ), renewed as (
    delete from pg_temp.etl_retries w
    using numbered new, numbered old
    where w.place = new.place and new.id is null and old.id is not null
      and row(old.as_json, old.text, old.is_split, old.nth) = row(new.as_json, new.text, new.is_split, new.nth)
    returning old.place as old_place, w.*
  )
  update pg_temp.etl_retries w
  set etl$staged = r.etl$staged, column_name = r.column_name, value = r.value, reason = r.reason,
    sqlstate = r.sqlstate, constraint_name = r.constraint_name, faults = r.faults
  from renewed r
  where w.place = r.old_place;
  if exists (select from pg_temp.etl_retries w where w.id is null) then
    perform etl.read_keys(target, of_rejected => true);
    perform etl.add_keys(target, '(select * from pg_temp.etl_retries where id is null)', 'etl$staged', 'place');
  end if;
  perform etl.supersede_loaded(target);
  perform etl.supersede(target);
  perform etl.renew_retries(target);
end
$$;
comment on function etl.add_retries(etl.feeds, regclass, boolean) is
  'Adds what is rejected of the new file to etl_retries, and finds out which of all that waits is superseded.';

create or replace function etl.renew_retries(target regclass)
returns void
language plpgsql
set search_path = ''
as $$
begin
  execute etl.fill(
    $sql$
    insert into pg_temp.etl_retries (place, id, record_number, fate)
    select
      row_number() over () + (select max(place) from pg_temp.etl_retries), w.id, n.record_number, 'renewed'
    from (select ctid, row_number() over (order by ctid) as record_number from pg_temp.etl_staging) n
    join pg_temp.etl_retries w on w.etl$staged = n.ctid
    where w.id is not null and w.fate is null
      and exists (
        select
        from pg_temp.etl_keys k
        join pg_temp.etl_keys o on {same_key}
        join pg_temp.etl_retries older on older.place = o.etl$place
        where k.etl$place = w.place and older.fate is null
          and coalesce(older.etl$staged, '(0,0)') < w.etl$staged
          and (older.id is null or older.place > w.place)
      )
    $sql$,
    jsonb_build_object('same_key', etl.same_key(target, 'k', 'o'))
  );
  update pg_temp.etl_retries w
  set id = null, record_number = renewed.record_number
  from pg_temp.etl_retries renewed
  where renewed.fate = 'renewed' and w.id = renewed.id and w.fate is null;
end
$$;
comment on function etl.renew_retries(regclass) is
  'Has a reject that comes once more, and now behind another one of its key, wait anew, as the newer of the two: else
the next run would take it for the older.';

create or replace function etl.exact(record text, raw text)
returns jsonb
language sql immutable
set search_path = ''
as $$
  select case when raw is null and pg_input_is_valid(record, 'jsonb') then (
    select coalesce(
      jsonb_object_agg(e.key, case
        when json_typeof(e.value) = 'number' and e.value::text ~ '[eE]|^-0' then to_jsonb(e.value::text)
        else e.value::jsonb
      end),
      '{}'
    )
    from json_each(record::json) e
  ) end
$$;
comment on function etl.exact(text, text) is
  'A JSON record that waits, null where it was not readable: what jsonb would spell otherwise, as 1e2, becomes a text.';

create or replace function etl.supersede_loaded(target regclass)
returns void
language plpgsql
set search_path = ''
as $$
begin
  if etl.key_of(target) <@ etl.carried_columns() then
    execute etl.fill(
      $sql$
      update pg_temp.etl_retries w
      set fate = 'superseded'
      from pg_temp.etl_keys k
      join ({loaded}) n on {same_key}
      where w.place = k.etl$place and n.etl$staged > coalesce(w.etl$staged, '(0,0)')
      $sql$,
      jsonb_build_object(
        'same_key', etl.same_key(target, 'k', 'n'), 'loaded', etl.typed_cells(with_length => true)
      )
    );
  end if;
end
$$;
comment on function etl.supersede_loaded(regclass) is
  'Marks what waits as superseded where the new file holds a good record of its key: a later one, or any where the
reject is of an earlier file.';

create or replace function etl.supersede(target regclass)
returns void
language plpgsql
set search_path = ''
as $$
begin
  execute etl.fill(
    $sql$
    update pg_temp.etl_retries w
    set fate = 'superseded'
    from pg_temp.etl_keys k
    join pg_temp.etl_keys n on {same_key}
    join pg_temp.etl_retries newer on newer.place = n.etl$place
    where w.place = k.etl$place and w.fate is null
      and row(coalesce(newer.etl$staged, '(0,0)'), newer.place) > row(coalesce(w.etl$staged, '(0,0)'), w.place)
      -- As within a file: a newer record that is bad by itself is none that could take the older one's place.
      and (
        newer.fate = 'loaded'
        or etl.may_heal(newer.sqlstate, newer.reason) or not etl.may_heal(w.sqlstate, w.reason)
      )
    $sql$,
    jsonb_build_object('same_key', etl.same_key(target, 'k', 'n'))
  );
end
$$;
comment on function etl.supersede(regclass) is
  'Marks what waits as superseded where a newer record of its key has loaded from among the rejects, or waits as well;
but what may heal stays beside a newer one that may not.';

create or replace function etl.try_retries(
  feed etl.feeds, target regclass, run uuid, new_records bigint,
  out read bigint, out inserted bigint, out updated bigint, out unchanged bigint, out duplicate bigint,
  out rejected bigint
)
language plpgsql
set search_path = ''
as $$
declare
  alike record;
  part record;
  staged bigint;
  goes_on boolean;
begin
  -- Of earlier files what can be tried is read once more.
  select
    count(*) filter (where w.etl$staged is null and w.record is not null), 0, 0, 0, 0,
    coalesce(bool_or(w.etl$staged is null and w.record is not null and w.fate is null), false)
  into read, inserted, updated, unchanged, duplicate, goes_on
  from pg_temp.etl_retries w;
  if goes_on then
    perform etl.find_sources(feed);
  end if;
  while goes_on loop
    goes_on := false;
    for alike in
      select distinct w.as_json, w.sources
      from pg_temp.etl_retries w
      where w.record is not null and w.fate is null
      order by w.as_json, w.sources
    loop
      if etl.stage_retries(feed, alike.as_json, alike.sources, etl.is_empty(target)) then
        select count(*) into staged from pg_temp.etl_staging;
        select m.* into part from etl.merge_staged(feed, target, run, staged, has_limit => false) m;
        inserted := inserted + part.inserted;
        updated := updated + part.updated;
        unchanged := unchanged + part.unchanged;
        duplicate := duplicate + part.duplicate;
        perform etl.find_faults(feed);
        -- What has loaded may be what another one lacks.
        goes_on := etl.judge_retries() or goes_on;
        perform etl.supersede(target);
      end if;
      alter table pg_temp.etl_staging rename to etl_again;
    end loop;
  end loop;
  select
    count(*) filter (where w.fate is null and (w.etl$staged is not null or w.record is not null)),
    duplicate + count(*) filter (where w.fate = 'superseded')
  into rejected, duplicate
  from pg_temp.etl_retries w;
  perform etl.check_new_rejects(feed, new_records);
end
$$;
comment on function etl.try_retries(etl.feeds, regclass, uuid, bigint) is
  'Tries what waits, until nothing more of it loads, where any of it is of an earlier file: what is new has just been
tried. Returns what is to be added to the counts of the new file, and how many records are rejected in all; the
superseded ones are duplicates. Raises ETL06 where too many of the new file''s records are rejected.';

create or replace function etl.judge_retries()
returns boolean
language plpgsql
set search_path = ''
as $$
begin
  update pg_temp.etl_retries w
  set column_name = r.column_name, value = r.value, reason = r.reason, sqlstate = r.sqlstate,
    constraint_name = r.constraint_name, faults = r.faults
  from (select distinct on (etl$staged) * from pg_temp.etl_rejected) r
  join pg_temp.etl_staging s on s.ctid = r.etl$staged
  where w.place = s.etl$place;
  update pg_temp.etl_retries w
  set fate = 'loaded'
  from pg_temp.etl_staging s
  where w.place = s.etl$place
    and not exists (select from pg_temp.etl_rejected r where r.etl$staged = s.ctid);
  return found;
end
$$;
comment on function etl.judge_retries() is
  'Notes in etl_retries what became of the records that were tried; returns whether any has loaded.';

create or replace function etl.check_new_rejects(feed etl.feeds, new_records bigint)
returns void
language plpgsql
set search_path = ''
as $$
declare
  listed constant text := $sql$
    select w.* from pg_temp.etl_retries w where w.etl$staged is not null and w.fate is null
  $sql$;
  rejected bigint := (
    select count(*) from pg_temp.etl_retries w where w.etl$staged is not null and w.fate is null
  );
begin
  if rejected > feed.reject_limit * new_records then
    perform etl.raise_limit(feed, rejected, new_records, is_least => false, listed => listed, has_faults => true);
  end if;
end
$$;
comment on function etl.check_new_rejects(etl.feeds, bigint) is
  'Raises ETL06 where more of the new file''s records are rejected than the feed''s limit. What waited before does not
count.';

create or replace function etl.keep_waited(feed etl.feeds, target regclass, run uuid)
returns void
language plpgsql
set search_path = ''
set timezone = 'UTC'
set datestyle = 'ISO, MDY'
set intervalstyle = 'postgres'
as $$
begin
  if feed.history is null or not exists (
    select from pg_temp.etl_retries w where w.id is not null and w.fate in ('loaded', 'superseded')
  ) then
    return;
  end if;
  execute etl.fill(
    $sql$
    update etl.changes c
    set waited = l.waited
    from (
      select o.number, jsonb_agg(to_jsonb(r) order by w.place) as waited
      from (select c.number, {typed} from etl.changes c where c.feed = $1 and c.at = now() and c.run = $2 offset 0) o
      join pg_temp.etl_keys k on {same_key}
      join pg_temp.etl_retries w on w.place = k.etl$place
      join etl.rejects r on r.id = w.id
      where w.fate in ('loaded', 'superseded')
      group by o.number
    ) l
    where c.feed = $1 and c.at = now() and c.run = $2 and c.number = l.number
    $sql$,
    jsonb_build_object(
      'typed', etl.typed_image(target, 'c.key', etl.key_of(target)), 'same_key', etl.same_key(target, 'o', 'k')
    )
  ) using feed.name, run;
end
$$;
comment on function etl.keep_waited(etl.feeds, regclass, uuid) is
  'Where the feed keeps a history, keeps beside each row that the run changed the rejects of its key that waited, and
have left: for etl.undo().';

create or replace function etl.keep_retries(feed etl.feeds, run uuid)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
  is_written boolean;
begin
  with gone as (
    delete from etl.rejects r
    where r.feed = keep_retries.feed.name and (
      r.record_number is null or r.id in (select w.id from pg_temp.etl_retries w where w.fate is not null)
    )
    returning 1
  ), rewritten as (
    update etl.rejects r
    set column_name = w.column_name, value = w.value, reason = w.reason, sqlstate = w.sqlstate,
      constraint_name = w.constraint_name, faults = w.faults, last_run = keep_retries.run
    from pg_temp.etl_retries w
    where r.id = w.id and w.fate is null
      and row(r.column_name, r.value, r.reason, r.sqlstate, r.constraint_name, r.faults)
        is distinct from row(w.column_name, w.value, w.reason, w.sqlstate, w.constraint_name, w.faults)
    returning 1
  ), written as (
    insert into etl.rejects (
      feed, record_number, record, raw, as_json, column_name, value, reason, sqlstate, constraint_name, faults,
      first_run, last_run
    )
    select
      keep_retries.feed.name, w.record_number, w.record, w.raw, w.as_json, w.column_name, w.value, w.reason, w.sqlstate,
      w.constraint_name, w.faults, run, run
    from pg_temp.etl_retries w
    where w.id is null and w.fate is null
    returning 1
  )
  select exists (table gone) or exists (table rewritten) or exists (table written)
  into is_written;
  return is_written;
end
$$;
comment on function etl.keep_retries(etl.feeds, uuid) is
  'Makes etl.rejects what waits now, writing only what is new, other or gone; returns whether anything was.';

revoke all on all functions in schema etl from public;

-- supabase/sql/undo.sql
-- Taking back what a run changed, as etl.changes has it. What is put back passes the same steps as a feed's records, of
-- rules.sql, relations.sql and write.sql; what is deleted those of absent.sql. A temp table more than these have:
--   etl_undo      what is to be taken back, by numbers in place of a staged record's ctid: with its key, and what has
--                 come of it

create or replace function etl.undo(of_run uuid, of_feed text)
returns table (outcome text, records bigint, reason text, keys jsonb)
language plpgsql
set search_path = ''
set client_min_messages = warning
set datestyle = 'ISO, MDY'
set intervalstyle = 'postgres'
set lock_timeout = '30s'
as $$
declare
  feed etl.feeds := etl.feed_named(of_feed);
  target regclass := etl.claim_for_undo(of_run, of_feed);
  own_run constant uuid := gen_random_uuid();
  began constant timestamptz := clock_timestamp();
  caller_time_zone constant text := current_setting('timezone');
  step text;
  done bigint := 0;
  done_before bigint;
  waits_again bigint := 0;
  waits_on bigint;
begin
  -- What an undo changes can be seen and undone itself.
  feed.history := coalesce(feed.history, '1 day');
  feed.absent := 'delete';
  perform set_config('timezone', feed.time_zone, true);
  perform etl.find_undoable(feed, target, of_run);
  -- A row that goes may have had another's value, or referred to it; one that comes back may be another's parent.
  loop
    done_before := done;
    foreach step in array '{delete,update,insert}'::text[] loop
      done := done + etl.undo_step(feed, target, of_run, own_run, step);
    end loop;
    exit when done = done_before;
  end loop;
  perform set_config('timezone', caller_time_zone, true);
  if done > 0 then
    perform etl.enter_undo(feed, of_run, own_run, began);
    waits_again := etl.have_wait_again(feed, of_run, own_run);
  end if;
  select count(*) into waits_on
  from etl.rejects r
  where r.feed = of_feed and r.first_run = of_run and feed.contents = 'changes';
  return query
  select s.outcome, count(*), s.reason, jsonb_agg(s.key order by s.number) filter (where s.outcome = 'kept')
  from (
    select
      case
        when u.etl$fate = 'done' then case u.etl$step
          when 'delete' then 'deleted'
          when 'insert' then 'inserted again'
          else 'put back'
        end
        when u.etl$fate = 'as before' then 'as before'
        else 'kept'
      end as outcome,
      case when u.etl$fate = 'as before' then 'nothing to do' else u.etl$reason end as reason,
      u.etl$key as key, u.etl$number as number
    from pg_temp.etl_undo u
  ) s
  group by s.outcome, s.reason
  order by s.outcome = 'kept', s.outcome, s.reason;
  if not found then
    return query
    select
      'nothing', 0::bigint,
      format('nothing is kept of what run %s changed of %s: see etl.feeds.history', of_run, of_feed), null::jsonb;
  end if;
  if waits_again > 0 then
    return query
    select
      'waits again', waits_again, 'that run had loaded them, or a newer record, and they are tried with the next file',
      null::jsonb;
  end if;
  if waits_on > 0 then
    return query
    select
      'waits on', waits_on,
      format(
        'that run rejected them, and they are tried with the next file. If they are no good: '
          || 'delete from etl.rejects where feed = %L and first_run = %L;',
        of_feed, of_run
      ),
      null::jsonb;
  end if;
  if done > 0 then
    return query
    select
      'disabled', null::bigint,
      format(
        'the next file of %s would bring it back. Once that is mended: '
          || 'update etl.feeds set enabled = true where name = %L;',
        of_feed, of_feed
      ),
      null::jsonb;
  end if;
end
$$;
comment on function etl.undo(uuid, text) is
  'Takes back what a run changed of a feed: puts back what it updated where nobody has changed the row since, deletes
what it inserted where nothing refers to it, and inserts again what it deleted where the key is free and its parents are
there. Returns how many rows, and of those that are kept as they are their keys, by reason; of a feed of changes also
how many rejects wait again, and how many of that run wait on. Where anything was taken back, the feed is disabled,
health says so, its next load trusts no validator, and the undo is a run of its own in etl.runs and etl.changes. Raises
ETL01 for an unknown feed, ETL03 and ETL11 where its table is not what it was, and 55P03 while a run has the feed or its
table.';

create or replace function etl.claim_for_undo(of_run uuid, of_feed text)
returns regclass
language plpgsql
set search_path = ''
as $$
declare
  feed etl.feeds := etl.feed_named(of_feed);
  target regclass;
  written_to text;
  written name[];
  lost text;
  child regclass;
begin
  target := etl.target_of(feed);
  if exists (select from etl.claim_feeds(array[of_feed])) or not etl.claim_tables(of_feed) then
    raise exception 'a run has %, its table, or one that is tied to it by a key', of_feed
      using errcode = 'lock_not_available', hint = 'Wait until it ends, then call etl.undo() again.';
  end if;
  select c.target, array(select jsonb_object_keys(coalesce(c.before, c.after))) into written_to, written
  from etl.changes c
  where c.feed = of_feed and c.run = of_run
  order by c.before is null, c.after = '{}'
  limit 1;
  if to_regclass(written_to) is distinct from target and written_to is not null then
    raise exception 'that run wrote to %, and % loads % now', written_to, of_feed, target
      using errcode = 'ETL11', hint = 'Set etl.feeds.target to that table, as long as the undo takes.';
  end if;
  lost := (select string_agg(quote_ident(w), ', ') from unnest(written) w where w <> all (etl.columns_of(target)));
  if lost is not null then
    raise exception '% has no column % any more, and that run wrote to it', target, lost
      using errcode = 'ETL03', hint = 'etl.changes has what was in it: mend the rows by hand.';
  end if;
  -- Nobody else writes to it, or refers to it, from here on.
  for child in
    select target
    union
    select k.child from etl.foreign_keys(target) k where k.parent = target
  loop
    execute format('lock table %s in share row exclusive mode', child);
  end loop;
  return target;
end
$$;
comment on function etl.claim_for_undo(uuid, text) is
  'Has the feed and its table for this transaction alone, and returns the table. Raises what etl.undo() raises.';

create or replace function etl.find_undoable(feed etl.feeds, target regclass, of_run uuid)
returns void
language plpgsql
set search_path = ''
set timezone = 'UTC'
set datestyle = 'ISO, MDY'
set intervalstyle = 'postgres'
set extra_float_digits = 1
set bytea_output = 'hex'
set lc_monetary = 'C'
set xmloption = 'content'
as $$
declare
  key name[] := etl.key_of(target);
  began constant timestamptz := etl.time_of_changes(feed.name, of_run);
  image constant text := etl.image_of(target, 'o', etl.columns_of(target));
  -- What is generated follows the rest.
  generated text := (
    select coalesce(' - ' || quote_literal(array_agg(a.attname)) || '::text[]', '')
    from pg_catalog.pg_attribute a
    where a.attrelid = target and a.attnum > 0 and a.attgenerated <> '' and not a.attisdropped
  );
begin
  perform etl.shape_table(
    'etl_undo',
    '{etl$staged tid,etl$number bigint,etl$step text,etl$fate text,etl$reason text,etl$key jsonb}'::text[]
      || etl.key_columns(target)
  );
  execute etl.fill(
    $sql$
    insert into pg_temp.etl_undo (etl$staged, etl$number, etl$step, etl$key, {places}, etl$fate, etl$reason)
    select
      format('(%s,%s)', s.etl$nth / 60000, s.etl$nth % 60000 + 1)::tid, s.etl$number, s.etl$step, s.etl$key, {values},
      case j.reason when '' then 'open' when 'as before' then 'as before' else 'kept' end, nullif(j.reason, '')
    from (
      select
        c.*, row_number() over () as etl$nth, o.{first} is not null as etl$exists,
        case when o.{first} is not null then {image}{generated} end as etl$image,
        case
          when c.etl$before is null then 'delete' when c.etl$after is null then 'insert' else 'update'
        end as etl$step
      from (
        select
          c.number as etl$number, c.key as etl$key, {typed},
          c.before{generated} as etl$before, c.after{generated} as etl$after
        from etl.changes c
        where c.feed = $1 and c.at = $2 and c.run = $3
        offset 0
      ) c
      left join {target} o on {same_key}
      offset 0
    ) s
    cross join lateral (
      select case
        when s.etl$after = '{}' then 'a trigger gave it another key'
        when s.etl$step = 'delete' and not s.etl$exists or s.etl$image @> s.etl$before then 'as before'
        when s.etl$step = 'insert' and not s.etl$exists or s.etl$image @> s.etl$after then ''
        when s.etl$step = 'insert' then 'another row took its key since'
        when not s.etl$exists then 'somebody deleted it since'
        else 'somebody changed it since'
      end as reason
    ) j
    $sql$,
    jsonb_build_object(
      'target', target, 'first', quote_ident(key[1]), 'generated', generated,
      'image', image,
      'places', etl.each(key, '{column}'), 'values', etl.each(key, 's.{column}'),
      'typed', etl.typed_image(target, 'c.key', key), 'same_key', etl.same_key(target, 'o', 'c')
    )
  ) using feed.name, began, of_run;
  -- What an undo has put back is as it was but for what triggers made of it, as a column updated_at.
  if exists (select from etl.runs r where r.feed = find_undoable.feed.name and r.undoes is not null) then
    execute etl.fill(
      $sql$
      update pg_temp.etl_undo u
      set etl$fate = case when l.etl$undoes = $3 then 'as before' else 'open' end,
        etl$reason = case when l.etl$undoes = $3 then 'as before' end
      from (
        select distinct on (k.etl$number)
          k.etl$number, k.etl$key, {places}, own.after as etl$after, c.after as etl$last, r.undoes as etl$undoes
        from pg_temp.etl_undo k
        join etl.changes own on own.feed = $1 and own.at = $2 and own.run = $3 and own.number = k.etl$number
        join etl.changes c on c.feed = $1 and c.at >= $2 and c.key = k.etl$key
        left join etl.runs r on r.feed = c.feed and r.run = c.run
        where k.etl$fate = 'kept' and k.etl$reason <> 'a trigger gave it another key'
        order by k.etl$number, c.at desc, r.started_at desc, c.number desc
      ) l
      join {target} o on {same_key}
      left join etl.changes t on t.feed = $1 and t.run = l.etl$undoes and t.key = l.etl$key
      where u.etl$number = l.etl$number and l.etl$undoes is not null
        and {image} @> (l.etl$last{generated})
        and (l.etl$undoes = $3 or t.before @> (l.etl$after{generated}))
      $sql$,
      jsonb_build_object(
        'target', target, 'generated', generated, 'places', etl.each(key, 'k.{column}'),
        'same_key', etl.same_key(target, 'o', 'l'), 'image', image
      )
    ) using feed.name, began, of_run;
  end if;
  analyze pg_temp.etl_undo;
end
$$;
comment on function etl.find_undoable(etl.feeds, regclass, uuid) is
  'Fills etl_undo with what the run changed. etl$step: what is to be done to take it back, delete, update or insert;
etl$fate: open, done, as before (nothing is to be done) or kept; etl$reason: why it is as it is. A row whose last change
is an undo counts as what that has put back.';

create or replace function etl.time_of_changes(of_feed text, of_run uuid)
returns timestamptz
language sql stable
set search_path = ''
as $$
  select c.at from etl.changes c where c.feed = of_feed and c.run = of_run limit 1
$$;
comment on function etl.time_of_changes(text, uuid) is
  'When the run began that made these changes: with it each of them is found by the key.';

create or replace function etl.typed_image(target regclass, image text, columns name[])
returns text
language sql stable
set search_path = ''
as $$
  select string_agg(
    etl.fill('({image} ->> {name})::{type} as {column}', jsonb_build_object(
      'image', image, 'name', quote_literal(a.attname), 'column', quote_ident(a.attname),
      'type', format_type(a.atttypid, a.atttypmod)
    )),
    ', ' order by u.position
  )
  from unnest(columns) with ordinality u(name, position)
  join pg_catalog.pg_attribute a on a.attrelid = target and a.attname = u.name
$$;
comment on function etl.typed_image(regclass, text, name[]) is
  'SQL text: these columns of an image that etl.image_of() made, with the types of the target.';

create or replace function etl.undo_step(feed etl.feeds, target regclass, of_run uuid, own_run uuid, step text)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
  inserted bigint;
  updated bigint;
  done bigint;
begin
  if not exists (select from pg_temp.etl_undo u where u.etl$step = step and u.etl$fate = 'open') then
    return 0;
  end if;
  perform etl.empty_tables();
  if step = 'delete' then
    perform etl.shape_table('etl_typed', array['etl$staged tid'] || etl.key_columns(target));
    execute etl.fill(
      $sql$
      insert into pg_temp.etl_typed (etl$staged, {key})
      select etl$staged, {key} from pg_temp.etl_undo where etl$step = 'delete' and etl$fate = 'open'
      $sql$,
      jsonb_build_object('key', etl.each(etl.key_of(target), '{column}'))
    );
    perform etl.remove_rows(feed, target, own_run);
  else
    perform etl.read_images(feed, target, of_run, step);
    perform etl.complete_rows(target);
    perform etl.validate_checks(target);
    loop
      perform etl.validate_relations(target);
      select count(*) filter (where not d.etl$exists), count(*) filter (where d.etl$exists)
      into inserted, updated
      from pg_temp.etl_delta d;
      exit when etl.write_delta(feed, target, own_run, inserted, updated, rejects_left => null);
    end loop;
  end if;
  update pg_temp.etl_undo u
  set etl$reason = regexp_replace(r.reason, '^is absent from the file, but ', '')
  from (select distinct on (etl$staged) * from pg_temp.etl_rejected) r
  where u.etl$staged = r.etl$staged;
  update pg_temp.etl_undo u
  set etl$fate = 'done', etl$reason = null
  where u.etl$step = step and u.etl$fate = 'open'
    and not exists (select from pg_temp.etl_rejected r where r.etl$staged = u.etl$staged);
  get diagnostics done = row_count;
  return done;
end
$$;
comment on function etl.undo_step(etl.feeds, regclass, uuid, uuid, text) is
  'Does a step of what is still open in etl_undo, as far as the rules of the tables let it; returns how many rows.';

create or replace function etl.read_images(feed etl.feeds, target regclass, of_run uuid, step text)
returns void
language plpgsql
set search_path = ''
set timezone = 'UTC'
set datestyle = 'ISO, MDY'
set intervalstyle = 'postgres'
set extra_float_digits = 1
set bytea_output = 'hex'
set lc_monetary = 'C'
set xmloption = 'content'
as $$
declare
  carried name[];
begin
  -- What is an identity always can be inserted, and not updated; a column of later keeps what it has, or its default.
  insert into pg_temp.etl_columns (position, name, attnum, kind)
  select a.attnum, a.attname, a.attnum, 'text'
  from pg_catalog.pg_attribute a
  where a.attrelid = target and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
    and (step = 'insert' or a.attidentity <> 'a' or a.attname = any (etl.key_of(target)))
    and exists (
      select
      from (
        select c.before
        from etl.changes c
        where c.feed = read_images.feed.name and c.run = of_run and c.before is not null
        limit 1
      ) any_row
      where any_row.before ? a.attname
    );
  carried := etl.carried_columns();
  perform etl.shape_table('etl_typed', '{etl$staged tid,etl$exists boolean}'::text[] || array(
    select format('%I %s%s', a.attname, format_type(a.atttypid, a.atttypmod), etl.collation_of(a.attcollation))
    from unnest(carried) with ordinality u(name, position)
    join pg_catalog.pg_attribute a on a.attrelid = target and a.attname = u.name
    order by u.position
  ));
  execute etl.fill(
    $sql$
    insert into pg_temp.etl_typed (etl$staged, etl$exists, {carried})
    select u.etl$staged, u.etl$step = 'update', {values}
    from pg_temp.etl_undo u
    join etl.changes c on c.feed = $1 and c.at = $2 and c.run = $3 and c.number = u.etl$number
    where u.etl$step = $4 and u.etl$fate = 'open'
    $sql$,
    jsonb_build_object(
      'carried', etl.each(carried, '{column}'), 'values', etl.typed_image(target, 'c.before', carried)
    )
  ) using feed.name, etl.time_of_changes(feed.name, of_run), of_run, step;
end
$$;
comment on function etl.read_images(etl.feeds, regclass, uuid, text) is
  'Fills etl_typed, with etl_columns, with what is to be put back or inserted again, as it was.';

create or replace function etl.enter_undo(feed etl.feeds, of_run uuid, own_run uuid, began timestamptz)
returns void
language plpgsql
set search_path = ''
as $$
begin
  insert into etl.runs (
    run, feed, status, started_at, finished_at, bytes, read, inserted, updated, unchanged, duplicate, rejected, deleted,
    undoes
  )
  select
    own_run, feed.name, 'undone', began, clock_timestamp(), 0, 0,
    count(*) filter (where u.etl$step = 'insert'), count(*) filter (where u.etl$step = 'update'), 0, 0, 0,
    count(*) filter (where u.etl$step = 'delete'), of_run
  from pg_temp.etl_undo u
  where u.etl$fate = 'done';
  update etl.feeds f set enabled = false where f.name = feed.name and f.enabled;
  update etl.feed_state s
  set definition_hash = '', undone_run = of_run, undone_at = now()
  where s.feed = enter_undo.feed.name;
end
$$;
comment on function etl.enter_undo(etl.feeds, uuid, uuid, timestamptz) is
  'Enters the undo in the ledger, disables the feed, and has its next load trust nothing that is remembered.';

create or replace function etl.have_wait_again(of_feed etl.feeds, of_run uuid, own_run uuid)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
  back bigint;
begin
  if of_feed.contents <> 'changes' then
    return 0;
  end if;
  with concerned as (
    select c.key, c.waited
    from pg_temp.etl_undo u
    join etl.changes c
      on c.feed = of_feed.name and c.at = etl.time_of_changes(of_feed.name, of_run) and c.run = of_run
      and c.number = u.etl$number
    where u.etl$fate = 'done' and c.waited is not null
  ), kept as (
    update etl.changes own
    set waited = c.waited
    from concerned c
    where own.feed = of_feed.name and own.at = now() and own.run = own_run and own.key = c.key
  ), waited as (
    select distinct (jsonb_populate_record(null::etl.rejects, w.value || jsonb_build_object('feed', of_feed.name))).*
    from concerned c
    cross join jsonb_array_elements(c.waited) w
  ), gone as (
    -- An undo that is undone: what it had wait again waits no more.
    delete from etl.rejects r using waited w where r.id = w.id returning r.id
  )
  insert into etl.rejects
  select w.* from waited w where not exists (select from gone g where g.id = w.id);
  get diagnostics back = row_count;
  return back;
end
$$;
comment on function etl.have_wait_again(etl.feeds, uuid, uuid) is
  'Has wait again what waited before the run, where the row of its key was taken back; where that run was an undo, has
it leave again. Returns how many wait again.';

revoke all on all functions in schema etl from public;

reset check_function_bodies;
