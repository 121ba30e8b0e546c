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
  select array_agg(format('%I %s', a.attname, etl.step_type(target, a.attnum)) order by k.position)
  from unnest(etl.key_of(target)) with ordinality as k(name, position)
  join pg_catalog.pg_attribute a on a.attrelid = target and a.attname = k.name
$$;
comment on function etl.key_columns(regclass) is
  'SQL text: the columns of the primary key, each with its type, but no domain that refuses the null of a key which
cannot be read.';

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
declare
  narrow int;
begin
  perform etl.empty_tables();
  perform etl.shape_table('etl_again', array['etl$place bigint'] || case
    when as_json then '{record text}'
    else array(select format('c%s text', n) from generate_series(1, cardinality(sources)) n)
  end);
  alter table pg_temp.etl_again rename to etl_staging;
  narrow := cardinality(sources) - coalesce(cardinality(etl.wide_cells()), 0);
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
      else concat_ws(
        ', ',
        (
          select string_agg(format('w.record ->> %L', s.source), ', ' order by s.position)
          from unnest(sources[:narrow]) with ordinality s(source, position)
        ),
        case
          when narrow < cardinality(sources) then format(
            'array(select w.record ->> s.key from unnest(%L::text[]) with ordinality s(key, n) order by s.n)::text',
            sources[narrow + 1:]
          )
        end
      )
    end))
  ) using as_json, sources;
  perform etl.map_columns(feed, sources);
  if as_json then
    perform etl.join_sources();
  end if;
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
set array_nulls = on
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
