-- Written by `deno task migration` from supabase/sql. Not to be edited: change the source, and write another.
-- The functions of a file call those below them, so that their bodies are checked when they run.
set check_function_bodies = off;

-- supabase/sql/reports.sql
-- The two reports, by RPC. A trip is completed once it has a dropoff_timestamp, and belongs to that moment.
-- Both are for staff, and for whoever row security does not hold: the owner, service_role.
-- In UTC, so that 14 days are as long for every caller, and older columns without a time zone are read alike.

create or replace function public.trips_without_charges(
  completed_from timestamptz default '-infinity',
  completed_before timestamptz default 'infinity'
)
returns setof public.trips
language plpgsql stable security invoker
set search_path = ''
set timezone = 'UTC'
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

-- supabase/sql/staff.sql
-- Who may see: the staff. The policies of the tables and the reports ask etl.is_staff; the owner alone changes it.

create or replace function etl.admit(email text)
returns text
language plpgsql
set search_path = ''
as $$
declare
  users uuid[] := array(select etl.users_with(email));
begin
  insert into etl.staff (user_id) select unnest(users) on conflict do nothing;
  return format(case when found then '%s is staff now' else '%s was staff already' end, email);
end
$$;
comment on function etl.admit(text) is
  'Lets the user with this e-mail address, in upper or lower case, read the tables and call the reports. Says whether
that is new. Raises ETL10 where no user has it.';

create or replace function etl.dismiss(email text)
returns text
language plpgsql
set search_path = ''
as $$
declare
  users uuid[] := array(select etl.users_with(email));
begin
  delete from etl.staff s where s.user_id = any (users);
  return format(case when found then '%s is staff no longer' else '%s was not staff' end, email);
end
$$;
comment on function etl.dismiss(text) is
  'Undoes etl.admit, from the user''s next request on. Says whether it changed something. Raises ETL10 where no user
has this e-mail address.';

create or replace function etl.users_with(email text)
returns setof uuid
language plpgsql stable
set search_path = ''
as $$
begin
  if not etl.can_read('auth.users') then
    raise exception 'there is no table auth.users, or it is not for this role'
      using errcode = 'ETL10', hint = 'Users are those of a Supabase project; connect to one, as postgres.';
  end if;
  return query
  select u.id from auth.users u where lower(u.email) = lower(nullif(btrim(users_with.email), ''));
  if not found then
    raise exception 'no user has the e-mail address "%"', email
      using errcode = 'ETL10', hint = 'Whoever is to be admitted signs up first.';
  end if;
end
$$;
comment on function etl.users_with(text) is
  'The users of auth.users with this e-mail address: one, or a second one who signs in by SSO. Raises ETL10 where there
is none.';

create or replace function etl.is_staff()
returns boolean
language plpgsql stable parallel safe security definer
set search_path = ''
as $$
declare
  claims text := current_setting('request.jwt.claims', true);
  subject text;
begin
  if pg_input_is_valid(claims, 'jsonb') then
    subject := claims::jsonb ->> 'sub';
  end if;
  if pg_input_is_valid(subject, 'uuid') then
    return exists (select from etl.staff s where s.user_id = subject::uuid);
  end if;
  return false;
end
$$;
comment on function etl.is_staff() is
  'Whether the user of this request, by the claims of the token that the API has verified, is staff; false where there
are none. Runs with the owner''s rights, for no one else may read etl.staff.';

revoke all on all functions in schema etl from public;

do $$
begin
  if exists (select from pg_catalog.pg_roles where rolname = 'authenticated') then
    grant execute on function etl.is_staff() to authenticated;
  end if;
end $$;

reset check_function_bodies;
