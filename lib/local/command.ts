/** The command line: `start`, a tour on the embedded Postgres, and `etl`, one run. */
import { parseArgs } from "node:util";
import { EtlError } from "../errors.ts";
import { load, type LoadOptions } from "../load.ts";
import type { Report } from "../report.ts";
import { printReport, progressBars } from "./print.ts";
import { explain, type Session, withSession } from "./session.ts";
import { printTour } from "./tour.ts";

const usage = `deno task etl [FEED…] [--json] [--force] [--dry-run]

Loads the feeds of etl.feeds (all enabled ones, or those named) into their tables.

  --json      one JSON object on standard output
  --force     load even where the server or the content says that nothing changed
  --dry-run   report what would change, write nothing
  --help      this text

DATABASE_URL names the database, as in postgres://user:password@host:5432/database. Without it a Postgres 17 of its
own is started, with its data under .local/, and the sample feeds are loaded.

Exit code: 0 every feed is unchanged or changed, 1 a feed failed or the run could not be, 2 wrong usage, 130 or 143
interrupted.`;

/** Runs `start` or `etl`; returns the exit code. */
export async function command(args: string[]): Promise<number> {
  const [name, ...rest] = args;
  if (rest.includes("--help") || name === "--help") {
    console.log(usage);
    return 0;
  }
  if (name === "start" && rest.length === 0) return await withSession(false, start);
  // A computed name: only this command downloads REST and auth.
  if (name === "dev" && rest.length === 0) return await (await import(import.meta.resolve(`./${name}.ts`))).dev();
  if (name === "etl") return await etl(rest);
  console.error(usage);
  return 2;
}

async function etl(args: string[]): Promise<number> {
  let options;
  try {
    options = parse(args);
  } catch (error) {
    return explain(error, args.includes("--json"));
  }
  const { json, ...run } = options;
  return await withSession(json, async (session) => {
    const report = await runOnce(session, run);
    if (json) console.log(JSON.stringify(report));
    else printReport(report);
    return report.status === "failed" ? 1 : 0;
  });
}

/** One run, the two reports, and how to go on. */
async function start(session: Session): Promise<number> {
  const report = await runOnce(session);
  printReport(report);
  await printTour(session.databaseUrl);
  return report.status === "failed" ? 1 : 0;
}

async function runOnce({ databaseUrl, atEnd }: Session, options: Partial<LoadOptions> = {}): Promise<Report> {
  const bars = progressBars();
  atEnd(bars.stop);
  return await load({ databaseUrl, ...options, onProgress: bars.show }).finally(bars.stop);
}

function parse(args: string[]) {
  try {
    const flag = { type: "boolean", default: false } as const;
    const options = { json: flag, force: flag, "dry-run": flag };
    const { values: { json, force, "dry-run": dryRun }, positionals: feeds } = parseArgs({
      args,
      options,
      allowPositionals: true,
    });
    return { json, force, dryRun, feeds };
  } catch (cause) {
    const message = (cause as Error).message.replace(/\. To specify.*/s, "");
    throw new EtlError("usage", message, "deno task etl --help", { cause });
  }
}
