-- etl.plan() takes a day, and so has another signature: supabase/sql/plan.sql makes it.
drop function etl.plan(text[], boolean);
