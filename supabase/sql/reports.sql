-- The two reports and how fresh they are, by RPC. A trip is completed once it has a dropoff_timestamp, and belongs to
-- that moment.
-- They are for staff, and for whoever row security does not hold: the owner, service_role.
-- Signed-in users have 8 s for a request; PostgREST takes a function's own statement_timeout for the whole of it.
-- In UTC, so that 14 days are as long for every caller, and older columns without a time zone are read alike.

create or replace function public.trips_without_charges(
  completed_from timestamptz default '-infinity',
  completed_before timestamptz default 'infinity'
)
returns table (
  id public.trips.id%type,
  driver_id public.trips.driver_id%type,
  request_timestamp timestamptz,
  pickup_timestamp timestamptz,
  dropoff_timestamp timestamptz,
  base_fare public.trips.base_fare%type,
  gratuity public.trips.gratuity%type,
  charge_rejected boolean
)
language plpgsql stable security invoker
set search_path = ''
set timezone = 'UTC'
set statement_timeout = '30s'
set plan_cache_mode = force_custom_plan
as $$
declare
  rejected text[];
begin
  if row_security_active('public.trips') then
    -- Not in one condition: those above may not look into etl.
    if not etl.is_staff() then
      raise insufficient_privilege
        using message = 'the reports are for staff', hint = 'The owner admits: select etl.admit(''you@example.org'').';
    end if;
  end if;
  rejected := array(select etl.trips_of_rejected_charges());
  -- Planned for each call, by its bounds: for all trips a hash join, for those of a day the index of the charges. What
  -- is rejected is a constant then, and a hash.
  return query
  select
    t.id, t.driver_id, t.request_timestamp::timestamptz, t.pickup_timestamp::timestamptz,
    t.dropoff_timestamp::timestamptz, t.base_fare, t.gratuity, t.id::text = any (rejected)
  from public.trips t
  where t.dropoff_timestamp::timestamptz >= completed_from
    and t.dropoff_timestamp::timestamptz < completed_before
    and not exists (select 1 from public.charges c where c.trip_id = t.id);
end
$$;
comment on function public.trips_without_charges(timestamptz, timestamptz) is
  'Completed trips that no charge points to. completed_from is included, completed_before is not. charge_rejected:
whether a charge for the trip came, and waits in etl.rejects.';

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

create or replace function public.report_freshness()
returns table (
  feed text,
  last_change timestamptz,
  verdict text,
  since timestamptz,
  message text,
  open_rejects bigint,
  target text
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
  return query select f.* from etl.freshness() f;
end
$$;
comment on function public.report_freshness() is
  'What the reports rest on: a row for each feed of their three tables. last_change: when a run last changed something;
verdict: as etl.health() has it, or disabled; since: since when it is so, where that is known; message: why;
open_rejects: records that came and are not in the table; target: the table, as public.trips.';

create or replace function etl.freshness()
returns table (
  feed text,
  last_change timestamptz,
  verdict text,
  since timestamptz,
  message text,
  open_rejects bigint,
  target text
)
language sql stable security definer
set search_path = ''
set timezone = 'UTC'
as $$
  select h.feed, h.last_change, h.verdict, h.since, h.message, h.open_rejects, etl.regclass_of(f.target)::text
  from etl.health_of_all() h
  join etl.feeds f on f.name = h.feed
  where etl.regclass_of(f.target) in ('public.drivers'::regclass, 'public.trips'::regclass, 'public.charges'::regclass)
    and (select etl.serves_staff())
  order by h.feed
$$;
comment on function etl.freshness() is
  'For public.report_freshness(), with the owner''s rights: health reads what no user may. No row for who is no staff.';

create or replace function etl.trips_of_rejected_charges()
returns setof text
language plpgsql stable security definer
set search_path = ''
as $$
declare
  -- As the table spells it: 007 is 7 where it is a number.
  id_type text := (
    select format_type(a.atttypid, a.atttypmod)
    from pg_catalog.pg_attribute a
    where a.attrelid = 'public.trips'::regclass and a.attname = 'id'
  );
begin
  if not etl.serves_staff() then
    return;
  end if;
  return query execute etl.fill(
    $sql$
    with spelled as materialized (
      select k.feed, k.source
      from (
        select distinct
          r.feed, jsonb_object_keys(case jsonb_typeof(r.record) when 'object' then r.record else '{}' end) as source
        from etl.rejects r
        where r.feed in (select f.name from etl.feeds f where etl.regclass_of(f.target) = 'public.charges'::regclass)
      ) k
      join etl.feeds f on f.name = k.feed
      where etl.wanted_column(f, k.source) = 'trip_id'
    )
    select distinct cell.value::{type}::text
    from spelled s
    join etl.rejects r on r.feed = s.feed
    cross join lateral (select r.record ->> s.source as value) cell
    where pg_input_is_valid(cell.value, {name})
    $sql$,
    jsonb_build_object('name', quote_literal(id_type), 'type', id_type)
  );
end
$$;
comment on function etl.trips_of_rejected_charges() is
  'The trips of the charges in etl.rejects, as public.trips.id spells them, by the name that the partner gives the
column. For public.trips_without_charges(), with the owner''s rights. No row for who is no staff.';

create or replace function etl.serves_staff()
returns boolean
language sql stable
set search_path = ''
as $$
  select current_setting('role') <> 'authenticated' or etl.is_staff()
$$;
comment on function etl.serves_staff() is
  'Whether a function with the owner''s rights may answer: the user of this request is staff, or no user of the API.';

do $$
declare
  report regprocedure;
  reader text;
begin
  foreach report in array array[
    'public.trips_without_charges(timestamptz, timestamptz)'::regprocedure,
    'public.churned_drivers(timestamptz, interval)'::regprocedure,
    'public.report_freshness()'::regprocedure,
    'etl.freshness()'::regprocedure,
    'etl.trips_of_rejected_charges()'::regprocedure
  ] loop
    execute format('revoke all on function %s from public', report);
    foreach reader in array array['anon', 'authenticated', 'service_role'] loop
      continue when not exists (select from pg_catalog.pg_roles where rolname = reader);
      execute format('revoke all on function %s from %I', report, reader);
      continue when reader = 'anon';
      execute format('grant execute on function %s to %I', report, reader);
    end loop;
  end loop;
  -- To call the two by their names; nothing else there is theirs.
  if exists (select from pg_catalog.pg_roles where rolname = 'service_role') then
    grant usage on schema etl to service_role;
  end if;
end $$;
revoke all on function etl.serves_staff() from public;
