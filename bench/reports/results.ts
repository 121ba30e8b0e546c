/** From samples to medians, and to a table for people with the plans below it. */
import { table } from "../../lib/local/print.ts";
import { cells, ratios, type Spread, spread } from "../medians.ts";

/** A case in all its rounds: one case runs after the other, for each warms the cache for itself. */
export interface Sample {
  case: string;
  trips: number;
  /** Of the answer. */
  rows: number;
  /** A number for each round. */
  wallMs: number[];
  /** Of the fastest way by hand. */
  byHandMs: number[];
  /** EXPLAIN ANALYZE of that way, a line each. */
  plan: string[];
}

export interface Result extends Omit<Sample, "wallMs" | "byHandMs"> {
  rounds: number;
  wallMs: Spread;
  byHandMs: Spread;
  toByHand: Spread;
}

export function summarize(samples: Sample[]): Result[] {
  return samples.map(({ wallMs, byHandMs, ...sample }) => ({
    ...sample,
    rounds: wallMs.length,
    wallMs: spread(wallMs),
    byHandMs: spread(byHandMs),
    toByHand: ratios(wallMs, byHandMs),
  }));
}

export function resultTable(results: Result[]): string {
  const trips = results[0].trips.toLocaleString("en-US");
  const rows = results.map(({ wallMs, byHandMs, ...result }) => [
    result.case,
    ...cells(wallMs),
    byHandMs.median.toFixed(0),
    ...cells(result.toByHand, 2),
    result.rows.toLocaleString("en-US"),
  ]);
  const plans = results.map(({ plan, ...result }) => [`${result.case}, by hand:`, ...plan].join("\n  "));
  const range = "lowest–highest";
  const head = [`${trips} trips`, "wall ms", range, "by hand ms", "to by hand", range, "rows"];
  return [table(head, rows, 1), "", ...plans].join("\n");
}
