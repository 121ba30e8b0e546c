-- What pg_cron and pg_net remember of our calls, where they exist. Nothing of it is ours: a run that changes nothing
-- writes no row of ours, and yet it can be known that it was.

create or replace function etl.job()
returns table (
  schedule text,
  active boolean,
  last_start timestamptz,
  last_problem text,
  awaited timestamptz,
  forgotten timestamptz,
  next_run timestamptz,
  overdue_from timestamptz
)
language plpgsql stable
set search_path = ''
as $$
declare
  -- The longest answer: the timeout of etl.invoke(), and a little.
  patience constant interval := '400 seconds';
  kept constant interval := coalesce(nullif(current_setting('pg_net.ttl', true), ''), '6 hours');
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
  select
    max(r.start_time),
    max(r.start_time) filter (where r.status = 'succeeded' and r.start_time < now() - kept)
  into last_start, forgotten
  from cron.job_run_details r
  where r.jobid = job.jobid;
  last_problem := (
    select case when r.status = 'failed' then substring(r.return_message from '(?:ERROR: +)?([^\n]{1,200})') end
    from cron.job_run_details r
    where r.jobid = job.jobid and r.status in ('succeeded', 'failed')
    order by r.runid desc
    limit 1
  );
  -- Of two calls one may be lost. A rare job has made but one whose answer pg_net would still keep, or none.
  awaited := (
    select min(call.start_time)
    from (
      select r.start_time
      from cron.job_run_details r
      where r.jobid = job.jobid and r.status = 'succeeded'
        and r.start_time between now() - kept and now() - patience
      order by r.start_time desc
      limit 2
    ) call
  );
  begin
    next_run := case when job.active then etl.next_run(job.schedule) end;
    overdue_from := coalesce(
      etl.next_run(job.schedule, etl.next_run(job.schedule, greatest(last_start, job.since))) + patience, '-infinity'
    );
  exception when sqlstate 'ETL08' then
    -- A line that somebody else has given to pg_cron, and that pg_cron knows how to read.
    overdue_from := 'infinity';
  end;
  return next;
end
$$;
comment on function etl.job() is
  'The job that etl.schedule made, as pg_cron remembers it; no row where nothing is scheduled. awaited: whoever
called then must have an answer by now. forgotten: the latest call whose answer pg_net has dropped by age.
overdue_from: by then pg_cron has missed two starts. last_problem: why the latest call could not be made.';

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
    case when jsonb_typeof(body.value -> 'feeds') = 'array' then body.value end,
    body.value #>> '{error,code}',
    case
      when r.timed_out then 'timed out'
      when r.error_msg is not null then left(r.error_msg, 200)
      when body.value ? 'error'
        then 'answered: ' || coalesce(body.value #>> '{error,message}', body.value #>> '{error,code}')
      when r.status_code >= 400 then 'answered ' || r.status_code
      when mark.ours and jsonb_typeof(body.value -> 'feeds') is distinct from 'array' then 'ended without a report'
    end
  from net._http_response r
  cross join lateral (
    select exists (select from jsonb_object_keys(r.headers) k where lower(k) = 'x-tdc-etl') as ours
  ) mark
  cross join lateral (select split_part(rtrim(r.content, e'\n'), e'\n', -1) as line) last
  cross join lateral (
    select case when mark.ours and pg_input_is_valid(last.line, 'jsonb') then last.line::jsonb end as value
  ) body;
end
$$;
comment on function etl.answers() is
  'What pg_net keeps, of the last six hours: our function''s answers (ours), and those of whatever stood in its
place. An answer of ours ends with the run''s report or with {"error":{"code",…}}; problem says what is wrong with
any of them.';

revoke all on all functions in schema etl from public;
