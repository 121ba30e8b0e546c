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
  where j.jobname in ('tdc-etl', 'tdc-etl look', 'tdc-etl alert', 'tdc-etl purge') and not j.active;
  if not exists (select from cron.job j where j.jobname = 'tdc-etl' and j.schedule = cron) then
    -- pg_cron does not remember when a job was made; etl.health() must know, to miss a first run.
    perform cron.schedule('tdc-etl', cron, 'select etl.invoke() -- since ' || since);
  end if;
  -- Often enough for a pg_net.ttl of a quarter of an hour, and not in the minute of most runs.
  perform cron.schedule('tdc-etl look', '2-57/5 * * * *', 'select from etl.look()');
  -- Two minutes later, so that it knows what the look has seen.
  perform cron.schedule('tdc-etl alert', '4-59/5 * * * *', 'select etl.tell()');
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
  for job in
    select j.jobid from cron.job j where j.jobname in ('tdc-etl', 'tdc-etl look', 'tdc-etl alert', 'tdc-etl purge')
  loop
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
  return etl.post(
    url,
    jsonb_build_object(
      'Authorization', 'Bearer ' || secret, 'Content-Type', 'application/json', 'Accept', 'application/x-ndjson'
    ),
    body => '{}', patience_ms => 390000
  );
end
$$;
comment on function etl.invoke() is
  'Asks pg_net to call the edge function once this transaction has committed, and returns the number of the request.
The URL and the trigger secret come from the vault: etl_function_url, etl_trigger_secret. Raises ETL07, never with a
secret in it.';

create or replace function etl.post(url text, headers jsonb, body jsonb, patience_ms int)
returns bigint
language plpgsql
set search_path = ''
as $$
begin
  return net.http_post(url => url, headers => headers, body => body, timeout_milliseconds => patience_ms);
exception when others then
  -- The words of pg_net may quote URL and headers, and pg_cron would keep them: the state alone is told.
  raise exception 'pg_net took no request (SQLSTATE %)', sqlstate
    using errcode = 'ETL07', hint = 'Is its background worker up? select net.check_worker_is_up()';
end
$$;
comment on function etl.post(text, jsonb, jsonb, int) is
  'Has pg_net send this once the transaction has committed, and wait so many milliseconds for the answer; returns the
number of the request. Raises ETL07, never with the URL or a header in it.';

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
    )
    -- And by the first failure since it was well, since when it fails.
    and (r.status <> 'failed' or r.finished_at is distinct from (
      select min(f.finished_at)
      from etl.runs f
      where f.feed = r.feed and f.status = 'failed' and f.finished_at > coalesce((
        select max(w.finished_at) from etl.runs w where w.feed = r.feed and w.status in ('changed', 'unchanged')
      ), '-infinity')
    ));
  get diagnostics purged = row_count;
  if etl.can_read('cron.job_run_details') then
    delete from cron.job_run_details d
    where (
        d.command like 'select etl.invoke()%'
        or d.command in ('select etl.purge()', 'select from etl.look()', 'select etl.tell()')
      )
      and coalesce(d.end_time, d.start_time) < now() - interval '2 days'
      -- The latest start of a job stays, however long ago: etl.health() tells by it whether a rare one is late.
      and exists (select from cron.job_run_details later where later.jobid = d.jobid and later.runid > d.runid)
      and d.runid <> all (seen);
    get diagnostics forgotten = row_count;
  end if;
  return purged + forgotten + etl.purge_changes();
end
$$;
comment on function etl.purge(interval) is
  'Deletes the rows of the ledger that are older, and what pg_cron remembers of our runs that ended more than two
days ago, but for the latest of each feed, status and job, the failure since which a feed fails, and what the looks
have seen; and of etl.changes what is older than etl.feeds.history. Returns how many rows that is.';

revoke all on all functions in schema etl from public;
