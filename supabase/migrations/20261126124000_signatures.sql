-- Their signatures change with the next migration.
drop function etl.unique_indexes(regclass);
drop function etl.differs(name[], name[]);
