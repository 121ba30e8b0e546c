-- The cells are a query, no view any more. The functions are made anew by the next migration.
drop function etl.name_cells(boolean);
drop function etl.cast_cells(regclass, boolean);
