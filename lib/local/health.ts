/** `deno task health`: how each feed is, what is wrong, and what to do. */
import { connect } from "../database/connect.ts";
import { health } from "../database/statements.ts";
import { asEtlError } from "../errors.ts";
import { type ErrorReport, errorReport } from "../report.ts";
import { tell } from "./alert.ts";
import { printError, say, table } from "./print.ts";
import { jsonLine } from "./terminal.ts";

/**
 * Prints a line a feed, and beneath them what is wrong; where there is a URL, tells it what has changed. Returns whether
 * all are well, and told.
 */
export async function showHealth(databaseUrl: string, json: boolean, alertUrl?: string): Promise<boolean> {
  await using client = await connect(databaseUrl);
  const feeds = await health(client);
  const error = alertUrl ? await failureOf(tell(client, alertUrl)) : null;
  const isWell = feeds.every(({ verdict }) => verdict === "ok");
  if (json) {
    const status = isWell ? "ok" : "trouble";
    console.log(jsonLine({ status, feeds, ...(error && { error }) }));
    return isWell && !error;
  }
  const lines = feeds.map(({ feed, verdict, last_change }) => [feed, verdict, last_change?.toISOString() ?? "never"]);
  console.log(
    feeds.length > 0 ? table(["feed", "verdict", "last change"], lines, 2) : "No feed is enabled in etl.feeds.",
  );
  for (const { feed, verdict, message, hint } of feeds) {
    if (verdict === "ok") continue;
    say(`\n${feed} is ${verdict}: ${message}`);
    if (hint) say(`  ${hint}`);
  }
  if (error) printError(error);
  return isWell && !error;
}

/** Who is not told shall at least see it. */
async function failureOf(telling: Promise<void>): Promise<ErrorReport | null> {
  return await telling.then(() => null, (thrown) => errorReport(asEtlError(thrown, "Cannot alert")));
}
