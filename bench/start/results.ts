/** The group "start" as a table for people. */
import { table } from "../../lib/local/print.ts";
import { cells } from "../medians.ts";
import type { Result } from "./measure.ts";

export function resultTable(results: Result[]): string {
  const rows = results.map((result) => [result.case, ...cells(result.wallMs)]);
  return table(["", "wall ms", "lowest–highest"], rows, 1);
}
