-- A link by which a partner sees what is wrong with his own records, and nothing else: until it expires or is revoked.

create or replace function etl.share(feed_name text, lasts interval default '30 days', function_url text default null)
returns text
language plpgsql
set search_path = ''
as $$
declare
  feed etl.feeds := etl.feed_named(feed_name);
  url text := rtrim(function_url, '/');
  token constant text := etl.new_secret();
begin
  if lasts is null or lasts <= interval '0' or lasts > interval '1 year' then
    raise exception 'a link lasts for a year at most, and for longer than nothing'
      using errcode = 'ETL11', hint = 'select etl.share(''…'', ''30 days'');';
  end if;
  if url is null then
    if not etl.can_read('vault.decrypted_secrets') then
      raise exception 'there is no URL to link to: the vault, which holds the function''s, is missing'
        using errcode = 'ETL07', hint = 'select etl.share(''…'', function_url => ''https://…/functions/v1/etl'');';
    end if;
    url := rtrim((select s.url from etl.secrets() s), '/');
  elsif url !~ '^https?://[^ /]' then
    raise exception 'the function''s URL is none'
      using errcode = 'ETL11', hint = 'It is as https://<project>.supabase.co/functions/v1/etl';
  end if;
  delete from etl.shares s where s.expires_at <= now();
  insert into etl.shares (token_hash, feed, expires_at)
  values (sha256(convert_to(token, 'UTF8')), feed.name, now() + lasts);
  return format('%s/rejects/%s', url, token);
end
$$;
comment on function etl.share(text, interval, text) is
  'Makes a link for the feed''s partner, on the edge function, and returns it: who has it sees his rejects, as long as
it lasts. It cannot be shown again. function_url: where the vault has none. Raises ETL01 for a feed that is not in
etl.feeds, ETL07 where there is no URL, ETL11 for another time or URL than there can be.';

create or replace function etl.unshare(feed_name text)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
  feed etl.feeds := etl.feed_named(feed_name);
  revoked bigint;
begin
  delete from etl.shares s where s.feed = feed.name;
  get diagnostics revoked = row_count;
  return revoked;
end
$$;
comment on function etl.unshare(text) is
  'Revokes all links to the feed''s rejects; returns how many there were. Raises ETL01 for a feed that is not in
etl.feeds.';

create or replace function etl.shared(
  hash bytea, as_csv boolean, out status int, out file_name text, out body text
)
language plpgsql
set search_path = ''
as $$
declare
  most constant int := 60;
  shared_feed text;
begin
  -- One that asks too often writes nothing more.
  update etl.shares s
  set minute = case when s.minute <= now() - interval '1 minute' then now() else s.minute end,
    asked = case when s.minute <= now() - interval '1 minute' then 1 else s.asked + 1 end
  where s.token_hash = hash and s.expires_at > now()
    and (s.minute <= now() - interval '1 minute' or s.asked < most)
  returning s.feed into shared_feed;
  if shared_feed is null then
    if exists (select from etl.shares s where s.token_hash = hash and s.expires_at > now()) then
      status := 429;
      body := e'This link was followed too often. Try again in a minute.\n';
    else
      status := 404;
      body := e'This link is not valid, or not any more. Ask whoever sent it for another one.\n';
    end if;
    return;
  end if;
  status := 200;
  file_name := format(
    '%s-rejects-%s', regexp_replace(shared_feed, '[^A-Za-z0-9._-]', '_', 'g'),
    to_char(now() at time zone 'UTC', 'YYYY-MM-DD')
  );
  body := case when as_csv then etl.sheet_csv(shared_feed, 5000) else etl.letter(shared_feed) end;
end
$$;
comment on function etl.shared(bytea, boolean) is
  'What is answered to whoever follows a link with a token of this SHA-256: 200 and the rejects of its feed, as CSV (at
most 5,000 faults) or as etl.letter(); 429 after 60 times within a minute; 404 where there is no such link, be it wrong,
expired or revoked.';

revoke all on all functions in schema etl from public;
