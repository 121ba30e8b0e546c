/** From the start of a command to its end: its database, what an interruption does, and an exit code for every error. */
import { resolve } from "node:path";
import { connect } from "../database/connect.ts";
import { asEtlError, EtlError } from "../errors.ts";
import { errorReport } from "../report.ts";
import { homeOf } from "./postgres/home.ts";
import { migrate, requireMigrated } from "./migrate.ts";
import { exists } from "./postgres/install.ts";
import { startPostgres } from "./postgres/start.ts";
import { printError } from "./print.ts";
import { serveSamples } from "./samples.ts";
import { jsonLine } from "./terminal.ts";

export interface Session {
  databaseUrl: string;
  /** Whether it is the embedded Postgres, which ends with the session. */
  isEmbedded: boolean;
  /** Called at the end, in whatever way it comes. */
  atEnd(action: () => void): void;
}

/** Of errors; all others end the command with 1. */
const exitCodes: Record<string, number> = { usage: 2, unknown_feed: 2, day: 2, file: 2 };
/** 128 and the signal's number, as a shell has it. */
const signals = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 };

class Interrupted extends EtlError {
  constructor(readonly exitCode: number) {
    super("interrupted", "interrupted", "A run is saved whole or not at all; run it again.");
  }
}

const project = resolve(import.meta.dirname!, "../..");
const samplePort = 8787;

/** What a command does with the schema of its database before it works. What only looks brings nothing up to date. */
type Schema = "brought up to date" | "as it must be" | "as it is";

/** Runs `work` on DATABASE_URL, or on the embedded Postgres with the sample feeds; returns the exit code. */
export async function withSession(
  { json = false, schema = "brought up to date", dryRun = false }: {
    json?: boolean;
    schema?: Schema;
    dryRun?: boolean;
  },
  work: (session: Session) => Promise<number>,
): Promise<number> {
  try {
    await using stack = new AsyncDisposableStack();
    const session = async () => {
      const url = await given(schema);
      const databaseUrl = url ?? await embedded(stack, schema);
      return await work({ databaseUrl, isEmbedded: url === null, atEnd: (action) => stack.defer(action) });
    };
    return await Promise.race([interruption(), session()]);
  } catch (error) {
    return explain(error, json, dryRun);
  }
}

/** Prints the error, without its stack, and returns its exit code. */
export function explain(thrown: unknown, json: boolean, dryRun = false): number {
  const error = errorReport(thrown instanceof EtlError ? thrown : asEtlError(thrown, "Cannot run"));
  if (json) console.log(jsonLine({ run: null, status: "failed", dry_run: dryRun, feeds: [], error }));
  else printError(error);
  return thrown instanceof Interrupted ? thrown.exitCode : exitCodes[error.code] ?? 1;
}

/** Rejects when the process is told to end. */
export function interruption(): Promise<never> {
  return new Promise((_, reject) => {
    for (const [signal, exitCode] of Object.entries(signals)) {
      Deno.addSignalListener(signal as Deno.Signal, () => reject(new Interrupted(exitCode)));
    }
  });
}

async function given(schema: Schema): Promise<string | null> {
  const url = Deno.env.get("DATABASE_URL");
  if (!url) return null;
  // What cannot be read is not shown: it may hold a password.
  const shape = "postgres://user:password@host:5432/database";
  if (!/^postgres(ql)?:$/.test(URL.parse(url)?.protocol ?? "")) {
    throw new EtlError("usage", "DATABASE_URL is not a Postgres URL", `It looks like ${shape}`);
  }
  await prepare(url, schema);
  return url;
}

/** The embedded Postgres with the sample feeds; returns its URL. It all ends with `stack`. */
export async function embedded(stack: AsyncDisposableStack, schema: Schema = "brought up to date"): Promise<string> {
  const home = await homeOf(project);
  if (schema === "as it must be" && !await exists(`${home}/data`)) {
    throw new EtlError(
      "nothing_yet",
      "nothing was loaded yet: there is no database of this machine's own",
      "Looking changes nothing, and so makes none: deno task start does. Or set DATABASE_URL to another Postgres.",
    );
  }
  const postgres = await startPostgres(home);
  stack.defer(postgres.stop);
  await prepare(postgres.url, schema);
  const samples = serveSamples(samplePort);
  stack.defer(samples.stop);
  if (schema === "brought up to date") await pointAtSamples(postgres.url, samples.url);
  return postgres.url;
}

async function prepare(databaseUrl: string, schema: Schema): Promise<void> {
  if (schema === "as it must be") return await requireMigrated(databaseUrl);
  if (schema === "as it is") return;
  const applied = await migrate(databaseUrl);
  if (applied.length > 0) console.error(`Applied ${applied.length} migrations, up to ${applied.at(-1)}.`);
}

/** In the embedded database the shipped feeds come from the samples, unless someone has given them a URL. */
async function pointAtSamples(databaseUrl: string, samples: string): Promise<void> {
  await using client = await connect(databaseUrl);
  await client.query(
    String.raw`update etl.feeds
      set url = $1 || regexp_replace(url, '^.*/', '/')
      where url ~ '^(https://tdc-takehome-data-server-.*|http://127\.0\.0\.1:\d+)/(drivers\.json|trips\.csv|charges\.csv)$'
        and url <> $1 || regexp_replace(url, '^.*/', '/')`,
    [samples],
  );
}

/** What parseArgs, or the command itself, finds wrong with its options; `help`: the line that shows them. */
export function wrongUsage(cause: unknown, help: string): EtlError {
  const message = (cause as Error).message.replace(/\. To specify.*/s, "");
  return new EtlError("usage", message, help, { cause });
}
