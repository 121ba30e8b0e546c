/** The command line: `start`, a tour on the embedded Postgres, and `etl`, one run. */
import { parseArgs } from "node:util";
import { connect } from "../database.ts";
import { asEtlError, EtlError } from "../errors.ts";
import { load } from "../load.ts";
import { errorReport, type Report } from "../report.ts";
import { migrate } from "./migrate.ts";
import { type LocalPostgres, startPostgres } from "./postgres.ts";
import { printError, printReport, progressBars, table } from "./print.ts";
import { serveSamples } from "./samples.ts";

const usage = `deno task etl [FEED…] [--json] [--force] [--dry-run]

Loads the feeds of etl.feeds (all enabled ones, or those named) into their tables.

  --json      one JSON object on standard output
  --force     load even where the server or the content says that nothing changed
  --dry-run   report what would change, write nothing
  --help      this text

DATABASE_URL names the database, as in postgres://user:password@host:5432/database. Without it a Postgres 17 of its
own is started, with its data under .local/, and the sample feeds are loaded.

Exit code: 0 every feed is unchanged or changed, 1 a feed failed or the run could not be, 2 wrong usage.`;

const home = decodeURIComponent(new URL("../../.local", import.meta.url).pathname);
const samplePort = 8787;

/** Runs `start` or `etl`; returns the exit code. */
export async function command(args: string[]): Promise<number> {
  const [name, ...rest] = args;
  if (name === "start" && rest.length === 0) return await withDatabase(start);
  if (name === "etl") return await etl(rest);
  console.error(usage);
  return 2;
}

async function etl(args: string[]): Promise<number> {
  let options;
  try {
    const flags = {
      json: { type: "boolean" },
      force: { type: "boolean" },
      "dry-run": { type: "boolean" },
      help: { type: "boolean" },
    } as const;
    options = parseArgs({ args, options: flags, allowPositionals: true });
  } catch (error) {
    printError({
      code: "usage",
      message: (error as Error).message.replace(/\. To specify.*/s, ""),
      hint: "deno task etl --help",
    });
    return 2;
  }
  const { values: { json, force, "dry-run": dryRun, help }, positionals: feeds } = options;
  if (help) {
    console.log(usage);
    return 0;
  }
  return await withDatabase(async (databaseUrl) => {
    await migrate(databaseUrl);
    const bars = progressBars();
    const report = await load({ databaseUrl, feeds, force, dryRun, onProgress: bars.show }).finally(bars.stop);
    if (json) console.log(JSON.stringify(report));
    else printReport(report);
    return report.status === "failed" ? 1 : 0;
  }, json);
}

/** Runs `work` on DATABASE_URL, or on the embedded Postgres with the sample feeds; an error becomes words and a code. */
async function withDatabase(work: (databaseUrl: string) => Promise<number>, json = false): Promise<number> {
  const stack = new AsyncDisposableStack();
  const interrupted = (code: number) => async () => {
    console.error("Interrupted. Nothing was changed.");
    await stack.disposeAsync();
    Deno.exit(code);
  };
  Deno.addSignalListener("SIGINT", interrupted(130));
  Deno.addSignalListener("SIGTERM", interrupted(143));
  try {
    const databaseUrl = Deno.env.get("DATABASE_URL") || await embedded(stack);
    return await work(databaseUrl);
  } catch (thrown) {
    const error = errorReport(thrown instanceof EtlError ? thrown : asEtlError(thrown, "Cannot run"));
    if (json) console.log(JSON.stringify({ run: null, status: "failed", dry_run: false, feeds: [], error }));
    else printError(error);
    return error.code === "ETL01" ? 2 : 1;
  } finally {
    await stack.disposeAsync();
  }
}

async function embedded(stack: AsyncDisposableStack): Promise<string> {
  const postgres: LocalPostgres = await startPostgres(home);
  stack.defer(() => postgres.stop());
  await migrate(postgres.url);
  const samples = await serveSamples(samplePort);
  stack.defer(() => samples.stop());
  await pointAtSamples(postgres.url, samples.url);
  return postgres.url;
}

/** In the embedded database the shipped feeds come from the samples, unless someone has given them a URL. */
async function pointAtSamples(databaseUrl: string, samples: string): Promise<void> {
  const client = await connect(databaseUrl);
  try {
    await client.query(
      String.raw`update etl.feeds
        set url = $1 || regexp_replace(url, '^.*/', '/')
        where url ~ '^(https://tdc-takehome-data-server-.*|http://127\.0\.0\.1:\d+)/(drivers\.json|trips\.csv|charges\.csv)$'
          and url <> $1 || regexp_replace(url, '^.*/', '/')`,
      [samples],
    );
  } finally {
    await client.end();
  }
}

/** One run, the two reports, and how to go on. */
async function start(databaseUrl: string): Promise<number> {
  await migrate(databaseUrl);
  const bars = progressBars();
  const report: Report = await load({ databaseUrl, onProgress: bars.show }).finally(bars.stop);
  printReport(report);
  await printReports(databaseUrl);
  console.log(`
How to go on
  deno task start                     again: every feed is unchanged, nothing is written
  deno task etl trips --force         one feed, compared row by row
  deno task etl --help                all options
  DATABASE_URL=… deno task etl        your own Postgres 16 or newer; your feeds are the rows of etl.feeds`);
  return report.status === "failed" ? 1 : 0;
}

async function printReports(databaseUrl: string): Promise<void> {
  const client = await connect(databaseUrl);
  const show = async (title: string, sql: string) => {
    const { rows, fields } = await client.query({ text: sql, rowMode: "array" });
    const cells = rows.slice(0, 3).map((row) =>
      row.map((cell: unknown) => cell instanceof Date ? cell.toISOString() : `${cell ?? ""}`)
    );
    console.log(`\n${rows.length} ${title}${rows.length > 3 ? "; the first three" : ""}:`);
    if (rows.length > 0) console.log(table(fields.map((field) => field.name), cells));
  };
  try {
    await show(
      "trips without charges",
      "select id, driver_id, dropoff_timestamp, base_fare from public.trips_without_charges() order by dropoff_timestamp",
    );
    await show(
      "drivers churned as of 2021-07-11",
      "select id, first_name, last_name, last_dropoff_timestamp from public.churned_drivers('2021-07-11Z') order by last_dropoff_timestamp",
    );
  } finally {
    await client.end();
  }
}
