/** From samples to medians, and to a table for people. */
import { table } from "../../lib/local/print.ts";
import type { Cost } from "../measured.ts";
import { cells, median, type Spread, spread } from "../medians.ts";
import { base, cases, type State } from "./cases.ts";

export interface Sample {
  case: string;
  rows: number;
  cost: Cost;
  walBytes: number;
}

export interface Result {
  case: string;
  state: State;
  rows: number;
  rounds: number;
  wallMs: Spread;
  /** wallMs relative to "by hand" from the same state; null where that was not measured. */
  toByHand: number | null;
  walBytes: number;
  /** Of the client; 0 where it is not known. */
  cpuMs: number;
  /** The largest of all rounds. */
  peakMb: number;
}

export function summarize(samples: Sample[]): Result[] {
  const measured = cases.filter(({ name }) => samples.some((sample) => sample.case === name));
  const results = measured.map(({ name, state }) => resultOf(name, state, samples.filter((one) => one.case === name)));
  return results.map((result) => {
    const byHand = results.find((other) => other.case === base[result.state])?.wallMs.median;
    return { ...result, toByHand: byHand ? result.wallMs.median / byHand : null };
  });
}

function resultOf(name: string, state: State, samples: Sample[]): Result {
  return {
    case: name,
    state,
    rows: samples[0].rows,
    rounds: samples.length,
    wallMs: spread(samples.map(({ cost }) => cost.wallMs)),
    toByHand: null,
    walBytes: median(samples.map(({ walBytes }) => walBytes)),
    cpuMs: median(samples.map(({ cost }) => cost.cpuMs)),
    peakMb: Math.max(...samples.map(({ cost }) => cost.peakBytes)) / 1e6,
  };
}

export function resultTable(results: Result[]): string {
  const head = [
    `${results[0].rows.toLocaleString("en-US")} trips`,
    "wall ms",
    "lowest–highest",
    "to by hand",
    "WAL bytes",
  ];
  const rows = results.map(({ wallMs, ...result }) => [
    result.case,
    ...cells(wallMs),
    result.toByHand?.toFixed(2) ?? "",
    result.walBytes.toLocaleString("en-US"),
    result.cpuMs ? result.cpuMs.toFixed(0) : "",
    result.peakMb ? result.peakMb.toFixed(0) : "",
  ]);
  return table([...head, "CPU ms", "peak MB"], rows, 1);
}
