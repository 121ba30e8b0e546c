/** A transit feed: tables made by a migration, rows in etl.feeds, no code. */
import assert from "node:assert/strict";
import { parse } from "csv-parse/sync";
import { type Database, freshDatabase } from "../support/database.ts";
import { sampleGtfsFeed } from "../support/packages.ts";
import { snapshot } from "../support/snapshot.ts";
import { serve, type Web } from "../support/web.ts";

/** A table for each file, parents first. */
const migration = `
  create schema gtfs;
  create table gtfs.agency (
    agency_id text primary key, agency_name text not null, agency_url text, agency_timezone text, agency_lang text,
    agency_phone text, agency_fare_url text, agency_email text
  );
  create table gtfs.calendar (
    service_id text primary key, monday boolean, tuesday boolean, wednesday boolean, thursday boolean, friday boolean,
    saturday boolean, sunday boolean, start_date date, end_date date, check (start_date <= end_date)
  );
  create table gtfs.calendar_dates (
    service_id text references gtfs.calendar, date date, exception_type smallint not null, primary key (service_id, date)
  );
  create table gtfs.levels (level_id text primary key, level_index numeric not null, level_name text);
  create table gtfs.routes (
    route_id text primary key, agency_id text references gtfs.agency, route_short_name text, route_long_name text,
    route_desc text, route_type smallint not null, route_url text, route_color char(6), route_text_color char(6),
    route_sort_order int check (route_sort_order >= 0)
  );
  create table gtfs.stops (
    stop_id text primary key, stop_code text, stop_name text, stop_desc text, stop_lat numeric not null,
    stop_lon numeric not null, stop_url text, location_type smallint, parent_station text references gtfs.stops,
    stop_timezone text, wheelchair_boarding smallint, level_id text references gtfs.levels, platform_code text
  );
  create table gtfs.shapes (
    shape_id text, shape_pt_lat double precision, shape_pt_lon double precision, shape_pt_sequence int,
    shape_dist_traveled numeric, primary key (shape_id, shape_pt_sequence)
  );
  create table gtfs.trips (
    route_id text not null references gtfs.routes, service_id text not null references gtfs.calendar,
    trip_id text primary key, trip_headsign text, direction_id smallint, shape_id text,
    wheelchair_accessible smallint, bikes_allowed smallint, trip_short_name text
  );
  create table gtfs.stop_times (
    trip_id text references gtfs.trips, arrival_time interval, departure_time interval,
    stop_id text not null references gtfs.stops, stop_sequence int, pickup_type smallint, drop_off_type smallint,
    timepoint smallint, primary key (trip_id, stop_sequence)
  );
  create table gtfs.frequencies (
    trip_id text references gtfs.trips, start_time interval, end_time interval not null, headway_secs int not null,
    exact_times smallint, primary key (trip_id, start_time), check (start_time < end_time)
  );
  create table gtfs.transfers (
    from_stop_id text references gtfs.stops, to_stop_id text references gtfs.stops, transfer_type smallint not null,
    primary key (from_stop_id, to_stop_id)
  );
  create table gtfs.pathways (
    pathway_id text primary key, from_stop_id text not null references gtfs.stops,
    to_stop_id text not null references gtfs.stops, pathway_mode smallint not null, is_bidirectional boolean not null,
    signposted_as text, reversed_signposted_as text, length numeric, traversal_time int, max_slope numeric,
    min_width numeric
  );`;
const files = [...migration.matchAll(/create table gtfs\.(\w+)/g)].map(([, name]) => name);

/** Left out of calendar.txt, so that what names them are orphans. */
const leftOut = ["all-day", "on-working-days"];

type Records = Record<string, string>[];

async function readFeed(): Promise<Record<string, string>> {
  const read = await Promise.all(files.map((name) => Deno.readTextFile(new URL(`gtfs/${name}.txt`, sampleGtfsFeed))));
  const feed = Object.fromEntries(files.map((name, i) => [name, read[i].trimEnd()]));
  // Platforms before their station.
  const [header, ...stops] = feed.stops.split("\n");
  feed.stops = [header, ...stops.reverse()].join("\n");
  // Line ends as many agencies send them.
  return Object.fromEntries(files.map((name) => [name, feed[name].replaceAll("\n", "\r\n") + "\r\n"]));
}

const recordsOf = (text: string): Records => parse(text, { columns: true });

function withoutServices(feed: Record<string, string>): Record<string, string> {
  const lines = feed.calendar.split("\r\n").filter((line) => !leftOut.includes(line.split(",")[0]));
  return { ...feed, calendar: lines.join("\r\n") };
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

async function install(db: Database, web: Web, feed: Record<string, string>): Promise<void> {
  await db.query(migration);
  for (const name of files) {
    web.files[`/${name}.txt`] = feed[name];
    await db.feed(name === "trips" ? "gtfs trips" : name, { url: `${web.url}/${name}.txt`, target: `gtfs.${name}` });
  }
  await db.query("update etl.feeds set enabled = target like 'gtfs.%'");
}

Deno.test("GTFS: twelve tables load from rows in etl.feeds, and the second run changes nothing", async () => {
  assert.equal(files.length, 12);
  const feed = await readFeed();
  await using db = await freshDatabase();
  await using web = serve({});
  await install(db, web, feed);

  const first = await db.load();

  assert.equal(first.status, "changed", JSON.stringify(first.feeds.map((report) => report.error)));
  const order = first.feeds.map((report) => report.feed);
  for (
    const [parent, child] of [
      ...[["agency", "routes"], ["calendar", "gtfs trips"], ["gtfs trips", "stop_times"], ["stops", "stop_times"]],
      ...[["levels", "stops"], ["gtfs trips", "frequencies"], ["stops", "pathways"]],
    ]
  ) {
    assert.ok(order.indexOf(parent) < order.indexOf(child), `${parent} before ${child}`);
  }
  for (const report of first.feeds) {
    const name = report.feed.replace("gtfs ", "");
    const records = recordsOf(feed[name]).length;
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
  const within = recordsOf(feed.stops).filter((row) => row.parent_station);
  assert.ok(within.length > 0);
  const stations = await db.query("select stop_id, parent_station from gtfs.stops where parent_station is not null");
  assert.deepEqual(
    new Map(stations.map((row) => [row.stop_id, row.parent_station])),
    new Map(within.toReversed().map((row) => [row.stop_id, row.parent_station])),
  );

  const before = await snapshot(db);
  assert.equal((await db.load()).status, "unchanged");
  assert.equal((await db.load({ force: true })).status, "unchanged");
  assert.deepEqual(await snapshot(db), before);
});

Deno.test("GTFS: orphans are rejected, their children too, and load when the parent arrives", async () => {
  const whole = await readFeed();
  const feed = withoutServices(whole);
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
    frequencies: orphans(recordsOf(feed.frequencies), "trip_id", "frequencies_trip_id_fkey", loaded),
  };
  assert.deepEqual(Object.values(expected).map(({ length }) => length), [15, 6, 18, 2]);

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

  web.files["/calendar.txt"] = whole.calendar;
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
