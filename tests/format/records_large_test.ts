/** Records of files of many megabytes: what a bad one costs, how long one may be, and how little memory it takes. */
import assert from "node:assert/strict";
import type { EtlError } from "../../lib/errors.ts";
import { Records } from "../../lib/format/records.ts";
import type { Shape } from "../../lib/format/scan/scanner.ts";
import { longestRecord } from "../../lib/limits.ts";
import { type Csv, latin1, utf8 } from "./records.ts";

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

const csv: Csv = { kind: "csv", columns: 2, delimiter: ",", lineEnd: "\n", quote: '"', escape: null };

Deno.test("a quote that is not closed costs its line, in a file far larger than a record may be", async () => {
  const cases: [Csv, string][] = [[csv, '2,"x\n'], [csv, '2, "x\n'], [{ ...csv, escape: "\\" }, '2,"\\"x\n']];
  for (const [shape, opening] of cases) {
    const { rows, bytes, faults } = await tally(shape, [line, 1], [opening, 1], [line, 200_000]);
    assert.deepEqual(faults, [`22P04has a quote that is not closed\n${opening.split('"')[0]}`]);
    assert.equal(rows, 200_002);
    assert.ok(bytes > 200_001 * line.length);
  }
});

Deno.test("a record longer than 8 MiB is refused, whatever makes it so", async () => {
  const long = "x".repeat(longestRecord + (1 << 19));
  const files: Record<string, [Shape, string]> = {
    "a field": [csv, `${line}2,${long}`],
    "a quoted field": [csv, `${line}2,"${long}"\n`],
    "an element": [{ kind: "array" }, `[{},{"a":"${long}"}]`],
    "an element that is not closed": [{ kind: "array" }, `[{},{"a":[1${",1".repeat(longestRecord)}`],
    "a line": [{ kind: "lines" }, `{}\n{"a":"${long}"}`],
  };
  for (const [name, [shape, text]] of Object.entries(files)) {
    await assert.rejects(tally(shape, [text, 1]), (error: EtlError) => {
      assert.deepEqual([error.code, error.message], ["record_too_long", "record 2 is longer than 8 MiB"], name);
      return true;
    });
  }
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
