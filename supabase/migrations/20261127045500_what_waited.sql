-- What had waited of a row that a run changed, so that an undo can have it wait again: see retries.sql and undo.sql.
alter table etl.changes add column if not exists waited jsonb;
comment on column etl.changes.waited is
  'Of a feed of changes: the rejects of this key that waited before the run, and left in it, for they loaded or a newer
record came: rows of etl.rejects, as a list. Null: there were none.';
