-- All feeds of a run are staged first and merged after. The functions are made anew by the next migration.
drop function etl.stage(text, text[], text);
drop function etl.merge(text, uuid, boolean, text);
