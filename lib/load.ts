/**
 * One run: etl.feeds -> fetch -> rows -> COPY -> merge -> report, in one transaction.
 *
 * All feeds of a run become visible together, parents before children. Each has its own savepoint: one that fails is
 * rolled back to it and reported, the others go on.
 */
import xxhash from "xxhash-wasm";
import { type Client, connect, connectionLost } from "./database.ts";
import { asEtlError, EtlError } from "./errors.ts";
import { download, type Patience } from "./fetch.ts";
import { errorReport, type FeedReport, overall, type Report } from "./report.ts";
import { openRows, type Rows } from "./rows.ts";
import {
  begin,
  countAgain,
  enter,
  type Feed,
  merge,
  type Outcome,
  plan,
  remember,
  stage,
  unchanged,
} from "./statements.ts";

export interface LoadOptions {
  databaseUrl: string;
  /** Names in etl.feeds; empty or absent: all that are enabled. */
  feeds?: string[];
  /** Load even where the validators say that nothing changed. */
  force?: boolean;
  /** Report what would change, and write nothing. */
  dryRun?: boolean;
  patience?: Patience;
  onProgress?: (progress: Progress) => void;
}

export interface Progress {
  feed: string;
  step: "fetching" | "merging" | Report["status"];
  bytes: number;
  total: number | null;
}

/** Runs the feeds. Throws EtlError where the run as a whole cannot be: no connection, unknown feed, another run. */
export async function load(options: LoadOptions): Promise<Report> {
  const run = crypto.randomUUID();
  const client = await connect(options.databaseUrl);
  try {
    await begin(client);
    const feeds: FeedReport[] = [];
    for (const feed of await plan(client, options.feeds ?? [], options.force ?? false)) {
      feeds.push(await loadFeed(client, run, feed, options));
    }
    await client.query(options.dryRun ? "rollback" : "commit");
    return { run, status: overall(feeds), dry_run: options.dryRun ?? false, feeds };
  } catch (error) {
    throw explain(error);
  } finally {
    await client.end();
  }
}

async function loadFeed(client: Client, run: string, feed: Feed, options: LoadOptions): Promise<FeedReport> {
  const startedAt = new Date();
  const progress: Progress = { feed: feed.name, step: "fetching", bytes: 0, total: null };
  const tell = (news: Partial<Progress>) => {
    Object.assign(progress, news);
    options.onProgress?.(progress);
  };
  await client.query("savepoint feed");
  tell({});
  const outcome = await replicate(client, run, feed, options.patience, tell).catch(async (error): Promise<Outcome> => {
    await client.query("rollback to savepoint feed").catch(() => {
      throw error;
    });
    return { ...unchanged, status: "failed", error: errorReport(asEtlError(error, `Cannot load ${feed.name}`)) };
  });
  const { status, ...others } = outcome;
  const ms = Date.now() - startedAt.getTime();
  const report = { feed: feed.name, status, bytes: progress.bytes, ...others, ms };
  if (status !== "unchanged") await enter(client, run, startedAt, report);
  await client.query("release savepoint feed");
  tell({ step: status });
  return report;
}

/** Brings one feed into its table, or finds that there is nothing to do: 304, same content, same rows. */
async function replicate(
  client: Client,
  run: string,
  feed: Feed,
  patience: Patience | undefined,
  tell: (news: Partial<Progress>) => void,
): Promise<Outcome> {
  const answer = await download(feed, patience, (bytes) => tell({ bytes }));
  if (!answer) return unchanged;
  tell({ total: answer.total });
  const hash = (await xxhash()).create64();
  let rows: Rows;
  try {
    rows = await openRows(answer.body, feed, (bytes) => hash.update(bytes));
    await stage(client, feed, rows);
  } finally {
    await answer.body.return(undefined);
  }
  const contentHash = hash.digest().toString(16).padStart(16, "0");
  if (contentHash === feed.content_hash) {
    const outcome = await countAgain(client, feed, rows);
    await client.query("rollback to savepoint feed");
    return outcome;
  }
  tell({ step: "merging" });
  const outcome = await merge(client, run, feed, rows);
  await remember(client, feed, answer, contentHash);
  return outcome;
}

function explain(error: unknown): EtlError {
  if (error instanceof EtlError) return error;
  const missing = /^(42P01|42883|3F000)$/.test((error as { code?: string }).code ?? "");
  if (!missing) return connectionLost(error) ?? asEtlError(error, "Cannot run");
  return new EtlError(
    "not_migrated",
    "Cannot run: the database lacks the schema etl",
    "Apply supabase/migrations: supabase db push, or deno task etl with this DATABASE_URL.",
    { cause: error },
  );
}
