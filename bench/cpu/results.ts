/** From samples to medians, and to a table for people. */
import { table } from "../../lib/local/print.ts";
import type { DataFile } from "../data.ts";
import type { Cost } from "../measured.ts";
import { median, type Spread, spread } from "../medians.ts";
import { cases, passThrough } from "./cases.ts";

export interface Sample {
  case: string;
  file: DataFile;
  whole: Cost;
  /** The same process on a file of one row. */
  startUp: Cost;
}

export interface Result {
  case: string;
  /** 0 where no body is sent; what is by the megabyte is null then. */
  megabytes: number;
  rounds: number;
  /** Milliseconds of CPU for each megabyte (10^6 bytes, unpacked), with process start-up and without. */
  cpuMsPerMb: Spread | null;
  cpuMsPerMbNet: number | null;
  /** cpuMsPerMbNet relative to the pass-through of the same rounds; null where that was not measured. */
  toPassThrough: number | null;
  cpuMs: number;
  startUpCpuMs: number;
  wallMs: number;
  /** The largest of all rounds. */
  peakMb: number;
}

export function summarize(samples: Sample[]): Result[] {
  const names = [...new Set(samples.map((sample) => sample.case))];
  const results = names.map((name) => resultOf(name, samples.filter((sample) => sample.case === name)));
  const base = results.find((result) => result.case === passThrough)?.cpuMsPerMbNet;
  return results.map((result) => ({
    ...result,
    toPassThrough: base && result.cpuMsPerMbNet ? result.cpuMsPerMbNet / base : null,
  }));
}

function resultOf(name: string, samples: Sample[]): Result {
  const bodiless = cases.find((one) => one.name === name)?.bodiless;
  const megabytes = bodiless ? 0 : samples[0].file.unpacked / 1e6;
  const perMb = (milliseconds: (sample: Sample) => number) => samples.map((sample) => milliseconds(sample) / megabytes);
  return {
    case: name,
    megabytes,
    rounds: samples.length,
    cpuMsPerMb: bodiless ? null : spread(perMb(({ whole }) => whole.cpuMs)),
    cpuMsPerMbNet: bodiless ? null : median(perMb(({ whole, startUp }) => whole.cpuMs - startUp.cpuMs)),
    toPassThrough: null,
    cpuMs: median(samples.map(({ whole }) => whole.cpuMs)),
    startUpCpuMs: median(samples.map(({ startUp }) => startUp.cpuMs)),
    wallMs: median(samples.map(({ whole }) => whole.wallMs)),
    peakMb: Math.max(...samples.map(({ whole }) => whole.peakBytes)) / 1e6,
  };
}

export function resultTable(results: Result[]): string {
  const head = ["", "MB", "CPU ms/MB", "lowest", "highest", "without start", "to pass-through", "CPU ms", "start ms"];
  const rows = results.map((result) => [
    result.case,
    result.megabytes.toFixed(0),
    ...(["median", "lowest", "highest"] as const).map((end) => result.cpuMsPerMb?.[end].toFixed(2) ?? ""),
    result.cpuMsPerMbNet?.toFixed(2) ?? "",
    result.toPassThrough?.toFixed(2) ?? "",
    result.cpuMs.toFixed(0),
    result.startUpCpuMs.toFixed(0),
    result.wallMs.toFixed(0),
    result.peakMb.toFixed(0),
  ]);
  return table([...head, "wall ms", "peak MB"], rows, 1);
}
