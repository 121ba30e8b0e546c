-- The three tables of the co-op. Their types and constraints are the whole contract of their feeds: the loader reads
-- them from the catalog. Tables that are there already keep every row and gain only what they lack.

-- Without a policy the readers of a table that was here before would see no row more: its owner switches that on.
select set_config('etl.older_tables', coalesce(string_agg(t.name, ','), ''), false)
from unnest(array['drivers', 'trips', 'charges']) as t(name)
join pg_catalog.pg_class c on c.oid = to_regclass(format('public.%I', t.name)) and not c.relrowsecurity;

create table if not exists public.drivers (id text primary key);
create table if not exists public.trips (id text primary key);
create table if not exists public.charges (id text primary key);

-- What refers to an older table takes the type of its id.
do $$
declare
  reference record;
begin
  for reference in
    select k.child, k.referrer, coalesce(format_type(a.atttypid, a.atttypmod), 'text') as type
    from (values ('trips', 'driver_id', 'drivers'), ('charges', 'trip_id', 'trips')) as k(child, referrer, parent)
    left join pg_catalog.pg_attribute a on a.attrelid = format('public.%I', k.parent)::regclass and a.attname = 'id'
  loop
    execute format(
      'alter table public.%I add column if not exists %I %s', reference.child, reference.referrer, reference.type
    );
  end loop;
end $$;

alter table public.drivers
  add column if not exists tlc_number text,
  add column if not exists first_name text,
  add column if not exists last_name text;

alter table public.trips
  add column if not exists request_timestamp timestamptz,
  add column if not exists pickup_timestamp timestamptz,
  add column if not exists dropoff_timestamp timestamptz,
  add column if not exists base_fare numeric check (base_fare > '-infinity' and base_fare < 'infinity'),
  add column if not exists gratuity numeric check (gratuity > '-infinity' and gratuity < 'infinity');

-- Fares and gratuities are corrected later. With a little room in each page the new row stays in it, and no index is
-- written.
do $$
begin
  alter table public.trips set (fillfactor = 95);
exception when wrong_object_type then
  raise warning 'public.trips is partitioned; set (fillfactor = 95) on its partitions yourself';
end $$;

alter table public.charges
  add column if not exists amount_cents bigint;

-- What an older script may have left out. Rows that break one of these rules stay, with a warning.
do $$
declare
  rule record;
begin
  for rule in
    select format('public.%I', t.name) as target
    from unnest(array['drivers', 'trips', 'charges']) as t(name)
    where not exists (
      select from pg_catalog.pg_constraint c
      where c.conrelid = format('public.%I', t.name)::regclass and c.contype = 'p'
    )
  loop
    execute format('alter table %s add primary key (id)', rule.target);
  end loop;

  for rule in
    select format('public.%I', t.name) as target, t.required
    from (values ('trips', 'driver_id'), ('charges', 'trip_id'), ('charges', 'amount_cents')) as t(name, required)
  loop
    begin
      execute format('alter table %s alter column %I set not null', rule.target, rule.required);
    exception when not_null_violation then
      raise warning '% holds rows without %; they stay, and it is not required', rule.target, rule.required;
    end;
  end loop;

  for rule in
    select
      format('public.%I', k.child) as target, k.referrer, format('public.%I', k.parent) as parent,
      format(
        '%I foreign key (%I) references public.%I (id)', k.child || '_' || k.referrer || '_fkey', k.referrer, k.parent
      ) as definition
    from (values ('trips', 'drivers', 'driver_id'), ('charges', 'trips', 'trip_id')) as k(child, parent, referrer)
    join pg_catalog.pg_attribute a on a.attrelid = format('public.%I', k.child)::regclass and a.attname = k.referrer
    where not exists (
      select from pg_catalog.pg_constraint c
      where c.conrelid = a.attrelid and c.contype = 'f' and c.conkey = array[a.attnum]
    )
  loop
    begin
      execute format('alter table %s add constraint %s', rule.target, rule.definition);
    exception
      when foreign_key_violation then
        begin
          execute format('alter table %s add constraint %s not valid', rule.target, rule.definition);
          raise warning '% holds rows whose % is in no row of %; they stay, new ones are refused',
            rule.target, rule.referrer, rule.parent;
        exception when wrong_object_type then
          raise warning '% is partitioned, and holds rows whose % is in no row of %; they stay, and there is no key',
            rule.target, rule.referrer, rule.parent;
        end;
      when invalid_foreign_key then
        raise warning '%.% cannot refer to %: %', rule.target, rule.referrer, rule.parent, sqlerrm;
      when datatype_mismatch then
        raise exception '%.% and %.id are of different types', rule.target, rule.referrer, rule.parent
          using errcode = 'datatype_mismatch', hint = 'Give them one type: alter table … alter column … type ….';
    end;
  end loop;

  begin
    create unique index if not exists drivers_tlc_number_key
      on public.drivers (tlc_number) where tlc_number::text <> '';
  exception
    when unique_violation then
      raise warning 'public.drivers holds a tlc_number twice; the rows stay, and it is not made unique';
    when feature_not_supported then
      raise warning 'public.drivers is partitioned by another column than tlc_number, which is not made unique';
  end;
end $$;

create index if not exists trips_driver_id_dropoff_timestamp_idx on public.trips (driver_id, dropoff_timestamp);
-- Trips come about in the order of their time, so that a block range index of a few pages finds those of a day.
create index if not exists trips_dropoff_timestamp_idx
  on public.trips using brin (dropoff_timestamp) with (autosummarize = on);
create index if not exists charges_trip_id_idx on public.charges (trip_id);

-- Readable by signed-in users, written by the loader (the owner) alone. Supabase's roles may be absent elsewhere.
do $$
declare
  subject text;
  reader text;
  is_older boolean;
begin
  foreach subject in array array['drivers', 'trips', 'charges'] loop
    is_older := subject = any (string_to_array(current_setting('etl.older_tables'), ','));
    if is_older then
      raise warning 'public.% was here before, without row level security; it stays so. For the staff to read it '
        'by the API: alter table public.% enable row level security; grant select on public.% to authenticated. '
        'Whoever else reads it needs a policy then', subject, subject, subject;
    else
      execute format('alter table public.%I enable row level security', subject);
    end if;
    execute format('revoke all on public.%I from public', subject);
    foreach reader in array array['anon', 'authenticated', 'service_role'] loop
      continue when not exists (select from pg_catalog.pg_roles where rolname = reader);
      execute format('revoke all on public.%I from %I', subject, reader);
      continue when reader = 'anon';
      if not (is_older and reader = 'authenticated') then
        execute format('grant select on public.%I to %I', subject, reader);
      end if;
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
comment on column public.trips.dropoff_timestamp is
  'When the trip ended; null while it has not: a trip is completed once this is set.';
comment on column public.trips.base_fare is
  'Currency units, exact as sent. May be negative: partners send corrections as such.';
comment on column public.trips.gratuity is 'Currency units, exact as sent.';
comment on table public.charges is 'Card charges; a trip may have none, one or several. Source: the feed charges.';
comment on column public.charges.amount_cents is 'Cents. A refund is negative.';
