/** The rejects: the whole list, and what to tell the partner. */
// @ts-types="@types/pg-copy-streams"
import { to as copyTo } from "pg-copy-streams";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import process from "node:process";
import { type Client, connect } from "../database/connect.ts";
import { plan } from "../database/statements.ts";
import { say, shorten, table } from "./print.ts";
import { escaped } from "./terminal.ts";

export type Form = "table" | "csv" | "json" | "letter";

/** Prints the feed's rejects, or all: as a table of at most 100, or whole as CSV or JSON; or a feed's as a letter. */
export async function listRejects(databaseUrl: string, feed: string | null, form: Form): Promise<void> {
  await using client = await connect(databaseUrl);
  // It raises where there is no such feed.
  if (feed !== null) await plan(client, [feed], true);
  if (form === "csv") await printCsv(client, feed);
  else if (form === "json") await printJson(client, feed);
  else if (form === "letter") await printLetter(client, feed!);
  else await printTable(client, feed);
}

async function printTable(client: Client, feed: string | null): Promise<void> {
  // Where a record could not be split no value is at fault: its text is shown, of which `shorten` needs the beginning.
  const { rows } = await client.query({
    text: `select feed, record_number, etl.moment(since), column_name,
        left(coalesce(value, raw), 10000), reason, constraint_name, attempted
      from etl.faults($1)
      order by attempted, feed, record_number, since, record_id, nth
      limit 101`,
    values: [feed],
    rowMode: "array",
  });
  if (rows.length === 0) return say("There are no rejects.");
  const head = ["feed", "record", "since", "column", "value", "why", "constraint"];
  const show = (attempted: boolean) => {
    const shown = rows.slice(0, 100).filter((row) => row.at(-1) === attempted).map((row) =>
      row.slice(0, -1).map((cell) => shorten(String(cell ?? "")))
    );
    if (shown.length === 0) return;
    if (attempted) say("\nOf files of which nothing was loaded, for too many of their records are like these:");
    console.log(table(head, shown));
  };
  show(false);
  show(true);
  if (rows.length > 100) say("… and more: --csv or --json give all of them.");
}

/** What the feed's partner is to be told. */
async function printLetter(client: Client, feed: string): Promise<void> {
  const { rows: [{ letter }] } = await client.query("select etl.letter($1) as letter", [feed]);
  console.log(letter.trimEnd());
}

/** By Postgres' own COPY. The mark tells a spreadsheet that it is UTF-8. */
async function printCsv(client: Client, feed: string | null): Promise<void> {
  const of = feed === null ? "null" : client.escapeLiteral(feed);
  const rows = client.query(
    copyTo(`copy (select * from etl.sheet(${of})) to stdout (format csv, header, force_quote *)`),
  );
  await print(rows, { first: "\ufeff" });
}

/** As json_agg writes it, but a row at a time. JSON holds no control character, so nothing in it is quoted. */
async function printJson(client: Client, feed: string | null): Promise<void> {
  const columns =
    `feed, record_number, column_name, value, reason, constraint_name, sqlstate, record, raw, since, faults`;
  const filter = feed === null ? "" : `where r.feed = ${client.escapeLiteral(feed)}`;
  const order = "order by attempted, feed, record_number, since, id";
  const rows = client.query(copyTo(`
    copy (
      select
        case when row_number() over w = 1 then '[' else ' ' end
          || (select row_to_json(r) from (select ${columns}, attempted) r)
          || case when lead(feed) over w is null then ']' else ', ' end
      from (
        select ${columns}, false as attempted, id from etl.rejects r ${filter}
        union all
        select feed, record_number, column_name, value, reason, constraint_name, sqlstate, record, raw, a.since, faults,
          true, a.run
        from etl.attempt_rejects r join etl.attempts a using (feed) ${filter}
      ) r
      window w as (${order})
      ${order}
    ) to stdout (format csv, quote e'\\x01', delimiter e'\\x02')
  `));
  const decoder = new TextDecoder();
  const lines = rows.map((chunk) => new TextEncoder().encode(escaped(decoder.decode(chunk, { stream: true }))));
  await print(lines, { none: "[]\n" });
}

/**
 * Prints what comes, after `first`, or where nothing does, `none`. It ends without a word where nobody reads on, as after
 * `| head`.
 */
async function print(chunks: Readable, { first = "", none = "" }: { first?: string; none?: string }): Promise<void> {
  const all = async function* (chunks: AsyncIterable<Uint8Array>) {
    let any = false;
    for await (const chunk of chunks) {
      if (!any && first) yield first;
      any = true;
      yield chunk;
    }
    if (!any) yield none;
  };
  try {
    await pipeline(chunks, all, process.stdout, { end: false });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EPIPE") throw error;
  }
}
