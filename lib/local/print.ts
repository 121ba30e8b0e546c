/** What is for people: progress on a terminal, tables, and prose that fits the width of the window. */
// @ts-types="@types/cli-progress"
import { MultiBar, type SingleBar } from "cli-progress";
import Table from "cli-table3";
import type { Progress } from "../load.ts";
import type { ErrorReport, Report } from "../report.ts";

type Stream = "stdout" | "stderr";

/** Characters of a line: of the terminal's window; without end where nothing is shown on one. */
function widthOf(stream: Stream): number {
  if (!Deno[stream].isTerminal()) return Infinity;
  try {
    return Deno.consoleSize().columns || Infinity;
  } catch {
    return Infinity;
  }
}

/** Below this, prose is broken between words. In wider windows the terminal does it, and a command can be copied whole. */
const narrow = 80;

/** The text with lines of at most `width`, broken between words; what follows a gap or a label is kept under itself. */
export function fit(text: string, width: number): string {
  if (width >= narrow) return text;
  return text.split("\n").flatMap((line) => {
    const [start] = /^(error: | *(?:\S.*? {2,})?)/.exec(line)!;
    const indent = " ".repeat(start.length <= width / 2 ? start.length : 4);
    const lines = [""];
    for (const [word] of line.matchAll(/\s*\S+/g)) {
      const isFull = (lines.at(-1) + word).length > width && lines.at(-1)!.trim() !== "";
      if (isFull) lines.push(indent + word.trimStart());
      else lines[lines.length - 1] += word;
    }
    return lines;
  }).join("\n");
}

export function asksForHelp(args: string[]): boolean {
  return args.includes("--help") || args.includes("-h");
}

/** Prints prose on standard output. */
export function say(text: string): void {
  console.log(fit(text, widthOf("stdout")));
}

/** Bars on standard error, one a feed; nothing where that is no terminal. */
export function progressBars(): { show(progress: Progress): void; stop(): void } {
  if (!Deno.stderr.isTerminal()) return { show() {}, stop() {} };
  const bars = new MultiBar({
    format: " {feed} |{bar}| {megabytes} MB  {step}",
    // What stands beside the bar takes about 50 characters.
    barsize: Math.max(3, Math.min(40, widthOf("stderr") - 50)),
    hideCursor: true,
    clearOnComplete: true,
  });
  const bar: Record<string, SingleBar> = {};
  let stopped = false;
  // A long step shows that it goes on.
  let merging = { feed: "", step: "", since: 0 };
  const clock = setInterval(() => {
    const ms = Date.now() - merging.since;
    if (merging.feed && ms > 1000) bar[merging.feed].update({ step: `${merging.step}, ${duration(ms - ms % 1000)}` });
  }, 1000);
  return {
    show({ feed, step, bytes, total, doing }) {
      if (stopped) return;
      const megabytes = (bytes / 1e6).toFixed(1);
      const told = doing ?? step;
      bar[feed] ??= bars.create(total ?? 1, 0, { feed: feed.padEnd(12), step: told, megabytes });
      bar[feed].setTotal(Math.max(total ?? bytes, 1));
      bar[feed].update(step === "fetching" ? bytes : bar[feed].getTotal(), { step: told, megabytes });
      merging = { feed: step === "merging" ? feed : "", step: told, since: Date.now() };
    },
    stop() {
      clearInterval(clock);
      if (!stopped) bars.stop();
      stopped = true;
    },
  };
}

/** As people say it: 102 ms, 12.3 s, 1 min 5 s, 2 h 3 min. */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const tenths = Math.floor(ms / 100);
  if (tenths < 600) return `${tenths / 10} s`;
  const seconds = Math.floor(ms / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds / 60) % 60} min`;
}

/** The counts of each feed, then what went wrong and what was ignored. */
export function printReport(report: Report): void {
  const counts = ["read", "inserted", "updated", "unchanged", "duplicate", "rejected", "deleted"] as const;
  const columns = counts.filter((count) => count !== "deleted" || report.feeds.some(({ deleted }) => deleted > 0));
  const rows = report.feeds.map((feed) => [
    feed.feed,
    feed.status,
    ...columns.map((column) => feed[column].toLocaleString("en-US")),
    duration(feed.ms),
  ]);
  console.log(table(["feed", "status", ...columns, "time"], rows, 2));
  for (const feed of report.feeds) {
    if (feed.ignored_columns.length > 0) {
      const names = feed.ignored_columns.map((name) => name.replace(/\s+/g, " "));
      say(`${feed.feed}: ignored, for want of a column: ${names.join(", ")}`);
    }
    if (feed.withheld) {
      say(`${feed.feed}: ${feed.withheld.rows} rows that the file lacks stay, for ${feed.withheld.why}`);
      // What a dry run withholds there is nothing to approve of.
      if (!report.dry_run) {
        say(`${" ".repeat(feed.feed.length + 2)}To have them go: select etl.approve('${feed.feed}')`);
      }
    }
    if (feed.note) say(`${feed.feed}: ${feed.note}`);
    if (feed.error) printError(feed.error);
  }
  if (report.feeds.length === 0) say("No feed is enabled in etl.feeds.");
  printRejects(report);
  if (report.dry_run) say("Dry run: nothing was written.");
  else if (report.status === "unchanged") say("Nothing has changed; nothing was written.");
}

/** How many records of each feed are rejected for which reason, with the number of the first. */
function printRejects({ feeds, dry_run }: Report): void {
  const rows = feeds.flatMap(({ feed, rejects }) =>
    rejects.map(({ column, reason, count, first }) => [feed, `${count}`, `${first[0] ?? ""}`, column ?? "", reason])
  );
  if (rows.length === 0) return;
  const title = dry_run
    ? "Would be rejected (a dry run keeps none: run without --dry-run, and deno task rejects shows each):"
    : "Rejected until mended (deno task rejects shows each, and with --letter writes to the partner):";
  say(`\n${title}`);
  console.log(table(["feed", "records", "first", "column", "why"], rows.map((row) => row.map(shorten))));
}

/** On one line, of 60 characters at most. */
export function shorten(text: string): string {
  const line = text.replace(/\s+/g, " ");
  return line.length > 60 ? line.slice(0, 59) + "…" : line;
}

export function printError({ message, hint }: ErrorReport): void {
  const width = widthOf("stderr");
  console.error(fit(`error: ${message}`, width));
  if (hint) console.error(fit(`       ${hint}`, width));
}

/** Plain columns, of which those from `firstNumber` on are set flush right; or, where they are too wide, a list. */
export function table(
  head: string[],
  rows: string[][],
  firstNumber = head.length,
  width = widthOf("stdout"),
): string {
  const lines = drawn(head, rows, firstNumber);
  if (lines.split("\n").every((line) => [...line.trimEnd()].length <= width)) return lines;
  return rows.map(([first, ...cells]) => {
    const parts = cells.map((cell, i) => cell && `${head[i + 1]} ${cell}`).filter(Boolean);
    return fit(`${first}\n  ${parts.join(", ")}`, Math.min(width, narrow - 1));
  }).join("\n");
}

function drawn(head: string[], rows: string[][], firstNumber: number): string {
  const none = ["top", "top-mid", "top-left", "top-right", "bottom", "bottom-mid", "bottom-left", "bottom-right"]
    .concat("left", "left-mid", "mid", "mid-mid", "right", "right-mid");
  const table = new Table({
    head,
    chars: { ...Object.fromEntries(none.map((part) => [part, ""])), middle: "  " },
    style: { head: [], border: [], "padding-left": 0, "padding-right": 0 },
    colAligns: head.map((_, i) => i < firstNumber ? "left" : "right"),
  });
  table.push(...rows);
  return table.toString();
}
