/** Applies supabase/migrations, keeping the Supabase CLI's own history, so that either may follow the other. */
import { type Client, connect } from "../database/connect.ts";
import { connectionLost } from "../database/failures.ts";
import { asEtlError, EtlError } from "../errors.ts";

const directory = new URL("../../supabase/migrations/", import.meta.url);

const history = `
  create schema if not exists supabase_migrations;
  create table if not exists supabase_migrations.schema_migrations (version text primary key);
  alter table supabase_migrations.schema_migrations
    add column if not exists statements text[],
    add column if not exists name text;
`;

/** Brings the schema up to date, each migration in a transaction of its own; returns the versions applied. */
export async function migrate(databaseUrl: string, from: URL = directory): Promise<string[]> {
  await using client = await connect(databaseUrl);
  client.on("notice", ({ severity, message }) => severity === "WARNING" && console.error(`warning: ${message}`));
  await refuseOtherEncodings(client);
  await client.query("set standard_conforming_strings = on");
  const applied: string[] = [];
  for (const file of await missing(client, from)) {
    if (await apply(client, new URL(file, from), versionOf(file))) applied.push(versionOf(file));
  }
  return applied;
}

/** Throws where the schema is not that of this checkout; changes nothing. */
export async function requireMigrated(databaseUrl: string): Promise<void> {
  await using client = await connect(databaseUrl);
  const { length } = await missing(client, directory);
  if (length === 0) return;
  throw new EtlError(
    "not_migrated",
    `the database lacks ${length} of the migrations of this checkout`,
    "Looking changes nothing. deno task migrate applies them: it makes tables, and alters those that are there.",
  );
}

/** The migrations that are not in the database, oldest first. Throws where that has newer ones of this project. */
async function missing(client: Client, from: URL): Promise<string[]> {
  const files = await migrationFiles(from);
  const known = await appliedBefore(client);
  const newest = files.filter(isGenerated).map(versionOf).at(-1);
  if (newest && [...known].some(([version, name]) => version > newest && isGenerated(`${name}.sql`))) {
    throw new EtlError(
      "newer_schema",
      "the database's schema is newer than this checkout",
      "Bring the checkout up to date: git pull.",
    );
  }
  return files.filter((file) => !known.has(versionOf(file)));
}

/** Each version of this project brings functions, by a migration of such a name. */
function isGenerated(file: string): boolean {
  return file.endsWith(".generated.sql");
}

function versionOf(file: string): string {
  return file.slice(0, file.indexOf("_"));
}

/** What a partner sends can be stored in UTF-8 alone. */
async function refuseOtherEncodings(client: Client): Promise<void> {
  const { rows: [{ encoding }] } = await client.query("select current_setting('server_encoding') as encoding");
  if (encoding === "UTF8") return;
  const message = `Cannot migrate: the database's encoding is ${encoding}, and it must be UTF8`;
  throw new EtlError(
    "database_encoding",
    message,
    "Make another: create database … encoding 'UTF8' template template0.",
  );
}

/** Applies one migration and enters it in the history; false where another runner was faster. */
async function apply(client: Client, url: URL, version: string): Promise<boolean> {
  const file = url.pathname.slice(url.pathname.lastIndexOf("/") + 1);
  const sql = await Deno.readTextFile(url);
  await client.query("begin");
  try {
    await client.query("select pg_advisory_xact_lock(hashtext('tdc-etl migrations'))");
    await client.query("set local client_min_messages = warning");
    await client.query(history);
    const entry = `insert into supabase_migrations.schema_migrations (version, name, statements) values ($1, $2, $3)
      on conflict (version) do nothing`;
    const name = file.slice(version.length + 1, -".sql".length);
    const { rowCount } = await client.query(entry, [version, name, [sql]]);
    if (rowCount === 1) await client.query(sql);
    await client.query("commit");
    return rowCount === 1;
  } catch (cause) {
    const { message, detail, hint } = cause as { message: string; detail?: string; hint?: string };
    const why = `Cannot apply the migration ${file}; it was rolled back: ${message}${detail ? `: ${detail}` : ""}`;
    const { code } = connectionLost(cause) ?? asEtlError(cause, "Cannot migrate");
    throw new EtlError(code, why, hint ?? "Mend what it names, then run again.", { cause });
  }
}

/** Version -> name. A history of the Supabase CLI's first days has no names. */
async function appliedBefore(client: Client): Promise<Map<string, string>> {
  const { rows: [{ exists }] } = await client.query(
    "select to_regclass('supabase_migrations.schema_migrations') is not null as exists",
  );
  if (!exists) return new Map();
  const { rows } = await client.query(
    "select version, to_jsonb(m) ->> 'name' as name from supabase_migrations.schema_migrations m",
  );
  return new Map(rows.map(({ version, name }) => [version, name ?? ""]));
}

async function migrationFiles(from: URL): Promise<string[]> {
  const files: string[] = [];
  for await (const { name } of Deno.readDir(from)) if (/^\d+_.*\.sql$/.test(name)) files.push(name);
  return files.sort();
}
