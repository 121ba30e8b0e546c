/** The group "reports" as a table for people, with the plans below it. */
import { table } from "../../lib/local/print.ts";
import { cells } from "../medians.ts";
import type { Result } from "./measure.ts";

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
  const range = "lowest–highest",
    head = [`${trips} trips`, "wall ms", range, "by hand ms", "to by hand", range, "rows"];
  return [table(head, rows, 1), "", ...plans].join("\n");
}
