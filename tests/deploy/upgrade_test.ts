/** A database of an earlier state, with data in it, becomes one of today; and what has landed is never edited. */
import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";
import { migrate } from "../../lib/local/migrate.ts";
import { type Database, freshDatabase } from "../support/database.ts";
import { temporary } from "../support/directories.ts";
import { project } from "../support/project.ts";
import { serveSamples } from "../support/samples.ts";

const migrations = `${project}/supabase/migrations`;
/** The migrations that have landed, as `sha256sum` lists them. */
const landed = (await Deno.readTextFile(`${project}/supabase/landed.sha256`)).trim().split("\n")
  .map((line) => line.split(/\s+/) as [sum: string, name: string]);
/** What a database of version 0.1.0 has. */
const first = landed.slice(0, 3).map(([, name]) => name);

Deno.test("a migration that has landed is as it was, and each is in supabase/landed.sha256", async () => {
  const present: string[] = [];
  for (const { name } of [...Deno.readDirSync(migrations)].sort((a, b) => a.name < b.name ? -1 : 1)) {
    const bytes = await Deno.readFile(`${migrations}/${name}`);
    const sum = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    present.push(`${Array.from(sum, (byte) => byte.toString(16).padStart(2, "0")).join("")}  ${name}`);
  }
  const hint = "Never edit a migration that has landed; add the line of a new one to supabase/landed.sha256.";
  assert.deepEqual(present, landed.map((line) => line.join("  ")), hint);
});

Deno.test("a database of version 0.1.0, with data, becomes one of today and loses nothing", async () => {
  await using work = await temporary();
  for (const name of first) await Deno.copyFile(`${migrations}/${name}`, `${work.path}/${name}`);
  await using db = await freshDatabase("template1");
  await migrate(db.url, pathToFileURL(`${work.path}/`));
  await db.query(earlierData);
  const before = await contentOf(db);

  await migrate(db.url);

  assert.deepEqual(await contentOf(db, before), before);
  await using web = serveSamples();
  await db.pointAt(web.url);
  const report = await db.load();
  assert.deepEqual(report.feeds.map(({ error, status }) => [error, status]), Array(3).fill([null, "changed"]));
  assert.equal((await db.load()).status, "unchanged");
  const [{ kept }] = await db.query("select count(*)::int as kept from public.trips where id = 'old'");
  assert.equal(kept, 1, "a row that no feed has stays");
  assert.deepEqual(await db.query("select feed from etl.health() where verdict <> 'ok'"), []);
});

const earlierData = `
  insert into public.drivers (id, tlc_number, first_name, last_name) values ('d1', '5000037', 'Ana', 'Abara');
  insert into public.trips (id, driver_id, dropoff_timestamp, base_fare)
    values ('old', 'd1', '2021-06-01Z', 12.50), ('t2', 'd1', null, null);
  insert into public.charges (id, trip_id, amount_cents) values ('c1', 'old', 1250);
  insert into etl.feeds (name, url, target, enabled, columns)
    values ('own', 'https://partner.example/own.csv', 'public.drivers', false, '{"Driver No": "id"}');
  insert into etl.feed_state (feed, etag, content_hash, content_length, definition_hash, carried_columns, records)
    select name, '"1"', 'c0ffee', 100, etl.definition_hash(f), '{id}', 1 from etl.feeds f where name = 'drivers';
  insert into etl.runs (
    run, feed, status, started_at, finished_at, bytes, read, inserted, updated, unchanged, duplicate, rejected, error
  )
  values
    (gen_random_uuid(), 'trips', 'changed', now() - interval '2 days', now() - interval '2 days', 9, 3, 2, 0, 0, 0, 1, null),
    (gen_random_uuid(), 'trips', 'failed', now() - interval '1 day', now() - interval '1 day', 0, 0, 0, 0, 0, 0, 0, 'x');
  insert into etl.rejects (feed, record_number, record, column_name, value, reason, sqlstate, first_run, last_run)
    select 'trips', 3, '{"id": "t3"}', 'driver_id', 'd9', 'is in no row of public.drivers', '23503', run, run
    from etl.runs where status = 'changed'`;

type Content = Record<string, Record<string, unknown>[]>;

/** The rows of each table; beside an earlier content without the columns that are new since. */
async function contentOf(db: Database, earlier?: Content): Promise<Content> {
  const content: Content = {};
  const tables = ["public.drivers", "public.trips", "public.charges", "etl.feeds", "etl.feed_state", "etl.runs"];
  for (const table of [...tables, "etl.rejects"]) {
    const rows = await db.query(`select to_jsonb(t) as row from ${table} t order by t::text`);
    const known = Object.keys(earlier?.[table][0] ?? rows[0].row);
    content[table] = rows.map(({ row }) => Object.fromEntries(known.map((column) => [column, row[column]])));
  }
  return content;
}
