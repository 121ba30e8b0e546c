/** The main job: three feeds over HTTP, twice; the second time nothing is written. */
import assert from "node:assert/strict";
import { sampleFeeds } from "../../lib/local/samples.ts";
import { countsOf } from "../support/counts.ts";
import { freshDatabase } from "../support/database.ts";
import { databaseAndWeb } from "../support/given.ts";
import { serveSamples } from "../support/samples.ts";
import { snapshot } from "../support/snapshot.ts";
import { serve } from "../support/web.ts";

const tables = ["drivers", "trips", "charges"];
const drivers = [
  { id: "d1", tlc_number: "007", first_name: "Ana", last_name: "Díaz" },
  { id: "d2", tlc_number: "5000002", first_name: "Bo", last_name: null },
];
const trips = `id,driver_id,request_timestamp,pickup_timestamp,dropoff_timestamp,base_fare,gratuity
t1,d1,2021-07-01T10:00:00Z,2021-07-01T10:05:00Z,2021-07-01T10:20:00Z,12.50,3.00
t2,d2,2021-07-01T11:00:00Z,,,,
`;
const charges = "id,trip_id,amount_cents\nc1,t1,1550\n";

function files(): Record<string, string> {
  return { "/drivers.json": JSON.stringify(drivers), "/trips.csv": trips, "/charges.csv": charges };
}

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

Deno.test("new inputs: rows are added and updated by id, absent ones stay", async () => {
  await using db = await freshDatabase();
  await using web = serve(files());
  await db.pointAt(web.url);
  await db.load();

  web.files["/drivers.json"] = JSON.stringify([{ ...drivers[1], last_name: "Brown" }, {
    ...drivers[1],
    id: "d3",
    tlc_number: null,
  }]);
  const report = await db.load();

  assert.deepEqual(countsOf(report.feeds[0]), [2, 1, 1, 0, 0, 0]);
  assert.deepEqual(report.feeds.map((feed) => feed.status), ["changed", "unchanged", "unchanged"]);
  assert.deepEqual(await db.query("select id, tlc_number, last_name from public.drivers order by id"), [
    { id: "d1", tlc_number: "007", last_name: "Díaz" },
    { id: "d2", tlc_number: "5000002", last_name: "Brown" },
    { id: "d3", tlc_number: null, last_name: null },
  ]);
});

Deno.test("columns reordered, missing and extra: each finds its place, is left alone, or is named", async () => {
  await using db = await freshDatabase();
  await using web = serve(files());
  await db.pointAt(web.url);
  await db.load();

  web.files["/trips.csv"] = "mood,driver_id,base_fare,id\ngood,d1,99.5,t1\nbad,d2,,t3\n";
  web.files["/drivers.json"] = '[{"id": "d1", "first_name": "Anna", "shoe size": 38}]';
  const report = await db.load();

  assert.deepEqual(report.feeds.map((feed) => feed.ignored_columns), [["shoe size"], ["mood"], []]);
  assert.deepEqual(await db.query("select id, base_fare, gratuity from public.trips order by id"), [
    { id: "t1", base_fare: "99.5", gratuity: "3.00" },
    { id: "t2", base_fare: null, gratuity: null },
    { id: "t3", base_fare: null, gratuity: null },
  ]);
  assert.deepEqual(await db.query("select first_name, last_name from public.drivers where id = 'd1'"), [
    { first_name: "Anna", last_name: "Díaz" },
  ]);
});

Deno.test("a column that the feed does not carry takes its default on insert", async () => {
  await using db = await freshDatabase();
  await db.query("create table public.shifts (id int primary key, kind text not null default 'day', note text)");
  await using web = serve({ "/shifts": "id,note\n1,x\n" });
  await db.feed("shifts", { url: `${web.url}/shifts` });
  await db.loadOne("shifts");
  assert.deepEqual(await db.query("select * from public.shifts"), [{ id: 1, kind: "day", note: "x" }]);
});

Deno.test("the last record of a key wins, and the others are counted", async () => {
  await using db = await freshDatabase();
  await using web = serve({
    "/drivers.json":
      '[{"id":"d1","first_name":"A"},{"id":"d2"},{"id":"d1","first_name":"B"},{"id":"d1","first_name":"C"}]',
  });
  await db.pointAt(web.url);
  assert.deepEqual(countsOf(await db.loadOne("drivers")), [4, 2, 0, 0, 2, 0]);
  assert.deepEqual(await db.query("select first_name from public.drivers where id = 'd1'"), [{ first_name: "C" }]);
});

Deno.test("a record that says what the table has counts as unchanged; one before it, of the same key, as a duplicate", async (t) => {
  /** The second file; its counts: read, inserted, updated, unchanged, duplicate, rejected; the rate that d1 has then. */
  const cases: [name: string, body: string, counts: number[], rate: string][] = [
    ["it comes twice", "d1,1\nd1,1.00\n", [2, 0, 0, 2, 0, 0], "1.00"],
    ["it comes last", "d1,2\nd1,3\nd1,1\n", [3, 0, 0, 1, 2, 0], "1.00"],
    ["it comes last, and what it undoes breaks a rule", "d1,-2\nd1,1\n", [2, 0, 0, 1, 0, 1], "1.00"],
    ["it comes first", "d1,1\nd1,2\n", [2, 0, 1, 1, 0, 0], "2.00"],
    ["it comes between", "d1,2\nd1,1\nd1,3\n", [3, 0, 1, 1, 1, 0], "3.00"],
    ["its key is cut to the column's length", "d1,2\nd1  ,1\n", [2, 0, 0, 1, 1, 0], "1.00"],
    ["beside it comes a cell that is no value", "d1,2\nd1,x\nd1,1\n", [3, 0, 0, 1, 1, 1], "1.00"],
    ["beside it comes a record that cannot be read", "d1,2\nd1\nd1,1\n", [3, 0, 0, 1, 1, 1], "1.00"],
    ["a later record of a key is refused", "d2,1\nd1,2\nd1,-1\n", [3, 0, 1, 1, 0, 1], "2.00"],
  ];
  const asJson = (line: string) => line.replace(/^(.+),(.+)$/, '{"id":"$1","rate":"$2"}');
  for (const [name, body, counted, rate] of cases) {
    await t.step(name, async () => {
      await using db = await freshDatabase();
      await db.query("create table public.rates (id varchar(2) primary key, rate numeric(5,2) check (rate > 0))");
      await using web = serve({ "/rates": "id,rate\nd1,1\nd2,1\n" });
      await db.feed("rates", { url: `${web.url}/rates`, reject_limit: 1 });
      await db.loadOne("rates");
      web.files["/rates"] = body.replaceAll(/.+/g, asJson);
      const asNdjson = await db.load({ feeds: ["rates"], dryRun: true });
      assert.deepEqual(countsOf(asNdjson.feeds[0]), counted);
      web.files["/rates"] = `id,rate\n${body}`;
      assert.deepEqual(countsOf(await db.loadOne("rates")), counted);
      assert.deepEqual(await db.query("select id, rate from public.rates order by id"), [
        { id: "d1", rate },
        { id: "d2", rate: "1.00" },
      ]);
    });
  }
});

Deno.test("values arrive exact, and their types come from the table", async () => {
  await using db = await freshDatabase();
  await db.query(`create table public.exact (
    id text primary key, code text, number numeric, big bigint, at timestamptz, local timestamp, flag boolean, doc jsonb)`);
  const record = `{"id":"0042","code":1E5,"number":10000000000000000999.000000000000000005,"big":9007199254740993,
    "at":"2021-07-04T12:00:00","local":"2021-07-04 12:00","flag":true,"doc":{"a":[1.10,"\\u00e9"]}}`;
  await using web = serve({ "/exact": `[${record}]` });
  await db.feed("exact", { url: `${web.url}/exact`, time_zone: "America/New_York" });
  assert.deepEqual(countsOf(await db.loadOne("exact")), [1, 1, 0, 0, 0, 0]);
  const [row] = await db.query(
    "select id, code, number::text, big::text, at at time zone 'UTC' = '2021-07-04 16:00' as at, local::text, flag, doc::text from public.exact",
  );
  assert.deepEqual(row, {
    id: "0042",
    code: "1E5",
    number: "10000000000000000999.000000000000000005",
    big: "9007199254740993",
    at: true,
    local: "2021-07-04 12:00:00",
    flag: true,
    doc: '{"a": [1.10, "é"]}',
  });
});

Deno.test("a feed may spell its names differently, and two feeds may fill one table", async () => {
  await using db = await freshDatabase();
  await using web = serve({
    "/a": "Driver No;Given name\n007;Ana\n",
    "/b": '{"id":"008","first_name":"Bo"}\n{"id":"009","first_name":"Chidi"}\n',
  });
  await db.feed("partner a", {
    url: `${web.url}/a`,
    target: "public.drivers",
    columns: { "Driver No": "id", "Given name": "first_name" },
  });
  await db.feed("partner b", { url: `${web.url}/b`, target: "public.drivers" });
  const report = await db.load({ feeds: ["partner a", "partner b"] });
  assert.equal(report.status, "changed", JSON.stringify(report));
  assert.deepEqual(await db.query("select id, first_name from public.drivers order by id"), [
    { id: "007", first_name: "Ana" },
    { id: "008", first_name: "Bo" },
    { id: "009", first_name: "Chidi" },
  ]);
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

Deno.test("a new rule or column of the table is obeyed by the next run, though the feed has not changed", async () => {
  await using db = await freshDatabase();
  await using web = serve(files(), true);
  await db.pointAt(web.url);
  await db.load();
  await db.query("alter table public.drivers add column shoe_size int");
  web.files["/drivers.json"] = JSON.stringify(drivers.map((driver) => ({ ...driver, shoe_size: 38 })));
  await db.load();
  await db.query("alter table public.drivers add column nickname text");
  assert.equal((await db.loadOne("drivers")).status, "unchanged");
  assert.equal(web.log.at(-1), "GET /drivers.json 200", "the validators do not count after the change");
  await db.loadOne("drivers");
  assert.equal(web.log.at(-1), "GET /drivers.json 304", "and count again after it");
});

Deno.test("two runs at once: one runs, the other says so", async () => {
  await using db = await freshDatabase();
  const { promise: arrived, resolve: arrive } = Promise.withResolvers<void>();
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  await using web = serve({
    "/drivers.json": async () => {
      arrive();
      await released;
      return new Response("[]");
    },
  });
  await db.pointAt(web.url);
  const one = db.loadOne("drivers", { patience: { stallMs: 30_000, retryMs: [] } });
  await arrived;
  await assert.rejects(db.load(), { code: "busy", message: "another run is under way" });
  release();
  assert.equal((await one).status, "unchanged");
});

/** A feed whose server sends what it is told to, without validators. */
async function bareFeed() {
  let bodies: string[] = [], gets = 0, chunked = false;
  const given = await databaseAndWeb("create table public.things (id text primary key, name text)", {
    "/things": () => {
      gets++;
      const body = bodies.length > 1 ? bodies.shift()! : bodies[0];
      return new Response(chunked ? new Blob([body]).stream() : body);
    },
  });
  const { db, web } = given;
  // A sequence keeps its value where a transaction is rolled back.
  await db.admin(`
    create sequence public.stagings;
    create function public.count_staging() returns event_trigger language plpgsql security definer as $$
    begin
      perform nextval('public.stagings') from pg_event_trigger_ddl_commands() where object_identity like '%etl_staging';
    end $$;
    create event trigger count_staging on ddl_command_end execute function public.count_staging();`);
  await db.feed("things", { url: `${web.url}/things` });
  return {
    ...given,
    /** A run while the server answers with these, the last of them again and again. */
    run: async (answers: string[], options: { force?: boolean; chunked?: boolean } = {}) => {
      [bodies, gets, chunked] = [answers, 0, options.chunked ?? false];
      await db.admin("select setval('public.stagings', 1, false)");
      const report = await db.loadOne("things", { force: options.force ?? false });
      assert.equal(report.error, null);
      const [{ stagings }] = await db.admin(
        "select case when is_called then last_value::int else 0 end as stagings from public.stagings",
      );
      const rows = await db.query("select concat(id, name) as row from public.things order by id");
      const [{ content_hash: hash, content_length: length }] = await db.query(
        "select content_hash, content_length from etl.feed_state where feed = 'things'",
      );
      const { status, bytes } = report;
      return {
        status,
        bytes,
        counts: countsOf(report),
        gets,
        stagings,
        rows: rows.map(({ row }) => row),
        hash,
        length,
      };
    },
  };
}

const one = "id,name\n1,a\n2,b\n", two = "id,name\n1,a\n2,c\n", three = "id,name\n1,a\n2,d\n", longer = one + "3,e\n";
const none = [0, 0, 0, 0, 0, 0];

Deno.test("a body as long as the last one is hashed first, and staged only if it differs", async (t) => {
  await using at = await bareFeed();
  const first = await at.run([one]);
  assert.deepEqual([first.gets, first.stagings, first.counts, first.rows], [1, 1, [2, 2, 0, 0, 0, 0], ["1a", "2b"]]);
  assert.equal(first.length, String(one.length));

  await t.step("the same content: asked for once, nothing staged, no counts", async () => {
    const before = await snapshot(at.db);
    const again = await at.run([one]);
    const { gets, stagings, status, bytes, counts } = again;
    assert.deepEqual([gets, stagings, status, bytes, counts], [1, 0, "unchanged", one.length, none]);
    const { "public.stagings": _, ...after } = await snapshot(at.db);
    const { "public.stagings": __, ...rest } = before;
    assert.deepEqual(after, rest);
  });
  await t.step("forced: staged and compared", async () => {
    const { gets, stagings, status, counts } = await at.run([one], { force: true });
    assert.deepEqual([gets, stagings, status, counts], [1, 1, "unchanged", [2, 0, 0, 2, 0, 0]]);
  });
  await t.step("other content: asked for again, and loaded", async () => {
    const { gets, stagings, status, bytes, counts, rows, hash } = await at.run([two]);
    assert.deepEqual([gets, stagings, status, bytes, counts], [2, 1, "changed", two.length, [2, 0, 1, 1, 0, 0]]);
    assert.deepEqual(rows, ["1a", "2c"]);
    assert.notEqual(hash, first.hash);
  });
  await t.step("it changes between the two requests: the second counts, and is what is remembered", async () => {
    const { gets, counts, rows } = await at.run([three, longer]);
    assert.deepEqual([gets, counts, rows], [2, [3, 1, 1, 1, 0, 0], ["1a", "2b", "3e"]]);
    const again = await at.run([longer]);
    assert.deepEqual([again.gets, again.stagings, again.length], [1, 0, String(longer.length)]);
  });
  await t.step("it changes back between the two requests: staged, and unchanged by its hash", async () => {
    const other = longer.replace("3,e", "3,f");
    const { gets, stagings, status, counts, rows } = await at.run([other, longer]);
    assert.deepEqual([gets, stagings, status, counts, rows], [2, 1, "unchanged", none, ["1a", "2b", "3e"]]);
  });
  await t.step("another length: staged at once", async () => {
    const { gets, stagings, status } = await at.run([one]);
    assert.deepEqual([gets, stagings, status], [1, 1, "unchanged"], "its rows are there already");
  });
});

Deno.test("a body of unknown length is staged, and unchanged by its hash", async () => {
  await using at = await bareFeed();
  const first = await at.run([one], { chunked: true });
  assert.deepEqual([first.counts, first.length], [[2, 2, 0, 0, 0, 0], null]);
  const before = await at.db.query("select xmin, ctid, * from public.things");
  const { gets, stagings, status, counts } = await at.run([one], { chunked: true });
  assert.deepEqual([gets, stagings, status, counts], [1, 1, "unchanged", none]);
  assert.deepEqual(await at.db.query("select xmin, ctid, * from public.things"), before);
  const other = await at.run([two], { chunked: true });
  assert.deepEqual([other.gets, other.counts], [1, [2, 0, 1, 1, 0, 0]]);
});
