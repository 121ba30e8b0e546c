/** A look beneath the tables. */
import type { Database } from "./database.ts";

/** Everything in the database, byte for byte: each table's rows with their xmin and ctid, and each sequence. */
export async function snapshot(db: Database): Promise<Record<string, unknown>> {
  const tables = await db.admin(`
    select format('%I.%I', n.nspname, c.relname) as name, c.relkind as kind
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'S') and n.nspname !~ '^(pg_|information_schema)'
    order by 1`);
  const content: Record<string, unknown> = {};
  for (const { name, kind } of tables) {
    // A megabyte of statements, and xmin tells as well whether a row is another one.
    const row = name === "supabase_migrations.schema_migrations" ? "t.version" : "t::text";
    content[name] = kind === "S"
      ? await db.admin(`select last_value, is_called from ${name}`)
      : await db.admin(`select xmin::text, ctid::text, ${row} as row from ${name} t order by t.ctid`);
  }
  return content;
}
