/** What each group of the benchmark is: cases, how they are measured, and what is said of it. */
import type { Place } from "./place.ts";

export interface Sizes {
  rounds: number;
  /** Of each file of the group "cpu", before compression. */
  bytes: number;
  /** Trips in each file of the other groups. */
  rows: number;
}

export interface Group<Case extends { name: string } = { name: string }, Sample = unknown, Result = unknown> {
  cases(sizes: Sizes): Case[];
  measure(chosen: Case[], sizes: Sizes, place: Place): Promise<Sample[]>;
  /** A result for each case that was measured: medians, ratios and how far they spread. */
  results(samples: Sample[]): Result[];
  /** For people; of one result at least. */
  table(results: Result[]): string;
  /** What the table's marks mean. */
  legend: string;
}
