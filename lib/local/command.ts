/** The command line: the tour, a run, and what looks at the feeds or makes one; the usage below lists them. */
import { parseArgs } from "node:util";
import project from "../../deno.json" with { type: "json" };
import { EtlError } from "../errors.ts";
import { isDay, load, type LoadOptions } from "../load.ts";
import type { Report } from "../report.ts";
import { isAlertUrl } from "./alert.ts";
import { feed } from "./feed.ts";
import { serveFile } from "./file.ts";
import { asksForHelp, printReport, progressBars, say } from "./print.ts";
import { listRejects } from "./rejects.ts";
import { showHealth } from "./health.ts";
import { explain, type Session, withSession, wrongUsage } from "./session.ts";
import { guardTerminal, jsonLine } from "./terminal.ts";
import { printTour } from "./tour.ts";

const usage = `deno task etl [FEED…] [--json] [--force] [--dry-run]
              [--deadline SECONDS] [--day YYYY-MM-DD]
              [--file PATH]

Loads the feeds of etl.feeds (all enabled ones, or those named) into their tables.

  --json      one JSON object on standard output
  --force     load even where the server or the content says that nothing changed
  --dry-run   report what would change, write nothing
  --deadline  seconds after which nothing more is fetched, and what is there is loaded (300)
  --day       the day to take for today, of feeds whose URL holds {day}: for files of before
  --file      a file of this machine to read once, in place of the URL of the one feed that is named
  --version   the version of this checkout
  --help, -h  this text

deno task rejects [FEED] [--csv | --json]
deno task rejects FEED --letter

Lists the rejects, each with all that is wrong with it. --csv is for the partner, in his words and for a spreadsheet;
--letter writes him what to mend.

deno task feed URL

Makes a new feed of a partner's file: deno task feed --help.

deno task health [--json] [--alert URL]

Says of each feed whether it is loaded as it should be, and what to do where it is not.

  --alert     for a timer: has {"text": …} sent there by POST once a feed's verdict has changed, for two looks

deno task migrate

Brings the database's schema up to date: makes tables, and alters those that are there. etl does so, too, before it
loads; what only looks (rejects, --dry-run) never does.

DATABASE_URL names the database, as in postgres://user:password@host:5432/database. Without it a Postgres 17 of its
own is started, with its data under .local/, and the sample feeds are loaded.

Exit code: 0 every feed is unchanged or changed (health: ok), 1 a feed failed or the run could not be, 2 wrong usage,
130 or 143 interrupted.`;

/** Runs `start` or `etl`; returns the exit code. */
export async function command(args: string[]): Promise<number> {
  guardTerminal();
  const [name, ...rest] = args;
  if (name === "feed") return await feed(rest, loadOne);
  if (asksForHelp(args)) {
    say(usage);
    return 0;
  }
  if (rest.includes("--version") || name === "--version") {
    console.log(`tdc-etl ${project.version}`);
    return 0;
  }
  if (name === "start" && rest.length === 0) return await withSession({}, start);
  if (name === "migrate" && rest.length === 0) return await withSession({}, migrated);
  // A computed name: only this command downloads REST and auth.
  if (name === "dev" && rest.length === 0) {
    return await (await import(import.meta.resolve(`./supabase/${name}.ts`))).dev();
  }
  if (name === "etl") return await etl(rest);
  if (name === "rejects") return await rejects(rest);
  if (name === "health") return await health(rest);
  if (rest.includes("--json")) {
    return explain(new EtlError("usage", `there is no command ${args.join(" ")}`, "deno task etl --help"), true);
  }
  console.error(usage);
  return 2;
}

async function etl(args: string[]): Promise<number> {
  let options;
  try {
    options = parse(args, ["json", "force", "dry-run"], ["deadline"], { day: aDay, file: aPath });
    if (options.file !== undefined && (options.feeds.length !== 1 || options.day !== undefined)) {
      throw new EtlError("usage", "--file takes the name of one feed, and no --day", "deno task etl FEED --file PATH");
    }
  } catch (error) {
    return explain(error, args.includes("--json"), args.includes("--dry-run"));
  }
  const { json, force, "dry-run": dryRun, deadline, day, file, feeds } = options;
  const schema = dryRun ? "as it must be" : "brought up to date";
  const from = file === undefined ? undefined : await serveFile(file).catch((error) => explain(error, json, dryRun));
  if (typeof from === "number") return from;
  return await withSession({ json, schema, dryRun }, async (session) => {
    const report = await runOnce(session, {
      force,
      dryRun,
      day,
      feeds,
      from,
      allowance: deadline ? { deadlineMs: deadline * 1000 } : {},
    });
    if (json) console.log(jsonLine(report));
    else printReport(report);
    return report.status === "failed" ? 1 : 0;
  }).finally(() => from?.stop());
}

function migrated(): Promise<number> {
  say("The database's schema is that of this checkout.");
  return Promise.resolve(0);
}

/** One run, the two reports, and how to go on. */
async function start(session: Session): Promise<number> {
  const report = await runOnce(session);
  printReport(report);
  await printTour(session);
  return report.status === "failed" ? 1 : 0;
}

async function rejects(args: string[]): Promise<number> {
  let options;
  try {
    options = parse(args, ["json", "csv", "letter"]);
    const forms = [options.json, options.csv, options.letter].filter(Boolean).length;
    if (options.feeds.length > 1 || forms > 1) {
      throw new EtlError(
        "usage",
        "rejects takes one feed, and one of --csv, --json and --letter",
        "deno task etl --help",
      );
    }
    if (options.letter && options.feeds.length === 0) {
      throw new EtlError("usage", "a letter is of one feed: name it", "deno task rejects FEED --letter");
    }
  } catch (error) {
    return explain(error, args.includes("--json"));
  }
  const { feeds: [feed = null], json, csv, letter } = options;
  return await withSession({ json, schema: "as it must be" }, async ({ databaseUrl }) => {
    await listRejects(databaseUrl, feed, json ? "json" : csv ? "csv" : letter ? "letter" : "table");
    return 0;
  });
}

async function health(args: string[]): Promise<number> {
  const isJson = args.includes("--json");
  let options;
  try {
    options = parse(args, ["json"], [], { alert: anAlertUrl });
    if (options.feeds.length > 0) throw new EtlError("usage", "health takes no feed", "deno task etl --help");
  } catch (error) {
    return explain(error, isJson);
  }
  const { alert: url } = options;
  return await withSession(
    { json: isJson, schema: "as it must be" },
    async ({ databaseUrl }) => await showHealth(databaseUrl, isJson, url) ? 0 : 1,
  );
}

/** Loads a feed that has just been made; returns the exit code. */
async function loadOne(session: Session, feed: string): Promise<number> {
  const report = await runOnce(session, { feeds: [feed] });
  printReport(report);
  return report.status === "failed" ? 1 : 0;
}

async function runOnce({ databaseUrl, atEnd }: Session, options: Partial<LoadOptions> = {}): Promise<Report> {
  const bars = progressBars();
  atEnd(bars.stop);
  return await load({ databaseUrl, ...options, onProgress: bars.show }).finally(bars.stop);
}

/** What an option takes: whether a text is such, and what it is called. */
type Kind = [is: (text: string) => boolean, name: string];
const aDay: Kind = [isDay, "a day, as 2021-07-01"];
const aPath: Kind = [(text) => text !== "", "the path of a file"];
const anAlertUrl: Kind = [isAlertUrl, "an https URL"];

type Parsed<Flag extends string, Amount extends string, Text extends string> =
  & Record<Flag, boolean>
  & Partial<Record<Amount, number>>
  & Partial<Record<Text, string>>
  & { feeds: string[] };

/** Options that are there or not, with a number above 0, and with a text of a kind. */
function parse<Flag extends string, Amount extends string = never, Text extends string = never>(
  args: string[],
  flags: Flag[],
  amounts: Amount[] = [],
  texts: Record<Text, Kind> = {} as Record<Text, Kind>,
): Parsed<Flag, Amount, Text> {
  try {
    const options = {
      ...Object.fromEntries(flags.map((flag) => [flag, { type: "boolean", default: false } as const])),
      ...Object.fromEntries([...amounts, ...Object.keys(texts)].map((name) => [name, { type: "string" } as const])),
    };
    const { values, positionals } = parseArgs({ args, options, allowPositionals: true });
    const read = Object.entries(values).map(([name, value]) => {
      if (typeof value !== "string") return [name, value];
      if (name in texts) {
        const [is, kind] = texts[name as Text];
        if (is(value)) return [name, value];
        throw new Error(`--${name} takes ${kind}`);
      }
      const number = Number(value);
      if (number > 0 && number <= 86_400) return [name, number];
      throw new Error(`--${name} takes a number of seconds, up to a day`);
    });
    return { ...Object.fromEntries(read), feeds: positionals } as Parsed<Flag, Amount, Text>;
  } catch (cause) {
    throw wrongUsage(cause, "deno task etl --help");
  }
}
