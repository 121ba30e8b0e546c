/** The check of quotes, on random files in random chunks, against a reference that is too simple to be wrong. */
import assert from "node:assert/strict";
import { parse } from "csv-parse";
import type { LineError } from "../lib/errors.ts";
import { checkQuotes } from "../lib/quotes.ts";

const field = `(?:"(?:[^"]|"")*"|[^",\\r\\n]*)`;
const wellQuoted = new RegExp(`^${field}(?:[,\\r\\n]${field})*$`);

/** Mulberry32: the same numbers for the same seed. */
function random(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

async function* cut(bytes: Uint8Array, size: () => number) {
  for (let i = 0, length; i < bytes.length; i += length) yield bytes.subarray(i, i + (length = size()));
}

/** Whether the file was refused, and the text that had passed. */
async function passed(text: string, size: () => number): Promise<{ refused: boolean; text: string }> {
  const bytes = new TextEncoder().encode(text);
  const out: Uint8Array[] = [];
  try {
    for await (const chunk of checkQuotes(cut(bytes, size), { delimiter: ",", lineEnd: "\n" })) out.push(chunk);
    return { refused: false, text: decode(out) };
  } catch (error) {
    assert.equal((error as { code: string }).code, "quote");
    return { refused: true, text: decode(out) };
  }
}

const decode = (chunks: Uint8Array[]) => chunks.map((chunk) => new TextDecoder().decode(chunk)).join("");

const parses = (text: string) =>
  new Promise<boolean>((resolve) =>
    parse(text, { record_delimiter: ["\n", "\r"], relax_column_count: true }, (error) => resolve(!error))
  );

Deno.test("quotes are accepted and refused as the grammar says", async () => {
  const seed = Number(Deno.env.get("SEED") ?? Math.floor(Math.random() * 2 ** 31));
  console.log(`SEED=${seed}`);
  const next = random(seed);
  const upTo = (n: number) => Math.floor(next() * n);
  const pieces = ["a", '"', '"', ",", ",", "\r", "\n", '"a"', '""', '","', "a".repeat(30)];
  let refusals = 0;
  for (let round = 0; round < 5000; round++) {
    const text = Array.from({ length: upTo(14) }, () => pieces[upTo(pieces.length)]).join("");
    const largest = [1, 2, 7, 40][upTo(4)];
    const result = await passed(text, () => 1 + upTo(largest));
    assert.equal(result.refused, !wellQuoted.test(text), JSON.stringify(text));
    assert.equal(result.refused, !await parses(text), `csv-parse differs: ${JSON.stringify(text)}`);
    if (result.refused) {
      refusals++;
      assert.ok(text.startsWith(result.text));
    } else assert.equal(result.text, text);
  }
  assert.ok(refusals > 500 && refusals < 4500, `${refusals} refusals: the files are mixed`);
});

Deno.test("a long file without quotes, and with one at each place", async () => {
  const plain = "abcdefgh,".repeat(40);
  assert.equal((await passed(plain, () => 4096)).text, plain);
  for (let at = 1; at < 120; at++) {
    const text = plain.slice(0, at) + '"' + plain.slice(at);
    const result = await passed(text, () => 4096);
    assert.ok(result.refused);
    assert.equal(result.text, plain[at - 1] === "," ? text : text.slice(0, at));
  }
});

Deno.test("a quote that is not closed is found where it opened, however the file is cut", async () => {
  const bytes = new TextEncoder().encode('id,name\n1,"a\n\nb"\n2,"x ""\ny\nz\n');
  for (const size of [1, 2, 3, 7, 99]) {
    await assert.rejects(
      () => Array.fromAsync(checkQuotes(cut(bytes, () => size), { delimiter: ",", lineEnd: "\n" })),
      (error: LineError) => /^line 5: a quoted field is not closed/.test(error.at(8).message),
    );
  }
});
