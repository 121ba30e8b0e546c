/** etl.schedule() and its kin on a real pg_cron. */
import assert from "node:assert/strict";
import type { Database } from "../../support/database.ts";
import { newWorld, nextSecret, secret, storeSecret } from "./world.ts";

const url = "https://project.supabase.co/functions/v1/etl";

const jobs = (db: Database) =>
  db.query("select jobid, jobname, schedule, command, active, username from cron.job order by jobname");

async function refused(db: Database, sql: string, code: string, message: RegExp, values: unknown[] = []) {
  await assert.rejects(
    db.query(sql, values),
    (error: { code: string; message: string; detail?: string; hint: string }) => {
      assert.equal(error.code, code, error.message);
      assert.match(error.message, message);
      assert.ok(error.hint);
      assert.ok(!JSON.stringify(error).includes(secret));
      return true;
    },
  );
}

Deno.test("etl.schedule() makes four jobs, makes them once, changes the line, and switches on again", async () => {
  await using world = await newWorld();
  const { db } = world;
  await storeSecret(db, "etl_function_url", url);
  await storeSecret(db, "etl_trigger_secret", secret);
  const [{ schedule: said }] = await db.query("select etl.schedule()");
  assert.match(said, /^scheduled \*\/10 \* \* \* \*; next run \d{4}-\d\d-\d\d \d\d:\d0:00/);
  const first = await jobs(db);
  assert.deepEqual(first.map((job) => [job.jobname, job.schedule, job.active, job.username]), [
    ["tdc-etl", "*/10 * * * *", true, "postgres"],
    ["tdc-etl alert", "4-59/5 * * * *", true, "postgres"],
    ["tdc-etl look", "2-57/5 * * * *", true, "postgres"],
    ["tdc-etl purge", "17 3 * * *", true, "postgres"],
  ]);
  assert.match(first[0].command, /^select etl\.invoke\(\) -- since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
  await db.query("select etl.schedule()");
  assert.deepEqual(await jobs(db), first);

  await db.query("select etl.schedule('30 seconds')");
  assert.deepEqual((await jobs(db)).map((job) => [job.jobid, job.schedule]), [
    [first[0].jobid, "30 seconds"],
    [first[1].jobid, "4-59/5 * * * *"],
    [first[2].jobid, "2-57/5 * * * *"],
    [first[3].jobid, "17 3 * * *"],
  ]);
  await db.admin("select cron.alter_job($1, active => false)", [first[0].jobid]);
  await db.query("select etl.schedule('30 seconds')");
  assert.equal((await jobs(db))[0].active, true);

  assert.deepEqual(await db.query("select etl.unschedule() as ended"), [{ ended: true }]);
  assert.deepEqual(await jobs(db), []);
  assert.deepEqual(await db.query("select etl.unschedule() as ended"), [{ ended: false }]);
});

Deno.test("etl.schedule() takes no line that pg_cron would misread, and makes no job then", async () => {
  await using world = await newWorld();
  const { db } = world;
  await storeSecret(db, "etl_function_url", url);
  await storeSecret(db, "etl_trigger_secret", secret);
  for (
    const line of [
      ...["* * * * * *", "0 0 * * * 2026", "* * * *", "", "now", "60 seconds", "0 seconds", "60 * * * *", "* 24 * * *"],
      ...["* * 0 * *", "* * * 13 *", "* * * * 8", "5/10 * * * *", "*/0 * * * *", "1- * * * *", "* * * jan-xyz *"],
      ...["1,,2 * * * *", "5-1 * * * *", "@hourly", "* * 1,$ * *", "'; drop table x; --", null],
    ]
  ) await refused(db, "select etl.schedule($1)", "ETL08", /is no cron line$/, [line]);
  await refused(db, "select etl.schedule('0 0 31 2 *')", "ETL08", /is never due$/);
  assert.deepEqual(await jobs(db), []);
});

Deno.test("what etl.next_run() takes for a cron line, pg_cron takes too", async () => {
  await using world = await newWorld();
  await world.db.query("begin");
  for (
    const line of [
      ...["*/10 * * * *", "0 9-17/2 * * mon-fri", "5,35 0 1,15 JAN,jul *", "0 0 $ * *", "0 0 * * 7", "1 second"],
      ...["59 seconds", "  0\t0  * * * ", "*,5 * * * *", "0-59/7 * * * *", "0 0 29 2 *"],
    ]
  ) {
    await world.db.query("select etl.next_run($1)", [line]);
    await world.db.query("select cron.schedule('probe', $1, 'select 1')", [line]);
  }
  await world.db.query("select cron.schedule('probe', '* * * * * *', 'select 1')");
  await world.db.query("rollback");
});

Deno.test("without URL or secret, or with unfit ones, there is a clear error and no job; no error tells the secret", async () => {
  await using world = await newWorld();
  const { db } = world;
  await refused(db, "select etl.schedule()", "ETL07", /^the vault lacks etl_function_url and etl_trigger_secret$/);
  await storeSecret(db, "etl_trigger_secret", secret);
  await refused(db, "select etl.schedule()", "ETL07", /^the vault lacks etl_function_url$/);
  await storeSecret(db, "etl_function_url", " \n");
  await refused(db, "select etl.invoke()", "ETL07", /^the vault lacks etl_function_url$/);
  for (const unfit of ["http://project.supabase.co/functions/v1/etl", "ftp://x/", "https://", "project"]) {
    await storeSecret(db, "etl_function_url", unfit);
    await refused(db, "select etl.schedule()", "ETL07", /^etl_function_url in the vault is no https URL$/);
  }
  await storeSecret(db, "etl_function_url", url);
  for (
    const unfit of [
      secret.slice(0, 31),
      `${secret},${nextSecret}`,
      `${secret} x`,
      `${secret}\n${secret}`,
      "é".repeat(32),
    ]
  ) {
    await storeSecret(db, "etl_trigger_secret", unfit);
    await refused(db, "select etl.schedule()", "ETL07", /^etl_trigger_secret in the vault cannot be a trigger secret$/);
  }
  assert.deepEqual(await jobs(db), []);
  await storeSecret(db, "etl_trigger_secret", `${secret}\n`);
  assert.deepEqual(
    await db.query("select secret from etl.secrets()"),
    [{ secret }],
    "a pasted line break is no part of it",
  );
});

Deno.test("an error of pg_net is passed on without its words", async () => {
  await using world = await newWorld();
  const { db } = world;
  await storeSecret(db, "etl_function_url", url);
  await storeSecret(db, "etl_trigger_secret", secret);
  await db.query("begin");
  await db.admin("alter table net.http_request_queue add constraint never check (url is null)");
  try {
    await refused(db, "select etl.invoke()", "ETL07", /^pg_net took no request \(SQLSTATE 23514\)$/);
  } finally {
    await db.query("rollback");
    await db.admin("alter table net.http_request_queue drop constraint never");
  }
});

Deno.test("etl.purge() deletes our runs of more than two days ago, but for each job's latest", async () => {
  await using world = await newWorld();
  const { db } = world;
  await db.admin(`
    insert into cron.job_run_details (jobid, runid, command, status, username, start_time, end_time)
    select jobid, n, command, 'succeeded', 'postgres', now() - age, now() - age
    from (values
      (1, 1, 'select etl.invoke() -- since 2026-01-01T00:00:00Z', interval '40 days'),
      (1, 2, 'select etl.invoke() -- since 2026-01-01T00:00:00Z', '3 days'),
      (1, 3, 'select etl.invoke() -- since 2026-01-01T00:00:00Z', '1 day'),
      (2, 4, 'select etl.purge()', '3 days'),
      (2, 5, 'select etl.purge()', '50 hours'),
      (3, 6, 'select somebody.elses()', '90 days'),
      (4, 7, 'select etl.invoke()', '31 days'),
      (5, 8, 'select etl.tell()', '50 hours'),
      (5, 9, 'select etl.tell()', '1 hour')
    ) v (jobid, n, command, age)`);
  assert.deepEqual(await db.query("select etl.purge()::int as purged"), [{ purged: 4 }]);
  const left = await db.admin("select runid::int from cron.job_run_details order by runid");
  assert.deepEqual(left.map((row) => row.runid), [3, 5, 6, 7, 9]);
});

Deno.test("pgTAP finds no function of etl that anyone but the loader may call, save what the reports and the page ask", async () => {
  await using world = await newWorld();
  const { db } = world;
  await db.admin("begin");
  await db.admin("create extension pgtap");
  const lines = await db.admin(`
    select function_privs_are(
      'etl', p.proname, array(select format_type(t, null) from unnest(p.proargtypes::oid[]) t), r.role,
      case
        when (r.role, p.proname) = ('authenticated', 'is_staff')
          or r.role <> 'anon' and p.proname in ('freshness', 'trips_of_rejected_charges', 'holds_words')
          -- Each of them asks etl.require_staff(): tests/reports/page_test.ts.
          or r.role <> 'anon' and p.proname like 'page\\_%'
        then '{EXECUTE}' else '{}'
      end::name[],
      format('what %s may do with %s', r.role, p.oid::regprocedure)
    ) as line
    from plan(
      (select count(*)::int * 3 from pg_proc where pronamespace = 'etl'::regnamespace)
    ), pg_proc p, unnest(array['anon', 'authenticated', 'service_role']) r (role)
    where p.pronamespace = 'etl'::regnamespace`);
  await db.admin("rollback");
  assert.ok(lines.length > 30);
  assert.deepEqual(lines.filter(({ line }) => !line.startsWith("ok ")), []);
});
