/** The rejects: a summary after a run, and the whole list for the partner. */
// @ts-types="@types/pg-copy-streams"
import { to as copyTo } from "pg-copy-streams";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import process from "node:process";
import { type Client, connect } from "../database/connect.ts";
import { plan } from "../database/statements.ts";
import { say, table } from "./print.ts";

export type Form = "table" | "csv" | "json";

/** Prints the feed's rejects, or all: as a table of at most 100, or whole as CSV or JSON with the records. */
export async function listRejects(databaseUrl: string, feed: string | null, form: Form): Promise<void> {
  await using client = await connect(databaseUrl);
  // It raises where there is no such feed.
  if (feed !== null) await plan(client, [feed], true);
  const filter = feed === null ? "true" : `feed = ${client.escapeLiteral(feed)}`;
  const columns = "feed, record_number, column_name, value, reason, constraint_name, sqlstate";
  const rejects = `from etl.rejects where ${filter}`;
  if (form === "csv") {
    await printCsv(client, `select ${columns}, coalesce(raw, record::text) as record, since ${rejects}`);
  } else if (form === "json") await printJson(client, `${columns}, record, raw, since`, rejects);
  else await printTable(client, rejects);
}

/** How many of each feed's records were rejected for which reason, with the number of the first. */
export async function printSummary(databaseUrl: string, feeds: string[]): Promise<void> {
  await using client = await connect(databaseUrl);
  const { rows } = await client.query({
    text: `select feed, count(*)::text, min(record_number)::text, coalesce(column_name, ''), reason
      from etl.rejects
      where feed = any ($1)
      group by feed, column_name, reason
      order by feed, count(*) desc, min(record_number)`,
    values: [feeds],
    rowMode: "array",
  });
  if (rows.length === 0) return;
  say("\nRejected until mended (deno task rejects shows each):");
  console.log(table(["feed", "records", "first", "column", "why"], rows.map(shorten)));
}

/** Of one file by the record's number; of several, the longest waiting first where they share one. */
const order = "order by feed, record_number, since, id";

async function printTable(client: Client, rejects: string): Promise<void> {
  // Where a record could not be split no value is at fault: its text is shown, of which `shorten` needs the beginning.
  const columns = `feed, record_number, to_char(since, 'YYYY-MM-DD HH24:MI'), column_name,
    left(coalesce(value, raw), 10000), reason, constraint_name`;
  const { rows } = await client.query({ text: `select ${columns} ${rejects} ${order} limit 101`, rowMode: "array" });
  if (rows.length === 0) return say("There are no rejects.");
  const head = ["feed", "record", "since", "column", "value", "why", "constraint"];
  console.log(table(head, rows.slice(0, 100).map(shorten)));
  if (rows.length > 100) say("… and more: --csv or --json give all of them.");
}

/** By Postgres' own COPY, so that what a partner opens in a spreadsheet is quoted right. */
async function printCsv(client: Client, query: string): Promise<void> {
  await print(client.query(copyTo(`copy (${query} ${order}) to stdout (format csv, header)`)));
}

/** As json_agg writes it, but a row at a time. JSON holds no control character, so nothing in it is quoted. */
async function printJson(client: Client, columns: string, rejects: string): Promise<void> {
  const rows = client.query(copyTo(`
    copy (
      select
        case when row_number() over w = 1 then '[' else ' ' end || (select row_to_json(r) from (select ${columns}) r)
          || case when lead(feed) over w is null then ']' else ', ' end
      ${rejects}
      window w as (${order})
      ${order}
    ) to stdout (format csv, quote e'\\x01', delimiter e'\\x02')
  `));
  await print(rows, "[]\n");
}

/** Prints what comes, or where nothing does, `none`. It ends without a word where nobody reads on, as after `| head`. */
async function print(chunks: Readable, none = ""): Promise<void> {
  const orNone = async function* (chunks: AsyncIterable<Uint8Array>) {
    let any = false;
    for await (const chunk of chunks) {
      any = true;
      yield chunk;
    }
    if (!any) yield none;
  };
  try {
    await pipeline(chunks, orNone, process.stdout, { end: false });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EPIPE") throw error;
  }
}

function shorten(row: unknown[]): string[] {
  const text = (cell: unknown) => String(cell ?? "").replace(/\s+/g, " ");
  return row.map((cell) => text(cell).length > 60 ? text(cell).slice(0, 59) + "…" : text(cell));
}
