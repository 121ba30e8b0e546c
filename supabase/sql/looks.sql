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
