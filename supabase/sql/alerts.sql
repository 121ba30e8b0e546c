-- Told, not asked: word of a feed whose verdict has changed, to whoever is on call. One text for all of them, which
-- holds no value of a record, no query of a URL and no secret. By pg_net to the URL in the vault; or from a timer, by
-- deno task health --alert, which sends the same text itself.

create or replace function etl.tell()
returns bigint
language plpgsql
set search_path = ''
as $$
declare
  news record;
  request bigint;
begin
  if etl.alert_url() is null then
    return null;
  end if;
  select n.* into news from etl.news() n;
  if news.message is null then
    return null;
  end if;
  request := etl.post_alert(news.message);
  update etl.told t
  set requests = (t.requests || request)[greatest(1, cardinality(t.requests) - 4):]
  where t.feed = any (news.feeds);
  return request;
end
$$;
comment on function etl.tell() is
  'For pg_cron: has pg_net send etl.news(), where there is any, to the URL in the vault, and returns the number of the
request; null where there is none, or no URL. Raises ETL07, never with the URL in it.';

create or replace function etl.news(out message text, out feeds text[])
language plpgsql
set search_path = ''
as $$
declare
  most constant int := 6;
  look record;
  notices jsonb := '[]';
  recent timestamptz[];
  is_news boolean;
  since timestamptz;
begin
  -- Whoever tells now tells for all.
  if not pg_try_advisory_xact_lock(hashtext('tdc-etl alerts')) then
    return;
  end if;
  for look in
    select
      h.feed, h.verdict, h.hint, h.since, h.failing_since, t.seen, t.seen_at, t.since as told_since,
      -- That there is none is no cause where another scheduler does it.
      replace(h.message, '. No schedule: see etl.schedule()', '') as message,
      coalesce(t.verdict, 'ok') as told, coalesce(t.told_at, '{}') as told_at,
      coalesce(etl.is_lost(t.requests, t.told_at), false) as is_lost
    from etl.health() h
    left join etl.told t on t.feed = h.feed
    -- It is scheduled, and its time has not come.
    where not (h.verdict = 'never ran' and h.next_run is not null)
    order by h.feed
  loop
    -- Another verdict is news once two looks agree on it, or on that it is no longer well.
    is_news := look.verdict <> look.told
      and (look.seen = look.verdict or (look.told = 'ok' and look.seen is not null)) is true;
    recent := array(select a.at from unnest(look.told_at) a(at) where a.at > now() - interval '24 hours' order by a.at);
    if (is_news or (look.is_lost and look.verdict = look.told)) and cardinality(recent) < most then
      since := coalesce(look.since, case when is_news then look.seen_at end, look.told_since);
      notices := notices || jsonb_build_object(
        'feed', look.feed,
        'what', case
          when look.verdict <> 'ok' then format('%s since %s', look.verdict, etl.moment(since))
          when is_news then format('ok again; before: %s since %s', look.told, etl.moment(look.told_since))
          else 'ok again'
        end,
        'cause', case when look.verdict <> 'ok' then look.message end,
        'advice', case when look.verdict <> 'ok' then
          etl.advice(look.feed, look.verdict, look.hint, look.failing_since)
        end,
        'silence', case when cardinality(recent) = most - 1 then format(
          'It changes to and fro: this is the sixth message on it in 24 hours. The next one comes after %s at the '
            || 'earliest',
          etl.moment(recent[1] + interval '24 hours')
        ) end
      );
      feeds := feeds || look.feed;
      insert into etl.told as t (feed, verdict, since, told_at)
      values (look.feed, look.verdict, since, recent || now())
      on conflict on constraint told_pkey do update
      set verdict = excluded.verdict, since = excluded.since, seen = null, seen_at = null, told_at = excluded.told_at;
    elsif look.seen is distinct from nullif(look.verdict, look.told) then
      insert into etl.told as t (feed, verdict, since, seen, seen_at)
      values (look.feed, look.told, now(), look.verdict, now())
      on conflict on constraint told_pkey do update
      set seen = nullif(look.verdict, t.verdict),
        seen_at = case when look.verdict <> t.verdict then coalesce(t.seen_at, now()) end;
    end if;
  end loop;
  message := etl.alert_text(notices);
end
$$;
comment on function etl.news() is
  'A look at etl.health(): what is to be told, and of which feeds; null where nothing is. What two looks agree on is
news, and then counts as told: so whoever cannot send it rolls back. A feed makes six messages in 24 hours at most, and
the sixth says so. Written is only where a look sees another verdict than the one before.';

create or replace function etl.is_lost(requests bigint[], told_at timestamptz[])
returns boolean
language plpgsql stable
set search_path = ''
as $$
begin
  if cardinality(requests) > 0 and etl.can_read('net._http_response') then
    return exists (
      select
      from net._http_response r
      where r.id = requests[cardinality(requests)] and r.created >= told_at[cardinality(told_at)]
        and coalesce(r.status_code, 0) not between 200 and 299
    );
  end if;
  return false;
end
$$;
comment on function etl.is_lost(bigint[], timestamptz[]) is
  'Whether the receiver of the latest of these messages did not take it: then it is sent once more.';

create or replace function etl.advice(feed text, verdict text, hint text, failing_since timestamptz)
returns text
language sql stable
set search_path = ''
as $$
  select case verdict
    when 'undone' then 'Have the file mended, then: ' || hint
    when 'failing' then coalesce(
      (
        select format('docs/errors.md explains %s; deno task etl %s tries again', r.error_code, advice.feed)
        from etl.runs r
        where r.feed = advice.feed and r.status = 'failed' and r.finished_at >= advice.failing_since
        order by r.finished_at desc
        limit 1
      ),
      'See the logs of the function'
    )
    when 'secret refused' then 'Give both the same one: README.md, "A new secret without downtime"'
    when 'late' then 'docs/operation.md lists what breaks, and what helps'
    when 'never ran' then format('Run it: deno task etl %s; or schedule it: select etl.schedule()', feed)
    when 'unknown' then 'Start a run: deno task etl; then look into the log of your scheduler'
    when 'stale' then 'Ask the partner'
    else coalesce('Where the cause says so: ' || hint, 'Ask the partner')
  end
$$;
comment on function etl.advice(text, text, text, timestamptz) is
  'What to do about such a verdict, in a sentence without its stop. failing_since: null where the fault is not the
feed''s own.';

create or replace function etl.alert_text(notices jsonb)
returns text
language sql immutable
set search_path = ''
as $$
  with alike as (
    select
      concat_ws(
        '. ',
        etl.listed(array_agg(n.feed order by n.feed)) || case count(*) when 1 then ' is ' else ' are ' end || n.what,
        'Cause: ' || rtrim(left(n.cause, 1000), '.'),
        'What to do: ' || n.advice, n.silence
      ) || '.' as line,
      min(n.feed) as first
    from jsonb_to_recordset(notices) n(feed text, what text, cause text, advice text, silence text)
    group by n.what, n.cause, n.advice, n.silence
  ), numbered as (
    select
      -- Chats take < and & for their own, and @ for a call to people; a line break would begin another message.
      regexp_replace(
        replace(replace(replace(regexp_replace(a.line, '[[:cntrl:]]+', ' ', 'g'), '&', '&amp;'), '<', '&lt;'),
          '>', '&gt;'),
        '@(?=\S)', '@ ', 'g'
      ) as line,
      row_number() over (order by a.first) as n
    from alike a
  )
  select string_agg('tdc-etl: ' || l.line, e'\n' order by l.n) filter (where l.n <= 10)
    || case when count(*) > 10 then format(e'\nAnd %s more: select * from etl.health()', count(*) - 10) else '' end
  from numbered l
$$;
comment on function etl.alert_text(jsonb) is
  'The text to send: a line for each notice, those that differ by their feed alone in one, ten at most; null where there
is none.';

create or replace function etl.post_alert(message text)
returns bigint
language plpgsql
set search_path = ''
as $$
declare
  url text := etl.alert_url();
begin
  if url is null then
    raise exception 'the vault lacks etl_alert_url'
      using errcode = 'ETL07', hint = 'Put the URL of the chat''s incoming webhook there, under that name.';
  end if;
  perform etl.require('pg_net');
  return etl.post(
    url, '{"Content-Type": "application/json"}', jsonb_build_object('text', message), patience_ms => 10000
  );
end
$$;
comment on function etl.post_alert(text) is
  'Has pg_net send this text to the URL in the vault, once the transaction has committed, and returns the number of the
request. Raises ETL07, never with the URL in it.';

create or replace function etl.alert_url()
returns text
language plpgsql stable
set search_path = ''
as $$
declare
  url text;
begin
  if not etl.can_read('vault.decrypted_secrets') then
    return null;
  end if;
  -- Pasted values often end in a line break.
  url := (
    select nullif(btrim(s.decrypted_secret, e' \t\r\n'), '')
    from vault.decrypted_secrets s
    where s.name = 'etl_alert_url'
  );
  if url !~ '^https://[^ /]' and url !~ '^http://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?(/|$)' then
    raise exception 'etl_alert_url in the vault is no https URL'
      using errcode = 'ETL07', hint = 'It is the URL of the chat''s incoming webhook.';
  end if;
  return url;
end
$$;
comment on function etl.alert_url() is
  'Where alerts go, from the vault: etl_alert_url; null where there is none. Raises ETL07, never with the URL in it,
where it is not https, nor on this machine.';

revoke all on all functions in schema etl from public;
