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
    select t.verdict, t.message, j.schedule, j.forgotten, j.next_run from etl.trouble() t left join etl.job() j on true
  ), good as materialized (
    select of_feed ->> 'feed' as feed, max(a.at) as at
    from etl.answers() a
    cross join jsonb_array_elements(a.report -> 'feeds') of_feed
    where of_feed ->> 'status' <> 'failed' and a.report ->> 'dry_run' = 'false'
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
    -- Each failure is in the ledger: a call after the latest one, whose answer is forgotten, must have gone well.
    cross join lateral (
      select s.failed > coalesce(greatest(s.changed, s.good, c.forgotten), '-infinity') as itself
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
hours: of a job that is due more rarely, trouble shows for that long only. Without pg_cron and pg_net the ledger
alone is judged: it does not show a recovery that changed nothing.';

create or replace function etl.trouble(out verdict text, out message text)
language plpgsql stable
set search_path = ''
as $$
declare
  job record;
  refused timestamptz;
  let_in timestamptz;
  broken timestamptz;
  ran timestamptz;
  latest_problem text;
  waiting bigint := 0;
begin
  select * into job from etl.job();
  select
    max(a.at) filter (where a.error_code = 'secret_refused'),
    max(a.at) filter (where a.ours and a.error_code is distinct from 'secret_refused'),
    max(a.at) filter (where a.error_code not in ('secret_refused', 'busy')),
    max(a.at) filter (where a.report is not null)
  into refused, let_in, broken, ran
  from etl.answers() a;
  ran := greatest(ran, (select max(r.finished_at) from etl.runs r));
  latest_problem := (
    select a.problem
    from etl.answers() a
    where a.problem is not null and a.at > coalesce(ran, '-infinity')
    order by a.at desc
    limit 1
  );

  if refused > coalesce(let_in, '-infinity') then
    verdict := 'secret refused';
    message := 'etl_trigger_secret in the vault is not among the secrets in ETL_TRIGGER_SECRET of the function.';
  elsif broken > coalesce(ran, '-infinity') then
    verdict := 'failing';
    message := 'The function ' || latest_problem;
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
    if etl.can_read('net.http_request_queue') then
      select count(*) into waiting from net.http_request_queue;
    end if;
    verdict := 'late';
    message := concat_ws(
      '. ',
      'The function was called and has not answered well since ' || coalesce(ran, job.awaited),
      'The latest bad answer that pg_net has: ' || latest_problem,
      case when waiting > 0 then waiting || ' requests wait in pg_net: is its background worker up?' end
    );
  end if;
end
$$;
comment on function etl.trouble() is
  'What keeps all feeds from being loaded: verdict secret refused, failing or late, and why. Nulls where nothing
does.';

revoke all on all functions in schema etl from public;
