/** The group "start" as a table for people. */
import { table } from "../../lib/local/print.ts";
import type { Result } from "./measure.ts";

export function resultTable(results: Result[]): string {
  const rows = results.map(({ wallMs, ...result }) => [
    result.case,
    wallMs.median.toFixed(0),
    `${wallMs.lowest.toFixed(0)}–${wallMs.highest.toFixed(0)}`,
  ]);
  return table(["", "wall ms", "lowest–highest"], rows, 1);
}
