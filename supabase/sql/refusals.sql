-- Why the latest file of a feed could not be loaded, in the words of whoever sent it. Our own errors stand in etl.runs.

create or replace function etl.refusals(feed_name text default null)
returns table (feed text, since timestamptz, whose text, problem text, mend text)
language sql stable
set search_path = ''
as $$
  select f.name, lasting.since, told.whose, told.problem, told.mend
  from etl.feeds f
  cross join lateral (
    select latest.status, latest.error_code, latest.error
    from (values ('changed'), ('failed'), ('unchanged'), ('undone')) s(status)
    cross join lateral (
      select r.status, r.finished_at, r.error_code, r.error
      from etl.runs r
      where r.feed = f.name and r.status = s.status
      order by r.finished_at desc
      limit 1
    ) latest
    order by latest.finished_at desc
    limit 1
  ) last
  cross join lateral etl.refusal(f, last.error_code, last.error) told
  cross join lateral (
    select min(r.finished_at) as since
    from etl.runs r
    where r.feed = f.name and r.status = 'failed' and r.finished_at > coalesce(
      (
        select max(other.finished_at)
        from etl.runs other
        where other.feed = f.name and other.error_code is distinct from last.error_code
      ),
      '-infinity'
    )
  ) lasting
  where (feed_name is null or f.name = feed_name) and last.status = 'failed'
    -- Of such a file the attempt tells more.
    and not (last.error_code = 'too_many_rejects' and exists (select from etl.attempts a where a.feed = f.name))
$$;
comment on function etl.refusals(text) is
  'The feeds, or the one of this name, whose latest file could not be loaded as a whole, since when for this reason, and
what etl.refusal() says of it. No row for a feed whose last run succeeded, or whose file had too many rejects: that is
in etl.attempts.';

create or replace function etl.refusal(
  feed etl.feeds, code text, error text, out whose text, out problem text, out mend text
)
language plpgsql stable
set search_path = ''
as $$
declare
  doing text := format('Cannot load %s: ', feed.name);
  said text := case when starts_with(error, doing) then substr(error, length(doing) + 1) end;
begin
  select t.whose, coalesce(t.problem, said, 'it cannot be read'), t.mend into whose, problem, mend
  from (
    values
      ('html', 'file', 'it is a web page, not data', 'Make sure that its address leads to the file, and to no login.'),
      ('empty', 'file', 'it is empty', 'Send it with its records.'),
      ('gzip', 'file', null, 'Send it again, whole.'),
      ('gzip_bomb', 'file', null, 'Send it again, packed as is usual.'),
      ('zip', 'file', null, 'Send it again, whole, without a password, and packed as is usual.'),
      ('zip_member', 'file', null, 'Send the archive with the same files as before, under the same names.'),
      ('zip_bomb', 'file', null, 'Send it again, packed as is usual.'),
      ('packing', 'file', null, 'Send it plain, as gzip, or in a zip archive.'),
      ('file_type', 'file', null, 'Send it as text: CSV or JSON.'),
      ('encoding', 'file', null, format('Send it as text in %s.', upper(feed.encoding))),
      ('header', 'file', null, 'Send it with one header line, as before.'),
      ('columns', 'file', etl.columns_in_plain_words(feed, said), 'Send it with the names of columns as before.'),
      ('json', 'file', null, 'Send it as valid JSON, in the shape of before.'),
      ('records', 'file', null, 'Send it in the shape of before.'),
      ('next', 'file', 'its link to the next page cannot be followed', 'Mend the links from page to page.'),
      ('unreadable', 'file', null, 'Send it in the format of before.'),
      ('record_too_long', 'file', null, 'Look for a quote or a bracket in it that is not closed.'),
      ('too_big', 'file', null, 'Send it in parts, or what has changed alone.'),
      ('too_many_rejects', 'file', 'too many of its records cannot be used', 'Ask us which.'),
      ('http_401', 'server', 'your server refuses us', 'Tell us whether we need another key.'),
      ('http_403', 'server', 'your server refuses us', 'Tell us whether we need another key.'),
      ('http_404', 'server', 'your server has no file at its address', 'Put it there, or tell us where it has moved.'),
      ('http_410', 'server', 'your server has no file at its address', 'Put it there, or tell us where it has moved.'),
      ('http_429', 'server', 'your server has us stay away', 'Tell us how often we may ask.'),
      ('http_5', 'server', 'your server fails', 'Have it looked at.'),
      ('http_', 'server', 'your server does not send the whole file', 'Have it looked at.'),
      ('cut_short', 'server', 'your server broke off before its end', 'Have it looked at, if this lasts.'),
      ('stalled', 'server', 'your server has stopped in the midst of it', 'Have it looked at, if this lasts.'),
      ('redirect_loop', 'server', 'your server redirects in a circle', 'Tell us its address, or have that mended.'),
      ('redirects', 'server', 'your server redirects to where we cannot follow', 'Tell us its address.'),
      ('bad_answer', 'server', 'what your server answers is not valid HTTP', 'Have it looked at.'),
      ('content_encoding', 'server', 'your server packs it otherwise than as gzip', 'Have it sent plain, or as gzip.'),
      ('certificate', 'server', 'the certificate of your server cannot be trusted', 'Has it expired?'),
      ('no_tls', 'server', 'your server speaks no TLS 1.2 or 1.3', 'Have it looked at.'),
      ('no_such_host', 'us', 'your server cannot be found', 'The fault may be ours. Has it moved?'),
      ('port_refused', 'us', 'your server cannot be reached', 'The fault may be ours. Is it up?'),
      ('unreachable', 'us', 'your server cannot be reached', 'The fault may be ours. Is it up?'),
      ('too_slow', 'us', 'it did not come in the time that there is', 'The fault may be ours.')
  ) t(code, whose, problem, mend)
  where t.code = refusal.code or (t.code like 'http\_%' and starts_with(refusal.code, t.code))
  order by length(t.code) desc
  limit 1;
  -- What speaks of our settings is for us to mend.
  if whose is null or problem ~ '\metl\.feeds\M|^there is no encoding|^its table was ' then
    whose := 'us';
    problem := null;
    mend := 'The fault may be ours.';
  end if;
  problem := left(etl.visible(problem), 1000);
end
$$;
comment on function etl.refusal(etl.feeds, text, text) is
  'An error_code of etl.runs and its error as the partner is told them. whose: file or server, where the fault is in his
file or with his server; us, where it may be ours: then problem says nothing of our own, or is null. mend: what he is to
do. What is neither in docs/errors.md as the file''s nor the server''s is ours.';

create or replace function etl.columns_in_plain_words(feed etl.feeds, said text)
returns text
language sql stable
set search_path = ''
as $$
  select case
    when said ~ '^none of its \d+ names is a column of ' then 'it has no column of a name that we know'
    when said ~ '^it lacks the key or required column .*?; it has '
      then 'it lacks what we need: ' || etl.under_names(
        substring(said from '^it lacks the key or required column (.*?); it has '), etl.names_of_columns(feed)
      )
    when said like 'it names a column twice: %'
      then 'it has more than one column for '
        || etl.under_names(substr(said, length('it names a column twice: ') + 1), etl.names_of_columns(feed))
    when said like 'it spells a column otherwise than its table does: %'
      then replace(said, 'otherwise than its table does', 'otherwise than before')
    else said
  end
$$;
comment on function etl.columns_in_plain_words(etl.feeds, text) is
  'What etl.check_columns() raises as the partner is told it: under his names for the columns, and without our table.';

revoke all on all functions in schema etl from public;
