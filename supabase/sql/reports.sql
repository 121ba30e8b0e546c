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
    and not exists (select 1 from public.charges c where c.trip_id = t.id);
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
