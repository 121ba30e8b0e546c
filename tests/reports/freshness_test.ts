/** What the reports say of their own data: whose fault a missing charge is, and how fresh each feed is. */
import assert from "node:assert/strict";
import { type Database, freshDatabase } from "../support/database.ts";
import { databaseAndWeb } from "../support/given.ts";
import { rowsRead } from "../support/rows_read.ts";

const flagged = async (db: Database): Promise<Record<string, boolean>> =>
  Object.fromEntries(
    (await db.query("select id, charge_rejected from public.trips_without_charges()")).map(Object.values),
  );

const drivers = '[{"id":"d1"}]';
const trips = "id,driver_id,dropoff_timestamp\nt1,d1,2021-07-01Z\nt2,d1,2021-07-02Z\nt3,d1,2021-07-03Z\n";

/** t1 has its charge, that of t2 is no good, and t3 has none. */
const charges: Record<string, [file: string, columns?: Record<string, string>]> = {
  "under the table's own name": ["id,trip_id,amount_cents\nc1,t1,1\nc2,t2,x\n"],
  "under the partner's name": ["Charge,Ride No,amount_cents\nc1,t1,1\nc2,t2,x\n", {
    Charge: "id",
    "Ride No": "trip_id",
  }],
  "under a name with blanks around it": ["id, trip_id ,amount_cents\nc1,t1,1\nc2,t2,x\n"],
  "in JSON, beside what is no object": [
    '[{"id":"c1","trip_id":"t1","amount_cents":1},{"id":"c2","trip_id":"t2","amount_cents":"x"},7]',
  ],
  "beside a record that cannot be split": ['id,trip_id,amount_cents\nc1,t1,1\nc2,t2,x\n"c3"3,t3,1\n'],
  "beside a trip that nobody knows, and none": ["id,trip_id,amount_cents\nc1,t1,1\nc2,t2,x\nc3,t9,1\nc4,,1\n"],
};

Deno.test("charge_rejected: a charge for the trip came, and is among the rejects", async (t) => {
  for (const [what, [file, columns = {}]] of Object.entries(charges)) {
    await t.step(what, async () => {
      await using given = await databaseAndWeb();
      const { db, web } = given;
      Object.assign(web.files, { "/drivers.json": drivers, "/trips.csv": trips, "/charges.csv": file });
      await db.pointAt(web.url);
      await db.query("update etl.feeds set reject_limit = 1, format = null, columns = $1 where name = 'charges'", [
        columns,
      ]);
      const { feeds } = await db.load();
      assert.deepEqual(feeds.map(({ error }) => error), [null, null, null]);
      assert.deepEqual(await flagged(db), { t2: true, t3: false });
      web.files["/charges.csv"] = file.replace(/\b(x|"x")/, "2");
      await db.load();
      assert.deepEqual(await flagged(db), { t3: false });
    });
  }
});

/** A charge that is rejected, of a trip that its feed spells so. */
async function reject(db: Database, feed: string, trip: string): Promise<void> {
  await db.query(
    `insert into etl.rejects (feed, record_number, record, reason, sqlstate, first_run, last_run)
    select $1, 1 + (select count(*) from etl.rejects), jsonb_build_object('id', 'c', 'trip_id', $2::text),
      'is no bigint', '22P02', gen_random_uuid(), gen_random_uuid()`,
    [feed, trip],
  );
}

Deno.test("charge_rejected: a key counts by its value, and rejects of other feeds do not", async () => {
  await using db = await freshDatabase();
  await db.query(`
    alter table public.charges drop constraint charges_trip_id_fkey;
    alter table public.charges alter column trip_id type int using trip_id::int;
    alter table public.trips alter column id type int using id::int;
    insert into public.drivers (id) values ('d');
    insert into public.trips (id, driver_id, dropoff_timestamp) select n, 'd', '2021-07-01Z' from generate_series(1, 4) n`);
  await reject(db, "charges", "007");
  await reject(db, "charges", " 2 ");
  await reject(db, "charges", "four");
  await reject(db, "trips", "3");
  // The function's types are those of when it was made.
  const [{ source }] = await db.query("select pg_get_functiondef('public.trips_without_charges'::regproc) as source");
  await db.query("drop function public.trips_without_charges");
  await db.query(source.replace("TABLE(id text", "TABLE(id integer"));
  assert.deepEqual(await flagged(db), { 1: false, 2: true, 3: false, 4: false });
  await db.feed("refunds", { url: "http://127.0.0.1/refunds.csv", target: "public.charges" });
  await reject(db, "refunds", "3");
  assert.deepEqual(await flagged(db), { 1: false, 2: true, 3: true, 4: false });
});

Deno.test("charge_rejected: the rejects are read once, however many trips there are, and whatever is thought of them", async () => {
  await using db = await freshDatabase();
  await db.query(`
    insert into public.drivers (id) values ('d');
    insert into public.trips (id, driver_id, dropoff_timestamp)
      select 't' || n, 'd', timestamptz '2021-01-01Z' + n * interval '1 minute' from generate_series(1, 20000) n;
    insert into public.charges select 'c' || n, 't' || n, 1 from generate_series(1, 10) n;
    insert into etl.rejects (feed, record_number, record, reason, sqlstate, first_run, last_run)
      select 'charges', n, jsonb_build_object('id', 'c' || n, 'trip_id', 't' || n), 'is no bigint', '22P02', run, run
      from generate_series(11, 1010) n, (select gen_random_uuid() as run) r`);
  for (const analyzed of [false, true]) {
    if (analyzed) await db.query("analyze");
    const read = await rowsRead(db, "etl.rejects", "select * from public.trips_without_charges()");
    assert.ok(read >= 1000 && read <= 2000, `${read} rows of 1000`);
  }
  const found = Object.values(await flagged(db));
  assert.deepEqual([found.length, found.filter(Boolean).length], [19990, 1000]);
});

Deno.test("report_freshness: a row for each feed of the three tables, with what is wrong since when", async (t) => {
  await using given = await databaseAndWeb("create table public.others (id text primary key)", {
    "/drivers.json": drivers,
    "/trips.csv": trips,
    "/charges.csv": "id,trip_id,amount_cents\nc1,t1,1\nc2,t2,x\n",
    "/others.csv": "id\n1\n",
  });
  const { db, web } = given;
  await db.feed("others", { url: `${web.url}/others.csv` });
  await db.query("update etl.feeds set reject_limit = 0.5");
  await db.pointAt(web.url);
  await db.load();
  const fresh = async () =>
    Object.fromEntries(
      (await db.query("select * from public.report_freshness()")).map(({ feed, ...row }) => [feed, row]),
    );
  const at = async (feed: string, status: string) =>
    (await db.query("select min(finished_at) as at from etl.runs where feed = $1 and status = $2", [feed, status]))[0]
      .at;

  await t.step("all is well, and one charge waits", async () => {
    const { charges, drivers, trips, ...others } = await fresh();
    assert.deepEqual(others, {});
    assert.deepEqual(
      [charges, drivers, trips].map(({ verdict, since, open_rejects }) => [verdict, since, open_rejects]),
      [
        ["ok", null, "1"],
        ["ok", null, "0"],
        ["ok", null, "0"],
      ],
    );
    assert.deepEqual(charges.last_change, await at("charges", "changed"));
  });
  await t.step("failing since its first failure", async () => {
    const charged = web.files["/charges.csv"];
    delete web.files["/charges.csv"];
    await db.load();
    await db.load();
    const { charges } = await fresh();
    assert.deepEqual([charges.verdict, charges.since], ["failing", await at("charges", "failed")]);
    assert.match(charges.message, /^Cannot load charges: .*charges\.csv answered 404/);
    web.files["/charges.csv"] = charged;
  });
  await t.step("stale since its last change", async () => {
    await db.query(`
      update etl.feeds set fresh_within = '1 day' where name = 'trips';
      update etl.runs set finished_at = finished_at - interval '3 days' where feed = 'trips'`);
    const { trips } = await fresh();
    assert.deepEqual([trips.verdict, trips.since, trips.last_change], [
      "stale",
      ...Array(2).fill(await at("trips", "changed")),
    ]);
  });
  await t.step("disabled, which health does not show", async () => {
    await db.query("update etl.feeds set enabled = false where name = 'charges'");
    const { charges } = await fresh();
    assert.deepEqual([charges.verdict, charges.open_rejects, charges.last_change], [
      "disabled",
      "1",
      await at("charges", "changed"),
    ]);
    assert.match(charges.message, /etl\.feeds\.enabled is false/);
  });
  await t.step("a feed of the reports by its table, whatever its name", async () => {
    await db.feed("more", { url: `${web.url}/more.csv`, target: 'public."trips"' });
    await db.feed("nowhere", { url: `${web.url}/more.csv`, target: "public.no such table" });
    assert.deepEqual(
      (await db.query("select feed, target from public.report_freshness()")).map(({ feed, target }) => [feed, target]),
      [
        ["charges", "public.charges"],
        ["drivers", "public.drivers"],
        ["more", "public.trips"],
        ["trips", "public.trips"],
      ],
    );
  });
});

Deno.test("what the owner's rights read for the reports is for staff, though somebody reached it", async () => {
  await using db = await freshDatabase();
  await reject(db, "charges", "t1");
  const id = "00000000-0000-4000-8000-00000000000a";
  await db.query("insert into etl.staff (user_id) values ($1)", [id]);
  const seen = async () => [
    (await db.admin("select from etl.freshness()")).length,
    (await db.admin("select from etl.trips_of_rejected_charges()")).length,
  ];
  await db.admin("set role authenticated");
  assert.deepEqual(await seen(), [0, 0]);
  await db.admin("select set_config('request.jwt.claims', $1, false)", [JSON.stringify({ sub: id })]);
  assert.deepEqual(await seen(), [3, 1]);
});
