/** A feed's bytes -> rows as COPY takes them: unpacked, in UTF-8, cut into records, otherwise untouched. */
import { pipeline, Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { EtlError } from "../errors.ts";
import { type Dialect, hasHeader, readHeader, skipAll, skipLines } from "./csv.ts";
import { notData } from "../fetch/failures.ts";
import { longestRecord, type Patience, patient, unpackedFreely } from "../limits.ts";
import { askFor } from "./encoding.ts";
import { Peekable } from "./peekable.ts";
import { badJson, Records } from "./records.ts";
import type { Shape } from "./scan/scanner.ts";

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
}

/** What etl.feeds says of a file. */
export interface Layout extends Partial<Dialect> {
  format: Format | null;
  reject_limit?: number;
}

/** Cuts a text into rows; what its format and delimiter are is found out from its first bytes where null. */
export async function openRows(text: Peekable, feed: Layout): Promise<Rows> {
  const { skip = 0 } = feed;
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
  const sign = String.fromCharCode(first[start]);
  if (sign === "<") throw notData();
  const format = feed.format ??
    (skip > 0 || feed.header ? "csv" : sign === "[" ? "json" : sign === "{" ? "ndjson" : "csv");
  if (format === "csv") return await openCsv(text, feed);
  if (first.subarray(start, start + 2).includes(0)) {
    throw new EtlError("encoding", "it holds NULs", askFor(first[start] === 0 ? "utf-16be" : "utf-16le"));
  }
  if (format === "json" && sign !== "[") {
    throw badJson("it is not an array of objects", "Where it has an object a line, set etl.feeds.format to ndjson.");
  }
  const records = format === "json"
    ? new Records({ kind: "array" }, start + 1, feed.reject_limit)
    : new Records({ kind: "lines" }, 0, feed.reject_limit);
  const hasEnd = text.hasEnd || format === "json";
  return { header: null, delimiter: null, hasEnd, chunks: records.from(text), records };
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
    ...{ chunks: records.from(text), records },
  };
}

/** The text of a body: unpacked, in UTF-8, without a byte order mark. */
export async function openText(
  body: AsyncIterable<Uint8Array>,
  encoding: string,
  { unpackRatio }: Pick<Patience, "unpackRatio"> = patient,
): Promise<Peekable> {
  return await decode(await unpack(new Peekable(body), unpackRatio), encoding);
}

async function unpack(bytes: Peekable, ratio: number): Promise<Peekable> {
  const first = await bytes.peek((first) => first.length >= 2);
  if (first[0] !== 0x1f || first[1] !== 0x8b) return bytes;
  // Not DecompressionStream: it refuses a file of several gzip members, which is legal, and takes twice the time.
  const gunzip = createGunzip({ chunkSize: 1 << 18 });
  let packed = 0, unpacked = 0;
  const counted = async function* () {
    for await (const chunk of copies(bytes)) {
      packed += chunk.length;
      yield chunk;
    }
  };
  pipeline(Readable.from(counted()), gunzip, () => {});
  const checked = async function* () {
    for await (const chunk of gunzip) {
      unpacked += chunk.length;
      if (unpacked >= unpackedFreely && unpacked > packed * ratio) throw bomb(ratio);
      yield chunk;
    }
  };
  const hint = "Try again; if it lasts, the partner's file is damaged.";
  return named(checked(), "gzip", "its gzip data is broken or cut short", hint, true);
}

function bomb(ratio: number): EtlError {
  const hint = "No table packs that well. Ask the partner whether the file is damaged, or meant to do harm.";
  return new EtlError("gzip_bomb", `its gzip data unpacks to more than ${ratio} times its size`, hint);
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

/** For a stream that reads ahead: a chunk of the body is valid only until the next. */
async function* copies(chunks: AsyncIterable<Uint8Array>) {
  for await (const chunk of chunks) yield chunk.slice();
}

/** What the stream itself throws becomes this EtlError; what came from upstream stays. */
function named(
  stream: AsyncIterable<Uint8Array>,
  code: string,
  message: string,
  hint: string,
  hasEnd: boolean,
): Peekable {
  const chunks = async function* () {
    try {
      yield* stream;
    } catch (cause) {
      throw cause instanceof EtlError ? cause : new EtlError(code, message, hint, { cause });
    }
  };
  return new Peekable(chunks(), hasEnd);
}

function isVisible(byte: number): boolean {
  return byte > 0x20 || byte < 0x09;
}
