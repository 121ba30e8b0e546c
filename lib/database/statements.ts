/** The database's part of a run: one short statement a step. What it decides stands in supabase/sql. */
import { copyRows } from "./copy.ts";
import type { Client } from "./connect.ts";
import { EtlError } from "../errors.ts";
import type { Download } from "../fetch/download.ts";
import { type Counts, type FeedReport, nothing } from "../report.ts";
import type { Format, Rows } from "../format/rows.ts";

/** As etl.plan() gives it: the validators are null where they must not be used. */
export interface Feed {
  name: string;
  url: string;
  format: Format | null;
  delimiter: string | null;
  encoding: string;
  reject_limit: number;
  etag: string | null;
  last_modified: string | null;
  content_hash: string | null;
  content_length: number | null;
}

/** What became of a feed's records; the rest of its report is known outside. */
export type Outcome = Omit<FeedReport, "feed" | "bytes" | "ms">;

export const unchanged: Outcome = { status: "unchanged", ...nothing, ignored_columns: [], error: null };

/** Begins the transaction of a run, and refuses where another one is under way. */
export async function begin(client: Client): Promise<void> {
  // Under a stricter level, the default of some roles, what others write meanwhile would fail the run.
  await client.query("begin isolation level read committed");
  // A run may stream for long, but neither keeps a lock after its loader has gone nor waits long for one.
  await client.query(
    `set local statement_timeout = 0;
    set local idle_in_transaction_session_timeout = '5min';
    set local client_connection_check_interval = '2s';
    set local tcp_keepalives_idle = '1min';
    set local tcp_keepalives_interval = '10s';
    set local tcp_keepalives_count = 6;
    select set_config('lock_timeout', '30s', true) where current_setting('lock_timeout') = '0'`,
  );
  const { rows } = await client.query("select pg_try_advisory_xact_lock(hashtext('tdc-etl')) as free");
  if (rows[0].free) return;
  throw new EtlError("busy", "another run is under way", "Wait until it ends; it loads the same feeds.");
}

/** The feeds to load, parents first. */
export async function plan(client: Client, names: string[], force: boolean): Promise<Feed[]> {
  const { rows } = await client.query("select feed from etl.plan($1, $2) feed", [names, force]);
  return rows.map(({ feed }) => feed);
}

export async function stage(client: Client, feed: Feed, { header, delimiter, chunks, records }: Rows): Promise<void> {
  const { rows: [staging] } = await client.query("select etl.stage($1, $2, $3) as copy", [
    feed.name,
    header,
    delimiter,
  ]);
  const staged = await copyRows(client, staging.copy, chunks);
  if (staged === records.rows) return;
  throw new EtlError(
    "staging",
    `Postgres took ${staged} of its ${records.rows} records`,
    "Please report this as a bug.",
  );
}

export async function merge(client: Client, run: string, feed: Feed, { header, records }: Rows): Promise<Outcome> {
  const mark = records.broken > 0 ? records.mark : null;
  const { rows: [merged] } = await client.query("select * from etl.merge($1, $2, $3, $4)", [
    feed.name,
    run,
    !header,
    mark,
  ]);
  const { changed, ignored_columns, ...bigints } = merged;
  const counts = Object.fromEntries(Object.entries(bigints).map(([name, count]) => [name, Number(count)]));
  const status = changed ? "changed" : "unchanged";
  return { status, ...counts as unknown as Counts, ignored_columns: ignored_columns ?? [], error: null };
}

/** Keeps what lets the next run find out that nothing is new; nothing where the feed was redefined meanwhile. */
export async function remember(
  client: Client,
  feed: Feed,
  answer: Download,
  contentHash: string,
  records: number,
): Promise<void> {
  const { etag, lastModified, total } = answer;
  await client.query(
    "select etl.remember($1, $2, $3, $4, $5, $6)",
    [JSON.stringify(feed), etag, lastModified, contentHash, total, records],
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
