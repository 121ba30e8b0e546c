/** What a file is, where it is no text, by its first bytes. */
import { EtlError } from "../errors.ts";
import type { Peekable } from "./peekable.ts";

/** What a file begins with, a character a byte, ? for any, and what it is. */
const packings = {
  "\x1f\x8b": "gzip",
  "PK\x03\x04": "zip",
  "PK\x05\x06": "zip",
  "PK\x07\x08": "a part of a split zip",
  "BZh?1AY&SY": "bzip2",
  "\xfd7zXZ\0": "xz",
  "\x28\xb5\x2f\xfd": "zstd",
  "7z\xbc\xaf\x27\x1c": "7z",
  "Rar!\x1a\x07": "rar",
  ["?".repeat(257) + "ustar"]: "tar",
};
const documents = {
  "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an Excel workbook (.xls)",
  "PAR1\x15": "a Parquet file",
  "%PDF-": "a PDF document",
  "ARROW1\0\0": "an Arrow file",
  "Obj\x01": "an Avro file",
  "SQLite format 3\0": "an SQLite database",
};

/** Bytes that suffice to tell them apart. */
const enough = 262;

/** How it is packed; null where it is not. Throws where it holds no table that can be read. */
export async function packingOf(bytes: Peekable): Promise<string | null> {
  const first = await bytes.peek((first) => first.length >= enough);
  const kindIn = (kinds: Record<string, string>) => Object.entries(kinds).find(([sign]) => begins(first, sign))?.[1];
  const document = kindIn(documents);
  if (document) throw noTable(document);
  return kindIn(packings) ?? null;
}

function begins(bytes: Uint8Array, sign: string): boolean {
  return [...sign].every((letter, i) => letter === "?" ? i < bytes.length : bytes[i] === letter.charCodeAt(0));
}

export function noTable(what: string): EtlError {
  return new EtlError("file_type", `it is ${what}`, "Ask the partner for the data as CSV, or as JSON.");
}
