-- A stand-in for Supabase's extension pg_net, for tests only: the same names, signatures and semantics as far as this
-- project meets them. net_worker.ts sends the requests. stand_ins.ts holds both to what the real one does.
create schema net;

create unlogged table net.http_request_queue (
  id bigserial,
  method text not null,
  url text not null,
  headers jsonb,
  body bytea,
  timeout_milliseconds int not null
);

create unlogged table net._http_response (
  id bigint,
  status_code int,
  content_type text,
  headers jsonb,
  content text,
  timed_out bool,
  error_msg text,
  created timestamptz not null default now()
);
create index on net._http_response (created);

create function net.http_post(
  url text,
  body jsonb default '{}',
  params jsonb default '{}',
  headers jsonb default '{"Content-Type": "application/json"}',
  timeout_milliseconds int default 5000
)
returns bigint
language plpgsql
as $$
declare
  request bigint;
  type text := (select value from jsonb_each_text(headers) where lower(key) = 'content-type' limit 1);
begin
  if type is null then
    headers := headers || '{"Content-Type": "application/json"}';
  elsif type <> 'application/json' then
    raise exception 'Content-Type header must be "application/json"';
  end if;
  insert into net.http_request_queue (method, url, headers, body, timeout_milliseconds)
  values (
    'POST',
    url || (select coalesce('?' || string_agg(key || '=' || value, '&'), '') from jsonb_each_text(params)),
    headers,
    convert_to(body::text, 'utf8'),
    timeout_milliseconds
  )
  returning id into request;
  -- Delivered on commit, and never where there is none.
  perform pg_notify('net', '');
  return request;
end
$$;

grant usage on schema net to public;
grant all on all tables in schema net to public;
grant all on all sequences in schema net to public;
