/** A feed's bytes -> rows as COPY takes them: unpacked, in UTF-8, cut into records, otherwise untouched. */
import { pipeline, Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { EtlError } from "../errors.ts";
import { endOfHeader, readHeader } from "./csv.ts";
import { notData } from "../fetch/failures.ts";
import { longestRecord, type Patience, patient, unpackedFreely } from "../limits.ts";
import { Peekable } from "./peekable.ts";
import { badJson, Records } from "./records.ts";

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

/** Cuts a text into rows; what its format and delimiter are is found out from its first bytes where null. */
export async function openRows(
  text: Peekable,
  feed: { format: Format | null; delimiter: string | null; reject_limit?: number },
): Promise<Rows> {
  const first = await text.peek((first) => first.length >= longestRecord || first.some(isVisible));
  const start = first.findIndex(isVisible);
  if (start < 0) throw new EtlError("empty", "the body is empty", "Ask the partner whether the export failed.");
  const sign = String.fromCharCode(first[start]);
  if (sign === "<") throw notData();
  const format = feed.format ?? (sign === "[" ? "json" : sign === "{" ? "ndjson" : "csv");
  if (format === "csv") return await openCsv(text, feed);
  if (format === "json" && sign !== "[") {
    throw badJson("it is not an array of objects", "Where it has an object a line, set etl.feeds.format to ndjson.");
  }
  const records = format === "json"
    ? new Records({ kind: "array" }, start + 1, feed.reject_limit)
    : new Records({ kind: "lines" }, 0, feed.reject_limit);
  const hasEnd = text.hasEnd || format === "json";
  return { header: null, delimiter: null, hasEnd, chunks: records.from(text), records };
}

async function openCsv(text: Peekable, feed: Parameters<typeof openRows>[1]): Promise<Rows> {
  // A byte more than the line: it tells "\r\n" from "\r".
  const first = await text.peek((first) => {
    const end = endOfHeader(first);
    return first.length >= longestRecord || (end >= 0 && end + 1 < first.length);
  });
  const end = endOfHeader(first);
  if (first.length >= longestRecord && end < 0) {
    const message = `it has no line end in its first ${longestRecord >> 20} MiB`;
    throw new EtlError("header", message, "It does not look like CSV: check etl.feeds.format.");
  }
  const header = readHeader(first, feed.delimiter);
  const { names, ...style } = header;
  const lead = end < 0 ? first.length : end + header.lineEnd.length;
  const records = new Records({ kind: "csv", columns: names.length, ...style }, lead, feed.reject_limit);
  return {
    ...{ header: names, delimiter: header.delimiter, hasEnd: text.hasEnd },
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

async function decode(bytes: Peekable, encoding: string): Promise<Peekable> {
  let decoder: TextDecoderStream;
  const hint = "Correct etl.feeds.encoding.";
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
  const first = await bytes.peek((first) => first.length >= 3);
  if (first[0] === 0xef && first[1] === 0xbb && first[2] === 0xbf) bytes.skip(3);
  return bytes;
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
