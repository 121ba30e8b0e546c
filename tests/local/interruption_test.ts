/** A command told to end in mid-run: it says so, keeps nothing half-written, and leaves no process. */
import assert from "node:assert/strict";
import { connect } from "../../lib/database/connect.ts";
import { migrate } from "../../lib/local/migrate.ts";
import { startPostgres } from "../../lib/local/postgres/start.ts";
import { ended, main, onTerminal } from "../support/command.ts";
import { type Database, freshDatabase } from "../support/database.ts";
import { copyProject, temporary } from "../support/directories.ts";
import { allGone, interruptAll, processesOf } from "../support/processes.ts";
import { serve, type Web } from "../support/web.ts";

const exits = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 };

/** A partner's server that takes requests and never answers; `arrived` resolves at the next one. */
function stalling(): Web & { arrived(): Promise<void> } {
  const end = Promise.withResolvers<Response>();
  let arrive: () => void;
  const web = serve({
    "/stall": () => {
      arrive();
      return end.promise;
    },
  });
  const close = web[Symbol.asyncDispose];
  return Object.assign(web, {
    arrived: () => new Promise<void>((resolve) => arrive = resolve),
    [Symbol.asyncDispose]: async () => {
      end.resolve(new Response());
      await close();
    },
  });
}

async function stall(databaseUrl: string, web: Web): Promise<void> {
  const client = await connect(databaseUrl);
  await client.query("update etl.feeds set url = $1 where name = 'charges'", [`${web.url}/stall`]);
  await client.end();
}

Deno.test("on the embedded Postgres", async (t) => {
  await using copy = await temporary();
  await Deno.chmod(copy.path, 0o755);
  await copyProject(copy.path);
  await using web = stalling();
  const postgres = await startPostgres(`${copy.path}/.local`);
  await migrate(postgres.url);
  await stall(postgres.url, web);
  await postgres.stop();

  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    await t.step(`${signal} ends ${signal === "SIGINT" ? "start" : "etl"} with ${exits[signal]}`, async () => {
      const arrived = web.arrived();
      const child = main([signal === "SIGINT" ? "start" : "etl"], { cwd: copy.path });
      await arrived;
      child.kill(signal);
      const { code, out, err } = await ended(child);
      assert.deepEqual([code, out], [exits[signal], ""], err);
      assert.match(err, /^error: interrupted\n {7}A run is saved whole or not at all; run it again\.\n$/m);
      await allGone(copy.path, 0);
    });
  }

  await t.step("a terminal's Ctrl-C, which reaches every process of the command", async () => {
    const arrived = web.arrived();
    const child = main(["etl", "--json"], { cwd: copy.path });
    await arrived;
    interruptAll(await processesOf(copy.path));
    const { code, out } = await ended(child);
    assert.deepEqual([code, JSON.parse(out).error.code], [130, "interrupted"]);
    await allGone(copy.path, 0);
  });

  await t.step("on a terminal the message outlives the progress bars", async () => {
    const arrived = web.arrived();
    const shown = onTerminal(copy.path, {});
    await arrived;
    const found = await processesOf(copy.path);
    interruptAll(found.filter(({ command }) => command.startsWith(Deno.execPath())));
    const { code, out } = await shown;
    assert.equal(code, 130, out);
    assert.match(out.slice(out.lastIndexOf("\x1b[0J")), /error: interrupted/);
    assert.ok(out.lastIndexOf("\x1b[?25h") > out.lastIndexOf("\x1b[?25l"), "the cursor is shown again");
    await allGone(copy.path);
  });

  await t.step("nothing of the interrupted runs is there", async () => {
    const postgres = await startPostgres(`${copy.path}/.local`);
    const client = await connect(postgres.url);
    const { rows } = await client.query(
      "select (select count(*) from etl.runs) + (select count(*) from public.drivers) as rows",
    );
    assert.deepEqual(rows, [{ rows: 0 }]);
    await client.end();
    await postgres.stop();
  });
});

Deno.test("on the database of DATABASE_URL", async () => {
  await using db: Database = await freshDatabase();
  await using web = stalling();
  await stall(db.url, web);
  const arrived = web.arrived();
  const child = main(["etl", "charges", "--json"], { env: { DATABASE_URL: db.url } });
  await arrived;
  child.kill("SIGTERM");
  const { code, out } = await ended(child);
  const { run, status, feeds, error } = JSON.parse(out);
  assert.deepEqual([code, run, status, feeds, error.code], [143, null, "failed", [], "interrupted"]);
  assert.deepEqual(await db.query("select * from etl.runs"), []);
});
