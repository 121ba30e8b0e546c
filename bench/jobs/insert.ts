/** csv-parse and pg, `insert URL DATABASE_URL`: INSERT … VALUES … ON CONFLICT by the thousand, in one transaction. */
import { Readable } from "node:stream";
import { parse } from "csv-parse";
// @ts-types="@types/pg"
import pg from "pg";
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

/** The records of a CSV at a URL without its header, so many at a time. */
async function* batches(url: string, size: number): AsyncGenerator<string[][]> {
  const { body } = await fetch(url);
  const parser = parse({ from: 2 });
  Readable.from(body!).pipe(parser);
  let batch: string[][] = [];
  for await (const record of parser) {
    if (batch.push(record) < size) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}
