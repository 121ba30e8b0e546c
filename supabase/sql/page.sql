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
  keeps_history boolean
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
undone.';

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
  keeps_history boolean
)
language plpgsql stable security definer
set search_path = ''
as $$
begin
  perform etl.require_staff();
  return query
  select
    h.feed, h.verdict, h.message, h.hint, h.since, h.last_change, h.last_failure, h.next_run, h.open_rejects, h.records,
    h.usual_records, f.history is not null
  from etl.health_of_all() h
  join etl.feeds f on f.name = h.feed
  order by h.feed;
end
$$;
comment on function etl.page_health() is 'For public.feed_health(), with the owner''s rights.';

create or replace function public.feed_runs(of_feed text, before timestamptz default 'infinity', at_most int default 50)
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
  select * from etl.page_runs(of_feed, before, at_most)
$$;
comment on function public.feed_runs(text, timestamptz, int) is
  'What etl.runs has of a feed, the latest first: those that began before a time, at most 1,000 of them. changes_kept:
public.feed_changes() has what it changed.';

create or replace function etl.page_runs(of_feed text, before timestamptz, at_most int)
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
  where r.feed = of_feed and r.started_at < before
  order by r.started_at desc
  limit least(at_most, 1000);
end
$$;
comment on function etl.page_runs(text, timestamptz, int) is 'For public.feed_runs(), with the owner''s rights.';

create or replace function public.feed_reject_counts(of_feed text)
returns table (reason text, source text, problem text, rejects bigint, oldest timestamptz)
language sql stable security invoker
set search_path = ''
set timezone = 'UTC'
set statement_timeout = '30s'
as $$
  select * from etl.page_reject_counts(of_feed)
$$;
comment on function public.feed_reject_counts(text) is
  'The rejects of a feed by what is wrong with them, the most frequent first, and since when the oldest is there.
problem: the reason in plain words, of the partner''s column source.';

create or replace function etl.page_reject_counts(of_feed text)
returns table (reason text, source text, problem text, rejects bigint, oldest timestamptz)
language plpgsql stable security definer
set search_path = ''
as $$
declare
  definition etl.feeds := (select f from etl.feeds f where f.name = of_feed);
begin
  perform etl.require_staff();
  return query
  select c.reason, n.source, w.problem, c.rejects, c.oldest
  from (
    select r.reason, r.column_name, count(*) as rejects, min(r.since) as oldest
    from etl.rejects r
    where r.feed = of_feed
    group by r.reason, r.column_name
  ) c
  cross join lateral (
    select coalesce(
      (
        select m.key from jsonb_each_text(definition.columns) m where m.value = c.column_name order by m.key limit 1
      ),
      c.column_name
    ) as source
  ) n
  cross join lateral etl.in_plain_words(definition, c.reason, c.column_name, n.source) w
  order by c.rejects desc, c.reason, c.column_name;
end
$$;
comment on function etl.page_reject_counts(text) is 'For public.feed_reject_counts(), with the owner''s rights.';

create or replace function public.feed_rejects(
  of_feed text,
  of_reason text default null,
  after_number bigint default -1,
  after_id uuid default null,
  at_most int default 50
)
returns table (
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
  select * from etl.page_rejects(of_feed, of_reason, after_number, after_id, at_most)
$$;
comment on function public.feed_rejects(text, text, bigint, uuid, int) is
  'The rejects of a feed in the order of its file, at most 1,000: for one reason or all, and those after the record with
this number and id. Of a record that the file lacks the number is null; it comes last. faults: all that is wrong with
it, each with source (the partner''s name of the column), value, problem and what to mend, in plain words.';

create or replace function etl.page_rejects(
  of_feed text, of_reason text, after_number bigint, after_id uuid, at_most int
)
returns table (
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
begin
  perform etl.require_staff();
  return query
  select
    r.id, r.record_number, r.since,
    (
      select jsonb_agg(
        jsonb_build_object('source', n.source, 'value', x.fault ->> 'value', 'problem', w.problem, 'mend', w.mend)
        order by x.place
      )
      from jsonb_array_elements(coalesce(r.faults, jsonb_build_array(jsonb_build_object(
        'column', r.column_name, 'value', r.value, 'reason', r.reason
      )))) with ordinality x(fault, place)
      cross join lateral (
        select coalesce(
          x.fault ->> 'source',
          (
            select m.key
            from jsonb_each_text(definition.columns) m
            where m.value = x.fault ->> 'column'
            order by m.key
            limit 1
          ),
          x.fault ->> 'column'
        ) as source
      ) n
      cross join lateral etl.in_plain_words(
        definition, x.fault ->> 'reason', x.fault ->> 'column', n.source
      ) w
    ),
    r.record, r.raw
  from etl.rejects r
  where r.feed = of_feed and (of_reason is null or r.reason = of_reason)
    and (
      coalesce(r.record_number, last) > coalesce(after_number, last)
      or coalesce(r.record_number, last) = coalesce(after_number, last) and r.id > after_id
    )
  order by coalesce(r.record_number, last), r.id
  limit least(at_most, 1000);
end
$$;
comment on function etl.page_rejects(text, text, bigint, uuid, int) is
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
