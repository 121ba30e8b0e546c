/** A feed's bytes -> rows as COPY takes them: unpacked, in UTF-8, cut into records, otherwise untouched. */
import { EtlError } from "../errors.ts";
import { endOfHeader, type Header, readHeader } from "./csv.ts";
import type { Places } from "./document.ts";
import { type Lines, linesOrDocument } from "./lines.ts";
import { notData } from "../fetch/failures.ts";
import { longestRecord, type Patience, patient } from "../limits.ts";
import { copies, isVisible, named, Peekable } from "./peekable.ts";
import { type Page, Records } from "./records.ts";
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
  /**
   * Whether it is known where the text ends, that of each page: by how it came, as it is packed, or as an array that is
   * closed. To be asked once the chunks are read.
   */
  hasEnd: boolean;
  /** A row for each record, without the header. */
  chunks: AsyncIterable<Uint8Array>;
  /** What has become of the records, and the hash of the text, once the chunks are read. */
  records: Pick<Records, "count" | "broken" | "sentinel" | "hash">;
  /** The file's only record, where it may be a document around the records. */
  only: Lines["only"];
}

/** The text of the page that follows, by the link in the document before it, if it has one; null where none does. */
export type TextAfter = (link: string | null) => Promise<Peekable | null>;

/** Cuts a text into rows; what its format and delimiter are is found out from its first bytes where null. */
export async function openRows(text: Peekable, feed: Layout, textAfter?: TextAfter): Promise<Rows> {
  const start = await startOf(text);
  const { format, only } = await formatOf(text, start, feed);
  const hasEnd = text.hasEnd || format === "json";
  const { header, delimiter, records, leadOf } = format === "csv" ? await openCsv(text, feed) : openJson(format, feed);
  const rows: Rows = { header, delimiter, hasEnd, chunks: records.from(text, textAfter && pageAfter), records, only };
  return rows;

  async function pageAfter(link: string | null): Promise<Page | null> {
    const text = await textAfter!(link);
    if (!text) return null;
    rows.hasEnd &&= text.hasEnd || format === "json";
    return { chunks: text, lead: await leadOf(text) };
  }
}

/** What of the rows depends on the format. `leadOf`: the bytes before the first record of a further page. */
type Reading = Pick<Rows, "header" | "delimiter"> & { records: Records; leadOf: (text: Peekable) => Promise<number> };

function openJson(format: "json" | "ndjson", feed: Layout): Reading {
  const records = new Records({ kind: format === "json" ? "array" : "lines" }, 0, feed.reject_limit, feed);
  const leadOf = async (text: Peekable) => {
    // A last page may have no line.
    if (format === "json") await startOf(text);
    return 0;
  };
  return { header: null, delimiter: null, records, leadOf };
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
  { format, records, next, name }: Layout,
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
  if (next?.startsWith("/") && records == null) {
    const hint = "Say in etl.feeds.records where the records are; for CSV and lines of JSON, next can be link.";
    throw new EtlError("next", "etl.feeds.next points into a document, and etl.feeds.records does not", hint);
  }
  if (format !== null || records != null) return { format: format ?? "json", only: null };
  if (sign !== "{") return { format: isJson ? "json" : "csv", only: null };
  return await linesOrDocument(text, start, { name });
}

async function openCsv(text: Peekable, feed: Layout): Promise<Reading> {
  const { names, delimiter, lineEnd, lead } = await headerOf(text, feed);
  const records = new Records({ kind: "csv", columns: names.length, delimiter, lineEnd }, lead, feed.reject_limit);
  const leadOf = async (text: Peekable) => {
    await startOf(text);
    const page = await headerOf(text, feed);
    // "\n" and "\r\n" may stand side by side.
    const isAlike = JSON.stringify(page.names) === JSON.stringify(names) && page.delimiter === delimiter &&
      (page.lineEnd === "\r") === (lineEnd === "\r");
    if (isAlike) return page.lead;
    const hint = "Ask the partner for pages that are alike.";
    throw new EtlError("header", "its header line is not that of the first page", hint);
  };
  return { header: names, delimiter, records, leadOf };
}

/** `lead`: the bytes to the first record. */
async function headerOf(text: Peekable, feed: Layout): Promise<Header & { lead: number }> {
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
  return { ...header, lead: end < 0 ? first.length : end + header.lineEnd.length };
}

/** The text of a body: unpacked, in UTF-8, without a byte order mark. `member`: the file in it, if it is a zip archive. */
export async function openText(
  body: AsyncIterable<Uint8Array>,
  encoding: string,
  { unpackRatio }: Pick<Patience, "unpackRatio"> = patient,
  { hasEnd = false, member = null }: { hasEnd?: boolean; member?: string | null } = {},
): Promise<Peekable> {
  return await decode(await unpack(new Peekable(body, hasEnd), unpackRatio, member), encoding);
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
