-- With etl.feeds.contents = 'changes' rejects of several files wait side by side, each with the number of its own file;
-- and a row that stays though the file lacks it has no number.
alter table etl.rejects drop constraint if exists rejects_pkey;
alter table etl.rejects
  alter column record_number drop not null,
  add column if not exists id uuid not null default gen_random_uuid() constraint rejects_pkey primary key,
  add column if not exists as_json boolean not null default false,
  add column if not exists since timestamptz not null default now();
create unique index if not exists rejects_feed_record_number_idx on etl.rejects (feed, record_number, id);
update etl.rejects r set since = u.finished_at from etl.runs u where u.run = r.first_run and u.feed = r.feed;
comment on table etl.rejects is
  'What is wrong now. A record leaves when it loads or vanishes from its feed; while it is the same it is not written.
Where etl.feeds.contents is changes it does not vanish: it waits until it loads, a newer record of its key comes, or a
person deletes it here.';
comment on column etl.rejects.record_number is
  'From 1, in the order of its file; a CSV header line is not counted. Null: a row of the table that the file lacks.';
comment on column etl.rejects.record is
  'The record, source name -> text for CSV. Null where it could not be split: see raw. Of a row that the file lacks, its
key.';
comment on column etl.rejects.id is 'Tells rejects apart: the files of a feed of changes may all have a record 1.';
comment on column etl.rejects.as_json is
  'Whether a record that waits came as JSON: its values are read as JSON once more, not as text.';
comment on column etl.rejects.since is 'When the run began that first wrote this row: since then the record waits.';

-- Rows that a file of all no longer holds.
alter table etl.runs add column if not exists deleted bigint not null default 0;
comment on column etl.runs.deleted is 'Rows that the file no longer held and that were deleted, or marked.';
alter table etl.feed_state
  add column if not exists withheld bigint not null default 0,
  add column if not exists withheld_of bigint,
  add column if not exists withheld_why text;
comment on column etl.feed_state.withheld is
  'Rows that the last file lacks and that were neither deleted nor marked: see etl.approve(). As long as
etl.feeds.absent is not keep.';
comment on column etl.feed_state.withheld_of is
  'Rows that the table had before the first file of which rows are withheld; null where none are.';
comment on column etl.feed_state.withheld_why is 'Why not, in words; null where none were withheld.';
create table if not exists etl.approvals (
  feed text primary key references etl.feeds on update cascade on delete cascade,
  removals bigint not null constraint approvals_removals_check check (removals > 0),
  approved_at timestamptz not null default now()
);
alter table etl.approvals enable row level security;
drop policy if exists "the owner alone" on etl.approvals;
create policy "the owner alone" on etl.approvals using (false);
comment on table etl.approvals is
  'What etl.approve() permits the next load of a feed, which uses it up: a row a feed at most.';
comment on column etl.approvals.feed is 'etl.feeds.name.';
comment on column etl.approvals.removals is 'Up to so many rows that the file lacks may be deleted or marked.';
comment on column etl.approvals.approved_at is 'When a person called etl.approve().';

-- The functions are made anew by the next migration.
drop function if exists etl.cells();
drop function if exists etl.typed_cells(boolean);
drop function if exists etl.merge(text, uuid, int, text[], text);
