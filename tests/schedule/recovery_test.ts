/** Without pg_cron the ledger alone tells that a feed is well again: one row, and no more. */
import assert from "node:assert/strict";
import type { Database } from "../support/database.ts";
import { databaseAndWeb } from "../support/given.ts";
import { files } from "../support/partners.ts";
import { snapshot } from "../support/snapshot.ts";

const ledger = async (db: Database, feed = "trips") =>
  (await db.query("select status from etl.runs where feed = $1 order by finished_at", [feed])).map(Object.values)
    .flat();

const healthOf = async (db: Database, feed = "trips") =>
  (await db.query("select verdict, failing_since, last_error from etl.health() where feed = $1", [feed]))[0];

const gone = () => new Response("gone", { status: 404 });

for (const force of [false, true]) {
  Deno.test(`an unchanged run after a failed one leaves one row, the next none${force ? ", compared row by row" : ""}`, async () => {
    await using given = await databaseAndWeb("", files(), true);
    const { db, web } = given;
    await db.pointAt(web.url);
    await db.load();
    const { "/trips.csv": trips } = web.files;
    for (const times of [1, 2]) {
      web.files["/trips.csv"] = gone;
      await db.load({ force });
      await db.load({ force });
      const failing = await healthOf(db);
      assert.equal(failing.verdict, "failing");
      assert.ok(failing.failing_since);

      web.files["/trips.csv"] = trips;
      const before = await snapshot(db);
      await db.load({ force, dryRun: true });
      assert.deepEqual(await snapshot(db), before, "a dry run mends nothing");
      assert.equal((await db.load({ force })).status, "unchanged");
      const well = await healthOf(db);
      assert.deepEqual([well.verdict, well.failing_since], ["ok", null]);
      assert.match(well.last_error, /answered 404/, "the ledger remembers");
      const after = await snapshot(db);
      const others = (all: Record<string, unknown>) =>
        Object.fromEntries(Object.entries(all).filter(([name]) => name !== "etl.runs"));
      assert.deepEqual(others(after), others(before));
      assert.deepEqual(await ledger(db), ["changed", ...Array(times).fill(["failed", "failed", "unchanged"]).flat()]);

      await db.load({ force });
      await db.load({ force });
      assert.deepEqual(await snapshot(db), after, "and then nothing is written");
    }
    assert.deepEqual(await ledger(db, "drivers"), ["changed"], "the others leave none");
  });
}

Deno.test("what is not there yet, or of another day, is no recovery", async () => {
  await using given = await databaseAndWeb("create table public.rides (id text primary key)");
  const { db, web } = given;
  await db.feed("rides", { url: `${web.url}/{day:YYYY-MM-DD}.csv` });
  const [{ today, before }] = await db.query(
    "select to_char(d, 'YYYY-MM-DD') as today, to_char(d - 1, 'YYYY-MM-DD') as before from (select (now() at time zone 'UTC')::date as d) t",
  );
  const load = async (day?: string) => (await db.loadOne("rides", { day })).status;
  web.files[`/${today}.csv`] = web.files[`/${before}.csv`] = "id\n1\n";
  assert.equal(await load(), "changed");
  web.files[`/${today}.csv`] = () => new Response("no", { status: 403 });
  assert.equal(await load(), "failed");
  assert.equal(await load(before), "unchanged", "of another day");
  delete web.files[`/${today}.csv`];
  assert.equal(await load(), "unchanged", "not there yet");
  assert.deepEqual(await ledger(db, "rides"), ["changed", "failed"]);
  assert.equal((await healthOf(db, "rides")).verdict, "failing");
  web.files[`/${today}.csv`] = "id\n1\n";
  assert.equal(await load(), "unchanged");
  assert.equal((await healthOf(db, "rides")).verdict, "ok");
});
