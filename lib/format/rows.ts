/** A feed's bytes -> rows as COPY takes them: unpacked, in UTF-8, cut into records, otherwise untouched. */
import { EtlError } from "../errors.ts";
import { type Dialect, hasHeader, readHeader, skipAll, skipLines } from "./csv.ts";
import type { Places } from "./document.ts";
import { askFor } from "./encoding.ts";
import { type Lines, linesOrDocument } from "./lines.ts";
import { notData } from "../fetch/failures.ts";
import { longestRecord, type Patience, patient } from "../limits.ts";
import { copies, isVisible, named, Peekable } from "./peekable.ts";
import { Records } from "./records.ts";
import type { Shape } from "./scan/scanner.ts";
import { badJson } from "./tokens.ts";
import { unpack } from "./unpack.ts";

export type Format = "csv" | "json" | "ndjson";

export interface Rows {
  /** The names in the CSV header, null for JSON, whose names are in each record. */
  header: string[] | null;
  delimiter: string | null;
  /** Whether the text itself tells where it ends: packed, or an array that is closed. */
  hasEnd: boolean;
  /** A row for each record, without the header. */
  chunks: AsyncIterable<Uint8Array>;
  /** What has become of the records, and the hash of the text, once the chunks are read. */
  records: Pick<Records, "count" | "broken" | "sentinel" | "hash">;
  /** The file's only record, where it may be a document around the records. */
  only: Lines["only"];
}

/** What etl.feeds says of a file. */
export interface Layout extends Partial<Dialect>, Places {
  format: Format | null;
  reject_limit?: number;
}

/** Cuts a text into rows; what its format and delimiter are is found out from its first bytes where null. */
export async function openRows(text: Peekable, feed: Layout): Promise<Rows> {
  const start = await startOf(text, feed.skip);
  const { format, only } = await formatOf(text, start, feed);
  if (format === "csv") return await openCsv(text, feed);
  const records = new Records({ kind: format === "json" ? "array" : "lines" }, 0, feed.reject_limit, feed);
  const hasEnd = text.hasEnd || format === "json";
  return { header: null, delimiter: null, hasEnd, chunks: records.from(text), records, only };
}

/** Where the first byte is that can be seen, behind the lines that are to be skipped. */
async function startOf(text: Peekable, skip = 0): Promise<number> {
  const begin = (first: Uint8Array) => {
    const from = skipLines(first, skip);
    return from < 0 ? -1 : first.findIndex((byte, i) => i >= from && isVisible(byte));
  };
  // A byte more: it tells UTF-16.
  const first = await text.peek((first) => {
    const start = begin(first);
    return first.length >= longestRecord || (start >= 0 && start + 1 < first.length);
  });
  const start = begin(first);
  if (start < 0) throw nothingIn(first, skip);
  if (first[start] === "<".charCodeAt(0)) throw notData();
  return start;
}

async function formatOf(
  text: Peekable,
  start: number,
  { format, records, name, skip = 0, header }: Layout,
): Promise<{ format: Format; only: Lines["only"] }> {
  const begin = (await text.peek(() => true)).subarray(start, start + 2);
  const sign = String.fromCharCode(begin[0]);
  const isJson = sign === "[" || sign === "{";
  if (begin.includes(0) && (isJson || records != null || format === "json" || format === "ndjson")) {
    throw new EtlError("encoding", "it holds NULs", askFor(begin[0] === 0 ? "utf-16be" : "utf-16le"));
  }
  if ((format === "json" || records != null) && !isJson) {
    throw badJson("it is not an array of objects", "Check etl.feeds.format and records, or ask the partner for JSON.");
  }
  if (records != null && format !== null && format !== "json") {
    const message = `etl.feeds.records points into a JSON document, and etl.feeds.format says ${format}`;
    throw new EtlError("records", message, "Set one of them to null.");
  }
  if (format !== null || records != null) return { format: format ?? "json", only: null };
  if (skip > 0 || header) return { format: "csv", only: null };
  if (sign !== "{") return { format: isJson ? "json" : "csv", only: null };
  return await linesOrDocument(text, start, { name });
}

function nothingIn(first: Uint8Array, skip: number): EtlError {
  skipAll(first, skip);
  const message = skip === 0 ? "the body is empty" : `nothing follows the ${skip} lines that are to be skipped`;
  return new EtlError("empty", message, "Ask the partner whether the export failed.");
}

async function openCsv(text: Peekable, feed: Layout): Promise<Rows> {
  const { skip = 0, header = null, delimiter = null, quote = '"', escape = null } = feed;
  const dialect = { skip, header, delimiter, quote, escape: escape === quote ? null : escape };
  const first = await text.peek((first) => first.length >= longestRecord || hasHeader(first, dialect));
  if (first.length >= longestRecord && !header && !hasHeader(first, dialect)) {
    const message = `it has no line end in its first ${longestRecord >> 20} MiB`;
    throw new EtlError("header", message, "It does not look like CSV: check etl.feeds.format.");
  }
  const { names, lead, ...style } = readHeader(first, dialect);
  const shape: Shape = { kind: "csv", columns: names.length, quote, escape: dialect.escape, ...style };
  const records = new Records(shape, lead, feed.reject_limit);
  return {
    ...{ header: names, delimiter: style.delimiter, hasEnd: text.hasEnd },
    ...{ chunks: records.from(text), records, only: null },
  };
}

/** The text of a body: unpacked, in UTF-8, without a byte order mark. `member`: the file in it, if it is a zip archive. */
export async function openText(
  body: AsyncIterable<Uint8Array>,
  encoding: string,
  { unpackRatio }: Pick<Patience, "unpackRatio"> = patient,
  member: string | null = null,
): Promise<Peekable> {
  return await decode(await unpack(new Peekable(body), unpackRatio, member), encoding);
}

async function decode(bytes: Peekable, said: string): Promise<Peekable> {
  let decoder: TextDecoderStream;
  const hint = "Correct etl.feeds.encoding.";
  const first = await bytes.peek((first) => first.length >= 3);
  const encoding = /^utf-?8$/i.test(said) ? markedUtf16(first) ?? said : said;
  try {
    decoder = new TextDecoderStream(encoding, { fatal: true });
  } catch (cause) {
    throw new EtlError("encoding", `there is no encoding ${encoding}`, hint, { cause });
  }
  if (decoder.encoding !== "utf-8") {
    const text = ReadableStream.from(copies(bytes)).pipeThrough(decoder as ReadableWritablePair<string, Uint8Array>);
    const encoded = text.pipeThrough(new TextEncoderStream());
    return named(encoded, "encoding", `it is not ${encoding}`, hint, bytes.hasEnd);
  }
  if (first[0] === 0xef && first[1] === 0xbb && first[2] === 0xbf) bytes.skip(3);
  return bytes;
}

/** UTF-16, by its byte order mark. */
function markedUtf16([first, second]: Uint8Array): string | null {
  return first === 0xff && second === 0xfe ? "utf-16le" : first === 0xfe && second === 0xff ? "utf-16be" : null;
}
