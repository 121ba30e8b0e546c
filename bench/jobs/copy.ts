/** By hand where there is no psql, `copy URL DATABASE_URL`: pg-copy-streams as its own documentation uses it. */
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
// @ts-types="@types/pg"
import pg from "pg";
// @ts-types="@types/pg-copy-streams"
import { from as copyFrom } from "pg-copy-streams";
import { byHand } from "../time/upsert.ts";

export default async function (url: string, databaseUrl: string): Promise<void> {
  const client = new pg.Client(databaseUrl);
  await client.connect();
  await client.query("begin");
  await client.query(byHand.table);
  const { body } = await fetch(url);
  await pipeline(Readable.from(body!), client.query(copyFrom(byHand.copy)));
  await client.query(byHand.merge);
  await client.query("commit");
  await client.end();
}
