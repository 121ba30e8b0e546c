/** The table as a case finds it, and as it leaves it. */
import { createReadStream } from "node:fs";
import { pipeline } from "node:stream/promises";
// @ts-types="@types/pg-copy-streams"
import { from as copyFrom } from "pg-copy-streams";
import { type DataFile, names } from "./data.ts";
import type { Place } from "./place.ts";

/** Where a case begins: trips is empty, or holds the plain file. */
export type State = "empty" | "loaded";

/** Keeps the trips of the plain file aside, to put them in again before each re-run. */
export async function keepPlain({ admin }: Place, file: DataFile): Promise<void> {
  await admin.query("drop table if exists plain; create unlogged table plain (like public.trips)");
  const copy = admin.query(copyFrom(`copy plain (${names}) from stdin (format csv, header)`));
  await pipeline(createReadStream(file.path), copy);
  await admin.query("analyze plain");
}

export async function putInto(state: State, place: Place): Promise<void> {
  const { admin } = place;
  await admin.query("truncate public.trips, public.charges, etl.runs, etl.rejects");
  if (state === "loaded") await insertUnchecked(place, "public.trips", "select * from plain");
  await admin.query("vacuum (analyze) public.trips");
}

/** Inserts rows whose foreign keys are known to hold: to check them takes as long as all the rest. */
export async function insertUnchecked({ admin }: Place, table: string, rows: string): Promise<void> {
  await admin.query(
    `set session_replication_role = replica; insert into ${table} ${rows}; reset session_replication_role`,
  );
}

/** How many trips of the plain file are not in the table as they stand there. */
export async function missing({ admin }: Place): Promise<number> {
  const { rows: [{ count }] } = await admin.query(
    "select count(*) from plain p left join public.trips t using (id) where t is distinct from p",
  );
  return Number(count);
}

/** Bytes of WAL since the cluster was made. */
export async function walPosition({ admin }: Place): Promise<number> {
  const { rows: [{ bytes }] } = await admin.query("select pg_current_wal_insert_lsn() - '0/0' as bytes");
  return Number(bytes);
}
