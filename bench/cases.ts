/** What is measured: each case is one process, run on the big file, and on a file of one row for its start-up. */
import type { Client } from "../lib/database.ts";
import type { DataFile, DataFormat } from "./data.ts";

export interface Case {
  name: string;
  format: DataFormat;
  /** Puts the database into the state that the case starts from. */
  prepare?: (client: Client, file: DataFile) => Promise<void>;
  /** Arguments of measured.ts. */
  args: (url: string, databaseUrl: string) => string[];
}

export const passThrough = "pass-through: bytes dropped";

/** The feeds are named for their formats; each loads trips. */
const load = (format: DataFormat, ...options: string[]): Case["args"] => (_, databaseUrl) => [
  "load",
  databaseUrl,
  format,
  ...options,
];

/** The loader in full but for the merge, during which it only waits for the server. */
const staged = (format: DataFormat, name: string): Case => ({
  name: `${name} *`,
  format,
  prepare: rememberContent,
  args: load(format, "unchanged"),
});

export const legend =
  "* The same content as before: fetched, checked, hashed, copied into the staging table; no merge.";

export const cases: Case[] = [
  { name: passThrough, format: "csv", args: (url) => ["read", url] },
  { name: "csv-parse: rows dropped", format: "csv", args: (url) => ["parse", url] },
  { name: "CSV, first load: the whole job", format: "csv", prepare: forgetTrips, args: load("csv", "changed") },
  staged("csv", "CSV"),
  {
    name: "CSV, forced: all rows compared",
    format: "csv",
    prepare: haveTrips,
    args: load("csv", "unchanged", "force"),
  },
  staged("quoted", "CSV, every field quoted"),
  staged("json", "JSON array, pretty-printed"),
  staged("ndjson", "NDJSON"),
  staged("gzip", "CSV as gzip"),
];

async function forgetTrips(client: Client): Promise<void> {
  await client.query("truncate public.trips cascade");
  await client.query("update etl.feeds set content_hash = null, definition_hash = null");
}

async function rememberContent(client: Client, file: DataFile): Promise<void> {
  await client.query(
    "update etl.feeds f set content_hash = $2, definition_hash = etl.definition_hash(f) where name = $1",
    [file.format, file.hash],
  );
}

async function haveTrips(client: Client, file: DataFile): Promise<void> {
  const { rows: [{ trips }] } = await client.query("select count(*) as trips from public.trips");
  if (Number(trips) >= file.rows) return;
  throw new Error("The forced run needs the trips of the first load: measure both.");
}
