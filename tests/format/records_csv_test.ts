/** Records of CSV against a reference that reads byte by byte, written from the grammar. */
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
  seed,
  sent,
  sizes,
  textFault,
  utf8,
} from "./records.ts";

/** CSV as it should be read: what follows the header line. */
function readCsv(text: string, { columns, delimiter, lineEnd }: Csv): Row[] {
  const newline = lineEnd === "\r" ? "\r" : "\n";
  const trimmed = (line: string) => newline === "\n" && line.endsWith("\r") ? line.slice(0, -1) : line;
  const rows: Row[] = [];
  let blanks = 0;
  for (let start = 0; start < text.length;) {
    const { fault, fields, end } = readRecord(text, start, delimiter, newline);
    const record = trimmed(text.slice(start, end));
    start = end + 1;
    if (record === "" && !fault) {
      blanks++;
      continue;
    }
    for (; blanks > 0; blanks--) rows.push(broken(["22P04", "is a blank line"], ""));
    const wrong: [string, string] | null = fault
      ? ["22P04", fault]
      : fields !== columns
      ? ["22P04", `has ${fields} field${fields === 1 ? "" : "s"} where the header has ${columns}`]
      : textFault(record);
    if (wrong) rows.push(broken(wrong, record));
    else rows.push({ good: (record === "\\." ? '"\\."' : record) + lineEnd });
  }
  return rows;
}

/** A record that begins at `start`; with a fault, its first line alone. `end`: where its line end is, or the file's. */
function readRecord(text: string, start: number, delimiter: string, newline: string) {
  let state: "start" | "plain" | "quoted" | "closed" | "returned" = "start";
  let fields = 1, fault = "";
  let at = start;
  for (; at < text.length; at++) {
    const letter = text[at];
    if (state === "quoted") {
      if (letter === '"') state = "closed";
      continue;
    }
    if (letter === '"' && (state === "start" || state === "closed")) state = "quoted";
    else if (letter === '"') fault = "has a quote within a field that is not quoted";
    else if (letter === newline) return { fault, fields, end: at };
    else if (state === "returned") fault = "has half a line end within a field that is not quoted";
    else if (letter === delimiter) [state, fields] = ["start", fields + 1];
    else if (letter === "\r") state = "returned";
    else if (letter === "\n") fault = "has half a line end within a field that is not quoted";
    else if (state === "closed") fault = "has text after a closing quote";
    else state = "plain";
    if (fault) break;
  }
  if (state === "quoted") fault = "has a quote that is not closed";
  if (!fault) return { fault, fields, end: at };
  const end = text.indexOf(newline, start);
  return { fault, fields, end: end < 0 ? text.length : end };
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
];

const csvFile = fc.record({
  columns: fc.integer({ min: 1, max: 4 }),
  delimiter: fc.constantFrom(",", ",", ";", "\t", "|"),
  lineEnd: fc.constantFrom("\n", "\r\n", "\r"),
}).chain((style) => {
  const { columns, delimiter, lineEnd } = style;
  const soup = fc.array(
    fc.constantFrom(
      ...["a", '"', '"', '""', delimiter, delimiter, "\n", "\r\n", "\r", lineEnd, lineEnd, ...foul, ...runs],
    ),
    { maxLength: 25 },
  ).map((pieces) => pieces.join(""));
  const field = fc.oneof(
    { weight: 30, arbitrary: fc.constantFrom(...plain) },
    { weight: 8, arbitrary: fc.constantFrom(...quotedFields) },
    { weight: 1, arbitrary: fc.constantFrom(...foul) },
  );
  const count = fc.oneof({ weight: 15, arbitrary: fc.constant(columns) }, fc.integer({ min: 1, max: 5 }));
  const end = fc.oneof({ weight: 15, arbitrary: fc.constant(lineEnd) }, fc.constantFrom("\n", "\r\n", "\r", ""));
  const line = fc.tuple(count.chain((n) => fc.array(field, { minLength: n, maxLength: n })), end)
    .map(([fields, end]) => fields.join(delimiter) + end);
  const lines = fc.array(fc.oneof({ weight: 6, arbitrary: line }, soup), { maxLength: 12 }).map((all) => all.join(""));
  return fc.record({
    shape: fc.constant<Csv>({ kind: "csv", quote: '"', escape: null, ...style }),
    text: fc.oneof(soup, lines),
  });
});

Deno.test("CSV: the rows and the broken records that the grammar says, however the file is cut", async () => {
  let good = 0, bad = 0;
  await fc.assert(
    fc.asyncProperty(csvFile, sizes, async ({ shape, text }, sizes) => {
      const rows = readCsv(text, shape);
      const { delimiter, columns, lineEnd } = shape;
      const found = await sent(text, sizes, shape);
      assert.equal(found.text, expected(rows, '"', delimiter.repeat(columns - 1) + lineEnd));
      const brokenRows = rows.flatMap((row) => "good" in row ? [] : [row]);
      assert.deepEqual([found.records.count, found.records.broken], [rows.length, brokenRows.length]);
      good += rows.length - brokenRows.length;
      bad += brokenRows.length;
      // Another parser agrees that each row has its fields, and gives the broken records back.
      const parsed = parse(Buffer.from(bytesOf(found.text)), { delimiter, record_delimiter: lineEnd }) as string[][];
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
