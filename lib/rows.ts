/** A feed's bytes -> rows as COPY takes them: unpacked, in UTF-8, checked on the way, otherwise untouched. */
import { EtlError } from "./errors.ts";
import { checkQuotes, endOfHeader, readHeader } from "./csv.ts";
import { notData } from "./fetch.ts";
import { checkLines, cutArray } from "./json.ts";

export type Format = "csv" | "json" | "ndjson";

export interface Rows {
  /** The names in the CSV header, null for JSON, whose names are in each record. */
  header: string[] | null;
  delimiter: string | null;
  /** The rows, CSV with its header line, closed by the record that etl.merge looks for. */
  chunks: AsyncIterable<Uint8Array>;
}

const longestHeader = 1 << 20;
const encoder = new TextEncoder();

/** Opens a body; format, delimiter and compression are found out from its first bytes where null. */
export async function openRows(
  body: AsyncIterable<Uint8Array>,
  feed: { format: Format | null; delimiter: string | null; encoding: string },
  onBytes: (bytes: Uint8Array) => void,
): Promise<Rows> {
  const unpacked = await unpack(await peek(body, (bytes) => bytes.length >= 2));
  const start = await peek(watch(decode(unpacked, feed.encoding), onBytes), (bytes) => /\S/.test(textOf(bytes)));
  const format = feed.format ?? sniff(start.first);
  if (/^\s*</.test(textOf(start.first))) throw notData();
  if (format === "csv") return await openCsv(start, feed.delimiter);
  if (textOf(start.first).trim() === "") throw empty();
  const lines = format === "json" ? cutArray(start.all) : checkLines(start.all);
  return { header: null, delimiter: null, chunks: withEndMark(lines, "\n", "\x04") };
}

async function openCsv(start: Peeked, delimiter: string | null): Promise<Rows> {
  // Two bytes more than the line: they tell "\r\n" from "\r".
  const { first, all } = await peek(start.all, (bytes) => {
    const end = endOfHeader(bytes);
    return bytes.length >= longestHeader || (end >= 0 && end + 1 < bytes.length);
  });
  if (textOf(first).trim() === "") throw empty();
  if (first.length >= longestHeader && endOfHeader(first) < 0) {
    throw new EtlError(
      "header",
      "it has no line end in its first megabyte",
      "It does not look like CSV: check etl.feeds.format.",
    );
  }
  const { names, delimiter: chosen, lineEnd } = readHeader(first, delimiter);
  return {
    header: names,
    delimiter: chosen,
    chunks: withEndMark(checkQuotes(all, chosen), lineEnd, "\x04" + chosen.repeat(names.length - 1)),
  };
}

/** Drops the line ends at the very end, then adds the record EOT: where Postgres does not see it, data was lost. */
async function* withEndMark(
  chunks: AsyncIterable<Uint8Array>,
  lineEnd: string,
  mark: string,
): AsyncGenerator<Uint8Array> {
  let heldBack = new Uint8Array(0);
  for await (const chunk of chunks) {
    let end = chunk.length;
    while (end > 0 && (chunk[end - 1] === 0x0a || chunk[end - 1] === 0x0d)) end--;
    if (end > 0 && heldBack.length > 0) yield heldBack;
    if (end > 0) yield chunk.subarray(0, end);
    heldBack = end > 0 ? chunk.slice(end) : concat([heldBack, chunk]);
  }
  yield encoder.encode(lineEnd + mark + lineEnd);
}

interface Peeked {
  first: Uint8Array;
  all: AsyncIterable<Uint8Array>;
}

/** Reads until `enough`, and gives back the bytes read so far with the whole of the stream. */
async function peek(chunks: AsyncIterable<Uint8Array>, enough: (bytes: Uint8Array) => boolean): Promise<Peeked> {
  const rest = chunks[Symbol.asyncIterator]();
  let first = new Uint8Array(0);
  while (!enough(first)) {
    const { done, value } = await rest.next();
    if (done) break;
    first = concat([first, value]);
  }
  return { first, all: resume(first, rest) };
}

async function* resume(first: Uint8Array, rest: AsyncIterator<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    if (first.length > 0) yield first;
    for (let next = await rest.next(); !next.done; next = await rest.next()) yield next.value;
  } finally {
    await rest.return?.();
  }
}

async function* watch(chunks: AsyncIterable<Uint8Array>, onBytes: (bytes: Uint8Array) => void) {
  for await (const chunk of chunks) {
    onBytes(chunk);
    yield chunk;
  }
}

async function* unpack({ first, all }: Peeked): AsyncGenerator<Uint8Array> {
  const gzipped = first[0] === 0x1f && first[1] === 0x8b;
  if (!gzipped) return yield* all;
  try {
    yield* ReadableStream.from(all as AsyncIterable<Uint8Array<ArrayBuffer>>).pipeThrough(
      new DecompressionStream("gzip"),
    );
  } catch (cause) {
    if (cause instanceof EtlError) throw cause;
    throw new EtlError("gzip", "its gzip data is broken or cut short", "Try again; if it lasts, tell the partner.", {
      cause,
    });
  }
}

async function* decode(chunks: AsyncIterable<Uint8Array>, encoding: string): AsyncGenerator<Uint8Array> {
  let decoder: TextDecoderStream;
  try {
    decoder = new TextDecoderStream(encoding, { fatal: true });
  } catch (cause) {
    throw new EtlError("encoding", `there is no encoding ${encoding}`, "Correct etl.feeds.encoding.", { cause });
  }
  if (decoder.encoding === "utf-8") return yield* withoutByteOrderMark(chunks);
  try {
    yield* ReadableStream.from(chunks).pipeThrough(decoder).pipeThrough(new TextEncoderStream());
  } catch (cause) {
    if (cause instanceof EtlError) throw cause;
    throw new EtlError("encoding", `it is not ${encoding}`, "Correct etl.feeds.encoding.", { cause });
  }
}

async function* withoutByteOrderMark(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const { first, all } = await peek(chunks, (bytes) => bytes.length >= 3);
  let skip = first[0] === 0xef && first[1] === 0xbb && first[2] === 0xbf ? 3 : 0;
  for await (const chunk of all) {
    yield chunk.subarray(skip);
    skip = 0;
  }
}

function sniff(bytes: Uint8Array): Format {
  const mark = textOf(bytes).trimStart()[0];
  return mark === "[" ? "json" : mark === "{" ? "ndjson" : "csv";
}

function textOf(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes.subarray(0, 1024));
}

function concat(parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  parts.reduce((at, part) => (whole.set(part, at), at + part.length), 0);
  return whole;
}

function empty(): EtlError {
  return new EtlError(
    "empty",
    "the body is empty",
    "No header and no records: ask the partner whether the export failed.",
  );
}
