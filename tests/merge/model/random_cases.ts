/** Random files for random tables, and schedules of runs. */
import fc from "fast-check";
import type { FeedRecord, File, Unread } from "./model.ts";
import { type Column, defaultOf, isRequired, type Table } from "./tables.ts";
import { goodTexts, often, table, textsOf } from "./random_tables.ts";

export interface Feed {
  file: File;
  format: "csv" | "json" | "ndjson";
  body: string;
  /** Of each record what is the same where it comes again. */
  texts: string[];
}

/** Stands for the byte 0xff. */
const noByte = "\ue000";

export function bytesOf({ body }: Feed): Uint8Array<ArrayBuffer> {
  const parts = body.split(noByte).map((part) => new TextEncoder().encode(part));
  return new Uint8Array(parts.flatMap((part, i) => i === 0 ? [...part] : [0xff, ...part]));
}

export interface Run {
  /** Table -> its new file; the others stay as they were. */
  files: Record<string, Feed>;
  feeds: string[];
  force: boolean;
  /** Whether all that is withheld is permitted before it. */
  approve: boolean;
}

export interface Case {
  tables: Table[];
  limit: number;
  /** Whether what a run changes is kept: then each run is taken back on trial. */
  history: boolean;
  runs: Run[];
}

/** Of keys, and of what refers to rows, a few: so that files meet. */
const cell = (column: Column, isKey: boolean): fc.Arbitrary<string | null> => {
  const refers = /^[psqr]\d/.test(column.name);
  const few = isKey || refers || column.name === "u" ? 4 : null;
  return fc.oneof(
    { weight: few ? 30 : 8, arbitrary: fc.constantFrom(...goodTexts(column.type).slice(0, few ?? 11)) },
    { weight: 1, arbitrary: fc.constantFrom(...textsOf(column.type)) },
    { weight: refers ? /^[sq]/.test(column.name) ? 60 : 10 : 1, arbitrary: fc.constantFrom(null, "") },
  );
};

const noObjects = ["5", "null", "[1]", '{"k1": }', '{"k1": 1, "k1": 2}', '{"k1": "\\u0000"}'];
const deep = "[".repeat(513) + "]".repeat(513);
const noJson = ['{"k1": "\x01"}', '{"k1": "\0"}', "\\.", '{"k1": 1}}', '{"k1": [1}', "{\x02}", deep];
/** Of an array, an element that is not there; of lines, one whose string is not closed. */
const unreadJson = (format: Feed["format"]): Unread[] => [
  ...[...noObjects, ...noJson, format === "json" ? "" : '{"k1": "1'].map((text): Unread => [text, "22032"]),
  [`{"k1": "${noByte}"}`, "22021"],
];

/** Lines that cannot be read, by how many fields there should be. */
const unreadLines: Record<string, (fields: number, delimiter: string) => string> = {
  "too few": (fields, delimiter) => Array(fields - 1).fill("1").join(delimiter),
  "too many": (fields, delimiter) => Array(fields + 1).fill('"1"').join(delimiter),
  "blank": () => "",
  "a stray quote": (fields, delimiter) => '1"1' + delimiter.repeat(fields - 1),
  "text after a quote": (fields, delimiter) => '"1"1' + delimiter.repeat(fields - 1),
  "an open quote": (fields, delimiter) => delimiter.repeat(fields - 1) + '"1',
  "half a line end": (fields, delimiter) => "1\r1" + delimiter.repeat(fields - 1),
  "no UTF-8": (fields, delimiter) => noByte + delimiter.repeat(fields - 1),
  "a NUL": (fields, delimiter) => delimiter.repeat(fields - 1) + "\0",
};
const unreadCsv = Object.keys(unreadLines).map((kind): Unread => [kind, /UTF|NUL/.test(kind) ? "22021" : "22P04"]);
const isNone = (record: FeedRecord | undefined) => Array.isArray(record) && (record[0] === "" || record[0] === "blank");

function feed({ columns, key }: Table): fc.Arbitrary<Feed> {
  const needed = columns.filter((c) => key.includes(c.name) || (isRequired(c) && defaultOf(c) === null));
  const optional = columns.filter((column) => !needed.includes(column));
  const carried = fc.oneof(
    { weight: 10, arbitrary: fc.constant(columns) },
    { weight: 6, arbitrary: fc.subarray(optional).map((some) => [...needed, ...some]) },
    { weight: 1, arbitrary: fc.subarray(columns, { minLength: 1 }) },
  );
  return fc.tuple(
    carried,
    fc.subarray(["extra", "Größe in m²", "i"]),
    fc.constantFrom<Feed["format"]>("csv", "json", "ndjson"),
  )
    .chain(([carried, extra, format]) => {
      const cells = Object.fromEntries([
        ...carried.map((column) => [column.name, cell(column, key.includes(column.name))]),
        ...(carried.length + extra.length < 2 ? ["extra"] : extra).map((
          name,
        ) => [name, fc.constantFrom("1", "?", null)]),
      ]) as Record<string, fc.Arbitrary<string | null>>;
      const names = Object.keys(cells);
      const whole = fc.record(cells, { noNullPrototype: true });
      const partial = fc.record(cells, { requiredKeys: [], noNullPrototype: true });
      const record = fc.oneof(
        { weight: 20, arbitrary: whole },
        { weight: format === "csv" ? 0 : 3, arbitrary: partial },
        { weight: 2, arbitrary: fc.constantFrom(...(format === "csv" ? unreadCsv : unreadJson(format))) },
      );
      return fc.record({
        records: fc.array(record as fc.Arbitrary<FeedRecord>, { minLength: format === "ndjson" ? 1 : 0, maxLength: 9 })
          .chain((records) =>
            fc.subarray(records, { maxLength: Math.min(2, records.length) }).map((copies) => [...records, ...copies])
          ),
        names: fc.shuffledSubarray(names, { minLength: names.length }),
        style: fc.record({
          delimiter: fc.constantFrom(",", ";", "\t", "|"),
          quoteAll: fc.boolean(),
          lineEnd: fc.constantFrom("\n", "\r\n"),
          bom: often(1),
          ended: fc.boolean(),
          bare: fc.boolean(),
        }),
      }).map(({ records, names, style }) => {
        const file = { header: format === "csv" ? names : null, records: counted(records, format) };
        const known = columns.map(({ name }) => name);
        return {
          file,
          format,
          body: format === "csv" ? csv(names, records, style) : json(records, style.bare, format),
          texts: format === "csv"
            ? textsOfCsv(file.records, names, style.delimiter)
            : textsOfJson(file.records, known, style.bare),
        };
      });
    });
}

/** A file that has every key of the few, and nothing more than it needs: whoever waits for one of them. */
function everyKey({ columns, key }: Table): fc.Arbitrary<Feed> {
  const needed = columns.filter((c) => key.includes(c.name) || (isRequired(c) && defaultOf(c) === null));
  const names = needed.map(({ name }) => name);
  let records: Record<string, string>[] = [{}];
  for (const { name, type } of needed) {
    const choice = goodTexts(type).slice(0, key.includes(name) ? 4 : 1);
    records = records.flatMap((record) => choice.map((text) => ({ ...record, [name]: text })));
  }
  const style: Style = { delimiter: ",", quoteAll: false, lineEnd: "\n", bom: false, ended: true };
  const file = { header: [...names, "extra"], records: records.map((record) => ({ ...record, extra: "1" })) };
  return fc.constant({
    file,
    format: "csv",
    body: csv(file.header, file.records, style),
    texts: textsOfCsv(file.records, file.header, style.delimiter),
  });
}

const asRead = (text: string) => text.replaceAll(/[\0\ue000]/g, "\ufffd");
const sorted = (entries: [string, string | null][]) => JSON.stringify(entries.toSorted(([a], [b]) => a < b ? -1 : 1));

function textsOfCsv(records: FeedRecord[], names: string[], delimiter: string): string[] {
  return records.map((record) =>
    Array.isArray(record)
      ? `csv ${asRead(unreadLines[record[0]](names.length, delimiter))}`
      : `csv ${sorted(names.map((name) => [name, record[name]]))}`
  );
}

/** What an object lacks and others of the file have is null. */
function textsOfJson(records: FeedRecord[], known: string[], bare: boolean): string[] {
  const all = new Set(records.flatMap((record) => Array.isArray(record) ? [] : Object.keys(record)));
  const value = (text: string | null) =>
    text !== null && bare && isBare.test(text) && !/[eE]\+?-?\d|^-0/.test(text) ? `bare ${text}` : text;
  return records.map((record) => {
    if (Array.isArray(record)) return `json ${asRead(record[0])}`;
    const names = new Set([...Object.keys(record), ...known.filter((name) => all.has(name))]);
    return `json ${sorted([...names].map((name) => [name, value(record[name] ?? null)]))}`;
  });
}

/** Lines with nothing in them at the end of a CSV file are no records, and an array with nothing in it has none. */
function counted(records: FeedRecord[], format: Feed["format"]): FeedRecord[] {
  const hasNothing = (record: FeedRecord) => isNone(record) || Object.values(record).every((text) => text === null);
  if (format === "csv") return records.slice(0, records.findLastIndex((record) => !hasNothing(record)) + 1);
  return format === "json" && records.length === 1 && isNone(records[0]) ? [] : records;
}

interface Style {
  delimiter: string;
  quoteAll: boolean;
  lineEnd: string;
  bom: boolean;
  ended: boolean;
}

function csv(names: string[], records: FeedRecord[], { delimiter, quoteAll, lineEnd, bom, ended }: Style): string {
  const field = (text: string | null) => {
    if (text === null) return "";
    const plain = text !== "" && !quoteAll && !/["\r\n,;|\t]/.test(text);
    return plain ? text : `"${text.replaceAll('"', '""')}"`;
  };
  const lines = [
    names.map(field).join(delimiter),
    ...records.map((record) =>
      Array.isArray(record)
        ? unreadLines[record[0]](names.length, delimiter)
        : names.map((name) => field(record[name])).join(delimiter)
    ),
  ];
  return (bom ? "\ufeff" : "") + lines.join(lineEnd) +
    (ended ? lineEnd : "");
}

const isBare = /^(true|false|-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?)$/;

function json(records: FeedRecord[], bare: boolean, format: "json" | "ndjson"): string {
  const value = (text: string | null) => bare && text !== null && isBare.test(text) ? text : JSON.stringify(text);
  const lines = records.map((record) =>
    Array.isArray(record)
      ? record[0]
      : `{${Object.entries(record).map(([name, text]) => `${JSON.stringify(name)}: ${value(text)}`).join(", ")}}`
  );
  return format === "json" ? `[${lines.join(",\n")}]` : lines.map((line) => line + "\n").join("");
}

export const cases: fc.Arbitrary<Case> = table("parent").chain((parent) =>
  table("child", parent).map((child) => [parent, child])
)
  .chain((tables) => {
    const files = fc.tuple(
      ...tables.map((table) =>
        fc.option(fc.oneof({ weight: 4, arbitrary: feed(table) }, { weight: 1, arbitrary: everyKey(table) }), {
          freq: 4,
        })
      ),
    );
    const run = fc.record({
      files: files.map((files) => Object.fromEntries(tables.flatMap((t, i) => files[i] ? [[t.name, files[i]]] : []))),
      feeds: fc.constantFrom<string[]>(["parent", "child"], ["parent", "child"], ["parent", "child"], ["child"], [
        "parent",
      ]),
      force: often(1),
      approve: often(4),
    });
    return fc.record({
      tables: fc.constant(tables),
      limit: fc.constantFrom(1, 1, 1, 1, 0.25),
      history: fc.boolean(),
      runs: fc.array(run, { minLength: 1, maxLength: 4 }),
    });
  });
