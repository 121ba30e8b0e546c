/** The group "reports": how long the two reports take, beside the same by hand, and how Postgres goes about it. */
import { makeFile } from "../data.ts";
import { ratios, type Spread, spread, turns } from "../medians.ts";
import type { Place } from "../place.ts";
import { insertUnchecked, keepPlain, putInto } from "../time/state.ts";
import { type Case, endOf } from "./cases.ts";

export interface Result {
  case: string;
  trips: number;
  rounds: number;
  /** Of the answer. */
  rows: number;
  wallMs: Spread;
  /** Of the fastest way. */
  byHandMs: Spread;
  toByHand: Spread;
  /** EXPLAIN ANALYZE of the fastest way by hand, a line each. */
  plan: string[];
}

export async function measureReports(chosen: Case[], rounds: number, trips: number, place: Place): Promise<Result[]> {
  await fill(place, trips);
  const results: Result[] = [];
  for (const one of chosen) results.push(await measureReport(one, rounds, trips, place));
  return results;
}

/** The same trips as in the group "time". One in a hundred has no charge; one driver in twenty stops 20 days before the end. */
async function fill(place: Place, trips: number): Promise<void> {
  await keepPlain(place, await makeFile(`${place.directory}/reports.csv`, "csv", { rows: trips }));
  await putInto("loaded", place);
  await place.admin.query(`
    delete from public.trips
    where hashtext(driver_id) % 20 = 0 and dropoff_timestamp > ${endOf(trips)} - interval '20 days'`);
  await insertUnchecked(
    place,
    "public.charges (id, trip_id, amount_cents)",
    "select 'charge-' || id, id, 100 from public.trips where hashtext(id) % 100 <> 0",
  );
  for (const table of ["trips", "charges"]) await place.admin.query(`vacuum (analyze) public.${table}`);
}

async function measureReport(one: Case, rounds: number, trips: number, { client }: Place): Promise<Result> {
  const ways = [one.report, ...one.byHand];
  const times: number[][] = ways.map(() => []);
  const answers = new Set<number>();
  // Round 1 warms up, and does not count.
  for (const [round, way] of turns([...ways.keys()], rounds + 1)) {
    const started = performance.now();
    const { rows: [{ count }] } = await client.query(`select count(q) from (${ways[way]}) q`);
    if (round > 1) times[way].push(performance.now() - started);
    answers.add(Number(count));
  }
  if (answers.size > 1) throw new Error(`${one.name}: the ways differ: ${[...answers].join(", ")} rows`);
  const [wallMs, ...others] = times.map(spread);
  const byHandMs = others.toSorted((a, b) => a.median - b.median)[0];
  const fastest = others.indexOf(byHandMs);
  const { rows: plan } = await client.query(`explain (analyze, timing off, costs off) ${one.byHand[fastest]}`);
  return {
    case: one.name,
    trips,
    rounds,
    rows: [...answers][0],
    wallMs,
    byHandMs,
    toByHand: ratios(times[0], times[fastest + 1]),
    plan: plan.map((line) => line["QUERY PLAN"]),
  };
}
