-- The roles of a Supabase project, made by the superuser each time the embedded server starts.
-- As there, `postgres` owns the database and is no superuser.
do $$
declare
  role text;
begin
  foreach role in array array[
    'anon', 'authenticated', 'service_role', 'authenticator', 'supabase_read_only_user', 'postgres'
  ] loop
    if not exists (select from pg_roles where rolname = role) then
      execute format('create role %I', role);
    end if;
  end loop;
end $$;
alter role service_role bypassrls;
alter role authenticator login noinherit password :password;
alter role postgres login createdb createrole bypassrls replication password :password;
grant anon, authenticated, service_role to authenticator;
grant anon, authenticated, service_role to postgres with admin option;
grant pg_read_all_data to supabase_read_only_user;
grant supabase_read_only_user to postgres with inherit false;
grant pg_monitor, pg_signal_backend to postgres;
alter database postgres owner to postgres;
grant usage on schema public to anon, authenticated, service_role;
