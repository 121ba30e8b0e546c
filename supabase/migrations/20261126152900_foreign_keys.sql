-- What a foreign key does on update is more than whether it cascades. The function is made anew by the next migration.
drop function etl.foreign_keys(regclass);
