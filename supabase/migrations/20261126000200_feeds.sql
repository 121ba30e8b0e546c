-- The machinery's own schema: what to load, what happened, what is wrong now. Never exposed by the API.
create schema if not exists etl;
revoke all on schema etl from public;
comment on schema etl is 'The loader''s feeds, ledger, rejects and functions. Private: not for the API.';

-- The definition: people write it, the loader never does.
create table if not exists etl.feeds (
  name text primary key check (name <> ''),
  url text not null,
  target text not null,
  format text check (format in ('csv', 'json', 'ndjson')),
  time_zone text not null default 'UTC',
  columns jsonb not null default '{}' check (jsonb_typeof(columns) = 'object'),
  delimiter text check (delimiter in (',', ';', '|', e'\t')),
  encoding text not null default 'utf-8',
  reject_limit numeric not null default 0.1 check (reject_limit between 0 and 1),
  enabled boolean not null default true
);
alter table etl.feeds enable row level security;
drop policy if exists "the owner alone" on etl.feeds;
create policy "the owner alone" on etl.feeds using (false);
comment on table etl.feeds is 'One row a feed. A further feed costs a table and a row here, no code.';
comment on column etl.feeds.name is 'What the feed is called in reports, in the ledger and on the command line.';
comment on column etl.feeds.url is 'http or https, without credentials.';
comment on column etl.feeds.target is 'The table to load, as in public.trips. It must have a primary key.';
comment on column etl.feeds.format is 'csv, json (an array of objects) or ndjson (an object a line); null: by content.';
comment on column etl.feeds.time_zone is 'For times that carry none, as in America/New_York.';
comment on column etl.feeds.columns is
  'Source name -> column, for names the feed spells differently: {"Driver No": "id"}.';
comment on column etl.feeds.delimiter is 'Of a CSV feed: comma, semicolon, tab or pipe; null: by the header line.';
comment on column etl.feeds.encoding is 'As the WHATWG Encoding Standard names it: utf-8, windows-1252, utf-16le, ….';
comment on column etl.feeds.reject_limit is
  'Share of a feed''s records, 0 to 1. With more rejects the feed is rolled back whole.';
comment on column etl.feeds.enabled is 'Whether a run without feed names takes this feed.';

-- The state: the loader writes it, people need not.
create table if not exists etl.feed_state (
  feed text primary key references etl.feeds on update cascade on delete cascade,
  etag text,
  last_modified text,
  content_hash text not null,
  content_length bigint,
  definition_hash text not null,
  carried_columns text[] not null,
  records bigint not null
);
alter table etl.feed_state enable row level security;
drop policy if exists "the owner alone" on etl.feed_state;
create policy "the owner alone" on etl.feed_state using (false);
comment on table etl.feed_state is
  'What the loader remembers of the last body that it loaded, a row a feed. Without its row a feed is loaded anew.';
comment on column etl.feed_state.feed is 'etl.feeds.name.';
comment on column etl.feed_state.etag is 'Validator of that answer, sent as If-None-Match.';
comment on column etl.feed_state.last_modified is 'Validator of that answer, sent as If-Modified-Since.';
comment on column etl.feed_state.content_hash is 'XXH64 of the unpacked text in UTF-8, hexadecimal.';
comment on column etl.feed_state.content_length is
  'Content-Length of that answer: a body as long as that is hashed first, and loaded only if it differs.';
comment on column etl.feed_state.definition_hash is
  'MD5 of the feed''s and the target''s definition then; the four validators count only while it is the same.';
comment on column etl.feed_state.carried_columns is 'The target''s columns that the feed carried, in its order.';
comment on column etl.feed_state.records is 'Records that were read, good or not.';

create table if not exists etl.runs (
  run uuid not null,
  feed text not null references etl.feeds on update cascade on delete cascade,
  status text not null check (status in ('changed', 'failed')),
  started_at timestamptz not null,
  finished_at timestamptz not null,
  bytes bigint not null,
  read bigint not null,
  inserted bigint not null,
  updated bigint not null,
  unchanged bigint not null,
  duplicate bigint not null,
  rejected bigint not null,
  error_code text,
  error text,
  primary key (run, feed)
);
create index if not exists runs_feed_started_at_idx on etl.runs (feed, started_at desc);
alter table etl.runs enable row level security;
drop policy if exists "the owner alone" on etl.runs;
create policy "the owner alone" on etl.runs using (false);
comment on table etl.runs is
  'The ledger: a row for each feed and run that changed something or failed. A run without change leaves none.';
comment on column etl.runs.run is 'One for all feeds of a run.';
comment on column etl.runs.feed is 'etl.feeds.name.';
comment on column etl.runs.status is 'changed: something was written; failed: nothing of this feed was.';
comment on column etl.runs.started_at is 'When the run came to this feed, by the loader''s clock.';
comment on column etl.runs.finished_at is 'When the run was done with it, by the same clock.';
comment on column etl.runs.bytes is 'Bytes of the body as received, before decompression.';
comment on column etl.runs.read is 'Records. Always read = inserted + updated + unchanged + duplicate + rejected.';
comment on column etl.runs.inserted is 'New rows.';
comment on column etl.runs.updated is 'Rows that had differed.';
comment on column etl.runs.unchanged is 'Records that the table had already.';
comment on column etl.runs.duplicate is 'Records whose key a later good one has.';
comment on column etl.runs.rejected is 'Records in etl.rejects.';
comment on column etl.runs.error_code is 'Why it failed, as docs/errors.md lists it; null where it did not.';
comment on column etl.runs.error is 'The same in words.';

create table if not exists etl.rejects (
  feed text not null references etl.feeds on update cascade on delete cascade,
  record_number bigint not null,
  record jsonb,
  raw text,
  column_name text,
  value text,
  reason text not null,
  sqlstate text not null,
  constraint_name text,
  first_run uuid not null,
  last_run uuid not null,
  primary key (feed, record_number)
);
alter table etl.rejects enable row level security;
drop policy if exists "the owner alone" on etl.rejects;
create policy "the owner alone" on etl.rejects using (false);
comment on table etl.rejects is
  'What is wrong now. A record leaves when it loads or vanishes from its feed; while it is the same it is not written.';
comment on column etl.rejects.feed is 'etl.feeds.name.';
comment on column etl.rejects.record_number is 'From 1, in the order of the feed; a CSV header line is not counted.';
comment on column etl.rejects.record is
  'The record, source name -> text for CSV. Null where it could not be split: see raw.';
comment on column etl.rejects.raw is 'The record''s text where it could not be split.';
comment on column etl.rejects.column_name is 'The column at fault; null where it is none, or not one alone.';
comment on column etl.rejects.value is 'What that column holds, as text.';
comment on column etl.rejects.reason is 'The rule that the record breaks, in words; docs/rejects.md lists them.';
comment on column etl.rejects.sqlstate is 'The same as Postgres'' error code.';
comment on column etl.rejects.constraint_name is 'The constraint or unique index that the record breaks, if any.';
comment on column etl.rejects.first_run is 'The run that first wrote this row.';
comment on column etl.rejects.last_run is 'The run that last wrote this row.';

insert into etl.feeds (name, url, target, format)
values
  ('drivers', 'https://tdc-takehome-data-server-zl3yz.ondigitalocean.app/drivers.json', 'public.drivers', 'json'),
  ('trips', 'https://tdc-takehome-data-server-zl3yz.ondigitalocean.app/trips.csv', 'public.trips', 'csv'),
  ('charges', 'https://tdc-takehome-data-server-zl3yz.ondigitalocean.app/charges.csv', 'public.charges', 'csv')
on conflict (name) do nothing;
