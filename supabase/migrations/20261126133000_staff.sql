-- Who may see: the staff, and nobody who has merely signed up. etl.admit and etl.dismiss come with the next migration.

create table if not exists etl.staff (
  user_id uuid primary key,
  added_at timestamptz not null default now()
);
alter table etl.staff enable row level security;
drop policy if exists "the owner alone" on etl.staff;
create policy "the owner alone" on etl.staff using (false);
comment on table etl.staff is 'Who may read the tables and call the reports. See etl.admit and etl.dismiss.';
comment on column etl.staff.user_id is 'auth.users.id. No foreign key, for elsewhere there is no auth.users.';
comment on column etl.staff.added_at is 'When the user was admitted.';

-- The policies must name it. Until the next migration brings it whole, nobody is staff.
create or replace function etl.is_staff()
returns boolean
language sql stable security definer
set search_path = ''
as 'select false';
comment on function etl.is_staff() is 'Whether the caller is staff.';
revoke all on function etl.is_staff() from public;

-- Supabase's roles may be absent elsewhere.
do $$
declare
  subject text;
  other record;
begin
  if not exists (select from pg_catalog.pg_roles where rolname = 'authenticated') then
    return;
  end if;
  -- To call etl.is_staff by its name; nothing else there is theirs.
  grant usage on schema etl to authenticated;
  foreach subject in array array['drivers', 'trips', 'charges'] loop
    execute format('drop policy if exists %I on public.%I', subject || ' are readable when signed in', subject);
    execute format('drop policy if exists %I on public.%I', subject || ' are readable by staff', subject);
    for other in
      select p.policyname
      from pg_catalog.pg_policies p
      where p.schemaname = 'public' and p.tablename = subject and p.permissive = 'PERMISSIVE'
        and p.cmd in ('ALL', 'SELECT') and p.roles && array['public', 'authenticated']::name[]
    loop
      raise warning 'public.% has another policy, "%"; it stays, and whoever it lets in reads on',
        subject, other.policyname;
    end loop;
    -- As a subselect it is asked once a query, not once a row.
    execute format(
      'create policy %I on public.%I for select to authenticated using ((select etl.is_staff()))',
      subject || ' are readable by staff', subject
    );
  end loop;
end $$;
