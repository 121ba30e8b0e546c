/** The database's part of a run: one short statement a step. What it decides stands in supabase/sql. */
import { copyRows } from "./copy.ts";
import type { Client } from "./connect.ts";
import { EtlError, TooManyRejects } from "../errors.ts";
import type { Download } from "../fetch/download.ts";
import { type FeedReport, nothing } from "../report.ts";
import type { Format, Rows } from "../format/rows.ts";

/** As etl.plan() gives it: columns of etl.feeds, explained there, and validators, null where they must not be used. */
export interface Feed {
  name: string;
  /** Whether runs that name no feed take it. */
  enabled: boolean;
  url: string;
  headers: Record<string, string>;
  format: Format | null;
  records: string | null;
  next: string | null;
  columns: Record<string, string>;
  time_zone: string;
  skip: number;
  header: string[] | null;
  delimiter: string | null;
  quote: string;
  escape: string | null;
  encoding: string;
  contents: "all" | "changes";
  absent: "keep" | "delete" | "mark";
  fresh_within: string | null;
  reject_limit: number;
  etag: string | null;
  last_modified: string | null;
  content_hash: string | null;
  content_length: number | null;
  /** The URL with its dates; null where they cannot be written. */
  address: string | null;
  /** Whether it is the file of another day than today's. */
  backfill: boolean;
  /** Whether a file that is not there is no failure yet. */
  not_yet: boolean;
  /** Whether the last that the ledger has of it is a failure. */
  failed: boolean;
  /** The feeds whose tables it refers to. */
  parents: string[];
  /** Whether there are rejects to be tried again, also where nothing new comes. */
  waits: boolean;
  /** Whether its last attempt is kept, which failed for too many rejects. */
  attempted: boolean;
  /** A text: the least of them is fetched first. */
  turn: string;
}

/** What became of a feed's records; the rest of its report is known outside. */
export type Outcome = Omit<FeedReport, "feed" | "bytes" | "ms">;

export const unchanged: Outcome = {
  status: "unchanged",
  ...nothing,
  ...{ deleted: 0, withheld: null },
  ...{ rejects: [], ignored_columns: [], note: null, error: null },
};

/**
 * The feed that has been put off for longest and now comes first; null where none has. In a transaction of its own: a run
 * that is killed over it is not begun with it once more.
 */
export async function lead(client: Client, names: string[]): Promise<string | null> {
  const { rows: [{ leader }] } = await client.query("select etl.lead($1) as leader", [names]);
  return leader;
}

/** Remembers which feeds were put off (feed -> why), and which need wait no longer. */
export async function keepWaiting(
  client: Client,
  leader: string | null,
  hadTurn: string[],
  putOff: Record<string, string>,
): Promise<void> {
  await client.query("select etl.keep_waiting($1, $2, $3)", [leader, hadTurn, JSON.stringify(putOff)]);
}

/** Has these feeds (none: all) for this run alone; returns those that another run has. */
export async function claimFeeds(client: Client, names: string[]): Promise<string[]> {
  const { rows } = await client.query("select etl.claim_feeds($1) as name", [names]);
  return rows.map(({ name }) => name);
}

/** Which process of the database has the feed or its tables, since when, and how it is ended; null where none has. */
export async function holderOf(client: Client, { name }: Feed): Promise<string | null> {
  const { rows: [{ holder }] } = await client.query("select etl.holder($1) as holder", [name]);
  return holder;
}

/** Has the feed's table for this run alone, and those that it refers to unchanged; false where another run is in the way. */
export async function claimTables(client: Client, { name }: Feed): Promise<boolean> {
  const { rows: [claim] } = await client.query("select etl.claim_tables($1) as claimed", [name]);
  return claim.claimed;
}

/** The feeds to load, parents first. `day`: what to take for today in their URLs. */
export async function plan(
  client: Client,
  names: string[],
  force: boolean,
  day: string | null = null,
): Promise<Feed[]> {
  const { rows } = await client.query("select feed from etl.plan($1, $2, $3) feed", [names, force, day]);
  return rows.map(({ feed }) => feed);
}

/** What the database's vault has of these. */
export async function vaultSecrets(client: Client, names: string[]): Promise<Record<string, string | null>> {
  const { rows } = await client.query("select etl.vault_secrets($1) as secrets", [names]);
  return rows[0].secrets;
}

/** place: the feed's number in the run, from 1. */
export async function stage(client: Client, feed: Feed, place: number, rows: Rows): Promise<void> {
  const { header, delimiter, chunks, records } = rows;
  const { rows: [staging] } = await client.query("select etl.stage($1, $2, $3, $4, $5) as copy", [
    feed.name,
    place,
    header,
    delimiter,
    feed.quote,
  ]);
  const staged = await copyRows(client, staging.copy, chunks);
  if (staged === records.count) return;
  throw new EtlError(
    "staging",
    `Postgres took ${staged} of its ${records.count} records`,
    "Please report this as a bug.",
  );
}

/** What is known of a body in the staging table. Not the scanner: each has memory of its own. */
export type Staged =
  & Pick<Rows, "header" | "only">
  & {
    /** Whether its end is known to be its end: it cannot be cut short. */
    isWhole: boolean;
  }
  & Pick<Rows["records"], "count" | "broken" | "sentinel" | "hash">
  & Validators;

/** What an answer brings by which the next one may be known to be the same. */
export type Validators = Pick<Download, "etag" | "lastModified" | "total">;

/** Hears of each step of a merge until the end of the block. */
export function onStep(client: Client, tell: (step: string) => void): Disposable {
  const hear = ({ detail, message }: { detail?: string; message?: string }) => {
    if (detail === "tdc-etl step") tell(message ?? "");
  };
  client.on("notice", hear);
  return { [Symbol.dispose]: () => void client.off("notice", hear) };
}

/** Merges what was staged at this place; where nothing new came, the rejects alone that wait. */
export async function merge(
  client: Client,
  run: string,
  feed: Feed,
  place: number,
  staged: Staged | null,
): Promise<Outcome> {
  const { rows: [{ merged }] } = await client.query("select etl.merge_within_limit($1, $2, $3, $4, $5, $6) as merged", [
    feed.name,
    run,
    staged && place,
    staged?.header,
    staged && staged.broken > 0 ? staged.sentinel : null,
    // What the file of another day lacks says nothing.
    feed.backfill ? null : staged?.isWhole,
  ]);
  const { changed, ignored_columns, refused, rejects, ...counts } = merged;
  if (refused) throw new TooManyRejects(refused.message, refused.hint, rejects, refused.attempt);
  return {
    ...unchanged,
    status: changed ? "changed" : "unchanged",
    ...counts,
    rejects,
    ignored_columns: ignored_columns ?? [],
  };
}

/** What of etl.feeds.columns says nothing of the file that was just merged, in words; null where all does. */
export async function unmatchedColumns(client: Client, feed: Feed, staged: Staged): Promise<string | null> {
  // Of a few objects of JSON a key may be missing for once.
  if (Object.keys(feed.columns).length === 0 || (staged.header === null && staged.count < 10)) return null;
  const { rows: [{ told }] } = await client.query(
    "select etl.unmatched_told(f, may_guess => true) as told from etl.feeds f where f.name = $1",
    [feed.name],
  );
  return told;
}

/** Keeps the rejects of a feed of which nothing was loaded, for there are too many. */
export async function keepAttempt(client: Client, run: string, { name }: Feed, attempt: string): Promise<void> {
  await client.query("select etl.keep_attempt($1, $2, $3)", [name, run, attempt]);
}

/** Forgets them: the feed is loaded. */
export async function endAttempt(client: Client, { name }: Feed): Promise<void> {
  await client.query("select etl.end_attempt($1)", [name]);
}

/** What is answered to whoever follows a link of etl.share(); `hash`: SHA-256 of its token. */
export async function shared(
  client: Client,
  hash: Uint8Array,
  asCsv: boolean,
): Promise<{ status: number; file_name: string | null; body: string }> {
  const { rows: [answer] } = await client.query("select * from etl.shared($1, $2)", [hash, asCsv]);
  return answer;
}

/** Keeps what lets the next run find out that nothing is new; nothing where the feed was redefined meanwhile. */
export async function remember(
  client: Client,
  feed: Feed,
  { header, etag, lastModified, hash, total, count }: Staged,
): Promise<void> {
  await client.query(
    "select etl.remember($1, $2, $3, $4, $5, $6, $7)",
    [JSON.stringify(feed), etag, lastModified, hash, total, count, header === null],
  );
}

/** Keeps how many rows the file lacks that were left as they are, and why. */
export async function rememberWithheld(client: Client, feed: Feed, { withheld }: Outcome): Promise<void> {
  if (feed.absent === "keep" || feed.backfill) return;
  await client.query("select etl.remember_withheld($1, $2)", [feed.name, withheld]);
}

/** Keeps the validators of a later answer with the same content. */
export async function rememberValidators(
  client: Client,
  { name, content_hash }: Feed,
  { etag, lastModified, total }: Validators,
): Promise<void> {
  await client.query("select etl.remember_validators($1, $2, $3, $4, $5)", [
    ...[name, content_hash, etag, lastModified, total],
  ]);
}

/** The ledger: a row for each feed that changed, failed, or is well again. */
export async function enter(client: Client, run: string, startedAt: Date, report: FeedReport): Promise<void> {
  const {
    feed,
    status,
    bytes,
    read,
    inserted,
    updated,
    unchanged,
    duplicate,
    rejected,
    deleted,
    ignored_columns,
    error,
  } = report;
  await client.query(
    `insert into etl.runs (
      run, feed, status, started_at, finished_at, bytes,
      read, inserted, updated, unchanged, duplicate, rejected, deleted, ignored_columns, error_code, error
    )
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)`,
    [
      ...[run, feed, status, startedAt, new Date(), bytes],
      ...[read, inserted, updated, unchanged, duplicate, rejected, deleted, ignored_columns],
      ...[error?.code, error?.message],
    ],
  );
}

/** A row of etl.health(), where its columns are explained; more than these are handed on as they are. */
export interface Health {
  feed: string;
  verdict: string;
  message: string;
  hint: string | null;
  last_change: Date | null;
}

export async function health(client: Client): Promise<Health[]> {
  const { rows } = await client.query("select * from etl.health()");
  return rows;
}
