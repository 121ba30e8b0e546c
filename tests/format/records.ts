/** Records against references that read byte by byte, written from the grammar, on random files in random chunks. */
import assert from "node:assert/strict";
import fc from "fast-check";
import xxhash from "xxhash-wasm";
import { looksLike } from "../../lib/format/encoding.ts";
import { Records } from "../../lib/format/records.ts";
import type { Shape } from "../../lib/format/scan/scanner.ts";
import { seed } from "../support/chance.ts";

export type Csv = Extract<Shape, { kind: "csv" }>;

/** A row that arrives as it is, or a broken record. All texts hold a byte a character. */
export type Row = { good: string } | { sqlstate: string; reason: string; raw: string };

export const numRuns = Number(Deno.env.get("CASES")) || 4000;
console.log(`SEED=${seed}`);

export const bytesOf = (text: string) => Uint8Array.from(text, (character) => character.charCodeAt(0));

export const latin1 = (bytes: Uint8Array) => {
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return text;
};

const { h64Raw } = await xxhash();

export const checksum = (text: string) => h64Raw(bytesOf(text)).toString(16).padStart(16, "0");

export const utf8 = (text: string) => new TextEncoder().encode(text);

const isUtf8 = (text: string) => {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytesOf(text));
    return true;
  } catch {
    return false;
  }
};

/** What the bytes look like is asked of the code itself: a table of its own holds it to that. */
export function textFault(text: string): [string, string] | null {
  if (isUtf8(text) && !text.includes("\0")) return null;
  const likely = looksLike(bytesOf(text));
  const fault = text.includes("\0") ? "holds a NUL byte" : "is not UTF-8";
  return ["22021", likely ? `${fault}: it looks like ${likely}, which etl.feeds.encoding must say` : fault];
}

export function broken(fault: [sqlstate: string, reason: string], raw: string): Row {
  const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytesOf(raw)).replaceAll("\0", "\ufffd");
  return { sqlstate: fault[0], reason: fault[1], raw: latin1(utf8(text)) };
}

/** The same buffer again and again, as `fetch` hands it over. */
export async function* cut(text: string, sizes: number[]): AsyncGenerator<Uint8Array> {
  const bytes = bytesOf(text), buffer = new Uint8Array(Math.max(...sizes));
  for (let i = 0, n = 0; i < bytes.length; n++) {
    const part = bytes.subarray(i, i += sizes[n % sizes.length]);
    buffer.fill(0x22).set(part);
    yield buffer.subarray(0, part.length);
  }
}

/** What is sent to COPY, with SENTINEL for the sentinel; or the code of the error. */
export async function sent(text: string, sizes: number[], shape: Shape): Promise<{ records: Records; text: string }> {
  const records = new Records(shape);
  let all = "";
  for await (const chunk of records.from(cut(text, sizes))) all += latin1(chunk);
  assert.equal(records.hash, checksum(text));
  return { records, text: all.replaceAll(records.sentinel, "SENTINEL") };
}

export function expected(rows: Row[], quote: string, tail: string): string {
  return rows.map((row) => {
    if ("good" in row) return row.good;
    const cell = `SENTINEL${row.sqlstate}${row.reason}\n${row.raw}`;
    return quote + cell.replaceAll(quote, quote + quote) + quote + tail;
  }).join("");
}

export const run = (length: number) => "a".repeat(length);

export const runs = [30, 62, 63, 64, 65].map(run);

export const sizes = fc.oneof(
  fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 6 }),
  fc.constantFrom<number[]>([1], [63], [64], [65], [100_000]),
);
