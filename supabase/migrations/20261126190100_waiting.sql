-- What the runs put off, so that a later run comes to it first, and health can tell.
create table if not exists etl.waiting (
  feed text primary key references etl.feeds on update cascade on delete cascade,
  since timestamptz not null,
  reason text not null,
  led boolean not null default false
);
alter table etl.waiting enable row level security;
drop policy if exists "the owner alone" on etl.waiting;
create policy "the owner alone" on etl.waiting using (false);
comment on table etl.waiting is
  'The feeds that wait: a run had no time or room left for them, or another run was in their way. A feed that had its
turn since has no row.';
comment on column etl.waiting.feed is 'etl.feeds.name.';
comment on column etl.waiting.since is 'When the run began that first put it off.';
comment on column etl.waiting.reason is 'Why the latest one did.';
comment on column etl.waiting.led is
  'Whether it came first in the latest run that came to it, and has had no turn all the same: then others are first.';
