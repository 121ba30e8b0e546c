/** What there is in a database, beside its rows. */
import type { Database } from "./database.ts";

/** Tables, columns, constraints, indexes, policies, functions and comments, and who may do what. */
export async function schemaOf(db: Database): Promise<unknown> {
  return await db.query(`
    with ours as (select oid from pg_namespace where nspname in ('public', 'etl'))
    select 'column' as kind, attrelid::regclass || '.' || attname as name,
      concat_ws(' ', format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid), attnum) as is
    from pg_attribute join pg_class c on c.oid = attrelid and c.relnamespace in (table ours)
    left join pg_attrdef on adrelid = attrelid and adnum = attnum
    where attnum > 0
    union all
    select 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid) from pg_constraint
    where connamespace in (table ours)
    union all
    select 'function', oid::regprocedure::text, pg_get_functiondef(oid) || coalesce(proacl::text, '') from pg_proc
    where pronamespace in (table ours) and prokind = 'f'
    union all
    select 'relation', oid::regclass::text,
      concat_ws(' ', relkind, relacl, relrowsecurity, reloptions, relowner::regrole, pg_get_indexdef(oid))
    from pg_class where relnamespace in (table ours)
    union all
    select 'policy', polrelid::regclass || '.' || polname,
      concat_ws(' ', polcmd, polpermissive, polroles::regrole[], pg_get_expr(polqual, polrelid))
    from pg_policy
    union all
    select 'comment', pg_describe_object(classoid, objoid, objsubid), description from pg_description
    where objoid in (select c.oid from pg_class c where c.relnamespace in (table ours))
      or objoid in (select p.oid from pg_proc p where p.pronamespace in (table ours))
    order by 1, 2`);
}
