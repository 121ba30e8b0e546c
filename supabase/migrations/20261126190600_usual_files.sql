-- What a feed's files are usually like, so that health sees what has become of them.
alter table etl.feed_state
  add column if not exists ignored_columns text[],
  add column if not exists gone_columns text[] not null default '{}',
  add column if not exists unplaced_columns text[] not null default '{}',
  add column if not exists drifted_since timestamptz,
  add column if not exists usual_records bigint,
  add column if not exists shrunk_since timestamptz,
  add column if not exists known_since timestamptz not null default now();
-- The files that were loaded before are usual.
update etl.feed_state set usual_records = records where usual_records is null;

comment on column etl.feed_state.etag is 'Validator of the latest answer with that body, sent as If-None-Match.';
comment on column etl.feed_state.last_modified is
  'Validator of the latest answer with that body, sent as If-Modified-Since.';
comment on column etl.feed_state.content_length is
  'Content-Length of the latest answer with that body: one as long as that is hashed first, and loaded only if it
differs.';
comment on column etl.feed_state.carried_columns is
  'The target''s columns that the feed carried, in its order; with those that a JSON file of few records had no key
for.';
comment on column etl.feed_state.ignored_columns is
  'Source columns that the target lacks, and that nobody minds: those of the first body, and those that etl.approve()
accepted. Null: not known; the next body has no other.';
comment on column etl.feed_state.gone_columns is
  'The target''s columns that the feed once carried and its last body did not, until etl.approve() accepts it.';
comment on column etl.feed_state.unplaced_columns is
  'Source columns of the last body that the target lacks and ignored_columns does not name.';
comment on column etl.feed_state.drifted_since is
  'When there first were gone_columns or unplaced_columns; null while there are none.';
comment on column etl.feed_state.usual_records is
  'Records of the last body that was not shrunk, or that etl.approve() accepted. Null: not known.';
comment on column etl.feed_state.shrunk_since is
  'Since when bodies have fewer records than is usual by more than etl.feeds.shrink_limit; null while they do not.';
comment on column etl.feed_state.known_since is
  'When the feed was first loaded, as far as is known: where no run has changed anything, health counts from then.';

-- Their signatures change with the next migration.
drop function if exists etl.health();
drop function if exists etl.remember(jsonb, text, text, text, bigint, bigint);
