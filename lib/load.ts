/**
 * One run: etl.feeds -> fetch -> rows -> COPY -> merge -> report, in one transaction.
 *
 * All feeds of a run become visible together, parents before children. Each has its own savepoint: one that fails is
 * rolled back to it and reported, the others go on.
 */
import xxhash from "xxhash-wasm";
import { copyRows } from "./copy.ts";
import { type Client, connect, connectionLost } from "./database.ts";
import { asEtlError, EtlError } from "./errors.ts";
import { type Download, download, type Patience } from "./fetch.ts";
import { errorReport, type FeedReport, nothing, overall, type Report } from "./report.ts";
import { type Format, openRows, type Rows } from "./rows.ts";

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

interface Feed {
  name: string;
  url: string;
  format: Format | null;
  delimiter: string | null;
  encoding: string;
  etag: string | null;
  last_modified: string | null;
  content_hash: string | null;
  definition_hash: string;
}

/** Runs the feeds. Throws EtlError where the run as a whole cannot be: no connection, unknown feed, another run. */
export async function load(options: LoadOptions): Promise<Report> {
  const run = crypto.randomUUID();
  const client = await connect(options.databaseUrl);
  try {
    await client.query("begin");
    await lock(client);
    const plan = await client.query("select * from etl.plan($1, $2)", [options.feeds ?? [], options.force ?? false]);
    const feeds: FeedReport[] = [];
    for (const feed of plan.rows as Feed[]) feeds.push(await loadFeed(client, run, feed, options));
    await client.query(options.dryRun ? "rollback" : "commit");
    return { run, status: overall(feeds), dry_run: options.dryRun ?? false, feeds };
  } catch (error) {
    throw explain(error);
  } finally {
    await client.end();
  }
}

async function lock(client: Client): Promise<void> {
  const { rows } = await client.query("select pg_try_advisory_xact_lock(hashtext('tdc-etl')) as free");
  if (rows[0].free) return;
  throw new EtlError("busy", "another run is under way", "Wait until it ends; it loads the same feeds.");
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

type Outcome = Omit<FeedReport, "feed" | "bytes" | "ms">;

const unchanged: Outcome = { status: "unchanged", ...nothing, ignored_columns: [], error: null };

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
    const records = await takeEndMark(client, rows);
    await client.query("rollback to savepoint feed");
    return { ...unchanged, read: records, unchanged: records };
  }
  tell({ step: "merging" });
  const outcome = await merge(client, run, feed, rows);
  await remember(client, feed, answer, contentHash);
  return outcome;
}

async function stage(client: Client, feed: Feed, rows: Rows): Promise<void> {
  const { rows: [staging] } = await client.query(
    "select etl.stage($1, $2, $3) as copy",
    [feed.name, rows.header, rows.delimiter],
  );
  await copyRows(client, staging.copy, rows.chunks, rows.header ? "line" : "record");
}

async function takeEndMark(client: Client, rows: Rows): Promise<number> {
  const { rows: [staged] } = await client.query("select etl.take_end_mark($1) as records", [!rows.header]);
  return Number(staged.records);
}

async function merge(client: Client, run: string, feed: Feed, rows: Rows): Promise<Outcome> {
  const { rows: [merged] } = await client.query("select * from etl.merge($1, $2, $3)", [feed.name, run, !rows.header]);
  const { changed, ignored_columns, ...counts } = merged;
  for (const name of Object.keys(counts)) counts[name] = Number(counts[name]);
  return { ...unchanged, ...counts, status: changed ? "changed" : "unchanged", ignored_columns: ignored_columns ?? [] };
}

/** Keeps what lets the next run find out that nothing is new. */
async function remember(client: Client, feed: Feed, answer: Download, contentHash: string): Promise<void> {
  await client.query(
    `update etl.feeds
      set etag = $2, last_modified = $3, content_hash = $4, definition_hash = $5
      where name = $1 and (etag, last_modified, content_hash, definition_hash) is distinct from ($2, $3, $4, $5)`,
    [feed.name, answer.etag, answer.lastModified, contentHash, feed.definition_hash],
  );
}

/** The ledger: a row for each feed that changed or failed. */
async function enter(client: Client, run: string, startedAt: Date, report: FeedReport): Promise<void> {
  const entry = { run, started_at: startedAt, finished_at: new Date(), ...report };
  await client.query(
    `insert into etl.runs
      select (r).* from (select json_populate_record(null::etl.runs, $1) as r)`,
    [JSON.stringify({ ...entry, error: report.error?.message, error_code: report.error?.code })],
  );
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
