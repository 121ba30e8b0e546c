/** What a run may cost, in ratios and counts that hold on any machine. */
import assert from "node:assert/strict";
// @ts-types="@types/pg"
import pg from "pg";
import { type DataFile, type DataFormat, type Extent, makeFile } from "../../bench/data.ts";
import { type Memory, remember } from "../../bench/feeds.ts";
import { measure } from "../../bench/processes.ts";
import { type Changed, changes, drivers } from "../../bench/trips.ts";
import { connect } from "../../lib/database/connect.ts";
import { freshDatabase } from "../support/database.ts";
import { temporary } from "../support/directories.ts";
import { serve, withEtag } from "../support/web.ts";

/** Trips in files, a server that sends them without saying how long they are, and a database with their drivers. */
async function scene() {
  await using stack = new AsyncDisposableStack();
  const db = stack.use(await freshDatabase());
  const web = stack.use(serve({}));
  const directory = stack.use(await temporary());
  const client = stack.adopt(await connect(db.url), (client) => client.end());
  await db.query("insert into drivers (id) select 'driver-' || n from generate_series(1, $1) n", [drivers]);
  let made = 0;
  const make = async (format: DataFormat, extent: Extent, change: Changed = "none") => {
    const file = await makeFile(`${directory.path}/${++made}`, format, extent, changes[change]);
    web.files[`/${made}`] = async () => new Response((await Deno.open(file.path)).readable);
    return file;
  };
  const urlOf = (file: DataFile) => web.url + file.path.slice(directory.path.length);
  const offer = async (file: DataFile, memory: Memory = "nothing") => {
    await db.feed(file.format, { url: urlOf(file), target: "public.trips", format: file.format, reject_limit: 0.1 });
    await remember(client, file, memory);
  };
  const end = stack.move();
  return { db, web, make, urlOf, offer, [Symbol.asyncDispose]: () => end.disposeAsync() };
}

/**
 * The least CPU of three processes each, less that of three with a file of one row. The loader does all but the merge,
 * during which it only waits. On two busy cores CSV took 1.7 to 2.6 times as much, JSON 2.4 to 4.2; a parser in
 * JavaScript takes 40 to 70 times as much.
 */
Deno.test("CPU of the loader, relative to reading as many bytes and dropping them", async (t) => {
  await using at = await scene();
  const limits = { csv: 5, json: 8 };
  const row = await at.make("csv", { rows: 1 });
  const big = { csv: await at.make("csv", { bytes: 40e6 }), json: await at.make("json", { bytes: 40e6 }) };
  const cpu = async (...job: string[]) => (await measure(Deno.execPath(), job)).cpuMs;
  const read = (file: DataFile) => cpu("read", at.urlOf(file));
  const load = async (file: DataFile) => {
    await at.offer(file, "hash");
    return await cpu("load", at.db.url, file.format, "unchanged");
  };
  const rounds: Record<"startRead" | "read" | "startLoad" | "csv" | "json", number>[] = [];
  for (let round = 0; round < 3; round++) {
    rounds.push({
      startRead: await read(row),
      read: await read(big.csv),
      startLoad: await load(row),
      csv: await load(big.csv),
      json: await load(big.json),
    });
  }
  const least = (name: keyof typeof rounds[0]) => Math.min(...rounds.map((round) => round[name]));
  for (const format of ["csv", "json"] as const) {
    await t.step(format, () => {
      const ratio = (least(format) - least("startLoad")) / (least("read") - least("startRead"));
      const said = `${ratio.toFixed(1)} times as much, ${limits[format]} is allowed: ${JSON.stringify(rounds)}`;
      assert.ok(ratio < limits[format], said);
    });
  }
});

Deno.test("WAL of a run that finds nothing new", async (t) => {
  await using at = await scene();
  const { admin } = at.db;
  const file = await at.make("csv", { rows: 20_000 });
  const body = await Deno.readTextFile(file.path);
  const position = async () => (await admin("select pg_current_wal_insert_lsn() as lsn"))[0].lsn;
  /** What else runs in the cluster only adds to it: the least of several runs is its own. */
  const leastBytes = async () => {
    let least = Infinity;
    for (let attempt = 0; attempt < 8 && least > 0; attempt++) {
      const before = await position();
      assert.equal((await at.db.loadOne("csv")).status, "unchanged");
      const [{ bytes }] = await admin("select pg_current_wal_insert_lsn() - $1::pg_lsn as bytes", [before]);
      least = Math.min(least, Number(bytes));
    }
    return least;
  };
  /** Pages that the WAL since then speaks of: of our tables and their indexes, or of those that the condition names. */
  const pagesSince = async (before: string, condition = "true") => {
    // A commit of its own, for only what is flushed can be read.
    await admin("select pg_logical_emit_message(true, 'tdc-etl', '')");
    const [{ pages }] = await admin(
      `select count(*)::int as pages
      from pg_get_wal_block_info($1, pg_current_wal_flush_lsn()) w
      join pg_class c on pg_relation_filenode(c.oid) = w.relfilenode
      join pg_namespace n on n.oid = c.relnamespace
      join pg_database d on d.oid = w.reldatabase and d.datname = current_database()
      where n.nspname in ('public', 'etl') and ${condition}`,
      [before],
    );
    return pages;
  };
  await admin("create extension pg_walinspect");
  // Else it may come by while it is measured, and write to each page of what was loaded.
  for (const table of ["drivers", "trips"]) await admin(`alter table ${table} set (autovacuum_enabled = off)`);
  await t.step("the first load fills pages: the measure measures", async () => {
    const before = await position();
    await at.offer(file);
    assert.equal((await at.db.loadOne("csv")).inserted, 20_000);
    assert.ok(await pagesSince(before) > 20_000);
  });
  await t.step("same content, of unknown length: staged, no page of ours", async () => {
    await at.offer(file, "hash");
    const before = await position();
    assert.equal((await at.db.loadOne("csv")).status, "unchanged");
    assert.equal(await pagesSince(before), 0);
  });
  await t.step("another gratuity, which no index holds: no page of an index", async () => {
    const before = await position();
    await at.offer(await at.make("csv", { rows: 20_000 }, "corrected"));
    assert.equal((await at.db.loadOne("csv")).updated, 200);
    assert.ok(await pagesSince(before, "c.relname = 'trips'") > 0);
    assert.equal(await pagesSince(before, "c.relname like 'trips\\_%'"), 0);
    await at.offer(file);
    assert.equal((await at.db.loadOne("csv")).updated, 200);
  });
  const path = new URL(at.urlOf(file)).pathname;
  await t.step("same content, of the same length: no WAL at all", async () => {
    at.web.files[path] = body;
    await at.offer(file, "length");
    assert.equal(await leastBytes(), 0);
  });
  await t.step("304: no WAL at all", async () => {
    at.web.files[path] = (request) => withEtag(request, body, `"${file.bytes}"`);
    await at.offer(file, "etag");
    assert.equal(await leastBytes(), 0);
    assert.match(at.web.log.at(-1)!, / 304$/);
  });
});

Deno.test("a feed takes as many statements with 5,000 records as with 100", async () => {
  await using at = await scene();
  const statementsOf = async (rows: number) => {
    const counts: Record<string, number> = {};
    const run = async (name: string, file: DataFile, memory: Memory, force = false) => {
      await at.offer(file, memory);
      counts[name] = await countStatements(() => at.db.loadOne(file.format, { force }));
    };
    for (const format of ["csv", "json"] as const) {
      await at.db.query("truncate public.trips cascade");
      const [file, corrected] = [await at.make(format, { rows }), await at.make(format, { rows }, "corrected")];
      await run(`${format}, first`, file, "nothing");
      await run(`${format}, forced`, file, "nothing", true);
      await run(`${format}, staged`, file, "hash");
      await run(`${format}, corrected`, corrected, "nothing");
      await run(`${format}, bad`, await at.make(format, { rows: rows + 100 }, "bad"), "nothing");
    }
    return counts;
  };
  const few = await statementsOf(100), many = await statementsOf(5_000);
  assert.deepEqual(many, few);
});

async function countStatements(run: () => Promise<unknown>): Promise<number> {
  const { query } = pg.Client.prototype;
  let statements = 0;
  pg.Client.prototype.query = function (this: pg.Client, ...args: unknown[]) {
    statements++;
    return Reflect.apply(query, this, args);
  } as typeof query;
  try {
    await run();
  } finally {
    pg.Client.prototype.query = query;
  }
  return statements;
}
