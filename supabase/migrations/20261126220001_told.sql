-- What people were told of each feed, so that they are told of a change alone.
create table if not exists etl.told (
  feed text primary key references etl.feeds on update cascade on delete cascade,
  verdict text not null,
  since timestamptz not null,
  seen text,
  seen_at timestamptz,
  told_at timestamptz[] not null default '{}',
  requests bigint[] not null default '{}'
);
alter table etl.told enable row level security;
drop policy if exists "the owner alone" on etl.told;
create policy "the owner alone" on etl.told using (false);
comment on table etl.told is
  'What people were last told of a feed: see etl.news(). Without a row it was well whenever somebody looked. Written
only where a look sees another verdict than the one before.';
comment on column etl.told.feed is 'etl.feeds.name.';
comment on column etl.told.verdict is 'The verdict of etl.health() that was told; ok where nothing was told yet.';
comment on column etl.told.since is 'Since when the feed had it.';
comment on column etl.told.seen is 'Another verdict that the last look saw, once; null where it saw that one.';
comment on column etl.told.seen_at is 'When a look first saw that the feed is otherwise; null where it is not.';
comment on column etl.told.told_at is 'When people were told of this feed in the last 24 hours before the latest time.';
comment on column etl.told.requests is 'The numbers that pg_net gave the latest of these messages.';

-- A feed that failed, and then came and was the same, is well again.
alter table etl.runs drop constraint if exists runs_status_check;
alter table etl.runs add constraint runs_status_check check (status in ('changed', 'failed', 'unchanged'));
comment on table etl.runs is
  'The ledger: a row for each feed and run that changed something, failed, or was the first without a fault after one
that failed. Any other run without change leaves none.';
comment on column etl.runs.status is
  'changed: something was written; failed: nothing of this feed was; unchanged: it is well again, and nothing was new.';

-- What they return changes with the next migration.
drop function if exists etl.health();
drop function if exists public.trips_without_charges(timestamptz, timestamptz);
