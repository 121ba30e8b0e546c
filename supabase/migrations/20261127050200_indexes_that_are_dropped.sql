-- etl.drop_index() stands in its place: it gives several statements, and makes again all of an index.
drop function if exists etl.drop_unique(regclass, oid);
