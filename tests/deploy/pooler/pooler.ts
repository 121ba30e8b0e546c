/** `deno task test:pooler`: a run by way of a transaction pooler, where each transaction may get another connection. */
import assert from "node:assert/strict";
// @ts-types="@types/pg"
import pg from "pg";
import { load } from "../../../lib/load.ts";
import { freshDatabase, impatient } from "../../support/database.ts";
import { serveSamples } from "../../support/samples.ts";
import { snapshot } from "../../support/snapshot.ts";
import { serve } from "../../support/web.ts";
import { startPooler } from "./pgbouncer.ts";

async function rows(url: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client(url);
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}

Deno.test("through a transaction pooler three feeds load, and the same again changes nothing", async () => {
  await using db = await freshDatabase();
  await using web = serveSamples();
  await db.pointAt(web.url);
  await using pooler = await startPooler(db.url, 2);
  const run = (options = {}) => load({ databaseUrl: pooler.url, patience: impatient, ...options });

  assert.equal((await run()).status, "changed");
  const before = await snapshot(db);
  assert.equal((await run()).status, "unchanged");
  assert.equal((await run({ force: true })).status, "unchanged");
  assert.equal((await run({ dryRun: true, force: true })).status, "unchanged");
  assert.deepEqual(await snapshot(db), before);

  const pools = await rows(pooler.consoleUrl, "show pools");
  const pool = pools.find(({ database }) => database === db.name);
  assert.equal(pool?.pool_mode, "transaction");
});

Deno.test("what a run leaves in a pooled connection disturbs nobody: no lock, no temp table, no setting", async () => {
  await using db = await freshDatabase();
  await using web = serve({ "/drivers.json": '[{"id":"d1"}]', "/trips.csv": "no csv at all" });
  await db.pointAt(web.url);
  await using pooler = await startPooler(db.url, 1);
  const state = `select pg_backend_pid() as pid,
    (select count(*)::int from pg_locks where pid = pg_backend_pid() and locktype = 'advisory') as locks,
    (select count(*)::int from pg_class where relpersistence = 't') as tables,
    (select json_agg(name) from pg_settings where source = 'session' and name <> 'application_name') as settings`;
  const [before] = await rows(pooler.url, state);
  for (const status of ["failed", "failed"]) {
    const report = await load({ databaseUrl: pooler.url, patience: impatient });
    assert.equal(report.status, status);
    assert.equal(report.feeds[0].error, null);
  }
  assert.deepEqual(await rows(pooler.url, state), [before], "the same connection, as it was");
});

Deno.test("ten runs at once through two connections: one runs, the others say so", async () => {
  await using db = await freshDatabase();
  const { promise: arrived, resolve: arrive } = Promise.withResolvers<void>();
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  await using web = serve({
    "/drivers.json": async () => {
      arrive();
      await released;
      return new Response('[{"id":"d1"}]');
    },
  });
  await db.pointAt(web.url);
  await using pooler = await startPooler(db.url, 2);
  const run = () =>
    load({ databaseUrl: pooler.url, feeds: ["drivers"], patience: { stallMs: 30_000, retryMs: [] } })
      .then(({ status }) => status, ({ code }) => code);
  const first = run();
  await arrived;
  const others = await Promise.all(Array.from({ length: 9 }, run));
  assert.deepEqual(others, Array(9).fill("busy"));
  release();
  assert.equal(await first, "changed");
});
