/** Records of JSON against a reference that reads byte by byte, written from the grammar. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { broken, expected, numRuns, type Row, runs, sent, sizes, textFault } from "./records.ts";
import { seed } from "../support/chance.ts";

/** JSON as it should be cut; null where the array is not closed or something follows it. */
function readJson(text: string, inArray: boolean): Row[] | null {
  const rows: Row[] = [], waiting: Row[] = [];
  let record = "", open = "", inString = false, escaped = false, isBad = false, isDeep = false, isClosed = false;
  const end = () => {
    // At the seam of two files.
    if (!inArray) record = record.replace(/^(\xef\xbb\xbf)+/, "");
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
    const row: Row = fault ? broken(fault, raw) : { good: record + "\n" };
    // At the end of the file it is none.
    if (!inArray && isBlank && isBad) waiting.push(row);
    else if (!isNone) rows.push(...waiting.splice(0), row);
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
  "\x1a",
  "\0\0 ",
  "\xef\xbb\xbf",
  '\xef\xbb\xbf{"a":1}',
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
      const file = kind === "array" ? `[${text}` : text;
      if (!rows) {
        refused++;
        return await assert.rejects(sent(file, sizes, { kind }), { code: "json" });
      }
      const found = await sent(file, sizes, { kind });
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
