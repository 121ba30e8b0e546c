/** pg_cron, every second -> pg_net's stand-in -> the function -> rows; and what etl.health() says when a link breaks. */
import assert from "node:assert/strict";
import type { Database } from "../../support/database.ts";
import { snapshot } from "../../support/snapshot.ts";
import { until } from "../../support/waiting.ts";
import { serve } from "../../support/web.ts";
import type { PgNet } from "../past.ts";
import { startNetWorker, workerName } from "./net_worker.ts";
import { newWorld, nextSecret, secret, startFunction, storeSecret, type World } from "./world.ts";

const closed = "http://127.0.0.1:1/functions/v1/etl";

interface Running extends World {
  net: AsyncDisposable;
  etl: Awaited<ReturnType<typeof startFunction>>;
}

/** Everything in motion: the function loads three feeds, each second. */
async function running(pgNet: PgNet): Promise<Running> {
  await using stack = new AsyncDisposableStack();
  const world = stack.use(await newWorld());
  // The worker that stands in for pg_net's is a client.
  await world.db.query(
    `create or replace function etl.net_worker_is_up() returns boolean language sql as $$
      select exists (select from pg_stat_activity where application_name = '${workerName}')
    $$`,
  );
  const net = stack.use(await startNetWorker(world.db.adminUrl, pgNet));
  const etl = stack.use(await startFunction());
  await storeSecret(world.db, "etl_function_url", etl.url);
  await storeSecret(world.db, "etl_trigger_secret", secret);
  await world.db.query("select etl.schedule('1 second')");
  await verdict(world.db, "ok");
  const all = stack.move();
  return { ...world, net, etl, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

/** Waits until all feeds, or the one given, have this verdict and this message; the message of ok is none. */
async function verdict(db: Database, wanted: string, message: RegExp = /^$/, feed?: string): Promise<void> {
  let seen: Record<string, string>[] = [];
  await until(() => `the verdict is ${wanted} ${message}; health: ${JSON.stringify(seen)}`, async () => {
    seen = await db.query("select feed, verdict, message from etl.health()");
    const asked = seen.filter((row) => feed === undefined || row.feed === feed);
    return asked.every((row) => row.verdict === wanted && message.test(row.message));
  });
}

/** Lets what pg_cron, pg_net and the ledger remember be half an hour older. */
async function halfAnHourPasses(db: Database): Promise<void> {
  await db.admin(`
    begin;
    update cron.job_run_details set start_time = start_time - interval '30 min', end_time = end_time - interval '30 min'
    where end_time is not null;
    update net._http_response set created = created - interval '30 min';
    update etl.runs set finished_at = finished_at - interval '30 min';
    update cron.job set command = 'select etl.invoke() -- since 2026-01-01T00:00:00Z' where jobname = 'tdc-etl';
    commit`);
}

const answers = async (db: Database, where: string) =>
  Number((await db.admin(`select count(*) as n from net._http_response where ${where}`))[0].n);

Deno.test("a row of a partner is in the table after a tick, a changed one within two; ten ticks without change write nothing", async () => {
  await using world = await running("0.14");
  const { db, web } = world;
  assert.deepEqual(await db.query("select * from public.charges"), [{ id: "c1", trip_id: "t1", amount_cents: "100" }]);

  const [{ at }] = await db.query("select clock_timestamp() as at");
  web.files["/drivers.json"] = '[{"id":"d1","first_name":"Ana"},{"id":"d2"}]';
  await until("the second driver", async () => (await db.query("select from public.drivers")).length === 2);
  const [{ ticks }] = await db.admin(
    `select count(*)::int as ticks from cron.job_run_details
    where start_time > $1 and start_time <= (select max(started_at) from etl.runs where feed = 'drivers')`,
    [at],
  );
  assert.ok(ticks <= 2, `after ${ticks} ticks`);

  await db.admin("create extension if not exists pg_walinspect");
  const ours = async () =>
    Object.fromEntries(Object.entries(await snapshot(db)).filter(([name]) => /^(public|etl)\./.test(name)));
  const good = 'status_code = 200 and content like \'%"status":"unchanged"%\'';
  const known = await answers(db, good);
  await until("the change is behind us", async () => await answers(db, good) > known);
  const before = await ours();
  assert.ok(Object.keys(before).length >= 6);
  const [{ lsn }] = await db.admin("select pg_current_wal_insert_lsn() as lsn");
  const start = await answers(db, good);
  await until("ten unchanged answers", async () => await answers(db, good) >= start + 10);
  assert.deepEqual(await ours(), before);
  const written = await db.admin(
    `select r.record_type, c.oid::regclass
    from pg_get_wal_records_info($1, pg_current_wal_insert_lsn()) r
    join pg_class c on c.relnamespace in ('public'::regnamespace, 'etl'::regnamespace)
      and r.block_ref ~ ('rel [0-9]+/[0-9]+/' || c.relfilenode || '( |$)')
    where r.record_type !~ '^FPI'`,
    [lsn],
  );
  assert.deepEqual(written, []);
});

Deno.test("etl.health() tells when a link breaks, and when it holds again", async (t) => {
  await using world = await running("0.20");
  const { db, web } = world;

  await t.step("a secret that the function refuses is told; after the rotation all is well again", async () => {
    await storeSecret(db, "etl_trigger_secret", nextSecret);
    await verdict(db, "secret refused", /^etl_trigger_secret in the vault is not among/);
    await storeSecret(db, "etl_trigger_secret", secret);
    await verdict(db, "ok");
  });

  await t.step(
    "a secret removed from the vault fails the tick with our words, and no secret is in what pg_cron or the log keep",
    async () => {
      const failed = (what: string) =>
        until(what, async () =>
          (await db.admin(
            "select return_message from cron.job_run_details where status = 'failed' and return_message like '%' || $1 || '%'",
            [what],
          ))[0]);
      await db.query("delete from vault.secrets where name = 'etl_trigger_secret'");
      await failed("the vault lacks etl_trigger_secret");
      await verdict(db, "late", /^The function could not be called: the vault lacks etl_trigger_secret$/);
      await storeSecret(db, "etl_trigger_secret", `${secret} ${nextSecret}`);
      await failed("cannot be a trigger secret");
      await storeSecret(db, "etl_trigger_secret", secret);
      await db.admin("alter table net.http_request_queue add constraint never check (url is null) not valid");
      try {
        await failed("pg_net took no request (SQLSTATE 23514)");
      } finally {
        await db.admin("alter table net.http_request_queue drop constraint never");
      }
      await verdict(db, "ok");
      const details = JSON.stringify(await db.admin("select * from cron.job_run_details"));
      const log = await Deno.readTextFile(Deno.env.get("SERVER_LOG")!);
      assert.ok(log.includes("the vault lacks etl_trigger_secret") && details.includes("etl.invoke()"));
      for (const word of [secret, nextSecret]) assert.ok(!details.includes(word) && !log.includes(word));
    },
  );

  await t.step("a feed that fails is told by name, and forgiven by the next answer that is unchanged", async () => {
    const trips = web.files["/trips.csv"];
    web.files["/trips.csv"] = () => new Response("gone", { status: 404 });
    await verdict(db, "failing", /^Cannot load trips: .*404/, "trips");
    await verdict(db, "ok", /^$/, "drivers");
    web.files["/trips.csv"] = trips;
    await verdict(db, "ok");
    const [{ last_error }] = await db.query("select last_error from etl.health() where feed = 'trips'");
    assert.match(last_error, /404/, "the ledger remembers");
  });

  await t.step(
    "a function that cannot do its work is failing: no database, no secret of its own, a wrong path",
    async () => {
      for (
        const [env, path, message] of [
          [
            { DATABASE_URL: "postgres://u:p@127.0.0.1:1/none" },
            "",
            /^The function answered: Cannot run: Cannot connect to the database/,
          ],
          [{ ETL_TRIGGER_SECRET: "" }, "", /^The function answered: not_configured/],
          [{}, "/elsewhere", /^The function answered: not_found/],
        ] as const
      ) {
        await using broken = await startFunction(env);
        await storeSecret(db, "etl_function_url", broken.url + path);
        await verdict(db, "failing", message);
        await storeSecret(db, "etl_function_url", world.etl.url);
        await verdict(db, "ok");
      }
    },
  );

  await t.step("a function that is down, or something else in its place, is late after a while", async () => {
    await using other = serve({ "/functions/v1/etl": () => new Response("gateway", { status: 401 }) });
    for (
      const [url, bad, message] of [
        [
          closed,
          "error_msg is not null",
          /^The function was called .*: The function could not be reached: Couldn't connect/,
        ],
        [
          `${other.url}/functions/v1/etl`,
          "status_code = 401",
          /^The function was called .*: The gateway refused the call .*401/,
        ],
      ] as const
    ) {
      await storeSecret(db, "etl_function_url", url);
      const before = await answers(db, bad);
      await until("bad answers", async () => await answers(db, bad) >= before + 3);
      await verdict(db, "ok");
      await halfAnHourPasses(db);
      await verdict(db, "late", message);
      await storeSecret(db, "etl_function_url", world.etl.url);
      await verdict(db, "ok");
    }
  });

  await t.step(
    "a job that is switched off, or that pg_cron does not start, is late; etl.schedule() mends the first",
    async () => {
      await db.admin("select cron.alter_job(jobid, active => false) from cron.job where jobname = 'tdc-etl'");
      await verdict(db, "late", /^The job of pg_cron is switched off/);
      await db.query("select etl.schedule('1 second')");
      await until("a tick of the new job", async () => {
        return (await db.admin(
          "select from cron.job_run_details join cron.job using (jobid) where end_time is not null",
        ))[
          0
        ];
      });
      await verdict(db, "ok");
      await db.admin("alter system set cron.launch_active_jobs = off");
      await db.admin("select pg_reload_conf()");
      try {
        await until("the last tick has ended", async () => {
          const [{ idle }] = await db.admin(
            "select max(end_time) < now() - interval '2.5 s' and count(*) = count(end_time) as idle from cron.job_run_details",
          );
          return idle;
        });
        await halfAnHourPasses(db);
        await verdict(db, "late", /^pg_cron has not started the job since \d{4}/);
      } finally {
        await db.admin("alter system reset cron.launch_active_jobs");
        await db.admin("select pg_reload_conf()");
      }
      await verdict(db, "ok");
    },
  );

  await t.step("a call that hangs holds up those after it, and no worker is blamed", async () => {
    const silent = Promise.withResolvers<void>();
    await using hanging = serve({ "/functions/v1/etl": () => silent.promise.then(() => new Response("at last")) });
    await storeSecret(db, "etl_function_url", `${hanging.url}/functions/v1/etl`);
    const waiting = "select from net.http_request_queue where xmax = '0'::xid";
    await until("requests wait", async () => (await db.admin(waiting)).length >= 2);
    await halfAnHourPasses(db);
    await verdict(db, "late", /^The function was called .*\. Requests that wait while pg_net sends others, .*: \d+$/);
    await storeSecret(db, "etl_function_url", world.etl.url);
    silent.resolve();
    await verdict(db, "ok");
  });

  await t.step("what a look saw outlasts what pg_net keeps", async () => {
    const each = (line: string) =>
      db.query("select cron.schedule('tdc-etl look', $1, 'select from etl.look()')", [line]);
    const kept = (what: RegExp) =>
      until(`a look says ${what}`, async () => {
        const looks = await db.admin(
          `select r.status || ' ' || r.return_message as said
          from cron.job_run_details r join cron.job j using (jobid) where j.jobname = 'tdc-etl look' order by runid`,
        );
        return looks.map((look) => String(look.said)).find((said) => what.test(said));
      });
    const log = async () => (await Deno.readTextFile(Deno.env.get("SERVER_LOG")!)).split("\n");
    // No tick for a long time, and half an hour later someone looks.
    const rarely = async () => {
      await db.query("select etl.schedule('0 0 29 2 *')");
      await until("the last tick has ended, and is answered", async () => {
        const [{ idle }] = await db.admin(
          `select max(end_time) < now() - interval '2.5 s' and count(*) = count(end_time) as idle
          from cron.job_run_details`,
        );
        return idle;
      });
      await halfAnHourPasses(db);
      await each("1 second");
    };

    await rarely();
    await kept(/^succeeded 1 row$/);
    await db.admin("truncate net._http_response");
    await db.query("delete from etl.runs");
    await verdict(db, "ok");
    await db.query(
      "delete from cron.job_run_details r using cron.job j where j.jobid = r.jobid and j.jobname = 'tdc-etl look'",
    );
    await verdict(db, "late", /^The function was called and has not answered well/);

    await storeSecret(db, "etl_function_url", closed);
    await db.query("select etl.schedule('1 second')");
    await until("a bad answer", async () => await answers(db, "error_msg is not null") > 0);
    await rarely();
    await kept(/^failed ERROR: {2}The function could not be reached: Couldn't connect[^\n]* \[-, [-0-9T:.]+Z\]\n/);
    await kept(/^succeeded 0 rows$/);
    const told = (await log()).filter((line) => /ERROR: .*The function could not be reached/.test(line)).length;
    assert.equal(told, 1, "once");
    await db.admin("truncate net._http_response");
    await verdict(db, "late", /: The function could not be reached: Couldn't connect/);

    await storeSecret(db, "etl_function_url", world.etl.url);
    await db.query("select etl.schedule('1 second')");
    await verdict(db, "ok");
  });

  await t.step("requests that pg_net does not send, and answers that it has lost, are missed", async () => {
    await world.net[Symbol.asyncDispose]();
    const queued = async () => (await db.admin("select from net.http_request_queue")).length >= 3;
    await until("requests wait", queued);
    await halfAnHourPasses(db);
    await verdict(
      db,
      "late",
      /^The function was called and has not answered well since .* worker of pg_net is down.* wait in pg_net: \d+$/,
    );

    await db.admin("truncate net._http_response, net.http_request_queue");
    // The ledger holds a failure of trips, and what would tell of its recovery is lost.
    await verdict(db, "late", /^The function was called and has not answered well since/, "drivers");
    await using _net = await startNetWorker(db.adminUrl, "0.20");
    await verdict(db, "ok");
  });
});

Deno.test("a feed that breaks is told, once, and so is its end; no URL of whoever is told is in what is kept", async () => {
  const texts: string[] = [];
  await using receiver = serve({
    "/hooks/h1dden": async (request) => {
      texts.push((await request.json()).text);
      return new Response("ok");
    },
  });
  await using world = await running("0.20");
  const { db, web } = world;
  const looks = async () =>
    Number((await db.admin("select count(*) as n from cron.job_run_details where command = 'select etl.tell()'"))[0].n);
  const fourMoreLooks = async () => {
    const before = await looks();
    await until("four more looks", async () => await looks() >= before + 4);
  };
  await db.query("select cron.schedule('tdc-etl alert', '1 second', 'select etl.tell()')");
  await fourMoreLooks();
  await storeSecret(db, "etl_alert_url", `${receiver.url}/hooks/h1dden`);
  await fourMoreLooks();
  assert.deepEqual([texts, await db.query("table etl.told")], [[], []], "all is well");

  const trips = web.files["/trips.csv"];
  web.files["/trips.csv"] = () => new Response("gone", { status: 404 });
  await until("it is told", () => texts.length > 0);
  await fourMoreLooks();
  assert.equal(texts.length, 1);
  assert.match(
    texts[0],
    /^tdc-etl: trips is failing since .* UTC\. Cause: Cannot load trips: .*answered 404\. What to do: /,
  );

  web.files["/trips.csv"] = trips;
  await until("the end is told", () => texts.length > 1);
  await fourMoreLooks();
  assert.equal(texts.length, 2);
  assert.match(texts[1], /^tdc-etl: trips is ok again; before: failing since /);

  await storeSecret(db, "etl_alert_url", "http://hooks.example/h1dden");
  const told = await until("a look that fails", async () =>
    (await db.admin(
      "select return_message from cron.job_run_details where command = 'select etl.tell()' and status = 'failed'",
    ))[0]);
  assert.match(told.return_message, /^ERROR: {2}etl_alert_url in the vault is no https URL/);
  const kept = JSON.stringify(await db.admin("select * from cron.job_run_details"));
  assert.ok(!kept.includes("h1dden") && !(await Deno.readTextFile(Deno.env.get("SERVER_LOG")!)).includes("h1dden"));
});
