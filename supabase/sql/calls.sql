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
  where not exists (
    select
    from etl.told t
    -- After a crash pg_net counts from 1 again.
    where r.id = any (t.requests) and r.created < t.told_at[cardinality(t.told_at)] + interval '1 hour'
  )
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
those of whatever stood in its place; not those to our alerts. An answer of ours ends with the run''s report or with
{"error":{"code",…}}; problem says what is wrong with any of them.';

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
