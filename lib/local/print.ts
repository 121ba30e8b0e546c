/** A run for people: progress on a terminal, a table at the end. */
// @ts-types="@types/cli-progress"
import { MultiBar, type SingleBar } from "cli-progress";
import Table from "cli-table3";
import type { Progress } from "../load.ts";
import type { ErrorReport, Report } from "../report.ts";

/** Bars on standard error, one a feed; nothing where that is no terminal. */
export function progressBars(): { show(progress: Progress): void; stop(): void } {
  if (!Deno.stderr.isTerminal()) return { show() {}, stop() {} };
  const bars = new MultiBar({
    format: " {feed} |{bar}| {megabytes} MB  {step}",
    hideCursor: true,
    clearOnComplete: true,
  });
  const bar: Record<string, SingleBar> = {};
  let stopped = false;
  return {
    show({ feed, step, bytes, total }) {
      if (stopped) return;
      const megabytes = (bytes / 1e6).toFixed(1);
      bar[feed] ??= bars.create(total ?? 1, 0, { feed: feed.padEnd(12), step, megabytes });
      bar[feed].setTotal(Math.max(total ?? bytes, 1));
      bar[feed].update(step === "fetching" ? bytes : bar[feed].getTotal(), { step, megabytes });
    },
    stop() {
      if (!stopped) bars.stop();
      stopped = true;
    },
  };
}

/** The counts of each feed, then what went wrong and what was ignored. */
export function printReport(report: Report): void {
  const counts = ["read", "inserted", "updated", "unchanged", "duplicate", "rejected", "deleted"] as const;
  const columns = counts.filter((count) => count !== "deleted" || report.feeds.some(({ deleted }) => deleted > 0));
  const rows = report.feeds.map((feed) => [
    feed.feed,
    feed.status,
    ...columns.map((column) => feed[column].toLocaleString("en-US")),
    `${feed.ms} ms`,
  ]);
  console.log(table(["feed", "status", ...columns, "time"], rows, 2));
  for (const feed of report.feeds) {
    if (feed.ignored_columns.length > 0) {
      const names = feed.ignored_columns.map((name) => name.replace(/\s+/g, " "));
      console.log(`${feed.feed}: ignored, for want of a column: ${names.join(", ")}`);
    }
    if (feed.withheld) {
      console.log(`${feed.feed}: ${feed.withheld.rows} rows that the file lacks stay, for ${feed.withheld.why}`);
      console.log(`${" ".repeat(feed.feed.length + 2)}To have them go: select etl.approve('${feed.feed}')`);
    }
    if (feed.note) console.log(`${feed.feed}: ${feed.note}`);
    if (feed.error) printError(feed.error);
  }
  if (report.feeds.length === 0) console.log("No feed is enabled in etl.feeds.");
  printRejects(report);
  if (report.dry_run) console.log("Dry run: nothing was written.");
  else if (report.status === "unchanged") console.log("Nothing has changed; nothing was written.");
}

/** How many records of each feed are rejected for which reason, with the number of the first. */
function printRejects({ feeds }: Report): void {
  const rows = feeds.flatMap(({ feed, rejects }) =>
    rejects.map(({ column, reason, count, first }) => [feed, `${count}`, `${first[0] ?? ""}`, column ?? "", reason])
  );
  if (rows.length === 0) return;
  console.log("\nRejected until mended (deno task rejects shows each, and with --letter writes to the partner):");
  console.log(table(["feed", "records", "first", "column", "why"], rows.map((row) => row.map(shorten))));
}

/** On one line, of 60 characters at most. */
export function shorten(text: string): string {
  const line = text.replace(/\s+/g, " ");
  return line.length > 60 ? line.slice(0, 59) + "…" : line;
}

export function printError({ message, hint }: ErrorReport): void {
  console.error(`error: ${message}`);
  if (hint) console.error(`       ${hint}`);
}

/** Plain columns; those from `firstNumber` on are set flush right. */
export function table(head: string[], rows: string[][], firstNumber = head.length): string {
  const none = ["top", "top-mid", "top-left", "top-right", "bottom", "bottom-mid", "bottom-left", "bottom-right"]
    .concat("left", "left-mid", "mid", "mid-mid", "right", "right-mid");
  const drawn = new Table({
    head,
    chars: { ...Object.fromEntries(none.map((part) => [part, ""])), middle: "  " },
    style: { head: [], border: [], "padding-left": 0, "padding-right": 0 },
    colAligns: head.map((_, i) => i < firstNumber ? "left" : "right"),
  });
  drawn.push(...rows);
  return drawn.toString();
}
