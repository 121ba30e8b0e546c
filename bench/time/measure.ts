/** The group "time": how long a whole job takes, and how much it has Postgres write. */
import { type DataFile, makeFile } from "../data.ts";
import { remember } from "../feeds.ts";
import type { Group, Sizes } from "../group.ts";
import { turns } from "../medians.ts";
import { type Place, serveFile } from "../place.ts";
import { measure } from "../processes.ts";
import { keepPlain, missing, putInto, walPosition } from "../state.ts";
import { type Changed, changes } from "../trips.ts";
import { type Case, cases, legend } from "./cases.ts";
import { type Result, resultTable, type Sample, summarize } from "./results.ts";

type Files = Record<Changed, DataFile>;

export const time: Group<Case, Sample, Result> = {
  cases: () => cases,
  measure: measureAll,
  results: summarize,
  table: resultTable,
  legend,
};

async function measureAll(chosen: Case[], { rounds, rows }: Sizes, place: Place): Promise<Sample[]> {
  const files = await makeFiles(chosen, place, rows);
  await keepPlain(place, files.none);
  const samples: Sample[] = [];
  for (const [round, one] of turns(chosen, rounds)) {
    const sample = await measureCase(one, files, place);
    samples.push(sample);
    const { cost: { wallMs }, walBytes } = sample;
    console.error(
      `round ${round}: ${one.name}: ${wallMs.toFixed(0)} ms, ${walBytes.toLocaleString("en-US")} bytes of WAL`,
    );
  }
  return samples;
}

async function makeFiles(chosen: Case[], { directory }: Place, rows: number): Promise<Files> {
  const files: Partial<Files> = {};
  for (const [name, change] of Object.entries(changes)) {
    if (name !== "none" && !chosen.some(({ file }) => file === name)) continue;
    files[name as Changed] = await makeFile(`${directory}/${name}.csv`, "csv", { rows }, change);
  }
  return files as Files;
}

async function measureCase(one: Case, files: Files, place: Place): Promise<Sample> {
  const file = files[one.file];
  const url = await serveFile(place, file, one.memory === "etag");
  await putInto(one.state, place);
  await remember(place.client, file, one.memory ?? "nothing");
  await place.admin.query("checkpoint");
  const before = await walPosition(place);
  const cost = await measure(place.deno, one.job({ ...place, url }));
  const walBytes = await walPosition(place) - before;
  const expected = one.missing ? Math.round(file.rows / one.missing) : 0, found = await missing(place);
  if (found !== expected) throw new Error(`${one.name}: ${found} trips are missing or other, not ${expected}`);
  return { case: one.name, rows: file.rows, cost, walBytes };
}
