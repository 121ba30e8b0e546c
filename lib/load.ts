/**
 * One run: etl.feeds -> fetch -> rows -> COPY -> merge -> report, in one transaction.
 *
 * All feeds of a run become visible together, parents before children. Each has its own savepoint: one that fails is
 * rolled back to it and reported, the others go on.
 */
import { type Client, connect, connectionLost } from "./database/connect.ts";
import { asEtlError, EtlError } from "./errors.ts";
import { type Download, download, type Source } from "./fetch/download.ts";
import { type Patience, patient } from "./limits.ts";
import { errorReport, type FeedReport, overall, type Report } from "./report.ts";
import type { Peekable } from "./format/peekable.ts";
import { openRows, openText, type Rows } from "./format/rows.ts";
import { Bytes } from "./format/scan/scanner.ts";
import { enter, type Feed, merge, type Outcome, plan, remember, stage, unchanged } from "./database/statements.ts";
import { begin, beginFeed, end, endFeed, undoFeed } from "./database/transaction.ts";

export interface LoadOptions {
  databaseUrl: string;
  /** Names in etl.feeds; empty or absent: all that are enabled. */
  feeds?: string[];
  /** Load even where the validators say that nothing changed. */
  force?: boolean;
  /** Report what would change, and write nothing. */
  dryRun?: boolean;
  patience?: Partial<Patience>;
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
    await end(client, !options.dryRun);
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
  await beginFeed(client);
  tell({});
  const outcome = await replicate(client, run, feed, { ...patient, ...options.patience }, tell).catch(
    async (error): Promise<Outcome> => {
      await undoFeed(client).catch(() => {
        throw error;
      });
      return { ...unchanged, status: "failed", error: errorReport(asEtlError(error, `Cannot load ${feed.name}`)) };
    },
  );
  const { status, ...others } = outcome;
  const ms = Date.now() - startedAt.getTime();
  const report = { feed: feed.name, status, bytes: progress.bytes, ...others, ms };
  if (status !== "unchanged") await enter(client, run, startedAt, report);
  await endFeed(client);
  tell({ step: status });
  return report;
}

/** Brings one feed into its table, or finds that there is nothing to do: 304, same content, same rows. */
async function replicate(
  client: Client,
  run: string,
  feed: Feed,
  patience: Patience,
  tell: (news: Partial<Progress>) => void,
): Promise<Outcome> {
  const ask = async (source: Source) => {
    const answer = await download(source, patience, (bytes) => tell({ bytes }));
    tell({ total: answer?.total ?? null });
    return answer;
  };
  let answer = await ask(feed);
  if (feed.content_hash && answer?.total && answer.total === Number(feed.content_length)) {
    // As long as the last one, so most likely the same: it is read for its hash alone, and asked for again if it is not.
    if (await read(answer, feed, patience, hashOf) === feed.content_hash) return unchanged;
    answer = await ask({ url: feed.url, etag: null, last_modified: null });
  }
  if (!answer) return unchanged;
  let rows: Rows | undefined;
  const contentHash = await read(answer, feed, patience, async (text) => {
    rows = await openRows(text, feed);
    await stage(client, feed, rows);
    return rows.records.hash;
  });
  if (contentHash === feed.content_hash) {
    await undoFeed(client);
    return unchanged;
  }
  tell({ step: "merging" });
  const outcome = await merge(client, run, feed, rows!);
  await remember(client, feed, answer, contentHash);
  return outcome;
}

/** Hands the text of an answer to `take`, which reads it to its end, and closes the answer. */
async function read<T>(
  { body }: Download,
  feed: Feed,
  patience: Patience,
  take: (text: Peekable) => Promise<T>,
): Promise<T> {
  try {
    return await take(await openText(body, feed.encoding, patience));
  } finally {
    await body.return(undefined);
  }
}

async function hashOf(text: Peekable): Promise<string> {
  const bytes = new Bytes();
  for await (const chunk of text) {
    bytes.put(chunk);
    bytes.take(chunk.length);
  }
  return bytes.hash;
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
