-- The function's URL and the trigger secret, in the vault, and the secrets that feeds name. The database makes its own
-- secrets itself, so that no statement holds one: Postgres logs the text of a statement that fails.

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

create or replace function etl.vault_secrets(names text[])
returns jsonb
language plpgsql stable
set search_path = ''
as $$
begin
  if not etl.can_read('vault.decrypted_secrets') then
    return '{}';
  end if;
  return (
    select coalesce(jsonb_object_agg(s.name, s.decrypted_secret), '{}')
    from vault.decrypted_secrets s
    where s.name = any (names)
  );
end
$$;
comment on function etl.vault_secrets(text[]) is
  'Name -> secret, of those that the vault has and this role may read: for a feed whose URL or headers name them.';

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
