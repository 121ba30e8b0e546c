/** A real transit feed: tables made by a migration, rows in etl.feeds, no code. */
import assert from "node:assert/strict";
import { parse } from "csv-parse/sync";
import { type Database, freshDatabase, serve, sharedData, snapshot, type Web } from "../support/harness.ts";

const { directory, ignore } = sharedData("gtfs-caltrain");
const files = ["agency", "calendar", "calendar_dates", "routes", "stops", "shapes", "trips", "stop_times"];

const migration = `
  create schema gtfs;
  create table gtfs.agency (
    agency_id text primary key, agency_name text not null, agency_url text, agency_timezone text, agency_lang text,
    agency_phone text, agency_fare_url text
  );
  create table gtfs.calendar (
    service_id text primary key, monday boolean, tuesday boolean, wednesday boolean, thursday boolean, friday boolean,
    saturday boolean, sunday boolean, start_date date, end_date date, check (start_date <= end_date)
  );
  create table gtfs.calendar_dates (
    service_id text references gtfs.calendar, date date, exception_type smallint not null, primary key (service_id, date)
  );
  create table gtfs.routes (
    route_id text primary key, agency_id text references gtfs.agency, route_short_name text, route_long_name text,
    route_desc text, route_type smallint not null, route_url text, route_color char(6), route_text_color char(6)
  );
  create table gtfs.stops (
    stop_id text primary key, stop_code text, stop_name text, stop_desc text, stop_lat numeric not null,
    stop_lon numeric not null, zone_id text, stop_url text, location_type smallint,
    parent_station text references gtfs.stops, stop_timezone text, wheelchair_boarding smallint
  );
  create table gtfs.shapes (
    shape_id text, shape_pt_lat double precision, shape_pt_lon double precision, shape_pt_sequence int,
    shape_dist_traveled numeric, primary key (shape_id, shape_pt_sequence)
  );
  create table gtfs.trips (
    route_id text not null references gtfs.routes, service_id text not null references gtfs.calendar,
    trip_id text primary key, trip_headsign text, direction_id smallint, block_id text, shape_id text,
    wheelchair_accessible smallint, bikes_allowed smallint, trip_short_name text
  );
  create table gtfs.stop_times (
    trip_id text references gtfs.trips, arrival_time interval, departure_time interval,
    stop_id text not null references gtfs.stops, stop_sequence int, stop_headsign text, pickup_type smallint,
    drop_off_type smallint, shape_dist_traveled numeric, timepoint smallint, primary key (trip_id, stop_sequence)
  );`;

type Records = Record<string, string>[];

async function readFeed(): Promise<Record<string, string>> {
  const read = await Promise.all(files.map((name) => Deno.readTextFile(new URL(`${name}.txt`, directory))));
  return Object.fromEntries(files.map((name, i) => [name, read[i]]));
}

const recordsOf = (text: string): Records => parse(text, { columns: true });

/** The services that trips and calendar_dates name and calendar.txt lacks: real orphans of this feed. */
function missingServices(feed: Record<string, string>): string[] {
  const known = new Set(recordsOf(feed.calendar).map((row) => row.service_id));
  const named = recordsOf(feed.trips).concat(recordsOf(feed.calendar_dates)).map((row) => row.service_id);
  return [...new Set(named)].filter((id) => !known.has(id));
}

/** The rejects that the records should become whose parent is missing. */
function orphans(records: Records, column: string, constraint: string, parents: Set<string>) {
  return records
    .map((row, i) => ({
      number: i + 1,
      column_name: column,
      value: row[column],
      constraint_name: constraint,
      sqlstate: "23503",
    }))
    .filter(({ value }) => !parents.has(value));
}

function completed(feed: Record<string, string>): string {
  return feed.calendar.trimEnd() +
    missingServices(feed).map((id) => `\r\n${id},0,0,0,0,0,0,0,20171002,20191004`).join("") + "\r\n";
}

async function install(db: Database, web: Web, feed: Record<string, string>): Promise<void> {
  await db.query(migration);
  for (const name of files) {
    web.files[`/${name}.txt`] = feed[name];
    await db.feed(name === "trips" ? "gtfs trips" : name, { url: `${web.url}/${name}.txt`, target: `gtfs.${name}` });
  }
  await db.query("update etl.feeds set enabled = target like 'gtfs.%'");
}

Deno.test(
  { name: "GTFS: eight tables load from rows in etl.feeds, and the second run changes nothing", ignore },
  async () => {
    const feed = await readFeed();
    await using db = await freshDatabase();
    await using web = serve({});
    await install(db, web, { ...feed, calendar: completed(feed) });

    const first = await db.load();

    assert.equal(first.status, "changed", JSON.stringify(first.feeds.map((report) => report.error)));
    const order = first.feeds.map((report) => report.feed);
    for (
      const [parent, child] of [["agency", "routes"], ["calendar", "gtfs trips"], ["gtfs trips", "stop_times"], [
        "stops",
        "stop_times",
      ]]
    ) {
      assert.ok(order.indexOf(parent) < order.indexOf(child), `${parent} before ${child}`);
    }
    for (const report of first.feeds) {
      const name = report.feed.replace("gtfs ", "");
      const records = recordsOf(name === "calendar" ? completed(feed) : feed[name]).length;
      assert.deepEqual([report.read, report.inserted, report.rejected], [records, records, 0], name);
      const [{ rows }] = await db.query(`select count(*)::int as rows from gtfs.${name}`);
      assert.equal(rows, records);
    }
    const late = recordsOf(feed.stop_times).filter((row) => row.arrival_time >= "24");
    assert.ok(late.length > 0);
    const [{ after_midnight }] = await db.query(
      "select count(*)::int as after_midnight from gtfs.stop_times where arrival_time >= '24:00'",
    );
    assert.equal(after_midnight, late.length, "times after 24:00 are legal GTFS");

    const before = await snapshot(db);
    assert.equal((await db.load()).status, "unchanged");
    assert.equal((await db.load({ force: true })).status, "unchanged");
    assert.deepEqual(await snapshot(db), before);
  },
);

Deno.test({ name: "GTFS: real orphans are put aside, and heal when their parent arrives", ignore }, async () => {
  const feed = await readFeed();
  await using db = await freshDatabase();
  await using web = serve({}, true);
  await install(db, web, feed);
  await db.query("update etl.feeds set reject_limit = 1");
  const services = new Set(recordsOf(feed.calendar).map((row) => row.service_id));
  const trips = recordsOf(feed.trips);
  const loaded = new Set(trips.filter((row) => services.has(row.service_id)).map((row) => row.trip_id));
  const expected = {
    calendar_dates: orphans(recordsOf(feed.calendar_dates), "service_id", "calendar_dates_service_id_fkey", services),
    "gtfs trips": orphans(trips, "service_id", "trips_service_id_fkey", services),
    stop_times: orphans(recordsOf(feed.stop_times), "trip_id", "stop_times_trip_id_fkey", loaded),
  };
  assert.deepEqual([expected["gtfs trips"].length, expected.calendar_dates.length], [43, 24]);

  const first = await db.load();
  for (const { feed, read, inserted, rejected } of first.feeds) {
    const rejects = await db.query(
      `select record_number::int as number, column_name, value, constraint_name, sqlstate
      from etl.rejects where feed = $1 order by 1`,
      [feed],
    );
    assert.deepEqual(rejects, expected[feed as keyof typeof expected] ?? [], feed);
    assert.deepEqual([rejected, inserted], [rejects.length, read - rejects.length], feed);
  }
  const before = await snapshot(db);
  assert.equal((await db.load()).status, "unchanged", "open rejects are not rewritten");
  assert.deepEqual(await snapshot(db), before);

  web.files["/calendar.txt"] = completed(feed);
  const healing = await db.load();
  for (const [name, rejects] of Object.entries(expected)) {
    assert.equal(healing.feeds.find((report) => report.feed === name)!.inserted, rejects.length, name);
  }
  assert.deepEqual(await db.query("select * from etl.rejects"), []);
  const [{ rows }] = await db.query("select count(*)::int as rows from gtfs.stop_times");
  assert.equal(rows, recordsOf(feed.stop_times).length);
  const healed = await snapshot(db);
  assert.equal((await db.load()).status, "unchanged");
  assert.deepEqual(await snapshot(db), healed);
});
