-- The three tables of the co-op. Their types and constraints are the whole contract of their feeds: the loader reads
-- them from the catalog. Tables that are there already keep every row and gain only what they lack.

create table if not exists public.drivers (id text primary key);
alter table public.drivers
  add column if not exists tlc_number text,
  add column if not exists first_name text,
  add column if not exists last_name text;

create table if not exists public.trips (id text primary key);
alter table public.trips
  add column if not exists driver_id text not null,
  add column if not exists request_timestamp timestamptz,
  add column if not exists pickup_timestamp timestamptz,
  add column if not exists dropoff_timestamp timestamptz,
  add column if not exists base_fare numeric check (base_fare > '-infinity' and base_fare < 'infinity'),
  add column if not exists gratuity numeric check (gratuity > '-infinity' and gratuity < 'infinity');

create table if not exists public.charges (id text primary key);
alter table public.charges
  add column if not exists trip_id text not null,
  add column if not exists amount_cents bigint not null;

-- What an older script may have left out. Rows that break a foreign key or a unique index stay, with a warning.
do $$
declare
  missing record;
begin
  for missing in
    select t.name
    from unnest(array['drivers', 'trips', 'charges']) as t(name)
    where not exists (
      select from pg_catalog.pg_constraint c
      where c.conrelid = format('public.%I', t.name)::regclass and c.contype = 'p'
    )
  loop
    execute format('alter table public.%I add primary key (id)', missing.name);
  end loop;

  for missing in
    select k.child, k.parent, k.referrer, a.attnum
    from (values ('trips', 'drivers', 'driver_id'), ('charges', 'trips', 'trip_id')) as k(child, parent, referrer)
    join pg_catalog.pg_attribute a on a.attrelid = format('public.%I', k.child)::regclass and a.attname = k.referrer
    where not exists (
      select from pg_catalog.pg_constraint c
      where c.conrelid = a.attrelid and c.contype = 'f' and c.conkey = array[a.attnum]
    )
  loop
    execute format(
      'alter table public.%I add constraint %I foreign key (%I) references public.%I (id) not valid',
      missing.child, missing.child || '_' || missing.referrer || '_fkey', missing.referrer, missing.parent
    );
    begin
      execute format(
        'alter table public.%I validate constraint %I', missing.child, missing.child || '_' || missing.referrer || '_fkey'
      );
    exception when foreign_key_violation then
      raise warning 'public.% holds rows whose % is in no row of public.%; they stay, new ones are refused',
        missing.child, missing.referrer, missing.parent;
    end;
  end loop;

  begin
    create unique index if not exists drivers_tlc_number_key on public.drivers (tlc_number) where tlc_number <> '';
  exception when unique_violation then
    raise warning 'public.drivers holds a tlc_number twice; the rows stay, and it is not made unique';
  end;
end $$;

create index if not exists trips_driver_id_dropoff_timestamp_idx on public.trips (driver_id, dropoff_timestamp);
create index if not exists charges_trip_id_idx on public.charges (trip_id);

-- Readable by signed-in users, written by the loader (the owner) alone. Supabase's roles may be absent elsewhere.
alter table public.drivers enable row level security;
alter table public.trips enable row level security;
alter table public.charges enable row level security;

do $$
declare
  subject text;
  reader text;
begin
  foreach subject in array array['drivers', 'trips', 'charges'] loop
    foreach reader in array array['anon', 'authenticated', 'service_role'] loop
      continue when not exists (select from pg_catalog.pg_roles where rolname = reader);
      execute format('revoke all on public.%I from %I', subject, reader);
      continue when reader = 'anon';
      execute format('grant select on public.%I to %I', subject, reader);
      continue when reader = 'service_role';
      execute format('drop policy if exists %I on public.%I', subject || ' are readable when signed in', subject);
      execute format(
        'create policy %I on public.%I for select to %I using (true)',
        subject || ' are readable when signed in', subject, reader
      );
    end loop;
  end loop;
end $$;

comment on table public.drivers is 'Drivers of the co-op. Source: the feed drivers.';
comment on column public.drivers.id is 'The partner''s key, opaque; text, so that 007 and a UUID stay what they are.';
comment on column public.drivers.tlc_number is 'Licence of the Taxi and Limousine Commission; unique when present.';
comment on table public.trips is 'Trips, completed or not. Source: the feed trips.';
comment on column public.trips.request_timestamp is 'When the ride was asked for; null for a street hail.';
comment on column public.trips.dropoff_timestamp is 'When the trip ended; null while it has not: a trip is completed once this is set.';
comment on column public.trips.base_fare is 'Currency units, exact as sent. May be negative: partners send corrections as such.';
comment on column public.trips.gratuity is 'Currency units, exact as sent.';
comment on table public.charges is 'Card charges; a trip may have none, one or several. Source: the feed charges.';
comment on column public.charges.amount_cents is 'Cents. A refund is negative.';
