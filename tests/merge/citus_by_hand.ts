/**
 * Holds a Citus cluster against a plain Postgres: both are loaded alike, and must hold and answer the same after each
 * step. Citus is in no registry, so it is run by hand, as docs/scale.md says.
 */
import assert from "node:assert/strict";
import { type Database, database } from "../support/database.ts";
import { version } from "../support/scene.ts";
import { serve } from "../support/web.ts";

type Files = Record<string, string>;
const changing = (files: Files, path: string, change: (text: string) => string): Files => ({
  ...files,
  [path]: change(files[path]),
});

const before = version(false);
const after = version(true);
// The orphan's parent has come.
const healed = changing(after, "/drivers.json", (text) => text.replace(/\]\s*$/, ',{"id":"driver-none"}]'));
const swapped = changing(
  healed,
  "/drivers.json",
  (text) => {
    const [first, second] = [...text.matchAll(/"tlc_number":"(\d+)"/g)].map(([, number]) => number);
    return text.replaceAll(first, "first").replaceAll(second, first).replaceAll("first", second);
  },
);
const steps: Record<string, [files: Files, force: boolean]> = {
  "a first load, with rejects": [before, false],
  "the same again": [before, false],
  "forced": [before, true],
  "corrections, new rows and other rejects": [after, false],
  "a reject that heals": [healed, false],
  "two rows that swap a unique value": [swapped, false],
};

export async function holdAgainst(plain: Database, other: Database, say = (_step: string) => {}): Promise<void> {
  await using web = serve({}, true);
  for (const db of [plain, other]) {
    await db.query("update etl.feeds set reject_limit = 0.5");
    await db.pointAt(web.url);
  }
  for (const [step, [files, force]] of Object.entries(steps)) {
    Object.assign(web.files, files);
    const expected = await loaded(plain, force);
    assert.deepEqual(await loaded(other, force), expected, step);
    say(step);
  }
}

async function loaded(db: Database, force: boolean) {
  const { feeds } = await db.load({ force });
  return {
    feeds: feeds.map(({ ms: _, ...feed }) => feed),
    drivers: await db.query("select * from public.drivers order by id"),
    trips: await db.query("select * from public.trips order by id"),
    charges: await db.query("select * from public.charges order by id"),
    rejects: await db.query(
      `select feed, record_number, record, raw, column_name, value, reason, sqlstate, constraint_name
      from etl.rejects order by feed, record_number`,
    ),
    without_charges: await db.query("select id from public.trips_without_charges() order by id"),
    churned: await db.query("select * from public.churned_drivers('2021-07-11Z') order by id"),
  };
}

if (import.meta.main) {
  const open = async (url = "") => {
    const name = new URL(url).pathname.slice(1);
    return await database(name, { url, adminUrl: url });
  };
  await using plain = await open(Deno.env.get("DATABASE_URL"));
  await using citus = await open(Deno.env.get("CITUS_DATABASE_URL"));
  await holdAgainst(plain, citus, (step) => console.log("the same:", step));
}
