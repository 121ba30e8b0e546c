/** csv-parse and pg, `insert URL DATABASE_URL`: INSERT … VALUES … ON CONFLICT by the thousand, in one transaction. */
// @ts-types="@types/pg"
import pg from "pg";
import { batches } from "../batches.ts";
import { columns, onConflict } from "../time/upsert.ts";

export default async function (url: string, databaseUrl: string): Promise<void> {
  const client = new pg.Client(databaseUrl);
  await client.connect();
  await client.query("begin");
  for await (const batch of batches(url, 1000)) {
    let n = 0;
    const values = batch.map((record) => `(${record.map(() => `$${++n}`).join()})`).join();
    await client.query(`insert into public.trips (${columns}) values ${values} ${onConflict}`, batch.flat());
  }
  await client.query("commit");
  await client.end();
}
