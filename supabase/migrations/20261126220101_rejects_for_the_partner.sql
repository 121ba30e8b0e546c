-- All faults of a record, in the words of whoever sent it.
alter table etl.rejects add column if not exists faults jsonb;
comment on column etl.rejects.faults is
  'All that is known to be wrong with the record, the first as in the columns beside: a list of objects with column and
source (his name of it), value as it came, reason, sqlstate and constraint. Null where it was rejected before this was
kept, and of a row that the file lacks.';
comment on column etl.rejects.as_json is
  'Whether the record came as JSON. Of one that waits, its values are read as JSON once more, not as text.';

-- What was wrong with a file of which nothing was loaded.
create table if not exists etl.attempts (
  feed text primary key references etl.feeds on update cascade on delete cascade,
  run uuid not null,
  since timestamptz not null default now(),
  read bigint not null,
  rejected bigint not null,
  is_least boolean not null,
  digest text not null
);
alter table etl.attempts enable row level security;
drop policy if exists "the owner alone" on etl.attempts;
create policy "the owner alone" on etl.attempts using (false);
comment on table etl.attempts is
  'The last attempt to load a feed that failed for too many rejects (too_many_rejects), until the feed is loaded. An
attempt with the same rejects does not write it again.';
comment on column etl.attempts.feed is 'etl.feeds.name.';
comment on column etl.attempts.run is 'The run that first found these rejects.';
comment on column etl.attempts.since is 'When that was.';
comment on column etl.attempts.read is 'Records of the file.';
comment on column etl.attempts.rejected is 'How many of them broke a rule.';
comment on column etl.attempts.is_least is 'Whether there may be more, for it was clear before all had been tried.';
comment on column etl.attempts.digest is 'MD5 of all this and its rejects, by which the same ones are known.';

create table if not exists etl.attempt_rejects (
  feed text not null references etl.attempts on update cascade on delete cascade,
  record_number bigint not null,
  record jsonb,
  raw text,
  as_json boolean not null,
  column_name text,
  value text,
  reason text not null,
  sqlstate text not null,
  constraint_name text,
  faults jsonb,
  primary key (feed, record_number)
);
alter table etl.attempt_rejects enable row level security;
drop policy if exists "the owner alone" on etl.attempt_rejects;
create policy "the owner alone" on etl.attempt_rejects using (false);
comment on table etl.attempt_rejects is
  'Rejects of etl.attempts: at most 200 a feed, the first of each reason first. They are no open rejects: nothing waits
for them, and open_rejects does not count them.';
comment on column etl.attempt_rejects.feed is 'etl.feeds.name.';
comment on column etl.attempt_rejects.record_number is 'As in etl.rejects.';
comment on column etl.attempt_rejects.record is 'As in etl.rejects; null where it has more than 10,000 characters.';
comment on column etl.attempt_rejects.raw is
  'As in etl.rejects, and the text of a record that is too long for record; its first 10,000 characters.';
comment on column etl.attempt_rejects.as_json is 'Whether the record came as JSON.';
comment on column etl.attempt_rejects.column_name is 'As in etl.rejects.';
comment on column etl.attempt_rejects.value is 'As in etl.rejects; its first 1,000 characters.';
comment on column etl.attempt_rejects.reason is 'As in etl.rejects.';
comment on column etl.attempt_rejects.sqlstate is 'As in etl.rejects.';
comment on column etl.attempt_rejects.constraint_name is 'As in etl.rejects.';
comment on column etl.attempt_rejects.faults is 'As in etl.rejects; the first 20, and of a value 1,000 characters.';

-- Links by which a partner sees his own rejects.
create table if not exists etl.shares (
  token_hash bytea not null,
  feed text not null references etl.feeds on update cascade on delete cascade,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  minute timestamptz not null default now(),
  asked int not null default 0,
  primary key (feed, token_hash)
);
alter table etl.shares enable row level security;
drop policy if exists "the owner alone" on etl.shares;
create policy "the owner alone" on etl.shares using (false);
comment on table etl.shares is
  'Links that etl.share() has made: whoever has one sees the rejects of its feed, and nothing else. Deleted by
etl.unshare(), and once they have expired by the next etl.share().';
comment on column etl.shares.token_hash is 'SHA-256 of the token in the link; the token itself is kept nowhere.';
comment on column etl.shares.feed is 'etl.feeds.name.';
comment on column etl.shares.created_at is 'When etl.share() made it.';
comment on column etl.shares.expires_at is 'From then on the link leads to nothing.';
comment on column etl.shares.minute is 'Since when asked is counted: a minute at most.';
comment on column etl.shares.asked is 'How often the link was followed in that minute.';

-- What it did, etl.check_limit() does.
drop function if exists etl.raise_limit(etl.feeds, text, bigint, bigint, text, text, text);
