/**
 * What a cell means: dates in every order, words for a time or for null, numbers with a comma. Nothing that has two
 * meanings is read; the expected values are worked out by hand.
 */
import assert from "node:assert/strict";
import { freshDatabase } from "../support/database.ts";
import { serve } from "../support/web.ts";

interface Case {
  type: string;
  feed?: Record<string, unknown>;
  /** More of the table. */
  sql?: string;
  /** What the cell says, and the value as Postgres prints it; null for null. */
  read?: Record<string, string | null>;
  /** Cells that are rejects, and their reason. */
  refused?: [reason: RegExp, ...cells: string[]][];
}

const order = /^is a date in an order that etl\.feeds\.date_order must name$/;
const no = (type: string) => new RegExp(`^(is no|is out of the range of) ${type}$`);
const words = ["now", "today", "tomorrow", "yesterday", "epoch", "infinity", "-infinity", " NOW ", "Today"];
const feed = (date_order: string) => ({ date_order });

const cases: Record<string, Case> = {
  "a date without an order": {
    type: "date",
    read: {
      "2024-03-04": "2024-03-04",
      "2024/03/04": "2024-03-04",
      "2024.03.04": "2024-03-04",
      "2024-3-4": "2024-03-04",
      "20240304": "2024-03-04",
      "4 March 2024": "2024-03-04",
      "March 4, 2024": "2024-03-04",
      "4-Mar-2024": "2024-03-04",
      "Mon Mar 04 10:30:00 2024": "2024-03-04",
      "2024-03-04T10:30:00Z": "2024-03-04",
      "0999-01-02": "0999-01-02",
      "": null,
    },
    refused: [
      [
        order,
        "03/04/2024",
        "31/12/2021",
        "05.06.2024",
        "03-04-2024",
        "3/4/24",
        "03/04/24",
        "3.4.24",
        "3-4-24",
        "24-03-04",
        "3 4 24",
      ],
      [
        order,
        "240304",
        "200112",
        "4-Mar-24",
        "04 Mar 24",
        "Mar 4, 24",
        "Sept-04-24",
        "June-04-24",
        "24-Mar-04",
        "3/4/2024",
      ],
      [no("date"), ...words, "2024-02-30", "2024-13-01", "soon", "allballs", "12"],
    ],
  },
  "a date, the day first": {
    type: "date",
    feed: feed("dmy"),
    read: {
      "03/04/2024": "2024-04-03",
      "31/12/2021": "2021-12-31",
      "05.06.2024": "2024-06-05",
      "3-4-2024": "2024-04-03",
      "3/4/24": "2024-04-03",
      "04-Mar-24": "2024-03-04",
      "2024-03-04": "2024-03-04",
      "20240304": "2024-03-04",
    },
    refused: [[no("date"), "12/31/2021", "29/02/2023", ...words]],
  },
  "a date, the month first": {
    type: "date",
    feed: feed("mdy"),
    read: {
      "03/04/2024": "2024-03-04",
      "12/31/2021": "2021-12-31",
      "3.4.24": "2024-03-04",
      "2024-03-04": "2024-03-04",
    },
    refused: [[no("date"), "31/12/2021", ...words]],
  },
  "a date, the year first": {
    type: "date",
    feed: feed("ymd"),
    read: { "24/03/04": "2024-03-04", "2024/3/4": "2024-03-04", "240304": "2024-03-04" },
    refused: [[no("date"), "03/04/2024", "31/12/2021", ...words]],
  },
  "a time without an order": {
    type: "timestamptz",
    feed: { time_zone: "America/New_York" },
    read: {
      "2024-07-01 14:05": "2024-07-01 18:05:00+00",
      "2024-07-01T14:05:06.789Z": "2024-07-01 14:05:06.789+00",
      "2024-07-01 14:05:06-05": "2024-07-01 19:05:06+00",
      "2024-07-01 14:05:06 +0530": "2024-07-01 08:35:06+00",
      "20240701T140506": "2024-07-01 18:05:06+00",
      "1 July 2024 2:05 PM": "2024-07-01 18:05:00+00",
      "Jul 1 2024 14:05:06.123456": "2024-07-01 18:05:06.123456+00",
      "2024-07-01": "2024-07-01 04:00:00+00",
      "": null,
    },
    refused: [
      [
        order,
        "7/1/2021 14:05",
        "01.07.2024 14:05",
        "7/1/24 14:05:06.123456",
        "14:05 1/7/24",
        "1-Jul-24 14:05",
        "240701T140506",
      ],
      [no("timestamp with time zone"), ...words, "today 10:00", "04:05 tomorrow", "2024-07-01 25:00"],
    ],
  },
  "a time without a zone, the day first": {
    type: "timestamp",
    feed: feed("dmy"),
    read: { "01/07/2024 14:05": "2024-07-01 14:05:00", "1/7/24 2:05 PM": "2024-07-01 14:05:00" },
    refused: [[no("timestamp without time zone"), "07/31/2024 14:05", ...words]],
  },
  "a time of day": {
    type: "time",
    read: { "14:05": "14:05:00", "14:05:06": "14:05:06", "2:05 PM": "14:05:00" },
    refused: [[no("time without time zone"), "now", "allballs", "today", "25:00"]],
  },
  "a span of time": {
    type: "interval",
    read: { "3 days": "3 days", "1:30": "01:30:00", "P1DT2H": "1 day 02:00:00" },
    refused: [[no("interval"), "infinity", "-infinity", "now"]],
  },
  "dates in an array": {
    type: "date[]",
    read: { "{2024-03-04,NULL}": "{2024-03-04,NULL}", "{}": "{}", "": null },
    refused: [
      [order, "{03/04/2024}", "{2024-03-04,3/4/24}", "{240304}", '{"4-Mar-24"}'],
      [no("date\\[\\]"), "{now}", "{2024-03-04,today}", "{infinity}"],
    ],
  },
  "dates in an array, the day first": {
    type: "date[]",
    feed: feed("dmy"),
    read: { "{03/04/2024,3/4/24}": "{2024-04-03,2024-04-03}" },
  },
  "dates in a range": {
    type: "daterange",
    read: { "[2024-03-04,2024-03-06)": "[2024-03-04,2024-03-06)", "[2024-03-04,)": "[2024-03-04,)", "empty": "empty" },
    refused: [[order, "[03/04/2024,04/04/2024]", "[3/4/24,)"], [no("daterange"), "[today,)", "[2024-03-04,infinity)"]],
  },
  "dates in ranges, the month first": {
    type: "tsmultirange",
    feed: feed("mdy"),
    read: { "{[03/04/2024 1:00,03/05/2024 2:00)}": '{["2024-03-04 01:00:00","2024-03-05 02:00:00")}' },
    refused: [[no("tsmultirange"), "{[now,)}"]],
  },
  "a domain over a date, in a domain": {
    sql: "create domain t.d as date; create domain t.e as t.d check (value > '2000-01-01');",
    type: "t.e",
    read: { "2024-03-04": "2024-03-04" },
    refused: [[order, "03/04/2024", "3/4/24"], [no("t\\.e"), "now"], [/^breaks a rule of t\.e$/, "1999-01-01"]],
  },
  "a composite of a date and a text": {
    sql: "create type t.c as (name text, at date);",
    type: "t.c",
    read: { "(snow,2024-03-04)": "(snow,2024-03-04)" },
    refused: [[order, "(a,3/4/24)"], [no("t\\.c"), "(a,now)"]],
  },
  "words that mean null": {
    type: "int",
    feed: { nulls: ["N/A", "-", "{cell}", "it's", "%s"] },
    read: { "7": "7", "N/A": null, "-": null, "": null, "{cell}": null, "it's": null, "%s": null },
    refused: [[no("integer"), "n/a", "NULL", "--"]],
  },
  "words that mean null, for a date": {
    type: "date",
    feed: { nulls: ["N/A", "0000-00-00", "01/01/1900"] },
    read: { "2024-03-04": "2024-03-04", "N/A": null, "0000-00-00": null, "01/01/1900": null },
    refused: [[order, "01/01/1901"]],
  },
  "words that mean null, for a text": {
    type: "text",
    feed: { nulls: ["N/A"] },
    read: { "N/A": null, "": "", "n/a": "n/a" },
  },
  "an empty text that means null": { type: "text", feed: { nulls: [""] }, read: { "": null, "a": "a" } },
  "numbers with a comma": {
    type: "numeric",
    feed: { decimal_comma: true, nulls: ["k.A."] },
    read: {
      "1.234,50": "1234.50",
      "1.234.567": "1234567",
      "-0,5": "-0.5",
      "+7": "7",
      "1234,5": "1234.5",
      ",5": "0.5",
      "1e3": "1000",
      "k.A.": null,
      "": null,
    },
    refused: [[no("numeric"), "12.34", "1.2345", "1,234.50", "1.23,4", "1,2,3", "NaN", "abc", "1.234.5"]],
  },
  "numbers with a comma, with a scale": {
    type: "numeric(8,2)",
    feed: { decimal_comma: true },
    read: { "1.234,5": "1234.50" },
    refused: [[/^is out of the range of numeric\(8,2\)$/, "1.234.567,00"], [no("numeric\\(8,2\\)"), "1234.5"]],
  },
  "numbers with a comma, of integers": {
    type: "bigint",
    feed: { decimal_comma: true },
    read: { "1.234": "1234", "7,00": "7", "12": "12" },
    refused: [[no("bigint"), "7,5", "12.3"]],
  },
  "numbers with a point": {
    type: "numeric",
    read: { "1234.50": "1234.50", "7": "7" },
    refused: [[no("numeric"), "1.234,50", "1,234.50", "$7"]],
  },
  "integers written with a point": {
    type: "int",
    read: { "532075.0": "532075", "-3.000": "-3", "8": "8", " 9.0 ": "9" },
    refused: [[no("integer"), "532075.5", "1.0.0", ".0", "7.0x"], [no("integer"), "9999999999.0"]],
  },
  "an empty text in a key": {
    sql: "create table t.p (code text primary key); insert into t.p values ('a');",
    type: "text references t.p",
    read: { "": null, "a": "a" },
  },
  "an empty text that may be unique": { type: "text unique", read: { "": null, "a": "a" } },
  "an empty text in a column that must not be null": { type: "text not null unique", read: { "": "", "a": "a" } },
  "an empty text": { type: "text", read: { "": "", "a": "a" } },
};
const quoted = (cell: string) => `"${cell.replaceAll('"', '""')}"`;

for (const format of ["csv", "json"]) {
  for (const [name, { type, feed = {}, sql = "", read = {}, refused = [] }] of Object.entries(cases)) {
    // JSON writes its numbers with a point.
    if (format === "json" && feed.decimal_comma) continue;
    Deno.test(`values: ${name}, in ${format}`, async () => {
      await using db = await freshDatabase();
      await using web = serve({});
      await db.admin(`create schema t; grant all on schema t to ${new URL(db.url).username}`);
      await db.query(`${sql} create table t.x (id int primary key, v ${type})`);
      const reasons = refused.flatMap(([reason, ...cells]) => cells.map((cell) => ({ cell, reason })));
      const cells = [...Object.keys(read), ...reasons.map(({ cell }) => cell)];
      web.files["/x"] = format === "csv"
        ? `id,v\n${cells.map((cell, i) => `${i + 1},${quoted(cell)}\n`).join("")}`
        : JSON.stringify(cells.map((v, i) => ({ id: i + 1, v })));
      await db.feed("x", { url: `${web.url}/x`, target: "t.x", reject_limit: 1, ...feed });
      const loaded = await db.loadOne("x");
      assert.equal(loaded.error, null);
      const rows = await db.query("select id, v::text from t.x order by id");
      assert.deepEqual(
        Object.fromEntries(rows.map(({ id, v }) => [cells[id - 1], v])),
        read,
      );
      const rejects = await db.query(
        "select record_number::int, value, reason from etl.rejects order by record_number",
      );
      assert.deepEqual(rejects.map(({ value }) => value), reasons.map(({ cell }) => cell));
      for (const { record_number, reason } of rejects) {
        const { cell, reason: expected } = reasons[record_number - 1 - Object.keys(read).length];
        assert.match(reason, expected, cell);
      }
      const again = await db.loadOne("x", { force: true });
      assert.deepEqual([again.status, again.unchanged], ["unchanged", Object.keys(read).length], "forced");
    });
  }
}

Deno.test("values: JSON writes its numbers with a point, and 1.234 there is never 1234", async () => {
  await using db = await freshDatabase();
  await using web = serve({});
  web.files["/x"] = '[{"id":1,"v":1.234}]';
  await db.admin(`create schema t; grant all on schema t to ${new URL(db.url).username}`);
  await db.query("create table t.x (id int primary key, v numeric)");
  await db.feed("x", { url: `${web.url}/x`, target: "t.x", decimal_comma: true });
  const { status, error } = await db.loadOne("x");
  assert.deepEqual([status, error?.code], ["failed", "setting"]);
  assert.match(error!.hint!, /decimal_comma/);
});
