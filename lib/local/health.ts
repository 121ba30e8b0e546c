/** `deno task health`: how each feed is, what is wrong, and what to do. */
import { connect } from "../database/connect.ts";
import { health } from "../database/statements.ts";
import { say, table } from "./print.ts";

/** Prints a line a feed, and beneath them what is wrong; returns whether all are well. */
export async function showHealth(databaseUrl: string, json: boolean): Promise<boolean> {
  await using client = await connect(databaseUrl);
  const feeds = await health(client);
  const isWell = feeds.every(({ verdict }) => verdict === "ok");
  if (json) {
    console.log(JSON.stringify({ status: isWell ? "ok" : "trouble", feeds }));
    return isWell;
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
  return isWell;
}
