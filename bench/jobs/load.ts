/** The loader itself, `load DATABASE_URL FEED STATUS [force]`: one feed, as `deno task etl FEED` loads it. */
import { load } from "../../lib/load.ts";

export default async function (databaseUrl: string, feed: string, expected: string, ...options: string[]) {
  const report = await load({ databaseUrl, feeds: [feed], force: options.includes("force") });
  const [{ status, read, error }] = report.feeds;
  if (status !== expected) throw new Error(`${feed} is ${status}, not ${expected}: ${error?.message}`);
  return { rows: read || null };
}
