/** The command line of `deno task feed`: a URL, and columns of etl.feeds as options. */
import { parseArgs } from "node:util";
import type { Format } from "../../format/rows.ts";
import { wrongUsage } from "../session.ts";
import { columnNames } from "./names.ts";
import type { Value } from "./sql.ts";

export const usage = `deno task feed URL [--name NAME] [--target TABLE] [OPTION…] [--apply]

Looks at a partner's file, and prints a migration for it: a table, and a row of etl.feeds. Nothing is written.

  --name      what the feed is called; without it the file's name
  --target    the table, as in public.payouts; without it the feed's name, in public
  --apply     applies what is printed, in one transaction, and loads the feed
  --help, -h  this text

How the file is written is found out where it can be. These say it, each as the column of etl.feeds of that name:
  --format --encoding --time-zone --headers JSON --records --next --delimiter --quote --escape --skip
  --header 'A,B' --nulls 'N/A,-' --date-order --decimal-comma --contents --absent --absent-limit --fresh-within
  --shrink-limit --reject-limit
--header '' says that the first line is the header; --no-decimal-comma, that the point is the fraction's.

The tables for its foreign keys are those of DATABASE_URL, or of the embedded Postgres.`;

/** What etl.feeds will say of the feed, as far as reading its file needs it. */
export interface Draft {
  name: string;
  url: string;
  headers: Record<string, string>;
  format: Format | null;
  records: string | null;
  next: string | null;
  time_zone: string;
  skip: number | null;
  /** Empty: somebody says that the file's first line is the header. */
  header: string[] | null;
  delimiter: string | null;
  quote: string;
  escape: string | null;
  encoding: string | null;
  nulls: string[];
  date_order: string | null;
  decimal_comma: boolean | null;
}

export interface Options {
  draft: Draft;
  target: string;
  apply: boolean;
  /** The columns of etl.feeds that were said, and are to be set. */
  said: Map<string, Value>;
}

const asItIs = (text: string) => text;
const list = (text: string) => text.split(",");
const orders = ["dmy", "mdy", "ymd"];

/** Column of etl.feeds -> how its option is read. */
const columns: Record<string, (text: string) => Value> = {
  format: asItIs,
  encoding: asItIs,
  time_zone: asItIs,
  headers: names,
  records: asItIs,
  next: asItIs,
  delimiter: (text) => text.replace("\\t", "\t"),
  quote: asItIs,
  escape: asItIs,
  skip: number,
  // Nothing: the first line is the header.
  header: (text) => text === "" ? [] : list(text),
  nulls: list,
  date_order: (text) => orders.includes(text) ? text : wrong(`one of ${orders.join(", ")}`),
  decimal_comma: (text) => text === "true",
  contents: asItIs,
  absent: asItIs,
  absent_limit: number,
  fresh_within: asItIs,
  shrink_limit: number,
  reject_limit: number,
};

/** The parser's own words would quote what may be a secret. */
function names(text: string): Value {
  try {
    const read = JSON.parse(text);
    if (Object.values(read).every((value) => typeof value === "string") && !Array.isArray(read)) return read;
  } catch {
    // It is told below.
  }
  return wrong(`JSON, as '{"x-key": "{secret:KEY}"}'`);
}

function number(text: string): number {
  return Number.isFinite(Number(text)) && text !== "" ? Number(text) : wrong("a number");
}

function wrong(wanted: string): never {
  throw new Error(`takes ${wanted}`);
}

export function readOptions(args: string[]): Options {
  try {
    const named = Object.keys(columns).map((column) => {
      return [optionOf(column), { type: column === "decimal_comma" ? "boolean" : "string" } as const];
    });
    const { values: given, positionals: [url, ...others] } = parseArgs({
      args,
      options: {
        ...Object.fromEntries(named),
        ...{ name: { type: "string" }, target: { type: "string" }, apply: { type: "boolean" } },
      },
      allowPositionals: true,
      allowNegative: true,
    });
    if (!url || others.length > 0) throw new Error("it takes one URL");
    if (!/^https?:\/\//i.test(url)) throw new Error("it takes a partner's URL, which begins with https:// or http://");
    const values = given as Record<string, string | boolean | undefined>;
    const said = new Map(
      Object.entries(columns)
        .filter(([column]) => optionOf(column) in values)
        .map(([column, read]) => [column, readOne(column, read, String(values[optionOf(column)]))]),
    );
    const { name = nameIn(url), apply = false } = values as { name?: string; apply?: boolean };
    const { target = `public.${columnNames([name])[0]}` } = values as { target?: string };
    const draft: Draft = {
      ...{ name, url, headers: {}, format: null, records: null, next: null, time_zone: "UTC", skip: null },
      ...{ header: null, delimiter: null, quote: '"', escape: null, encoding: null, nulls: [], date_order: null },
      ...{ decimal_comma: null },
      ...Object.fromEntries(said),
    };
    if (draft.header?.length === 0) said.delete("header");
    return { draft, target, apply, said };
  } catch (cause) {
    throw wrongUsage(cause, "deno task feed --help");
  }
}

function readOne(column: string, read: (text: string) => Value, text: string): Value {
  try {
    return read(text);
  } catch (cause) {
    throw new Error(`--${optionOf(column)}: ${(cause as Error).message}`, { cause });
  }
}

function optionOf(column: string): string {
  return column.replaceAll("_", "-");
}

/** The last name in the URL's path, or that of an archive's member: without its ending, and without a date around it. */
function nameIn(url: string): string {
  const path = url.replace(/\?[^#]*/, "").replaceAll(/\{[^}]*\}/g, "");
  const [file] = path.split(/[/#]/).slice(3).filter(Boolean).slice(-1);
  const name = (file ?? "").toLowerCase().replace(/\..*/, "").replaceAll(/[^a-z0-9]+/g, "_").replace(/^[\d_]+/, "")
    .replace(/_[\d_]*$/, "");
  if (name) return name;
  throw new Error("no name stands in its URL: say --name");
}

/** A text about a feed as one about the command line: there is no row of it yet. */
export function inOptions(text: string): string {
  return text.replaceAll(
    /\betl\.feeds\.(\w+)/g,
    (_, column) => column === "url" ? "the URL" : `--${optionOf(column)}`,
  );
}
