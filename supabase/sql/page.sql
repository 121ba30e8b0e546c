-- What the page of web/ asks beside the reports, by RPC: for staff, as these. What the page draws is aggregated here,
-- so that it never fetches what it does not show. Those that read etl do so by a function there, with the owner's
-- rights, which asks first whether the caller is staff.

create or replace function public.trips_without_charges_listed(
  completed_from timestamptz default '-infinity',
  completed_before timestamptz default 'infinity',
  search text default null
)
returns table (
  id public.trips.id%type,
  driver_id public.trips.driver_id%type,
  first_name public.drivers.first_name%type,
  last_name public.drivers.last_name%type,
  request_timestamp timestamptz,
  pickup_timestamp timestamptz,
  dropoff_timestamp timestamptz,
  base_fare public.trips.base_fare%type,
  gratuity public.trips.gratuity%type,
  charge_rejected boolean
)
language sql stable security invoker
set search_path = ''
set timezone = 'UTC'
set statement_timeout = '30s'
as $$
  select
    t.id, t.driver_id, d.first_name, d.last_name, t.request_timestamp, t.pickup_timestamp, t.dropoff_timestamp,
    t.base_fare, t.gratuity, t.charge_rejected
  from public.trips_without_charges(completed_from, completed_before) t
  left join public.drivers d on d.id = t.driver_id
  where search is null
    or etl.holds_words(concat_ws(' ', t.id, t.driver_id, d.first_name, d.last_name, d.tlc_number), search)
$$;
comment on function public.trips_without_charges_listed(timestamptz, timestamptz, text) is
  'public.trips_without_charges() with the drivers'' names; of these the ones whose trip, driver, name or licence holds
each word of search, accents and case aside.';

create or replace function public.trips_without_charges_by_day(
  completed_from timestamptz default '-infinity',
  completed_before timestamptz default 'infinity',
  unit text default null,
  zone text default 'UTC',
  search text default null
)
returns table (day date, unit text, trips bigint, fares numeric, gratuities numeric, charges_rejected bigint)
language sql stable security invoker
set search_path = ''
set timezone = 'UTC'
set statement_timeout = '30s'
as $$
  with found as materialized (
    select t.dropoff_timestamp at time zone zone as ended, t.base_fare, t.gratuity, t.charge_rejected
    from public.trips_without_charges_listed(completed_from, completed_before, search) t
  ), span as materialized (
    select
      case
        when $3 is not null then $3
        when max(f.ended) - min(f.ended) <= interval '92 days' then 'day'
        when max(f.ended) - min(f.ended) <= interval '730 days' then 'week'
        else 'month'
      end as unit
    from found f
  )
  select
    date_trunc(s.unit, f.ended)::date, s.unit, count(*), coalesce(sum(f.base_fare), 0), coalesce(sum(f.gratuity), 0),
    count(*) filter (where f.charge_rejected)
  from found f
  cross join span s
  group by 1, 2
  order by 1
$$;
comment on function public.trips_without_charges_by_day(timestamptz, timestamptz, text, text, text) is
  'How many trips without charges there are, with the sums of their fares and gratuities, by the day of their end in a
time zone, as America/New_York; or by week (its Monday) or month (its first). unit: which of the three; where none is
given, the smallest that makes some hundred rows at most. A day without a trip has no row.
charges_rejected: of how many a charge came, and waits in etl.rejects. search: as in
public.trips_without_charges_listed().';

create or replace function public.churned_drivers_listed(
  as_of timestamptz default now(),
  inactive_for interval default '14 days',
  search text default null
)
returns table (
  id public.drivers.id%type,
  tlc_number public.drivers.tlc_number%type,
  first_name public.drivers.first_name%type,
  last_name public.drivers.last_name%type,
  last_dropoff_timestamp timestamptz
)
language sql stable security invoker
set search_path = ''
set timezone = 'UTC'
set statement_timeout = '30s'
as $$
  select c.id, c.tlc_number, c.first_name, c.last_name, c.last_dropoff_timestamp
  from public.churned_drivers(as_of, inactive_for) c
  where search is null or etl.holds_words(concat_ws(' ', c.id, c.first_name, c.last_name, c.tlc_number), search)
$$;
comment on function public.churned_drivers_listed(timestamptz, interval, text) is
  'public.churned_drivers(), of these the ones whose id, name or licence holds each word of search, accents and case
aside.';

create or replace function public.churned_drivers_by_week(
  as_of timestamptz default now(),
  inactive_for interval default '14 days',
  zone text default 'UTC',
  search text default null
)
returns table (week date, drivers bigint)
language sql stable security invoker
set search_path = ''
set timezone = 'UTC'
set statement_timeout = '30s'
as $$
  select date_trunc('week', c.last_dropoff_timestamp at time zone zone)::date, count(*)
  from public.churned_drivers_listed(as_of, inactive_for, search) c
  group by 1
  order by 1
$$;
comment on function public.churned_drivers_by_week(timestamptz, interval, text, text) is
  'How many churned drivers ended their last trip in a week, by its Monday in a time zone. A week without one has no
row.';

create or replace function etl.holds_words(text text, words text)
returns boolean
language sql immutable parallel safe
set search_path = ''
as $$
  -- Letters without their accents: José is found by jose.
  select not exists (
    select
    from regexp_split_to_table(lower(regexp_replace(normalize(words, nfd), '[\u0300-\u036f]', '', 'g')), '\s+') w(word)
    where strpos(lower(regexp_replace(normalize(text, nfd), '[\u0300-\u036f]', '', 'g')), w.word) = 0
  )
$$;
comment on function etl.holds_words(text, text) is 'Whether each of the words is in the text, accents and case aside.';

create or replace function public.feed_health()
returns table (
  feed text,
  verdict text,
  message text,
  hint text,
  since timestamptz,
  last_change timestamptz,
  last_failure timestamptz,
  next_run timestamptz,
  open_rejects bigint,
  records bigint,
  usual_records bigint,
  keeps_history boolean,
  attempted_rejects bigint,
  attempted_is_least boolean,
  attempt_is_latest boolean,
  has_letter boolean
)
language sql stable security invoker
set search_path = ''
set timezone = 'UTC'
set statement_timeout = '30s'
as $$
  select * from etl.page_health()
$$;
comment on function public.feed_health() is
  'etl.health() for staff, and the feeds that are disabled. keeps_history: what its runs change is kept, and can be
undone. attempted_rejects: where the last attempt failed as a whole for its rejects, how many it had (at least, where
attempted_is_least), until the feed is loaded; open_rejects does not count them. attempt_is_latest: it has not failed
for another reason since, as a file that is not there. has_letter: public.feed_letter() has something to mend.';

create or replace function etl.page_health()
returns table (
  feed text,
  verdict text,
  message text,
  hint text,
  since timestamptz,
  last_change timestamptz,
  last_failure timestamptz,
  next_run timestamptz,
  open_rejects bigint,
  records bigint,
  usual_records bigint,
  keeps_history boolean,
  attempted_rejects bigint,
  attempted_is_least boolean,
  attempt_is_latest boolean,
  has_letter boolean
)
language plpgsql stable security definer
set search_path = ''
as $$
begin
  perform etl.require_staff();
  return query
  select
    h.feed, h.verdict, h.message, h.hint, h.since, h.last_change, h.last_failure, h.next_run, h.open_rejects, h.records,
    h.usual_records, f.history is not null, a.rejected, a.is_least,
    case when a.feed is not null then u.feed is null end,
    a.feed is not null or coalesce(u.whose <> 'us', false)
      -- What the file lacks, its partner has not sent.
      or exists (select from etl.rejects r where r.feed = h.feed and r.record_number is not null)
  from etl.health_of_all() h
  join etl.feeds f on f.name = h.feed
  left join etl.attempts a on a.feed = h.feed
  left join etl.refusals() u on u.feed = h.feed
  order by h.feed;
end
$$;
comment on function etl.page_health() is 'For public.feed_health(), with the owner''s rights.';

create or replace function public.feed_runs(
  of_feed text,
  before timestamptz default 'infinity',
  at_most int default 50,
  of_run uuid default null
)
returns table (
  run uuid,
  status text,
  started_at timestamptz,
  finished_at timestamptz,
  read bigint,
  inserted bigint,
  updated bigint,
  deleted bigint,
  unchanged bigint,
  duplicate bigint,
  rejected bigint,
  ignored_columns text[],
  error text,
  undoes uuid,
  changes_kept boolean
)
language sql stable security invoker
set search_path = ''
set timezone = 'UTC'
set statement_timeout = '30s'
as $$
  select * from etl.page_runs(of_feed, before, at_most, of_run)
$$;
comment on function public.feed_runs(text, timestamptz, int, uuid) is
  'What etl.runs has of a feed, the latest first: those that began before a time, at most 1,000 of them; or this run
alone. changes_kept: public.feed_changes() has what it changed.';

create or replace function etl.page_runs(of_feed text, before timestamptz, at_most int, of_run uuid)
returns table (
  run uuid,
  status text,
  started_at timestamptz,
  finished_at timestamptz,
  read bigint,
  inserted bigint,
  updated bigint,
  deleted bigint,
  unchanged bigint,
  duplicate bigint,
  rejected bigint,
  ignored_columns text[],
  error text,
  undoes uuid,
  changes_kept boolean
)
language plpgsql stable security definer
set search_path = ''
as $$
begin
  perform etl.require_staff();
  return query
  select
    r.run, r.status, r.started_at, r.finished_at, r.read, r.inserted, r.updated, r.deleted, r.unchanged, r.duplicate,
    r.rejected, r.ignored_columns, r.error, r.undoes,
    r.run in (select k.run from etl.runs_kept(of_feed) k)
  from etl.runs r
  where r.feed = of_feed and r.started_at < before and (of_run is null or r.run = of_run)
  order by r.started_at desc
  limit least(at_most, 1000);
end
$$;
comment on function etl.page_runs(text, timestamptz, int, uuid) is 'For public.feed_runs(), with the owner''s rights.';

create or replace function public.feed_reject_counts(of_feed text)
returns table (
  attempted boolean,
  reason text,
  source text,
  problem text,
  mend text,
  rejects bigint,
  oldest timestamptz
)
language sql stable security invoker
set search_path = ''
set timezone = 'UTC'
set statement_timeout = '30s'
as $$
  select * from etl.page_reject_counts(of_feed)
$$;
comment on function public.feed_reject_counts(text) is
  'The rejects of a feed by what is wrong with them, the most frequent first, and since when the oldest is there. Before
these, those of the last attempt (attempted), where it failed as a whole: the at most 200 of them that are kept.
problem: the reason in plain words, of the partner''s column source; mend: what to do about it.';

create or replace function etl.page_reject_counts(of_feed text)
returns table (
  attempted boolean,
  reason text,
  source text,
  problem text,
  mend text,
  rejects bigint,
  oldest timestamptz
)
language plpgsql stable security definer
set search_path = ''
as $$
declare
  definition etl.feeds := (select f from etl.feeds f where f.name = of_feed);
begin
  perform etl.require_staff();
  return query
  with counted as (
    select false as attempted, r.reason, r.column_name, count(*) as rejects, min(r.since) as oldest
    from etl.rejects r
    where r.feed = of_feed
    group by r.reason, r.column_name
    union all
    select true, r.reason, r.column_name, count(*), min(a.since)
    from etl.attempt_rejects r
    join etl.attempts a on a.feed = r.feed
    where r.feed = of_feed
    group by r.reason, r.column_name
  ), told as (
    -- There may be as many reasons as rejects; few are left.
    select
      c.attempted, etl.told(c.reason) as reason, c.column_name, sum(c.rejects) as rejects, min(c.oldest) as oldest
    from counted c
    group by 1, 2, 3
  )
  select k.attempted, k.reason, k.source, w.problem, w.mend, k.rejects, k.oldest
  from (
    select
      t.attempted, t.reason, etl.source_of(definition, t.column_name) as source, min(t.column_name) as column_name,
      sum(t.rejects)::bigint as rejects, min(t.oldest) as oldest
    from told t
    group by 1, 2, 3
  ) k
  cross join lateral etl.in_plain_words(definition, k.reason, k.column_name, k.source) w
  order by k.attempted desc, k.rejects desc, k.reason, k.source;
end
$$;
comment on function etl.page_reject_counts(text) is 'For public.feed_reject_counts(), with the owner''s rights.';

create or replace function etl.source_of(feed etl.feeds, column_name text)
returns text
language plpgsql stable
set search_path = ''
as $$
begin
  return coalesce(
    (select m.key from jsonb_each_text(feed.columns) m where m.value = column_name order by m.key limit 1), column_name
  );
end
$$;
comment on function etl.source_of(etl.feeds, text) is
  'What the partner calls a column, where the record itself does not tell; null where it is no column''s.';

create or replace function public.feed_rejects(
  of_feed text,
  of_reason text default null,
  of_source text default null,
  of_attempt boolean default false,
  after_attempted boolean default false,
  after_number bigint default null,
  after_id uuid default null,
  at_most int default 50
)
returns table (
  attempted boolean,
  id uuid,
  record_number bigint,
  since timestamptz,
  faults jsonb,
  record jsonb,
  raw text
)
language sql stable security invoker
set search_path = ''
set timezone = 'UTC'
set statement_timeout = '30s'
as $$
  select *
  from etl.page_rejects(of_feed, of_reason, of_source, of_attempt, after_attempted, after_number, after_id, at_most)
$$;
comment on function public.feed_rejects(text, text, text, boolean, boolean, bigint, uuid, int) is
  'The rejects of a feed, those of the last attempt first where it failed as a whole (attempted), and each in the order
of its file, at most 1,000: all; or, where of_reason is given, those that a row of public.feed_reject_counts() counts:
with its reason, its source (none: null) and its attempted. after_…: those after the reject with this attempted, number
and id. Of a record that the file lacks the number is null; it comes last. faults: all that is wrong with it, each with
source (the partner''s name of the column), value, problem and what to mend, in plain words.';

create or replace function etl.page_rejects(
  of_feed text, of_reason text, of_source text, of_attempt boolean, after_attempted boolean, after_number bigint,
  after_id uuid, at_most int
)
returns table (
  attempted boolean,
  id uuid,
  record_number bigint,
  since timestamptz,
  faults jsonb,
  record jsonb,
  raw text
)
language plpgsql stable security definer
set search_path = ''
as $$
declare
  last constant bigint := 9223372036854775807;
  definition etl.feeds := (select f from etl.feeds f where f.name = of_feed);
  named constant text[] := array(
    select c.name
    from (select m.value from jsonb_each_text(definition.columns) m union select of_source) c(name)
    where etl.source_of(definition, c.name) = of_source
  );
begin
  perform etl.require_staff();
  return query
  select
    r.attempted, r.id, r.record_number, r.since,
    (
      select jsonb_agg(
        jsonb_build_object('source', n.source, 'value', x.fault ->> 'value', 'problem', w.problem, 'mend', w.mend)
        order by x.place
      )
      from jsonb_array_elements(coalesce(r.faults, jsonb_build_array(jsonb_build_object(
        'column', r.column_name, 'value', r.value, 'reason', r.reason
      )))) with ordinality x(fault, place)
      cross join lateral (
        select coalesce(x.fault ->> 'source', etl.source_of(definition, x.fault ->> 'column')) as source
      ) n
      cross join lateral etl.in_plain_words(
        definition, x.fault ->> 'reason', x.fault ->> 'column', n.source
      ) w
    ),
    r.record, r.raw
  from (
    select
      false as attempted, w.id, w.record_number, w.since, w.faults, w.record, w.raw, w.column_name, w.value, w.reason
    from etl.rejects w
    where w.feed = of_feed
    union all
    select
      true, etl.attempt_id(t.feed, t.record_number), t.record_number, a.since, t.faults, t.record, t.raw, t.column_name,
      t.value, t.reason
    from etl.attempt_rejects t
    join etl.attempts a on a.feed = t.feed
    where t.feed = of_feed
  ) r
  where (
      of_reason is null
      or r.attempted = of_attempt and (r.column_name = any (named) or num_nulls(r.column_name, of_source) = 2)
        and of_reason in (r.reason, etl.told(r.reason))
    )
    and (
      after_id is null
      or row(not r.attempted, coalesce(r.record_number, last), r.id)
        > row(not after_attempted, coalesce(after_number, last), after_id)
    )
  order by not r.attempted, coalesce(r.record_number, last), r.id
  limit least(at_most, 1000);
end
$$;
comment on function etl.page_rejects(text, text, text, boolean, boolean, bigint, uuid, int) is
  'For public.feed_rejects(), with the owner''s rights.';

create or replace function public.feed_letter(of_feed text)
returns text
language sql stable security invoker
set search_path = ''
set statement_timeout = '30s'
as $$
  select etl.page_letter(of_feed)
$$;
comment on function public.feed_letter(text) is 'etl.letter() for staff: what to write to the feed''s partner.';

create or replace function etl.page_letter(of_feed text)
returns text
language plpgsql stable security definer
set search_path = ''
as $$
begin
  perform etl.require_staff();
  return etl.letter(of_feed);
end
$$;
comment on function etl.page_letter(text) is 'For public.feed_letter(), with the owner''s rights.';

create or replace function public.share_rejects(of_feed text, function_url text)
returns text
language sql volatile security invoker
set search_path = ''
set statement_timeout = '30s'
as $$
  select etl.page_share(of_feed, function_url)
$$;
comment on function public.share_rejects(text, text) is
  'etl.share() for staff: a link for the feed''s partner, on the edge function at this URL, for 30 days.';

create or replace function etl.page_share(of_feed text, function_url text)
returns text
language plpgsql security definer
set search_path = ''
as $$
begin
  perform etl.require_staff();
  return etl.share(of_feed, function_url => function_url);
end
$$;
comment on function etl.page_share(text, text) is 'For public.share_rejects(), with the owner''s rights.';

create or replace function public.feed_changes(
  of_run uuid,
  of_feed text,
  after_number bigint default 0,
  at_most int default 50
)
returns table (number bigint, change text, key jsonb, before jsonb, after jsonb)
language sql stable security invoker
set search_path = ''
set statement_timeout = '30s'
as $$
  select * from etl.page_changes(of_run, of_feed, after_number, at_most)
$$;
comment on function public.feed_changes(uuid, text, bigint, int) is
  'What a run changed of a feed, as etl.changes has it, in the order in which it was written, at most 1,000 after this
number. change: inserted, updated or deleted; before and after hold what differs, and of a row that came or went all
that is not null.';

create or replace function etl.page_changes(of_run uuid, of_feed text, after_number bigint, at_most int)
returns table (number bigint, change text, key jsonb, before jsonb, after jsonb)
language plpgsql stable security definer
set search_path = ''
as $$
begin
  perform etl.require_staff();
  return query
  select
    c.number,
    case when c.before is null then 'inserted' when c.after is null then 'deleted' else 'updated' end,
    c.key, d.before, d.after
  from etl.changes c
  cross join lateral (
    select
      coalesce(jsonb_object_agg(b.key, b.value) filter (where b.key is not null), '{}') as before,
      coalesce(jsonb_object_agg(a.key, a.value) filter (where a.key is not null), '{}') as after
    from jsonb_each_text(c.before) b
    full join jsonb_each_text(c.after) a on a.key = b.key
    where a.value is distinct from b.value
  ) d
  where c.feed = of_feed and c.run = of_run and c.number > after_number
    and c.at in (select k.at from etl.runs_kept(of_feed) k where k.run = of_run)
  order by c.number
  limit least(at_most, 1000);
end
$$;
comment on function etl.page_changes(uuid, text, bigint, int) is 'For public.feed_changes(), with the owner''s rights.';

create or replace function etl.runs_kept(of_feed text)
returns table (at timestamptz, run uuid)
language sql stable
set search_path = ''
as $$
  -- From one to the next by the key, for a run may have changed a million rows.
  with recursive kept as (
    (select c.at, c.run from etl.changes c where c.feed = of_feed order by c.at, c.run limit 1)
    union all
    select n.at, n.run
    from kept k
    cross join lateral (
      select c.at, c.run
      from etl.changes c
      where c.feed = of_feed and (c.at, c.run) > (k.at, k.run)
      order by c.at, c.run
      limit 1
    ) n
  )
  select k.at, k.run from kept k
$$;
comment on function etl.runs_kept(text) is 'The runs of which etl.changes has what they changed of a feed.';

create or replace function public.undo_run(of_run uuid, of_feed text, is_trial boolean default true)
returns table (outcome text, records bigint, reason text)
language sql volatile security invoker
set search_path = ''
set statement_timeout = '60s'
as $$
  select * from etl.page_undo(of_run, of_feed, is_trial)
$$;
comment on function public.undo_run(uuid, text, boolean) is
  'etl.undo() for staff: what it has done, or, as a trial, would do: nothing of that stays.';

create or replace function etl.page_undo(of_run uuid, of_feed text, is_trial boolean)
returns table (outcome text, records bigint, reason text)
language plpgsql security definer
set search_path = ''
as $$
declare
  outcomes jsonb;
begin
  perform etl.require_staff();
  begin
    select coalesce(jsonb_agg(jsonb_build_array(u.outcome, u.records, u.reason) order by u.ordinality), '[]')
    into outcomes
    from etl.undo(of_run, of_feed) with ordinality u;
    if is_trial is not false then
      raise 'a trial' using errcode = 'ETL00';
    end if;
  exception when sqlstate 'ETL00' then
    -- All of it is taken back but for what is in the variable.
  end;
  return query
  select o ->> 0, (o ->> 1)::bigint, o ->> 2 from jsonb_array_elements(outcomes) o;
end
$$;
comment on function etl.page_undo(uuid, text, boolean) is 'For public.undo_run(), with the owner''s rights.';

create or replace function etl.require_staff()
returns void
language plpgsql stable
set search_path = ''
as $$
begin
  if not etl.serves_staff() then
    raise insufficient_privilege
      using message = 'the page is for staff', hint = 'The owner admits: select etl.admit(''you@example.org'').';
  end if;
end
$$;
comment on function etl.require_staff() is 'Raises 42501 where a user of the API asks who is not staff.';

revoke all on all functions in schema etl from public;

do $$
declare
  asked regprocedure;
  reader text;
begin
  for asked in
    select p.oid::regprocedure
    from pg_catalog.pg_proc p
    where p.pronamespace = 'public'::regnamespace
        and p.proname = any ('{trips_without_charges_listed,trips_without_charges_by_day,churned_drivers_listed,
          churned_drivers_by_week,feed_health,feed_runs,feed_reject_counts,feed_rejects,feed_letter,share_rejects,
          feed_changes,undo_run}'::name[])
      or p.pronamespace = 'etl'::regnamespace and (p.proname like 'page\_%' or p.proname = 'holds_words')
  loop
    execute format('revoke all on function %s from public', asked);
    foreach reader in array array['anon', 'authenticated', 'service_role'] loop
      continue when not exists (select from pg_catalog.pg_roles where rolname = reader);
      execute format('revoke all on function %s from %I', asked, reader);
      continue when reader = 'anon';
      execute format('grant execute on function %s to %I', asked, reader);
    end loop;
  end loop;
end $$;
