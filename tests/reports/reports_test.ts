/** The two reports, against what JavaScript counts in the feeds, and at their edges. */
import assert from "node:assert/strict";
import { parse } from "csv-parse/sync";
import { sampleFeeds } from "../../lib/local/samples.ts";
import { type Database, freshDatabase } from "../support/database.ts";
import { sampleDatabase } from "../support/samples.ts";

const asOf = Date.parse("2021-07-11T00:00:00Z");
const twoWeeks = 14 * 24 * 3600 * 1000;

async function withTrips(db: Database, trips: Record<string, (string | null)[]>): Promise<void> {
  for (const [driver, dropoffs] of Object.entries(trips)) {
    await db.query("insert into public.drivers (id) values ($1)", [driver]);
    for (const [i, dropoff] of dropoffs.entries()) {
      await db.query(
        "insert into public.trips (id, driver_id, request_timestamp, dropoff_timestamp) values ($1, $2, '2021-01-01Z', $3)",
        [`${driver} ${i}`, driver, dropoff],
      );
    }
  }
}

async function ids(db: Database, sql: string): Promise<string[]> {
  return (await db.query(`select id from ${sql} order by id`)).map((row) => row.id);
}

Deno.test("both reports on the sample feeds agree with a count in JavaScript", async () => {
  await using db = await sampleDatabase();
  const feeds = sampleFeeds();
  const trips: Record<string, string>[] = parse(feeds["trips.csv"], { columns: true });
  const charges: Record<string, string>[] = parse(feeds["charges.csv"], { columns: true });
  const charged = new Set(charges.map((charge) => charge.trip_id));
  const completed = trips.filter((trip) => trip.dropoff_timestamp !== "");

  const dropped = completed.filter((trip) => !charged.has(trip.id)).map((trip) => trip.id).sort();
  assert.ok(dropped.length > 0);
  assert.deepEqual(await ids(db, "public.trips_without_charges()"), dropped);

  const latest: Record<string, number> = {};
  for (const { driver_id, dropoff_timestamp } of completed) {
    const at = Date.parse(dropoff_timestamp);
    if (at <= asOf) latest[driver_id] = Math.max(latest[driver_id] ?? 0, at);
  }
  const churned = Object.keys(latest).filter((driver) => latest[driver] < asOf - twoWeeks).sort();
  assert.ok(churned.length > 0);
  assert.deepEqual(await ids(db, "public.churned_drivers('2021-07-11Z')"), churned);
});

Deno.test("churned drivers: the edges of the window", async () => {
  await using db = await freshDatabase();
  await withTrips(db, {
    "never drove": [],
    "only cancelled": [null],
    "exactly two weeks ago": ["2021-06-27 00:00:00Z"],
    "a microsecond longer ago": ["2021-06-26 23:59:59.999999Z"],
    "exactly at as_of": ["2021-06-01Z", "2021-07-11Z"],
    "only after as_of": ["2021-07-11 00:00:00.000001Z"],
    "before, and after as_of": ["2021-06-01Z", "2021-08-01Z"],
    "before, and cancelled since": ["2021-06-01Z", null],
    "long ago and yesterday": ["2020-01-01Z", "2021-07-10Z"],
  });
  assert.deepEqual(await ids(db, "public.churned_drivers('2021-07-11Z')"), [
    "a microsecond longer ago",
    "before, and after as_of",
    "before, and cancelled since",
  ]);
  assert.deepEqual(await ids(db, "public.churned_drivers('2021-07-11Z', '1 day')"), [
    "a microsecond longer ago",
    "before, and after as_of",
    "before, and cancelled since",
    "exactly two weeks ago",
  ]);
  assert.equal((await ids(db, "public.churned_drivers()")).length, 7, "by default as of now: all who ever drove");
  const [row] = await db.query(
    "select id, last_dropoff_timestamp from public.churned_drivers('2021-07-11Z') where id like 'a micro%'",
  );
  assert.equal(row.last_dropoff_timestamp.toISOString(), "2021-06-26T23:59:59.999Z");
});

Deno.test("trips without charges: cancelled, charged twice, and the bounds of the period", async () => {
  await using db = await freshDatabase();
  await withTrips(db, { d: ["2021-07-01Z", "2021-07-02Z", "2021-07-03Z", null] });
  await db.query("insert into public.charges values ('c1', 'd 1', 100), ('c2', 'd 1', -100)");
  assert.deepEqual(await ids(db, "public.trips_without_charges()"), ["d 0", "d 2"]);
  assert.deepEqual(await ids(db, "public.trips_without_charges('2021-07-01Z', '2021-07-03Z')"), ["d 0"]);
});

Deno.test("both reports can be answered from an index", async () => {
  await using db = await freshDatabase();
  await db.query("insert into public.drivers select 'd' || n from generate_series(1, 1000) n");
  await db.query(
    "insert into public.trips select 't' || n, 'd' || n % 1000 + 1, null, null, timestamptz '2021-01-01Z' + n * interval '1 minute', 1, 1 from generate_series(1, 50000) n",
  );
  await db.query("insert into public.charges select 'c' || n, 't' || n, 1 from generate_series(1, 49990) n");
  await db.query("analyze");
  const plan = async (sql: string) => JSON.stringify(await db.query(`explain (format json) ${sql}`));
  const churned = await plan(`select * from public.drivers d cross join lateral (
    select max(t.dropoff_timestamp) as at from public.trips t where t.driver_id = d.id and t.dropoff_timestamp <= now()) l`);
  assert.match(churned, /trips_driver_id_dropoff_timestamp_idx/);
  const day = await plan(
    "select from public.trips t where t.dropoff_timestamp between '2021-01-08Z' and '2021-01-09Z'",
  );
  assert.match(day, /trips_dropoff_timestamp_idx/);
  const one = await plan("select from public.charges c where c.trip_id = 't1'");
  assert.match(one, /charges_trip_id_idx/);
});

Deno.test("what is asked by RPC has PostgREST give it more than the eight seconds of a signed-in user", async () => {
  await using db = await freshDatabase();
  const settings = await db.query(`
    select proname as report, substring(array_to_string(proconfig, ' ') from 'statement_timeout=(\\S+)') as may_take
    from pg_proc where pronamespace = 'public'::regnamespace order by 1`);
  assert.ok(settings.length > 10);
  // An undo has all that a run had to write.
  assert.deepEqual(
    settings.filter(({ may_take }) => may_take !== "30s").map(Object.values),
    [["undo_run", "60s"]],
  );
});
