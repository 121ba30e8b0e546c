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
  endAttempt,
  enter,
  type Feed,
  holderOf,
  keepAttempt,
  keepWaiting,
  lead,
  merge,
  onStep,
  type Outcome,
  plan,
  remember,
  rememberValidators,
  rememberWithheld,
  stage,
  type Staged,
  unchanged,
  unmatchedColumns,
  type Validators,
  vaultSecrets,
} from "./database/statements.ts";
import { begin, beginFeed, end, endFeed, undoFeed } from "./database/transaction.ts";
import { meaningOf } from "./database/sqlstates.ts";
import { asEtlError, EtlError, TooManyRejects } from "./errors.ts";
import { type Asking, asking, secretsFrom, secretsIn } from "./fetch/asking.ts";
import { type Download, openDownload } from "./fetch/download.ts";
import { wrapped } from "./format/document.ts";
import { Pages } from "./fetch/pages.ts";
import type { Known } from "./fetch/validators.ts";
import type { Peekable } from "./format/peekable.ts";
import { namesOf } from "./format/pointer.ts";
import { openRows, openText } from "./format/rows.ts";
import { hashOf } from "./format/scan/scanner.ts";
import { type Allowance, allowance, type Patience, patient } from "./limits.ts";
import { errorReport, type FeedReport, overall, type Report, type Status } from "./report.ts";
import { inTurn, Room } from "./room.ts";

export interface LoadOptions extends RunOptions {
  databaseUrl: string;
}

export interface RunOptions {
  /** Names in etl.feeds; empty or absent: all that are enabled. */
  feeds?: string[];
  /** Load even where the validators say that nothing changed. */
  force?: boolean;
  /** In place of the URL of the one feed that is named; it has no validators, so that the next run asks the partner anew. */
  from?: LocalFile;
  /** The day to take for today, as 2021-07-01, of feeds whose URL holds {day}: for files of before. */
  day?: string;
  /** Report what would change, and write nothing. */
  dryRun?: boolean;
  patience?: Partial<Patience>;
  allowance?: Partial<Allowance>;
  /** Aborted, with a reason in words, when the process is about to be ended: what is staged by then is loaded. */
  ending?: AbortSignal;
  onProgress?: (progress: Progress) => void;
}

/** A file of this machine, served on loopback. */
export interface LocalFile {
  url: string;
  /** The file's name, for messages. */
  place: string;
}

export interface Progress {
  feed: string;
  step: "fetching" | "merging" | Status;
  /** What the merge is at; null before and after it. */
  doing: string | null;
  bytes: number;
  total: number | null;
}

/** Whether it names a day as the option does. */
export function isDay(text: unknown): text is string {
  return typeof text === "string" && /^(?!0000)\d{4}-\d\d-\d\d$/.test(text) &&
    new Date(`${text}T00:00Z`).toJSON()?.startsWith(text) === true;
}

/** Runs the feeds. Throws EtlError where the run as a whole cannot be: no connection, unknown feed, another run. */
export async function load({ databaseUrl, ...options }: LoadOptions): Promise<Report> {
  await using client = await connect(databaseUrl);
  return await loadOver(client, options);
}

/** The same over a connection that there is, as behind a pooler: of a run nothing is left in it. */
export async function loadOver(client: Client, options: RunOptions): Promise<Report> {
  const run = crypto.randomUUID();
  using room = new Room({ ...allowance, ...options.allowance }, options.ending);
  const { feeds: names = [], dryRun = false } = options;
  try {
    const leader = dryRun ? null : await lead(client, names);
    await begin(client, room.deadlineMs, dryRun);
    const jobs = await plannedJobs(client, run, room, options);
    await stageAll(jobs, leader);
    await claimAll(jobs);
    const feeds: FeedReport[] = [];
    for (const job of jobs) feeds.push(await finish(job));
    await remain(client, leader, jobs);
    await end(client, !dryRun);
    if (feeds.length > 0 && feeds.every(({ status }) => status === "busy")) {
      const { message, hint } = feeds[0].error!;
      throw new EtlError("busy", "another run is under way", `${message}. ${hint}`);
    }
    return { run, status: overall(feeds), dry_run: dryRun, feeds };
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
  /** The jobs of the feeds whose tables it refers to. */
  parents: Job[];
  room: Room;
  patience: Patience;
  from: LocalFile | null;
  /** Another run has it. */
  isTaken: boolean;
  /** Nothing but what it refers to is fetched before it. */
  isFirst: boolean;
  /** Why it has had no turn. */
  putOff: string | null;
  startedAt: Date;
  ms: number;
  progress: Progress;
  tell(news: Partial<Progress>): void;
  staged: Staged | null;
  /** Where nothing new came, and rejects are tried again. */
  retried: Outcome | null;
  /** Of an answer that brought nothing new. */
  validators: Validators | null;
  /** Of a file with too many rejects: what of them is kept. */
  attempt: string | null;
  /** What became of it, once that is known. */
  outcome: Outcome | null;
}

async function plannedJobs(client: Client, run: string, room: Room, options: RunOptions): Promise<Job[]> {
  const { feeds: names = [] } = options;
  const taken = await claimFeeds(client, names);
  const feeds = await plan(client, names, options.force ?? false, options.day);
  const jobs = feeds.map((feed, i) => {
    const progress: Progress = { feed: feed.name, step: "fetching", doing: null, bytes: 0, total: null };
    const job: Job = {
      ...{ client, run, feed, place: i + 1, parents: [], room, patience: { ...patient, ...options.patience } },
      ...{ from: options.from ?? null },
      ...{ isTaken: taken.includes(feed.name), isFirst: false, putOff: null },
      ...{ startedAt: new Date(), ms: 0, progress, staged: null, retried: null, validators: null, attempt: null },
      outcome: null,
      tell(news) {
        Object.assign(progress, news);
        options.onProgress?.(progress);
      },
    };
    return job;
  });
  for (const job of jobs) {
    job.parents = jobs.filter(({ feed }) => job.feed.parents.includes(feed.name));
    if (job.isTaken) settle(job, refused(job, busy("another run is loading it", await holderOf(client, job.feed))));
  }
  return jobs;
}

/** Whether it is known what comes: what is staged, or nothing new. */
function isFetched({ staged, retried }: Job): boolean {
  return staged !== null || retried !== null;
}

/** Who has it is no part of the message, which is kept while the feed waits on. */
function busy(message: string, holder: string | null): EtlError {
  const hint = "Wait until it ends; it loads the same feeds, or tables that they refer to.";
  return new EtlError("busy", message, holder ? `${hint} ${holder}` : hint);
}

function settle(job: Job, outcome: Outcome): void {
  const { status, error } = outcome;
  if (status === "unchanged" && job.feed.waits && !isFetched(job)) {
    job.retried = outcome;
    return;
  }
  // Who was first had all the time of the run, and who was slow itself would have been so in any other.
  const hadNoTime = error?.code === "too_slow" && job.room.over.aborted && !job.isFirst;
  if (status === "busy" || status === "deferred" || hadNoTime) job.putOff = error!.message;
  job.outcome = outcome;
  job.tell({ step: outcome.status, doing: null });
}

function refused({ feed }: Job, error: unknown): Outcome {
  const { code, message } = error as EtlError;
  if (code === "http_404" && feed.not_yet) return { ...unchanged, note: `not there yet: ${message}` };
  const status = code === "busy" || code === "deferred" ? code : "failed";
  const doing = status === "failed" ? `Cannot load ${feed.name}` : `${feed.name} waits`;
  const rejects = error instanceof TooManyRejects ? error.rejects : [];
  return { ...unchanged, status, rejects, error: errorReport(asEtlError(error, doing)) };
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
    if (error instanceof TooManyRejects) job.attempt = error.attempt;
    return refused(job, error);
  });
  await endFeed(client);
  job.ms += Date.now() - startedAt;
  if (outcome) settle(job, outcome);
}

/** Stages all that there is time and room for. What would fill the room alone comes last, unless it leads. */
async function stageAll(jobs: Job[], leader: string | null): Promise<void> {
  const families = inTurn(jobs.filter(({ outcome }) => !outcome), leader);
  const [first = []] = families;
  for (const job of first) job.isFirst = true;
  const isLed = first.at(-1)?.feed.name === leader;
  const turn = families.flat();
  for (const isLast of [false, true]) {
    for (const [i, job] of turn.entries()) {
      if (job.outcome || isFetched(job) || waitsFor(job)) continue;
      const isOpen = turn.slice(0, i).some((other) =>
        !other.outcome && !isFetched(other) && job.parents.includes(other)
      );
      if (!isOpen) await attempt(job, () => fetchAndStage(job, isLast || (isLed && job.isFirst)));
    }
  }
}

/** Whether a parent waits for another run: then the feed does, too. */
function waitsFor(job: Job): boolean {
  const parent = job.parents.find(({ outcome }) => outcome?.status === "busy" || outcome?.status === "deferred");
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
  const asked = job.from ? askingFor(job.from, feed) : await askingOf(job);
  await using download = await ask(job, asked, feed);
  if (download.isUnchanged) return nothingNew(job, { ...download, total: feed.content_length });
  if (!alone && room.isFilledBy(download.total ?? 0)) return null;
  if (!isAsLongAsLast(download, feed)) return await take(job, asked, download);
  // So it is most likely the same: it is read for its hash alone, and asked for again if it is not.
  if (await hashOf(await textOf(job, download)) === feed.content_hash) return nothingNew(job, download);
  await using again = await ask(job, asked, none);
  return await take(job, asked, again);
}

/** The feed's request; the secrets in it are looked up, where it has any. */
async function askingOf({ client, feed }: Job): Promise<Asking> {
  const names = secretsIn(feed);
  return asking(feed, names.length > 0 ? secretsFrom(await vaultSecrets(client, names), names) : {});
}

/** The file alone is asked for: what the feed says to its partner is for no other. */
function askingFor({ url, place }: LocalFile, { address }: Feed): Asking {
  const member = URL.parse(address ?? "")?.hash ?? "";
  return { ...asking({ address: url + member, headers: {} }), place };
}

/** The same content may have come with other validators. */
function nothingNew(job: Job, { etag, lastModified, total }: Validators): Outcome {
  if (!job.from) job.validators = { etag, lastModified, total };
  return unchanged;
}

/** `before`: bytes of the pages before it. */
async function ask(job: Job, asked: Asking, known: Known, before = 0): Promise<Download> {
  const { feed, room, tell } = job;
  const patience = { ...job.patience, longestWaitMs: Math.min(job.patience.longestWaitMs, room.timeLeft) };
  const download = await openDownload(asked, known, patience, (bytes) => tell({ bytes }), room.over, before);
  // What a page says of itself says nothing of the others.
  if (feed.next) return { ...download, etag: null, lastModified: null, total: null };
  tell({ total: download.total });
  return download;
}

/** Nothing is known of what comes. */
const none: Known = { etag: null, last_modified: null };

function areLast({ etag, lastModified, total }: Validators, feed: Feed): boolean {
  return etag === feed.etag && lastModified === feed.last_modified && total === feed.content_length;
}

function isAsLongAsLast({ total }: Download, feed: Feed): boolean {
  return feed.content_hash !== null && total !== null && total === feed.content_length;
}

/** Stages what came, unless it is what came last. */
async function take(job: Job, asked: Asking, download: Download): Promise<Outcome | null> {
  const { client, feed, room, place, patience } = job;
  room.require(download.total ?? 0);
  const open = (page: Asking) => ask(job, page, none, job.progress.bytes);
  await using pages = new Pages(feed.next, asked, download, patience.pages, open);
  const textAfter = async (link: string | null) => {
    const page = await pages.after(link);
    return page && await textOf(job, page);
  };
  const rows = await openRows(await textOf(job, download), feed, textAfter);
  await stage(client, feed, place, { ...rows, chunks: room.fill(rows.chunks) });
  if (rows.records.hash === feed.content_hash) {
    await undoFeed(client);
    return nothingNew(job, download);
  }
  room.keep();
  const { header, only, hasEnd: isWhole, records: { count, broken, sentinel, hash } } = rows;
  const { etag, lastModified } = download;
  // That the partner's next file is as long as one of ours would tell nothing.
  const total = job.from ? null : download.total;
  job.staged = { header, only, isWhole, count, broken, sentinel, hash, etag, lastModified, total };
  return null;
}

async function textOf({ feed, patience }: Job, download: Download): Promise<Peekable> {
  return await openText(download.body, feed.encoding, patience, download);
}

/** Has the tables of what is staged for this run alone, or leaves the feed to the next one. */
async function claimAll(jobs: Job[]): Promise<void> {
  for (const job of jobs) {
    if (job.outcome || waitsFor(job)) continue;
    await attempt(job, async () => {
      if (await claimTables(job.client, job.feed)) return null;
      const holder = await holderOf(job.client, job.feed);
      throw busy("another run is writing its table, or one that is tied to it by a key", holder);
    });
  }
  // In a circle of keys a parent may be behind its child: each that waits is followed by those that refer to it.
  while (jobs.some((job) => !job.outcome && waitsFor(job)));
}

/** Where the file's only record is no record of the table's, but has arrays, it is a document around the records. */
async function mergeStaged({ client, run, feed, place, staged }: Job): Promise<Outcome> {
  const only = staged?.only;
  const around = () => wrapped("it is an object, not an array of objects", only!.arrays, feed.name, true);
  const outcome = await merge(client, run, feed, place, staged).catch((error) => {
    const isNoRecord = error instanceof TooManyRejects || meaningOf(error)?.code === "columns";
    throw only && isNoRecord ? around() : error;
  });
  const isIgnored = (pointer: string) => outcome.ignored_columns.includes(namesOf(pointer)[0]);
  if (only?.isFilled && only.arrays.some(isIgnored)) throw around();
  return outcome;
}

/** Merges what is staged, and says what became of the feed. */
async function finish(job: Job): Promise<FeedReport> {
  const { client, run, feed, startedAt, staged, retried, validators } = job;
  if (!job.outcome) {
    job.tell({ step: "merging" });
    using _steps = onStep(client, (doing) => job.tell({ doing }));
    await attempt(job, async () => {
      const outcome = await mergeStaged(job);
      if (staged) await remember(client, feed, staged);
      if (staged) await rememberWithheld(client, feed, outcome);
      const note = staged && await unmatchedColumns(client, feed, staged);
      return { ...outcome, note: note ?? retried?.note ?? null };
    });
  }
  const { status, ...others } = job.outcome!;
  const notes = [others.note, feed.enabled ? null : "it is disabled: no run takes it unless it is named"];
  const note = notes.filter((note) => note !== null).join("; ") || null;
  const report = { feed: feed.name, status, bytes: job.progress.bytes, ...others, note, ms: job.ms };
  if (validators && !areLast(validators, feed)) await rememberValidators(client, feed, validators);
  const isWellAgain = isLoaded(job) && feed.failed;
  if (status === "changed" || status === "failed" || isWellAgain) await enter(client, run, startedAt, report);
  if (job.attempt) await keepAttempt(client, run, feed, job.attempt);
  else if (isLoaded(job) && feed.attempted) await endAttempt(client, feed);
  return report;
}

/** Whether its file of today is in the table now: one that is not there yet, or is of another day, mends nothing. */
function isLoaded({ feed, staged, validators, outcome }: Job): boolean {
  const { status } = outcome!;
  return !feed.backfill && (status === "changed" || status === "unchanged") && (staged ?? validators) !== null;
}

/** Remembers who waits on. What another run has is for that one to say. */
async function remain(client: Client, leader: string | null, jobs: Job[]): Promise<void> {
  const claimed = jobs.filter(({ isTaken }) => !isTaken);
  const hadTurn = claimed.filter(({ putOff }) => putOff === null).map(({ feed }) => feed.name);
  const putOff = claimed.flatMap(({ feed, putOff }) => putOff === null ? [] : [[feed.name, putOff]]);
  await keepWaiting(client, leader, hadTurn, Object.fromEntries(putOff));
}
