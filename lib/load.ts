/**
 * One run: etl.feeds -> fetch -> rows -> COPY -> merge -> report, in one transaction.
 *
 * All feeds of a run become visible together, parents before children. Each has its own savepoint: one that fails is
 * rolled back to it and reported, the others go on.
 */
import { type Client, connect } from "./database/connect.ts";
import { runFailed } from "./database/failures.ts";
import { asEtlError } from "./errors.ts";
import { type Download, openDownload, type Source } from "./fetch/download.ts";
import { type Patience, patient } from "./limits.ts";
import { errorReport, type FeedReport, overall, type Report } from "./report.ts";
import type { Peekable } from "./format/peekable.ts";
import { openRows, openText } from "./format/rows.ts";
import { hashOf } from "./format/scan/scanner.ts";
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
  await using client = await connect(options.databaseUrl);
  try {
    await begin(client);
    const feeds: FeedReport[] = [];
    const planned = await plan(client, options.feeds ?? [], options.force ?? false);
    for (const [index, feed] of planned.entries()) {
      feeds.push(await loadFeed(client, run, feed, index + 1, options));
    }
    await end(client, !options.dryRun);
    return { run, status: overall(feeds), dry_run: options.dryRun ?? false, feeds };
  } catch (error) {
    throw runFailed(error);
  }
}

async function loadFeed(
  client: Client,
  run: string,
  feed: Feed,
  place: number,
  options: LoadOptions,
): Promise<FeedReport> {
  const startedAt = new Date();
  const progress: Progress = { feed: feed.name, step: "fetching", bytes: 0, total: null };
  const tell = (news: Partial<Progress>) => {
    Object.assign(progress, news);
    options.onProgress?.(progress);
  };
  await beginFeed(client);
  tell({});
  const job = { client, run, feed, place, patience: { ...patient, ...options.patience }, tell };
  const outcome = await replicate(job).catch(async (error): Promise<Outcome> => {
    await undoFeed(client).catch(() => {
      throw error;
    });
    return { ...unchanged, status: "failed", error: errorReport(asEtlError(error, `Cannot load ${feed.name}`)) };
  });
  const { status, ...others } = outcome;
  const ms = Date.now() - startedAt.getTime();
  const report = { feed: feed.name, status, bytes: progress.bytes, ...others, ms };
  if (status !== "unchanged") await enter(client, run, startedAt, report);
  await endFeed(client);
  tell({ step: status });
  return report;
}

/** What the steps of one feed share. */
interface Job {
  client: Client;
  run: string;
  feed: Feed;
  place: number;
  patience: Patience;
  tell(news: Partial<Progress>): void;
}

/** Brings one feed into its table, or finds that there is nothing to do: 304, same content, same rows. */
async function replicate(job: Job): Promise<Outcome> {
  const { feed } = job;
  await using download = await ask(job, feed);
  if (!download) return unchanged;
  if (!isAsLongAsLast(download, feed)) return await take(job, download);
  // So it is most likely the same: it is read for its hash alone, and asked for again if it is not.
  if (await hashOf(await textOf(job, download)) === feed.content_hash) return unchanged;
  await using again = await ask(job, { url: feed.url, etag: null, last_modified: null });
  return again ? await take(job, again) : unchanged;
}

async function ask({ patience, tell }: Job, source: Source): Promise<Download | null> {
  const download = await openDownload(source, patience, (bytes) => tell({ bytes }));
  tell({ total: download?.total ?? null });
  return download;
}

function isAsLongAsLast({ total }: Download, feed: Feed): boolean {
  return feed.content_hash !== null && total !== null && total === feed.content_length;
}

/** Stages what came, and merges it where it is not what came last. */
async function take(job: Job, download: Download): Promise<Outcome> {
  const { client, run, feed, place, tell } = job;
  const rows = await openRows(await textOf(job, download), feed);
  await stage(client, feed, place, rows);
  const { hash } = rows.records;
  if (hash === feed.content_hash) {
    await undoFeed(client);
    return unchanged;
  }
  tell({ step: "merging" });
  const outcome = await merge(client, run, feed, place, rows);
  await remember(client, feed, download, hash, outcome.read);
  return outcome;
}

async function textOf({ feed, patience }: Job, { body }: Download): Promise<Peekable> {
  return await openText(body, feed.encoding, patience);
}
