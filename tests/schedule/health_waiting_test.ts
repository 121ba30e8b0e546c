/** etl.health() of feeds that wait: late after two ticks of the schedule, with why and what to do. */
import assert from "node:assert/strict";
import { database, freshDatabase } from "../support/database.ts";
import { Past, rare, wellUntilHalfAnHourAgo } from "./past.ts";

const well = async (past: Past) => {
  await wellUntilHalfAnHourAgo(past);
  await past.called("21 min", "11 min", "1 min");
  await past.good("20 min", "10 min", "30 s");
};
const daily = async (past: Past) => {
  await rare(past);
  await past.called("8 min");
  await past.good("7 min");
};
const unscheduled = (past: Past) => past.loaded("30 hours");

const put_off =
  `trips waits: the run has 350 MB of other feeds, and no room for it; it is put off since [-0-9:.+ ]+\\. ` +
  'Run it alone: POST {"feeds":\\["trips"\\]} to the function, or deno task etl with its name';

/** What was before, how long trips wait, and the verdict on them and what the message says. */
const table: [schedule: (past: Past) => Promise<void>, since: string, verdict: string, message: string][] = [
  // Two ticks are ten to twenty minutes, and a run may take six and a half more.
  [well, "16 min", "ok", ""],
  [well, "27 min", "late", put_off],
  [daily, "23 hours", "ok", ""],
  [daily, "3 days", "late", put_off],
  [unscheduled, "23 hours", "ok", "No schedule: see etl\\.schedule\\(\\)"],
  [unscheduled, "25 hours", "late", `${put_off}\\. No schedule: see etl\\.schedule\\(\\)`],
  [(past) => past.extensions(), "25 hours", "late", `${put_off}\\. No schedule: see etl\\.schedule\\(\\)`],
  [
    async (past) => {
      await well(past);
      await past.failed("20 s", "trips");
    },
    "27 min",
    "failing",
    "Cannot load trips: the server answered 404",
  ],
  [
    async (past) => {
      await well(past);
      await past.query("update cron.job set active = false");
    },
    "27 min",
    "late",
    `${put_off}\\. The job of pg_cron is switched off: see etl\\.schedule\\(\\)\\.`,
  ],
];

Deno.test("a feed that waits", async (t) => {
  await using db = await freshDatabase();
  for (const [n, [before, since, verdict, message]] of table.entries()) {
    await t.step(`${n + 1}: ${since}, ${verdict}`, async () => {
      await db.query("begin");
      await before(new Past(db));
      await db.query(
        `insert into etl.waiting values
          ('trips', now() - $1::interval, 'trips waits: the run has 350 MB of other feeds, and no room for it')`,
        [since],
      );
      const health = await db.query(
        "select feed, verdict, message from etl.health() where feed in ('drivers', 'trips')",
      );
      assert.equal(health[1].verdict, verdict);
      assert.match(health[1].message, new RegExp(`^${message}$`));
      assert.ok(!/waits/.test(health[0].message), "the others do not");
      await db.query("rollback");
    });
  }
});

Deno.test("a feed that a run has waits for as long as that lasts, and it is said how to end it", async () => {
  await using db = await freshDatabase();
  await using other = await database(db.name);
  const waits = () => db.query("select feed, since, problem from etl.waits() order by feed");
  assert.deepEqual(await waits(), []);
  await other.query("begin; select etl.claim_feeds('{drivers,trips}')");
  const [{ since, pid }] = await other.query("select now() as since, pg_backend_pid() as pid");
  const told = await waits();
  assert.deepEqual(told.map((row) => [row.feed, row.since]), [["drivers", since], ["trips", since]]);
  assert.match(
    told[0].problem,
    new RegExp(`^Another run has had it since .*: select pg_terminate_backend\\(${pid}\\)$`),
  );
  const [{ verdict }] = await db.query("select distinct verdict from etl.health()");
  assert.equal(verdict, "never ran", "it has not had them for long");
  await db.query("select pg_terminate_backend($1)", [pid]);
  await other.query("select").catch(() => {});
  assert.deepEqual(await waits(), []);
});
