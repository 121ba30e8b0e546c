/** A feed's bytes -> rows as COPY takes them: unpacked, in UTF-8, cut into records, otherwise untouched. */
import { EtlError } from "../errors.ts";
import { endOfHeader, readHeader } from "./csv.ts";
import type { Places } from "./document.ts";
import { type Lines, linesOrDocument } from "./lines.ts";
import { notData } from "../fetch/failures.ts";
import { longestRecord, type Patience, patient } from "../limits.ts";
import { copies, isVisible, named, Peekable } from "./peekable.ts";
import { Records } from "./records.ts";
import { badJson } from "./tokens.ts";
import { unpack } from "./unpack.ts";

export type Format = "csv" | "json" | "ndjson";

/** What etl.feeds says of a file. */
export interface Layout extends Places {
  format: Format | null;
  delimiter: string | null;
  reject_limit?: number;
}

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

/** Cuts a text into rows; what its format and delimiter are is found out from its first bytes where null. */
export async function openRows(text: Peekable, feed: Layout): Promise<Rows> {
  const start = await startOf(text);
  const { format, only } = await formatOf(text, start, feed);
  if (format === "csv") return await openCsv(text, feed);
  const records = new Records({ kind: format === "json" ? "array" : "lines" }, 0, feed.reject_limit, feed);
  const hasEnd = text.hasEnd || format === "json";
  return { header: null, delimiter: null, hasEnd, chunks: records.from(text), records, only };
}

/** Where the first byte is that can be seen. */
async function startOf(text: Peekable): Promise<number> {
  const first = await text.peek((first) => first.length >= longestRecord || first.some(isVisible));
  const start = first.findIndex(isVisible);
  if (start < 0) throw new EtlError("empty", "the body is empty", "Ask the partner whether the export failed.");
  if (first[start] === "<".charCodeAt(0)) throw notData();
  return start;
}

async function formatOf(
  text: Peekable,
  start: number,
  { format, records, name }: Layout,
): Promise<{ format: Format; only: Lines["only"] }> {
  const sign = String.fromCharCode((await text.peek(() => true))[start]);
  const isJson = sign === "[" || sign === "{";
  if ((format === "json" || records != null) && !isJson) {
    throw badJson("it is not an array of objects", "Check etl.feeds.format and records, or ask the partner for JSON.");
  }
  if (records != null && format !== null && format !== "json") {
    const message = `etl.feeds.records points into a JSON document, and etl.feeds.format says ${format}`;
    throw new EtlError("records", message, "Set one of them to null.");
  }
  if (format !== null || records != null) return { format: format ?? "json", only: null };
  if (sign !== "{") return { format: isJson ? "json" : "csv", only: null };
  return await linesOrDocument(text, start, { name });
}

async function openCsv(text: Peekable, feed: Layout): Promise<Rows> {
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
