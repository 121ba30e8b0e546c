-- What a run changed, to be seen and to be undone: see history.sql and undo.sql.
alter table etl.feeds
  add column if not exists history interval constraint feeds_history_check check (history > '0');
comment on column etl.feeds.history is
  'How long it is kept what the runs of this feed changed, in etl.changes: to be seen by etl.changed() and taken back by
etl.undo(). Null: not at all.';

-- No foreign key to etl.feeds: it would be asked at each row. No sequence: one that moves is a write, too.
create table if not exists etl.changes (
  feed text not null,
  at timestamptz not null default now(),
  run uuid not null,
  number bigint not null,
  target text not null,
  key jsonb not null,
  before jsonb,
  after jsonb,
  constraint changes_pkey primary key (feed, at, run, number)
);
alter table etl.changes enable row level security;
drop policy if exists "the owner alone" on etl.changes;
create policy "the owner alone" on etl.changes using (false);
comment on table etl.changes is
  'What the runs changed of feeds with etl.feeds.history: a row for each row that was inserted, updated or deleted, in
the transaction that did it. Values are texts, as Postgres prints them, so that each is exact: column -> text or null.';
comment on column etl.changes.feed is 'etl.feeds.name.';
comment on column etl.changes.at is 'When the run began.';
comment on column etl.changes.run is 'The run that did it: etl.runs.run.';
comment on column etl.changes.number is 'From 1, within feed and run; what was written later has a larger one.';
comment on column etl.changes.target is 'The table, as in public.trips.';
comment on column etl.changes.key is 'Its primary key, column -> text.';
comment on column etl.changes.before is 'The row as it was; null: there was none.';
comment on column etl.changes.after is
  'The row as it was stored, once triggers were done with it; null: it was deleted; an empty object: not found under its
key, for a trigger had given it another.';

-- A feed that is renamed keeps its history. The function is made whole by the next migration.
create or replace function etl.rename_changes() returns trigger language plpgsql set search_path = ''
as 'begin return null; end';
revoke all on function etl.rename_changes() from public;
drop trigger if exists feeds_rename_changes on etl.feeds;
create trigger feeds_rename_changes after update of name on etl.feeds
  for each row when (old.name is distinct from new.name) execute function etl.rename_changes();

-- What an undo leaves.
alter table etl.runs add column if not exists undoes uuid;
comment on column etl.runs.undoes is 'The run that this one has taken back, by etl.undo(); null for a load.';
alter table etl.runs drop constraint if exists runs_status_check;
alter table etl.runs
  add constraint runs_status_check check (status in ('changed', 'unchanged', 'failed', 'undone'));
comment on column etl.runs.status is
  'changed: something was written; failed: nothing of this feed was; unchanged: it is well again, and nothing was new;
undone: etl.undo() has taken back an earlier run.';
alter table etl.feed_state
  add column if not exists undone_run uuid,
  add column if not exists undone_at timestamptz;
comment on column etl.feed_state.undone_run is
  'The run that etl.undo() has taken back, for which it has disabled the feed; null once the feed is loaded again, or
etl.approve() was called.';
comment on column etl.feed_state.undone_at is 'When it did.';

-- Their signatures change with the next migration.
drop function if exists etl.merge_staged(etl.feeds, regclass, bigint, boolean);
drop function if exists etl.try_retries(etl.feeds, regclass, bigint);
drop function if exists etl.write_delta(regclass, bigint, bigint, bigint);
drop function if exists etl.remove_rows(etl.feeds, regclass);
