-- Written by `deno task migration` from supabase/sql. Not to be edited: change the source, and write another.
-- The functions of a file call those below them, so that their bodies are checked when they run.
set check_function_bodies = off;

-- supabase/sql/absent.sql
-- Rows that a file of all no longer holds: they are deleted or marked, or withheld where something speaks against it.
-- etl_typed holds all of them, etl_delta those that are to go; etl$staged numbers them, for there is no staged record.

create or replace function etl.check_absent(feed etl.feeds, target regclass)
returns void
language plpgsql stable
set search_path = ''
as $$
declare
  other text := (
    select min(f.name)
    from etl.feeds f
    where f.name <> feed.name and etl.root_of(to_regclass(f.target)) = etl.root_of(check_absent.target)
  );
begin
  if other is not null then
    raise exception 'its rows may be those of %, which loads the same table', other
      using errcode = 'ETL11', hint = 'Set etl.feeds.absent to keep, or give each of them a table of its own.';
  end if;
  if feed.absent = 'mark' and not exists (
    select from pg_catalog.pg_attribute a
    where a.attrelid = target and a.attname = 'absent_since' and not a.attisdropped
      and a.atttypid = 'pg_catalog.timestamptz'::regtype and not a.attnotnull and a.attgenerated = ''
  ) then
    raise exception 'its table % has no column absent_since that could be null and is a timestamptz', feed.target
      using errcode = 'ETL11', hint = format('alter table %s add column absent_since timestamptz;', feed.target);
  end if;
  if feed.absent = 'delete' and exists (
    select from pg_catalog.pg_rewrite r where r.ev_class = target and r.is_instead and r.ev_type = '4'
  ) then
    raise exception 'its table % has a rule that does something else INSTEAD of a deletion', feed.target
      using errcode = 'ETL04', hint = 'Drop the rule, or make it a trigger: what it swallows could not be counted.';
  end if;
end
$$;
comment on function etl.check_absent(etl.feeds, regclass) is
  'Raises ETL11 where a feed whose absent rows are to go shares its table with another one, or has no column to mark
them in; ETL04 where a rule stands in for their deletion.';

create or replace function etl.carry_mark(target regclass, as_json boolean)
returns void
language plpgsql
set search_path = ''
as $$
declare
  next bigint := (select coalesce(max(c.position), 0) + 1 from pg_temp.etl_columns c);
begin
  if exists (select from pg_temp.etl_columns c where c.name = 'absent_since') then
    raise exception 'it has a column absent_since, which is where the loader marks the rows that a file lacks'
      using errcode = 'ETL03', hint = 'Give it another name in etl.feeds.columns.';
  end if;
  insert into pg_temp.etl_columns (
    position, source, stored, name, attnum, type, collate_clause, base_type, has_length, kind, nulls, decimal_comma,
    needs_order, lenient
  )
  select
    next, 'etl$absent_since', false, c.name, c.attnum, c.type, c.collate_clause, c.base_type, c.has_length, c.kind,
    '{}', false, false, false
  from etl.loadable_columns(target) c
  where c.name = 'absent_since';
  if not as_json then
    execute format('alter table pg_temp.etl_staging add column c%s text', next);
  end if;
end
$$;
comment on function etl.carry_mark(regclass, boolean) is
  'Has each record carry a null for absent_since: so a row that comes back is one that differs. Raises ETL03 where the
file has such a column itself.';

create or replace function etl.remove_absent(
  feed etl.feeds, target regclass, run uuid, is_whole boolean, inserted bigint,
  out deleted bigint, out withheld jsonb, out changed boolean
)
language plpgsql
set search_path = ''
as $$
declare
  unreadable bigint := etl.find_absent(feed, target);
  expected bigint;
  present bigint;
  obstacle text;
  permitted bigint := (select a.removals from etl.approvals a where a.feed = remove_absent.feed.name);
begin
  -- What stays for a reason of its own was permitted before.
  execute etl.fill(
    $sql$
    select count(*)
    from pg_temp.etl_typed t
    where not exists (
      select 1 from etl.rejects r where r.feed = $1 and r.record_number is null and r.record = {record}
    )
    $sql$,
    jsonb_build_object('record', etl.key_record(target))
  ) into expected using feed.name;
  execute format(
    'select count(*) - %s from %s %s', inserted, target,
    case when feed.absent = 'mark' then 'where absent_since is null' else '' end
  ) into present;
  -- What came with a file of which something was withheld makes the limit no larger.
  present := least(present, (
    select s.withheld_of from etl.feed_state s where s.feed = remove_absent.feed.name and s.withheld > 0
  ));
  obstacle := case
    when not is_whole then 'nothing tells that the file is whole: its server says neither its length nor its end'
    when unreadable > 0 then format('the keys of %s rejected records cannot be read', unreadable)
    when expected > feed.absent_limit * present
      then format('etl.feeds.absent_limit is %s %% of %s rows', round(feed.absent_limit * 100, 2)::float8, present)
  end;
  delete from pg_temp.etl_rejected;
  if obstacle is null or permitted >= expected then
    deleted := etl.remove_rows(feed, target);
    delete from etl.approvals a where a.feed = remove_absent.feed.name;
    changed := etl.keep_kept(feed, target, run, all_known => true) or deleted > 0;
  else
    deleted := 0;
    withheld := case
      when expected > 0 then jsonb_build_object('rows', expected, 'of', present, 'why', obstacle)
    end;
    changed := etl.keep_kept(feed, target, run, all_known => false);
  end if;
end
$$;
comment on function etl.remove_absent(etl.feeds, regclass, uuid, boolean, bigint) is
  'Deletes or marks the rows that the staged file lacks, once its records are merged; inserted: how many of them are
new. is_whole: whether the file is known to be whole. Withholds all of it, and says how many rows of how many, and why,
where the file may be cut short, where a reject may be one of these rows, or where they are too many: unless
etl.approve() has permitted so many. What cannot go is a reject without a number.';

create or replace function etl.find_absent(feed etl.feeds, target regclass)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
  key name[] := etl.key_of(target);
  rejected bigint := etl.rejected_count();
  read bigint := 0;
begin
  perform etl.set_date_order(feed);
  perform etl.shape_keys(target);
  if rejected > 0 then
    perform etl.read_keys(target, of_rejected => true);
    perform etl.add_keys(
      target, '(select distinct etl$staged, 0 as place from pg_temp.etl_rejected)', 'etl$staged', 'place'
    );
    select count(*) into read from pg_temp.etl_keys;
  end if;
  perform etl.shape_table('etl_typed', array['etl$staged tid'] || etl.key_columns(target));
  execute etl.fill(
    $sql$
    insert into pg_temp.etl_typed (etl$staged, {key})
    select format('(%s,%s)', a.n / 60000, a.n % 60000 + 1)::tid, {absent}
    from (
      select {held}, row_number() over () as n
      from {target} o
      left join pg_temp.etl_keys k on {rejected}
      {loaded}
      where k.{first} is null {not_loaded} {unmarked}
    ) a
    $sql$,
    jsonb_build_object(
      'target', target, 'key', etl.each(key, '{column}'), 'absent', etl.each(key, 'a.{column}'),
      'held', etl.each(key, 'o.{column}'), 'first', quote_ident(key[1]), 'rejected', etl.same_key(target, 'o', 'k'),
      -- A file without a record carries nothing.
      'loaded', case
        when key <@ etl.carried_columns() then etl.fill('left join ({typed}) t on {same}', jsonb_build_object(
          'typed', etl.typed_cells(with_length => true), 'same', etl.same_key(target, 'o', 't')
        ))
        else ''
      end,
      'not_loaded', case
        when key <@ etl.carried_columns() then format('and t.%I is null', key[1])
        else ''
      end,
      'unmarked', case when feed.absent = 'mark' then 'and o.absent_since is null' else '' end
    )
  );
  return rejected - read;
end
$$;
comment on function etl.find_absent(etl.feeds, regclass) is
  'Fills etl_typed with the keys of the rows that the staged file lacks, but for those that are marked already: no
record has such a key, be it loaded, a duplicate or rejected. Returns the number of rejected records whose key cannot
be read.';

create or replace function etl.key_record(target regclass)
returns text
language sql stable
set search_path = ''
as $$
  select 'jsonb_build_object(' || string_agg(format('%L, t.%I', k.name, k.name), ', ' order by k.position) || ')'
  from unnest(etl.key_of(target)) with ordinality as k(name, position)
$$;
comment on function etl.key_record(regclass) is
  'SQL text: the key of t, column -> value, as etl.rejects.record has it.';

create or replace function etl.remove_rows(feed etl.feeds, target regclass)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
  places jsonb := jsonb_build_object(
    'target', target, 'same_key', etl.same_key(target, 'o', 'd'),
    'part', '(select * from pg_temp.etl_delta where $1 is null or etl$staged between $1 and $2)'
  );
  statement text := etl.fill(
    case feed.absent
      when 'mark' then 'update {target} o set absent_since = now() from {part} d where {same_key}'
      else 'delete from {target} o using {part} d where {same_key}'
    end,
    places
  );
  faults jsonb[];
  expected bigint;
  removed bigint := 0;
  left_over bigint;
  state text;
  said text;
  rule text;
  at_column text;
  advice text;
begin
  perform set_config('datestyle', 'ISO, MDY', true);
  perform etl.shape_table('etl_delta', array['etl$staged tid'] || etl.key_columns(target));
  insert into pg_temp.etl_delta select * from pg_temp.etl_typed;
  loop
    if feed.absent = 'delete' then
      perform etl.keep_referenced(target);
    end if;
    select count(*) into expected from pg_temp.etl_delta;
    exit when expected = 0;
    begin
      set constraints all immediate;
      execute statement using null::tid, null::tid;
      get diagnostics removed = row_count;
      exit;
    exception when others or assert_failure then
      get stacked diagnostics state = returned_sqlstate, said = message_text, rule = constraint_name,
        at_column = column_name, advice = pg_exception_hint;
      if not etl.is_record_fault(target, state, rule, at_column) then
        raise;
      end if;
    end;
    faults := etl.isolate_removals(target, statement);
    if faults = '{}' then
      raise exception '%', said using errcode = state, hint = advice;
    end if;
    perform etl.reject_faults('etl_delta', faults);
  end loop;
  if removed < expected then
    execute etl.fill(
      'select count(*) from {target} o join pg_temp.etl_delta d on {same_key} {unmarked}',
      places || jsonb_build_object(
        'unmarked', case when feed.absent = 'mark' then 'where o.absent_since is null' else '' end
      )
    ) into left_over;
    if left_over > 0 then
      raise exception '% of % rows that the file lacks were not removed', left_over, expected
        using errcode = 'ETL05', hint = format('A trigger or a policy on %s keeps them.', target);
    end if;
  end if;
  return removed;
end
$$;
comment on function etl.remove_rows(etl.feeds, regclass) is
  'Deletes or marks the rows of etl_typed and returns how many; those that cannot go are in etl_rejected after it.
Raises ETL05 where a trigger or a policy keeps some without a word.';

create or replace function etl.keep_referenced(target regclass)
returns void
language plpgsql
set search_path = ''
as $$
declare
  fk record;
  kept bigint;
  again boolean := true;
begin
  while again loop
    again := false;
    for fk in select k.* from etl.foreign_keys(target) k where k.parent = target order by k.child::text, k.name loop
      execute etl.fill(
        $sql$
        insert into pg_temp.etl_rejected (etl$staged, column_name, value, reason, sqlstate, constraint_name)
        select distinct on (d.etl$staged)
          d.etl$staged, {column_name}, to_jsonb(d.*) ->> {column_name}, {reason}, '23503', {constraint_name}
        from pg_temp.etl_delta d
        join {target} p on {this_row}
        join {child} c on {matches}
        {goes_too}
        $sql$,
        jsonb_build_object(
          'target', target, 'this_row', etl.same_key(target, 'p', 'd'),
          'child', etl.own_rows(fk.child), 'matches', fk.matches,
          'column_name', quote_nullable(
            case when cardinality(etl.key_of(target)) = 1 then (etl.key_of(target))[1] end
          ),
          'constraint_name', quote_literal(fk.name),
          'reason', quote_literal('is absent from the file, but rows refer to it in ' || fk.child),
          -- A row of the same table may go with it.
          'goes_too', case
            when fk.child = target then etl.fill(
              'left join pg_temp.etl_delta g on {same_key} where g.etl$staged is null',
              jsonb_build_object('same_key', etl.same_key(target, 'c', 'g'))
            )
            else ''
          end
        )
      );
      get diagnostics kept = row_count;
      perform etl.remove_rejected('etl_delta', kept);
      again := again or (kept > 0 and exists (
        select from etl.foreign_keys(target) k where k.child = target and k.parent = target
      ));
    end loop;
  end loop;
end
$$;
comment on function etl.keep_referenced(regclass) is
  'Takes out of etl_delta the rows that others refer to, and rejects them: also where the key would cascade, for what
refers to them is another feed''s.';

create or replace function etl.isolate_removals(target regclass, statement text, out faults jsonb[])
language plpgsql
set search_path = ''
as $$
begin
  -- A part may hold a parent without its child. All of this is undone.
  perform etl.drop_self_references(target);
  faults := etl.isolate(target, 'etl_delta', statement);
  raise exception using errcode = 'ETL00';
exception when sqlstate 'ETL00' then
  return;
end
$$;
comment on function etl.isolate_removals(regclass, text) is
  'The rows of etl_delta that cannot be removed, as etl.isolate() returns them; none is removed by it.';

create or replace function etl.keep_kept(feed etl.feeds, target regclass, run uuid, all_known boolean)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
  is_written boolean;
begin
  execute etl.fill(
    $sql$
    with kept as materialized (
      select {record} as record, r.column_name, r.value, r.reason, r.sqlstate, r.constraint_name
      from (select distinct on (etl$staged) * from pg_temp.etl_rejected) r
      join pg_temp.etl_typed t on t.etl$staged = r.etl$staged
    ), staying as (
      select k.record from kept k
      union all
      select {record} from pg_temp.etl_typed t where not $3
    ), gone as (
      delete from etl.rejects r
      where r.feed = $1 and r.record_number is null and not exists (select from staying s where s.record = r.record)
      returning 1
    ), rewritten as (
      update etl.rejects r
      set column_name = k.column_name, value = k.value, reason = k.reason, sqlstate = k.sqlstate,
        constraint_name = k.constraint_name, last_run = $2
      from kept k
      where r.feed = $1 and r.record_number is null and r.record = k.record
        and row(r.column_name, r.value, r.reason, r.sqlstate, r.constraint_name)
          is distinct from row(k.column_name, k.value, k.reason, k.sqlstate, k.constraint_name)
      returning 1
    ), written as (
      insert into etl.rejects (
        feed, record, column_name, value, reason, sqlstate, constraint_name, first_run, last_run
      )
      select $1, k.*, $2, $2
      from kept k
      where not exists (
        select from etl.rejects r where r.feed = $1 and r.record_number is null and r.record = k.record
      )
      returning 1
    )
    select exists (table gone) or exists (table rewritten) or exists (table written)
    $sql$,
    jsonb_build_object('record', etl.key_record(target))
  ) into is_written using feed.name, run, all_known;
  return is_written;
end
$$;
comment on function etl.keep_kept(etl.feeds, regclass, uuid, boolean) is
  'Makes the rejects without a number what of the absent rows cannot go, in etl_rejected; where these are not known, for
nothing was tried, only those leave that are not absent any more. Returns whether anything was written.';

create or replace function etl.remember_withheld(feed_name text, now_withheld jsonb)
returns void
language sql
set search_path = ''
as $$
  update etl.feed_state s
  set withheld = n.rows, withheld_of = n.of, withheld_why = n.why
  from (
    select
      coalesce((now_withheld ->> 'rows')::bigint, 0) as rows, (now_withheld ->> 'of')::bigint as of,
      now_withheld ->> 'why' as why
  ) n
  where s.feed = feed_name
    and row(s.withheld, s.withheld_of, s.withheld_why) is distinct from row(n.rows, n.of, n.why)
$$;
comment on function etl.remember_withheld(text, jsonb) is
  'Keeps what health shows and etl.approve() permits, once etl.remember() has made the feed''s row.';

revoke all on all functions in schema etl from public;

-- supabase/sql/addresses.sql
-- The dates in a feed's URL.

create or replace function etl.address(feed etl.feeds, day date default null)
returns text
language plpgsql stable
set search_path = ''
as $$
declare
  place constant text := '\{day(?:-\d{1,4})?(?::[^{}]+)?\}';
  places text[] := array(select match[1] from regexp_matches(feed.url, format('(%s)', place), 'g') match);
begin
  if places = '{}' then
    return feed.url;
  end if;
  day := coalesce(day, (now() at time zone feed.time_zone)::date);
  return (
    select string_agg(
      part.piece || case
        when part.place is null then ''
        else to_char(
          (day - coalesce(substring(part.place from '^\{day-(\d+)'), '0')::int)::timestamp,
          coalesce(substring(part.place from ':(.+)\}$'), 'YYYY-MM-DD')
        )
      end,
      '' order by part.position
    )
    from unnest(regexp_split_to_array(feed.url, place), places) with ordinality as part(piece, place, position)
  );
exception when data_exception then
  return null;
end
$$;
comment on function etl.address(etl.feeds, date) is
  'The feed''s URL with a date for each {day}, {day-1} or {day-1:YYYYMMDD}, as to_char() writes it: of the day that is
given, else of the one on which the transaction began where the feed is (time_zone). Null where it cannot be written.
All else in braces stays.';

revoke all on all functions in schema etl from public;

-- supabase/sql/approve.sql
-- What a person accepts, once health has shown it.

create or replace function etl.approve(feed_name text)
returns text
language plpgsql
set search_path = ''
as $$
declare
  feed etl.feeds := (select f from etl.feeds f where f.name = feed_name);
  state etl.feed_state := (select s from etl.feed_state s where s.feed = feed_name);
  removals bigint := case when feed.absent <> 'keep' then state.withheld end;
begin
  if feed.name is null then
    raise exception 'there is no feed %', feed_name using errcode = 'ETL01', hint = 'table etl.feeds has them.';
  end if;
  perform etl.accept_usual(feed_name);
  if removals > 0 then
    insert into etl.approvals as a (feed, removals) values (feed_name, removals)
    on conflict on constraint approvals_pkey do update
    set removals = excluded.removals, approved_at = excluded.approved_at;
  end if;
  return coalesce(nullif(concat_ws(
    ' ',
    case
      when state.drifted_since is not null or state.shrunk_since is not null
        then format('The columns of its last file are usual now, and so are %s records.', state.records)
    end,
    case
      when removals > 0 then format('The next run may %s up to %s rows of %s.', feed.absent, removals, feed.target)
    end
  ), ''), 'There is nothing to accept.');
end
$$;
comment on function etl.approve(text) is
  'Accepts what health says of the feed''s last file: its columns, how many records it has, and the removal of as many
rows as it lacks and were withheld, by the next run and no more than these. Says what it has accepted. Raises ETL01 for
a name that is not in etl.feeds.';

revoke all on all functions in schema etl from public;

-- supabase/sql/calls.sql
-- What pg_cron and pg_net remember of our calls, where they exist. Nothing of it is ours: a run that changes nothing
-- writes no row of ours, and yet it can be known that it was. looks.sql makes pg_cron remember for longer than pg_net.

create or replace function etl.job()
returns table (
  schedule text,
  active boolean,
  looked_at boolean,
  last_start timestamptz,
  last_problem text,
  awaited timestamptz,
  known timestamptz,
  next_run timestamptz,
  overdue_from timestamptz
)
language plpgsql stable
set search_path = ''
as $$
declare
  job record;
begin
  if not etl.can_read('cron.job') then
    return;
  end if;
  select j.jobid, j.schedule, j.active, substring(j.command from 'since (\S+)')::timestamptz as since
  into job
  from cron.job j
  where j.jobname = 'tdc-etl'
  order by j.active desc, j.jobid
  limit 1;
  if not found then
    return;
  end if;
  schedule := job.schedule;
  active := job.active;
  looked_at := exists (select from cron.job j where j.jobname = 'tdc-etl look' and j.active);
  last_start := (select max(r.start_time) from cron.job_run_details r where r.jobid = job.jobid);
  last_problem := (
    select case when r.status = 'failed' then substring(r.return_message from '(?:ERROR: +)?([^\n]{1,200})') end
    from cron.job_run_details r
    where r.jobid = job.jobid and r.status in ('succeeded', 'failed')
    order by r.runid desc
    limit 1
  );
  -- Of two calls one may be lost, but not where the next comes only hours later.
  awaited := (
    select case when max(call.start_time) < min(call.start_time) + interval '6 hours' then min(call.start_time)
      else max(call.start_time) end
    from (
      select r.start_time
      from cron.job_run_details r
      where r.jobid = job.jobid and r.status = 'succeeded' and r.start_time < now() - etl.patience()
      order by r.start_time desc
      limit 2
    ) call
  );
  known := (select max(l.at) from etl.looks() l where l.of_call is not null);
  begin
    next_run := case when job.active then etl.next_run(job.schedule) end;
  exception when sqlstate 'ETL08' then
    -- A line that somebody else has given to pg_cron, and that pg_cron knows how to read.
    next_run := null;
  end;
  overdue_from := coalesce(etl.overdue_from(job.schedule, greatest(last_start, job.since)), '-infinity');
  return next;
end
$$;
comment on function etl.job() is
  'The job that etl.schedule made, as pg_cron remembers it; no row where nothing is scheduled. looked_at: whether
etl.look() is scheduled too. awaited: whoever called then must have an answer by now. known: the latest call of which
a look has seen a good answer. overdue_from: by then pg_cron has missed two starts. last_problem: why the latest call
could not be made.';

create or replace function etl.overdue_from(schedule text, since timestamptz)
returns timestamptz
language plpgsql stable
set search_path = ''
as $$
begin
  return etl.next_run(schedule, etl.next_run(schedule, since)) + etl.patience();
exception when sqlstate 'ETL08' then
  return 'infinity';
end
$$;
comment on function etl.overdue_from(text, timestamptz) is
  'When two ticks of the schedule are over since then, with the longest that a run may take; infinity where the line is
one that pg_cron alone knows how to read.';

create or replace function etl.patience()
returns interval
language sql immutable
set search_path = ''
as $$
  select interval '400 seconds'
$$;
comment on function etl.patience() is 'The longest that an answer takes: the timeout of etl.invoke(), and a little.';

create or replace function etl.answers_kept()
returns interval
language sql stable
set search_path = ''
as $$
  select coalesce(nullif(current_setting('pg_net.ttl', true), ''), '6 hours')::interval
$$;
comment on function etl.answers_kept() is 'How long pg_net keeps an answer.';

create or replace function etl.answers()
returns table (at timestamptz, ours boolean, report jsonb, error_code text, problem text)
language plpgsql stable
set search_path = ''
as $$
begin
  if not etl.can_read('net._http_response') then
    return;
  end if;
  return query
  select
    r.created,
    mark.ours,
    body.report,
    case when mark.ours then body.value #>> '{error,code}' when r.status_code between 200 and 299 then 'not_ours' end,
    case
      when body.report is not null then null
      when body.value ? 'error'
        then 'The function answered: '
          || coalesce(body.value #>> '{error,message}', body.value #>> '{error,code}', 'an error without a word')
      when mark.ours then 'The function was cut off before its report: see its logs'
      else etl.no_answer(r.status_code, r.content_type, r.timed_out, r.error_msg)
    end
  from net._http_response r
  cross join lateral (
    select exists (select from jsonb_object_keys(r.headers) k where lower(k) = 'x-tdc-etl') as ours
  ) mark
  cross join lateral (select split_part(rtrim(r.content, e'\n'), e'\n', -1) as line) last
  cross join lateral (
    select case when mark.ours and pg_input_is_valid(last.line, 'jsonb') then last.line::jsonb end as value
  ) parsed
  cross join lateral (
    select parsed.value, case when jsonb_typeof(parsed.value -> 'feeds') = 'array' then parsed.value end as report
  ) body
  union all
  select
    l.at,
    l.of_call is not null or coalesce(l.error_code <> 'not_ours', false),
    case when l.of_call is not null then '{"feeds": []}'::jsonb end,
    l.error_code,
    l.problem
  from etl.looks() l;
end
$$;
comment on function etl.answers() is
  'The answers that pg_net keeps, and those that a look has seen before pg_net dropped them: our function''s (ours), and
those of whatever stood in its place. An answer of ours ends with the run''s report or with {"error":{"code",…}};
problem says what is wrong with any of them.';

create or replace function etl.no_answer(status int, content_type text, timed_out boolean, error_msg text)
returns text
language sql immutable
set search_path = ''
as $$
  select case
    -- Before pg_net 0.19.6 timed_out is null, and the words of curl alone tell.
    when timed_out or error_msg ~* '^timeout'
      then 'The function did not answer in time: ' || coalesce(left(error_msg, 200), 'pg_net gives no reason')
    when status is null
      then 'The function could not be reached: ' || coalesce(left(error_msg, 200), 'pg_net gives no reason')
    when status = 401
      then 'The gateway refused the call before it came to the function (401): set verify_jwt = false for it in '
        || 'supabase/config.toml, and deploy it again'
    when status = 404
      then 'There is no function at etl_function_url (404): deploy it, or correct the URL by etl.connect(…)'
    when status = 503 then 'The function does not start (503): see its logs'
    when status = 504 then 'The function did not answer the gateway in time (504): see its logs'
    when status = 546 then 'The platform stopped the function at a limit of memory, CPU or time (546): see its logs'
    when status between 300 and 399
      then format('etl_function_url redirects to elsewhere (%s): correct it by etl.connect(…)', status)
    when status < 300
      then format(
        'What answers at etl_function_url is not the function (%s): correct it by etl.connect(…)',
        concat_ws(', ', status, left(content_type, 100))
      )
    else format('Something before the function answered in its place (%s): see the logs', status)
  end
$$;
comment on function etl.no_answer(int, text, boolean, text) is
  'Why an answer that pg_net keeps is not the function''s, and what to do.';

revoke all on all functions in schema etl from public;

-- supabase/sql/cast.sql
-- From cells to values of the target's types, of those records alone that are new or differ.

create or replace function etl.cast_cells(target regclass)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
  is_empty boolean := etl.is_empty(target);
  statement text;
  different bigint;
begin
  perform etl.shape_table('etl_typed', '{etl$staged tid,etl$exists boolean}'::text[] || array(
    select format('%I %s%s', c.name, c.type, c.collate_clause)
    from pg_temp.etl_columns c
    where c.name is not null
    order by c.position
  ));
  statement := etl.cast_statement(target, is_empty);
  begin
    execute statement;
  exception when others then
    if not etl.is_input_error(sqlstate) then
      raise;
    end if;
    -- Numbers such as 7.0 in columns of integers: only where they are is it worth to look for them.
    update pg_temp.etl_columns set lenient = true where kind = 'integer';
    perform etl.validate_cells();
    execute etl.cast_statement(target, is_empty);
  end;
  get diagnostics different = row_count;
  return different - case when is_empty then 0 else etl.drop_assigned(target) end;
end
$$;
comment on function etl.cast_cells(regclass) is
  'Fills etl_typed with what is new or differs, and returns how many records that is; rejects those with a cell that
is no value of its column''s type. etl$exists: whether the target has the key.';

create or replace function etl.cast_statement(target regclass, is_empty boolean)
returns text
language plpgsql stable
set search_path = ''
as $$
declare
  key name[] := etl.key_of(target);
  carried name[] := etl.carried_columns();
begin
  return etl.fill(
    case when is_empty
      then $sql$
        insert into pg_temp.etl_typed (etl$staged, {carried}, etl$exists)
        select t.etl$staged, {values}, false
        from ({typed}) t
      $sql$
      -- OFFSET 0: without it Postgres casts behind the join, which then spills the text of all rows.
      else $sql$
        insert into pg_temp.etl_typed (etl$staged, {carried}, etl$exists)
        select t.etl$staged, {values}, {is_known}
        from ({typed} offset 0) t
        left join {target} o on {same_key}
        where not {is_known} or {differs}
      $sql$
    end,
    jsonb_build_object(
      'target', target, 'carried', etl.each(carried, '{column}'), 'values', etl.each(carried, 't.{column}'),
      'typed', etl.typed_cells(with_length => false), 'is_known', etl.each(key[:1], '(o.{column} is not null)'),
      'same_key', etl.same_key(target, 'o', 't'), 'differs', etl.differs(key)
    )
  );
end
$$;
comment on function etl.cast_statement(regclass, boolean) is
  'SQL text: fills etl_typed from the cells with what is new or differs; is_empty: the target has no row to compare
with.';

create or replace function etl.carried_columns()
returns name[]
language sql stable
set search_path = ''
as $$
  select array(select c.name from pg_temp.etl_columns c where c.name is not null order by c.position)
$$;
comment on function etl.carried_columns() is 'The target''s columns that the feed carries, in the feed''s order.';

create or replace function etl.differs(key name[])
returns text
language sql stable
set search_path = ''
as $$
  -- What is *<> as an operator compares what is stored, byte by byte: it needs no equality operator, and sees 1.0
  -- become 1.00. It wants one type on both sides, and the typed record has no domains yet. By its name, for Citus.
  select etl.fill('pg_catalog.record_image_ne(row({fed}), row({stored}))', jsonb_build_object(
    'fed', coalesce(string_agg(format('t.%I::%s', c.name, c.base_type), ', ' order by c.position), ''),
    'stored', coalesce(string_agg(format('o.%I::%s', c.name, c.base_type), ', ' order by c.position), '')
  ))
  from pg_temp.etl_columns c
  where c.name <> all (key)
$$;
comment on function etl.differs(name[]) is
  'SQL text: whether the typed record t and the stored row o differ in what the feed carries beside the key.';

create or replace function etl.same_key(target regclass, a text, b text)
returns text
language sql stable
set search_path = ''
as $$
  select string_agg(
    etl.fill('{a}.{column} {equals} {b}.{column}', jsonb_build_object(
      'a', a, 'b', b, 'column', quote_ident(k.name), 'equals', etl.equals(i.indexrelid, k.position::int)
    )),
    ' and ' order by k.position
  )
  from pg_catalog.pg_index i
  cross join unnest(etl.key_of(target)) with ordinality as k(name, position)
  where i.indrelid = target and i.indisprimary
$$;
comment on function etl.same_key(regclass, text, text) is
  'SQL text: whether two rows, under these aliases, have the same primary key, as its index compares.';

create or replace function etl.equals(index oid, place int)
returns text
language sql stable
set search_path = ''
as $$
  -- By name alone = may be another type's: under an empty search_path that of text, for citext.
  select format('operator(%I.%s)', n.nspname, o.oprname)
  from pg_catalog.pg_index i
  join pg_catalog.pg_opclass c on c.oid = i.indclass[place - 1]
  join pg_catalog.pg_amop m
    on m.amopfamily = c.opcfamily and m.amopstrategy = 3
    and m.amoplefttype = c.opcintype and m.amoprighttype = c.opcintype
  join pg_catalog.pg_operator o on o.oid = m.amopopr
  join pg_catalog.pg_namespace n on n.oid = o.oprnamespace
  where i.indexrelid = index
$$;
comment on function etl.equals(oid, int) is
  'SQL text: the operator by which a B-tree index finds two values of its column at this position equal.';

create or replace function etl.typed_cells(with_length boolean, of_rejected boolean default false)
returns text
language plpgsql stable
set search_path = ''
as $$
begin
  return (
    select etl.fill($sql$select cells.etl$staged, {values} from ({cells}) cells$sql$, jsonb_build_object(
      'cells', etl.cells(of_rejected),
      'values', string_agg(
        etl.fill(
          case
            when with_length or c.refused is null then '{spelled}::{type} as {column}'
            when c.kind = 'day' then $sql$
              case
                when cells.{column} like '2___-__-__%' then {plain}
                when cells.{column} !~* {refused} then {spelled}
                else etl.no_value({spelled})
              end::{type} as {column}
            $sql$
            else $sql$
              case when cells.{column} !~* {refused} then {spelled} else etl.no_value({spelled}) end::{type} as {column}
            $sql$
          end,
          jsonb_build_object(
            'column', quote_ident(c.name), 'type', case when with_length then c.type else c.base_type end,
            -- What begins like that is not empty.
            'spelled', c.spelled, 'plain', case when c.nulls = '{}' then format('cells.%I', c.name) else c.spelled end,
            'refused', quote_literal(c.refused)
          )
        ),
        ', ' order by c.position
      )
    ))
    from (
      select c.*, etl.spelled(format('cells.%I', c.name), c.kind, c.nulls, c.decimal_comma, c.lenient) as spelled
      from pg_temp.etl_columns c
      where c.name is not null
    ) c
  );
end
$$;
comment on function etl.typed_cells(boolean, boolean) is
  'SQL text: the query that casts the cells, to the columns'' types with their length, or without: a cast to
varchar(3) cuts what is longer, where the assignment to such a column raises. With it, for cells that were cast before;
without it, it raises 22007 for a cell that matches etl_columns.refused. of_rejected: as in etl.cells().';

create or replace function etl.drop_assigned(target regclass)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
  key name[] := etl.key_of(target);
  dropped bigint;
  places jsonb := jsonb_build_object(
    'target', target, 'same_key', etl.same_key(target, 'o', 't'), 'differs', etl.differs(key)
  );
begin
  if not exists (select from pg_temp.etl_columns c where c.has_length) then
    return 0;
  end if;
  if exists (select from pg_temp.etl_columns c where c.has_length and c.name = any (key)) then
    execute etl.fill(
      $sql$update pg_temp.etl_typed t set etl$exists = true from {target} o where not t.etl$exists and {same_key}$sql$,
      places
    );
  end if;
  execute etl.fill(
    $sql$delete from pg_temp.etl_typed t using {target} o where {same_key} and not {differs}$sql$, places
  );
  get diagnostics dropped = row_count;
  return dropped;
end
$$;
comment on function etl.drop_assigned(regclass) is
  'Drops from etl_typed what the assignment to a type with a length has made equal to the stored row, as 1 is stored
as 1.00; returns how many records that is.';

create or replace function etl.is_empty(target regclass)
returns boolean
language plpgsql stable
set search_path = ''
as $$
declare
  is_empty boolean;
begin
  execute format('select not exists (select 1 from %s)', target) into is_empty;
  return is_empty;
end
$$;
comment on function etl.is_empty(regclass) is 'Whether the table has no row.';

create or replace function etl.validate_cells()
returns void
language plpgsql
set search_path = ''
as $$
begin
  perform etl.reject_cells(
    'pg_input_is_valid({value}, {type})', '(pg_input_error_info({value}, {type})).sql_error_code'
  );
exception when others then
  -- Some types' input, and some domains' rules, raise in place of telling.
  if not etl.is_input_error(sqlstate) then
    raise;
  end if;
  perform etl.reject_cells('etl.input_error({value}, {type}) is null', 'etl.input_error({value}, {type})');
end
$$;
comment on function etl.validate_cells() is 'Rejects the records with a cell that is no value of its column''s type.';

create or replace function etl.reject_cells(is_valid text, error_of text)
returns void
language plpgsql
set search_path = ''
as $$
declare
  first_fault text;
  spelled text;
begin
  select
    string_agg(
      etl.fill(
        'when not (' || is_valid || ') or ({value} is not null and {name} ~* {refused}) then {literal}',
        jsonb_build_object(
          'value', c.spelled, 'type', quote_literal(c.type), 'name', quote_ident(c.name),
          'literal', quote_literal(c.name), 'refused', quote_nullable(c.refused)
        )
      ),
      ' ' order by c.attnum
    ),
    string_agg(format('when %L then %s', c.name, c.spelled), ' ')
  into first_fault, spelled
  from (
    select
      c.*,
      etl.spelled(quote_ident(c.name), c.kind, c.nulls, c.decimal_comma, c.lenient) as spelled
    from pg_temp.etl_columns c
    where c.name is not null and c.type <> 'text'
  ) c;
  if first_fault is null then
    return;
  end if;
  execute etl.fill(
    $sql$
    insert into pg_temp.etl_rejected (etl$staged, column_name, value, reason, sqlstate)
    select
      bad.etl$staged, bad.name, bad.value, etl.reason_of(bad.value, c.type, why.sqlstate, c.needs_order), why.sqlstate
    from (
      select
        cells.etl$staged, fault.name, to_jsonb(cells.*) ->> fault.name as value,
        case fault.name {spelled} end as spelled
      from ({cells}) cells
      cross join lateral (select case {first_fault} end as name) fault
      where fault.name is not null
    ) bad
    join pg_temp.etl_columns c on c.name = bad.name
    -- What Postgres takes, and we do not, has no SQLSTATE.
    cross join lateral (select coalesce({error}, '22007') as sqlstate) why
    $sql$,
    jsonb_build_object(
      'first_fault', first_fault, 'spelled', spelled, 'cells', etl.cells(),
      'error', etl.fill(error_of, jsonb_build_object('value', 'bad.spelled', 'type', 'c.type'))
    )
  );
end
$$;
comment on function etl.reject_cells(text, text) is
  'Rejects by two templates with the places {value} and {type}: whether a text is a value of a type, and the SQLSTATE
for one that is not.';

create or replace function etl.reason_of(value text, type text, state text, needs_order boolean)
returns text
language sql immutable
set search_path = ''
as $$
  select case
    when needs_order and state in ('22007', '22008')
      and (value ~* etl.unordered_date() or value ~ '(?<!\d)\d{1,2}[-/. ]\d{1,2}[-/. ]\d{3,4}(?!\d)')
      then 'is a date in an order that etl.feeds.date_order must name'
    when state in ('22003', '22008') then 'is out of the range of ' || type
    when state = '22001' then 'is too long for ' || type
    when state = '23514' then 'breaks a rule of ' || type
    else 'is no ' || type
  end
$$;
comment on function etl.reason_of(text, text, text, boolean) is
  'Why a text is no value of a type, in words, by the SQLSTATE of its input; needs_order: whether only a date that
begins with its year can be read.';

create or replace function etl.input_error(value text, type text)
returns text
language plpgsql stable
set search_path = ''
as $$
declare
  state text;
begin
  select e.sql_error_code into state from pg_catalog.pg_input_error_info(value, type) e;
  return state;
exception when others then
  if not etl.is_input_error(sqlstate) then
    raise;
  end if;
  return sqlstate;
end
$$;
comment on function etl.input_error(text, text) is
  'The SQLSTATE for a text that is no value of a type, also where its input raises; null for one that is.';

create or replace function etl.is_input_error(state text)
returns boolean
language sql immutable
set search_path = ''
as $$
  select state ~ '^(22|23|42|P0)'
$$;
comment on function etl.is_input_error(text) is
  'Whether a type''s input, or a domain''s rule, may have raised this SQLSTATE: that of some is what a wrong
statement raises, too.';

revoke all on all functions in schema etl from public;

-- supabase/sql/cells.sql
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
  as_json boolean := exists (
    select from pg_catalog.pg_attribute a
    where a.attrelid = to_regclass('pg_temp.etl_staging') and a.attname = 'record'
  );
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

revoke all on all functions in schema etl from public;

-- supabase/sql/health.sql
-- Health: is each feed loaded as it should be? Built on the ledger and, where they exist, on what pg_cron and pg_net
-- remember; never on the status of pg_cron alone, which says "succeeded" whatever the function answered.

create or replace function etl.health()
returns table (
  feed text,
  verdict text,
  message text,
  last_change timestamptz,
  last_failure timestamptz,
  last_error text,
  open_rejects bigint,
  last_good_answer timestamptz,
  next_run timestamptz,
  failing_since timestamptz,
  hint text,
  records bigint,
  usual_records bigint
)
language sql stable
set search_path = ''
as $$
  with common as materialized (
    select t.verdict, t.message, j.schedule, j.known, j.next_run from etl.trouble() t left join etl.job() j on true
  ), good as materialized (
    select of_feed ->> 'feed' as feed, max(a.at) as at
    from etl.answers() a
    cross join jsonb_array_elements(a.report -> 'feeds') of_feed
    where of_feed ->> 'status' in ('unchanged', 'changed') and a.report ->> 'dry_run' = 'false'
    group by 1
  ), waits as materialized (
    select w.feed, w.since, w.problem from etl.waits() w
  ), too_long as materialized (
    select r.since
    from (select distinct w.since from waits w) r
    cross join common c
    where now() > case
      when c.schedule is null then r.since + interval '1 day' else etl.overdue_from(c.schedule, r.since)
    end
  ), put_off as (
    select w.feed, string_agg(w.problem, '. ' order by w.since) as problem
    from waits w
    join too_long t on t.since = w.since
    group by 1
  ), seen as (
    select
      f as definition,
      s as state,
      f.name,
      change.finished_at as changed,
      failure.finished_at as failed,
      failure.error,
      coalesce(waiting.rejects, 0) as rejects,
      good.at as good,
      -- Each failure is in the ledger: a later call that is known to be answered well has not failed.
      coalesce(greatest(change.finished_at, good.at, c.known), '-infinity') as last_well
    from etl.feeds f
    cross join common c
    left join etl.feed_state s on s.feed = f.name
    left join good on good.feed = f.name
    -- All at once: feed by feed Postgres might read all rejects for each.
    left join (select r.feed, count(*) as rejects from etl.rejects r group by r.feed) waiting on waiting.feed = f.name
    cross join lateral (
      select max(r.finished_at) as finished_at from etl.runs r where r.feed = f.name and r.status = 'changed'
    ) change
    left join lateral (
      select r.finished_at, r.error
      from etl.runs r
      where r.feed = f.name and r.status = 'failed'
      order by r.finished_at desc
      limit 1
    ) failure on true
    where f.enabled
  ), judged as (
    select
      s.*,
      case
        when c.verdict = 'secret refused' then c.verdict
        when s.failed > s.last_well or c.verdict = 'failing' then 'failing'
        when p.problem is not null then 'late'
        when c.verdict is not null then c.verdict
        when never.loaded then 'never ran'
        else coalesce(unusual.verdict, 'ok')
      end as verdict,
      never.loaded as never_loaded,
      p.problem as put_off,
      unusual.verdict as unusual,
      unusual.message,
      unusual.hint
    from seen s
    cross join common c
    left join put_off p on p.feed = s.name
    cross join lateral (select s.state is null and s.changed is null and s.good is null as loaded) never
    cross join lateral etl.unusual(s.definition, s.state, s.changed) unusual
  )
  select
    j.name,
    j.verdict,
    concat_ws(
      '. ',
      case when j.verdict = 'failing' and j.failed > j.last_well then j.error end,
      case
        when j.verdict = 'late' and j.put_off is not null then j.put_off
        when j.verdict in ('late', 'never ran') and j.never_loaded then 'Nothing was ever loaded'
      end,
      c.message,
      case when j.verdict = j.unusual then j.message end,
      case when c.schedule is null then 'No schedule: see etl.schedule()' end
    ),
    j.changed,
    j.failed,
    j.error,
    j.rejects,
    j.good,
    c.next_run,
    failing.since,
    case when j.verdict = j.unusual then j.hint end,
    (j.state).records,
    (j.state).usual_records
  from judged j
  cross join common c
  left join lateral (
    select min(r.finished_at) as since
    from etl.runs r
    where j.verdict = 'failing' and r.feed = j.name and r.status = 'failed' and r.finished_at > j.last_well
  ) failing on true
  order by j.name
$$;
comment on function etl.health() is
  'A row for each enabled feed. verdict, gravest first: secret refused, failing, late, never ran, drifted, shrunk,
stale, ok; message says why, empty where all is well, and hint holds the line to run, where there is one. failing_since
is the first failure since the feed was last known to be well. records are those of its last body, usual_records those
of the last one that was not shrunk. last_good_answer is null where pg_net is missing, or has lost its answers or
dropped them after its six hours. Without pg_cron and pg_net the ledger alone is judged: it does not show a recovery
that changed nothing. A feed that is put off at
each tick is late after two of them, or after a day where nothing is scheduled.';

create or replace function etl.waits()
returns table (feed text, since timestamptz, problem text)
language sql stable
set search_path = ''
as $$
  select
    w.feed,
    w.since,
    format(
      '%s; it is put off since %s. Run it alone: POST {"feeds":[%s]} to the function, or deno task etl with its name',
      w.reason, w.since, to_json(w.feed)
    )
  from etl.waiting w
  union all
  select
    f.name,
    a.xact_start,
    format(
      'Another run has had it since %s. Where that hangs, end it: select pg_terminate_backend(%s)', a.xact_start, a.pid
    )
  from pg_catalog.pg_locks l
  join pg_catalog.pg_stat_activity a on a.pid = l.pid
  -- As etl.claim_feeds() locks it.
  join etl.feeds f on hashtext(f.name)::oid = l.objid
  where l.locktype = 'advisory' and l.granted and l.objsubid = 2
    and l.database = (select d.oid from pg_catalog.pg_database d where d.datname = current_database())
    and l.classid = hashtext('tdc-etl feed')::oid
$$;
comment on function etl.waits() is
  'The feeds that wait, since when, why and what to do: those that the runs put off, and those that a run has now, for
whoever comes after it. since is null where the run is another role''s, and this one may not see it.';

create or replace function etl.trouble(out verdict text, out message text, out rests_on timestamptz)
language plpgsql stable
set search_path = ''
as $$
declare
  job record;
  refused timestamptz;
  let_in timestamptz;
  broken timestamptz;
  ran timestamptz;
  bad record;
  queue text;
begin
  select * into job from etl.job();
  select
    max(a.at) filter (where a.error_code = 'secret_refused'),
    max(a.at) filter (where a.ours and a.error_code is distinct from 'secret_refused'),
    max(a.at) filter (where a.ours and a.error_code not in ('secret_refused', 'busy')),
    max(a.at) filter (where a.report is not null)
  into refused, let_in, broken, ran
  from etl.answers() a;
  ran := greatest(ran, (select max(r.finished_at) from etl.runs r));

  -- What was answered before the calls that have had no answer of ours since says nothing of them.
  if refused > coalesce(let_in, '-infinity') and refused >= coalesce(job.awaited, '-infinity') then
    verdict := 'secret refused';
    message := 'etl_trigger_secret in the vault is not among the secrets in ETL_TRIGGER_SECRET of the function.';
    rests_on := refused;
  elsif broken > coalesce(ran, '-infinity') and broken >= coalesce(job.awaited, '-infinity') then
    verdict := 'failing';
    message := (select a.problem from etl.answers() a where a.at = broken and a.ours and a.problem is not null limit 1);
    rests_on := broken;
  elsif not job.active then
    verdict := 'late';
    message := 'The job of pg_cron is switched off: see etl.schedule().';
  elsif job.last_problem is not null then
    verdict := 'late';
    message := 'The function could not be called: ' || job.last_problem;
  elsif now() > job.overdue_from then
    verdict := 'late';
    message := coalesce(
      'pg_cron has not started the job since ' || job.last_start, 'pg_cron has never started the job'
    );
  elsif job.awaited > coalesce(ran, '-infinity') then
    select a.at, a.problem into bad
    from etl.answers() a
    where a.problem is not null and a.at > coalesce(ran, '-infinity')
    -- What went well may be the answer to another user of pg_net.
    order by a.error_code is not distinct from 'not_ours', a.at desc
    limit 1;
    verdict := 'late';
    queue := etl.queue_trouble();
    message := case
      when bad.problem is null and queue is null and job.awaited < now() - etl.answers_kept() then concat_ws(
        '. ',
        'What the function answered to the call of ' || job.awaited || ' is not known: pg_net has dropped it unseen',
        case when not job.looked_at then format('Have pg_cron look in time: select etl.schedule(%L)', job.schedule) end
      )
      else concat_ws(
        '. ',
        'The function was called and has not answered well since ' || coalesce(ran, job.awaited),
        'The latest bad answer that is known: ' || bad.problem,
        queue
      )
    end;
    rests_on := bad.at;
  end if;
end
$$;
comment on function etl.trouble() is
  'What keeps all feeds from being loaded: verdict secret refused, failing or late, why, and when the bad answer came
on which that rests. Nulls where nothing does.';

create or replace function etl.queue_trouble()
returns text
language plpgsql stable
set search_path = ''
as $$
declare
  is_up boolean := etl.net_worker_is_up();
  waiting bigint := 0;
begin
  if etl.can_read('net.http_request_queue') then
    -- While a call is in flight pg_net has deleted its row, and may not have committed that yet.
    select count(*) into waiting from net.http_request_queue q where is_up is false or q.xmax = '0'::xid;
  end if;
  return nullif(
    concat_ws(
      '. ',
      case when not is_up then 'The background worker of pg_net is down: select net.worker_restart()' end,
      case
        when waiting > 0 and is_up
          then 'Requests that wait while pg_net sends others, one batch at a time: ' || waiting
        when waiting > 0 then 'Requests that wait in pg_net: ' || waiting
      end
    ),
    ''
  );
end
$$;
comment on function etl.queue_trouble() is
  'What in pg_net may keep a call from being sent; null where nothing is known to.';

create or replace function etl.net_worker_is_up()
returns boolean
language sql stable
set search_path = ''
as $$
  select case
    when pg_has_role('pg_read_all_stats', 'usage')
      then exists (select from pg_catalog.pg_stat_activity a where a.backend_type ilike '%pg_net%')
  end
$$;
comment on function etl.net_worker_is_up() is
  'Whether the background worker of pg_net runs; null where this role may not know.';

revoke all on all functions in schema etl from public;

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
    perform etl.find_cells(feed, as_json, sentinel);
    if feed.absent = 'mark' and is_whole is not null then
      perform etl.carry_mark(target, as_json);
    end if;
    select m.* into inserted, updated, unchanged, duplicate
    from etl.merge_staged(feed, target, new_records, has_limit => true) m;
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
    select w.* into waiting from etl.try_retries(feed, target, new_records) w;
    read := read + waiting.read;
    inserted := inserted + waiting.inserted;
    updated := updated + waiting.updated;
    unchanged := unchanged + waiting.unchanged;
    duplicate := duplicate + waiting.duplicate;
    rejected := waiting.rejected;
    changed := etl.keep_retries(feed, run);
    if place is not null then
      perform etl.empty_tables();
      perform etl.map_columns(feed, sources);
    end if;
  end if;
  changed := changed or inserted + updated > 0;
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
  feed etl.feeds, target regclass, read bigint, has_limit boolean,
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
    different := etl.cast_cells(target);
    unchanged := read - different - etl.rejected_count();
  end if;
  if different > 0 then
    perform etl.validate_rows(target);
    duplicate := etl.drop_duplicates(target, unchanged > 0);
    -- For the table's own rules and triggers it is as ever.
    perform set_config('datestyle', 'ISO, MDY', true);
    perform etl.complete_rows(target);
    perform etl.validate_checks(target);
    -- A reject may take away another record's parent, or keep a unique value from another: so the rules between rows
    -- are asked, and the write is tried, until nothing more is rejected.
    loop
      perform etl.validate_relations(target);
      select count(*) filter (where not d.etl$exists), count(*) filter (where d.etl$exists)
      into inserted, updated
      from pg_temp.etl_delta d;
      exit when etl.write_delta(target, inserted, updated, rejects_left => case
        when has_limit then floor(feed.reject_limit * read)::bigint - etl.rejected_count()
      end);
      if has_limit then
        perform etl.check_limit(feed, read, at_least => true);
      end if;
    end loop;
  end if;
end
$$;
comment on function etl.merge_staged(etl.feeds, regclass, bigint, boolean) is
  'Brings so many records of etl_staging into the target, their columns being mapped; what is rejected is in
etl_rejected after it. has_limit: whether ETL06 is raised as soon as it is clear that there are too many.';

revoke all on all functions in schema etl from public;

-- supabase/sql/plan.sql
-- The feeds of a run, whether another run is in their way, and whether what the loader remembers of them may be
-- trusted.

create or replace function etl.plan(names text[], force boolean default false, day date default null)
returns setof jsonb
language plpgsql stable
set search_path = ''
as $$
declare
  unknown text;
begin
  select string_agg(n, ', ') into unknown
  from unnest(names) n
  where not exists (select from etl.feeds f where f.name = n);
  if unknown is not null then
    raise exception 'there is no feed %', unknown
      using errcode = 'ETL01',
        hint = 'etl.feeds has: '
          || coalesce((select string_agg(f.name, ', ' order by f.name) from etl.feeds f), 'none');
  end if;
  if day is not null then
    select string_agg(f.name, ', ' order by f.name) into unknown
    from etl.feeds f
    where (f.name = any (names) or (names = '{}' and f.enabled)) and etl.address(f, day) = f.url;
    if unknown is not null then
      raise exception 'the URL of % holds no {day}', unknown
        using errcode = 'ETL12',
          hint = 'Name the feeds to load: only where a URL holds {day} is there a file of a day.';
    end if;
  end if;
  return query
  with recursive parents as (
    select child.name as child, parent.name as parent
    from etl.feeds child
    join pg_catalog.pg_constraint c on c.conrelid = to_regclass(child.target) and c.contype = 'f'
    join etl.feeds parent on to_regclass(parent.target) = c.confrelid
    where c.conrelid <> c.confrelid
  ), ancestors as (
    select p.child, p.parent as ancestor
    from parents p
    union
    select a.child, p.parent
    from ancestors a
    join parents p on p.child = a.ancestor
  )
  select to_jsonb(f) || jsonb_build_object(
    'parents', (select coalesce(jsonb_agg(distinct p.parent), '[]') from parents p where p.child = f.name),
    'turn', case
      when w.led then '3 ' || to_char(w.since at time zone 'UTC', 'YYYYMMDDHH24MISSUS')
      when w.feed is not null then '1 ' || to_char(w.since at time zone 'UTC', 'YYYYMMDDHH24MISSUS')
      else concat('2 ', to_char(last_run at time zone 'UTC', 'YYYYMMDDHH24MISSUS'))
    end,
    'etag', s.etag, 'last_modified', s.last_modified,
    'content_hash', s.content_hash, 'content_length', s.content_length,
    'waits', f.contents = 'changes' and (
      (s.feed is null and exists (select from etl.rejects r where r.feed = f.name))
      or exists (
        select from etl.rejects r
        where r.feed = f.name
          and (r.sqlstate !~ '^(22|23502|23514)' or r.reason ~ '^(is refused by a trigger|fits no partition)')
      )
    ),
    'address', address.asked, 'backfill', address.backfill,
    'not_yet', not address.backfill and address.asked <> f.url and exists (
      select
      from etl.runs r
      where r.feed = f.name and r.status = 'changed' and r.finished_at > now() - coalesce(f.fresh_within, '2 days')
    )
  )
  from etl.feeds f
  cross join lateral (
    select etl.address(f, day) as asked, etl.address(f, day) is distinct from etl.address(f) as backfill
  ) address
  left join etl.feed_state s
    on s.feed = f.name
    and not force
    and not address.backfill
    and s.definition_hash = etl.definition_hash(f)
    and (f.contents = 'changes' or not exists (
      select from etl.rejects r
      where r.feed = f.name
        and (r.sqlstate !~ '^(22|23502|23514)' or r.reason ~ '^(is refused by a trigger|fits no partition)')
    ))
    and not exists (select from etl.approvals a where a.feed = f.name and a.removals >= s.withheld)
  left join etl.waiting w on w.feed = f.name
  cross join lateral (
    select greatest(
      (select max(r.finished_at) from etl.runs r where r.feed = f.name and r.status = 'changed'),
      (select max(r.finished_at) from etl.runs r where r.feed = f.name and r.status = 'failed')
    ) as last_run
  ) ledger
  where f.name = any (names) or (names = '{}' and f.enabled)
  -- Whoever is below another has more above it; those of a circle have the same.
  order by (select count(*) from ancestors a where a.child = f.name and a.ancestor <> f.name), f.name;
end
$$;
comment on function etl.plan(text[], boolean, date) is
  'The feeds of a run, parents before children by the foreign keys: each a row of etl.feeds with the names of its
parents, its turn, and the validators of its etl.feed_state. All enabled feeds where no name is given. Raises ETL01 for
a name that is not in etl.feeds. turn is a text, the least of them first: those that wait, longest first; then who was
changed or failed longest ago; then those that led a run and wait all the same. Validators are null where they must not
be used: when forced, when a definition has changed, while there are rejects that depend on more than their record.
Those alone that hold no value of a type (class 22), lack one (23502) or break a CHECK (23514) do not; but whatever a
trigger refuses does, and what fits no partition. Nor are they once etl.approve() has permitted what the last run
withheld. Of a feed of changes such rejects do not matter; waits: whether it has any, to be tried again. address: the
URL with its dates, of the day that is given, else of today; null where they cannot be written. backfill: it is the
file of another day than today''s, and no validator is used. not_yet: that there is no such file is no failure, for the
feed was changed within fresh_within, or two days.
Raises ETL12 where a day is given and the URL of a feed holds none.';

create or replace function etl.claim_feeds(names text[])
returns setof text
language plpgsql
set search_path = ''
as $$
declare
  wanted text;
begin
  for wanted in
    select f.name from etl.feeds f where f.name = any (names) or (names = '{}' and f.enabled) order by f.name
  loop
    if not pg_try_advisory_xact_lock(hashtext('tdc-etl feed'), hashtext(wanted)) then
      return next wanted;
    end if;
  end loop;
end
$$;
comment on function etl.claim_feeds(text[]) is
  'Has these feeds, or all enabled ones where no name is given, for this transaction alone. Returns those that another
run has; waits for nothing.';

create or replace function etl.claim_tables(feed_name text)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
  target regclass := (select to_regclass(f.target) from etl.feeds f where f.name = feed_name);
  parent oid;
begin
  -- Where one is refused, the block gives up the others.
  if not pg_try_advisory_xact_lock(hashtext('tdc-etl table'), hashoid(etl.root_of(target))) then
    raise exception using errcode = 'ETL00';
  end if;
  for parent in
    select distinct etl.root_of(k.parent) from etl.foreign_keys(target) k where k.child = target order by 1
  loop
    if not pg_try_advisory_xact_lock_shared(hashtext('tdc-etl table'), hashoid(parent)) then
      raise exception using errcode = 'ETL00';
    end if;
  end loop;
  return true;
exception when sqlstate 'ETL00' then
  return false;
end
$$;
comment on function etl.claim_tables(text) is
  'Has the feed''s table for this transaction alone, and shares those that its keys refer to with other runs that do.
False where another run is in the way; waits for nothing. A parent that is being loaded so makes no orphans.';

create or replace function etl.root_of(relation regclass)
returns oid
language sql stable
set search_path = ''
as $$
  select coalesce(pg_partition_root(relation), relation)::oid
$$;
comment on function etl.root_of(regclass) is 'The partitioned table that a partition belongs to; any other itself.';

create or replace function etl.remember(
  planned jsonb, etag text, last_modified text, content_hash text, content_length bigint, records bigint,
  as_json boolean
)
returns void
language plpgsql
set search_path = ''
as $$
declare
  present etl.feeds := (select f from etl.feeds f where f.name = planned ->> 'name');
  before etl.feed_state := (select s from etl.feed_state s where s.feed = present.name);
  state etl.feed_state := before;
begin
  if (planned ->> 'backfill')::boolean then
    update etl.feed_state s set definition_hash = '' where s.feed = present.name and s.definition_hash <> '';
    return;
  end if;
  if etl.definition(present) is distinct from etl.definition(jsonb_populate_record(null::etl.feeds, planned)) then
    return;
  end if;
  state.feed := present.name;
  state.etag := etag;
  state.last_modified := last_modified;
  state.content_hash := content_hash;
  state.content_length := content_length;
  -- The target's definition is what it is now, under the lock of the merge: the one that was obeyed.
  state.definition_hash := etl.definition_hash(present);
  state := etl.note_columns(
    state, to_regclass(present.target), as_json and (records < 10 or records < before.usual_records / 10)
  );
  state := etl.note_records(state, present, records);
  -- ON CONFLICT alone would lock the row, which is a write, too.
  if state is not distinct from before then
    return;
  end if;
  insert into etl.feed_state as s (
    feed, etag, last_modified, content_hash, content_length, definition_hash, carried_columns, ignored_columns,
    gone_columns, unplaced_columns, drifted_since, records, usual_records, shrunk_since
  )
  values (
    state.feed, state.etag, state.last_modified, state.content_hash, state.content_length, state.definition_hash,
    state.carried_columns, state.ignored_columns, state.gone_columns, state.unplaced_columns, state.drifted_since,
    state.records, state.usual_records, state.shrunk_since
  )
  on conflict on constraint feed_state_pkey do update
  set etag = excluded.etag, last_modified = excluded.last_modified, content_hash = excluded.content_hash,
    content_length = excluded.content_length, definition_hash = excluded.definition_hash,
    carried_columns = excluded.carried_columns, ignored_columns = excluded.ignored_columns,
    gone_columns = excluded.gone_columns, unplaced_columns = excluded.unplaced_columns,
    drifted_since = excluded.drifted_since, records = excluded.records, usual_records = excluded.usual_records,
    shrunk_since = excluded.shrunk_since;
end
$$;
comment on function etl.remember(jsonb, text, text, text, bigint, bigint, boolean) is
  'Keeps what lets the next run find out that nothing is new, and health what the body was like, for a feed as
etl.plan() gave it, while its etl_columns are there. Keeps nothing where the feed was redefined or removed meanwhile,
and writes nothing where all is as it was. After the file of another day the next run trusts no validator: it brings
back what that file was older in.';

create or replace function etl.remember_validators(
  feed_name text, content_hash text, etag text, last_modified text, content_length bigint
)
returns void
language sql
set search_path = ''
as $$
  update etl.feed_state s
  set etag = remember_validators.etag, last_modified = remember_validators.last_modified,
    content_length = remember_validators.content_length
  where s.ctid = (
    select l.ctid
    from etl.feed_state l
    where l.feed = feed_name and l.content_hash = remember_validators.content_hash
    for update skip locked
  )
$$;
comment on function etl.remember_validators(text, text, text, text, bigint) is
  'Keeps the validators of a later answer with the same content. Waits for nobody: what is not kept now is kept by the
next run.';

create or replace function etl.definition(feed etl.feeds)
returns jsonb
language sql immutable
set search_path = ''
as $$
  select to_jsonb(feed) - '{name,reject_limit,enabled}'::text[]
$$;
comment on function etl.definition(etl.feeds) is
  'What of a feed''s row decides what becomes of a body: all columns but its name, its limit and whether it is
enabled.';

create or replace function etl.definition_hash(feed etl.feeds)
returns text
language sql stable
set search_path = ''
as $$
  -- The catalog as it is, not pg_get_constraintdef: that would wait for a lock on the table, and with it the whole run.
  select md5(concat_ws(
    e'\n', etl.definition(feed),
    -- Another day's file has validators of its own.
    etl.address(feed),
    (
      select string_agg(
        concat_ws(
          ' ', a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
          case when a.attgenerated <> '' then v.adbin end
        ),
        ',' order by a.attnum
      )
      from pg_catalog.pg_attribute a
      left join pg_catalog.pg_attrdef v on v.adrelid = a.attrelid and v.adnum = a.attnum
      where a.attrelid = to_regclass(feed.target) and a.attnum > 0 and not a.attisdropped
    ),
    (
      select string_agg(
        concat_ws(' ', c.conname, c.contype, c.conkey, c.confrelid::regclass, c.confkey, c.conbin),
        ',' order by c.conname
      )
      from pg_catalog.pg_constraint c
      where c.conrelid = to_regclass(feed.target)
    ),
    (
      select string_agg(
        concat_ws(
          ' ', i.indexrelid::regclass, i.indisunique, i.indkey, i.indclass, i.indnullsnotdistinct, i.indpred, i.indexprs
        ),
        ',' order by i.indexrelid::regclass::text
      )
      from pg_catalog.pg_index i
      where i.indrelid = to_regclass(feed.target)
    )
  ))
$$;
comment on function etl.definition_hash(etl.feeds) is
  'MD5 of everything but the body that decides what a load does: the feed''s row, the day in its URL, the target''s
columns, constraints, indexes.';

revoke all on all functions in schema etl from public;

-- supabase/sql/rejects.sql
-- The rejects of a load: which are kept in etl.rejects, how many there are, and whether they are too many.

create or replace function etl.keep_rejects(loaded etl.feeds, run uuid, as_json boolean)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
  is_written boolean;
begin
  execute etl.fill(
    $sql$
    with present as materialized (
      select
        n.record_number, {record} as record, {raw} as raw, r.column_name, r.value, r.reason, r.sqlstate,
        r.constraint_name
      from (select distinct on (etl$staged) * from pg_temp.etl_rejected) r
      join (select ctid, row_number() over (order by ctid) as record_number from pg_temp.etl_staging) n
        on n.ctid = r.etl$staged
      join pg_temp.etl_staging s on s.ctid = r.etl$staged
    ), known as materialized (
      select distinct on (r.record_number) r.id, r.record_number
      from etl.rejects r
      join present p on p.record_number = r.record_number
      where r.feed = $1
      order by r.record_number, r.since desc
    ), gone as (
      delete from etl.rejects r
      where r.feed = $1 and (r.record_number is not null or $3) and not exists (select from known k where k.id = r.id)
      returning 1
    ), rewritten as (
      update etl.rejects r
      set record = p.record, raw = p.raw, column_name = p.column_name, value = p.value, reason = p.reason,
        sqlstate = p.sqlstate, constraint_name = p.constraint_name, last_run = $2
      from known k
      join present p on p.record_number = k.record_number
      where r.id = k.id
        and row(r.record, r.raw, r.column_name, r.value, r.reason, r.sqlstate, r.constraint_name) is distinct from row(
          p.record, p.raw, p.column_name, p.value, p.reason, p.sqlstate, p.constraint_name
        )
      returning 1
    ), written as (
      insert into etl.rejects (
        feed, record_number, record, raw, column_name, value, reason, sqlstate, constraint_name, first_run, last_run
      )
      select $1, p.*, $2, $2
      from present p
      where not exists (select from known k where k.record_number = p.record_number)
      returning 1
    )
    select exists (table gone) or exists (table rewritten) or exists (table written)
    $sql$,
    case when as_json then etl.rejected_json() else etl.rejected_csv() end
  ) into is_written using loaded.name, run, loaded.absent = 'keep';
  return is_written;
end
$$;
comment on function etl.keep_rejects(etl.feeds, uuid, boolean) is
  'Makes etl.rejects what is wrong now, writing only what is new, other or gone; returns whether anything was.
What has no number is a row that the file lacks: see etl.keep_kept().';

create or replace function etl.rejected_json()
returns jsonb
language sql immutable
set search_path = ''
as $$
  -- Valid JSON can be no jsonb: a number with too large an exponent.
  select jsonb_build_object(
    'record', $sql$case when r.raw is null and pg_input_is_valid(s.record, 'jsonb') then s.record::jsonb end$sql$,
    'raw', $sql$coalesce(r.raw, case when not pg_input_is_valid(s.record, 'jsonb') then s.record end)$sql$
  )
$$;
comment on function etl.rejected_json() is
  'SQL text: of a rejected JSON record, the object where it is one, or its text.';

create or replace function etl.rejected_csv()
returns jsonb
language sql stable
set search_path = ''
as $$
  select jsonb_build_object('raw', 'r.raw', 'record', etl.fill(
    $sql$case when r.raw is null then jsonb_object({names}::text[], array[{cells}]::text[]) end$sql$,
    jsonb_build_object(
      'names', quote_literal(array_agg(n.name order by c.position)),
      'cells', string_agg('s.c' || c.position, ', ' order by c.position)
    )
  ))
  from pg_temp.etl_columns c
  join etl.source_names() n on n.place = c.position
  where c.stored
$$;
comment on function etl.rejected_csv() is
  'SQL text: of a rejected CSV record, its cells under the names of the header, where it could be split, or its
text.';

create or replace function etl.rejected_count()
returns bigint
language sql
set search_path = ''
as $$
  select count(distinct r.etl$staged) from pg_temp.etl_rejected r
$$;
comment on function etl.rejected_count() is 'How many of the staged records are rejected so far.';

create or replace function etl.reject_faults(step text, faults jsonb[])
returns void
language plpgsql
set search_path = ''
as $$
begin
  execute etl.fill(
    $sql$
    insert into pg_temp.etl_rejected (etl$staged, column_name, value, reason, sqlstate, constraint_name)
    select r.etl$staged, r.column_name, to_jsonb(s.*) ->> r.column_name, r.reason, r.sqlstate, r.constraint_name
    from unnest($1) fault
    cross join jsonb_populate_record(null::pg_temp.etl_rejected, fault) r
    join pg_temp.{step} s on s.etl$staged = r.etl$staged
    $sql$,
    jsonb_build_object('step', step)
  ) using faults;
  perform etl.remove_rejected(step, cardinality(faults));
end
$$;
comment on function etl.reject_faults(text, jsonb[]) is
  'Rejects what etl.isolate found, and takes it out of the step.';

create or replace function etl.remove_rejected(step text, offenders bigint)
returns void
language plpgsql
set search_path = ''
as $$
begin
  if offenders > 0 then
    execute etl.fill(
      $sql$delete from pg_temp.{step} t using pg_temp.etl_rejected r where r.etl$staged = t.etl$staged$sql$,
      jsonb_build_object('step', step)
    );
  end if;
end
$$;
comment on function etl.remove_rejected(text, bigint) is
  'Takes the records that have been rejected out of a step, where there are any offenders.';

create or replace function etl.check_limit(feed etl.feeds, read bigint, at_least boolean default false)
returns void
language plpgsql
set search_path = ''
as $$
declare
  rejected bigint := etl.rejected_count();
  first record;
begin
  if rejected <= feed.reject_limit * read then
    return;
  end if;
  select s.record_number, r.column_name, r.reason, r.constraint_name into first
  from (select ctid, row_number() over (order by ctid) as record_number from pg_temp.etl_staging) s
  join pg_temp.etl_rejected r on r.etl$staged = s.ctid
  order by s.record_number
  limit 1;
  perform etl.raise_limit(
    feed, case when at_least then 'at least ' else '' end || rejected, read,
    first.record_number, first.column_name, first.reason, first.constraint_name
  );
end
$$;
comment on function etl.check_limit(etl.feeds, bigint, boolean) is
  'Raises ETL06 where more of the records read are rejected than the feed''s limit; at_least: not all have been
tried.';

create or replace function etl.raise_limit(
  feed etl.feeds, rejected text, read bigint, record_number bigint, column_name text, reason text, constraint_name text
)
returns void
language plpgsql
set search_path = ''
as $$
begin
  raise exception '% of % records break a rule, more than the limit of % %%; the first is %',
      rejected, read, round(feed.reject_limit * 100, 2)::float8,
      concat_ws(
        ' ', 'record', record_number || ',', 'column ' || column_name || ':',
        -- What a trigger or Postgres said may hold a value.
        regexp_replace(reason, '^(is refused by a trigger|cannot be written): .*', '\1'), '(' || constraint_name || ')'
      )
    using errcode = 'ETL06',
      hint = 'Nothing of this feed was loaded. Have the feed mended, or raise etl.feeds.reject_limit.';
end
$$;
comment on function etl.raise_limit(etl.feeds, text, bigint, bigint, text, text, text) is
  'Raises ETL06: so many of the records read are rejected, and the first is this one.';

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
    place, id, record_number, record, raw, as_json, column_name, value, reason, sqlstate, constraint_name
  )
  select
    row_number() over (order by r.since, r.first_run, r.record_number), r.id, r.record_number, r.record, r.raw,
    r.as_json, r.column_name, r.value, r.reason, r.sqlstate, r.constraint_name
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
    sources text[], column_name text, value text, reason text, sqlstate text, constraint_name text, fate text
  ) on commit drop;
  delete from pg_temp.etl_retries;
end
$$;
comment on function etl.empty_retries() is
  'Makes etl_retries, once a run, or empties it for the next feed. id: of the row in etl.rejects, null for a new one;
etl$staged: where the new file has the record; sources: the names that the target has a column for; fate: null while it
waits, loaded, or superseded by a newer record.';

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
  perform etl.set_date_order(feed);
  execute etl.fill(
    $sql$
    insert into pg_temp.etl_retries (
      place, etl$staged, record_number, record, raw, as_json, column_name, value, reason, sqlstate, constraint_name
    )
    select
      $1 + n.record_number, r.etl$staged, n.record_number, {nulls} || {record}, {raw}, $2,
      r.column_name, r.value, r.reason, r.sqlstate, r.constraint_name
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
    sqlstate = r.sqlstate, constraint_name = r.constraint_name
  from renewed r
  where w.place = r.old_place;
  if exists (select from pg_temp.etl_retries w where w.id is null) then
    perform etl.read_keys(target, of_rejected => true);
    perform etl.add_keys(target, '(select * from pg_temp.etl_retries where id is null)', 'etl$staged', 'place');
  end if;
  perform etl.supersede(target);
end
$$;
comment on function etl.add_retries(etl.feeds, regclass, boolean) is
  'Adds what is rejected of the new file to etl_retries, and finds out which of all that waits is superseded.';

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

create or replace function etl.supersede(target regclass)
returns void
language plpgsql
set search_path = ''
as $$
declare
  same_key constant text := etl.same_key(target, 'k', 'n');
begin
  execute etl.fill(
    $sql$
    update pg_temp.etl_retries w
    set fate = 'superseded'
    from pg_temp.etl_keys k
    join pg_temp.etl_keys n on {same_key}
    join pg_temp.etl_retries newer on newer.place = n.etl$place
    where w.place = k.etl$place
      and row(coalesce(newer.etl$staged, '(0,0)'), newer.place) > row(coalesce(w.etl$staged, '(0,0)'), w.place)
    $sql$,
    jsonb_build_object('same_key', same_key)
  );
  if etl.key_of(target) <@ etl.carried_columns() then
    execute etl.fill(
      $sql$
      update pg_temp.etl_retries w
      set fate = 'superseded'
      from pg_temp.etl_keys k
      join ({loaded}) n on {same_key}
      where w.place = k.etl$place and n.etl$staged > coalesce(w.etl$staged, '(0,0)')
      $sql$,
      jsonb_build_object('same_key', same_key, 'loaded', etl.typed_cells(with_length => true))
    );
  end if;
end
$$;
comment on function etl.supersede(regclass) is
  'Marks what waits as superseded where a newer record has its key: a later one of the new file, be it loaded or not,
or any of it where the reject is of an earlier file.';

create or replace function etl.try_retries(
  feed etl.feeds, target regclass, new_records bigint,
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
    count(*) filter (where w.etl$staged is null and w.record is not null), 0, 0, 0,
    count(*) filter (where w.fate is not null),
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
        select m.* into part from etl.merge_staged(feed, target, staged, has_limit => false) m;
        inserted := inserted + part.inserted;
        updated := updated + part.updated;
        unchanged := unchanged + part.unchanged;
        duplicate := duplicate + part.duplicate;
        -- What has loaded may be what another one lacks.
        goes_on := etl.judge_retries() or goes_on;
      end if;
      alter table pg_temp.etl_staging rename to etl_again;
    end loop;
  end loop;
  select count(*) filter (where w.etl$staged is not null or w.record is not null) into rejected
  from pg_temp.etl_retries w
  where w.fate is null;
  perform etl.check_new_rejects(feed, new_records);
end
$$;
comment on function etl.try_retries(etl.feeds, regclass, bigint) is
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
    constraint_name = r.constraint_name
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
  rejected bigint := (
    select count(*) from pg_temp.etl_retries w where w.etl$staged is not null and w.fate is null
  );
  first record;
begin
  if rejected > feed.reject_limit * new_records then
    select w.* into first
    from pg_temp.etl_retries w
    where w.etl$staged is not null and w.fate is null
    order by w.etl$staged
    limit 1;
    perform etl.raise_limit(
      feed, rejected::text, new_records, first.record_number, first.column_name, first.reason, first.constraint_name
    );
  end if;
end
$$;
comment on function etl.check_new_rejects(etl.feeds, bigint) is
  'Raises ETL06 where more of the new file''s records are rejected than the feed''s limit. What waited before does not
count.';

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
      constraint_name = w.constraint_name, last_run = keep_retries.run
    from pg_temp.etl_retries w
    where r.id = w.id and w.fate is null
      and row(r.column_name, r.value, r.reason, r.sqlstate, r.constraint_name)
        is distinct from row(w.column_name, w.value, w.reason, w.sqlstate, w.constraint_name)
    returning 1
  ), written as (
    insert into etl.rejects (
      feed, record_number, record, raw, as_json, column_name, value, reason, sqlstate, constraint_name,
      first_run, last_run
    )
    select
      keep_retries.feed.name, w.record_number, w.record, w.raw, w.as_json, w.column_name, w.value, w.reason, w.sqlstate,
      w.constraint_name, run, run
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

-- supabase/sql/rules.sql
-- What a record breaks by itself: NOT NULL, CHECK, the header once more. Then the rows that its keys leave, made whole.

create or replace function etl.validate_rows(target regclass)
returns void
language plpgsql
set search_path = ''
as $$
declare
  rules jsonb;
  first_broken text;
  offenders bigint;
begin
  select
    jsonb_agg(to_jsonb(r)),
    'case ' || string_agg(format('when %s then %s', r.broken, r.rule), ' ' order by r.rule) || ' end'
  into rules, first_broken
  from (
    select row_number() over (order by r.sqlstate, r.place, r.constraint_name) as rule, r.*
    from (
      select c.attnum as place, c.name::text as column_name, format('%I is null', c.name) as broken,
        'is missing' as reason, '23502' as sqlstate, null::text as constraint_name
      from pg_temp.etl_columns c
      join pg_catalog.pg_attribute a on a.attrelid = target and a.attnum = c.attnum and a.attnotnull
      union all
      select
        null,
        case
          when cardinality(k.conkey) = 1 then (select c.name from pg_temp.etl_columns c where c.attnum = k.conkey[1])
        end,
        format('(%s) is false', pg_get_expr(k.conbin, k.conrelid)),
        'breaks the rule ' || pg_get_constraintdef(k.oid), '23514', k.conname
      from pg_catalog.pg_constraint k
      where k.conrelid = target and k.contype = 'c'
        and k.conkey <@ array(select c.attnum from pg_temp.etl_columns c where c.name is not null)
      union all
      select
        null, null, string_agg(format('%I::text = %L', c.name, c.source), ' and '),
        'repeats the header line', '22P04', null
      from pg_temp.etl_columns c
      where c.name is not null and c.stored
    ) r
  ) r;
  offenders := etl.execute_on(
    target, 'etl_typed',
    etl.fill(
      $sql$
      insert into pg_temp.etl_rejected (etl$staged, column_name, value, reason, sqlstate, constraint_name)
      select bad.etl$staged, r.column_name, bad.typed ->> r.column_name, r.reason, r.sqlstate, r.constraint_name
      from (
        select t.etl$staged, broken.rule, to_jsonb(t.*) as typed
        from pg_temp.etl_typed t
        cross join lateral (select {first_broken} as rule) broken
        where broken.rule is not null
      ) bad
      join jsonb_to_recordset({rules}) as r(
        rule int, column_name text, reason text, sqlstate text, constraint_name text
      ) using (rule)
      $sql$,
      jsonb_build_object('first_broken', first_broken, 'rules', quote_literal(rules))
    ),
    etl.fill(
      $sql$select {first_broken} from pg_temp.etl_typed where etl$staged between $1 and $2$sql$,
      jsonb_build_object('first_broken', first_broken)
    )
  );
  perform etl.remove_rejected('etl_typed', offenders);
end
$$;
comment on function etl.validate_rows(regclass) is
  'Rejects what breaks NOT NULL, a CHECK of carried columns, or is the header line once more.';

create or replace function etl.drop_duplicates(target regclass, some_unchanged boolean)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
  key name[] := etl.key_of(target);
  places jsonb := jsonb_build_object('key', etl.each(key, '{column}'));
  repeated boolean;
  undone bigint := 0;
  dropped bigint := 0;
begin
  if some_unchanged and exists (select from pg_temp.etl_typed t where t.etl$exists) then
    -- Otherwise Postgres may sort all cells by their key, where a look at each would do.
    analyze pg_temp.etl_typed;
    execute etl.fill(
      $sql$
      delete from pg_temp.etl_typed d
      using ({typed}) t
      where d.etl$exists and {same_key} and t.etl$staged > d.etl$staged
        and not exists (select from pg_temp.etl_rejected r where r.etl$staged = t.etl$staged)
      $sql$,
      jsonb_build_object(
        'typed', etl.typed_cells(with_length => true), 'same_key', etl.same_key(target, 't', 'd')
      )
    );
    get diagnostics undone = row_count;
  end if;
  execute etl.fill(
    $sql$select exists (select from pg_temp.etl_typed group by {key} having count(*) > 1)$sql$, places
  ) into repeated;
  if repeated then
    execute etl.fill(
      $sql$
      delete from pg_temp.etl_typed t
      using (
        select etl$staged, row_number() over (partition by {key} order by etl$staged desc) as place
        from pg_temp.etl_typed
      ) d
      where d.etl$staged = t.etl$staged and d.place > 1
      $sql$,
      places
    );
    get diagnostics dropped = row_count;
  end if;
  return undone + dropped;
end
$$;
comment on function etl.drop_duplicates(regclass, boolean) is
  'Of records with the same key the last one stays, and none where that one is what the target has already; returns
how many went. some_unchanged: whether any record is what the target has.';

create or replace function etl.complete_rows(target regclass)
returns void
language plpgsql
set search_path = ''
set client_min_messages = warning
as $$
declare
  key name[] := etl.key_of(target);
  is_known constant text := etl.each(key[:1], 'o.{column} is not null');
  kept text;
  generated text;
  kept_names text;
  rows text;
  filled text;
begin
  -- A volatile default is left out, as one that takes from a sequence: a look at the rules must not move it.
  select
    string_agg(
      etl.fill('case when {is_known} then o.{column} else {default} end as {column}', jsonb_build_object(
        'is_known', is_known, 'column', quote_ident(a.attname),
        'default', case when a.attidentity = '' and not etl.is_volatile(d.adbin::text) then v.value else 'null' end
      )),
      ', '
    ) filter (where a.attgenerated = ''),
    string_agg(v.value || ' as ' || quote_ident(a.attname), ', ') filter (where a.attgenerated <> ''),
    string_agg(quote_ident(a.attname), ', ')
  into kept, generated, kept_names
  from pg_catalog.pg_attribute a
  left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
  cross join lateral (select coalesce(pg_get_expr(d.adbin, d.adrelid), 'null') as value) v
  where a.attrelid = target and a.attnum > 0 and not a.attisdropped
    and not exists (select from pg_temp.etl_columns c where c.name = a.attname);
  if kept is null and generated is null then
    -- They are whole: no second copy of them. The other table is the next feed's etl_typed.
    alter table if exists pg_temp.etl_delta rename to etl_spare;
    alter table pg_temp.etl_typed rename to etl_delta;
    alter table if exists pg_temp.etl_spare rename to etl_typed;
    return;
  end if;
  rows := etl.fill(
    $sql$
    select {columns}
    from (select {carried} from pg_temp.etl_typed t left join {target} o on {same_key}) d
    $sql$,
    jsonb_build_object(
      'target', target, 'same_key', etl.same_key(target, 'o', 't'),
      'columns', concat_ws(', ', 'd.*', generated),
      'carried', concat_ws(
        ', ', 't.etl$staged', etl.each(etl.carried_columns(), 't.{column}'), '(' || is_known || ') as etl$exists', kept
      )
    )
  );
  if generated is null then
    perform etl.shape_table('etl_delta', '{etl$staged tid,etl$exists boolean}'::text[] || array(
      select format('%I %s%s', a.attname, format_type(a.atttypid, a.atttypmod), etl.collation_of(a.attcollation))
      from pg_catalog.pg_attribute a
      where a.attrelid = target and a.attnum > 0 and not a.attisdropped
      order by a.attnum
    ));
    filled := etl.fill('insert into pg_temp.etl_delta ({columns}) ', jsonb_build_object(
      'columns', concat_ws(', ', 'etl$staged', etl.each(etl.carried_columns(), '{column}'), 'etl$exists', kept_names)
    ));
  else
    -- What a generated column's expression gives is converted at the write alone, where that is asked of each record.
    drop table if exists pg_temp.etl_delta;
    filled := 'create temp table etl_delta on commit drop as ';
  end if;
  perform etl.execute_on(
    target, 'etl_typed', filled || rows, rows || ' where d.etl$staged between $1 and $2'
  );
end
$$;
comment on function etl.complete_rows(regclass) is
  'Makes etl_delta of etl_typed: whole rows, as they would be stored, with what the feed does not carry.';

create or replace function etl.is_volatile(expression text)
returns boolean
language sql stable
set search_path = ''
as $$
  select coalesce(bool_or(p.provolatile = 'v'), false)
  from regexp_matches(expression, ':(?:funcid|opfuncid) (\d+)', 'g') match
  join pg_catalog.pg_proc p on p.oid = match[1]::oid
$$;
comment on function etl.is_volatile(text) is
  'Whether an expression, as pg_attrdef.adbin has it, calls a function that is volatile: each call may give
something else.';

create or replace function etl.validate_checks(target regclass)
returns void
language plpgsql
set search_path = ''
as $$
declare
  rule record;
  places jsonb;
  offenders bigint;
begin
  for rule in
    select a.attname
    from pg_catalog.pg_attribute a
    where a.attrelid = target and a.attnum > 0 and not a.attisdropped
      and a.attnotnull and not a.atthasdef and a.attidentity = ''
      and not exists (select from pg_temp.etl_columns c where c.name = a.attname)
      -- An empty table has come to require it meanwhile: no record is at fault.
      and not etl.is_empty(target)
    order by a.attnum
  loop
    execute etl.fill(
      $sql$
      insert into pg_temp.etl_rejected (etl$staged, column_name, reason, sqlstate)
      select d.etl$staged, {name}, 'is missing', '23502' from pg_temp.etl_delta d where d.{column} is null
      $sql$,
      jsonb_build_object('name', quote_literal(rule.attname), 'column', quote_ident(rule.attname))
    );
    get diagnostics offenders = row_count;
    perform etl.remove_rejected('etl_delta', offenders);
  end loop;
  for rule in
    select
      k.conname, pg_get_expr(k.conbin, k.conrelid) as holds, pg_get_constraintdef(k.oid) as definition,
      case when cardinality(k.conkey) = 1 then a.attname end as column_name
    from pg_catalog.pg_constraint k
    left join pg_catalog.pg_attribute a on a.attrelid = target and a.attnum = k.conkey[1]
    where k.conrelid = target and k.contype = 'c'
      and not k.conkey <@ array(select c.attnum from pg_temp.etl_columns c where c.name is not null)
    order by k.conname
  loop
    places := jsonb_build_object(
      'holds', rule.holds, 'column_name', quote_nullable(rule.column_name),
      'reason', quote_literal('breaks the rule ' || rule.definition), 'constraint_name', quote_literal(rule.conname)
    );
    offenders := etl.execute_on(
      target, 'etl_delta',
      etl.fill(
        $sql$
        insert into pg_temp.etl_rejected (etl$staged, column_name, value, reason, sqlstate, constraint_name)
        select d.etl$staged, {column_name}, to_jsonb(d.*) ->> {column_name}, {reason}, '23514', {constraint_name}
        from pg_temp.etl_delta d
        where ({holds}) is false
        $sql$,
        places
      ),
      etl.fill($sql$select {holds} from pg_temp.etl_delta where etl$staged between $1 and $2$sql$, places)
    );
    perform etl.remove_rejected('etl_delta', offenders);
  end loop;
end
$$;
comment on function etl.validate_checks(regclass) is
  'Rejects what lacks a required column that the feed does not carry, or breaks a CHECK that names such a column:
both are tried on the row as it would be stored.';

revoke all on all functions in schema etl from public;

-- supabase/sql/secrets.sql
-- The function's URL and the trigger secret, in the vault, and the secrets that feeds name. The database makes its own
-- secrets itself, so that no statement holds one: Postgres logs the text of a statement that fails.

create or replace function etl.connect(function_url text)
returns text
language plpgsql
set search_path = ''
as $$
begin
  perform etl.require('supabase_vault');
  perform etl.keep_secret('etl_function_url', function_url);
  if not exists (select from vault.secrets s where s.name = 'etl_trigger_secret') then
    perform etl.keep_secret('etl_trigger_secret', etl.new_secret());
  end if;
  return (select s.secret from etl.secrets() s);
end
$$;
comment on function etl.connect(text) is
  'Puts the function''s URL into the vault and, where there is none, a new trigger secret; returns the secret, for
the function to know. The same again changes nothing. Raises ETL07 where the vault is missing or the URL is unfit.';

create or replace function etl.begin_rotation(out new text, out old text)
language plpgsql
set search_path = ''
as $$
begin
  old := (select s.secret from etl.secrets() s);
  new := (select s.decrypted_secret from vault.decrypted_secrets s where s.name = 'etl_next_trigger_secret');
  if new is null then
    new := etl.new_secret();
    perform etl.keep_secret('etl_next_trigger_secret', new);
  end if;
end
$$;
comment on function etl.begin_rotation() is
  'Puts the next trigger secret into the vault and returns it with the one in force: the function is to know both
before etl.end_rotation(). The same secrets again until then. Raises ETL07 where there is no secret yet.';

create or replace function etl.end_rotation()
returns text
language plpgsql
set search_path = ''
as $$
declare
  next text;
begin
  perform etl.require('supabase_vault');
  next := (select s.decrypted_secret from vault.decrypted_secrets s where s.name = 'etl_next_trigger_secret');
  if next is null then
    raise exception 'no rotation has begun'
      using errcode = 'ETL07', hint = 'select new, old from etl.begin_rotation();';
  end if;
  perform etl.keep_secret('etl_trigger_secret', next);
  delete from vault.secrets s where s.name = 'etl_next_trigger_secret';
  return 'the next call shows the new secret';
end
$$;
comment on function etl.end_rotation() is
  'Makes the next trigger secret the one in force. Raises ETL07 where etl.begin_rotation() was not called.';

create or replace function etl.secrets(out url text, out secret text)
language plpgsql stable
set search_path = ''
as $$
declare
  missing text;
begin
  perform etl.require('supabase_vault');
  -- Pasted values often end in a line break.
  select btrim(max(s.decrypted_secret) filter (where s.name = 'etl_function_url'), e' \t\r\n'),
    btrim(max(s.decrypted_secret) filter (where s.name = 'etl_trigger_secret'), e' \t\r\n')
  into url, secret
  from vault.decrypted_secrets s
  where s.name in ('etl_function_url', 'etl_trigger_secret');
  missing := concat_ws(
    ' and ',
    case when coalesce(url, '') = '' then 'etl_function_url' end,
    case when coalesce(secret, '') = '' then 'etl_trigger_secret' end
  );
  if missing <> '' then
    raise exception 'the vault lacks %', missing
      using errcode = 'ETL07', hint = 'select etl.connect(''https://<project>.supabase.co/functions/v1/etl'');';
  end if;
  -- Names without a dot are this machine or a container's neighbour.
  if url !~ '^https://[^ /]' and url !~ '^http://([a-z0-9_-]+|127\.0\.0\.1|host\.docker\.internal)[:/]' then
    raise exception 'etl_function_url in the vault is no https URL'
      using errcode = 'ETL07', hint = 'It is https://<project>.supabase.co/functions/v1/etl';
  end if;
  if length(secret) not between 32 and 512 or secret ~ '[^!-+\--~]' then
    raise exception 'etl_trigger_secret in the vault cannot be a trigger secret'
      using errcode = 'ETL07', hint = 'It is 32 to 512 printable characters without a space or a comma.';
  end if;
end
$$;
comment on function etl.secrets() is
  'The function''s URL and the trigger secret, from the vault. Raises ETL07, never with a secret in it, where one is
missing or unfit.';

create or replace function etl.vault_secrets(names text[])
returns jsonb
language plpgsql stable
set search_path = ''
as $$
begin
  if not etl.can_read('vault.decrypted_secrets') then
    return '{}';
  end if;
  return (
    select coalesce(jsonb_object_agg(s.name, s.decrypted_secret), '{}')
    from vault.decrypted_secrets s
    where s.name = any (names)
  );
end
$$;
comment on function etl.vault_secrets(text[]) is
  'Name -> secret, of those that the vault has and this role may read: for a feed whose URL or headers name them.';

create or replace function etl.keep_secret(secret_name text, secret text)
returns void
language plpgsql
set search_path = ''
as $$
declare
  known record;
begin
  select s.id, s.decrypted_secret into known from vault.decrypted_secrets s where s.name = secret_name;
  if known.id is null then
    perform vault.create_secret(secret, secret_name);
  elsif known.decrypted_secret <> secret then
    perform vault.update_secret(known.id, secret);
  end if;
end
$$;
comment on function etl.keep_secret(text, text) is
  'Puts a secret into the vault under a name, in place of another one; writes nothing where it is there already.';

create or replace function etl.new_secret()
returns text
language sql
set search_path = ''
as $$
  select replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '')
$$;
comment on function etl.new_secret() is '64 hexadecimal digits, of which 244 bits are random.';

revoke all on all functions in schema etl from public;

-- supabase/sql/spelling.sql
-- How a cell is spelled for the input of its column's type, and what is refused although that would take it.

create or replace function etl.set_date_order(feed etl.feeds)
returns void
language plpgsql
set search_path = ''
as $$
begin
  perform set_config('datestyle', 'ISO, ' || coalesce(upper(feed.date_order), 'YMD'), true);
end
$$;
comment on function etl.set_date_order(etl.feeds) is 'Has dates read as the feed writes them, until the merge ends.';

create or replace function etl.kind_of(type oid)
returns text
language sql stable
set search_path = ''
as $$
  with recursive held as (
    select type as oid
    union
    select part.oid
    from held h
    join pg_catalog.pg_type t on t.oid = h.oid
    cross join lateral (
      select t.typelem where t.typcategory = 'A'
      union all
      select t.typbasetype where t.typtype = 'd'
      union all
      select r.rngsubtype from pg_catalog.pg_range r where t.oid in (r.rngtypid, r.rngmultitypid)
      union all
      select a.atttypid
      from pg_catalog.pg_attribute a
      where t.typtype = 'c' and a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped
    ) part(oid)
  ), holds as (
    select
      coalesce(bool_or(h.oid in ('date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype)), false) as days,
      coalesce(bool_or(h.oid in ('time'::regtype, 'timetz'::regtype, 'interval'::regtype)), false) as times
    from held h
  )
  select case
    when type in ('smallint'::regtype, 'integer'::regtype, 'bigint'::regtype) then 'integer'
    when type in ('numeric'::regtype, 'real'::regtype, 'double precision'::regtype) then 'number'
    when type in ('date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype) then 'day'
    when type in ('time'::regtype, 'timetz'::regtype, 'interval'::regtype) then 'time'
    when days then 'days'
    when times then 'times'
    else 'other'
  end
  from holds
$$;
comment on function etl.kind_of(oid) is
  'What there is to know of a type, no domain, for the spelling of its values: integer, number, day (a date, with a
time or without), time, days and times for what holds such (arrays, ranges, composites), other.';

create or replace function etl.refused_of(kind text, feed etl.feeds)
returns text
language sql immutable
set search_path = ''
as $$
  select string_agg(pattern, '|')
  from (
    select '\m(?:now|today|tomorrow|yesterday|epoch|infinity)\M' where kind in ('day', 'days', 'time', 'times')
    union all
    select '^\D*$' where kind in ('day', 'time')
    union all
    select etl.unordered_date() where kind in ('day', 'days') and feed.date_order is null
    union all
    select '^(?!\s*[-+]?(\d{1,3}(\.\d{3})+|\d+)?(,\d*)?(e[-+]?\d+)?\s*$)'
    where kind in ('integer', 'number') and feed.decimal_comma
  ) refused(pattern)
$$;
comment on function etl.refused_of(text, etl.feeds) is
  'A regular expression for what the input of a type would take, and a load does not; null where that is nothing. A word
such as now means another time at each run; a year of two digits may be a day; with a decimal comma a point stands
between thousands.';

create or replace function etl.unordered_date()
returns text
language sql immutable
set search_path = ''
as $$
  select concat_ws(
    '|',
    -- 3/4/24, 3 4 24
    '(?<!\d)\d{1,2}[-/.]\d{1,2}[-/.]\d{1,2}(?!\d)', '^\s*\d{1,2}\s+\d{1,2}\s+\d{1,2}(?![\d:])',
    -- 240403
    '(?:^|[{[(,"])\s*\d{6,7}(?!\d)',
    -- 3-Apr-24
    '(?<!\d)\d{1,2}[-/., ]*' || month.names || '[-/., ]*\d{1,2}(?![\d:])',
    -- Apr 3, 24
    month.names || '[-/., ]*\d{1,2}[-/., ]+\d{1,2}(?![\d:])'
  )
  from (
    select '(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*' as names
  ) month
$$;
comment on function etl.unordered_date() is
  'A regular expression for dates without a year of four digits, which Postgres reads as the date style has it.';

create or replace function etl.spelled(cell text, kind text, nulls text[], decimal_comma boolean, lenient boolean)
returns text
language plpgsql immutable
set search_path = ''
as $$
begin
  if cardinality(nulls) > 0 then
    cell := format('case when %s <> all (%L::text[]) then %1$s end', cell, nulls);
  end if;
  if kind = 'text' then
    return cell;
  end if;
  cell := format('nullif(%s, %L)', cell, '');
  if decimal_comma then
    cell := format('translate(%s, %L, %L)', cell, ',.', '.');
  end if;
  if lenient then
    cell := format('regexp_replace(%s, %L, %L)', cell, '(?<=\d)\.0+\s*$', '');
  end if;
  return cell;
end
$$;
comment on function etl.spelled(text, text, text[], boolean, boolean) is
  'SQL text: what a type''s input is given for a cell (SQL text, too). Null for a word that means it and, but for texts,
for an empty cell; the point for a decimal comma; lenient: 7 for 7.0.';

create or replace function etl.no_value(cell text)
returns text
language plpgsql immutable strict
set search_path = ''
as $$
begin
  raise exception 'a cell is refused' using errcode = 'invalid_datetime_format';
end
$$;
comment on function etl.no_value(text) is
  'Raises 22007, for a cell that a type''s input would take: see etl.refused_of().';

revoke all on all functions in schema etl from public;

-- supabase/sql/stage.sql
-- A feed's bytes become rows of text; which of their columns feeds which of the target is settled here.
-- Every rule comes from pg_catalog. All feeds of a run are staged, each in a table of its own, before the first is
-- merged. The steps of a merge hand each other temp tables, which are made once a run, but for the staged feeds:
--   etl_staging   the feed as text: c1, c2, … for CSV, the column record for JSON; its ctid is the order of the file.
--                 Until its merge it is etl_staging_1, etl_staging_2, …, by the feed's place in the run
--   etl_columns   which source column feeds which column of the target
--   etl_rejected  the records that are rejected, by the ctid of their staged row
--   etl_typed     what of them is new or differs from the target, with the target's types
--   etl_delta     the same as whole rows, with what the feed does not carry

create or replace function etl.stage(
  feed_name text, place int, header text[], delimiter text, quote text default '"'
)
returns text
language plpgsql
set search_path = ''
set client_min_messages = warning
as $$
declare
  feed etl.feeds := (select f from etl.feeds f where f.name = feed_name);
  staging text := 'etl_staging_' || place;
begin
  perform etl.target_of(feed);
  perform etl.check_time_zone(feed.time_zone);
  if header is null then
    if feed.decimal_comma then
      raise exception 'JSON writes its numbers with a point'
        using errcode = 'ETL11', hint = 'Set etl.feeds.decimal_comma to false.';
    end if;
    execute format('create temp table %s (record text) on commit drop', staging);
    return format(
      $copy$copy pg_temp.%s (record) from stdin (format csv, quote e'\x01', delimiter e'\x02')$copy$, staging
    );
  end if;
  perform etl.empty_tables();
  perform etl.map_columns(feed, header);
  perform etl.check_columns(feed, is_empty => false);
  execute etl.fill(
    $sql$create temp table {staging} ({columns}) on commit drop$sql$,
    jsonb_build_object(
      'staging', staging,
      -- A "char" keeps one byte of whatever it is given.
      'columns', (
        select string_agg(
          'c' || c.position || case when c.stored then ' text' else ' "char"' end, ', ' order by c.position
        )
        from pg_temp.etl_columns c
      )
    )
  );
  return format('copy pg_temp.%s from stdin (format csv, delimiter %L, quote %L)', staging, delimiter, quote);
end
$$;
comment on function etl.stage(text, int, text[], text, text) is
  'Makes the staging table of the feed at this place in the run, counted from 1, for a CSV header or (header null)
for JSON, and returns the COPY statement that fills it. Takes no lock on the target, and so asks what the catalogs
tell: raises what etl.target_of(), etl.check_time_zone() and etl.check_columns() raise.';

create or replace function etl.take_staged(feed etl.feeds, place int, header text[])
returns void
language plpgsql
set search_path = ''
as $$
begin
  -- A new name takes no further lock.
  execute format('alter table pg_temp.etl_staging_%s rename to etl_staging', place);
  perform etl.empty_tables();
  if header is null then
    return;
  end if;
  perform etl.map_columns(feed, header);
  perform etl.check_columns(feed, etl.is_empty(etl.target_of(feed)));
  if exists (
    select from pg_temp.etl_columns c
    join pg_catalog.pg_attribute a on a.attrelid = to_regclass('pg_temp.etl_staging') and a.attname = 'c' || c.position
    where c.stored and a.atttypid <> 'pg_catalog.text'::regtype
  ) then
    raise exception 'its table was given a column while it was staged'
      using errcode = 'ETL03', hint = 'Run again.';
  end if;
end
$$;
comment on function etl.take_staged(etl.feeds, int, text[]) is
  'Makes the staged feed at this place etl_staging, and maps the columns of its header (null for JSON) as the target
is now. Raises what etl.check_columns() raises, and ETL03 where a column has come that was staged as a single byte.';

create or replace function etl.empty_tables()
returns void
language plpgsql
set search_path = ''
set client_min_messages = warning
as $$
declare
  fixed text;
begin
  create temp table if not exists etl_columns (
    position bigint, source text, stored boolean, name name, attnum smallint,
    type text, collate_clause text, base_type text, has_length boolean,
    kind text, nulls text[], decimal_comma boolean, refused text, needs_order boolean, lenient boolean
  ) on commit drop;
  create temp table if not exists etl_rejected (
    etl$staged tid, column_name text, value text, reason text, sqlstate text, constraint_name text, raw text
  ) on commit drop;
  foreach fixed in array '{pg_temp.etl_columns,pg_temp.etl_rejected}'::text[] loop
    -- TRUNCATE writes to the catalogs; what DELETE leaves is read at each scan.
    if pg_relation_size(fixed) > 65536 then
      execute format('truncate %s', fixed);
    else
      execute format('delete from %s', fixed);
    end if;
  end loop;
end
$$;
comment on function etl.empty_tables() is
  'Makes etl_columns and etl_rejected, once a run, or empties them for the next feed.';

create or replace function etl.shape_table(name text, columns text[])
returns void
language plpgsql
set search_path = ''
as $$
declare
  shaped regclass := to_regclass('pg_temp.' || name);
  places jsonb := jsonb_build_object('name', name, 'columns', array_to_string(columns, ', '));
  dropped text;
begin
  -- A dropped column costs a null in each row; an index, of etl.isolate(), each insert.
  if (
    select c.relnatts + cardinality(columns) > 100 or c.relhasindex from pg_catalog.pg_class c where c.oid = shaped
  ) then
    execute etl.fill('drop table pg_temp.{name}', places);
    shaped := null;
  end if;
  if shaped is null then
    execute etl.fill('create temp table {name} ({columns}) on commit drop', places);
    return;
  end if;
  if pg_relation_size(shaped) > 0 then
    execute etl.fill('truncate pg_temp.{name}', places);
  end if;
  select string_agg(format('drop column %I', a.attname), ', ') into dropped
  from pg_catalog.pg_attribute a
  where a.attrelid = shaped and a.attnum > 0 and not a.attisdropped;
  execute etl.fill('alter table pg_temp.{name} {dropped}, {added}', places || jsonb_build_object(
    'dropped', dropped,
    'added', (select string_agg('add column ' || c, ', ' order by n) from unnest(columns) with ordinality u(c, n))
  ));
end
$$;
comment on function etl.shape_table(text, text[]) is
  'Makes etl_typed or etl_delta an empty table of these columns (SQL text: name and type). Where the feed before left
one, that one is altered: until the commit each table that a run makes and drops keeps its locks, and the room for
locks is limited.';

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
  if (select c.relkind not in ('r', 'p') from pg_catalog.pg_class c where c.oid = target) then
    raise exception 'its target % is no table', feed.target
      using errcode = 'ETL04', hint = 'Name the table beneath it in etl.feeds.target.';
  end if;
  if etl.is_inherited(target) then
    raise exception 'its table % has tables that inherit from it', feed.target
      using errcode = 'ETL04',
        hint = 'Its key does not hold their rows. Part them (alter table … no inherit …), or make it partitioned.';
  end if;
  if exists (
    select from pg_catalog.pg_rewrite r where r.ev_class = target and r.is_instead and r.ev_type in ('2', '3')
  ) then
    raise exception 'its table % has a rule that does something else INSTEAD of a write', feed.target
      using errcode = 'ETL04', hint = 'Drop the rule, or make it a trigger: what it swallows could not be counted.';
  end if;
  if etl.key_of(target) is null then
    raise exception 'its table % has no primary key', feed.target
      using errcode = 'ETL02', hint = 'Rows are updated by their key: add a primary key.';
  end if;
  if feed.absent <> 'keep' then
    perform etl.check_absent(feed, target);
  end if;
  return target;
end
$$;
comment on function etl.target_of(etl.feeds) is
  'The table that the feed loads. Raises 42P01 where it does not exist, ETL04 where it is no table, has tables that
inherit from it or a rule INSTEAD of a write, ETL02 where it has no primary key, and what etl.check_absent() raises.';

create or replace function etl.is_inherited(parent regclass)
returns boolean
language sql stable
set search_path = ''
as $$
  select exists (
    select from pg_catalog.pg_inherits i join pg_catalog.pg_class c on c.oid = i.inhrelid
    where i.inhparent = parent and not c.relispartition
  )
$$;
comment on function etl.is_inherited(regclass) is
  'Whether tables inherit from it that are no partitions: their rows are seen in it, and its keys do not hold them.';

create or replace function etl.key_of(target regclass)
returns name[]
language sql stable
set search_path = ''
as $$
  select array_agg(a.attname order by k.position)
  from pg_catalog.pg_index i
  cross join unnest(i.indkey::int2[]) with ordinality as k(attnum, position)
  join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
  where i.indrelid = target and i.indisprimary and k.position <= i.indnkeyatts
$$;
comment on function etl.key_of(regclass) is 'The columns of the primary key, in its order; null where there is none.';

create or replace function etl.map_columns(feed etl.feeds, header text[])
returns void
language plpgsql
set search_path = ''
as $$
begin
  insert into pg_temp.etl_columns (
    position, source, stored, name, attnum, type, collate_clause, base_type, has_length, kind, nulls, decimal_comma,
    refused, needs_order, lenient
  )
  with loadable as materialized (
    select * from etl.loadable_columns(etl.target_of(feed))
  )
  select
    h.position, h.source,
    -- A row of up to 340 texts fits a page, for the long ones are kept elsewhere. The first cell may hold the sentinel.
    c.name is not null or cardinality(header) <= 300 or h.position = 1,
    c.name, c.attnum, c.type, c.collate_clause, c.base_type, c.has_length, c.kind, feed.nulls,
    feed.decimal_comma and c.kind in ('integer', 'number'), etl.refused_of(c.kind, feed),
    c.kind in ('day', 'days') and feed.date_order is null, false
  from unnest(header) with ordinality as h(source, position)
  -- A name is cut to 63 bytes, as Postgres cuts that of a column.
  left join loadable c on c.name = case
    when coalesce(feed.columns ->> h.source, h.source)::name in (select l.name from loadable l)
      then coalesce(feed.columns ->> h.source, h.source)::name
    else etl.wanted_column(feed, h.source)::name
  end;
end
$$;
comment on function etl.map_columns(etl.feeds, text[]) is
  'Fills etl_columns; name is null for a source column that the target does not have. Blanks around a name do not
count, unless the target has a column of just that name.';

create or replace function etl.wanted_column(feed etl.feeds, source text)
returns text
language sql immutable
set search_path = ''
as $$
  select coalesce(feed.columns ->> source, feed.columns ->> btrim(source, etl.blanks()), btrim(source, etl.blanks()))
$$;
comment on function etl.wanted_column(etl.feeds, text) is
  'The column that a name of the feed means: by etl.feeds.columns, else the name itself, without blanks around it.';

create or replace function etl.blanks()
returns text
language sql immutable
set search_path = ''
as $$
  select e' \t\n\x0b\f\r\u0085\u00a0\u00ad\u1680\u180e\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007'
    || e'\u2008\u2009\u200a\u200b\u200c\u200d\u2028\u2029\u202f\u205f\u2060\u3000\ufeff'
$$;
comment on function etl.blanks() is
  'What cannot be seen around a name: the white space of Unicode, characters of no width, and the byte order mark.';

create or replace function etl.source_names()
returns table (place bigint, name text)
language sql stable
set search_path = ''
as $$
  select
    c.position,
    case
      when btrim(c.source, etl.blanks()) <> '' and c.nth = 1 then c.source
      else 'column ' || c.position || case
        when exists (select from pg_temp.etl_columns o where o.source = 'column ' || c.position) then ' (unnamed)'
        else ''
      end
    end
  from (
    select position, source, row_number() over (partition by source order by name is null, position) as nth
    from pg_temp.etl_columns
  ) c
$$;
comment on function etl.source_names() is
  'The feed''s columns under distinct names: one that has no name, or that of another, is named by its place.';

create or replace function etl.ignored_columns()
returns text[]
language plpgsql
set search_path = ''
as $$
declare
  most constant int := 100;
  ignored text[] := array(
    select left(n.name, 100)
    from etl.source_names() n
    join pg_temp.etl_columns c on c.position = n.place
    where c.name is null
      and (btrim(c.source, etl.blanks()) <> '' or etl.is_filled(c.position))
    order by n.place
  );
begin
  if cardinality(ignored) > most then
    return ignored[:most] || format('… and %s more', cardinality(ignored) - most);
  end if;
  return ignored;
end
$$;
comment on function etl.ignored_columns() is
  'The feed''s columns that the target does not have, a hundred at most; one without a name only where it holds
something.';

create or replace function etl.is_filled(place bigint)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
  is_filled boolean := true;
begin
  -- A key of JSON may be empty, too.
  if exists (
    select from pg_catalog.pg_attribute a
    where a.attrelid = to_regclass('pg_temp.etl_staging') and a.attname = 'c' || place
  ) then
    execute etl.fill(
      $sql$select exists (select from pg_temp.etl_staging s where s.{cell} is not null)$sql$,
      jsonb_build_object('cell', 'c' || place)
    ) into is_filled;
  end if;
  return is_filled;
end
$$;
comment on function etl.is_filled(bigint) is
  'Whether any record has something in the column at this place of the header.';

create or replace function etl.check_columns(feed etl.feeds, is_empty boolean, as_json boolean default false)
returns void
language plpgsql
set search_path = ''
as $$
declare
  target regclass := etl.target_of(feed);
  fault text;
  mapping jsonb;
begin
  select string_agg(quote_ident(twice.name), ', ') into fault
  from (
    select c.name from pg_temp.etl_columns c where c.name is not null group by c.name having count(*) > 1
  ) twice;
  if fault is not null then
    raise exception 'it names a column twice: %', fault
      using errcode = 'ETL03', hint = 'Ask the partner for distinct names, or mend etl.feeds.columns.';
  end if;

  -- What names a column but for case and blanks is a name. All else may be a value, where the file has no header line.
  select string_agg(format('%I for %I', near.source, near.name), ', '), jsonb_object_agg(near.source, near.name)
  into fault, mapping
  from (
    select distinct on (l.name) c.source, l.name
    from pg_temp.etl_columns c
    join etl.loadable_columns(target) l on lower(translate(l.name, etl.blanks(), ''))
      = lower(translate(etl.wanted_column(feed, c.source), etl.blanks(), ''))
    where c.name is null and not exists (select from pg_temp.etl_columns o where o.name = l.name)
    order by l.name, c.position
    limit 20
  ) near;
  if fault is not null then
    raise exception 'it spells a column otherwise than its table does: %', fault
      using errcode = 'ETL03', hint = format(
        'If it is the same: update etl.feeds set columns = columns || %L where name = %L; if not, map it to a name '
          'that its table does not have.', mapping, feed.name
      );
  end if;

  if exists (select from pg_temp.etl_columns) and not exists (
    select from pg_temp.etl_columns c where c.name is not null
  ) then
    raise exception 'none of its % names is a column of %', (select count(*) from pg_temp.etl_columns), feed.target
      using errcode = 'ETL03', hint = case
        when as_json then
          'If its records stand deeper in it, say where in etl.feeds.records; else map its names in etl.feeds.columns.'
        when feed.header is not null then 'Correct the names in etl.feeds.header.'
        else 'If its first line is a record, name the columns in etl.feeds.header; if other lines stand above its '
          || 'header, say how many in etl.feeds.skip; else map its names in etl.feeds.columns.'
      end;
  end if;

  select string_agg(quote_ident(a.attname), ', ' order by a.attnum) into fault
  from pg_catalog.pg_attribute a
  where a.attrelid = target and a.attnum > 0 and not a.attisdropped
    -- Without a required column the rows that are there can still be corrected.
    and (
      a.attname = any (etl.key_of(target))
      or (a.attnotnull and not a.atthasdef and a.attidentity = '' and is_empty)
    )
    and not exists (select from pg_temp.etl_columns c where c.name = a.attname);
  if fault is not null then
    raise exception 'it lacks the key or required column %; it has %', fault, (
        select left(string_agg(quote_ident(c.source), ', ' order by c.position), 500) from pg_temp.etl_columns c
      )
      using errcode = 'ETL03', hint = 'Where the feed spells a name differently, say so in etl.feeds.columns.';
  end if;
end
$$;
comment on function etl.check_columns(etl.feeds, boolean, boolean) is
  'Raises ETL03 where etl_columns names a column of the target twice, spells one otherwise but for case or blanks, has
none, or lacks the key or, where the target is empty, a NOT NULL column without default. as_json: they are the keys of
JSON records.';

create or replace function etl.loadable_columns(target regclass)
returns table (
  name name, attnum smallint, type text, collate_clause text, base_type text, has_length boolean, kind text
)
language sql stable
set search_path = ''
as $$
  select
    a.attname, a.attnum, format_type(a.atttypid, a.atttypmod),
    case when a.attcollation <> t.typcollation then etl.collation_of(a.attcollation) else '' end,
    format_type(base.oid, -1), a.atttypmod <> -1 or base.has_length,
    case
      when t.typcategory <> 'S' then etl.kind_of(base.oid)
      -- A null refers to nothing and is nobody's like, where an empty text would be one value more.
      when not a.attnotnull and etl.is_compared(target, a.attnum) then 'code'
      else 'text'
    end
  from pg_catalog.pg_attribute a
  join pg_catalog.pg_type t on t.oid = a.atttypid
  cross join lateral (
    with recursive chain as (
      select t.oid, t.typtype, t.typbasetype, t.typtypmod <> -1 as has_length
      union all
      select b.oid, b.typtype, b.typbasetype, chain.has_length or b.typtypmod <> -1
      from chain
      join pg_catalog.pg_type b on b.oid = chain.typbasetype
      where chain.typtype = 'd'
    )
    select chain.oid, chain.has_length from chain where chain.typtype <> 'd'
  ) base
  where a.attrelid = target and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
    -- What the database alone decides could be inserted, but never updated.
    and (a.attidentity <> 'a' or a.attname = any (etl.key_of(target)))
$$;
comment on function etl.loadable_columns(regclass) is
  'The columns of a table that a feed can fill: their type in full; their collation, as SQL, where it is not the
type''s; the type without length beneath all domains; whether a length can change what is assigned; and of what kind it
is, as etl.kind_of() says, or text, or code: a text of which an empty one is null.';

create or replace function etl.is_compared(target regclass, attnum smallint)
returns boolean
language sql stable
set search_path = ''
as $$
  select exists (
    select from pg_catalog.pg_constraint c
    where c.conrelid = target and c.contype = 'f' and c.conkey @> array[attnum]
  ) or exists (
    select from pg_catalog.pg_index i
    where i.indrelid = target and i.indisunique and attnum = any ((i.indkey::int2[])[0:i.indnkeyatts - 1])
  )
$$;
comment on function etl.is_compared(regclass, smallint) is
  'Whether a column refers to another table by a key, or is in a unique index, INCLUDE apart.';

create or replace function etl.check_time_zone(zone text)
returns void
language plpgsql
set search_path = ''
as $$
declare
  before text := current_setting('timezone');
begin
  -- With a digit in it Postgres would take anything for a zone, and read its sign the other way round.
  if zone ~ '[0-9]' and not exists (select from pg_catalog.pg_timezone_names z where z.name = zone) then
    raise invalid_parameter_value;
  end if;
  perform set_config('timezone', zone, true);
  perform set_config('timezone', before, true);
exception when invalid_parameter_value then
  raise exception 'there is no time zone %', zone
    using errcode = 'ETL09', hint = 'Name a place in etl.feeds.time_zone, as America/New_York: see pg_timezone_names.';
end
$$;
comment on function etl.check_time_zone(text) is 'Raises ETL09 for what is not the name of a time zone.';

revoke all on all functions in schema etl from public;

-- supabase/sql/turns.sql
-- The feeds that runs have put off: which of them comes first now, and which of them wait on. A row is written by the
-- run that has claimed its feed, so that no two runs are at one row; only etl.lead() touches others, and waits for
-- none.

create or replace function etl.lead(names text[])
returns text
language plpgsql
set search_path = ''
as $$
declare
  leader text;
begin
  update etl.waiting w
  set led = true
  where w.feed = (
    select longest.feed
    from etl.waiting longest
    join etl.feeds f on f.name = longest.feed
    where not longest.led and (f.name = any (names) or (names = '{}' and f.enabled))
    order by longest.since, longest.feed
    limit 1
    for update of longest skip locked
  )
  returning w.feed into leader;
  return leader;
-- Under a stricter level, another run's commit.
exception when transaction_rollback then
  return null;
end
$$;
comment on function etl.lead(text[]) is
  'The feed that comes first in a run of these, or of all enabled ones where no name is given: of those that wait and
have not led yet, the one that waits longest; null where there is none. To be committed before the run begins: should
that feed break the run off, others are first in the next one.';

create or replace function etl.keep_waiting(leader text, had_turn text[], put_off jsonb)
returns void
language plpgsql
set search_path = ''
as $$
begin
  delete from etl.waiting w where w.feed = any (had_turn);
  insert into etl.waiting as w (feed, since, reason)
  select f.name, now(), p.value
  from jsonb_each_text(put_off) p
  join etl.feeds f on f.name = p.key
  order by 1
  on conflict on constraint waiting_pkey do update
  set reason = excluded.reason, led = w.led and w.feed is not distinct from leader
  where (w.reason, w.led) is distinct from (excluded.reason, w.led and w.feed is not distinct from leader);
-- Whoever removes a feed meanwhile, or holds a lock, breaks no run: the next one puts it off once more.
exception when foreign_key_violation or lock_not_available or transaction_rollback then
  null;
end
$$;
comment on function etl.keep_waiting(text, text[], jsonb) is
  'Ends the waiting of the feeds that had their turn in this run, and begins or goes on with that of those that it put
off: feed -> why. A feed that waits on though it led gives way to others; one that did not lead may.';

revoke all on all functions in schema etl from public;

-- supabase/sql/usual.sql
-- What a feed's files are usually like: which columns they have, and how many records. A file that differs is loaded
-- all the same; etl.health() says so until the next one is as usual again, or a person accepts it.

create or replace function etl.note_columns(state etl.feed_state, target regclass, is_sample boolean)
returns etl.feed_state
language plpgsql
set search_path = ''
as $$
declare
  carried text[] := etl.carried_columns();
  known text[] := state.carried_columns || state.gone_columns;
  present text[] := array(
    select c.source from pg_temp.etl_columns c
    where c.name is null and btrim(c.source, etl.blanks()) <> ''
    order by c.position
  );
begin
  state.ignored_columns := coalesce(state.ignored_columns, present);
  state.unplaced_columns := array(select p.n from unnest(present) p(n) where p.n <> all (state.ignored_columns));
  state.carried_columns := coalesce(carried, '{}');
  if is_sample and state.unplaced_columns = '{}' then
    state.carried_columns := state.carried_columns
      || array(select k.n from unnest(known) k(n) where k.n <> all (state.carried_columns || state.gone_columns));
  end if;
  state.gone_columns := array(
    select c.name
    from etl.loadable_columns(target) c
    where c.name = any (known) and c.name <> all (state.carried_columns)
    order by c.attnum
  );
  state.drifted_since := case
    when state.gone_columns || state.unplaced_columns <> '{}' then coalesce(state.drifted_since, now())
  end;
  return state;
end
$$;
comment on function etl.note_columns(etl.feed_state, regclass, boolean) is
  'The state with the columns in etl_columns: which are gone, and which are new and have no place. The first body sets
what is usual. is_sample: it need not hold every column, as a JSON file of few records; then, unless it has something
new as well, what it lacks is not gone.';

create or replace function etl.note_records(state etl.feed_state, feed etl.feeds, records bigint)
returns etl.feed_state
language plpgsql
set search_path = ''
as $$
declare
  usual bigint := state.usual_records;
  is_shrunk boolean := feed.contents = 'all' and case
    -- What was there before the loader, or before it forgot, was there.
    when usual is null then records = 0 and feed.shrink_limit < 1 and not etl.is_empty(to_regclass(feed.target))
    -- Of a handful of records half is nothing.
    when records > 0 and usual < 10 then false
    else usual - records > feed.shrink_limit * usual
  end;
begin
  state.records := records;
  state.usual_records := case when is_shrunk then usual else records end;
  state.shrunk_since := case when is_shrunk then coalesce(state.shrunk_since, now()) end;
  return state;
end
$$;
comment on function etl.note_records(etl.feed_state, etl.feeds, bigint) is
  'The state with the number of records read: whether it is smaller than usual by more than the feed''s shrink_limit.
Where fewer than 10 are usual, only a body without any is. A body of changes never is: its size says nothing.';

create or replace function etl.accept_usual(feed_name text)
returns void
language sql
set search_path = ''
as $$
  update etl.feed_state s
  set ignored_columns = s.ignored_columns || s.unplaced_columns, gone_columns = '{}', unplaced_columns = '{}',
    drifted_since = null, usual_records = s.records, shrunk_since = null
  where s.feed = feed_name and (s.drifted_since is not null or s.shrunk_since is not null)
$$;
comment on function etl.accept_usual(text) is
  'Takes the feed''s last body for what is usual, in its columns and in the number of its records.';

create or replace function etl.unusual(
  feed etl.feeds, state etl.feed_state, changed timestamptz, out verdict text, out message text, out hint text
)
language plpgsql stable
set search_path = ''
as $$
declare
  last_news timestamptz := coalesce(changed, state.known_since);
  renamed jsonb;
  mapping text;
  approval text;
  drift text;
  shrinkage text;
  withheld text;
  silence text;
begin
  if feed.absent <> 'keep' and state.withheld > 0 then
    withheld := format(
      'Rows of %s that it lacks and that stay: %s, for %s', feed.target, state.withheld, state.withheld_why
    );
  end if;
  if state.drifted_since is not null or state.shrunk_since is not null or withheld is not null then
    approval := format('select etl.approve(%L)', feed.name);
  end if;
  if state.drifted_since is not null then
    renamed := etl.likely_names(state.gone_columns, state.unplaced_columns);
    if renamed is not null then
      mapping := format('update etl.feeds set columns = columns || %L where name = %L', renamed, feed.name);
    end if;
    drift := concat_ws(
      '. ',
      'Its columns are other ones since ' || state.drifted_since,
      'The file lacks ' || etl.listed(state.gone_columns)
        || ': new rows get the default or null, known rows keep theirs',
      'It has ' || etl.listed(state.unplaced_columns) || ', and ' || feed.target || ' has no such column',
      'Likely renamed: ' || (
        select string_agg(format('%I is now %I', r.value, r.key), ', ' order by r.value) from jsonb_each_text(renamed) r
      ),
      'If so: ' || mapping
    );
  end if;
  if state.shrunk_since is not null then
    shrinkage := concat_ws(
      '. ',
      'Its file is too small since ' || state.shrunk_since,
      'Records: ' || state.records || ', and usually ' || coalesce(state.usual_records::text, 'more'),
      'Ask the partner whether it is whole'
    );
  end if;
  if last_news < now() - feed.fresh_within then
    silence := concat_ws(
      '. ',
      'Nothing new has come since ' || last_news || ', and something should within ' || feed.fresh_within,
      'Ask the partner whether the file is still written'
    );
  end if;
  verdict := case
    when drift is not null then 'drifted'
    when shrinkage is not null or withheld is not null then 'shrunk'
    when silence is not null then 'stale'
  end;
  message := concat_ws('. ', drift, shrinkage, withheld, 'If the file is right as it is: ' || approval, silence);
  hint := coalesce(mapping, approval) || ';';
end
$$;
comment on function etl.unusual(etl.feeds, etl.feed_state, timestamptz) is
  'What is unusual about a feed that runs well: the gravest of drifted, shrunk (rows that are withheld count as
that) and stale, a message on all of them, and
the line to run where there is one. verdict is null where nothing is. changed: when a run last changed something.';

create or replace function etl.likely_names(gone text[], unplaced text[])
returns jsonb
language sql immutable
set search_path = ''
as $$
  with names as (
    select n.is_gone, n.name, array(
      -- The pairs of neighbouring letters, without regard to case and punctuation.
      select distinct substr(plain.name, i, 2) from generate_series(1, greatest(length(plain.name) - 1, 1)) i
    ) as pairs
    from (
      select true as is_gone, g.name from unnest(gone[:100]) g(name)
      union all
      select false, u.name from unnest(unplaced[:100]) u(name)
    ) n
    cross join lateral regexp_replace(lower(n.name), '[^[:alnum:]]', '', 'g') plain(name)
  ), compared as (
    select
      g.name as gone, u.name as unplaced,
      both_have.shared * 2.0 / (cardinality(g.pairs) + cardinality(u.pairs)) as likeness
    from names g
    join names u on g.is_gone and not u.is_gone
    cross join lateral (
      select count(*) as shared from unnest(g.pairs) p(pair) where p.pair = any (u.pairs)
    ) both_have
  ), ranked as (
    select
      c.*,
      row_number() over (partition by c.gone order by c.likeness desc, c.unplaced) as of_gone,
      row_number() over (partition by c.unplaced order by c.likeness desc, c.gone) as of_unplaced
    from compared c
  )
  select jsonb_object_agg(r.unplaced, r.gone)
  from ranked r
  where r.of_gone = 1 and r.of_unplaced = 1
    and (r.likeness >= 0.3 or (cardinality(likely_names.gone) = 1 and cardinality(likely_names.unplaced) = 1))
$$;
comment on function etl.likely_names(text[], text[]) is
  'New name -> column, as etl.feeds.columns has it, for the columns that are gone and most likely renamed: each other''s
likest by the pairs of letters that they share, or the only ones. Null where none is. Of more than 100 names, which are
another file, the first 100 are compared.';

create or replace function etl.listed(names text[])
returns text
language sql immutable
set search_path = ''
as $$
  select string_agg(quote_ident(left(n.name, 63)), ', ' order by n.position) filter (where n.position <= 10)
    || case when cardinality(names) > 10 then ' and ' || cardinality(names) - 10 || ' more' else '' end
  from unnest(names) with ordinality n(name, position)
$$;
comment on function etl.listed(text[]) is 'The first ten names, for a message; null where there is none.';

revoke all on all functions in schema etl from public;

-- supabase/sql/write.sql
-- Writing etl_delta into the target: all at once, and where that is refused without the records that are at fault.

create or replace function etl.write_delta(target regclass, inserted bigint, updated bigint, rejects_left bigint)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
  parts record;
  state text;
  said text;
  rule text;
  at_column text;
  advice text;
begin
  if inserted + updated = 0 then
    return true;
  end if;
  -- What waits for the commit would be nobody's fault there, and the end of the whole run.
  set constraints all immediate;
  begin
    perform etl.write_at_once(target, inserted, updated);
    return true;
  exception when others or assert_failure then
    get stacked diagnostics state = returned_sqlstate, said = message_text, rule = constraint_name,
      at_column = column_name, advice = pg_exception_hint;
    if not etl.is_record_fault(target, state, rule, at_column) then
      raise;
    end if;
  end;
  parts := etl.write_in_parts(target, updated, rejects_left);
  if not parts.written and parts.faults = '{}' then
    raise exception '%', said using errcode = state, hint = advice;
  end if;
  perform etl.reject_faults('etl_delta', parts.faults);
  return parts.written;
end
$$;
comment on function etl.write_delta(regclass, bigint, bigint, bigint) is
  'Writes etl_delta, so many new rows and so many known ones, all at once; true when that is done. Where a record is
refused by what only a write can ask (a trigger, an exclusion constraint, an index), nothing is written, and the
records at fault are rejected, with false: it is then to be called again, for others may have counted on them.
rejects_left: how many more the feed may have.';

create or replace function etl.write_at_once(target regclass, inserted bigint, updated bigint)
returns void
language plpgsql
set search_path = ''
as $$
declare
  repairs text[] := case when updated > 0 then etl.free_values(target) else etl.defer_indexes(target) end;
  statement record := etl.write_statements(target);
  written bigint;
begin
  -- Without ON CONFLICT, which costs a sixth more: it looks each key up first.
  if inserted > 0 and updated > 0 and statement.update_known is not null and etl.refers_to(target, target) then
    -- As one statement: a new row may refer to what a known one gets just now, and the other way round.
    execute etl.fill(
      $sql$
      with new as ({insert_new} returning 1), known as ({update_known} returning 1)
      select (select count(*) from new) + (select count(*) from known)
      $sql$,
      jsonb_build_object('insert_new', statement.insert_new, 'update_known', statement.update_known)
    ) into written using null::tid, null::tid;
    perform etl.require_written(target, statement.count_gone, written, expected => inserted + updated);
  else
    perform etl.write_rows(
      target, statement.insert_new, statement.update_known, statement.count_gone, expected => inserted + updated
    );
  end if;
  perform etl.repair(repairs);
end
$$;
comment on function etl.write_at_once(regclass, bigint, bigint) is
  'Writes etl_delta, so many new rows and so many known ones. Raises whatever the target raises at any record.';

create or replace function etl.write_in_parts(
  target regclass, updated bigint, rejects_left bigint, out written boolean, out faults jsonb[]
)
language plpgsql
set search_path = ''
as $$
declare
  keys_dropped boolean;
  statement record := etl.write_statements(target);
  repairs text[] := '{}';
begin
  if updated > 0 then
    repairs := etl.free_values(target);
  end if;
  -- A part may hold a child without its parent. Whether there is one, etl.validate_references tells; this is undone.
  keys_dropped := etl.drop_self_references(target);
  faults := etl.isolate(target, 'etl_delta', rejects_left => rejects_left, statement => etl.fill(
    $sql$select etl.write_rows({target}, {insert_new}, {update_known}, {count_gone}, $3, $1, $2)$sql$,
    jsonb_build_object(
      'target', quote_literal(target), 'insert_new', quote_literal(statement.insert_new || statement.on_conflict),
      'update_known', quote_nullable(statement.update_known), 'count_gone', quote_literal(statement.count_gone)
    )
  ));
  written := faults = '{}' and not keys_dropped;
  if written then
    perform etl.repair(repairs);
  else
    raise exception using errcode = 'ETL00';
  end if;
exception when sqlstate 'ETL00' then
  return;
end
$$;
comment on function etl.write_in_parts(regclass, bigint, bigint) is
  'Writes etl_delta part by part, and finds the records at fault. written: whether what it wrote stays, since none
was; otherwise all is as before.';

create or replace function etl.drop_self_references(target regclass)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
  self_references name[] := array(
    select k.conname
    from pg_catalog.pg_constraint k
    where k.conrelid = target and k.confrelid = target and k.conparentid = 0
  );
begin
  if self_references <> '{}' then
    execute etl.fill($sql$alter table {target} {drops}$sql$, jsonb_build_object(
      'target', target, 'drops', etl.each(self_references, 'drop constraint {column}')
    ));
  end if;
  return self_references <> '{}';
end
$$;
comment on function etl.drop_self_references(regclass) is
  'Drops the table''s foreign keys to itself, where it has any, and returns whether it has: for a trial of parts, which
is undone.';

create or replace function etl.write_statements(
  target regclass, out insert_new text, out on_conflict text, out update_known text, out count_gone text
)
language plpgsql stable
set search_path = ''
as $$
declare
  key name[] := etl.key_of(target);
  carried name[] := etl.carried_columns();
  rest name[] := array(select c from unnest(carried) c where c <> all (key));
  is_immediate boolean := (
    select i.indimmediate from pg_catalog.pg_index i where i.indrelid = target and i.indisprimary
  );
  places jsonb := jsonb_build_object(
    'target', target, 'carried', etl.each(carried, '{column}'), 'key', etl.each(key, '{column}'),
    'same_key', etl.same_key(target, 'o', 'd'),
    'part', '($1 is null or etl$staged between $1 and $2)', 'key_column', quote_ident(key[1]),
    'excluded', etl.each(rest, '{column} = excluded.{column}'), 'fed', etl.each(rest, '{column} = d.{column}')
  );
begin
  insert_new := etl.fill(
    $sql$
    insert into {target} ({carried}) overriding system value
    select {carried} from pg_temp.etl_delta where not etl$exists and {part}
    $sql$,
    places
  );
  on_conflict := case
    when not is_immediate then ''
    when rest = '{}' then etl.fill($sql$ on conflict ({key}) do nothing$sql$, places)
    else etl.fill($sql$ on conflict ({key}) do update set {excluded}$sql$, places)
  end;
  -- Not by ON CONFLICT: Postgres would try the CHECKs of a known row on defaults in place of what the feed does not
  -- carry.
  update_known := case
    when rest <> '{}' then etl.fill(
      $sql$
      update {target} o set {fed}
      from (select * from pg_temp.etl_delta where etl$exists and {part}) d
      where {same_key}
      $sql$,
      places
    )
  end;
  count_gone := etl.fill(
    $sql$
    select count(*)
    from (select * from pg_temp.etl_delta where etl$exists and {part}) d
    left join {target} o on {same_key}
    where o.{key_column} is null
    $sql$,
    places
  );
end
$$;
comment on function etl.write_statements(regclass) is
  'SQL text. Of etl_delta, or its part from record $1 to $2: to insert the new rows, and what to do with one that
another session has inserted meanwhile; to update the known ones (null where the feed carries the key alone), and to
count those that are no longer known.';

create or replace function etl.write_rows(
  target regclass, insert_new text, update_known text, count_gone text, expected bigint,
  first tid default null, last tid default null
)
returns void
language plpgsql
set search_path = ''
as $$
declare
  written bigint;
  updated bigint;
begin
  execute insert_new using first, last;
  get diagnostics written = row_count;
  if written < expected and update_known is not null then
    execute update_known using first, last;
    get diagnostics updated = row_count;
    written := written + updated;
  end if;
  perform etl.require_written(target, count_gone, written, expected, first, last);
end
$$;
comment on function etl.write_rows(regclass, text, text, text, bigint, tid, tid) is
  'Executes etl.write_statements, for so many rows. Raises as etl.require_written does.';

create or replace function etl.require_written(
  target regclass, count_gone text, written bigint, expected bigint, first tid default null, last tid default null
)
returns void
language plpgsql
set search_path = ''
as $$
declare
  gone bigint;
begin
  if written = expected then
    return;
  end if;
  execute count_gone into gone using first, last;
  if gone > 0 then
    raise exception 'another session deleted % of the rows to be updated', gone
      using errcode = 'serialization_failure', hint = 'Run again.';
  end if;
  raise exception '% of % rows were not written', expected - written, expected
    using errcode = 'ETL05', hint = format('A trigger or rule on %s drops rows.', target);
end
$$;
comment on function etl.require_written(regclass, text, bigint, bigint, tid, tid) is
  'Raises 40001 where fewer rows than expected were written, since another session has deleted one after it was
compared; ETL05 where a trigger or rule drops rows.';

create or replace function etl.free_values(target regclass)
returns text[]
language plpgsql
set search_path = ''
as $$
declare
  key name[] := etl.key_of(target);
  ix record;
  places jsonb;
  moving text;
  wanted boolean;
  sees_updates boolean := exists (
    select from pg_catalog.pg_trigger g where g.tgrelid = target and not g.tgisinternal and g.tgtype & 16 > 0
  );
  loosened name[] := '{}';
  repairs text[] := '{}';
begin
  for ix in
    select i.*, a.attname as freed, a.attnotnull as required, a.frees
    from etl.unique_indexes(target) i
    cross join lateral (
      -- Of an expression or a condition a null need not make a null; where a key refers to, it would cascade; and to
      -- some indexes two nulls are the same.
      select a.attname, a.attnotnull, (a.attname = any (i.columns)) is true and not exists (
        select from pg_catalog.pg_constraint k
        where k.contype = 'f' and k.confrelid = target and a.attnum = any (k.confkey)
      ) and not exists (
        select from pg_catalog.pg_index n
        where n.indrelid = target and n.indnullsnotdistinct and a.attnum = any (n.indkey::int2[])
      ) as frees
      from pg_catalog.pg_attribute a
      join pg_temp.etl_columns c on c.name = a.attname and c.name <> all (key)
      left join pg_catalog.pg_depend p
        on p.classid = 'pg_catalog.pg_class'::regclass and p.objid = i.index
        and p.refobjid = target and p.refobjsubid = a.attnum
      where a.attrelid = target and (a.attname = any (i.columns) or p.objid is not null)
      order by frees desc, a.attnotnull, a.attnum
      limit 1
    ) a
  loop
    places := jsonb_build_object(
      'target', target, 'freed', quote_ident(ix.freed), 'key', etl.each(key, '{column}'),
      'entry', ix.entry, 'holds', ix.holds, 'same', ix.same,
      'same_key', etl.same_key(target, 'd', 'e'), 'given_up', etl.same_key(target, 'g', 'e'),
      'this_row', etl.same_key(target, 'o', 'e')
    );
    moving := etl.fill(
      $sql$
      from (select {key}, {entry} from {target} where {holds}) e
      join (select {key}, {entry} from pg_temp.etl_delta where {holds}) d on {same} and not ({same_key})
      $sql$,
      places
    );
    if ix.excludes then
      moving := moving || etl.fill($sql$join pg_temp.etl_delta g on {given_up}$sql$, places);
    end if;
    execute format('select exists (select 1 %s)', moving) into wanted;
    if not wanted then
      continue;
    end if;
    -- A null would not do, two nulls would violate it, or a trigger would see them.
    if sees_updates or not ix.frees then
      repairs := repairs || etl.drop_unique(target, ix.index);
      continue;
    end if;
    if ix.required and ix.freed <> all (loosened) then
      execute etl.fill($sql$alter table {target} alter {freed} drop not null$sql$, places);
      loosened := loosened || ix.freed;
      repairs := repairs || etl.fill($sql$alter table {target} alter {freed} set not null$sql$, places);
    end if;
    execute etl.fill(
      $sql$update {target} o set {freed} = null {moving} where {this_row}$sql$,
      places || jsonb_build_object('moving', moving)
    );
  end loop;
  return repairs;
end
$$;
comment on function etl.free_values(regclass) is
  'Sets to null each value of a unique index or an exclusion constraint that a row gives up and another takes in
this run, in a column that the feed carries and so fills again: Postgres looks for violations row by row, so that
two rows could not swap theirs. Where the column is NOT NULL that is lifted; where a null would not do, two nulls
violate the index, or a trigger would see them, the index is dropped. Returns the statements that put this right
again, once all is written.';

create or replace function etl.drop_unique(target regclass, index oid)
returns text
language plpgsql
set search_path = ''
as $$
declare
  rule pg_catalog.pg_constraint := (
    select k from pg_catalog.pg_constraint k where k.conindid = index and k.contype in ('u', 'x')
  );
  repair text;
begin
  if rule.oid is null then
    repair := pg_get_indexdef(index);
    execute format('drop index %s', index::regclass);
  else
    repair := format('alter table %s add constraint %I ', target, rule.conname) || pg_get_constraintdef(rule.oid);
    execute format('alter table %s drop constraint %I', target, rule.conname);
  end if;
  return repair;
end
$$;
comment on function etl.drop_unique(regclass, oid) is
  'Drops a unique index or that of an exclusion constraint, with its constraint where it has one, and returns the
statement that makes it again.';

create or replace function etl.defer_indexes(target regclass)
returns text[]
language plpgsql
set search_path = ''
as $$
declare
  deferred regclass[];
  index regclass;
  repairs text[] := '{}';
begin
  -- A trigger may look things up by these indexes, for each row.
  if not etl.is_empty(target) or exists (
    select from etl.parts_of(target) p
    join pg_catalog.pg_trigger g on g.tgrelid = p.relation and not g.tgisinternal
  ) then
    return repairs;
  end if;
  deferred := etl.deferrable_indexes(target);
  if deferred = '{}' then
    return repairs;
  end if;
  begin
    execute format('lock table %s in access exclusive mode nowait', target);
  exception when lock_not_available then
    return repairs;
  end;
  foreach index in array deferred loop
    -- The index of a partitioned table is made ONLY there; then those of its partitions, with their own names.
    repairs := repairs || array(
      select unnest(array[
        pg_get_indexdef(p.relation),
        case when p.level > 0 then format('alter index %s attach partition %s', p.parent, p.relation) end
      ])
      from etl.parts_of(index) p
      order by p.level, p.relation
    );
    execute format('drop index %s', index);
  end loop;
  return array_remove(repairs, null);
end
$$;
comment on function etl.defer_indexes(regclass) is
  'Of an empty target, drops the indexes that enforce nothing, and returns the statements that build them once all
is written: at once that takes a fraction of what it takes row by row. Its lock keeps readers of the empty table
waiting until the commit; where it cannot be had at once, or there is no such index, nothing is locked or dropped.';

create or replace function etl.deferrable_indexes(target regclass)
returns regclass[]
language sql stable
set search_path = ''
as $$
  select array(
    select i.indexrelid::regclass
    from pg_catalog.pg_index i
    join pg_catalog.pg_class x on x.oid = i.indexrelid
    where i.indrelid = target and not i.indisunique and not i.indisexclusion and not x.relispartition
      -- What the definition does not tell, of none of its parts.
      and not exists (
        select from etl.parts_of(i.indexrelid) p
        join pg_catalog.pg_index part on part.indexrelid = p.relation
        join pg_catalog.pg_class partx on partx.oid = p.relation
        where not part.indisvalid or part.indisclustered or partx.reltablespace <> 0
          or obj_description(p.relation, 'pg_class') is not null
      )
    order by i.indexrelid
  )
$$;
comment on function etl.deferrable_indexes(regclass) is
  'The indexes of a table, partitioned or not, that enforce nothing, and of which no more is known than their
definitions.';

create or replace function etl.parts_of(whole regclass)
returns table (relation regclass, parent regclass, level int)
language sql stable
set search_path = ''
as $$
  select whole, null::regclass, 0
  union all
  select t.relid, t.parentrelid, t.level from pg_catalog.pg_partition_tree(whole) t where t.level > 0
$$;
comment on function etl.parts_of(regclass) is
  'A table or an index and, where it is partitioned, all its partitions, by level.';

create or replace function etl.repair(statements text[])
returns void
language plpgsql
set search_path = ''
as $$
declare
  statement text;
begin
  foreach statement in array statements loop
    execute statement;
  end loop;
end
$$;
comment on function etl.repair(text[]) is 'Executes what etl.free_values and etl.defer_indexes returned.';

revoke all on all functions in schema etl from public;

reset check_function_bodies;
