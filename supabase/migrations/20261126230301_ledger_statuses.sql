-- Two migrations of before have each added a status, and the later one left out the earlier one's.
alter table etl.runs drop constraint if exists runs_status_check;
alter table etl.runs
  add constraint runs_status_check check (status in ('changed', 'failed', 'unchanged', 'undone'));
comment on column etl.runs.status is
  'changed: something was written; failed: nothing of this feed was; unchanged: it is well again after a failure, and
nothing was new; undone: etl.undo() has taken back an earlier run.';
