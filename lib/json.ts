/**
 * JSON on its way to COPY: one element a line, bytes otherwise untouched.
 *
 * Never JSON.parse: it rounds 10000000000000000999. The array is cut in place: its brackets become spaces, the commas
 * between its elements line ends, line ends within them spaces. Whether an element is right, Postgres decides.
 */
import { EtlError } from "./errors.ts";

const space = 0x20, tab = 0x09, lineFeed = 0x0a, carriageReturn = 0x0d;
const quote = 0x22, comma = 0x2c, backslash = 0x5c;
const openBracket = 0x5b, closeBracket = 0x5d, openBrace = 0x7b, closeBrace = 0x7d;
const deepest = 512;

/** Cuts a JSON array into lines. Overwrites the chunks it is given. */
export async function* cutArray(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const cutter = new ArrayCutter();
  for await (const chunk of chunks) {
    cutter.cut(chunk);
    yield chunk;
  }
  if (!cutter.closed) throw badJson("the array is not closed: the file may be cut short");
}

/** Passes JSON lines on; refuses the one byte that COPY, as we call it, would take for a quote. */
export async function* checkLines(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    if (chunk.includes(1)) throw badJson("it holds the control character U+0001");
    yield chunk;
  }
}

class ArrayCutter {
  #depth = 0;
  #inString = false;
  #escaped = false;
  #elementBegun = false;
  #elements = 0;
  closed = false;

  cut(chunk: Uint8Array): void {
    for (let i = 0; i < chunk.length; i++) {
      if (this.#inString) {
        i = this.#skipString(chunk, i);
        continue;
      }
      const byte = chunk[i];
      if (byte === lineFeed || byte === carriageReturn) chunk[i] = space;
      else if (byte === space || byte === tab) continue;
      else if (byte < space) throw badJson("it holds a control character");
      else chunk[i] = this.#token(byte);
    }
  }

  /** Advances to the end of the string or of the chunk. */
  #skipString(chunk: Uint8Array, from: number): number {
    for (let i = from; i < chunk.length; i++) {
      const byte = chunk[i];
      if (byte < space) throw badJson("a string holds a control character, or is not closed on its line");
      if (this.#escaped) this.#escaped = false;
      else if (byte === backslash) this.#escaped = true;
      else if (byte === quote) {
        this.#inString = false;
        return i;
      }
    }
    return chunk.length;
  }

  /** What to write in place of a byte outside strings. */
  #token(byte: number): number {
    if (this.closed) throw badJson("something follows the end of the array");
    if (this.#depth === 0) return this.#open(byte);
    if (this.#depth === 1 && (byte === comma || byte === closeBracket)) return this.#separate(byte);
    this.#elementBegun = true;
    if (byte === quote) this.#inString = true;
    else if (byte === openBracket || byte === openBrace) {
      if (++this.#depth > deepest) throw badJson(`it is nested deeper than ${deepest} levels`);
    } else if ((byte === closeBracket || byte === closeBrace) && --this.#depth < 1) {
      throw badJson("a bracket closes that was not opened");
    }
    return byte;
  }

  #open(byte: number): number {
    if (byte !== openBracket) {
      throw badJson("it is not an array of objects", "Where it has an object a line, set etl.feeds.format to ndjson.");
    }
    this.#depth = 1;
    return space;
  }

  #separate(byte: number): number {
    const emptyArray = byte === closeBracket && this.#elements === 0;
    if (!this.#elementBegun && !emptyArray) throw badJson("an element is missing between two commas");
    this.#elementBegun = false;
    this.#elements++;
    if (byte === comma) return lineFeed;
    this.closed = true;
    return space;
  }
}

function badJson(message: string, hint = "Ask the partner for valid JSON."): EtlError {
  return new EtlError("json", message, hint);
}
