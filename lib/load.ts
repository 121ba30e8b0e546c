/**
 * One run: etl.feeds -> fetch -> rows -> COPY -> merge -> report, in one transaction.
 *
 * First all feeds are fetched and staged, then all are merged, parents before children: while partners send, no table is
 * locked. All feeds of a run become visible together. Each has savepoints of its own: one that fails is rolled back to
 * them and reported, the others go on.
 */
import { type Client, connect } from "./database/connect.ts";
import { runFailed } from "./database/failures.ts";
import {
  claimFeeds,
  claimTables,
  enter,
  type Feed,
  merge,
  type Outcome,
  plan,
  remember,
  rememberValidators,
  stage,
  type Staged,
  unchanged,
  type Validators,
} from "./database/statements.ts";
import { begin, beginFeed, end, endFeed, undoFeed } from "./database/transaction.ts";
import { asEtlError, EtlError } from "./errors.ts";
import { type Download, openDownload, type Source } from "./fetch/download.ts";
import type { Peekable } from "./format/peekable.ts";
import { openRows, openText } from "./format/rows.ts";
import { hashOf } from "./format/scan/scanner.ts";
import { type Allowance, allowance, type Patience, patient } from "./limits.ts";
import { errorReport, type FeedReport, overall, type Report, type Status } from "./report.ts";
import { inTurn, Room } from "./room.ts";

export interface LoadOptions {
  databaseUrl: string;
  /** Names in etl.feeds; empty or absent: all that are enabled. */
  feeds?: string[];
  /** Load even where the validators say that nothing changed. */
  force?: boolean;
  /** Report what would change, and write nothing. */
  dryRun?: boolean;
  patience?: Partial<Patience>;
  allowance?: Partial<Allowance>;
  /** Aborted, with a reason in words, when the process is about to be ended: what is staged by then is loaded. */
  ending?: AbortSignal;
  onProgress?: (progress: Progress) => void;
}

export interface Progress {
  feed: string;
  step: "fetching" | "merging" | Status;
  bytes: number;
  total: number | null;
}

/** Runs the feeds. Throws EtlError where the run as a whole cannot be: no connection, unknown feed, another run. */
export async function load(options: LoadOptions): Promise<Report> {
  const run = crypto.randomUUID();
  await using client = await connect(options.databaseUrl);
  using room = new Room({ ...allowance, ...options.allowance }, options.ending);
  try {
    await begin(client, room.deadlineMs);
    const jobs = await plannedJobs(client, run, room, options);
    await stageAll(jobs);
    await claimAll(jobs);
    if (jobs.length > 0 && jobs.every(({ outcome }) => outcome?.status === "busy")) {
      const { message, hint } = jobs[0].outcome!.error!;
      throw new EtlError("busy", "another run is under way", `${message}. ${hint}`);
    }
    const feeds: FeedReport[] = [];
    for (const job of jobs) feeds.push(await finish(job));
    await end(client, !options.dryRun);
    return { run, status: overall(feeds), dry_run: options.dryRun ?? false, feeds };
  } catch (error) {
    throw runFailed(error);
  }
}

/** One feed of a run. */
interface Job {
  client: Client;
  run: string;
  feed: Feed;
  /** Its number in the run, from 1, in which parents are before children. */
  place: number;
  room: Room;
  patience: Patience;
  startedAt: Date;
  ms: number;
  progress: Progress;
  tell(news: Partial<Progress>): void;
  staged: Staged | null;
  /** Of an answer that brought nothing new. */
  validators: Validators | null;
  /** What became of it, once that is known. */
  outcome: Outcome | null;
}

async function plannedJobs(client: Client, run: string, room: Room, options: LoadOptions): Promise<Job[]> {
  const names = options.feeds ?? [];
  const taken = await claimFeeds(client, names);
  const feeds = await plan(client, names, options.force ?? false);
  return feeds.map((feed, i) => {
    const progress: Progress = { feed: feed.name, step: "fetching", bytes: 0, total: null };
    const job: Job = {
      ...{ client, run, feed, place: i + 1, room, patience: { ...patient, ...options.patience } },
      ...{ startedAt: new Date(), ms: 0, progress, staged: null, validators: null, outcome: null },
      tell(news) {
        Object.assign(progress, news);
        options.onProgress?.(progress);
      },
    };
    if (taken.includes(feed.name)) settle(job, refused(job, busy("another run is loading it")));
    return job;
  });
}

function busy(message: string): EtlError {
  return new EtlError("busy", message, "Wait until it ends; it loads the same feeds, or tables that they refer to.");
}

function settle(job: Job, outcome: Outcome): void {
  job.outcome = outcome;
  job.tell({ step: outcome.status });
}

function refused({ feed }: Job, error: unknown): Outcome {
  const { code } = error as EtlError;
  const status = code === "busy" || code === "deferred" ? code : "failed";
  const doing = status === "failed" ? `Cannot load ${feed.name}` : `${feed.name} waits`;
  return { ...unchanged, status, error: errorReport(asEtlError(error, doing)) };
}

/** Does something of a feed in a savepoint of its own; where it fails, nothing of it is left. */
async function attempt(job: Job, step: () => Promise<Outcome | null>): Promise<void> {
  const { client } = job;
  const startedAt = Date.now();
  await beginFeed(client);
  const outcome = await step().catch(async (error): Promise<Outcome> => {
    await undoFeed(client).catch(() => {
      throw error;
    });
    return refused(job, error);
  });
  await endFeed(client);
  job.ms += Date.now() - startedAt;
  if (outcome) settle(job, outcome);
}

/** Stages all that there is time and room for. What would fill the room alone comes last. */
async function stageAll(jobs: Job[]): Promise<void> {
  const turn = inTurn(jobs);
  for (const alone of [false, true]) {
    for (const [i, job] of turn.entries()) {
      if (job.outcome || job.staged) continue;
      const parents = turn.slice(0, i).filter(({ feed }) => job.feed.parents.includes(feed.name));
      const isOpen = parents.some(({ outcome, staged }) => !outcome && !staged);
      if (!isOpen && !waitsFor(job, parents)) await attempt(job, () => fetchAndStage(job, alone));
    }
  }
}

/** Whether a parent waits for another run: then the feed does, too. */
function waitsFor(job: Job, parents: Job[]): boolean {
  const parent = parents.find(({ outcome }) => outcome?.status === "busy" || outcome?.status === "deferred");
  if (!parent) return false;
  const { status, error } = parent.outcome!;
  settle(job, refused(job, new EtlError(status, `it refers to ${parent.feed.name}, which waits`, error!.hint)));
  return true;
}

/** Brings one feed into its staging table, or finds that there is nothing to do: 304, same content. */
async function fetchAndStage(job: Job, alone: boolean): Promise<Outcome | null> {
  const { feed, room } = job;
  room.require(0);
  job.startedAt = new Date();
  job.tell({});
  await using download = await ask(job, feed);
  if (download.isUnchanged) return nothingNew(job, { ...download, total: feed.content_length });
  if (!alone && room.isFilledBy(download.total ?? 0)) return null;
  if (!isAsLongAsLast(download, feed)) return await take(job, download);
  // So it is most likely the same: it is read for its hash alone, and asked for again if it is not.
  if (await hashOf(await textOf(job, download)) === feed.content_hash) return nothingNew(job, download);
  await using again = await ask(job, { url: feed.url, etag: null, last_modified: null });
  return await take(job, again);
}

/** The same content may have come with other validators. */
function nothingNew(job: Job, { etag, lastModified, total }: Validators): Outcome {
  job.validators = { etag, lastModified, total };
  return unchanged;
}

async function ask({ patience, room, tell }: Job, source: Source): Promise<Download> {
  const download = await openDownload(source, patience, (bytes) => tell({ bytes }), room.over);
  tell({ total: download.total });
  return download;
}

function areLast({ etag, lastModified, total }: Validators, feed: Feed): boolean {
  return etag === feed.etag && lastModified === feed.last_modified && total === feed.content_length;
}

function isAsLongAsLast({ total }: Download, feed: Feed): boolean {
  return feed.content_hash !== null && total !== null && total === feed.content_length;
}

/** Stages what came, unless it is what came last. */
async function take(job: Job, download: Download): Promise<Outcome | null> {
  const { client, feed, room, place } = job;
  room.require(download.total ?? 0);
  const rows = await openRows(await textOf(job, download), feed);
  await stage(client, feed, place, { ...rows, chunks: room.fill(rows.chunks) });
  if (rows.records.hash === feed.content_hash) {
    await undoFeed(client);
    return nothingNew(job, download);
  }
  room.keep();
  const { header, records: { broken, sentinel, hash } } = rows;
  const { etag, lastModified, total } = download;
  job.staged = { header, broken, sentinel, hash, etag, lastModified, total };
  return null;
}

async function textOf({ feed, patience }: Job, { body }: Download): Promise<Peekable> {
  return await openText(body, feed.encoding, patience);
}

/** Has the tables of what is staged for this run alone, or leaves the feed to the next one. */
async function claimAll(jobs: Job[]): Promise<void> {
  for (const job of jobs) {
    if (job.outcome || waitsFor(job, jobs.filter(({ feed }) => job.feed.parents.includes(feed.name)))) continue;
    await attempt(job, async () => {
      if (await claimTables(job.client, job.feed)) return null;
      throw busy("another run is writing its table, or one that is tied to it by a key");
    });
  }
}

/** Merges what is staged, and says what became of the feed. */
async function finish(job: Job): Promise<FeedReport> {
  const { client, run, feed, startedAt, place, staged, validators } = job;
  if (!job.outcome) {
    job.tell({ step: "merging" });
    await attempt(job, async () => {
      const outcome = await merge(client, run, feed, place, staged!);
      await remember(client, feed, staged!, outcome.read);
      return outcome;
    });
  }
  const { status, ...others } = job.outcome!;
  const report = { feed: feed.name, status, bytes: job.progress.bytes, ...others, ms: job.ms };
  if (validators && !areLast(validators, feed)) await rememberValidators(client, feed, validators);
  if (status === "changed" || status === "failed") await enter(client, run, startedAt, report);
  return report;
}
