/** Records against references that read byte by byte, written from the grammar, on random files in random chunks. */
import assert from "node:assert/strict";
import { parse } from "csv-parse/sync";
import fc from "fast-check";
import xxhash from "xxhash-wasm";
import { type EtlError } from "../../lib/errors.ts";
import { Records } from "../../lib/format/records.ts";
import { compile } from "../../lib/format/scan/build.ts";
import { Bytes, type Shape, Stop } from "../../lib/format/scan/scanner.ts";
import { longestRecord } from "../../lib/limits.ts";

type Csv = Extract<Shape, { kind: "csv" }>;
/** A row that arrives as it is, or a broken record. All texts hold a byte a character. */
type Row = { good: string } | { sqlstate: string; reason: string; raw: string };

const seed = Number(Deno.env.get("SEED")) || Date.now() % 2 ** 31;
const numRuns = Number(Deno.env.get("CASES")) || 4000;
console.log(`SEED=${seed}`);

const bytesOf = (text: string) => Uint8Array.from(text, (character) => character.charCodeAt(0));
const latin1 = (bytes: Uint8Array) => {
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return text;
};
const { h64Raw } = await xxhash();
const checksum = (text: string) => h64Raw(bytesOf(text)).toString(16).padStart(16, "0");
const utf8 = (text: string) => new TextEncoder().encode(text);
const isUtf8 = (text: string) => {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytesOf(text));
    return true;
  } catch {
    return false;
  }
};
const textFault = (text: string): [string, string] | null =>
  text.includes("\0") ? ["22021", "holds a NUL byte"] : isUtf8(text) ? null : ["22021", "is not UTF-8"];

function broken(fault: [sqlstate: string, reason: string], raw: string): Row {
  const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytesOf(raw)).replaceAll("\0", "\ufffd");
  return { sqlstate: fault[0], reason: fault[1], raw: latin1(utf8(text)) };
}

/** The same buffer again and again, as `fetch` hands it over. */
async function* cut(text: string, sizes: number[]): AsyncGenerator<Uint8Array> {
  const bytes = bytesOf(text), buffer = new Uint8Array(Math.max(...sizes));
  for (let i = 0, n = 0; i < bytes.length; n++) {
    const part = bytes.subarray(i, i += sizes[n % sizes.length]);
    buffer.fill(0x22).set(part);
    yield buffer.subarray(0, part.length);
  }
}

/** What is sent to COPY, with SENTINEL for the sentinel; or the code of the error. */
async function sent(text: string, sizes: number[], shape: Shape): Promise<{ records: Records; text: string }> {
  const records = new Records(shape);
  let all = "";
  for await (const chunk of records.from(cut(text, sizes))) all += latin1(chunk);
  assert.equal(records.hash, checksum(text));
  return { records, text: all.replaceAll(records.sentinel, "SENTINEL") };
}

function expected(rows: Row[], quote: string, tail: string): string {
  return rows.map((row) => {
    if ("good" in row) return row.good;
    const cell = `SENTINEL${row.sqlstate}${row.reason}\n${row.raw}`;
    return quote + cell.replaceAll(quote, quote + quote) + quote + tail;
  }).join("");
}

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

const run = (length: number) => "a".repeat(length);
const runs = [30, 62, 63, 64, 65].map(run);
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
  return fc.record({ shape: fc.constant<Csv>({ kind: "csv", ...style }), text: fc.oneof(soup, lines) });
});

const sizes = fc.oneof(
  fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 6 }),
  fc.constantFrom<number[]>([1], [63], [64], [65], [100_000]),
);

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

/** JSON as it should be cut; null where the array is not closed or something follows it. */
function readJson(text: string, inArray: boolean): Row[] | null {
  const rows: Row[] = [];
  let record = "", open = "", inString = false, escaped = false, isBad = false, isDeep = false, isClosed = false;
  const end = () => {
    const raw = inArray ? record : record.replace(/\r$/, "");
    const isBlank = !/[^\0-\x20]/.test(record);
    const fault: [string, string] | null = isDeep
      ? ["22032", "is nested deeper than 512 levels"]
      : isBad
      ? ["22032", "is not valid JSON: it holds a control character, or a string that is not closed on its line"]
      : isBlank
      ? ["22032", "is empty: there is a comma too many"]
      : textFault(record) ?? (record === "\\." ? ["22032", "is not valid JSON"] : null);
    const isNone = isBlank && !isBad && (inArray ? isClosed && rows.length === 0 : true);
    if (!isNone) rows.push(fault ? broken(fault, raw) : { good: record + "\n" });
    [record, open, isBad, isDeep] = ["", "", false, false];
  };
  // The file's end ends a line.
  for (const letter of inArray ? text : text + "\n") {
    if (isClosed) {
      if (letter > " ") return null;
      continue;
    }
    const isLineEnd = letter === "\n" || letter === "\r", cuts = isLineEnd && inString;
    const tail = /\}[\0-\x20]*(,?)[\0-\x20]*$/.exec(record);
    const endsBefore = inArray && cuts && tail?.[1] === ",";
    if (letter < " " && letter !== "\t" && !isLineEnd) isBad = true;
    if (cuts) {
      [inString, escaped, isBad] = [false, false, true];
      if (inArray && tail) open = "";
    } else if (inString) {
      if (escaped) escaped = false;
      else if (letter === "\\") escaped = true;
      else if (letter === '"') inString = false;
    } else if (letter === '"') inString = true;
    else if ("{[".includes(letter)) {
      open += letter;
      isDeep ||= open.length > 512;
    } else if ("}]".includes(letter)) {
      if (inArray && open === "" && letter === "]") isClosed = true;
      const opener = open.lastIndexOf(letter === "}" ? "{" : "[");
      open = open.slice(0, opener < 0 ? -1 : opener);
    }
    if (isClosed || endsBefore || (inArray ? letter === "," && !inString && open === "" : letter === "\n")) end();
    else record += isLineEnd && !cuts ? " " : letter;
  }
  return inArray && !isClosed ? null : rows;
}

const strings = [
  '"a"',
  '""',
  '"\\""',
  '"\\\\"',
  '"],{"',
  '"\\u0041\\\\\\""',
  '"\xc3\xa9"',
  ...runs.map((a) => `"${a}"`),
];
const values = ["1", "null", '{"a":[1,{"b":"}"}]}', '{"a":1,\t"b":"x"}', "[[],{}]", "nonsense", "\\.", "{}"];
const badElements = [
  "",
  " ",
  "{",
  "}",
  "[",
  '"',
  "\\",
  '"\\',
  '"a\x01"',
  "\x02",
  "\0",
  '"\xff"',
  "\xc3",
  '{"a"]',
  '[{"a":1]',
  "]",
];
const deepElements = [512, 513, 600].map((levels) => "[".repeat(levels) + "]".repeat(levels));
const blanks = fc.constantFrom("", "", "", "", " ", "\n", "\r\n", "\t", "\r");

const element = fc.oneof(
  { weight: 12, arbitrary: fc.constantFrom(...strings, ...values) },
  {
    weight: 6,
    arbitrary: fc.tuple(fc.constantFrom(...strings), fc.constantFrom(...strings, ...values)).map(
      ([name, value]) => `{${name}:${value}}`,
    ),
  },
);
const odd = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...badElements) },
  { weight: 1, arbitrary: fc.constantFrom('"a\n"', '"a\n', '"a\\\nb"', '"\r"', '{"a":"\n', '"a\r\n}"') },
  fc.array(fc.constantFrom(...'{}[]",\\\n\ra:', ...strings, ...runs), { maxLength: 12 }).map((all) => all.join("")),
);
const elements = (some: fc.Arbitrary<string>) =>
  fc.array(fc.tuple(blanks, some, blanks).map((parts) => parts.join("")), { maxLength: 10 });
const jsonTexts = (join: (all: string[]) => string) =>
  fc.oneof(
    { weight: 4, arbitrary: elements(fc.oneof({ weight: 4, arbitrary: element }, odd)) },
    { weight: 1, arbitrary: elements(fc.oneof({ weight: 9, arbitrary: element }, fc.constantFrom(...deepElements))) },
  ).map(join);

async function checkJson(kind: "array" | "lines", texts: fc.Arbitrary<string>): Promise<void> {
  let good = 0, bad = 0, refused = 0;
  await fc.assert(
    fc.asyncProperty(texts, sizes, async (text, sizes) => {
      const rows = readJson(text, kind === "array");
      if (!rows) {
        refused++;
        return await assert.rejects(sent(text, sizes, { kind }), { code: "json" });
      }
      const found = await sent(text, sizes, { kind });
      assert.equal(found.text, expected(rows, "\x01", "\n"));
      const brokenRows = rows.filter((row) => !("good" in row)).length;
      assert.deepEqual([found.records.count, found.records.broken], [rows.length, brokenRows]);
      good += rows.length - brokenRows;
      bad += brokenRows;
    }),
    { numRuns, seed },
  );
  assert.ok(
    good > numRuns && bad > numRuns / 4 && refused < numRuns / 2,
    `${good} rows, ${bad} broken, ${refused} refused`,
  );
}

Deno.test("JSON arrays: the elements, a line each, and the broken ones, however the file is cut", async () => {
  const tail = fc.oneof(
    { weight: 20, arbitrary: fc.constantFrom("]", "]\n", "]\r\n ") },
    fc.constantFrom("", "] x", "],"),
  );
  await checkJson("array", fc.tuple(jsonTexts((all) => all.join(",")), tail).map((parts) => parts.join("")));
});

Deno.test("JSON lines: the lines, and the broken ones, however the file is cut", async () => {
  const ended = (text: string) => fc.constantFrom("\n", "\r\n", "\r", "").map((end) => text + end);
  await checkJson(
    "lines",
    fc.constantFrom("\n", "\r\n").chain((end) => jsonTexts((all) => all.join(end))).chain(ended),
  );
});

/** Files of many megabytes, in chunks as large as the loader's. */
async function tally(shape: Shape, ...pieces: [text: string, times: number][]) {
  const records = new Records(shape), faults: string[] = [];
  const buffer = new Uint8Array(1 << 19);
  async function* arriving() {
    let filled = 0;
    for (const [text, times] of pieces) {
      const bytes = utf8(text);
      for (let i = 0; i < times; i++) {
        for (let from = 0; from < bytes.length;) {
          const part = bytes.subarray(from, from + buffer.length - filled);
          buffer.set(part, filled);
          from += part.length;
          filled += part.length;
          if (filled < buffer.length) continue;
          yield buffer;
          filled = 0;
        }
      }
    }
    yield buffer.subarray(0, filled);
  }
  let bytes = 0, largest = 0;
  for await (const chunk of records.from(arriving())) {
    bytes += chunk.length;
    largest = Math.max(largest, chunk.length);
    const at = records.broken > faults.length ? latin1(chunk).split(records.sentinel).slice(1) : [];
    faults.push(...at.map((cell) => cell.split('"')[0]));
  }
  return { rows: records.count, bytes, largest, faults };
}

const line = `1,${"x".repeat(97)}\n`;
const csv: Csv = { kind: "csv", columns: 2, delimiter: ",", lineEnd: "\n" };

Deno.test("a quote that is not closed costs its line, in a file far larger than a record may be", async () => {
  const { rows, bytes, faults } = await tally(csv, [line, 1], ['2,"x\n', 1], [line, 200_000]);
  assert.deepEqual(faults, ["22P04has a quote that is not closed\n2,"]);
  assert.equal(rows, 200_002);
  assert.ok(bytes > 200_001 * line.length);
});

Deno.test("a record longer than 8 MiB is refused, whatever makes it so", async () => {
  const long = "x".repeat(longestRecord + (1 << 19));
  const files: Record<string, [Shape, string]> = {
    "a field": [csv, `${line}2,${long}`],
    "a quoted field": [csv, `${line}2,"${long}"\n`],
    "an element": [{ kind: "array" }, `{},{"a":"${long}"}]`],
    "an element that is not closed": [{ kind: "array" }, `{},{"a":[1${",1".repeat(longestRecord)}`],
    "a line": [{ kind: "lines" }, `{}\n{"a":"${long}"}`],
  };
  for (const [name, [shape, text]] of Object.entries(files)) {
    await assert.rejects(tally(shape, [text, 1]), (error: EtlError) => {
      assert.deepEqual([error.code, error.message], ["record_too_long", "record 2 is longer than 8 MiB"], name);
      return true;
    });
  }
});

Deno.test("the checksum is XXH64, in whatever pieces the bytes come", async () => {
  const texts = fc.string({ unit: fc.nat(255).map((code) => String.fromCharCode(code)), maxLength: 200 });
  await fc.assert(
    fc.asyncProperty(texts, sizes, async (text, sizes) => {
      const bytes = new Bytes();
      let through = "";
      for await (const chunk of cut(text, sizes)) {
        bytes.put(chunk);
        through += latin1(bytes.take(bytes.rest.length >> 1));
      }
      assert.equal(through + latin1(bytes.rest), text);
      assert.equal(bytes.hash, checksum(text));
    }),
    { seed, numRuns },
  );
});

Deno.test("memory holds a chunk and a record, not the file", async () => {
  await tally(csv, [line, 10_000]);
  const before = Deno.memoryUsage().rss;
  const { rows, bytes, largest } = await tally(csv, [line, 1_500_000]);
  assert.deepEqual([rows, bytes], [1_500_000, 1_500_000 * line.length]);
  assert.ok(largest < 2 << 20, `a chunk of ${largest} bytes`);
  const grown = (Deno.memoryUsage().rss - before) >> 20;
  assert.ok(grown < 64, `150 MB took ${grown} MiB more`);
});

Deno.test("the scanner's binary is what its source gives", async () => {
  const binary = await Deno.readTextFile(new URL("../../lib/format/scan/binary.ts", import.meta.url));
  assert.ok(binary === await compile(), "Run `deno task scan`.");
});

Deno.test("the scanner's enum has the numbers that its source gives", async () => {
  const source = await Deno.readTextFile(new URL("../../lib/format/scan/assembly.ts", import.meta.url));
  const lines = [...source.matchAll(/^export const .*;$/gm)].flatMap(([line]) => [...line.matchAll(/(\w+) = (\d+)/g)]);
  const constants = Object.fromEntries(lines.map(([, name, value]) => [name, Number(value)]));
  assert.deepEqual(Object.fromEntries(Object.entries(Stop).filter(([name]) => isNaN(Number(name)))), constants);
});
