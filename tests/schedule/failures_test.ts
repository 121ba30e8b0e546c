/** The table of failures of docs/operation.md: what breaks, and what etl.health() says, whatever pg_net is in use. */
import assert from "node:assert/strict";
import { freshDatabase } from "../support/database.ts";
import { project } from "../support/project.ts";
import { closed, daily, failure, Past, type PgNet, report, slow, wellUntilHalfAnHourAgo } from "./past.ts";

type Answer = Record<string, unknown>;

const foreign = (status_code: number, content_type = "application/json"): Answer => ({
  ...{ status_code, content_type },
  ...{ headers: { "content-type": content_type }, content: "<html>" },
});

/** The calls of the last half an hour were all answered so. */
const answeredBy = (answer: Answer, seconds?: number) => async (past: Past) => {
  await wellUntilHalfAnHourAgo(past);
  for (const ago of ["21 min", "11 min", "1 min"]) await past.tick(ago, answer, seconds);
};

const noPassword = { status_code: 503, body: failure("invalid_password", "Cannot run: the password is wrong") };

const unanswered = async (past: Past) => {
  await wellUntilHalfAnHourAgo(past);
  await past.called("21 min", "11 min", "1 min");
};

const lastNight = async (past: Past, answer: Answer) => {
  await daily(past);
  await past.tick("8 min", answer);
};

const failures: Record<string, (past: Past) => Promise<void>> = {
  "the function is down": answeredBy(closed),
  "the function is too slow": async (past) => {
    await wellUntilHalfAnHourAgo(past);
    for (const ago of ["21 min", "11 min"]) await past.tick(ago, slow, 390);
  },
  "the function is cut off at its wall clock": answeredBy({ body: { progress: { feed: "trips" } } }),
  "the platform stops the function at a limit": answeredBy(foreign(546)),
  "the function does not start": answeredBy(foreign(503)),
  "the function keeps the gateway waiting": answeredBy(foreign(504)),
  "the function is not deployed": answeredBy(foreign(404)),
  "the gateway asks for a token of its own": answeredBy(foreign(401)),
  "a firewall refuses the call": answeredBy(foreign(403)),
  "the URL redirects": answeredBy(foreign(301)),
  "a web page is at the URL": answeredBy(foreign(200, "text/html")),
  "the secrets differ": answeredBy({ status_code: 401, body: failure("secret_refused") }),
  "the function has no secret": answeredBy({ status_code: 503, body: failure("not_configured") }),
  "the function cannot log in to the database": answeredBy(noPassword),
  "the function had an error of its own, and was down once since": async (past) => {
    await wellUntilHalfAnHourAgo(past);
    await past.tick("11 min", noPassword);
    await past.tick("1 min", closed);
  },
  "the function had an error of its own, and is down since": async (past) => {
    await wellUntilHalfAnHourAgo(past);
    await past.tick("29 min", noPassword);
    for (const ago of ["21 min", "11 min", "1 min"]) await past.tick(ago, closed);
  },
  "another run never ends": answeredBy({ body: failure("busy", "another run is under way") }),
  "a feed fails": async (past) => {
    await wellUntilHalfAnHourAgo(past);
    await past.tick("1 min", { body: report({ trips: "failed" }) });
    await past.failed("57 s", "trips");
  },
  "a feed is put off at every tick": async (past) => {
    await wellUntilHalfAnHourAgo(past);
    await past.tick("1 min", { body: report() });
    await past.query(`insert into etl.waiting values
      ('trips', now() - interval '30 min', 'trips waits: the run has 350 MB of other feeds, and no room for it')`);
  },
  "the vault lacks a secret": async (past) => {
    await wellUntilHalfAnHourAgo(past);
    await past.call("1 min", "failed", "ERROR:  the vault lacks etl_trigger_secret\nHINT:  select …\n");
  },
  "the job is switched off": async (past) => {
    await wellUntilHalfAnHourAgo(past);
    await past.query("update cron.job set active = false");
  },
  "pg_cron stands still": wellUntilHalfAnHourAgo,
  "pg_net's worker is down": async (past) => {
    await unanswered(past);
    await past.waiting(3);
    await past.workerIsUp("false");
  },
  "somebody else's calls keep pg_net busy": async (past) => {
    await unanswered(past);
    await past.waiting(3);
  },
  "pg_net lost its answers in a crash": async (past) => {
    await unanswered(past);
    await past.query("truncate net._http_response");
  },
  "a daily job's function was down last night": async (past) => {
    await lastNight(past, closed);
    await past.look();
    await past.passes("7 hours");
  },
  "a daily job's answer was seen by no look": async (past) => {
    await lastNight(past, { body: report() });
    await past.passes("7 hours");
  },
  "a daily job is scheduled without looks": async (past) => {
    await lastNight(past, { body: report() });
    await past.hasNoLook();
    await past.passes("7 hours");
  },
};

const documented = (await Deno.readTextFile(`${project}/docs/operation.md`))
  .split("\n## What happened")[0]
  .split("| what breaks")[1]
  .split("\n").slice(2)
  .filter((line) => line.startsWith("|"))
  .map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim()))
  .map(([what, verdict, message]) => ({ what, verdict: verdict.replaceAll("`", ""), message }));

/** A message of the docs, where … stands for anything. */
const pattern = (message: string) =>
  new RegExp(`^${message.split("…").map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("[^]*")}$`);

Deno.test("docs/operation.md names each failure that is tried here, and no other", () => {
  assert.deepEqual(documented.map(({ what }) => what), Object.keys(failures));
});

for (const pgNet of ["0.14", "0.19.6", "0.20"] as PgNet[]) {
  Deno.test(`etl.health() says what docs/operation.md does, with pg_net as of ${pgNet}`, async (t) => {
    await using db = await freshDatabase();
    for (const { what, verdict, message } of documented) {
      await t.step(what, async () => {
        await db.query("begin");
        try {
          await failures[what](new Past(db, pgNet));
          const health = await db.query("select feed, verdict, message from etl.health()");
          const told = health.filter(({ feed }) => feed === "trips" || !what.startsWith("a feed "));
          assert.deepEqual(told.map((row) => row.verdict), told.map(() => verdict), told[0].message);
          for (const row of told) assert.match(row.message, pattern(message));
        } finally {
          await db.query("rollback");
        }
      });
    }
  });
}

Deno.test("a call in flight is none that waits, and a role that may not know blames no worker", async () => {
  await using db = await freshDatabase();
  await new Past(db).extensions();
  await db.query("insert into net.http_request_queue (url) values ('x'), ('y'), ('z')");
  const said = async () => (await db.query("select etl.queue_trouble() as said"))[0].said;
  // As pg_net 0.20 does: what it sends stays there until it commits.
  await db.admin("begin");
  await db.admin("delete from net.http_request_queue where url <> 'z'");
  assert.equal(await said(), "Requests that wait while pg_net sends others, one batch at a time: 1");
  await db.admin("commit");
  await db.admin("begin");
  await db.admin("delete from net.http_request_queue");
  assert.equal(await said(), null);
  await new Past(db).workerIsUp("null");
  assert.equal(await said(), null);
  await new Past(db).workerIsUp("false");
  assert.equal(
    await said(),
    "The background worker of pg_net is down: select net.worker_restart(). Requests that wait in pg_net: 1",
    "whatever the worker had begun before it ended",
  );
  await db.admin("rollback");
  await new Past(db).workerIsUp("null");
  await db.query("insert into net.http_request_queue (url) values ('z')");
  assert.equal(await said(), "Requests that wait in pg_net: 1");
});

Deno.test("whether pg_net's worker runs is known to whoever may see the processes of others, and to nobody else", async () => {
  await using db = await freshDatabase();
  const isUp = async () => (await db.query("select etl.net_worker_is_up() as up"))[0].up;
  assert.equal(await isUp(), false);
  await db.query("begin");
  await db.query("grant usage on schema etl to authenticated");
  await db.query("grant execute on function etl.net_worker_is_up() to authenticated");
  await db.query("set local role authenticated");
  assert.equal(await isUp(), null);
  const [{ others }] = await db.query(
    "select count(*)::int as others from pg_stat_activity where backend_type is not null",
  );
  assert.equal(others, 0, "Postgres hides what others are, and one's own role has no session");
  await db.query("rollback");
});
