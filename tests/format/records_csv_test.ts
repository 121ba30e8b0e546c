/** Records of CSV against a reference that reads field by field, written from the grammar. */
import assert from "node:assert/strict";
import { parse } from "csv-parse/sync";
import fc from "fast-check";
import {
  broken,
  bytesOf,
  type Csv,
  expected,
  latin1,
  numRuns,
  type Row,
  run,
  runs,
  sent,
  sizes,
  textFault,
  utf8,
} from "./records.ts";
import { seed } from "../support/chance.ts";

const hex = (letter: string) => `\\x${letter.charCodeAt(0).toString(16).padStart(2, "0")}`;

/** CSV as it should be read: what follows the header line. */
function readCsv(text: string, shape: Csv): Row[] {
  const { columns, delimiter, lineEnd, quote } = shape;
  const grammar = grammarOf(shape);
  const rows: Row[] = [], waiting: Row[] = [];
  for (let start = 0; start < text.length;) {
    if (text.startsWith(mark, start)) {
      start += mark.length;
      continue;
    }
    const { fault, fields, end, next } = readRecord(text, start, grammar);
    const record = text.slice(start, end);
    start = next;
    const isFull = fields.length === columns && columns > 1;
    const isNothing = !fault && record.length < (isFull ? columns : Infinity) &&
      [...record].every((letter) => (letter <= " " || letter === delimiter) && letter !== quote);
    const extra = fields.length - columns;
    if (extra > 0 && extra < record.length && fields.slice(columns).join("") === "") fields.length = columns;
    const wrong: [string, string] | null = fault
      ? ["22P04", fault]
      : record === ""
      ? ["22P04", "is a blank line"]
      : fields.length !== columns
      ? ["22P04", `has ${fields.length} field${fields.length === 1 ? "" : "s"} where the header has ${columns}`]
      : textFault(record);
    const spelled = fields.join(delimiter);
    const row: Row = wrong
      ? broken(wrong, record)
      : { good: (spelled === "\\." ? `${quote}\\.${quote}` : spelled) + lineEnd };
    // At the end of the file it is none.
    if (isNothing) waiting.push(row);
    else rows.push(...waiting.splice(0), row);
  }
  return rows;
}

/** A byte order mark. */
const mark = "\xef\xbb\xbf";

function grammarOf({ delimiter, lineEnd, quote, escape }: Csv) {
  const [d, q, e] = [delimiter, quote, escape ?? quote].map(hex);
  const blank = `[${[" ", "\t"].filter((letter) => letter !== delimiter).map(hex).join("")}]*`;
  const within = e === q ? `${q}${q}|[^${q}]` : `${q}${q}|${e}${q}|${e}${e}|${e}(?![${q}${e}])|[^${q}${e}]`;
  const sticky = (pattern: string) => new RegExp(pattern, "ys");
  return {
    quoted: sticky(`${blank}${q}((?:${within})*)${q}(?!${q})${blank}`),
    opened: sticky(`${blank}${q}`),
    plain: sticky(`[^${q}${d}\r\n]*`),
    delimiter: sticky(d),
    lineEnd: sticky(lineEnd === "\r" ? "\r|$" : "\r*(?:\n|$)"),
    firstLine: sticky(lineEnd === "\r" ? "[^\r]*" : "[^\n]*?(?=\r*(?:\n|$))"),
    /** A spelled quote, or a spelled escape, within quotes. */
    pairs: new RegExp(e === q ? `(${q}${q})` : `(${q}${q}|${e}${q})|${e}${e}`, "gs"),
    quote,
    escape: escape ?? quote,
  };
}

/** A record that begins at `start`, its fields spelled as COPY takes them; with a fault, its first line alone. */
function readRecord(text: string, start: number, grammar: ReturnType<typeof grammarOf>) {
  const { quote, escape } = grammar;
  let at = start;
  const take = (pattern: RegExp) => {
    pattern.lastIndex = at;
    const found = pattern.exec(text);
    at += found?.[0].length ?? 0;
    return found;
  };
  const fields: string[] = [];
  for (;;) {
    const quoted = take(grammar.quoted);
    let fault = "";
    if (quoted) {
      const content = quoted[1].replace(grammar.pairs, (_, isQuote) => isQuote ? quote + quote : escape);
      fields.push(quote + content + quote);
    } else if (take(grammar.opened)) fault = "has a quote that is not closed";
    else fields.push(take(grammar.plain)![0]);
    if (!fault && take(grammar.delimiter)) continue;
    const end = at;
    if (!fault && take(grammar.lineEnd)) return { fault, fields, end, next: at };
    const onward = text.slice(at).replace(/^\r+/, "");
    const isReturn = /^[\r\n]/.test(text.slice(at));
    fault ||= onward[0] === quote && (isReturn || !quoted)
      ? "has a quote within a field that is not quoted"
      : isReturn
      ? "has half a line end within a field that is not quoted"
      : "has text after a closing quote";
    at = start;
    take(grammar.firstLine);
    return { fault, fields, end: at, next: at + (take(grammar.lineEnd)?.[0].length ?? 0) };
  }
}

const plain = ["a", "b c", "\xc3\xa9", "\xf0\x9f\x9a\x95", "", "", "\\", "'", ...runs];

const quotedFields = ['"a"', '""', '""""', '"a""b"', '"a\nb"', '"\r"', '"\r\n"', '",;"', `"${run(70)}"`];

const foul = [
  "\0",
  "\xff",
  "\xc3",
  "\xed\xa0\x80",
  "\xc0\x80",
  "\xef\xbb\xbf",
  "\\.",
  '"',
  '"a',
  'a"',
  '"a"b',
  "\r",
  "\n",
  "\x1a",
  "\t",
];

/** What is no standard CSV, and is read all the same. */
const lax = [
  ' "a"',
  '"a" ',
  '\t"a"\t',
  ' "" ',
  '"a\\"b"',
  '"\\\\"',
  '"a\\b"',
  '"\\""',
  '"a""b\\""',
  "\\a",
  ' "a,\nb" ',
];

const csvFile = fc.record({
  columns: fc.integer({ min: 1, max: 4 }),
  delimiter: fc.constantFrom(",", ",", ";", "\t", "|", " "),
  lineEnd: fc.constantFrom("\n", "\r\n", "\r"),
  quote: fc.constantFrom('"', '"', "'"),
  escape: fc.constantFrom(null, null, "\\", "^"),
}).chain((style) => {
  const { columns, delimiter, lineEnd, quote, escape } = style;
  const pieces = (...all: string[]) =>
    fc.constantFrom(...all.map((piece) => piece.replaceAll('"', quote).replaceAll("\\", escape ?? "\\")));
  const soup = fc.array(
    pieces(
      ...["a", '"', '"', '"a"', '""', " ", "\\", delimiter, delimiter, "\n", "\r\n", "\r", lineEnd, lineEnd],
      ...foul,
      ...runs,
    ),
    { maxLength: 25 },
  ).map((pieces) => pieces.join(""));
  const field = fc.oneof(
    { weight: 30, arbitrary: pieces(...plain) },
    { weight: 8, arbitrary: pieces(...quotedFields) },
    { weight: 4, arbitrary: pieces(...lax) },
    { weight: 1, arbitrary: pieces(...foul) },
  );
  const count = fc.oneof({ weight: 15, arbitrary: fc.constant(columns) }, fc.integer({ min: 1, max: 5 }));
  const end = fc.oneof(
    { weight: 30, arbitrary: fc.constant(lineEnd) },
    fc.constantFrom("\n", "\r\n", "\r", "", "\r\r\n", delimiter + lineEnd, `${delimiter}\r\r\n`, ` ${lineEnd}`),
    fc.constantFrom(delimiter + delimiter + lineEnd, `${delimiter.repeat(4)}\r\r\n`, lineEnd + mark),
  );
  const line = fc.tuple(count.chain((n) => fc.array(field, { minLength: n, maxLength: n })), end)
    .map(([fields, end]) => fields.join(delimiter) + end);
  const nothing = fc.tuple(
    fc.array(fc.constantFrom(delimiter, delimiter, delimiter.repeat(columns - 1), " ", "\0", "\x1a"), { maxLength: 4 }),
    fc.constantFrom(lineEnd, lineEnd, "\r\r\n", ""),
    fc.integer({ min: 1, max: 3 }),
  ).map(([pieces, end, times]) => (pieces.join("") + end).repeat(times));
  const lines = fc.tuple(
    fc.array(
      fc.oneof({ weight: 6, arbitrary: line }, soup, nothing),
      { maxLength: 12 },
    ),
    fc.array(nothing, { maxLength: 2 }),
  ).map(([all, last]) => [...all, ...last].join(""));
  return fc.record({ shape: fc.constant<Csv>({ kind: "csv", ...style }), text: fc.oneof(soup, lines) });
});

Deno.test("CSV: the rows and the broken records that the grammar says, however the file is cut", async () => {
  let good = 0, bad = 0;
  await fc.assert(
    fc.asyncProperty(csvFile, sizes, async ({ shape, text }, sizes) => {
      const rows = readCsv(text, shape);
      const { delimiter, columns, lineEnd, quote } = shape;
      const found = await sent(text, sizes, shape);
      assert.equal(found.text, expected(rows, quote, delimiter.repeat(columns - 1) + lineEnd));
      const brokenRows = rows.flatMap((row) => "good" in row ? [] : [row]);
      assert.deepEqual([found.records.count, found.records.broken], [rows.length, brokenRows.length]);
      good += rows.length - brokenRows.length;
      bad += brokenRows.length;
      // Another parser agrees that each row has its fields, and gives the broken records back.
      const parsed = parse(Buffer.from(bytesOf(found.text)), {
        ...{ delimiter, quote, escape: quote },
        record_delimiter: lineEnd,
      }) as string[][];
      assert.deepEqual(parsed.map((fields) => fields.length), rows.map(() => columns));
      assert.deepEqual(
        parsed.filter(([first]) => first.startsWith("SENTINEL")).map(([first]) => latin1(utf8(first))),
        brokenRows.map(({ sqlstate, reason, raw }) => `SENTINEL${sqlstate}${reason}\n${raw}`),
      );
    }),
    { numRuns, seed },
  );
  assert.ok(good > numRuns && bad > numRuns, `${good} rows and ${bad} broken records: the files are mixed`);
});
