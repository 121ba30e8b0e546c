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
  usual_records bigint,
  since timestamptz
)
language sql stable
set search_path = ''
as $$
  with good as materialized (
    select of_feed ->> 'feed' as feed, max(a.at) as at
    from etl.answers() a
    cross join jsonb_array_elements(a.report -> 'feeds') of_feed
    where of_feed ->> 'status' in ('unchanged', 'changed') and a.report ->> 'dry_run' = 'false'
    group by 1
  ), common as materialized (
    select t.verdict, t.message, j.schedule, j.known, j.next_run, heard.at as heard
    from etl.trouble() t
    left join etl.job() j on true
    cross join lateral (
      select greatest(
        (select max(r.finished_at) from etl.runs r where r.status <> 'undone'), (select max(g.at) from good g)
      ) as at
    ) heard
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
    select w.feed, string_agg(w.problem, '. ' order by w.since) as problem, min(w.since) as since
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
      coalesce(greatest(change.finished_at, recovery.finished_at, good.at, c.known), '-infinity') as last_well
    from etl.feeds f
    cross join common c
    left join etl.feed_state s on s.feed = f.name
    left join good on good.feed = f.name
    -- All at once: feed by feed Postgres might read all rejects for each.
    left join (select r.feed, count(*) as rejects from etl.rejects r group by r.feed) waiting on waiting.feed = f.name
    cross join lateral (
      select max(r.finished_at) as finished_at from etl.runs r where r.feed = f.name and r.status = 'changed'
    ) change
    cross join lateral (
      select max(r.finished_at) as finished_at from etl.runs r where r.feed = f.name and r.status = 'unchanged'
    ) recovery
    left join lateral (
      select r.finished_at, r.error
      from etl.runs r
      where r.feed = f.name and r.status = 'failed'
      order by r.finished_at desc
      limit 1
    ) failure on true
    -- What etl.undo() has disabled waits for somebody.
    where f.enabled or s.undone_run is not null
  ), judged as (
    select
      s.*,
      case
        when not (s.definition).enabled then 'undone'
        when c.verdict = 'secret refused' then c.verdict
        when s.failed > s.last_well or c.verdict = 'failing' then 'failing'
        when p.problem is not null then 'late'
        when c.verdict is not null then c.verdict
        when never.loaded then 'never ran'
        when unusual.verdict is not null then unusual.verdict
        -- With a schedule of ours silence is late.
        when c.schedule is null and coalesce(c.heard < now() - interval '2 days', true) then 'unknown'
        else 'ok'
      end as verdict,
      never.loaded as never_loaded,
      p.problem as put_off,
      p.since as put_off_since,
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
      case when j.verdict <> 'undone' then c.message end,
      case when j.verdict = j.unusual then j.message end,
      case
        when j.verdict = 'unknown' then concat_ws(
          '. ',
          'No run is known of' || coalesce(' since ' || c.heard, '')
            || ', and one that changes nothing leaves no trace where pg_cron does not start it',
          'Look whether your own scheduler still does'
        )
      end,
      case when c.schedule is null then 'No schedule: see etl.schedule()' end
    ),
    j.changed,
    j.failed,
    j.error,
    j.rejects,
    j.good,
    case when j.verdict <> 'undone' then c.next_run end,
    failing.since,
    case when j.verdict = j.unusual then j.hint end,
    (j.state).records,
    (j.state).usual_records,
    case j.verdict
      when 'undone' then (j.state).undone_at
      when 'failing' then failing.since
      when 'late' then j.put_off_since
      when 'drifted' then (j.state).drifted_since
      when 'shrunk' then (j.state).shrunk_since
      when 'stale' then coalesce(j.changed, (j.state).known_since)
      when 'unknown' then c.heard
    end
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
  'A row for each enabled feed, and for each that etl.undo() has disabled. verdict, gravest first: undone, secret
refused, failing, late, never ran, drifted, shrunk, stale, unknown, ok; message says why, empty where all is well, and
hint holds the line to run, where there is one. since says since when it is so, as far as is known. failing_since is the
first failure since the feed was last known to be well. records are those of its last body, usual_records those of the
last one that was not shrunk. last_good_answer is null where pg_net is missing, or has lost its answers or dropped them
after its six hours. Without pg_cron and pg_net the ledger alone is judged: where it has nothing of any feed for two
days, it is unknown whether anything runs at all. A feed that is put off at each tick is late after two of them, or
after a day where nothing is scheduled.';

create or replace function etl.health_of_all()
returns table (
  feed text,
  verdict text,
  message text,
  hint text,
  since timestamptz,
  last_change timestamptz,
  last_failure timestamptz,
  next_run timestamptz,
  open_rejects bigint,
  records bigint,
  usual_records bigint
)
language sql stable
set search_path = ''
as $$
  select
    f.name,
    coalesce(h.verdict, 'disabled'),
    coalesce(h.message, 'No run takes it: etl.feeds.enabled is false'),
    h.hint,
    h.since,
    coalesce(
      h.last_change,
      (select max(r.finished_at) from etl.runs r where r.feed = f.name and r.status = 'changed')
    ),
    h.last_failure,
    h.next_run,
    coalesce(h.open_rejects, (select count(*) from etl.rejects r where r.feed = f.name)),
    coalesce(h.records, s.records),
    coalesce(h.usual_records, s.usual_records)
  from etl.feeds f
  left join etl.feed_state s on s.feed = f.name
  left join etl.health() h on h.feed = f.name
$$;
comment on function etl.health_of_all() is
  'etl.health(), and beside it the feeds of which it does not speak, for they are disabled.';

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
  ran := greatest(ran, (select max(r.finished_at) from etl.runs r where r.status <> 'undone'));

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
