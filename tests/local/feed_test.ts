/** A new feed in one command: what is found in a file, that nothing is written meanwhile, and that it loads as printed. */
import assert from "node:assert/strict";
import { look } from "../../lib/local/feed/look.ts";
import { headless, linesOf } from "../../lib/local/feed/layout.ts";
import { readOptions } from "../../lib/local/feed/options.ts";
import { migration } from "../../lib/local/feed/write.ts";
import { migrate } from "../../lib/local/migrate.ts";
import { type Result, run } from "../support/command.ts";
import { type Database, freshDatabase } from "../support/database.ts";
import { temporary } from "../support/directories.ts";
import { sampleGtfsFeed } from "../support/packages.ts";
import { document } from "../support/project.ts";
import { sampleDatabase, sampleFiles } from "../support/samples.ts";
import { snapshot } from "../support/snapshot.ts";
import { serve } from "../support/web.ts";
import { zipped } from "../support/zip.ts";

type Body = string | Uint8Array<ArrayBuffer>;

/** What the command prints for a file of this name. */
async function printed(db: Database, file: string, body: Body, ...options: string[]): Promise<string> {
  await using web = serve({ [`/${file}`]: body });
  return migration(await look(db.url, readOptions([`${web.url}/${file}`, ...options])));
}

/** The lines of the table, or of the values of etl.feeds, without name, url and target. */
function tableOf(sql: string): string[] {
  return linesBetween(sql, /^create table .*\($/m, ");");
}

function feedOf(sql: string): string[] {
  return linesBetween(sql, /^values \($/m, ")").slice(3);
}

function linesBetween(sql: string, start: RegExp, end: string): string[] {
  const lines = sql.slice(sql.search(start)).split("\n").slice(1);
  return lines.slice(0, lines.indexOf(end)).map((line) => line.trim());
}

/** A CSV of one column v beside its key. */
function column(values: string[], name = "v"): string {
  const quoted = values.map((value) => `"${value.replaceAll('"', '""')}"`);
  return [`id,${name}`, ...quoted.map((value, i) => `${i + 1},${value === '""' ? "" : value}`), ""].join("\n");
}

/** Applies what was printed and loads it, from the file's own address at that time. */
async function assertLoads(db: Database, name: string, sql: string, body: Body, bad = 0): Promise<void> {
  await using web = serve({ "/file": body });
  await db.query(sql);
  await db.query("update etl.feeds set url = $1, reject_limit = 0.5 where name = $2", [`${web.url}/file`, name]);
  const { status, read, inserted, rejected, error } = await db.loadOne(name);
  assert.deepEqual([status, inserted, rejected, error], ["changed", read - bad, bad, null], name);
}

const types: [values: string[], type: string][] = [
  [["true", "f", "Yes", "no"], "boolean"],
  [["0", "1"], "integer"],
  [["t", "0"], "text"],
  [["-7", "0", "2147483647"], "integer"],
  [[" 7", "8 "], "integer"],
  [["1", "2147483648"], "bigint"],
  [["-9223372036854775808"], "bigint"],
  [["9223372036854775808", "1"], "text"],
  [["01234", "12345"], "text"],
  [["+1", "2"], "text"],
  [["1", "-2.50", ".5", "3."], "numeric"],
  [["7.0", "8.0"], "numeric"],
  [["1.5", "007.5"], "text"],
  [["1,5", "2.5"], "text"],
  [["1,234", "5,678"], "text"],
  [["$5", "$6"], "text"],
  [["1e5", "2"], "text"],
  [["1.5e5", "9007199254740993"], "numeric"],
  [["1E-5", "0.25"], "numeric"],
  [["1.5e999", "2"], "numeric"],
  [["1.5e999999", "2"], "text"],
  // Three digits may be a fraction or thousands.
  [["1.234", "5.678"], "text"],
  [["1.000", "2.500", "900"], "text"],
  [["-123.456"], "text"],
  [["1.234", "5,678"], "text"],
  [["1.234", "5.6"], "numeric"],
  [["1.234", "0.125"], "numeric"],
  [["1.234", "1234.567"], "numeric"],
  [["1.234", "1E-5"], "numeric"],
  [["1.234", "1.234.567"], "numeric"],
  [["1.234", "12,50"], "numeric"],
  [["1,234", "12,50"], "numeric"],
  [["1_2", "3"], "text"],
  [["0x0C", "12"], "text"],
  [["0b1", "0o7"], "text"],
  [["2021-07-01", "2021/7/2", "3 Jul 2021"], "date"],
  [["2021-02-30"], "text"],
  [["2021-07-01", "now"], "text"],
  [["2021-07-01", "2021-07-02 10:00"], "timestamptz"],
  [["2021-07-01T10:00:00.5Z", "20210701T100000Z", "Thu, 01 Jul 2021 12:00:00 GMT"], "timestamptz"],
  [["2021-07-01T25:00:00Z"], "text"],
  [["2021-07-01 10:00+02", "2021-07-01 10:00 Europe/Berlin", "2021-07-01 10:00 UTC"], "timestamptz"],
  [["2021-07-01 10:00 UTC+2"], "text"],
  [["2021-07-01T10:00:00GMT-5"], "text"],
  [["31/12/2021 10:00 UTC+2"], "text"],
  [["Thu Jul 01 2021 12:00:00 GMT+0200"], "text"],
  [["20210701T100000 UTC+2"], "text"],
  [["2021-07-01 10:00 IST"], "text"],
  [["31/12/2021 10:00 (BST)"], "text"],
  [["2021-07-01 10:00 EST", "1 Jul 2021 10:00 PDT"], "timestamptz"],
  [["31/12/21", "30/12/21"], "text"],
  [["31/12/2021", "30/12/21"], "text"],
  [["31-12-21 10:00"], "text"],
  [["99.12.31"], "text"],
  [["31/12/2021", "311221"], "text"],
  [["2021-07-01", "210702"], "text"],
  [["2021-07-01", "1625140800"], "text"],
  [["2021-07-01 10:00", "1625140800000"], "text"],
  [["1625140800"], "integer"],
  [["10:30:00", "25:10:00"], "text"],
  [["20210701", "20210702"], "integer"],
  [["May 2021 was warm"], "text"],
  [["1.2.3", "1.2.10"], "text"],
  [["3f2504e0-4f89-41d3-9a0c-0305e82c3301", "3F2504E0-4F89-41D3-9A0C-0305E82C3302"], "uuid"],
  [["3f2504e0-4f89-41d3-9a0c-0305e82c330"], "text"],
  [['{"a": 1}', "[1, 2]"], "jsonb"],
  [['{"a": 1}', "{a}"], "text"],
  [["", ""], "text"],
];

Deno.test("a column has the type that takes all its values, and loads as that", async (t) => {
  await using db = await freshDatabase();
  for (const [i, [values, type]] of types.entries()) {
    await t.step(`${values.join(" and ")}: ${type}`, async () => {
      const [name, body] = [`f${i}`.replace(/\d/g, (digit) => "abcdefghij"[+digit]), column(values)];
      const sql = await printed(db, `${name}.csv`, body);
      const [, line] = tableOf(sql);
      assert.equal(/^v (.*?)(?: not null|,| --|$)/.exec(line)![1], type, line);
      await assertLoads(db, name, sql, body);
    });
  }
});

/** What Postgres takes for a number or a day, and others not, or for another one. */
const odd = [
  ...[
    "1_000",
    "0x0C",
    "0b1",
    "0o7",
    "1e5",
    "1.e5",
    "1.5e+3",
    ".5e2",
    "-.5",
    "+1.5",
    "12.000",
    "1 000",
    "0.0",
    "-0",
    "00",
  ],
  ...["2021-07/01", "2021.7.1", "2021-7-1", "2021-07-01T10", "2021-07-01 10", "2021-07-01 T10:00", "2021-07-01 BC"],
  ...["2021-07-01 10:00 PM", "2021-07-01T10:00:00,5", "2021-07-01 10:00 PST8PDT", "2021-07-01 10:00 Etc/GMT+5"],
  ...[
    "2021-07-01 10:00 IST",
    "2021-07-01 10:00:00BST",
    "Thu Jul 1 10:00:00 IST 2021",
    "2021-07-01 10:00 CST",
    "10:00 IST",
  ],
  ...["2021-07-01 10:00 EST-5", "2021-07-01 10:00 utc 2", "2021-07-01 10:00+5", "2021-07-01 10:00-05:30:15"],
  ...[
    "2021-07-01 +02:00",
    "2021-07-01 -02",
    "2021-07-01 z",
    "2021-07-01 UTC+2",
    "2021-07-01 allballs",
    "2021-07-01 now",
  ],
  ...["31/12/2021 10", "31/12/2021T10:00", "31/12/2021, 10:00", "31/12/2021 -05", "31-12/2021", "31.12.2021 10:00 PM"],
  ...["31/12/2021 BC", "31 12 2021", "31/12/21", "31.12.21 10:00", "311221", "31-Dec-2021", "31-Dec-21", "Dec 31, '21"],
  ...[
    "July 1, 2021",
    "1st July 2021",
    "Thu Jul 1 10:00:00 2021",
    "Thu Jul 01 10:00:00 UTC 2021",
    "Jul 2021",
    "2021 Jul 1",
  ],
  ...[
    "Thu Jul 01 2021 10:00:00 GMT+0200",
    "Thu, 01 Jul 2021 10:00:00 +0200",
    "Thu, 01 Jul 2021 10:00:00 GMT",
    "Jul-01-2021",
  ],
  ...[
    "20210701T1000",
    "20210701T100000+02",
    "20210701T100000.5Z",
    "20210701 100000",
    "20210701T100000 UTC+2",
    "2021-182",
  ],
  ...[
    "J2459397",
    "1625140800",
    "1625140800.5",
    "infinity",
    "epoch",
    "today",
    "2021-07-01 10:00:60",
    "2021-07-01 24:00:00",
  ],
  ...["{1,2}", "[1,2)", "{}", '{"a": 1, "a": 2}', "\\\\x00", "3f2504e04f8941d39a0c0305e82c3301"],
];

Deno.test("what is oddly spelled loads as the type that is chosen for it", async () => {
  await using db = await freshDatabase();
  const cells = odd.map((value) => `"${value.replaceAll('"', '""')}"`);
  const file = `id,proof,${odd.map((_, i) => `v${i}`)}\n1,31/12/2021,${cells}\n`;
  await assertLoads(db, "f", await printed(db, "f.csv", file), file);
});

interface Case {
  title: string;
  file: Body;
  options?: string[];
  /** Lines of the table that are there, from the first to the last where there are as many. */
  table?: string[];
  feed?: string[];
  /** Records that do not load. */
  rejected?: number;
}

const pointOfTwo =
  "numbers with a point, for thousands or for the fraction: --decimal-comma or --no-decimal-comma says which";
const commaOfTwo =
  "numbers with a comma, for thousands or for the fraction: --decimal-comma says that it is the fraction's";
const noNames = (columns: number) =>
  "where it should stand is what looks like a record; " +
  `--header 'NAME,…' names the ${columns} columns, --header '' takes that line for their names`;

const cases: Case[] = [
  {
    title: "a column that lacks a value in one record, and one that has none",
    file: "id,note,never\n1,a,\n2,,\n",
    table: [
      "id integer primary key, -- unique in 2 records",
      "note text, -- empty in 1 of 2",
      "never text -- empty in every record, so that its type cannot be known",
    ],
    feed: [],
  },
  {
    title: "eight digits are a day where the name says so",
    file: "id,start_date,code\n1,20210701,20210701\n2,20210801,20210801\n",
    table: [
      "id integer primary key, -- unique in 2 records",
      "start_date date not null, -- eight digits, and each of them a day",
      "code integer not null",
    ],
  },
  {
    title: "eight digits that are no day",
    file: "id,start_date\n1,20210701\n2,20211301\n",
    table: ["id integer primary key, -- unique in 2 records", "start_date integer not null"],
  },
  {
    title: "why digits stay text",
    file: "id,zip\n1,01234\n2,11101\n3,\n",
    table: [
      "id integer primary key, -- unique in 3 records",
      "zip text -- empty in 1 of 3; digits behind a zero or a plus, or too many for a number: 1",
    ],
  },
  {
    title: "days that make sense with the day first alone",
    file: "id,paid_on\n1,03/04/2021\n2,31/12/2021\n",
    table: ["id integer primary key, -- unique in 2 records", "paid_on date not null"],
    feed: ["'dmy' -- the days in paid_on: 1 of 2 make sense in no other order"],
  },
  {
    title: "another column's days are of the same order",
    file: "id,paid_on,settled_at\n1,03/04/2021,04/13/2021 14:05\n2,05/06/2021,05/06/2021 9:00 PM\n",
    table: [
      "id integer primary key, -- unique in 2 records",
      "paid_on date not null,",
      "settled_at timestamptz not null",
    ],
    feed: ["'mdy' -- the days in paid_on, settled_at: 1 of 4 make sense in no other order"],
  },
  {
    title: "days of two digits for the year",
    file: "id,paid_on\n1,31/12/21\n2,30/12/2021\n",
    table: [
      "id integer primary key, -- unique in 2 records",
      "paid_on text not null -- like days whose year has two digits: 1",
    ],
    feed: [],
  },
  {
    title: "days of two meanings: nobody guesses",
    file: "id,paid_on\n1,03/04/2021\n2,05/06/2021\n",
    table: ["id integer primary key, -- unique in 2 records", "paid_on date not null"],
    feed: ["-- date_order must be said; the days in paid_on, 2, make sense as dmy and as mdy"],
  },
  {
    title: "days of two meanings, of which one is said",
    file: "id,paid_on\n1,03/04/2021\n2,05/06/2021\n",
    options: ["--date-order", "dmy"],
    table: ["id integer primary key, -- unique in 2 records", "paid_on date not null"],
    feed: ["'dmy' -- the days in paid_on: 0 of 2 make sense in no other order"],
  },
  {
    title: "two columns with days in different orders",
    file: "id,a,b\n1,31/12/2021,12/31/2021\n2,01/02/2021,01/02/2021\n",
    table: [
      "id integer primary key, -- unique in 2 records",
      "a date not null,",
      "b text not null -- days, all mdy, where others are dmy",
    ],
    feed: ["'dmy' -- the days in a: 1 of 2 make sense in no other order"],
  },
  {
    title: "days in both orders within a column",
    file: "id,a\n1,31/12/2021\n2,12/31/2021\n",
    table: [
      "id integer primary key, -- unique in 2 records",
      "a text not null -- days, in no one order, and so no dates",
    ],
    feed: [],
  },
  {
    title: "words for null among numbers and days, and what they make of a text",
    file: "id,fare,day,note\n1,N/A,2021-07-01,N/A\n2,12.50,-,x\n3,7,2021-07-03,none\n",
    table: [
      "id integer primary key, -- unique in 3 records",
      "fare numeric, -- empty in 1 of 3",
      "day date, -- empty in 1 of 3",
      "note text -- empty in 1 of 3",
    ],
    feed: ["array['N/A', '-'] -- N/A in 1, - in 1 cells of columns whose other values are of one type"],
  },
  {
    title: "words among texts, and among words for true and false, mean themselves",
    file: "id,note,ok\n1,N/A,yes\n2,x,unknown\n",
    table: ["id integer primary key, -- unique in 2 records", "note text not null,", "ok text not null"],
    feed: [],
  },
  {
    title: "a word for null that is said",
    file: "id,fare\n1,tbd\n2,7\n",
    options: ["--nulls", "tbd,n.n."],
    table: ["id integer primary key, -- unique in 2 records", "fare integer -- empty in 1 of 2"],
    feed: ["array['tbd', 'n.n.']"],
  },
  {
    title: "a decimal comma",
    file: "id;amount;share;count\n1;1.234,50;0,5;1\n2;-3,25;12;1.234\n",
    table: [
      "id integer primary key, -- unique in 2 records",
      "amount numeric not null,",
      "share numeric not null,",
      `count text not null -- ${pointOfTwo}`,
    ],
    feed: ["';', -- splits the lines into 4 fields", "true -- so are 3 numbers written"],
  },
  {
    title: "a decimal comma in one column says nothing of a point, or a comma, before three digits in others",
    file: "nr;betrag;gewicht;menge\n1;12,50;1.250;1,500\n2;3,00;2.980;2,250\n",
    table: [
      "nr integer primary key, -- unique in 2 records",
      "betrag numeric not null,",
      `gewicht text not null, -- ${pointOfTwo}`,
      `menge text not null -- ${commaOfTwo}`,
    ],
  },
  {
    title: "a point before three digits where others write their fractions with one",
    file: "id,fare,weight\n1,12.50,1.250\n2,3.00,2.980\n",
    table: [
      "id integer primary key, -- unique in 2 records",
      "fare numeric not null,",
      `weight text not null -- ${pointOfTwo}`,
    ],
    feed: [],
  },
  {
    title: "a point before three digits, once --decimal-comma says that it is of thousands",
    file: "id;weight\n1;1.250\n2;900\n",
    options: ["--decimal-comma"],
    table: [
      "id integer primary key, -- unique in 2 records",
      "weight numeric not null -- three digits behind a point or comma in 1; as said, a comma as the fraction's, a point as that of thousands",
    ],
  },
  {
    title: "a point before three digits, once --no-decimal-comma says that it is the fraction's",
    file: "id;weight;other\n1;1.250;1,250\n2;900;2,500\n",
    options: ["--no-decimal-comma"],
    table: [
      "id integer primary key, -- unique in 2 records",
      "weight numeric not null, -- three digits behind a point or comma in 1; as said, a point as the fraction's",
      "other text not null -- numbers with a comma, for thousands or for the fraction",
    ],
    feed: ["false,", "';' -- splits the lines into 3 fields"],
  },
  {
    title: "no decimal comma beside an exponent, which has a point",
    file: "id;amount;tiny\n1;12,5;1.5e-7\n2;3,25;2\n",
    table: [
      "id integer primary key, -- unique in 2 records",
      `amount text not null, -- ${commaOfTwo}`,
      "tiny numeric not null",
    ],
    feed: ["';' -- splits the lines into 3 fields"],
  },
  {
    title: "JSON: a number has a point for its fraction; a text of digits has two meanings, and no setting for them",
    file: '[{"id": 1, "w": 1.250, "t": "1.250", "c": "12,50"}, {"id": 2, "w": 2, "t": "2.980", "c": "3,00"}]',
    table: [
      "id integer primary key, -- unique in 2 records",
      "w numeric not null,",
      "t text not null, -- numbers with a point, for thousands or for the fraction",
      "c text not null -- numbers with a comma, for thousands or for the fraction",
    ],
    feed: [],
  },
  {
    title: "JSON: no decimal comma, whatever its texts are",
    file: '[{"id": 1, "c": "12,50"}, {"id": 2, "c": "3,00"}]',
    table: [
      "id integer primary key, -- unique in 2 records",
      "c text not null -- numbers with a comma, for thousands or for the fraction",
    ],
    feed: [],
  },
  {
    title: "JSON: a whole number beside an exponent is kept as it is",
    file: '[{"id": 1, "n": 9007199254740993}, {"id": 2, "n": 1e2}, {"id": 3, "n": 1E400}]',
    table: ["id integer primary key, -- unique in 3 records", "n numeric not null"],
  },
  {
    title: "JSON: names that are empty, long, or of digits",
    file: JSON.stringify([{ id: 1, "": 2, ["x".repeat(64)]: 3, "7": 4 }]),
    table: [
      // An object of JavaScript has names of digits first.
      "_7 integer not null,",
      "id integer primary key, -- unique in 1 record",
      `${"x".repeat(60)} integer not null`,
    ],
  },
  {
    title: "a column to mark rows in that the file lacks, where absent is mark",
    file: "id,absent_since\n1,x\n",
    options: ["--absent", "mark"],
    table: [
      "id integer primary key, -- unique in 1 record",
      "absent_since_2 text not null,",
      "absent_since timestamptz -- where absent is mark",
    ],
    feed: [`'{"absent_since":"absent_since_2"}',`, "'mark'"],
  },
  {
    title: "no column of one's own for marks where absent rows are deleted",
    file: "id,absent_since\n1,x\n",
    options: ["--absent", "delete"],
    table: ["id integer primary key, -- unique in 1 record", "absent_since text not null"],
    feed: ["'delete'"],
  },
  {
    title: "no header line",
    file: "1,ana@example.org,5\n2,bo@example.org,7\n",
    table: [
      "column_1 integer primary key, -- unique in 2 records",
      "column_2 text not null,",
      "column_3 integer not null",
    ],
    feed: [`-- header must be said; ${noNames(3)}`],
  },
  {
    title: "no header line, below other lines",
    file: "Report of July\n\n1;Ana;5\n2;Bo;7\n",
    table: [
      "column_1 integer primary key, -- unique in 2 records",
      "column_2 text not null,",
      "column_3 integer not null",
    ],
    feed: [
      "';', -- splits the lines into 3 fields",
      "2 -- only what follows has 3 fields a line",
      `-- header must be said; ${noNames(3)}`,
    ],
  },
  {
    title: "no header line, and a single column",
    file: "7\n8\n",
    table: ["column_1 integer primary key -- unique in 2 records"],
    feed: [`-- header must be said; ${noNames(1)}`],
  },
  {
    title: "what looks like a record, and is the header, as said",
    file: "town,2021,2022\nx,5,6\ny,7,8\n",
    options: ["--header", ""],
    table: ["town text primary key, -- unique in 2 records", "_2021 integer not null,", "_2022 integer not null"],
    feed: [`'{"2021":"_2021","2022":"_2022"}'`],
  },
  {
    title: "names for what has none",
    file: "1,ana@example.org\n2,bo@example.org\n",
    options: ["--header", "id,mail"],
    table: ["id integer primary key, -- unique in 2 records", "mail text not null"],
    feed: ["array['id', 'mail']"],
  },
  {
    title: "numbers in the header, and a line above it",
    file: "Report of July\nid,2021,2022\n1,5,6\n2,7,8",
    table: ["id integer primary key, -- unique in 2 records", "_2021 integer not null,", "_2022 integer not null"],
    feed: [`'{"2021":"_2021","2022":"_2022"}',`, "1 -- only what follows has 3 fields a line"],
  },
  {
    title: "no decimal comma where a number has a point",
    file: "id;amount;lat\n1;12,5;40.71\n2;3,25;40.72\n",
    table: [
      "id integer primary key, -- unique in 2 records",
      `amount text not null, -- ${commaOfTwo}`,
      "lat numeric not null",
    ],
    feed: ["';' -- splits the lines into 3 fields"],
  },
  {
    title: "a decimal comma that is said reads 1,234 as well",
    file: "id;amount\n1;1,234\n2;5,678\n",
    options: ["--decimal-comma"],
    table: [
      "id integer primary key, -- unique in 2 records",
      "amount numeric not null -- three digits behind a point or comma in 2; as said, a comma as the fraction's, a point as that of thousands",
    ],
    feed: ["true,", "';' -- splits the lines into 2 fields"],
  },
  {
    title: "the key is id before another that is unique, and what is named for the feed before others",
    file: "code,f_id,other_id\nx,1,7\ny,2,8\n",
    table: ["code text not null,", "f_id integer primary key, -- unique in 2 records", "other_id integer not null"],
  },
  {
    title: "the key is no number with a fraction, no truth, and nothing that is missing",
    file: "price,ok,opt_id,name\n1.5,true,,b\n2.5,false,7,a\n",
    table: [
      "price numeric not null,",
      "ok boolean not null,",
      "opt_id integer, -- empty in 1 of 2",
      "name text primary key -- unique in 2 records",
    ],
  },
  {
    title: "a key of two columns: what counts up before what is merely not there twice",
    file: "trip_id,at_stop,stop_sequence\na,x,1\na,y,2\nb,x,1\nb,y,2\n",
    table: [
      "trip_id text, -- 4 of 4 are not in public.trips, and so no foreign key",
      "at_stop text not null,",
      "stop_sequence integer,",
      "primary key (trip_id, stop_sequence) -- unique in 4 records; no column is by itself",
    ],
  },
  {
    title: "a key of two columns: what counts up before a time",
    file: "run,at,position\na,10:00,1\na,10:05,2\nb,10:00,1\nb,10:05,2\n",
    table: [
      "run text,",
      "at text not null,",
      '"position" integer,',
      'primary key (run, "position") -- unique in 4 records; no column is by itself',
    ],
  },
  {
    title: "no key",
    file: "a,b\nx,1\nx,1\n",
    table: [
      "a text not null,",
      "b integer not null",
      "-- primary key (…): what a row is known by must stand here. No column, and no two, are unique in 2 records; a has the most values, 1",
    ],
  },
  {
    title: "names as SQL has them",
    file: 'ID,Amount €,driverID,TLC Number,order,2021,"a ""b""",Größe,%,xmin,amount\n1,2,3,4,5,6,7,8,9,10,11\n',
    table: [
      "id integer primary key, -- unique in 1 record",
      "amount integer not null,",
      "driver_id integer not null, -- 1 of 1 is not in public.drivers, and so no foreign key",
      "tlc_number integer not null,",
      '"order" integer not null,',
      "_2021 integer not null,",
      "a_b integer not null,",
      "grosse integer not null,",
      "column_9 integer not null,",
      "xmin_2 integer not null,",
      "amount_2 integer not null",
    ],
    feed: [
      // Objects of JavaScript have names of digits first.
      `E'{"2021":"_2021","ID":"id","Amount €":"amount","driverID":"driver_id","TLC Number":"tlc_number",` +
      `"a \\\\"b\\\\"":"a_b","Größe":"grosse","%":"column_9","xmin":"xmin_2","amount":"amount_2"}'`,
    ],
  },
  {
    title: "JSON: digits in quotes are codes, an object is jsonb, a number is one however it is written",
    file:
      '[{"id": 1, "zip": "11101", "at": "2021-07-01T10:00:00Z", "n": 1e5, "o": {"a": [1]}, "ok": true, "x": null},' +
      '{"id": 2, "zip": "11102", "at": "2021-07-02T10:00:00Z", "n": 2, "o": "none", "ok": false, "late": 7}]',
    table: [
      "id integer primary key, -- unique in 2 records",
      "zip text not null, -- digits in quotes: 2",
      "at timestamptz not null,",
      "n numeric not null,",
      "o jsonb not null,",
      "ok boolean not null,",
      "x text, -- empty in every record, so that its type cannot be known",
      "late integer -- empty in 1 of 2",
    ],
    feed: [],
  },
  {
    title: "id comes first",
    file: "code,id\nx,1\ny,2\n",
    table: ["code text not null,", "id integer primary key -- unique in 2 records"],
  },
  {
    title: "JSON: records within a document, of several arrays in it the first",
    file: '{"page": {"size": 2}, "data": {"trips": [{"id": 1}, {"id": 2}]}, "errors": [{"code": 7}], "none": []}',
    table: ["id integer primary key -- unique in 2 records"],
    feed: ["'/data/trips' -- where the document has objects, or /errors"],
  },
  {
    title: "JSON: records within a document of several lines, as said",
    file: '{\n  "a": [{"x": 1}],\n  "b": [\n    {"id": 1, "n": [{"y": 1}]}\n  ]\n}\n',
    options: ["--records", "/b"],
    table: ["id integer primary key, -- unique in 1 record", "n jsonb not null"],
    feed: ["'/b'"],
  },
  {
    title: "JSON: one object is one record",
    file: '{\n  "id": 1,\n  "name": "x"\n}\n',
    table: ["id integer primary key, -- unique in 1 record", "name text not null"],
    feed: ["'' -- the document is one object, and so one record"],
  },
  {
    title: "JSON: an object a line, with arrays in it",
    file: '{"id": 1, "n": [{"y": 1}]}\n{"id": 2, "n": []}\n',
    table: ["id integer primary key, -- unique in 2 records", "n jsonb not null"],
    feed: [],
  },
  {
    title: "a delimiter of its own",
    file: "id|a\n1|x\n2|y\n",
    table: ["id integer primary key, -- unique in 2 records", "a text not null"],
    feed: ["'|' -- splits the lines into 2 fields"],
  },
  {
    title: "windows-1252",
    file: Uint8Array.from("id,name\n1,Jos\xe9\n2,Ana\n", (character) => character.charCodeAt(0)),
    table: ["id integer primary key, -- unique in 2 records", "name text not null"],
    feed: ["'windows-1252' -- the file is not UTF-8, and looks like this"],
  },
  {
    title: "windows-1252, told by a record that is not at the start",
    file: Uint8Array.from(
      ["id,name", ...Array.from({ length: 90_000 }, (_, i) => `${i},Ana Ruiz`), "90000,Jos\xe9", ""].join("\n"),
      (character) => character.charCodeAt(0),
    ),
    table: ["id integer primary key, -- unique in 90,001 records", "name text not null"],
    feed: ["'windows-1252' -- not UTF-8, and looks like this: 1 record"],
  },
  {
    title: "damage that no encoding explains",
    file: Uint8Array.from("id,name\n1,\xe9\xe8\xe7\xe0\n2,Ana\n", (character) => character.charCodeAt(0)),
    table: ["id integer primary key, -- unique in 1 record", "name text not null"],
    feed: [],
    rejected: 1,
  },
  {
    title: "lines above the header",
    file: "Report of July\n\nid,fare\n1,5\n2,7\n",
    table: ["id integer primary key, -- unique in 2 records", "fare integer not null"],
    feed: ["2 -- only what follows has 2 fields a line"],
  },
  {
    title: "lines above a file without a header line, as said",
    file: "a,b\n1,5\n2,7\n",
    options: ["--skip", "1", "--header", "id,fare"],
    table: ["id integer primary key, -- unique in 2 records", "fare integer not null"],
    feed: ["1,", "array['id', 'fare']"],
  },
  {
    title: "another quote, another escape",
    file: "id;note\n1;'it\\'s;'\n",
    options: ["--quote", "'", "--escape", "\\"],
    table: ["id integer primary key, -- unique in 1 record", "note text not null"],
    feed: ["'''',", "E'\\\\',", "';' -- splits the lines into 2 fields"],
  },
  {
    title: "Excel's own line, and columns without a name or with that of another",
    file: "sep=;\nid;;a;a\n1;x;y;z\n",
    table: ["id integer primary key -- unique in 1 record"],
    feed: ["';' -- splits the lines into 4 fields"],
  },
  {
    title: "UTF-16",
    file: new Uint8Array(new Uint16Array(Array.from("id,name\n1,José\n2,Ana\n", (c) => c.charCodeAt(0))).buffer),
    table: ["id integer primary key, -- unique in 2 records", "name text not null"],
    feed: ["'utf-16le' -- the file is not UTF-8, and looks like this"],
  },
  {
    title: "records inside a document",
    file: JSON.stringify({ count: 2, data: { trips: [{ id: 1, v: "x" }, { id: 2, v: "y" }], tags: ["a"] } }, null, 2),
    table: ["id integer primary key, -- unique in 2 records", "v text not null"],
    feed: ["'/data/trips' -- where the document has objects"],
  },
  {
    title: "records inside a document on one line",
    file: '{"data":[{"id":1},{"id":2}]}',
    table: ["id integer primary key -- unique in 2 records"],
    feed: ["'/data' -- where the document has objects"],
  },
  {
    title: "the only file in a zip archive",
    file: zipped([{ name: "f.csv", data: "id\n1\n2\n" }]),
    table: ["id integer primary key -- unique in 2 records"],
  },
  {
    title: "what is said of the feed beside its file",
    file: "id\n1\n",
    options: ["--time-zone", "Europe/London", "--contents", "changes", "--reject-limit", "0.5"],
    table: ["id integer primary key -- unique in 1 record"],
    feed: ["'Europe/London',", "'changes',", "0.5"],
  },
];

Deno.test("what is found in a file is printed with its evidence", async (t) => {
  await using db = await freshDatabase();
  for (const { title, file, options = [], table, feed, rejected } of cases) {
    await t.step(title, async () => {
      const sql = await printed(db, "f.csv", file, ...options);
      if (table) assert.deepEqual(tableOf(sql), table);
      if (feed) assert.deepEqual(feedOf(sql), feed);
      const isOpen = /must (be said|stand here)/.test(sql);
      if (!isOpen) await assertLoads(db, "f", sql, file, rejected);
      await db.query("drop table if exists public.f; delete from etl.feeds where name = 'f'");
    });
  }
});

const parents = `
  create table public.accounts (id bigint primary key);
  insert into public.accounts select generate_series(1, 300);
  create table public.stops (stop_id text primary key, code text);
  insert into public.stops select 'stop-' || n from generate_series(1, 300) n;
  create table public.shelves (shelf uuid primary key);
  insert into public.shelves select md5(n::text)::uuid from generate_series(1, 300) n;
  create table public.labels (id text primary key);
  insert into public.labels select generate_series(1, 300);
  create table public.smalls (id integer primary key);
  insert into public.smalls select generate_series(1, 300);
  create table public.empties (id text primary key);
  create table public.pairs (a text, b text, primary key (a, b));
  insert into public.pairs select 'stop-' || n, 'x' from generate_series(1, 300) n;`;

/** Values of a column in 200 records -> what its line is. */
const references: [title: string, name: string, value: (n: number) => string | number, line: string][] = [
  [
    "by its name: all are there",
    "account_id",
    (n) => n,
    "account_id bigint not null references public.accounts (id), -- all 200 are in public.accounts",
  ],
  [
    "by its name: 99 in 100 are there",
    "first_stop_id",
    (n) => n <= 2 ? `other-${n}` : `stop-${n}`,
    "first_stop_id text not null references public.stops (stop_id), -- 2 of 200 are not in public.stops",
  ],
  [
    "by its name: too few are there",
    "stop_id",
    (n) => n <= 3 ? `other-${n}` : `stop-${n}`,
    "stop_id text not null, -- 3 of 200 are not in public.stops, and so no foreign key",
  ],
  [
    "by its name: what looks like a number takes the type of the text that it refers to",
    "label_id",
    (n) => n,
    "label_id text not null references public.labels (id), -- all 200 are in public.labels",
  ],
  [
    "by its name: a number beyond the key's own type",
    "small_id",
    (n) => n === 200 ? 3_000_000_000 : n,
    "small_id integer not null references public.smalls (id), -- 1 of 200 is not in public.smalls",
  ],
  [
    "by its name: the table is empty",
    "empty_id",
    (n) => n,
    "empty_id integer not null, -- 200 of 200 are not in public.empties, and so no foreign key",
  ],
  [
    "by its name, of another type",
    "account",
    (n) => `stop-${n}x`,
    "account text not null,",
  ],
  [
    "by its values: all of many are there",
    "halt",
    (n) => `stop-${n % 10 + 1}`,
    "halt text not null references public.stops (stop_id), -- all 200 are in public.stops",
  ],
  [
    "by its values: they are few",
    "halt",
    (n) => `stop-${n % 9 + 1}`,
    "halt text not null,",
  ],
  [
    "by its values: one is not there",
    "halt",
    (n) => n === 200 ? "other" : `stop-${n}`,
    "halt text not null,",
  ],
  [
    "by its values: small numbers are in any table",
    "quantity",
    (n) => n,
    "quantity integer not null,",
  ],
  [
    "by its values: numbers of a column called an id",
    "payer_id",
    (n) => n,
    "payer_id bigint not null references public.accounts (id), -- all 200 are in public.accounts",
  ],
];

Deno.test("foreign keys are proposed by inclusion in the tables that are there", async (t) => {
  await using db = await freshDatabase();
  await db.query(parents);
  for (const [title, name, value, expected] of references) {
    await t.step(title, async () => {
      const lines = Array.from({ length: 200 }, (_, i) => `r${i},${value(i + 1)},x\n`);
      const sql = await printed(db, "f.csv", `id,${name},last\n${lines.join("")}`);
      assert.equal(tableOf(sql)[1], expected);
      const isIndexed = sql.includes(`create index if not exists f_${name}_idx on public.f (${name});`);
      assert.equal(isIndexed, expected.includes("references"));
      await db.query(`begin; ${sql}; rollback`);
    });
  }
});

const dialect = { quote: '"', escape: null };

Deno.test("the header line is the first with as many fields as most after it", () => {
  const of = (text: string, isWhole = true, said: string | null = null) => {
    const found = linesOf(text, isWhole, { ...dialect, delimiter: said });
    return found && [found.delimiter, found.skip, found.fields];
  };
  const cases: [text: string, expected: [string, number, number] | null][] = [
    ["a,b\n1,2\n", [",", 0, 2]],
    ["a\tb\tc\n1\t2\t3\n", ["\t", 0, 3]],
    ["a\n1\n", null],
    ["Report of July\n\na,b,c\n1,2,3\n4,5,6\n", [",", 2, 3]],
    ["Report, July\na,b,c\n1,2,3\n", [",", 1, 3]],
    ["Report of July\r\nmade on 2021-08-01\r\n\r\na;b\r\n1;2\r\n", [";", 3, 2]],
    ['"Report\nof ""July"""\na,b\n1,2\n3,4\n', [",", 2, 2]],
    ['a,b\n"1\n1",2\n"3,3",4\n', [",", 0, 2]],
    ["a;b;c\n1;1,5;2,5\n2;3,5;4,5\n", [";", 0, 3]],
    // A delimiter more at the end of each row, and at the end of all lines.
    ["a,b,c\n1,2,3,\n4,5,6,\n", [",", 0, 4]],
    ["a,b,c,\n1,2,3,\n4,5,6,\n", [",", 0, 4]],
    // Rows of more fields than the header names are not mended by skipping it.
    ["name,amount\nx,1,200\ny,3,400\n", [",", 0, 3]],
    // One record lacks a field.
    ["a,b,c\n1,2\n4,5,6\n7,8,9\n", [",", 0, 3]],
    ["sep=;\na;b\n1,5;2\n", [";", 0, 2]],
    // A year above numbers is no record where another name stands above numbers, too.
    ["Report of July\nid,2021,2022\n1,5,6\n2,7,8\n", [",", 1, 3]],
    ["Report of July\n1,x,5\n2,y,7\n", [",", 1, 3]],
  ];
  for (const [text, expected] of cases) assert.deepEqual(of(text), expected, text);
  assert.deepEqual(of("a,b|c,d\n1,2|3,4\n", true, "|"), ["|", 0, 2], "what is said counts");
  assert.deepEqual(of("a,b\n1,2\n3,4\n5", false), [",", 0, 2], "a line that is cut is no line");
});

Deno.test("a first line of values, as those below it, is no header", () => {
  const cases: [text: string, fields: number | null][] = [
    ["id,mail,n\n1,ana@example.org,5\n", null],
    ["1,ana@example.org,5\n2,bo@example.org,7\n", 3],
    ["1,ana@example.org,5\n", 3],
    ["Ana,Ruiz\nBo,Lee\n", null],
    ["Ana,active\nBo,active\nCy,gone\n", 2],
    ["Ana,2021-07-01\nBo,2021-07-02\n", 2],
    ["Ana,01/07/2021 10:00\nBo,02/07/2021 11:00\n", 2],
    ["Ana,3f2504e0-4f89-41d3-9a0c-0305e82c3301\nBo,3f2504e0-4f89-41d3-9a0c-0305e82c3302\n", 2],
    ["Ana,$12.50\nBo,$7\n", 2],
    ['"1","Ana"\n"2","Bo"\n', 2],
    ["Ana,N/A,5\nBo,7,N/A\n", 3],
    ["Ana,,5\nBo,7,\n", 3],
    // A name above numbers tells that the years beside it are names, too; a year above days, or above words, is one.
    ["id,2021,2022\n1,5,6\n", null],
    ["town,2021,2022\nx,5,6\n", 3],
    ["town,2021\nx,much\ny,little\n", null],
    ["town,2021-01-01\nx,5\ny,6\n", null],
    // Lines that are put together, each with its header.
    ["town,state\nx,NY\ntown,state\ny,NJ\n", null],
    ["7\n8\n", 1],
    ["id\n8\n", null],
    ["sep=,\n1,x\n2,y\n", 2],
  ];
  for (const [text, fields] of cases) {
    assert.equal(headless(text, true, 0, { ...dialect, delimiter: "," }), fields, text);
    const behind = `Report of "July\r\n${text.replaceAll("\n", "\r\n")}`;
    assert.equal(headless(behind, true, 1, { ...dialect, delimiter: "," }), fields, behind);
  }
});

Deno.test("the sample feeds and the files of a transit feed: looked at, applied, loaded whole", async () => {
  await using db = await freshDatabase();
  const names = [
    "agency",
    "calendar",
    "calendar_dates",
    "feed_info",
    "levels",
    "routes",
    "stops",
    "trips",
    "stop_times",
  ]
    .concat("frequencies", "pathways", "shapes", "transfers");
  const texts = names.map((name) => Deno.readTextFile(new URL(`gtfs/${name}.txt`, sampleGtfsFeed)));
  const transit = Object.fromEntries((await Promise.all(texts)).map((text, i) => [`/gtfs/${names[i]}.txt`, text]));
  await using web = serve({ ...sampleFiles(), ...transit });
  const all = ["drivers.json", "trips.csv", "charges.csv"].map((file) => ["samples", file])
    .concat(names.map((name) => ["gtfs", `gtfs/${name}.txt`]));
  const keys: Record<string, string[]> = { samples: [], gtfs: [] };
  for (const [schema, file] of all) {
    const table = /(\w+)\./.exec(file)![1];
    const name = `${schema}_${table}`;
    const options = ["--name", name, "--target", `${schema}.${table}`];
    const sql = migration(await look(db.url, readOptions([`${web.url}/${file}`, ...options])));
    await db.query(sql);
    const { status, read, inserted, rejected, ignored_columns: ignored } = await db.loadOne(name);
    assert.deepEqual([status, inserted, rejected, ignored], ["changed", read, 0, []], sql);
    keys[schema].push(
      ...[...sql.matchAll(/^ {2}(\w+) .*references (\w+\.\w+)/gm)].map(([, from, to]) => `${table}.${from} ${to}`),
    );
    const composite = /primary key \((.*)\)/.exec(sql);
    if (composite) keys[schema].push(`${table} (${composite[1]})`);
  }
  assert.deepEqual(keys, {
    samples: ["trips.driver_id samples.drivers", "charges.trip_id samples.trips"],
    gtfs: [
      "calendar_dates.service_id gtfs.calendar",
      "calendar_dates (service_id, date)",
      "routes.agency_id gtfs.agency",
      "stops.level_id gtfs.levels",
      "trips.route_id gtfs.routes",
      "trips.service_id gtfs.calendar",
      "stop_times.trip_id gtfs.trips",
      "stop_times.stop_id gtfs.stops",
      "stop_times (trip_id, stop_sequence)",
      "frequencies.trip_id gtfs.trips",
      "pathways.from_stop_id gtfs.stops",
      "pathways.to_stop_id gtfs.stops",
      "shapes (shape_id, shape_pt_sequence)",
      "transfers.from_stop_id gtfs.stops",
      "transfers.to_stop_id gtfs.stops",
    ],
  });
});

/** The file that the README looks at. */
function readmePayouts(): string {
  const lines = Array.from({ length: 1200 }, (_, i) => {
    const driver = i < 3 ? 301 + i : i % 300 + 1;
    const amount = i % 100 === 50 ? "N/A" : `${i + 5},${i % 10}5`;
    const day = `${i % 28 + 1}`.padStart(2, "0"), month = `${i % 12 + 1}`.padStart(2, "0");
    return `${1001 + i};driver-${driver};${amount};${day}/${month}/2021;${`${i}`.padStart(8, "0")}`;
  });
  return ["Payout No;driver_id;amount;paid_on;reference", ...lines, ""].join("\r\n");
}

Deno.test("the README shows what the command prints", async () => {
  await using db = await sampleDatabase();
  await using web = serve({ "/payouts.csv": readmePayouts() });
  const [, shown] = /^```\n(-- The feed payouts.*?)^```/ms.exec(await document("README.md"))!;
  const sql = `${migration(await look(db.url, readOptions([`${web.url}/payouts.csv`])))}\n`;
  const printed = sql.replace(web.url, "https://partner.example");
  const [first, last] = shown.split("…\n");
  assert.ok(last, "it is shortened");
  assert.equal(printed.slice(0, first.length), first);
  assert.equal(printed.slice(-last.length), last);
});

/** The command as a shell runs it. */
async function feed(databaseUrl: string, ...args: string[]): Promise<Result> {
  return await run(["feed", ...args], { env: { DATABASE_URL: databaseUrl } });
}

const payouts = "id,driver_id,cents\n" +
  Array.from({ length: 300 }, (_, i) => `p${i + 1},driver-${i + 1},${i + 1}00\n`).join("");

Deno.test("without --apply nothing is written, and standard output is a migration", async () => {
  await using db = await sampleDatabase();
  await using web = serve({ "/payouts.csv": payouts });
  const before = await snapshot(db);
  const { code, out, err } = await feed(db.url, `${web.url}/payouts.csv`);
  assert.deepEqual([code, await snapshot(db)], [0, before]);
  assert.match(err, /^\nFound in 300 records; nothing was written\./);
  assert.match(err, /> supabase\/migrations\/\d{14}_payouts\.sql .*\n.*--apply .*\n.*deno task etl payouts --dry-run /);
  assert.match(out, /driver_id text not null references public\.drivers \(id\), -- all 300 are in public\.drivers\n/);

  await using directory = await temporary();
  await Deno.writeTextFile(`${directory.path}/99990101000000_payouts.sql`, out);
  assert.deepEqual(await migrate(db.url, new URL(`file://${directory.path}/`)), ["99990101000000"]);
  await db.query(out);
  const { status, inserted, rejected } = await db.loadOne("payouts");
  assert.deepEqual([status, inserted, rejected], ["changed", 300, 0]);
  const rights = await db.admin(
    `select relrowsecurity as secured, has_table_privilege('authenticated', oid, 'select') as "seen by others"
    from pg_class where oid = 'public.payouts'::regclass`,
  );
  assert.deepEqual(rights, [{ secured: true, "seen by others": false }]);
});

Deno.test("a database that knows nothing of the loader is looked at as it is; --apply makes it ready, and loads", async () => {
  await using db = await freshDatabase("template1");
  await using web = serve({ "/payouts.csv": payouts });
  const { code, out } = await feed(db.url, `${web.url}/payouts.csv`);
  assert.deepEqual([code, await db.query("select nspname from pg_namespace where nspname = 'etl'")], [0, []]);
  assert.match(out, /^ {2}driver_id text not null,$/m);

  const applied = await feed(db.url, `${web.url}/payouts.csv`, "--apply");
  assert.deepEqual([applied.code, applied.err.replace(/\d+/g, "N")], [0, "Applied N migrations, up to N.\n"]);
  assert.deepEqual(await db.query("select count(*)::int as rows from public.payouts"), [{ rows: 300 }]);

  const again = await feed(db.url, `${web.url}/payouts.csv`, "--apply");
  assert.deepEqual([again.code, again.out], [2, ""]);
  assert.equal(
    again.err,
    "error: Cannot look at payouts: there is a table public.payouts\n       Name another by --target.\n",
  );
});

Deno.test("--apply loads, and prints the report that etl prints", async () => {
  await using db = await sampleDatabase();
  await using web = serve({ "/payouts.csv": payouts });
  const { code, out, err } = await feed(db.url, `${web.url}/payouts.csv`, "--name", "pay outs", "--apply");
  assert.deepEqual([code, err], [0, ""]);
  assert.match(out, /^pay outs +changed +300 +300 +0 +0 +0 +0 +\d+ ms *$/m);
  assert.deepEqual(await db.query("select count(*)::int as rows from public.pay_outs"), [{ rows: 300 }]);
});

Deno.test("what the file does not tell must be said before anything is applied", async () => {
  await using db = await freshDatabase();
  await using web = serve({
    "/days.csv": "id,day\n1,03/04/2021\n",
    "/twice.csv": "a\nx\nx\n",
    "/none.csv": "id,name\n",
    "/stray.csv": 'id,height\n1,6"\n',
    "/split.csv": "Report of July\n\nid;name;fare\n1;a;2\n",
    "/arrays.json": "[[1,2],[3,4]]",
    "/numbers.json": "[1,2]",
    "/damaged.csv": Uint8Array.from("id,name\n1,\xe9\xe8\xe7\xe0\n", (letter) => letter.charCodeAt(0)),
    "/nameless.json": '[{}, {"": 1}]',
    "/nameless.csv": "a,a\nx,y\n",
    "/wide.json": JSON.stringify([Object.fromEntries(Array.from({ length: 1601 }, (_, i) => [`a${i}`, i]))]),
    "/comma.json": '[{"id": 1, "n": "1,5"}]',
    "/line.csv": "1,ana@example.org,5\n2,bo@example.org,7\n",
    "/page.csv": "<html>",
  });
  const before = await snapshot(db);
  const refused: [args: string[], code: number, message: RegExp][] = [
    [["/days.csv", "--apply"], 2, /^error: Cannot apply it: --date-order must be said: .* dmy and as mdy\n/],
    [["/twice.csv", "--apply"], 2, /^error: Cannot apply it: its key must be said, /],
    [["/none.csv"], 1, /^error: Cannot look at none: it has no records to look at\n/],
    [["/stray.csv"], 1, /^error: .* stray: its only record cannot be read: it has a quote within .*\n.*--quote/],
    [
      ["/split.csv", "--skip", "0", "--header", "a,b"],
      1,
      /^error: .* split: it has 4 records, and none can be read: the first has 1 field where .*\n.*--skip.*--header/,
    ],
    [
      ["/arrays.json"],
      1,
      /^error: .* it has 2 records, and none can be read: the first is no JSON object.*\n.*--records/,
    ],
    [
      ["/numbers.json"],
      1,
      /^error: .* it has 2 records, and none can be read: the first is no JSON object.*\n.*--records/,
    ],
    [["/damaged.csv"], 1, /^error: .* its only record cannot be read: it is not UTF-8.*\n.*--encoding/],
    [["/nameless.json"], 1, /^error: .* none of its columns has a name of its own.*\n.*partner/],
    [["/nameless.csv"], 1, /^error: .* none of its columns has a name of its own.*\n.*--header/],
    [["/wide.json"], 1, /^error: .* its records have 1601 names; Postgres takes 1600 columns\n/],
    [["/comma.json", "--decimal-comma"], 1, /^error: .* JSON writes its numbers with a point\n.*--decimal-comma/],
    [["/line.csv", "--apply"], 2, /^error: Cannot apply it: --header must be said: [^@]*\n[^@]*$/],
    [["/page.csv"], 1, /^error: Cannot look at page: .*web page/],
    [["/gone.csv"], 1, /^error: Cannot look at gone: .* answered 404.*\n.*: check the URL\.\n/],
    [
      ["/numbers.json", "--format", "ndjson", "--records", "/data"],
      1,
      /^error: .* numbers: --records points into a JSON document, and --format says ndjson\n/,
    ],
    [["/days.csv", "--name", "trips"], 2, /^error: Cannot look at trips: there is a table public\.trips\n/],
    [["/days.csv", "--name", "trips", "--target", "public.t"], 2, /^error: .* there is a feed of that name\n/],
    [["/days.csv", "--target", "t"], 2, /^error: .* t names no schema\n/],
    [["/days.csv", "--date-order", "day"], 2, /^error: --date-order: takes one of dmy, mdy, ymd\n/],
    [["/days.csv", "--skip", "x"], 2, /^error: --skip: takes a number\n/],
    [["/days.csv", "--frob"], 2, /^error: Unknown option '--frob'\n/],
    [["/"], 2, /^error: no name stands in its URL: say --name\n/],
  ];
  for (const [[path, ...options], code, message] of refused) {
    const result = await feed(db.url, web.url + path, ...options);
    assert.deepEqual([result.code, await snapshot(db)], [code, before], path);
    assert.match(result.err, message);
    assert.ok(!result.err.includes("etl.feeds."), `there is no row yet: ${path}`);
  }
  const open = await feed(db.url, `${web.url}/days.csv`);
  assert.match(open.err, /\nFirst, --date-order must be said: the days in day, 1, make sense as dmy and as mdy\.\n$/);
  await db.query(`begin; ${open.out}; rollback`);
  const line = await feed(db.url, `${web.url}/line.csv`);
  assert.ok(!(line.out + line.err).includes("example.org"), "no value is printed");
  const help = await feed(db.url, "--help");
  assert.deepEqual([help.code, help.err], [0, ""]);
});

/** Pages that link to the next one, in the document or in the header. */
function pages(bodies: ((next?: string) => string)[], link = false): Record<string, () => Response> {
  return Object.fromEntries(bodies.map((body, i) => {
    const next = i + 1 < bodies.length ? `/${i + 2}` : undefined;
    const headers: HeadersInit = link && next ? { link: `<${next}>; rel="next"` } : {};
    return [`/${i + 1}`, () => new Response(body(link ? undefined : next), { headers })];
  }));
}

const paged = (...rides: [driver: number, ride: number][]) => (next?: string) =>
  JSON.stringify({ data: rides.map(([driver_id, ride]) => ({ driver_id, ride })), next });
const lines = (rows: string[]) => () => ["driver_id,ride", ...rows, ""].join("\n");
const inDocument = [paged([1, 10], [2, 11]), paged([1, 12], [2, 13])];

Deno.test("all pages of a file are looked at, and those are found that nobody has told of", async (t) => {
  await using db = await freshDatabase();
  const cases: [title: string, files: ReturnType<typeof pages>, options: string[], next: string][] = [
    ["a pointer", pages(inDocument), ["--records", "/data", "--next", "/next"], "'/next'"],
    ["the header Link", pages(inDocument, true), ["--next", "link"], "'link',"],
    ["CSV", pages([lines(["1,10", "2,11"]), lines(["1,12", "2,13"])], true), ["--next", "link"], "'link'"],
    ["the header Link, found", pages(inDocument, true), [], "'link' -- the server links to a further page"],
    ["a pointer, found", pages(inDocument), [], "'/next' -- the document links to a further page"],
  ];
  for (const [title, files, options, next] of cases) {
    await t.step(title, async () => {
      await using web = serve(files);
      const url = `${web.url}/1`;
      const sql = migration(await look(db.url, readOptions([url, "--name", "f", ...options])));
      assert.match(sql, /^-- The feed f, by the 4 records of its file\.\n/);
      assert.deepEqual(tableOf(sql), [
        "driver_id integer not null, -- 4 of 4 are not in public.drivers, and so no foreign key",
        "ride integer primary key -- unique in 4 records",
      ]);
      assert.ok(feedOf(sql).includes(next), sql);
      await db.query(sql);
      const { read, inserted } = await db.loadOne("f");
      assert.deepEqual([read, inserted], [4, 4]);
      await db.query("drop table public.f; delete from etl.feeds where name = 'f'");
    });
  }
});

Deno.test("pages beyond the first 200,000 records are not asked for", async () => {
  await using db = await freshDatabase();
  const many = (from: number) => lines(Array.from({ length: 150_000 }, (_, i) => `${i % 7},${from + i}`));
  await using web = serve(pages([many(0), many(150_000), many(300_000), many(450_000)], true));
  const sql = migration(await look(db.url, readOptions([`${web.url}/1`, "--name", "f", "--next", "link"])));
  const [, records] = /^-- The feed f, by the first ([\d,]+) records of its file\.\n/.exec(sql)!;
  assert.ok(Number(records.replaceAll(",", "")) >= 200_000, records);
  assert.deepEqual(web.log, ["GET /1 200", "GET /2 200"]);
});

Deno.test("a link to another server, or none at all, is not taken for a further page", async () => {
  await using db = await freshDatabase();
  const away = (next: string) => JSON.stringify({ data: [{ id: 1 }], next, links: { next } });
  await using web = serve({
    "/away": () => new Response(away("https://elsewhere.example/2")),
    "/cursor": () => new Response(away("dXNlcjpVMDYx")),
    "/linked": () => new Response(away(""), { headers: { link: '<https://elsewhere.example/2>; rel="next"' } }),
    "/odd": () => new Response(away(""), { headers: { link: "next, please" } }),
  });
  for (const path of Object.keys(web.files)) {
    const sql = migration(await look(db.url, readOptions([web.url + path, "--name", "f"])));
    assert.deepEqual(feedOf(sql), ["'/data' -- where the document has objects"], path);
  }
});

Deno.test("a feed whose absent rows are to be marked loads, and marks them", async () => {
  await using db = await freshDatabase();
  const rows = Array.from({ length: 20 }, (_, i) => `${i},x`);
  await using web = serve({ "/f.csv": ["id,v", ...rows, ""].join("\n") });
  await db.query(migration(await look(db.url, readOptions([`${web.url}/f.csv`, "--absent", "mark"]))));
  assert.equal((await db.loadOne("f")).inserted, 20);
  web.files["/f.csv"] = ["id,v", ...rows.slice(1), ""].join("\n");
  assert.equal((await db.loadOne("f")).deleted, 1);
  assert.deepEqual(await db.query("select id from public.f where absent_since is not null"), [{ id: 0 }]);
});

Deno.test("a member of an archive is looked at as a run looks at it, and names the feed", async () => {
  await using db = await freshDatabase();
  const archive = zipped([{ name: "agency.txt", data: "agency_id\nx\n" }, { name: "out/payouts.csv", data: payouts }]);
  await using web = serve({ "/export.zip": archive });
  const { draft: { name }, target } = readOptions([`${web.url}/export.zip#out/payouts.csv`]);
  assert.deepEqual([name, target], ["payouts", "public.payouts"]);
  const { code, out } = await feed(db.url, `${web.url}/export.zip#out/payouts.csv`, "--apply");
  assert.equal(code, 0);
  assert.match(out, /^payouts +changed +300 +300 /m);
});

Deno.test("a feed has the name of its file", () => {
  const names = [
    ["https://a.example/payouts.csv?key=1.2", "payouts"],
    ["https://a.example/v1/Driver-Payouts.csv.gz", "driver_payouts"],
    ["https://a.example/2021-07-01_payouts_20210701.json", "payouts"],
    ["https://a.example/{day:YYYY}/payouts_{day}.csv", "payouts"],
    ["https://a.example/gtfs.zip#stops.txt", "stops"],
    ["https://a.example/trips/", "trips"],
  ];
  for (const [url, name] of names) assert.equal(readOptions([url]).draft.name, name);
});

Deno.test("a feed may have any name, whatever it means in a regular expression", async () => {
  await using db = await freshDatabase();
  const sql = await printed(db, "list.csv", "n,c_code\n1,a\n1,b\n", "--name", "c++", "--target", "public.c");
  assert.match(sql, /primary key \(c_code\)|c_code text primary key/);
});

Deno.test("a file behind a key is asked for as a run asks for it", async () => {
  await using db = await freshDatabase();
  const asked: string[] = [];
  const keyed = (request: Request) => {
    const { pathname, search } = new URL(request.url);
    asked.push(pathname + search);
    const isLetIn = request.headers.get("authorization") === "Bearer s3cret";
    return new Response(isLetIn ? payouts : "no", { status: isLetIn ? 200 : 401 });
  };
  await using web = serve({ "/2021/payouts.csv": keyed });
  const url = `${web.url}/2021/payouts.csv?day={day:"x"YYYY}`;
  const headers = '{"authorization": "Bearer {secret:PARTNER}"}';
  const env = { DATABASE_URL: db.url, ETL_SECRET_PARTNER: "s3cret" };
  const { code, out, err } = await run(["feed", url, "--headers", headers], { env });
  assert.deepEqual([code, asked], [0, [`/2021/payouts.csv?day=x${new Date().getUTCFullYear()}`]]);
  assert.ok(out.includes(`'${url}'`) && out.includes(`'{"authorization":"Bearer {secret:PARTNER}"}'`), out);
  assert.ok(!(out + err).includes("s3cret"));
  const refused = await feed(db.url, url, "--headers", headers);
  assert.match(refused.err, /^error: Cannot look at payouts: there is no secret PARTNER\n/);
});
