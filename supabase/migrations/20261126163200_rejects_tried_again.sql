-- What fits no partition is tried again at each run, too.
drop index if exists etl.rejects_tried_again_idx;
create index if not exists rejects_tried_again_idx on etl.rejects (feed)
  where sqlstate !~ '^(22|23502|23514)' or reason ~ '^(is refused by a trigger|fits no partition)';
