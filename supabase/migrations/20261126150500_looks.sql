-- What they return changes with the next migration.
drop function etl.job();
drop function etl.trouble();
