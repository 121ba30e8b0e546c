/** A long ledger and many rejects: health and plan look at few of their rows, and what is old goes. */
import assert from "node:assert/strict";
import { type Database, freshDatabase } from "../support/database.ts";
import { rowsRead } from "../support/rows_read.ts";

const days = 400, perDay = 20;

/** A row of the ledger for each feed at each of many runs, and as many rejects. */
async function longLedger(): Promise<Database> {
  const db = await freshDatabase();
  await db.query(
    `insert into etl.runs (
      run, feed, status, started_at, finished_at, bytes, read, inserted, updated, unchanged, duplicate, rejected
    )
    select gen_random_uuid(), f.name, case when n % 2 = 0 then 'changed' else 'failed' end, at, at, 0, 0, 0, 0, 0, 0, 0
    from etl.feeds f, generate_series(1, $1::int) n, lateral (select now() - n * interval '1 day' / $2::int as at) t`,
    [days * perDay, perDay],
  );
  await db.query(
    `insert into etl.rejects (feed, record_number, column_name, value, reason, sqlstate, first_run, last_run)
    select f.name, n, 'amount', 'x', 'is no numeric', '22P02', gen_random_uuid(), gen_random_uuid()
    from etl.feeds f, generate_series(1, 10000) n`,
  );
  await db.query("vacuum analyze etl.runs");
  await db.query("vacuum analyze etl.rejects");
  return db;
}

Deno.test("health reads few rows of a long ledger", async () => {
  await using db = await longLedger();
  const read = await rowsRead(db, "etl.runs", "select * from etl.health()");
  assert.ok(read < 100, `${read} of ${3 * days * perDay} rows`);
});

Deno.test("a plan reads none of the rejects that are not tried again", async () => {
  await using db = await longLedger();
  const plan = "select etl.plan('{}')";
  await db.query(
    `insert into etl.feed_state (feed, content_hash, definition_hash, carried_columns, records)
    select name, 'x', etl.definition_hash(f), '{}', 0 from etl.feeds f`,
  );
  const read = await rowsRead(db, "etl.rejects", plan);
  assert.ok(read < 100, `${read} of 30000 rows`);
  const [{ feed }] = await db.query("select feed from etl.plan('{trips}') feed");
  assert.equal(feed.content_hash, "x", "and trusts the validators");
  await db.query("update etl.rejects set sqlstate = '23503' where feed = 'trips' and record_number = 7");
  const [{ feed: again }] = await db.query("select feed from etl.plan('{trips}') feed");
  assert.equal(again.content_hash, null, "but for a feed with an orphan");
});

Deno.test("etl.purge() keeps 90 days of the ledger, and what health needs of before", async () => {
  await using db = await longLedger();
  await db.query("delete from etl.runs where feed = 'drivers' and finished_at > now() - interval '200 days'");
  await db.query(
    "delete from etl.runs where feed = 'trips' and status = 'changed' and finished_at > now() - interval '150 days'",
  );
  const verdicts =
    "select feed, verdict, message, since, failing_since, last_change, last_failure, last_error from etl.health()";
  const before = await db.query(verdicts);
  const [{ purged }] = await db.query("select etl.purge()::int as purged");
  assert.ok(purged > 2 * (days - 100) * perDay, `${purged} rows`);
  assert.deepEqual(await db.query(verdicts), before);
  assert.ok(before.find(({ feed }) => feed === "trips").failing_since < Date.now() - 149 * 86_400_000);
  const kept = await db.query(
    "select feed, count(*)::int as old from etl.runs where finished_at < now() - interval '91 days' group by 1 order by 1",
  );
  assert.deepEqual(kept, [
    { feed: "drivers", old: 2 }, // the latest change and the latest failure
    { feed: "trips", old: 2 }, // the latest change, and the failure since which it fails
  ]);
  assert.deepEqual(await db.query("select etl.purge('10 days')::int > 0 as more"), [{ more: true }]);
  assert.deepEqual(await db.query("select etl.purge('10 days')::int as more"), [{ more: 0 }]);
});
