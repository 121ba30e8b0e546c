/** What a record becomes: a new row, a changed one, or nothing; and how each value arrives. */
import assert from "node:assert/strict";
import { countsOf } from "../support/counts.ts";
import { freshDatabase } from "../support/database.ts";
import { serve } from "../support/web.ts";
import { drivers, files } from "../support/partners.ts";

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
