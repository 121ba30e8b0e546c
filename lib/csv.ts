/**
 * CSV on its way to COPY: the header line is read, the rest passes untouched.
 *
 * COPY forgives what it should not: a stray or unterminated quote makes it join lines in silence. So each quote is
 * checked in passing: it may open only at the start of a field and close only at its end.
 */
import { EtlError } from "./errors.ts";

const quote = 0x22, lineFeed = 0x0a, carriageReturn = 0x0d;
const delimiters = [",", ";", "\t", "|"];

export interface Header {
  names: string[];
  delimiter: string;
  /** The file's own line end, "\n", "\r\n" or "\r". */
  lineEnd: string;
}

/** Where the first line ends that is not inside quotes; -1 where it has not ended yet. */
export function endOfHeader(bytes: Uint8Array): number {
  let quoted = false;
  for (let i = 0; i < bytes.length; i++) {
    if (bytes[i] === quote) quoted = !quoted;
    else if (!quoted && (bytes[i] === lineFeed || bytes[i] === carriageReturn)) return i;
  }
  return -1;
}

/** Reads the header line at the start of `bytes`; `delimiter` null takes the candidate that splits it most often. */
export function readHeader(bytes: Uint8Array, delimiter: string | null): Header {
  const end = endOfHeader(bytes);
  const line = decode(bytes.subarray(0, end < 0 ? bytes.length : end));
  const splits = (candidate: string) => splitLine(line, candidate).length;
  const chosen = delimiter ?? delimiters.reduce((best, other) => splits(other) > splits(best) ? other : best);
  const names = splitLine(line, chosen);
  const blank = names.findIndex((name) => name.trim() === "");
  if (blank >= 0) {
    throw badHeader(names.length === 1 ? "its header line is blank" : `column ${blank + 1} of its header has no name`);
  }
  const twice = names.find((name, i) => names.indexOf(name) < i);
  if (twice !== undefined) throw badHeader(`its header names the column "${twice}" twice`);
  if (names.length > 1600) throw badHeader(`its header names ${names.length} columns; Postgres takes 1600`);
  const lineEnd = bytes[end] !== carriageReturn ? "\n" : bytes[end + 1] === lineFeed ? "\r\n" : "\r";
  return { names, delimiter: chosen, lineEnd };
}

/** Passes the chunks on while their quotes are right; a chunk is cut before the quote that is not. */
export async function* checkQuotes(chunks: AsyncIterable<Uint8Array>, delimiter: string): AsyncGenerator<Uint8Array> {
  const check = new QuoteCheck(delimiter.charCodeAt(0));
  for await (const chunk of chunks) {
    const bad = check.scan(chunk);
    if (bad < 0) {
      yield chunk;
      continue;
    }
    if (bad > 0) yield chunk.subarray(0, bad);
    throw badQuote(
      check.state === State.closing
        ? "text follows a closing quote"
        : "a quote stands inside a field that is not quoted",
    );
  }
  if (check.state === State.inside) throw badQuote("a quoted field is not closed before the end of the file");
}

enum State {
  outside,
  inside,
  /** After a quote inside quotes: the end of the field, or the first half of a doubled quote. */
  closing,
}

class QuoteCheck {
  state = State.outside;
  #previous = lineFeed;

  constructor(private readonly delimiter: number) {}

  /** The place of the first wrong byte, -1 where there is none. */
  scan(chunk: Uint8Array): number {
    for (let i = 0; i < chunk.length;) {
      if (this.state === State.closing) {
        if (chunk[i] === quote) {
          this.state = State.inside;
          i++;
        } else if (this.#endsField(chunk[i])) this.state = State.outside;
        else return i;
        continue;
      }
      const next = nextQuote(chunk, i);
      if (next < 0) break;
      if (this.state === State.inside) this.state = State.closing;
      else if (this.#endsField(next > 0 ? chunk[next - 1] : this.#previous)) this.state = State.inside;
      else return next;
      i = next + 1;
    }
    if (chunk.length > 0) this.#previous = chunk[chunk.length - 1];
    return -1;
  }

  #endsField(byte: number): boolean {
    return byte === this.delimiter || byte === lineFeed || byte === carriageReturn;
  }
}

/** A call of `indexOf` costs as much as looking at a few bytes, so near quotes are found by hand. */
function nextQuote(chunk: Uint8Array, from: number): number {
  const near = Math.min(from + 24, chunk.length);
  for (let i = from; i < near; i++) if (chunk[i] === quote) return i;
  return indexOfQuote(chunk, near);
}

/** `indexOf` at twice its speed: four bytes at a time, a zero byte found by the classic test on a whole word. */
function indexOfQuote(chunk: Uint8Array, from: number): number {
  let i = from;
  while (i < chunk.length && (chunk.byteOffset + i) % 4 !== 0) if (chunk[i++] === quote) return i - 1;
  const words = new Int32Array(chunk.buffer, chunk.byteOffset + i, (chunk.length - i) >> 2);
  for (let w = 0; w < words.length; w++) {
    const word = words[w] ^ 0x22222222;
    if (((word - 0x01010101) & ~word & 0x80808080) !== 0) return chunk.indexOf(quote, i + w * 4);
  }
  return chunk.indexOf(quote, i + words.length * 4);
}

function splitLine(line: string, delimiter: string): string[] {
  const fields: string[] = [];
  for (let i = 0; i <= line.length; i++) {
    let field = "";
    if (line[i] === '"') {
      for (i++; i < line.length && (line[i] !== '"' || line[++i] === '"'); i++) field += line[i];
      if (i < line.length && line[i] !== delimiter) throw badHeader("text follows a closing quote in its header");
    } else {
      const end = line.indexOf(delimiter, i);
      field = line.slice(i, end < 0 ? line.length : end);
      i += field.length;
    }
    fields.push(field);
  }
  return fields;
}

function decode(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new EtlError("encoding", "its header line is not UTF-8", "Say the feed's encoding in etl.feeds.encoding.", {
      cause,
    });
  }
}

function badHeader(message: string): EtlError {
  return new EtlError("header", message, "Ask the partner for a file with one header line of distinct names.");
}

function badQuote(message: string): EtlError {
  return new EtlError(
    "quote",
    message,
    'A field with a quote in it must be quoted, and each quote in it doubled: "so ""called"""',
  );
}
