/** The database's part of a run: one short statement a step. What it decides stands in supabase/migrations. */
import { copyRows } from "./copy.ts";
import type { Client } from "./connect.ts";
import { EtlError } from "../errors.ts";
import type { Download } from "../fetch/download.ts";
import { type FeedReport, nothing } from "../report.ts";
import type { Format, Rows } from "../format/rows.ts";

/** A row of etl.plan(): the validators are null where they must not be used. */
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

/** The feeds to load, parents first. */
export async function plan(client: Client, names: string[], force: boolean): Promise<Feed[]> {
  const { rows } = await client.query("select * from etl.plan($1, $2)", [names, force]);
  return rows.map((row) => ({ ...row, reject_limit: Number(row.reject_limit) }));
}

export async function stage(client: Client, feed: Feed, { header, delimiter, chunks, records }: Rows): Promise<void> {
  const { rows: [staging] } = await client.query("select etl.stage($1, $2, $3) as copy", [
    feed.name,
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

export async function merge(client: Client, run: string, feed: Feed, { header, records }: Rows): Promise<Outcome> {
  const sentinel = records.broken > 0 ? records.sentinel : null;
  const { rows: [merged] } = await client.query("select * from etl.merge($1, $2, $3, $4)", [
    feed.name,
    run,
    !header,
    sentinel,
  ]);
  const { changed, ignored_columns, ...counts } = merged;
  return { status: changed ? "changed" : "unchanged", ...counts, ignored_columns: ignored_columns ?? [], error: null };
}

/** Keeps what lets the next run find out that nothing is new; nothing where the feed was redefined meanwhile. */
export async function remember(client: Client, feed: Feed, download: Download, contentHash: string): Promise<void> {
  // The target's definition is what it is now, under the lock of the merge: the one that was obeyed.
  await client.query(
    `update etl.feeds f
      set (etag, last_modified, content_hash, content_length, definition_hash) = row($2, $3, $4, $5, etl.definition_hash(f))
      from json_populate_record(null::etl.feeds, $1) as planned
      where f.name = planned.name
        and (f.url, f.target, f.format, f.time_zone, f.columns, f.delimiter, f.encoding) is not distinct from
          (planned.url, planned.target, planned.format, planned.time_zone, planned.columns, planned.delimiter, planned.encoding)
        and (f.etag, f.last_modified, f.content_hash, f.content_length, f.definition_hash)
          is distinct from ($2, $3, $4, $5::bigint, etl.definition_hash(f))`,
    [JSON.stringify(feed), download.etag, download.lastModified, contentHash, download.total],
  );
}

/** The ledger: a row for each feed that changed or failed. */
export async function enter(client: Client, run: string, startedAt: Date, report: FeedReport): Promise<void> {
  const entry = { run, started_at: startedAt, finished_at: new Date(), ...report };
  await client.query(
    `insert into etl.runs
      select (r).* from (select json_populate_record(null::etl.runs, $1) as r)`,
    [JSON.stringify({ ...entry, error: report.error?.message, error_code: report.error?.code })],
  );
}
