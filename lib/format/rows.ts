/** A feed's bytes -> rows as COPY takes them: unpacked, in UTF-8, cut into records, otherwise untouched. */
import { EtlError } from "../errors.ts";
import {
  type Dialect,
  fitted,
  hasHeader,
  hasRecord,
  type Header,
  readHeader,
  skipAll,
  skipLines,
  trimmed,
} from "./csv.ts";
import { decode } from "./decode.ts";
import type { Document, Places } from "./document.ts";
import { askFor } from "./encoding.ts";
import { linesOrDocument } from "./lines.ts";
import type { Download } from "../fetch/download.ts";
import { notData } from "../fetch/failures.ts";
import { noTable } from "./kinds.ts";
import { longestRecord, type Patience, patient } from "../limits.ts";
import { isVisible, Peekable } from "./peekable.ts";
import { type Page, Records } from "./records.ts";
import type { Shape } from "./scan/scanner.ts";
import { badJson } from "./tokens.ts";
import { unpack } from "./unpack.ts";

export type Format = "csv" | "json" | "ndjson";

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
  only: Pick<Document, "arrays" | "isFilled"> | null;
}

/** The text of the page that follows, by the link in the document before it, if it has one; null where none does. */
export type TextAfter = (link: string | null) => Promise<Peekable | null>;

/** What etl.feeds says of a file. */
export interface Layout extends Partial<Dialect>, Places {
  format: Format | null;
  reject_limit?: number;
}

/** What a download says of its body. */
type Came = Pick<Download, "hasEnd" | "member" | "charset">;

/** Cuts a text into rows; what its format and delimiter are is found out from its first bytes where null. */
export async function openRows(text: Peekable, feed: Layout, textAfter?: TextAfter): Promise<Rows> {
  const start = await startOf(text, feed.skip);
  const { format, only } = await formatOf(text, start, feed);
  const hasEnd = text.hasEnd || format === "json";
  const { header, delimiter, records, leadOf } = format === "csv"
    ? await openCsv(text, feed)
    : openJson(format, feed, text.readAs);
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

function openJson(format: "json" | "ndjson", feed: Layout, readAs: string | null): Reading {
  const records = new Records({ kind: format === "json" ? "array" : "lines" }, 0, feed.reject_limit, feed, readAs);
  const leadOf = async (text: Peekable) => {
    // A last page may have no line.
    if (format === "json") await startOf(text);
    return 0;
  };
  return { header: null, delimiter: null, records, leadOf };
}

/** Where the first byte is that can be seen, behind the lines that are to be skipped. */
async function startOf(text: Peekable, skip = 0): Promise<number> {
  const begin = (first: Uint8Array) => {
    const from = skipLines(first, skip);
    return from < 0 ? -1 : first.findIndex((byte, i) => i >= from && isVisible(byte));
  };
  // A byte more: it tells UTF-16.
  const isEnough = (start: number, { length }: Uint8Array) => start >= 0 && start + 1 < length;
  let first = await text.peek((first) => first.length >= longestRecord || isEnough(begin(first), first));
  const start = begin(first);
  if (start < 0) throw nothingIn(first, skip);
  if (first[start] !== "<".charCodeAt(0)) return start;
  first = await text.peek((first) => first.length >= start + longestTag);
  const tag = new TextDecoder().decode(first.subarray(start, start + longestTag));
  if (/^<\?xml\s/i.test(tag)) throw noTable("an XML document");
  if (page.test(tag)) throw notData();
  return start;
}

/** What a page, a part of one, or a feed of news begins with; a comment may stand before it. */
const page =
  /^(<!--[^]*?-->\s*)?<(!doctype\s+html|html|head|body|title|meta|link|script|style|div|center|table|p|br|pre|h[1-6]|span|font|svg|rss|feed)[\s/>]/i;

/** Bytes in which a web page shows itself: a comment may stand before its first tag. */
const longestTag = 1024;

async function formatOf(
  text: Peekable,
  start: number,
  { format, records, next, name, skip = 0, header }: Layout,
): Promise<{ format: Format; only: Rows["only"] }> {
  const begin = (await text.peek(() => true)).subarray(start, start + 2);
  const sign = String.fromCharCode(begin[0]);
  const isJson = sign === "[" || sign === "{";
  if (begin.includes(0) && (isJson || records != null || format === "json" || format === "ndjson")) {
    throw new EtlError("encoding", "it holds NULs", askFor(begin[0] === 0 ? "utf-16be" : "utf-16le"));
  }
  if ((format === "json" || records != null) && !isJson) {
    const hint = "Check etl.feeds.format and etl.feeds.records, or ask the partner for JSON.";
    throw badJson("it is not an array of objects", hint);
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
  if (skip > 0 || header) return { format: "csv", only: null };
  if (sign !== "{") return { format: isJson ? "json" : "csv", only: null };
  const lines = await linesOrDocument(text, start, { name });
  const mayBeDocument = lines.format === "ndjson" && lines.document && lines.document.arrays.length > 0;
  return { format: lines.format, only: mayBeDocument ? lines.document : null };
}

function nothingIn(first: Uint8Array, skip: number): EtlError {
  skipAll(first, skip);
  const message = skip === 0 ? "the body is empty" : `nothing follows the ${skip} lines that are to be skipped`;
  return new EtlError("empty", message, "Ask the partner whether the export failed.");
}

async function openCsv(text: Peekable, feed: Layout): Promise<Reading> {
  const { skip = 0, header = null, delimiter: said = null, quote = '"', escape = null } = feed;
  const dialect = { skip, header, delimiter: said, quote, escape: escape === quote ? null : escape };
  const { names, lead, delimiter, lineEnd } = await headerOf(text, dialect);
  const shape: Shape = { kind: "csv", columns: names.length, delimiter, lineEnd, quote, escape: dialect.escape };
  const records = new Records(shape, lead, feed.reject_limit, {}, text.readAs);
  const leadOf = async (text: Peekable) => {
    await startOf(text, skip);
    const page = await headerOf(text, { ...dialect, delimiter });
    // "\n" and "\r\n" may stand side by side.
    const isAlike = (page.lineEnd === "\r") === (lineEnd === "\r");
    if (isAlike && JSON.stringify(trimmed(page.names)) === JSON.stringify(trimmed(names))) return page.lead;
    const hint = "Ask the partner for pages that are alike.";
    throw new EtlError("header", "its header line is not that of the first page", hint);
  };
  return { header: names, delimiter, records, leadOf };
}

async function headerOf(text: Peekable, dialect: Dialect): Promise<Header> {
  const first = await text.peek((first) => first.length >= longestRecord || hasHeader(first, dialect));
  if (first.length >= longestRecord && !dialect.header && !hasHeader(first, dialect)) {
    const message = `it has no line end in its first ${longestRecord >> 20} MiB`;
    throw new EtlError("header", message, "It does not look like CSV: check etl.feeds.format.");
  }
  const header = readHeader(first, dialect, text.readAs);
  if (dialect.header || header.names.at(-1)!.trim() !== "") return header;
  const isEnough = (first: Uint8Array) => first.length >= longestRecord || hasRecord(first, header, dialect);
  return fitted(header, await text.peek(isEnough), dialect);
}

/**
 * The text of a body: unpacked, in UTF-8, without a byte order mark. `member`: the file in it, if it is a zip archive.
 * `charset`: the encoding that its server says.
 */
export async function openText(
  body: AsyncIterable<Uint8Array>,
  encoding: string,
  { unpackRatio }: Pick<Patience, "unpackRatio"> = patient,
  { hasEnd = false, member = null, charset = null }: Partial<Came> = {},
): Promise<Peekable> {
  return await decode(await unpack(new Peekable(body, hasEnd), unpackRatio, member), encoding, charset);
}
