/** What a report says in numbers. */
import type { FeedReport } from "../../lib/report.ts";

/** A feed's counts: read, inserted, updated, unchanged, duplicate, rejected. */
export function countsOf({ read, inserted, updated, unchanged, duplicate, rejected }: FeedReport): number[] {
  return [read, inserted, updated, unchanged, duplicate, rejected];
}
