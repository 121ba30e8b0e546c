/** etl.look(): what pg_net answered is known for longer than pg_net keeps it. */
import assert from "node:assert/strict";
import { type Database, freshDatabase } from "../support/database.ts";
import { closed, daily, failure, Past, rare, report, type Row, tryEach, wellUntilHalfAnHourAgo } from "./past.ts";

const good = { body: report() };

const table: Row[] = [
  [
    "once a day, and a look has seen the good answer",
    async (past) => {
      await daily(past);
      await past.tick("2 min", good);
      await past.look();
      await past.passes("8 hours");
    },
    "ok",
    /^$/,
  ],
  [
    "once a week, a look has seen the good answer, and six days have gone by",
    async (past) => {
      await rare(past, "week");
      await past.tick("2 min", good);
      await past.look();
      await past.passes("6 days");
    },
    "ok",
    /^$/,
  ],
  [
    "once a day, and the function was down for nineteen nights",
    async (past) => {
      await daily(past);
      for (let night = 0; night < 19; night++) {
        await past.tick("8 min", closed);
        await past.look();
        await past.passes(night < 18 ? "24 hours" : "7 hours");
      }
    },
    "late",
    /^The function was called and has not answered well since .*is known: The function could not be reached: Couldn't connect to server$/,
  ],
  [
    "once a day, well the night before and down last night",
    async (past) => {
      await daily(past);
      await past.tick("2 min", good);
      await past.look();
      await past.passes("24 hours");
      await past.tick("8 min", closed);
      await past.look();
      await past.passes("7 hours");
    },
    "late",
    /: The function could not be reached: Couldn't connect to server$/,
  ],
  [
    "once a day, down the night before and well last night",
    async (past) => {
      await daily(past);
      await past.tick("8 min", closed);
      await past.look();
      await past.passes("24 hours");
      await past.tick("2 min", good);
      await past.look();
      await past.passes("7 hours");
    },
    "ok",
    /^$/,
  ],
  [
    "once a day, down last night, and called by hand since",
    async (past) => {
      await daily(past);
      await past.tick("8 min", closed);
      await past.look();
      await past.passes("2 hours");
      await past.good("10 s");
      await past.look();
      await past.passes("7 hours");
    },
    "ok",
    /^$/,
  ],
  [
    "once a day, and the secret was refused last night",
    async (past) => {
      await daily(past);
      await past.tick("8 min", { status_code: 401, body: failure("secret_refused") });
      await past.look();
      await past.passes("7 hours");
    },
    "secret refused",
    /^etl_trigger_secret in the vault/,
  ],
  [
    "once a day, and the function had an error of its own last night",
    async (past) => {
      await daily(past);
      await past.tick("8 min", { status_code: 500, body: failure("internal", "x is [no]\nfunction") });
      await past.look();
      await past.passes("7 hours");
    },
    "failing",
    /^The function answered: x is \[no\] function$/,
  ],
  [
    "once a day, cut off last night, the secret refused the night before",
    async (past) => {
      await daily(past);
      await past.tick("8 min", { status_code: 401, body: failure("secret_refused") });
      await past.look();
      await past.passes("24 hours");
      await past.tick("8 min", { body: { progress: {} } });
      await past.look();
      await past.passes("7 hours");
    },
    "late",
    /: The function was cut off before its report: see its logs$/,
  ],
  [
    "once a day, and nobody has looked",
    async (past) => {
      await daily(past);
      await past.tick("2 min", good);
      await past.passes("7 hours");
    },
    "late",
    /^What the function answered to the call of .* is not known: pg_net has dropped it unseen$/,
  ],
  [
    "once a day, and pg_net's worker has been down for hours",
    async (past) => {
      await daily(past);
      await past.called("7 hours");
      await past.waiting(1);
      await past.workerIsUp("false");
    },
    "late",
    /^The function was called and has not answered well since .* The background worker of pg_net is down/,
  ],
  [
    "once a day, and the schedule is of before there were looks",
    async (past) => {
      await daily(past);
      await past.hasNoLook();
      await past.tick("2 min", good);
      await past.passes("7 hours");
    },
    "late",
    /dropped it unseen\. Have pg_cron look in time: select etl\.schedule\('\d+ \d+ \* \* \*'\)$/,
  ],
  [
    "once a day, and a look was too early",
    async (past) => {
      await daily(past);
      await past.tick("24 hours", good);
      await past.called("10 s");
      await past.look();
      await past.passes("7 hours");
    },
    "late",
    /^What the function answered/,
  ],
  [
    "once a day, and a look began together with the call, and did not see it",
    async (past) => {
      await daily(past);
      await past.tick("24 hours", good);
      await past.look();
      await past.called("1 s");
      await past.passes("7 hours");
    },
    "late",
    /^What the function answered/,
  ],
  [
    "every ten minutes, and pg_net keeps its answers for ten minutes",
    async (past) => {
      await past.query("set local pg_net.ttl = '10 min'");
      await past.extensions();
      await past.loaded("3 days");
      await past.scheduled("4 days");
      for (const answer of [good, closed]) {
        await past.tick("2 min", answer);
        await past.look();
        await past.passes("10 min", "10 min");
      }
    },
    "ok",
    /^$/,
  ],
  [
    "every ten minutes, pg_net keeps its answers for ten minutes, and the function is down",
    async (past) => {
      await past.query("set local pg_net.ttl = '10 min'");
      await past.extensions();
      await past.loaded("3 days");
      await past.scheduled("4 days");
      for (const answer of [good, closed, closed]) {
        await past.passes("10 min", "10 min");
        await past.tick("8 min", answer);
        await past.look();
      }
      await past.passes("3 min", "10 min");
    },
    "late",
    /is known: The function could not be reached: Couldn't connect to server$/,
  ],
  [
    "once a day, and trips failed last night",
    async (past) => {
      await daily(past);
      await past.failed("119 s", "trips");
      await past.tick("2 min", { body: report({ trips: "failed" }) });
      await past.look();
      await past.passes("7 hours");
    },
    "ok",
    /^$/,
    "failing",
  ],
  [
    "once a day, and trips failed the night before",
    async (past) => {
      await daily(past);
      await past.failed("119 s", "trips");
      await past.tick("2 min", { body: report({ trips: "failed" }) });
      await past.look();
      await past.passes("24 hours");
      await past.tick("2 min", good);
      await past.look();
      await past.passes("7 hours");
    },
    "ok",
    /^$/,
  ],
  [
    "once a day, trips failed the night before, and the function was down last night",
    async (past) => {
      await daily(past);
      await past.failed("119 s", "trips");
      await past.tick("2 min", { body: report({ trips: "failed" }) });
      await past.look();
      await past.passes("24 hours");
      await past.tick("8 min", closed);
      await past.look();
      await past.passes("7 hours");
    },
    "late",
    /: The function could not be reached: Couldn't connect to server$/,
    "failing",
  ],
];

Deno.test("etl.health(): each row of the failure table, where pg_net has forgotten", (t) => tryEach(t, table));

/** Of what has happened, what a look says. */
async function looked(db: Database, happens: (past: Past) => Promise<void>): Promise<string> {
  await db.query("begin");
  try {
    const past = new Past(db);
    await happens(past);
    return await past.look();
  } finally {
    await db.query("rollback");
  }
}

Deno.test("etl.look() returns a row for a good answer, and raises a bad one once, where it would be forgotten", async () => {
  await using db = await freshDatabase();
  assert.equal(
    await looked(db, async (past) => {
      await wellUntilHalfAnHourAgo(past);
      await past.tick("2 min", good);
    }),
    "1 row",
  );
  const down = async (past: Past) => {
    await daily(past);
    await past.tick("8 min", closed);
  };
  assert.match(
    await looked(db, down),
    /^ERROR: {2}The function could not be reached: Couldn't connect to server \[-, \d{4}-\d\d-\d\dT[\d:.]+Z\]\n/,
  );
  assert.equal(
    await looked(db, async (past) => {
      await down(past);
      await past.look();
      await past.passes("5 min");
    }),
    "0 rows",
    "it is kept",
  );
  assert.equal(
    await looked(db, async (past) => {
      await wellUntilHalfAnHourAgo(past);
      await past.tick("18 min", closed);
      await past.tick("8 min", closed);
    }),
    "0 rows",
    "the next call comes before it is forgotten, and the log of Postgres stays still",
  );
  assert.equal(
    await looked(db, async (past) => {
      await daily(past);
      await past.tick("8 min", good);
      await past.answered("10 s", closed);
    }),
    "1 row",
    "of another user of pg_net",
  );
});

Deno.test("what pg_cron keeps of a look is read alike where it uses background workers", async () => {
  await using db = await freshDatabase();
  const past = new Past(db);
  await past.extensions();
  await past.scheduled("1 hour");
  await past.called("30 min");
  const seen = async (status: string, message: string) => {
    await db.query("delete from cron.job_run_details where command = 'select from etl.look()'");
    await past.call("1 min", status, message, "tdc-etl look");
    return (await db.query("select of_call::int, error_code, problem from etl.looks()"))[0];
  };
  const good = { of_call: 1, error_code: null, problem: null };
  assert.deepEqual(await seen("succeeded", "1 row"), good);
  assert.deepEqual(await seen("succeeded", "SELECT 1"), good);
  assert.equal(await seen("succeeded", "0 rows"), undefined);
  assert.equal(await seen("succeeded", "SELECT 0"), undefined);
  assert.equal(await seen("running", "1 row"), undefined);
  const bad = { of_call: null, error_code: "busy", problem: "The function answered: x [y]" };
  const words = "The function answered: x [y] [busy, 2026-11-26T00:00:05.000000Z]";
  assert.deepEqual(await seen("failed", `ERROR:  ${words}\nCONTEXT:  PL/pgSQL function etl.look()`), bad);
  assert.deepEqual(await seen("failed", `ERROR: ${words}`), bad);
  assert.equal(await seen("failed", "ERROR:  permission denied for schema etl"), undefined);
});

Deno.test("etl.purge() leaves what the looks have seen", async () => {
  await using db = await freshDatabase();
  await db.query("begin");
  const past = new Past(db);
  await rare(past, "week");
  await past.tick("8 min", closed);
  await past.look();
  await past.passes("7 days");
  await past.tick("2 min", good);
  await past.look();
  await past.passes("7 days");
  // A call that did nothing, and looks that saw nothing.
  await past.called("8 min");
  for (const ago of ["3 days", "2 min"]) await past.call(ago, "succeeded", "0 rows", "tdc-etl look");
  const seen = () => db.query("select * from etl.looks() order by runid");
  const before = await seen();
  assert.equal(before.length, 2);
  assert.deepEqual(await db.query("select etl.purge()::int as purged"), [{ purged: 2 }]);
  assert.deepEqual(await seen(), before);
});
