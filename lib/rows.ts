/** A feed's bytes -> rows as COPY takes them: unpacked, in UTF-8, checked on the way, otherwise untouched. */
import { pipeline, Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { EtlError } from "./errors.ts";
import { endOfHeader, readHeader } from "./csv.ts";
import { notData } from "./fetch.ts";
import { checkLines, cutArray } from "./json.ts";
import { concat, Peekable } from "./peekable.ts";
import { checkQuotes } from "./quotes.ts";

export type Format = "csv" | "json" | "ndjson";

export interface Rows {
  /** The names in the CSV header, null for JSON, whose names are in each record. */
  header: string[] | null;
  delimiter: string | null;
  /** The rows, CSV with its header line, closed by the record that etl.take_end_mark looks for. */
  chunks: AsyncIterable<Uint8Array>;
}

const longestLine = 1 << 20;

/** Opens a body; format, delimiter and compression are found out from its first bytes where null. */
export async function openRows(
  body: AsyncIterable<Uint8Array>,
  feed: { format: Format | null; delimiter: string | null; encoding: string },
  onBytes: (bytes: Uint8Array) => void,
): Promise<Rows> {
  const bytes = await decode(await unpack(new Peekable(body)), feed.encoding);
  const first = await bytes.peek((first) => first.length >= longestLine || first.some(isVisible));
  const start = String.fromCharCode(first.find(isVisible) ?? 0x20);
  if (start === " ") throw new EtlError("empty", "the body is empty", "Ask the partner whether the export failed.");
  if (start === "<") throw notData();
  const format = feed.format ?? (start === "[" ? "json" : start === "{" ? "ndjson" : "csv");
  const watched = watch(bytes, onBytes);
  if (format === "csv") return await openCsv(bytes, watched, feed.delimiter);
  if (format === "json") return { header: null, delimiter: null, chunks: withEndMark(cutArray(watched), "\n", "\x04") };
  const line = await bytes.peek((first) => first.length >= longestLine || first.includes(0x0a));
  const lineEnd = line[line.indexOf(0x0a) - 1] === 0x0d ? "\r\n" : "\n";
  return { header: null, delimiter: null, chunks: withEndMark(checkLines(watched), lineEnd, "\x04") };
}

async function openCsv(bytes: Peekable, chunks: AsyncIterable<Uint8Array>, delimiter: string | null): Promise<Rows> {
  // A byte more than the line: it tells "\r\n" from "\r".
  const first = await bytes.peek((first) => {
    const end = endOfHeader(first);
    return first.length >= longestLine || (end >= 0 && end + 1 < first.length);
  });
  if (first.length >= longestLine && endOfHeader(first) < 0) {
    const message = "it has no line end in its first megabyte";
    throw new EtlError("header", message, "It does not look like CSV: check etl.feeds.format.");
  }
  const header = readHeader(first, delimiter);
  const mark = "\x04" + header.delimiter.repeat(header.names.length - 1);
  const marked = withEndMark(chunks, header.lineEnd, mark);
  return { header: header.names, delimiter: header.delimiter, chunks: checkQuotes(marked, header) };
}

/** Drops the line ends at the very end, then adds a record of its own: where Postgres does not see it, data was lost. */
async function* withEndMark(chunks: AsyncIterable<Uint8Array>, lineEnd: string, mark: string) {
  let heldBack = new Uint8Array(0);
  for await (const chunk of chunks) {
    let end = chunk.length;
    while (end > 0 && (chunk[end - 1] === 0x0a || chunk[end - 1] === 0x0d)) end--;
    if (end > 0 && heldBack.length > 0) yield heldBack;
    if (end > 0) yield chunk.subarray(0, end);
    heldBack = end > 0 ? chunk.slice(end) : concat(heldBack, chunk);
  }
  yield new TextEncoder().encode(lineEnd + mark + lineEnd);
}

async function* watch(chunks: AsyncIterable<Uint8Array>, onBytes: (bytes: Uint8Array) => void) {
  for await (const chunk of chunks) {
    onBytes(chunk);
    yield chunk;
  }
}

async function unpack(bytes: Peekable): Promise<Peekable> {
  const first = await bytes.peek((first) => first.length >= 2);
  if (first[0] !== 0x1f || first[1] !== 0x8b) return bytes;
  // Not DecompressionStream: it refuses a file of several gzip members, which is legal, and takes twice the time.
  const gunzip = createGunzip({ chunkSize: 1 << 18 });
  pipeline(Readable.from(copies(bytes)), gunzip, () => {});
  const hint = "Try again; if it lasts, the partner's file is damaged.";
  return named(gunzip, "gzip", "its gzip data is broken or cut short", hint);
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
    return named(text.pipeThrough(new TextEncoderStream()), "encoding", `it is not ${encoding}`, hint);
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
function named(stream: AsyncIterable<Uint8Array>, code: string, message: string, hint: string): Peekable {
  return new Peekable((async function* () {
    try {
      yield* stream;
    } catch (cause) {
      throw cause instanceof EtlError ? cause : new EtlError(code, message, hint, { cause });
    }
  })());
}

function isVisible(byte: number): boolean {
  return byte > 0x20 || byte < 0x09;
}
