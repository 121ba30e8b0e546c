/** Three feeds over HTTP, twice: the second time nothing is written, nor by a dry run the first time. */
import assert from "node:assert/strict";
import { sampleFeeds } from "../../lib/local/samples.ts";
import { countsOf } from "../support/counts.ts";
import { freshDatabase } from "../support/database.ts";
import { serveSamples } from "../support/samples.ts";
import { snapshot } from "../support/snapshot.ts";
import { serve } from "../support/web.ts";
import { files } from "../support/partners.ts";

const tables = ["drivers", "trips", "charges"];

Deno.test("three feeds into an empty database, and again: nothing is written", async (t) => {
  for (const etags of [true, false]) {
    await t.step(etags ? "a server with ETags answers 304" : "without validators the content hash tells", async () => {
      await using db = await freshDatabase();
      const samples = sampleFeeds();
      await using web = serveSamples(etags);
      await db.pointAt(web.url);
      const records: Record<string, number> = {
        drivers: JSON.parse(samples["drivers.json"]).length,
        trips: samples["trips.csv"].trim().split("\n").length - 1,
        charges: samples["charges.csv"].trim().split("\n").length - 1,
      };

      const first = await db.load();
      assert.equal(first.status, "changed");
      assert.deepEqual(first.feeds.map((feed) => feed.feed), tables);
      for (const feed of first.feeds) {
        assert.deepEqual(countsOf(feed), [records[feed.feed], records[feed.feed], 0, 0, 0, 0], feed.feed);
        const [file] = Object.keys(samples).filter((name) => name.startsWith(feed.feed));
        assert.equal(feed.bytes, new TextEncoder().encode(samples[file]).length);
        const [{ rows }] = await db.query(`select count(*)::int as rows from public.${feed.feed}`);
        assert.equal(rows, records[feed.feed]);
      }
      const [{ ledger }] = await db.query(
        "select json_agg(feed order by feed) as ledger from etl.runs where status = 'changed'",
      );
      assert.deepEqual(ledger, ["charges", "drivers", "trips"]);

      const before = await snapshot(db);
      const second = await db.load();
      assert.equal(second.status, "unchanged");
      assert.deepEqual(await snapshot(db), before);
      assert.deepEqual(
        web.log.slice(3).map((line) => line.slice(-3)),
        etags ? ["304", "304", "304"] : ["200", "200", "200"],
      );

      const third = await db.load({ force: true });
      assert.equal(third.status, "unchanged", "compared row by row");
      for (const feed of third.feeds) {
        assert.deepEqual(countsOf(feed), [records[feed.feed], 0, 0, records[feed.feed], 0, 0]);
      }
      assert.deepEqual(await snapshot(db), before);
    });
  }
});

Deno.test("an identical run writes no WAL for data tables, nor counts as a write in the statistics", async () => {
  await using db = await freshDatabase();
  await using web = serve(files());
  await db.pointAt(web.url);
  await db.load();
  await db.admin("create extension pg_walinspect");
  const ours =
    `select c.oid, c.relfilenode from pg_class c where c.relnamespace in ('public'::regnamespace, 'etl'::regnamespace)`;
  const writes = () =>
    db.admin(`
      select relname, n_tup_ins, n_tup_upd, n_tup_del from pg_stat_user_tables
      where schemaname in ('public', 'etl') order by relname`);
  const position = async () => (await db.admin("select pg_current_wal_insert_lsn() as at"))[0].at;
  const records = async (from: string) => {
    // A run that finds the same bodies may write no WAL at all; pg_walinspect wants some, and flushed.
    await db.admin("select pg_logical_emit_message(false, 'tests', 'end', true)");
    return await db.admin(
      `select r.resource_manager, r.record_type, r.block_ref
      from pg_get_wal_records_info($1, pg_current_wal_flush_lsn()) r
      join (${ours}) o on r.block_ref ~ ('rel [0-9]+/[0-9]+/' || o.relfilenode || '( |$)')`,
      [from],
    );
  };

  for (const force of [false, true]) {
    await db.admin("select pg_stat_clear_snapshot()");
    const writesBefore = await writes();
    const from = await position();
    assert.equal((await db.load({ force })).status, "unchanged");
    assert.deepEqual(await records(from), []);
    assert.deepEqual(await writes(), writesBefore);
  }

  const from = await position();
  await db.query("update public.drivers set first_name = 'Anna' where id = 'd1'");
  assert.ok((await records(from)).length > 0, "the measurement sees a real write");
});

Deno.test("a dry run reports the counts and writes nothing", async () => {
  await using db = await freshDatabase();
  await using web = serve(files());
  await db.pointAt(web.url);
  const before = await snapshot(db);
  const dry = await db.load({ dryRun: true });
  assert.deepEqual(dry.feeds.map(countsOf), [[2, 2, 0, 0, 0, 0], [2, 2, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0]]);
  assert.deepEqual(await snapshot(db), before);
  assert.deepEqual((await db.load()).feeds.map(countsOf), dry.feeds.map(countsOf));
});
