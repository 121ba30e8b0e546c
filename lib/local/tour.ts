/** What `start` shows after its run: the reports, how fresh they are, where all stands, and how to go on. */
import { connect } from "../database/connect.ts";
import { say, table } from "./print.ts";
import type { Session } from "./session.ts";

const howToGoOn = `
How to go on
  deno task start                     again: every feed is unchanged, nothing is written
  deno task etl trips --force         one feed, compared row by row
  deno task dev                       keeps this Postgres running, with REST, auth and the function
  deno task etl --help                all options
  DATABASE_URL=… deno task etl        your own Postgres 16 or newer; your feeds are the rows of etl.feeds`;

export async function printTour({ databaseUrl, isEmbedded }: Session): Promise<void> {
  await using client = await connect(databaseUrl);
  const show = async (title: string, sql: string) => {
    const { rows, fields } = await client.query({ text: sql, rowMode: "array" });
    const cells = rows.slice(0, 3).map((row) =>
      row.map((cell: unknown) => cell instanceof Date ? cell.toISOString() : `${cell ?? ""}`)
    );
    say(`\n${rows.length} ${title}${rows.length > 3 ? "; the first three" : ""}:`);
    if (rows.length > 0) console.log(table(fields.map((field) => field.name), cells));
  };
  await show(
    "trips without charges",
    "select id, driver_id, dropoff_timestamp, base_fare, charge_rejected from public.trips_without_charges() order by dropoff_timestamp",
  );
  await show(
    "drivers churned as of 2021-07-11",
    "select id, first_name, last_name, last_dropoff_timestamp from public.churned_drivers('2021-07-11Z') order by last_dropoff_timestamp",
  );
  await show(
    "feeds that the reports rest on",
    "select feed, verdict, last_change, since, open_rejects from public.report_freshness()",
  );
  // A URL of one's own may hold a password that is for nobody's eyes.
  if (isEmbedded) {
    say("\nAll this is in the Postgres of this command, which ends with it; deno task dev keeps it running:");
    say(databaseUrl);
  }
  say(howToGoOn);
}
