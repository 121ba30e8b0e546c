/** The sample feeds: on a web server, and in a database. */
import assert from "node:assert/strict";
import { sampleFeeds } from "../../lib/local/samples.ts";
import { type Database, freshDatabase } from "./database.ts";
import { serve, type Web } from "./web.ts";

/** Path -> content. */
export function sampleFiles(): Record<string, string> {
  return Object.fromEntries(Object.entries(sampleFeeds()).map(([name, text]) => [`/${name}`, text]));
}

export function serveSamples(etags = false): Web {
  return serve(sampleFiles(), etags);
}

/** A fresh database that has loaded them. */
export async function sampleDatabase(): Promise<Database> {
  await using stack = new AsyncDisposableStack();
  const db = stack.use(await freshDatabase());
  await using web = serveSamples();
  await db.pointAt(web.url);
  assert.equal((await db.load()).status, "changed");
  stack.move();
  return db;
}

/** The three feeds with one record each. */
export function oneOfEach(): Record<string, string> {
  return {
    "/drivers.json": '[{"id":"d1"}]',
    "/trips.csv": "id,driver_id\nt1,d1\n",
    "/charges.csv": "id,trip_id,amount_cents\nc1,t1,100\n",
  };
}
