/** The group "cpu": what a run costs the loader's own process, for each format. */
import { type DataFile, type DataFormat, formats, makeFile } from "../data.ts";
import type { Group, Sizes } from "../group.ts";
import type { Cost } from "../measured.ts";
import { turns } from "../medians.ts";
import { type Place, serveFile } from "../place.ts";
import { measure } from "../processes.ts";
import { type Case, cases, legend } from "./cases.ts";
import { type Result, resultTable, type Sample, summarize } from "./results.ts";

type Files = Record<DataFormat, DataFile>;

export const cpu: Group<Case, Sample, Result> = {
  cases: () => cases,
  measure: measureAll,
  results: summarize,
  table: resultTable,
  legend,
};

async function measureAll(chosen: Case[], { rounds, bytes }: Sizes, place: Place): Promise<Sample[]> {
  const big = await makeFiles(`${place.directory}/big`, bytes, chosen);
  const small = await makeFiles(`${place.directory}/small`, 0, chosen);
  const samples: Sample[] = [];
  for (const [round, one] of turns(chosen, rounds)) {
    const startUp = await measureCase(one, small[one.format], place);
    const whole = await measureCase(one, big[one.format], place);
    samples.push({ case: one.name, file: big[one.format], whole, startUp });
    console.error(`round ${round}: ${one.name}: ${whole.cpuMs.toFixed(0)} ms of CPU`);
  }
  return samples;
}

async function makeFiles(directory: string, bytes: number, chosen: Case[]): Promise<Files> {
  await Deno.mkdir(directory);
  const files: Partial<Files> = {};
  for (const format of formats) {
    if (!chosen.some((one) => one.format === format)) continue;
    files[format] = await makeFile(`${directory}/${format}`, format, { bytes });
  }
  return files as Files;
}

async function measureCase(one: Case, file: DataFile, place: Place): Promise<Cost> {
  const way = one.tls ? place.tls : place;
  const url = await serveFile(place, file, one.bodiless, way);
  await one.prepare?.(place.client, file);
  const cost = await measure(place.deno, one.job(url, way.databaseUrl), way.env);
  if (cost.rows !== null && cost.rows !== file.rows) throw new Error(`${one.name}: ${cost.rows} rows of ${file.rows}`);
  return cost;
}
