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
