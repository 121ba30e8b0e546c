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
set array_nulls = on
set lock_timeout = '30s'
as $$
declare
  feed etl.feeds := etl.feed_named(of_feed);
  target regclass := etl.claim_for_undo(of_run, of_feed);
  own_run constant uuid := gen_random_uuid();
  began constant timestamptz := clock_timestamp();
  caller_time_zone constant text := current_setting('timezone');
  done bigint;
  waits_again bigint := 0;
  waits_on bigint;
begin
  -- What an undo changes can be seen and undone itself.
  feed.history := coalesce(feed.history, '1 day');
  feed.absent := 'delete';
  perform set_config('timezone', feed.time_zone, true);
  perform etl.find_undoable(feed, target, of_run);
  done := etl.undo_steps(feed, target, of_run, own_run);
  done := done + etl.undo_circles(feed, target, of_run, own_run);
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
set array_nulls = on
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
    '{etl$staged tid,etl$number bigint,etl$step text,etl$fate text,etl$reason text,etl$rule text,etl$key jsonb}'::text[]
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
etl$fate: open, done, as before (nothing is to be done) or kept; etl$reason: why it is as it is; etl$rule: the key or
index that says so. A row whose last change is an undo counts as what that has put back.';

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

create or replace function etl.undo_steps(feed etl.feeds, target regclass, of_run uuid, own_run uuid)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
  step text;
  done bigint := 0;
  done_before bigint;
begin
  -- A row that goes may have had another's value, or referred to it; one that comes back may be another's parent.
  loop
    done_before := done;
    foreach step in array '{delete,update,insert}'::text[] loop
      done := done + etl.undo_step(feed, target, of_run, own_run, step);
    end loop;
    exit when done = done_before;
  end loop;
  return done;
end
$$;
comment on function etl.undo_steps(etl.feeds, regclass, uuid, uuid) is
  'Does what is still open in etl_undo, one step after the other, until no row more can be taken back; returns how many
were.';

create or replace function etl.undo_circles(feed etl.feeds, target regclass, of_run uuid, own_run uuid)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
  repairs text[];
  done bigint;
begin
  if (
    select count(distinct u.etl$step) < 2
    from pg_temp.etl_undo u
    where u.etl$fate = 'open' and u.etl$rule in (
      select k.conname from pg_catalog.pg_constraint k where k.conrelid = target and k.confrelid = target
      union all
      select i.name from etl.unique_indexes(target) i
    )
  ) then
    return 0;
  end if;
  repairs := etl.lift_own_rules(target);
  done := etl.undo_steps(feed, target, of_run, own_run);
  perform etl.repair(repairs);
  return done;
-- The rules do not hold of what would be left, or cannot be lifted: all stays as it was.
exception when integrity_constraint_violation or insufficient_privilege or dependent_objects_still_exist then
  return 0;
end
$$;
comment on function etl.undo_circles(etl.feeds, regclass, uuid, uuid) is
  'Takes back rows that hold each other fast, as a new one and a changed one that refers to it and whose former value it
has: while the rules between the table''s own rows are lifted, and only if they hold again of all that is left. Returns
how many rows.';

create or replace function etl.lift_own_rules(target regclass)
returns text[]
language plpgsql
set search_path = ''
as $$
declare
  -- What is not valid yet must hold all the same.
  keys text[] := array(
    select s.statement
    from pg_catalog.pg_constraint k
    cross join unnest(array[
      format('alter table %s add constraint %I ', target, k.conname)
        || regexp_replace(pg_get_constraintdef(k.oid), ' NOT VALID$', ''),
      format('comment on constraint %I on %s is ', k.conname, target)
        || quote_literal(obj_description(k.oid, 'pg_constraint'))
    ]) with ordinality as s(statement, place)
    where k.conrelid = target and k.confrelid = target and k.conparentid = 0 and s.statement is not null
    order by k.conname, s.place
  );
  index regclass;
  repairs text[] := '{}';
begin
  -- What still waits for the commit, as a trigger of the caller's transaction, would forbid it.
  set constraints all immediate;
  perform etl.drop_self_references(target);
  for index in select i.index from etl.unique_indexes(target) i where not i.is_referenced loop
    repairs := repairs || etl.drop_index(index);
  end loop;
  return repairs || keys;
end
$$;
comment on function etl.lift_own_rules(regclass) is
  'Drops the table''s foreign keys to itself, and its unique indexes and exclusion constraints but for the primary key
and those that another table refers to; returns the statements that make them again. Raises as etl.drop_index() does.';

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
  set etl$reason = regexp_replace(r.reason, '^is absent from the file, but ', ''), etl$rule = r.constraint_name
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
set array_nulls = on
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
