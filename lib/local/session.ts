/** From the start of a command to its end: its database, what an interruption does, and an exit code for every error. */
import { resolve } from "node:path";
import { connect } from "../database/connect.ts";
import { asEtlError, EtlError } from "../errors.ts";
import { errorReport } from "../report.ts";
import { homeOf } from "./postgres/home.ts";
import { migrate, requireMigrated } from "./migrate.ts";
import { startPostgres } from "./postgres/start.ts";
import { printError } from "./print.ts";
import { serveSamples } from "./samples.ts";

export interface Session {
  databaseUrl: string;
  /** Called at the end, in whatever way it comes. */
  atEnd(action: () => void): void;
}

/** Of errors; all others end the command with 1. */
const exitCodes: Record<string, number> = { usage: 2, unknown_feed: 2 };
/** 128 and the signal's number, as a shell has it. */
const signals = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 };

class Interrupted extends EtlError {
  constructor(readonly exitCode: number) {
    super("interrupted", "interrupted", "A run is saved whole or not at all; run it again.");
  }
}

const project = resolve(import.meta.dirname!, "../..");
const samplePort = 8787;

/**
 * Runs `work` on DATABASE_URL, or on the embedded Postgres with the sample feeds; returns the exit code. The schema is
 * brought up to date first, unless the work only looks.
 */
export async function withSession(
  { json = false, looks = false },
  work: (session: Session) => Promise<number>,
): Promise<number> {
  try {
    await using stack = new AsyncDisposableStack();
    const session = async () => {
      const databaseUrl = await given(looks) ?? await embedded(stack, looks);
      return await work({ databaseUrl, atEnd: (action) => stack.defer(action) });
    };
    return await Promise.race([interruption(), session()]);
  } catch (error) {
    return explain(error, json);
  }
}

/** Prints the error, without its stack, and returns its exit code. */
export function explain(thrown: unknown, json: boolean): number {
  const error = errorReport(thrown instanceof EtlError ? thrown : asEtlError(thrown, "Cannot run"));
  if (json) console.log(JSON.stringify({ run: null, status: "failed", dry_run: false, feeds: [], error }));
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

async function given(looks: boolean): Promise<string | null> {
  const url = Deno.env.get("DATABASE_URL");
  if (!url) return null;
  // What cannot be read is not shown: it may hold a password.
  const shape = "postgres://user:password@host:5432/database";
  if (!/^postgres(ql)?:$/.test(URL.parse(url)?.protocol ?? "")) {
    throw new EtlError("usage", "DATABASE_URL is not a Postgres URL", `It looks like ${shape}`);
  }
  await prepare(url, looks);
  return url;
}

/** The embedded Postgres with the sample feeds; returns its URL. It all ends with `stack`. */
export async function embedded(stack: AsyncDisposableStack, looks = false): Promise<string> {
  const postgres = await startPostgres(await homeOf(project));
  stack.defer(postgres.stop);
  await prepare(postgres.url, looks);
  const samples = serveSamples(samplePort);
  stack.defer(samples.stop);
  if (!looks) await pointAtSamples(postgres.url, samples.url);
  return postgres.url;
}

/** Brings the schema up to date, and says what that took; for a look it must be so already. */
async function prepare(databaseUrl: string, looks: boolean): Promise<void> {
  if (looks) return await requireMigrated(databaseUrl);
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
