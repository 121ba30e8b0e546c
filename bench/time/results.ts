/** From samples to medians, and to a table for people. */
import { table } from "../../lib/local/print.ts";
import type { Cost } from "../measured.ts";
import { cells, median, ratios, type Spread, spread } from "../medians.ts";
import type { State } from "../state.ts";
import { base, cases } from "./cases.ts";

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
  toByHand: Spread | null;
  walBytes: number;
  /** Of the client; 0 where it is not known. */
  cpuMs: number;
  /** The largest of all rounds. */
  peakMb: number;
}

export function summarize(samples: Sample[]): Result[] {
  const of = (name: string) => samples.filter((sample) => sample.case === name);
  const measured = cases.filter(({ name }) => of(name).length > 0);
  return measured.map(({ name, state }) => resultOf(name, state, of(name), of(base[state])));
}

function resultOf(name: string, state: State, samples: Sample[], byHand: Sample[]): Result {
  const wallMs = (samples: Sample[]) => samples.map(({ cost }) => cost.wallMs);
  return {
    case: name,
    state,
    rows: samples[0].rows,
    rounds: samples.length,
    wallMs: spread(wallMs(samples)),
    toByHand: byHand.length > 0 ? ratios(wallMs(samples), wallMs(byHand)) : null,
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
    "lowest–highest",
    "WAL bytes",
  ];
  const rows = results.map(({ wallMs, ...result }) => [
    result.case,
    ...cells(wallMs),
    ...cells(result.toByHand, 2),
    result.walBytes.toLocaleString("en-US"),
    result.cpuMs ? result.cpuMs.toFixed(0) : "",
    result.peakMb ? result.peakMb.toFixed(0) : "",
  ]);
  return table([...head, "CPU ms", "peak MB"], rows, 1);
}
