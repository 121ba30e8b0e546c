/** Two versions of the three feeds, what the database holds after each, and a look at what a fault has left. */
import assert from "node:assert/strict";
import { type Database, freshDatabase, type Server, template } from "./database.ts";
import { type Proxy, proxy } from "./proxy.ts";
import { sampleFiles } from "./samples.ts";
import { until, within } from "./waiting.ts";
import { serve, type Web } from "./web.ts";

const hang = 20;

type State = Record<string, unknown>;
/** How the web sends a text. */
export type Answering = (text: string) => Web["files"][string];

export interface Scene {
  /** Holds the first version of the feeds; the web has the second. */
  db: Database;
  web: Web;
  /** Between the loader and the web. */
  partner: Proxy;
  before: State;
  /** What an undisturbed run makes of it. */
  after: State;
}

export async function withScene(answer: Answering, on: Server, play: (scene: Scene) => Promise<void>): Promise<void> {
  await using web = serve(version(false), true);
  using partner = proxy(Number(new URL(web.url).port));
  await using db = await freshDatabase(template, on);
  await db.query("update etl.feeds set reject_limit = 0.5");
  await db.pointAt(`http://127.0.0.1:${partner.port}`);
  assert.equal((await db.load()).status, "changed");
  const before = await stateOf(db);
  await db.query(
    ["create schema saved", ...tables.map((table) => `create table saved.${nameOf(table)} as table ${table}`)].join(
      ";",
    ),
  );
  for (const [path, text] of Object.entries(version(true))) web.files[path] = answer(text);
  assert.equal((await db.load()).status, "changed");
  const after = await stateOf(db);
  assert.deepEqual([before.of_no_run, after.of_no_run], [0, 0]);
  await rewind(db);
  assert.deepEqual(await stateOf(db), before);
  await play({ db, web, partner, before, after });
}

// Parents first.
const tables = [
  "etl.feeds",
  "etl.feed_state",
  "etl.runs",
  "etl.rejects",
  "etl.waiting",
  "etl.told",
  "etl.approvals",
  "etl.attempts",
  "etl.attempt_rejects",
  "etl.shares",
  "etl.changes",
  "public.drivers",
  "public.trips",
  "public.charges",
];
const nameOf = (table: string) => table.split(".")[1];

/** Puts the first version back. */
export async function rewind(db: Database): Promise<void> {
  await db.query(
    [`truncate ${tables}`, ...tables.map((table) => `insert into ${table} table saved.${nameOf(table)}`)].join(";"),
  );
}

/** One state or the other, never between; then a clean run, which ends where an undisturbed one does. */
export async function repair(
  db: Database,
  { before, after }: Pick<Scene, "before" | "after">,
): Promise<"kept" | "not kept"> {
  await until("the broken run has left the database", async () => (await loadersIn(db)) === 0);
  const state = await stateOf(db);
  const kept = JSON.stringify(state) === JSON.stringify(after);
  if (!kept) assert.deepEqual(state, before);
  const { status } = await within(hang, "the next run", db.load());
  assert.equal(status, kept ? "unchanged" : "changed");
  assert.deepEqual(await stateOf(db), after);
  return kept ? "kept" : "not kept";
}

export const loadersIn = async (db: Database) =>
  (await db.admin(
    "select from pg_stat_activity where application_name = 'tdc-etl' and datname = current_database()",
  )).length;

/** The samples, grown or earlier by a version: new rows, changed rows, some that are no good. */
export function version(later: boolean): Record<string, string> {
  const { "/drivers.json": drivers, "/trips.csv": trips, "/charges.csv": charges } = sampleFiles();
  const cut = (text: string) =>
    text.split("\n").filter((_, line) => line <= 2500 && (later || line % 3 !== 2)).join("\n") + "\n";
  const people = (JSON.parse(drivers) as Record<string, string>[])
    .filter((_, n) => later || n % 10 !== 9)
    .map((driver, n) => ({ ...driver, last_name: later && n % 7 === 0 ? "Newman" : driver.last_name }));
  const bad = later ? "bad-1,driver-1,last Tuesday,,,,\nbad-2,driver-none,2021-07-01T00:00:00Z,,,,\n" : "";
  return {
    "/drivers.json": JSON.stringify(people),
    "/trips.csv": cut(trips) + (later ? bad : "bad-2,driver-0,2021-07-01T00:00:00Z,,,,\n"),
    "/charges.csv": later ? cut(charges).replaceAll(",trip-7", ",trip-07") : cut(charges),
  };
}

/** All that a run leaves, but for its id and its time. */
export async function stateOf(db: Database): Promise<Record<string, unknown>> {
  const all = (table: string, columns = "t") =>
    `(select md5(string_agg((${columns})::text, e'\\n' order by t.id)) from public.${table} t) as ${table}`;
  const [state] = await db.query(`select ${all("drivers")}, ${all("trips")}, ${all("charges")},
    (select json_agg(concat_ws(' ', feed, record_number, record, raw, column_name, value, reason, sqlstate, constraint_name)
      order by feed, record_number) from etl.rejects) as rejects,
    (select json_agg(concat_ws(' ', feed, etag, content_hash) order by feed) from etl.feed_state) as feeds,
    (select json_agg(concat_ws(' ', feed, status, read, inserted, updated, unchanged, duplicate, rejected)
      order by started_at) from etl.runs) as ledger,
    (select count(*)::int from etl.rejects j
      where not exists (select from etl.runs r where r.run = j.last_run and r.feed = j.feed)) as of_no_run`);
  return state;
}
