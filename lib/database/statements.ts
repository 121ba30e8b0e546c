/** The database's part of a run: one short statement a step. What it decides stands in supabase/sql. */
import { copyRows } from "./copy.ts";
import type { Client } from "./connect.ts";
import { EtlError } from "../errors.ts";
import type { Download } from "../fetch/download.ts";
import { type FeedReport, nothing } from "../report.ts";
import type { Format, Rows } from "../format/rows.ts";

/** As etl.plan() gives it: columns of etl.feeds, explained there, and validators, null where they must not be used. */
export interface Feed {
  name: string;
  url: string;
  headers: Record<string, string>;
  format: Format | null;
  records: string | null;
  next: string | null;
  time_zone: string;
  skip: number;
  header: string[] | null;
  delimiter: string | null;
  quote: string;
  escape: string | null;
  encoding: string;
  contents: "all" | "changes";
  fresh_within: string | null;
  reject_limit: number;
  etag: string | null;
  last_modified: string | null;
  content_hash: string | null;
  content_length: number | null;
  /** The feeds whose tables it refers to. */
  parents: string[];
  /** When it was last changed or failed. */
  last_run: string | null;
}

/** What became of a feed's records; the rest of its report is known outside. */
export type Outcome = Omit<FeedReport, "feed" | "bytes" | "ms">;

export const unchanged: Outcome = { status: "unchanged", ...nothing, ignored_columns: [], error: null };

/** Has these feeds (none: all) for this run alone; returns those that another run has. */
export async function claimFeeds(client: Client, names: string[]): Promise<string[]> {
  const { rows } = await client.query("select etl.claim_feeds($1) as name", [names]);
  return rows.map(({ name }) => name);
}

/** Has the feed's table for this run alone, and those that it refers to unchanged; false where another run is in the way. */
export async function claimTables(client: Client, { name }: Feed): Promise<boolean> {
  const { rows: [claim] } = await client.query("select etl.claim_tables($1) as claimed", [name]);
  return claim.claimed;
}

/** The feeds to load, parents first. */
export async function plan(client: Client, names: string[], force: boolean): Promise<Feed[]> {
  const { rows } = await client.query("select feed from etl.plan($1, $2) feed", [names, force]);
  return rows.map(({ feed }) => feed);
}

/** place: the feed's number in the run, from 1. */
export async function stage(client: Client, feed: Feed, place: number, rows: Rows): Promise<void> {
  const { header, delimiter, chunks, records } = rows;
  const { rows: [staging] } = await client.query("select etl.stage($1, $2, $3, $4) as copy", [
    feed.name,
    place,
    header,
    delimiter,
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
  & Pick<Rows, "header">
  & Pick<Rows["records"], "broken" | "sentinel" | "hash">
  & Pick<Download, "etag" | "lastModified" | "total">;

/** Merges what was staged at this place. */
export async function merge(
  client: Client,
  run: string,
  feed: Feed,
  place: number,
  { header, broken, sentinel }: Staged,
): Promise<Outcome> {
  const { rows: [merged] } = await client.query("select * from etl.merge($1, $2, $3, $4, $5)", [
    feed.name,
    run,
    place,
    header,
    broken > 0 ? sentinel : null,
  ]);
  const { changed, ignored_columns, ...counts } = merged;
  return { status: changed ? "changed" : "unchanged", ...counts, ignored_columns: ignored_columns ?? [], error: null };
}

/** Keeps what lets the next run find out that nothing is new; nothing where the feed was redefined meanwhile. */
export async function remember(
  client: Client,
  feed: Feed,
  { etag, lastModified, hash, total }: Staged,
  records: number,
): Promise<void> {
  await client.query(
    "select etl.remember($1, $2, $3, $4, $5, $6)",
    [JSON.stringify(feed), etag, lastModified, hash, total, records],
  );
}

/** The ledger: a row for each feed that changed or failed. */
export async function enter(client: Client, run: string, startedAt: Date, report: FeedReport): Promise<void> {
  const { feed, status, bytes, read, inserted, updated, unchanged, duplicate, rejected, error } = report;
  await client.query(
    `insert into etl.runs (
      run, feed, status, started_at, finished_at, bytes,
      read, inserted, updated, unchanged, duplicate, rejected, error_code, error
    )
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
    [
      ...[run, feed, status, startedAt, new Date(), bytes],
      ...[read, inserted, updated, unchanged, duplicate, rejected, error?.code, error?.message],
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
