/** The group "reports": how long the two reports take, beside the same by hand, and how Postgres goes about it. */
import { makeFile } from "../data.ts";
import type { Group, Sizes } from "../group.ts";
import { median, turns } from "../medians.ts";
import type { Place } from "../place.ts";
import { insertUnchecked, keepPlain, putInto } from "../state.ts";
import { type Case, casesFor, endOf } from "./cases.ts";
import { type Result, resultTable, type Sample, summarize } from "./results.ts";

export const reports: Group<Case, Sample, Result> = {
  cases: ({ rows }) => casesFor(rows),
  measure: measureAll,
  results: summarize,
  table: resultTable,
  legend: "By hand: the fastest of the ways tried, whose plan is shown.",
};

async function measureAll(chosen: Case[], { rounds, rows }: Sizes, place: Place): Promise<Sample[]> {
  await fill(place, rows);
  const samples: Sample[] = [];
  for (const one of chosen) samples.push(await measureReport(one, rounds, rows, place));
  return samples;
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

async function measureReport(one: Case, rounds: number, trips: number, { client }: Place): Promise<Sample> {
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
  const [wallMs, ...others] = times;
  const fastest = others.map(median).reduce((least, one, way, medians) => one < medians[least] ? way : least, 0);
  const { rows: plan } = await client.query(`explain (analyze, timing off, costs off) ${one.byHand[fastest]}`);
  return {
    case: one.name,
    trips,
    rows: [...answers][0],
    wallMs,
    byHandMs: others[fastest],
    plan: plan.map((line) => line["QUERY PLAN"]),
  };
}
