/** What a run says of itself. */
import type { EtlError, RejectSummary } from "./errors.ts";

/** busy: another run has it, or what it refers to; deferred: the run had no room or time left for it. */
export type Status = "unchanged" | "changed" | "failed" | "busy" | "deferred";

/** read = inserted + updated + unchanged + duplicate + rejected, always. */
export interface Counts {
  read: number;
  inserted: number;
  updated: number;
  unchanged: number;
  duplicate: number;
  rejected: number;
}

export interface FeedReport extends Counts {
  feed: string;
  status: Status;
  /** Bytes of the body as received. */
  bytes: number;
  /** Rows of the table that the file lacks, and that were deleted or marked. No records, so in no sum with the others. */
  deleted: number;
  /** Such rows that were left as they are, of how many, and why; null where there are none. */
  withheld: { rows: number; of: number; why: string } | null;
  /** Why records are rejected: of what is in etl.rejects after the run or, where they are too many, of what would be. */
  rejects: RejectSummary[];
  /** Source columns that the target table does not have. */
  ignored_columns: string[];
  ms: number;
  /** What is no error, and worth knowing all the same. */
  note: string | null;
  error: ErrorReport | null;
}

export interface ErrorReport {
  code: string;
  message: string;
  hint: string | null;
}

export interface Report {
  run: string;
  status: Status;
  dry_run: boolean;
  feeds: FeedReport[];
}

export const nothing: Counts = { read: 0, inserted: 0, updated: 0, unchanged: 0, duplicate: 0, rejected: 0 };

/** The gravest status among the feeds. */
export function overall(feeds: FeedReport[]): Status {
  const gravity: Status[] = ["failed", "changed", "busy", "deferred", "unchanged"];
  return gravity.find((status) => feeds.some((feed) => feed.status === status)) ?? "unchanged";
}

export function errorReport({ code, message, hint }: EtlError): ErrorReport {
  return { code, message, hint };
}
