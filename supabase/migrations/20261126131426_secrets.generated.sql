-- Written by `deno task migration` from supabase/sql. Not to be edited: change the source, and write another.
-- The functions of a file call those below them, so that their bodies are checked when they run.
set check_function_bodies = off;

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
  perform cron.unschedule(j.jobid) from cron.job j where j.jobname in ('tdc-etl', 'tdc-etl purge') and not j.active;
  if not exists (select from cron.job j where j.jobname = 'tdc-etl' and j.schedule = cron) then
    -- pg_cron does not remember when a job was made; etl.health() must know, to miss a first run.
    perform cron.schedule('tdc-etl', cron, 'select etl.invoke() -- since ' || since);
  end if;
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
  for job in select j.jobid from cron.job j where j.jobname in ('tdc-etl', 'tdc-etl purge') loop
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

create or replace function etl.purge()
returns bigint
language plpgsql
set search_path = ''
as $$
declare
  purged bigint;
begin
  perform etl.require('pg_cron');
  delete from cron.job_run_details d
  where (d.command like 'select etl.invoke()%' or d.command = 'select etl.purge()')
    and coalesce(d.end_time, d.start_time) < now() - interval '2 days'
    -- The latest start of a job stays, however long ago: etl.health() tells by it whether a rare one is late.
    and exists (select from cron.job_run_details later where later.jobid = d.jobid and later.runid > d.runid);
  get diagnostics purged = row_count;
  return purged;
end
$$;
comment on function etl.purge() is
  'Deletes what pg_cron remembers of our runs that ended more than two days ago, but for the latest of each job;
returns how many.';

revoke all on all functions in schema etl from public;

-- supabase/sql/secrets.sql
-- The function's URL and the trigger secret, in the vault. The database makes the secrets itself, so that no statement
-- holds one: Postgres logs the text of a statement that fails.

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

reset check_function_bodies;
