/** The schedule where its extensions are missing; tests/schedule/cron has the rest. */
import assert from "node:assert/strict";
import { freshDatabase } from "../support/database.ts";

Deno.test("without the extensions all can be created, and says what is missing", async () => {
  await using db = await freshDatabase();
  const calls: [sql: string, message: string][] = [
    ["select etl.schedule()", "the schedule needs pg_cron, pg_net, supabase_vault: missing, or not for this role"],
    ["select etl.unschedule()", "the schedule needs pg_cron: missing, or not for this role"],
    ["select etl.secrets()", "the schedule needs supabase_vault: missing, or not for this role"],
    ["select etl.invoke()", "the schedule needs pg_net: missing, or not for this role"],
  ];
  for (const [sql, message] of calls) {
    await assert.rejects(db.query(sql), { code: "ETL07", message, hint: /create extension/ });
  }
  await assert.rejects(db.query("select etl.schedule('* * * * * *')"), { code: "ETL08" });
});

Deno.test("an extension that this role may not use counts as missing", async () => {
  await using db = await freshDatabase();
  await db.admin("create schema cron; create table cron.job (jobid bigint)");
  await assert.rejects(db.query("select etl.unschedule()"), { code: "ETL07" });
  const health = await db.query("select verdict, message from etl.health()");
  assert.deepEqual(health[0], {
    verdict: "never ran",
    message: "Nothing was ever loaded. No schedule: see etl.schedule()",
  });
});

Deno.test("every function of the schedule is closed to the public, has its search path pinned, and a comment", async () => {
  await using db = await freshDatabase();
  const open = await db.query(`
    select p.oid::regprocedure::text as name, obj_description(p.oid) as comment, p.proconfig, p.proacl::text
    from pg_proc p
    where p.pronamespace = 'etl'::regnamespace
      and p.proname ~ '^(cron_|next_run|can_read|require|secrets|invoke|schedule|unschedule|purge|answers|job|trouble|health)'
      and (
        has_function_privilege('anon', p.oid, 'execute') or obj_description(p.oid) is null
        or not ('search_path=""' = any (p.proconfig))
      )`);
  assert.deepEqual(open, []);
});
