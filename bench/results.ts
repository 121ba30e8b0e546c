/** From samples to medians, and to a table for people. */
import { table } from "../lib/local/print.ts";
import { passThrough } from "./cases.ts";
import type { DataFile } from "./data.ts";
import type { Cost } from "./measured.ts";

export interface Sample {
  case: string;
  file: DataFile;
  whole: Cost;
  /** The same process on a file of one row. */
  startUp: Cost;
}

export interface Result {
  case: string;
  megabytes: number;
  rounds: number;
  /** Medians. Milliseconds of CPU for each megabyte (10^6 bytes, unpacked), with process start-up and without. */
  cpuMsPerMb: number;
  cpuMsPerMbNet: number;
  /** cpuMsPerMbNet relative to the pass-through of the same rounds; null where that was not measured. */
  toPassThrough: number | null;
  /** Smallest and largest cpuMsPerMb. */
  spread: [number, number];
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
  return results.map((result) => ({ ...result, toPassThrough: base ? result.cpuMsPerMbNet / base : null }));
}

function resultOf(name: string, samples: Sample[]): Result {
  const megabytes = samples[0].file.unpacked / 1e6;
  const cpu = samples.map(({ whole }) => whole.cpuMs / megabytes);
  return {
    case: name,
    megabytes,
    rounds: samples.length,
    cpuMsPerMb: median(cpu),
    cpuMsPerMbNet: median(samples.map(({ whole, startUp }) => (whole.cpuMs - startUp.cpuMs) / megabytes)),
    toPassThrough: null,
    spread: [Math.min(...cpu), Math.max(...cpu)],
    cpuMs: median(samples.map(({ whole }) => whole.cpuMs)),
    startUpCpuMs: median(samples.map(({ startUp }) => startUp.cpuMs)),
    wallMs: median(samples.map(({ whole }) => whole.wallMs)),
    peakMb: Math.max(...samples.map(({ whole }) => whole.peakBytes)) / 1e6,
  };
}

function median(numbers: number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b), middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

export function resultTable(results: Result[]): string {
  const head = ["", "MB", "CPU ms/MB", "lowest", "highest", "without start", "to pass-through", "start ms", "wall s"];
  const rows = results.map((result) => [
    result.case,
    result.megabytes.toFixed(0),
    result.cpuMsPerMb.toFixed(2),
    ...result.spread.map((end) => end.toFixed(2)),
    result.cpuMsPerMbNet.toFixed(2),
    result.toPassThrough?.toFixed(2) ?? "",
    result.startUpCpuMs.toFixed(0),
    (result.wallMs / 1000).toFixed(1),
    result.peakMb.toFixed(0),
  ]);
  return table([...head, "peak MB"], rows, 1);
}
