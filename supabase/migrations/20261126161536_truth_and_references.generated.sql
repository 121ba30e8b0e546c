-- Written by `deno task migration` from supabase/sql. Not to be edited: change the source, and write another.
-- The functions of a file call those below them, so that their bodies are checked when they run.
set check_function_bodies = off;

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
    overdue_from := coalesce(
      etl.next_run(job.schedule, etl.next_run(job.schedule, greatest(last_start, job.since))) + etl.patience(),
      '-infinity'
    );
  exception when sqlstate 'ETL08' then
    -- A line that somebody else has given to pg_cron, and that pg_cron knows how to read.
    overdue_from := 'infinity';
  end;
  return next;
end
$$;
comment on function etl.job() is
  'The job that etl.schedule made, as pg_cron remembers it; no row where nothing is scheduled. looked_at: whether
etl.look() is scheduled too. awaited: whoever called then must have an answer by now. known: the latest call of which
a look has seen a good answer. overdue_from: by then pg_cron has missed two starts. last_problem: why the latest call
could not be made.';

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
  next_run timestamptz
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
  ), seen as (
    select
      f.name,
      exists (select from etl.feed_state s where s.feed = f.name) as has_content,
      (select max(r.finished_at) from etl.runs r where r.feed = f.name and r.status = 'changed') as changed,
      failure.finished_at as failed,
      failure.error,
      (select count(*) from etl.rejects r where r.feed = f.name) as rejects,
      good.at as good
    from etl.feeds f
    left join good on good.feed = f.name
    -- All at once: feed by feed Postgres might read all rejects for each.
    left join (select r.feed, count(*) as rejects from etl.rejects r group by r.feed) waiting on waiting.feed = f.name
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
        when fails.itself or c.verdict = 'failing' then 'failing'
        when not s.has_content and s.changed is null and s.good is null then 'never ran'
        else coalesce(c.verdict, 'ok')
      end as verdict,
      fails.itself
    from seen s
    cross join common c
    -- Each failure is in the ledger: a later call that is known to be answered well has not failed.
    cross join lateral (
      select s.failed > coalesce(greatest(s.changed, s.good, c.known), '-infinity') as itself
    ) fails
  )
  select
    j.name,
    j.verdict,
    concat_ws(
      '. ',
      case
        when j.verdict = 'failing' and j.itself then j.error
        when j.verdict = 'never ran' then 'Nothing was ever loaded'
      end,
      c.message,
      case when c.schedule is null then 'No schedule: see etl.schedule()' end
    ),
    j.changed,
    j.failed,
    j.error,
    j.rejects,
    j.good,
    c.next_run
  from judged j
  cross join common c
  order by j.name
$$;
comment on function etl.health() is
  'A row for each enabled feed. verdict: ok, late, failing, never ran, secret refused; message says why, empty where
all is well. last_good_answer is null where pg_net is missing, or has lost its answers or dropped them after its six
hours. Without pg_cron and pg_net the ledger alone is judged: it does not show a recovery that changed nothing.';

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

-- supabase/sql/looks.sql
-- pg_net drops an answer after six hours, or sooner. So pg_cron has someone look before that, and keeps what was seen:
-- of a look that succeeds how many rows it returned, of one that fails its words.

create or replace function etl.look()
returns setof timestamptz
language plpgsql stable
set search_path = ''
as $$
declare
  bad record;
begin
  select a.* into bad
  from etl.trouble() t
  join etl.answers() a on a.at = t.rests_on and a.problem is not null
  where not exists (select from etl.looks() l where l.problem is not null and l.at >= a.at)
    -- An error is a line in the log of Postgres: not where the next call will tell in time.
    and not exists (select from etl.job() j where j.next_run + etl.patience() < a.at + etl.answers_kept())
  order by a.ours desc
  limit 1;
  if found then
    raise exception '% [%, %]', regexp_replace(bad.problem, '\s+', ' ', 'g'), coalesce(bad.error_code, '-'),
      to_char(bad.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');
  end if;
  return query
  select max(a.at)
  from etl.answers() a
  where a.report is not null
  having max(a.at) >= (select c.start_time from etl.call_before(now()) c);
end
$$;
comment on function etl.look() is
  'For pg_cron, which keeps what it saw: returns a row if the latest call has a good answer, and raises the bad answer
that keeps the feeds from being loaded, once, where pg_net would drop it before the next call.';

create or replace function etl.looks()
returns table (runid bigint, of_call bigint, at timestamptz, error_code text, problem text)
language plpgsql stable
set search_path = ''
as $$
begin
  if not etl.can_read('cron.job_run_details') then
    return;
  end if;
  return query
  with look as (
    select r.runid, r.start_time, r.status, r.return_message
    from cron.job_run_details r
    join cron.job j on j.jobid = r.jobid
    where j.jobname = 'tdc-etl look'
  )
  (
    select l.runid, c.runid, c.start_time, null::text, null::text
    from look l
    cross join lateral etl.call_before(l.start_time) c
    -- "1 row", or "SELECT 1" where cron.use_background_workers is on.
    where l.status = 'succeeded' and l.return_message ~ '[1-9]'
    order by l.runid desc
    limit 1
  )
  union all
  (
    select l.runid, null, kept.words[3]::timestamptz, nullif(kept.words[2], '-'), kept.words[1]
    from look l
    cross join lateral (
      select regexp_match(l.return_message, '^(?:ERROR: +)?([^\n]+) \[([a-z_0-9]+|-), ([-0-9T:.]+Z)\]') as words
    ) kept
    where l.status = 'failed' and kept.words is not null
    order by l.runid desc
    limit 1
  );
end
$$;
comment on function etl.looks() is
  'What the looks have seen: the latest call of which one saw a good answer (of_call, and when it was made), and the
latest bad answer that one has kept (when it came, its code, its words). runid: of the look, in
cron.job_run_details.';

create or replace function etl.call_before(moment timestamptz)
returns table (runid bigint, start_time timestamptz)
language plpgsql stable
set search_path = ''
as $$
begin
  return query
  select r.runid, r.start_time
  from cron.job_run_details r
  join cron.job j on j.jobid = r.jobid
  -- What starts with a look may be seen by it, or not.
  where j.jobname = 'tdc-etl' and r.status = 'succeeded' and r.start_time < moment - interval '1 minute'
  order by r.start_time desc
  limit 1;
end
$$;
comment on function etl.call_before(timestamptz) is
  'The latest call that was made a minute or more before: the one whose answer a look at this moment is after.';

revoke all on all functions in schema etl from public;

-- supabase/sql/relations.sql
-- What a record breaks beside others: FOREIGN KEY and UNIQUE.

create or replace function etl.validate_relations(target regclass)
returns void
language plpgsql
set search_path = ''
as $$
begin
  loop
    perform etl.validate_references(target);
    continue when etl.validate_unique(target);
    exit when not etl.validate_referenced(target);
  end loop;
end
$$;
comment on function etl.validate_relations(regclass) is
  'Rejects orphans, unique violations and what gives up a value that rows refer to, until there is none: a record
that goes may have been another''s parent.';

create or replace function etl.validate_references(target regclass)
returns void
language plpgsql
set search_path = ''
as $$
declare
  fk record;
  offenders bigint;
  again boolean := true;
  has_self_reference boolean := exists (
    select from etl.foreign_keys(target) k where k.child = target and k.parent = target
  );
begin
  while again loop
    again := false;
    for fk in
      select k.*, k.attnums && array(select c.attnum from pg_temp.etl_columns c where c.name is not null) as is_carried
      from etl.foreign_keys(target) k
      where k.child = target
      order by k.name
    loop
      execute etl.fill(
        $sql$
        insert into pg_temp.etl_rejected (etl$staged, column_name, value, reason, sqlstate, constraint_name)
        select c.etl$staged, {column_name}, to_jsonb(c.*) ->> {column_name}, {reason}, '23503', {constraint_name}
        from pg_temp.etl_delta c
        where {touched} and {present} and not exists (select from {parent} p where {matches} {and_stays})
          {nor_in_the_feed}
        $sql$,
        jsonb_build_object(
          'column_name', quote_nullable(fk.column_name), 'constraint_name', quote_literal(fk.name),
          'reason', quote_literal('is in no row of ' || fk.parent || case
            when fk.parent <> target and etl.refers_to(fk.parent, target)
              then ', which refers to this table in turn: neither can be loaded first'
            else ''
          end),
          'parent', fk.parent,
          'touched', case when fk.is_carried then 'true' else 'not c.etl$exists' end,
          'present', fk.present, 'matches', fk.matches,
          -- A parent in the same table counts as the feed leaves it.
          'and_stays', case
            when fk.parent = target then etl.fill(
              'and not exists (select from pg_temp.etl_delta g where {same_key})',
              jsonb_build_object('same_key', etl.same_key(target, 'g', 'p'))
            )
            else ''
          end,
          'nor_in_the_feed', case
            when fk.parent = target then format('and not exists (select from pg_temp.etl_delta p where %s)', fk.matches)
            else ''
          end
        )
      );
      get diagnostics offenders = row_count;
      perform etl.remove_rejected('etl_delta', offenders);
      again := again or (offenders > 0 and has_self_reference);
    end loop;
  end loop;
end
$$;
comment on function etl.validate_references(regclass) is
  'Rejects orphans: what a foreign key finds no parent for. A parent may be in the same feed; without it, its
children go too.';

create or replace function etl.validate_referenced(target regclass)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
  fk record;
  offenders bigint;
  any_rejected boolean := false;
begin
  for fk in
    select k.*, k.attnums && array(select c.attnum from pg_temp.etl_columns c where c.name is not null) as is_carried
    from etl.foreign_keys(target) k
    where k.parent = target and k.on_update in ('a', 'r')
      and exists (select from pg_temp.etl_columns c where c.name = any (k.parent_columns))
      and not k.parent_columns <@ etl.key_of(target)
    order by k.name
  loop
    execute etl.fill(
      $sql$
      insert into pg_temp.etl_rejected (etl$staged, column_name, value, reason, sqlstate, constraint_name)
      select d.etl$staged, {column_name}, to_jsonb(d.*) ->> {column_name}, {reason}, '23503', {constraint_name}
      from pg_temp.etl_delta d
      join {target} p on {same_key}
      where d.etl$exists and row({old})::record operator(pg_catalog.*<>) row({new})::record
        and exists (select from {child} c where {matches} {and_lost} {and_stays})
      $sql$,
      jsonb_build_object(
        'target', target, 'child', fk.child, 'matches', fk.matches, 'same_key', etl.same_key(target, 'd', 'p'),
        'column_name', quote_nullable(case when cardinality(fk.parent_columns) = 1 then fk.parent_columns[1] end),
        'constraint_name', quote_literal(fk.name),
        'reason', quote_literal('gives up what a row refers to in ' || fk.child),
        'old', etl.each(fk.parent_columns, 'p.{column}'), 'new', etl.each(fk.parent_columns, 'd.{column}'),
        -- Another spelling of what the key takes for the same is no other value, unless the key restricts any change.
        'and_lost', case
          when fk.on_update = 'a' then format('and not exists (select from (select d.*) p where %s)', fk.matches)
          else ''
        end,
        -- A child whose reference the feed changes, too, was an orphan or was not.
        'and_stays', case
          when fk.child = target and fk.is_carried then etl.fill(
            'and not exists (select from pg_temp.etl_delta g where {same_key})',
            jsonb_build_object('same_key', etl.same_key(target, 'g', 'c'))
          )
          else ''
        end
      )
    );
    get diagnostics offenders = row_count;
    any_rejected := any_rejected or offenders > 0;
    perform etl.remove_rejected('etl_delta', offenders);
  end loop;
  return any_rejected;
end
$$;
comment on function etl.validate_referenced(regclass) is
  'Rejects what gives up a value that a row refers to, where the foreign key neither cascades nor sets another.
Returns whether there was any.';

create or replace function etl.foreign_keys(of regclass)
returns table (
  name name, child regclass, parent regclass, attnums smallint[], column_name text, parent_columns name[],
  on_update "char", present text, matches text
)
language sql stable
set search_path = ''
as $$
  select
    k.conname, k.conrelid::regclass, k.confrelid::regclass, k.conkey,
    case when cardinality(k.conkey) = 1 then min(child.attname::text) end,
    array_agg(parent.attname order by pair.position),
    k.confupdtype,
    '(' || string_agg(
      format('c.%I is not null', child.attname), case when k.confmatchtype = 'f' then ' or ' else ' and ' end
    ) || ')',
    string_agg(
      etl.fill('p.{parent} {equals} c.{child}{collation}', jsonb_build_object(
        'parent', quote_ident(parent.attname), 'child', quote_ident(child.attname),
        'equals', format('operator(%I.%s)', n.nspname, o.oprname),
        'collation', case
          when parent.attcollation <> child.attcollation then etl.collation_of(parent.attcollation)
          else ''
        end
      )),
      ' and '
    )
  from pg_catalog.pg_constraint k
  cross join unnest(k.conkey, k.confkey, k.conpfeqop) with ordinality as pair(child, parent, equals, position)
  join pg_catalog.pg_attribute child on child.attrelid = k.conrelid and child.attnum = pair.child
  join pg_catalog.pg_attribute parent on parent.attrelid = k.confrelid and parent.attnum = pair.parent
  join pg_catalog.pg_operator o on o.oid = pair.equals
  join pg_catalog.pg_namespace n on n.oid = o.oprnamespace
  where k.contype = 'f' and of in (k.conrelid, k.confrelid)
    -- A key to or from a partitioned table has one more row for each partition, beneath that of the table.
    and not exists (
      select from pg_catalog.pg_constraint whole
      where whole.oid = k.conparentid and (whole.conrelid = k.conrelid or whole.confrelid = k.confrelid)
    )
  group by k.oid, k.conname, k.conrelid, k.confrelid, k.conkey, k.confupdtype, k.confmatchtype
$$;
comment on function etl.foreign_keys(regclass) is
  'The foreign keys from and to a table, once each, to and from partitioned tables, too. on_update: a letter, as
in pg_constraint. SQL text: present, whether the child''s row c refers to anything (under MATCH FULL, in part);
matches, whether the parent''s row p is what it refers to, as the key compares.';

create or replace function etl.refers_to(child regclass, parent regclass)
returns boolean
language sql stable
set search_path = ''
as $$
  with recursive reached as (
    select child::oid as oid
    union
    select k.confrelid
    from reached r
    join pg_catalog.pg_constraint k on k.conrelid = r.oid and k.contype = 'f'
  )
  select exists (
    select from reached r join pg_catalog.pg_constraint k on k.conrelid = r.oid and k.contype = 'f'
    where k.confrelid = parent
  )
$$;
comment on function etl.refers_to(regclass, regclass) is
  'Whether a table has a foreign key to another one, be it by way of others.';

create or replace function etl.validate_unique(target regclass)
returns boolean
language plpgsql
set search_path = ''
as $$
declare
  key name[] := etl.key_of(target);
  ix record;
  places jsonb;
  offenders bigint;
  any_rejected boolean := false;
begin
  for ix in
    select i.*, case when cardinality(i.columns) = 1 then i.columns[1] end as column_name
    from etl.unique_indexes(target) i
    where not i.excludes
  loop
    places := jsonb_build_object(
      'target', target, 'entry', ix.entry, 'entry_names', ix.entry_names, 'holds', ix.holds, 'same', ix.same,
      'column_name', quote_nullable(ix.column_name), 'constraint_name', quote_literal(ix.name),
      'key', etl.each(key, '{column}'), 'is_known', etl.each(key[:1], 'e.{column} is not null'),
      'same_key', etl.same_key(target, 'g', 'e'),
      -- While rows refer to it, it cannot be set to null on its way to another row.
      'is_kept', case
        when ix.is_referenced then '(g.etl$staged = d.etl$staged) is not true'
        else 'g.etl$staged is null'
      end
    );
    -- e: the row of the target that has the value; g: what the feed makes of that row, if anything.
    offenders := etl.execute_on(
      target, 'etl_delta',
      etl.fill(
        $sql$
        with fresh as (
          select etl$staged, to_jsonb(r.*) ->> {column_name} as etl$value, {entry}
          from pg_temp.etl_delta r
          where {holds}
        )
        insert into pg_temp.etl_rejected (etl$staged, column_name, value, reason, sqlstate, constraint_name)
        select
          t.etl$staged, {column_name}, t.etl$value,
          'is another row''s ' || case when t.is_given_up then 'still, and rows refer to it' else 'already' end,
          '23505', {constraint_name}
        from (
          select
            d.*, {is_known} and {is_kept} as kept, {is_known} and {is_kept} and g.etl$staged is not null as is_given_up,
            row_number() over (
              partition by {entry_names}
              order by (g.etl$staged = d.etl$staged) is true desc, d.etl$staged
            ) as place
          from fresh d
          left join (select {key}, {entry} from {target} where {holds}) e on {same}
          left join pg_temp.etl_delta g on {same_key}
        ) t
        where t.kept or t.place > 1
        $sql$,
        places
      ),
      etl.fill(
        $sql$
        select {entry}
        from (select * from pg_temp.etl_delta where etl$staged between $1 and $2 offset 0) d
        where {holds}
        $sql$,
        places
      )
    );
    any_rejected := any_rejected or offenders > 0;
    perform etl.remove_rejected('etl_delta', offenders);
  end loop;
  return any_rejected;
end
$$;
comment on function etl.validate_unique(regclass) is
  'Rejects unique violations: a value that a row of the target has and keeps, or an earlier record of the feed has.
Returns whether there was any.';

create or replace function etl.unique_indexes(target regclass)
returns table (
  index oid, name name, columns name[], excludes boolean, is_referenced boolean,
  entry text, entry_names text, holds text, same text
)
language sql stable
set search_path = ''
as $$
  select
    x.oid, x.relname,
    array_agg(a.attname order by u.position),
    i.indisexclusion,
    exists (
      select from pg_catalog.pg_constraint k where k.contype = 'f' and k.confrelid = target and k.conindid = x.oid
    ),
    string_agg(format('(%s)%s as etl$%s', u.value, u.collation, u.position), ', ' order by u.position),
    string_agg('d.etl$' || u.position, ', ' order by u.position),
    concat_ws(
      ' and ', coalesce('(' || pg_get_expr(i.indpred, i.indrelid) || ')', 'true'),
      case
        when not i.indnullsnotdistinct then string_agg(format('(%s) is not null', u.value), ' and ' order by u.position)
      end
    ),
    string_agg(
      etl.fill(
        case
          when i.indnullsnotdistinct then '(e.{entry} {equals} d.{entry} or (e.{entry} is null and d.{entry} is null))'
          else 'e.{entry} {equals} d.{entry}'
        end,
        jsonb_build_object('entry', 'etl$' || u.position, 'equals', case
          when i.indisexclusion then format('operator(%I.%s)', n.nspname, o.oprname)
          else etl.equals(x.oid, u.position)
        end)
      ),
      ' and ' order by u.position
    )
  from pg_catalog.pg_index i
  join pg_catalog.pg_class x on x.oid = i.indexrelid
  cross join lateral (
    select
      n as position, pg_get_indexdef(i.indexrelid, n, false) as value,
      etl.collation_of(i.indcollation[n - 1]) as collation
    from generate_series(1, i.indnkeyatts::int) n
  ) u
  left join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[u.position - 1]
  left join pg_catalog.pg_constraint k on k.conindid = i.indexrelid and k.contype = 'x'
  left join pg_catalog.pg_operator o on o.oid = k.conexclop[u.position]
  left join pg_catalog.pg_namespace n on n.oid = o.oprnamespace
  where i.indrelid = target and (i.indisunique or i.indisexclusion) and not i.indisprimary
  group by x.oid, i.indexrelid, i.indrelid, i.indpred, i.indnullsnotdistinct, i.indisexclusion, x.relname
  order by x.relname
$$;
comment on function etl.unique_indexes(regclass) is
  'The unique indexes beside the primary key, and those of exclusion constraints: their columns (null for an
expression), whether a foreign key refers to them, what they hold of a row, as etl$1, etl$2, …, of which rows (one
with a null violates nothing), and when the entries e and d are the same, or exclude each other.';

create or replace function etl.collation_of(collation_oid oid)
returns text
language sql stable
set search_path = ''
as $$
  select coalesce(
    (
      select format(' collate %I.%I', n.nspname, c.collname)
      from pg_catalog.pg_collation c
      join pg_catalog.pg_namespace n on n.oid = c.collnamespace
      where c.oid = collation_oid and n.nspname || '.' || c.collname <> 'pg_catalog.default'
    ),
    ''
  )
$$;
comment on function etl.collation_of(oid) is
  'SQL text: a COLLATE clause; empty for the database''s own collation, or none.';

revoke all on all functions in schema etl from public;

-- supabase/sql/reports.sql
-- The two reports, by RPC. A trip is completed once it has a dropoff_timestamp, and belongs to that moment.
-- Both are for staff, and for whoever row security does not hold: the owner, service_role.
-- Signed-in users have 8 s for a request; PostgREST takes a function's own statement_timeout for the whole of it.
-- In UTC, so that 14 days are as long for every caller, and older columns without a time zone are read alike.

create or replace function public.trips_without_charges(
  completed_from timestamptz default '-infinity',
  completed_before timestamptz default 'infinity'
)
returns setof public.trips
language plpgsql stable security invoker
set search_path = ''
set timezone = 'UTC'
set statement_timeout = '30s'
set plan_cache_mode = force_custom_plan
as $$
begin
  if row_security_active('public.trips') then
    -- Not in one condition: those above may not look into etl.
    if not etl.is_staff() then
      raise insufficient_privilege
        using message = 'the reports are for staff', hint = 'The owner admits: select etl.admit(''you@example.org'').';
    end if;
  end if;
  -- Planned for each call, by its bounds: for all trips a hash join, for those of a day the index of the charges.
  return query
  select t.*
  from public.trips t
  where t.dropoff_timestamp::timestamptz >= completed_from
    and t.dropoff_timestamp::timestamptz < completed_before
    and not exists (select from public.charges c where c.trip_id = t.id);
end
$$;
comment on function public.trips_without_charges(timestamptz, timestamptz) is
  'Completed trips that no charge points to. completed_from is included, completed_before is not.';

create or replace function public.churned_drivers(
  as_of timestamptz default now(),
  inactive_for interval default '14 days'
)
returns table (
  id public.drivers.id%type,
  tlc_number public.drivers.tlc_number%type,
  first_name public.drivers.first_name%type,
  last_name public.drivers.last_name%type,
  last_dropoff_timestamp timestamptz
)
language plpgsql stable security invoker
set search_path = ''
set timezone = 'UTC'
set statement_timeout = '30s'
as $$
begin
  if row_security_active('public.trips') then
    if not etl.is_staff() then
      raise insufficient_privilege
        using message = 'the reports are for staff', hint = 'The owner admits: select etl.admit(''you@example.org'').';
    end if;
  end if;
  return query
  select d.id, d.tlc_number, d.first_name, d.last_name, latest.dropoff_timestamp
  from public.drivers d
  cross join lateral (
    select max(t.dropoff_timestamp::timestamptz) as dropoff_timestamp
    from public.trips t
    where t.driver_id = d.id and t.dropoff_timestamp::timestamptz <= as_of
  ) latest
  where latest.dropoff_timestamp < as_of - inactive_for;
end
$$;
comment on function public.churned_drivers(timestamptz, interval) is
  'Drivers who completed a trip before, and none in the window from as_of - inactive_for to as_of, both ends
included. Trips after as_of are not seen: the answer is the one that as_of would have given.';

do $$
declare
  report regprocedure;
  reader text;
begin
  foreach report in array array[
    'public.trips_without_charges(timestamptz, timestamptz)'::regprocedure,
    'public.churned_drivers(timestamptz, interval)'::regprocedure
  ] loop
    execute format('revoke all on function %s from public', report);
    foreach reader in array array['anon', 'authenticated', 'service_role'] loop
      continue when not exists (select from pg_catalog.pg_roles where rolname = reader);
      execute format('revoke all on function %s from %I', report, reader);
      continue when reader = 'anon';
      execute format('grant execute on function %s to %I', report, reader);
    end loop;
  end loop;
end $$;

-- supabase/sql/schedule.sql
-- The schedule: pg_cron calls the edge function through pg_net. Both may be missing: everything here can be created
-- without them, and says what is missing when it is called.

create or replace function etl.schedule(cron text default '*/10 * * * *')
returns text
language plpgsql
set search_path = ''
as $$
declare
  due timestamptz := etl.next_run(cron);
  since text := to_char(now() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"');
begin
  if due is null then
    raise exception '"%" is never due', cron using errcode = 'ETL08', hint = 'Is there such a day in such a month?';
  end if;
  perform etl.require('pg_cron', 'pg_net', 'supabase_vault');
  perform etl.secrets();
  -- Scheduling again does not switch on again, and cron.alter_job, which would, is not for everyone.
  perform cron.unschedule(j.jobid)
  from cron.job j
  where j.jobname in ('tdc-etl', 'tdc-etl look', 'tdc-etl purge') and not j.active;
  if not exists (select from cron.job j where j.jobname = 'tdc-etl' and j.schedule = cron) then
    -- pg_cron does not remember when a job was made; etl.health() must know, to miss a first run.
    perform cron.schedule('tdc-etl', cron, 'select etl.invoke() -- since ' || since);
  end if;
  -- Often enough for a pg_net.ttl of a quarter of an hour, and not in the minute of most runs.
  perform cron.schedule('tdc-etl look', '2-57/5 * * * *', 'select from etl.look()');
  perform cron.schedule('tdc-etl purge', '17 3 * * *', 'select etl.purge()');
  return format('scheduled %s; next run %s', cron, due);
end
$$;
comment on function etl.schedule(text) is
  'Has pg_cron call the edge function, every ten minutes by default; calling it again changes the schedule. Raises
ETL07 where an extension or a secret is missing, ETL08 for what is no cron line.';

create or replace function etl.unschedule()
returns boolean
language plpgsql
set search_path = ''
as $$
declare
  job record;
  ended boolean := false;
begin
  perform etl.require('pg_cron');
  for job in select j.jobid from cron.job j where j.jobname in ('tdc-etl', 'tdc-etl look', 'tdc-etl purge') loop
    ended := cron.unschedule(job.jobid);
  end loop;
  return ended;
end
$$;
comment on function etl.unschedule() is 'Ends the schedule; false where there was none.';

create or replace function etl.invoke()
returns bigint
language plpgsql
set search_path = ''
as $$
declare
  url text;
  secret text;
begin
  perform etl.require('pg_net');
  select s.url, s.secret into url, secret from etl.secrets() s;
  begin
    return net.http_post(
      url => url,
      body => '{}'::jsonb,
      headers => jsonb_build_object(
        'Authorization', 'Bearer ' || secret, 'Content-Type', 'application/json', 'Accept', 'application/x-ndjson'
      ),
      timeout_milliseconds => 390000
    );
  exception when others then
    -- The words of pg_net may quote the headers, and pg_cron would keep them: the state alone is told.
    raise exception 'pg_net took no request (SQLSTATE %)', sqlstate
      using errcode = 'ETL07', hint = 'Is its background worker up? select net.check_worker_is_up()';
  end;
end
$$;
comment on function etl.invoke() is
  'Asks pg_net to call the edge function once this transaction has committed, and returns the number of the request.
The URL and the trigger secret come from the vault: etl_function_url, etl_trigger_secret. Raises ETL07, never with a
secret in it.';

create or replace function etl.require(variadic extensions text[])
returns void
language plpgsql stable
set search_path = ''
as $$
declare
  missing text;
begin
  select string_agg(e.name, ', ') into missing
  from (values
    ('pg_cron', 'cron.job'),
    ('pg_net', 'net._http_response'),
    ('supabase_vault', 'vault.decrypted_secrets')
  ) as e(name, relation)
  where e.name = any (extensions) and not etl.can_read(e.relation);
  if missing is not null then
    raise exception 'the schedule needs %: missing, or not for this role', missing
      using errcode = 'ETL07',
        hint = 'create extension …, by a role that may. Without it, have another scheduler POST to the function.';
  end if;
end
$$;
comment on function etl.require(text[]) is 'Raises ETL07, with their names, where extensions are missing.';

create or replace function etl.can_read(relation text)
returns boolean
language sql stable strict
set search_path = ''
as $$
  select exists (
    select
    from pg_catalog.pg_class c
    join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where format('%s.%s', n.nspname, c.relname) = relation
      and has_schema_privilege(n.oid, 'usage')
      and has_table_privilege(c.oid, 'select')
  )
$$;
comment on function etl.can_read(text) is
  'Whether a table or view of an extension, as in cron.job, is there and may be read; to_regclass would raise an
error.';

create or replace function etl.purge(ledger_kept interval default '90 days')
returns bigint
language plpgsql
set search_path = ''
as $$
declare
  purged bigint;
  forgotten bigint := 0;
  -- The latest looks that saw something, and the call whose answer one saw.
  seen bigint[] := array(select run from etl.looks() l cross join unnest(array[l.runid, l.of_call]) run where run > 0);
begin
  delete from etl.runs r
  where r.finished_at < now() - ledger_kept
    -- Health tells by the latest of each kind how a feed is, however long ago that was.
    and exists (
      select from etl.runs later
      where later.feed = r.feed and later.status = r.status and later.finished_at > r.finished_at
    );
  get diagnostics purged = row_count;
  if etl.can_read('cron.job_run_details') then
    delete from cron.job_run_details d
    where (d.command like 'select etl.invoke()%' or d.command in ('select etl.purge()', 'select from etl.look()'))
      and coalesce(d.end_time, d.start_time) < now() - interval '2 days'
      -- The latest start of a job stays, however long ago: etl.health() tells by it whether a rare one is late.
      and exists (select from cron.job_run_details later where later.jobid = d.jobid and later.runid > d.runid)
      and d.runid <> all (seen);
    get diagnostics forgotten = row_count;
  end if;
  return purged + forgotten;
end
$$;
comment on function etl.purge(interval) is
  'Deletes the rows of the ledger that are older, and what pg_cron remembers of our runs that ended more than two
days ago, but for the latest of each feed, status and job, and what the looks have seen; returns how many rows that
is.';

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
  if inserted > 0 and updated > 0 and statement.update_known is not null then
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
  self_references name[] := array(
    select k.conname
    from pg_catalog.pg_constraint k
    where k.conrelid = target and k.confrelid = target and k.conparentid = 0
  );
  statement record := etl.write_statements(target);
  repairs text[] := '{}';
begin
  if updated > 0 then
    repairs := etl.free_values(target);
  end if;
  -- A part may hold a child without its parent. Whether there is one, etl.validate_references tells; this is undone.
  if self_references <> '{}' then
    execute etl.fill($sql$alter table {target} {drops}$sql$, jsonb_build_object(
      'target', target, 'drops', etl.each(self_references, 'drop constraint {column}')
    ));
  end if;
  faults := etl.isolate(target, 'etl_delta', rejects_left => rejects_left, statement => etl.fill(
    $sql$select etl.write_rows({target}, {insert_new}, {update_known}, {count_gone}, $3, $1, $2)$sql$,
    jsonb_build_object(
      'target', quote_literal(target), 'insert_new', quote_literal(statement.insert_new || statement.on_conflict),
      'update_known', quote_nullable(statement.update_known), 'count_gone', quote_literal(statement.count_gone)
    )
  ));
  written := faults = '{}' and self_references = '{}';
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
    'part', '($1 is null or d.etl$staged between $1 and $2)',
    'excluded', etl.each(rest, '{column} = excluded.{column}'), 'fed', etl.each(rest, '{column} = d.{column}')
  );
begin
  insert_new := etl.fill(
    $sql$
    insert into {target} ({carried}) overriding system value
    select {carried} from pg_temp.etl_delta d where not d.etl$exists and {part}
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
      $sql$update {target} o set {fed} from pg_temp.etl_delta d where d.etl$exists and {part} and {same_key}$sql$,
      places
    )
  end;
  count_gone := etl.fill(
    $sql$
    select count(*)
    from pg_temp.etl_delta d
    where d.etl$exists and {part} and not exists (select from {target} o where {same_key})
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
      -- Of an expression or a condition a null need not make a null; and where a key refers to, it would cascade.
      select a.attname, a.attnotnull, (a.attname = any (i.columns)) is true and not exists (
        select from pg_catalog.pg_constraint k
        where k.contype = 'f' and k.confrelid = target and a.attnum = any (k.confkey)
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
    execute format('select exists (select %s)', moving) into wanted;
    if not wanted then
      continue;
    end if;
    -- A null would not do, two nulls would violate it, or a trigger would see them.
    if sees_updates or not ix.frees
      or (select i.indnullsnotdistinct from pg_catalog.pg_index i where i.indexrelid = ix.index)
    then
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
  deferred record;
  repairs text[] := '{}';
begin
  -- A trigger may look things up by these indexes, for each row.
  if not etl.is_empty(target)
    or exists (select from pg_catalog.pg_trigger g where g.tgrelid = target and not g.tgisinternal)
  then
    return repairs;
  end if;
  begin
    execute format('lock table %s in access exclusive mode nowait', target);
  exception when lock_not_available then
    return repairs;
  end;
  for deferred in
    select i.indexrelid::regclass as index, pg_get_indexdef(i.indexrelid) as definition
    from pg_catalog.pg_index i
    join pg_catalog.pg_class x on x.oid = i.indexrelid
    where i.indrelid = target and i.indisvalid and not i.indisunique and not i.indisexclusion
      -- What the definition does not tell.
      and x.relkind = 'i' and not x.relispartition and not i.indisclustered and x.reltablespace = 0
      and obj_description(i.indexrelid, 'pg_class') is null
    order by i.indexrelid
  loop
    execute format('drop index %s', deferred.index);
    repairs := repairs || deferred.definition;
  end loop;
  return repairs;
end
$$;
comment on function etl.defer_indexes(regclass) is
  'Of an empty target, drops the indexes that enforce nothing, and returns the statements that build them once all
is written: at once that takes a fraction of what it takes row by row. Its lock keeps readers of the empty table
waiting until the commit; where it cannot be had at once, nothing is dropped.';

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
