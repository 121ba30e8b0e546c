/** A feed's bytes -> rows as COPY takes them: unpacked, in UTF-8, checked on the way, otherwise untouched. */
import { EtlError } from "./errors.ts";
import { checkQuotes, endOfHeader, readHeader } from "./csv.ts";
import { notData } from "./fetch.ts";
import { checkLines, cutArray } from "./json.ts";
import { concat, Peekable } from "./peekable.ts";

export type Format = "csv" | "json" | "ndjson";

export interface Rows {
  /** The names in the CSV header, null for JSON, whose names are in each record. */
  header: string[] | null;
  delimiter: string | null;
  /** The rows, CSV with its header line, closed by the record that etl.take_end_mark looks for. */
  chunks: AsyncIterable<Uint8Array>;
}

const longestHeader = 1 << 20;

/** Opens a body; format, delimiter and compression are found out from its first bytes where null. */
export async function openRows(
  body: AsyncIterable<Uint8Array>,
  feed: { format: Format | null; delimiter: string | null; encoding: string },
  onBytes: (bytes: Uint8Array) => void,
): Promise<Rows> {
  const bytes = await decode(await unpack(new Peekable(body)), feed.encoding);
  const start = textOf(await bytes.peek((first) => /\S/.test(textOf(first)))).trimStart();
  if (start.startsWith("<")) throw notData();
  const format = feed.format ?? (start.startsWith("[") ? "json" : start.startsWith("{") ? "ndjson" : "csv");
  if (start === "") throw new EtlError("empty", "the body is empty", "Ask the partner whether the export failed.");
  const watched = watch(bytes, onBytes);
  if (format === "csv") return await openCsv(bytes, watched, feed.delimiter);
  const lines = format === "json" ? cutArray(watched) : checkLines(watched);
  return { header: null, delimiter: null, chunks: withEndMark(lines, "\n", "\x04") };
}

async function openCsv(bytes: Peekable, chunks: AsyncIterable<Uint8Array>, delimiter: string | null): Promise<Rows> {
  // A byte more than the line: it tells "\r\n" from "\r".
  const first = await bytes.peek((first) => {
    const end = endOfHeader(first);
    return first.length >= longestHeader || (end >= 0 && end + 1 < first.length);
  });
  if (first.length >= longestHeader && endOfHeader(first) < 0) {
    const message = "it has no line end in its first megabyte";
    throw new EtlError("header", message, "It does not look like CSV: check etl.feeds.format.");
  }
  const { names, delimiter: chosen, lineEnd } = readHeader(first, delimiter);
  const mark = "\x04" + chosen.repeat(names.length - 1);
  return { header: names, delimiter: chosen, chunks: withEndMark(checkQuotes(chunks, chosen), lineEnd, mark) };
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
  const hint = "Try again; if it lasts, the partner's file is damaged.";
  return through(bytes, [new DecompressionStream("gzip")], "gzip", "its gzip data is broken or cut short", hint);
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
    return through(bytes, [decoder, new TextEncoderStream()], "encoding", `it is not ${encoding}`, hint);
  }
  const first = await bytes.peek((first) => first.length >= 3);
  if (first[0] === 0xef && first[1] === 0xbb && first[2] === 0xbf) bytes.skip(3);
  return bytes;
}

/** Pipes the bytes through platform streams; what these throw becomes an EtlError, what came from upstream stays. */
function through(bytes: Peekable, steps: unknown[], code: string, message: string, hint: string): Peekable {
  return new Peekable((async function* () {
    try {
      const piped = (steps as ReadableWritablePair[]).reduce(
        (stream, step) => stream.pipeThrough(step),
        ReadableStream.from(bytes),
      );
      yield* piped as ReadableStream<Uint8Array>;
    } catch (cause) {
      throw cause instanceof EtlError ? cause : new EtlError(code, message, hint, { cause });
    }
  })());
}

function textOf(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes.subarray(0, 1024));
}
