-- Health and plan stay quick with a million rows in the ledger and among the rejects.
create index if not exists runs_feed_status_finished_at_idx on etl.runs (feed, status, finished_at desc);
create index if not exists runs_finished_at_idx on etl.runs (finished_at);
drop index if exists etl.runs_feed_started_at_idx;
-- The rejects that are tried again at each run, as etl.plan() asks for them.
create index if not exists rejects_tried_again_idx on etl.rejects (feed)
  where sqlstate !~ '^(22|23502|23514)' or reason like 'is refused by a trigger%';

-- It takes how long the ledger is kept, from now on.
drop function etl.purge();
