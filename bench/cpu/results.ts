/** From samples to medians, and to a table for people. */
import { table } from "../../lib/local/print.ts";
import type { DataFile } from "../data.ts";
import type { Cost } from "../measured.ts";
import { cells, median, ratios, type Spread, spread } from "../medians.ts";
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
  /** Without start-up, relative to the pass-through; null where that was not measured. */
  toPassThrough: Spread | null;
  cpuMs: number;
  startUpCpuMs: number;
  wallMs: number;
  /** The largest of all rounds. */
  peakMb: number;
}

export function summarize(samples: Sample[]): Result[] {
  const of = (name: string) => samples.filter((sample) => sample.case === name);
  const names = [...new Set(samples.map((sample) => sample.case))];
  return names.map((name) => resultOf(name, of(name), of(passThrough)));
}

function resultOf(name: string, samples: Sample[], base: Sample[]): Result {
  const bodiless = cases.find((one) => one.name === name)?.bodiless;
  const perMb = (milliseconds: (sample: Sample) => number, samples: Sample[]) =>
    samples.map((sample) => milliseconds(sample) / (sample.file.unpacked / 1e6));
  const whole = ({ whole }: Sample) => whole.cpuMs, net = ({ whole, startUp }: Sample) => whole.cpuMs - startUp.cpuMs;
  return {
    case: name,
    megabytes: bodiless ? 0 : samples[0].file.unpacked / 1e6,
    rounds: samples.length,
    cpuMsPerMb: bodiless ? null : spread(perMb(whole, samples)),
    cpuMsPerMbNet: bodiless ? null : median(perMb(net, samples)),
    toPassThrough: bodiless || base.length === 0 ? null : ratios(perMb(net, samples), perMb(net, base)),
    cpuMs: median(samples.map(({ whole }) => whole.cpuMs)),
    startUpCpuMs: median(samples.map(({ startUp }) => startUp.cpuMs)),
    wallMs: median(samples.map(({ whole }) => whole.wallMs)),
    peakMb: Math.max(...samples.map(({ whole }) => whole.peakBytes)) / 1e6,
  };
}

export function resultTable(results: Result[]): string {
  const range = "lowest–highest";
  const head = ["", "MB", "CPU ms/MB", range, "without start", "to pass-through", range, "CPU ms", "start ms"];
  const rows = results.map((result) => [
    result.case,
    result.megabytes.toFixed(0),
    ...cells(result.cpuMsPerMb, 2),
    result.cpuMsPerMbNet?.toFixed(2) ?? "",
    ...cells(result.toPassThrough, 1),
    result.cpuMs.toFixed(0),
    result.startUpCpuMs.toFixed(0),
    result.wallMs.toFixed(0),
    result.peakMb.toFixed(0),
  ]);
  return table([...head, "wall ms", "peak MB"], rows, 1);
}
