/** Applies supabase/migrations, keeping the Supabase CLI's own history, so that either may follow the other. */
import { connect } from "../database.ts";
import { EtlError } from "../errors.ts";

const directory = new URL("../../supabase/migrations/", import.meta.url);

const history = `
  create schema if not exists supabase_migrations;
  create table if not exists supabase_migrations.schema_migrations (version text primary key);
  alter table supabase_migrations.schema_migrations
    add column if not exists statements text[],
    add column if not exists name text;
`;

/** Brings the schema up to date, each migration in a transaction of its own; returns the versions applied. */
export async function migrate(databaseUrl: string): Promise<string[]> {
  const client = await connect(databaseUrl);
  const applied: string[] = [];
  try {
    await client.query("set client_min_messages = warning");
    await client.query("select pg_advisory_lock(hashtext('tdc-etl migrations'))");
    const known = await appliedBefore(client);
    for (const file of await migrationFiles()) {
      const [, version, name] = /^(\d+)_(.*)\.sql$/.exec(file)!;
      if (known.has(version)) continue;
      const sql = await Deno.readTextFile(new URL(file, directory));
      const entry = "insert into supabase_migrations.schema_migrations (version, name, statements) values ($1, $2, $3)";
      await client.query("begin");
      try {
        if (applied.length === 0) await client.query(history);
        await client.query(sql);
        await client.query(entry, [version, name, [sql]]);
        await client.query("commit");
      } catch (cause) {
        const { code, message, hint } = cause as { code: string; message: string; hint?: string };
        const doing = `Cannot apply the migration ${file}; it was rolled back`;
        throw new EtlError(code, `${doing}: ${message}`, hint ?? "Mend what it names, then run again.", { cause });
      }
      applied.push(version);
    }
  } finally {
    await client.end();
  }
  return applied;
}

async function appliedBefore(client: Awaited<ReturnType<typeof connect>>): Promise<Set<string>> {
  const { rows: [{ exists }] } = await client.query(
    "select to_regclass('supabase_migrations.schema_migrations') is not null as exists",
  );
  if (!exists) return new Set();
  const { rows } = await client.query("select version from supabase_migrations.schema_migrations");
  return new Set(rows.map((row) => row.version));
}

async function migrationFiles(): Promise<string[]> {
  const files: string[] = [];
  for await (const { name } of Deno.readDir(directory)) if (/^\d+_.*\.sql$/.test(name)) files.push(name);
  return files.sort();
}
