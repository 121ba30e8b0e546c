/** What is measured: each case is one process, run on the big file, and on a file of one row for its start-up. */
import type { Client } from "../../lib/database/connect.ts";
import type { DataFile, DataFormat } from "../data.ts";
import { type Memory, remember } from "../feeds.ts";

export interface Case {
  name: string;
  format: DataFormat;
  /** Puts the database into the state that the case starts from. */
  prepare?: (client: Client, file: DataFile) => Promise<void>;
  /** Of measured.ts. */
  job: (url: string, databaseUrl: string) => string[];
  /** No body is sent: there are no megabytes to divide by. */
  bodiless?: boolean;
  /** The web server and the database are reached by TLS. */
  tls?: boolean;
}

export const passThrough = "pass-through: bytes dropped";

/** The feeds are named for their formats; each loads trips. */
const load = (format: DataFormat, ...options: string[]): Case["job"] => (_, databaseUrl) => [
  "load",
  databaseUrl,
  format,
  ...options,
];

const again = (name: string, format: DataFormat, memory: Memory): Case => ({
  name,
  format,
  prepare: (client, file) => remember(client, file, memory),
  job: load(format, "unchanged"),
  bodiless: memory === "etag",
});

/** As the edge function, in full but for the merge, during which it only waits for the server. */
const staged = (format: DataFormat, name: string): Case => ({
  ...again(`${name} *`, format, "hash"),
  job: (_, databaseUrl) => ["serve", databaseUrl, format, "unchanged"],
});

export const legend = `* By a request to the edge function: the same content as before, of a length not known before, is
  fetched, checked, hashed, copied into the staging table; no merge. Of the same length as before it is hashed only.`;

export const cases: Case[] = [
  { name: passThrough, format: "csv", job: (url) => ["read", url] },
  { name: "pass-through by HTTPS", format: "csv", job: (url) => ["read", url], tls: true },
  { name: "csv-parse: rows dropped", format: "csv", job: (url) => ["parse", url] },
  { name: "CSV, first load: the whole job", format: "csv", prepare: forgetTrips, job: load("csv", "changed") },
  staged("csv", "CSV"),
  { ...staged("csv", "CSV by HTTPS, to the database by TLS"), tls: true },
  again("CSV, same content: hashed only", "csv", "length"),
  again("CSV, same ETag: 304", "csv", "etag"),
  { name: "CSV, forced: all rows compared", format: "csv", prepare: haveTrips, job: load("csv", "unchanged", "force") },
  staged("quoted", "CSV, every field quoted"),
  staged("json", "JSON array, pretty-printed"),
  staged("ndjson", "NDJSON"),
  staged("gzip", "CSV as gzip"),
];

async function forgetTrips(client: Client, file: DataFile): Promise<void> {
  await client.query("truncate public.trips cascade");
  await remember(client, file, "nothing");
}

async function haveTrips(client: Client, file: DataFile): Promise<void> {
  const { rows: [{ trips }] } = await client.query("select count(*) as trips from public.trips");
  if (Number(trips) >= file.rows) return;
  throw new Error("The forced run needs the trips of the first load: measure both.");
}
