/**
 * JSON on its way to COPY: one element a line, bytes otherwise untouched.
 *
 * Never JSON.parse: it rounds 10000000000000000999. The array is cut in place: its brackets become spaces, the commas
 * between its elements line ends, line ends within them spaces. Whether an element is right, Postgres decides.
 */
import { indexOf } from "./bytes.ts";
import { EtlError } from "./errors.ts";

const space = 0x20, tab = 0x09, lineFeed = 0x0a, carriageReturn = 0x0d;
const quote = 0x22, comma = 0x2c, backslash = 0x5c;
const openBracket = 0x5b, closeBracket = 0x5d, openBrace = 0x7b, closeBrace = 0x7d;
const deepest = 512;

/** Byte -> 1 where it needs no look, within a string, and within an element outside strings. */
const plainInString = table((byte) => byte >= space && byte !== quote && byte !== backslash);
const plainInElement = table((byte) =>
  byte >= space && ![quote, openBracket, closeBracket, openBrace, closeBrace].includes(byte)
);

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
    if (indexOf(chunk, 1) >= 0) throw badJson("it holds the control character U+0001");
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
    // The state is held in local variables: fields would cost a third more.
    let depth = this.#depth, inString = this.#inString, escaped = this.#escaped;
    for (let i = 0; i < chunk.length; i++) {
      if (escaped && chunk[i] >= space) {
        escaped = false;
        continue;
      }
      if (inString) i = skip(chunk, i, plainInString);
      else if (depth > 1) i = skip(chunk, i, plainInElement);
      if (i === chunk.length) break;
      const byte = chunk[i];
      if (inString) {
        if (byte < space) throw this.#bad("a string holds a control character, or is not closed on its line");
        if (byte === backslash) escaped = true;
        else inString = false;
      } else if (byte === lineFeed || byte === carriageReturn) chunk[i] = space;
      else if (byte < space && byte !== tab) throw this.#bad("a control character stands between its values");
      else if (byte === quote && depth > 1) inString = true;
      else if (byte !== space && byte !== tab) {
        chunk[i] = this.#token(byte);
        inString = byte === quote;
        depth = this.#depth;
      }
    }
    this.#inString = inString;
    this.#escaped = escaped;
  }

  /** What to write in place of a byte outside strings. */
  #token(byte: number): number {
    if (this.closed) throw badJson("something follows the end of the array");
    if (this.#depth === 0) return this.#open(byte);
    if (this.#depth === 1 && (byte === comma || byte === closeBracket)) return this.#separate(byte);
    this.#elementBegun = true;
    if (byte === openBracket || byte === openBrace) {
      if (++this.#depth > deepest) throw this.#bad(`it is nested deeper than ${deepest} levels`);
    } else if ((byte === closeBracket || byte === closeBrace) && --this.#depth < 1) {
      throw this.#bad("a bracket closes that was not opened");
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
    if (!this.#elementBegun && !emptyArray) throw this.#bad("an element is missing beside a comma");
    this.#elementBegun = false;
    this.#elements++;
    if (byte === comma) return lineFeed;
    this.closed = true;
    return space;
  }

  #bad(message: string): EtlError {
    return badJson(`record ${this.#elements + 1}: ${message}`);
  }
}

function skip(chunk: Uint8Array, from: number, plain: Uint8Array): number {
  let i = from;
  while (i < chunk.length && plain[chunk[i]] === 1) i++;
  return i;
}

function table(holds: (byte: number) => boolean): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, byte) => Number(holds(byte)));
}

function badJson(message: string, hint = "Ask the partner for valid JSON."): EtlError {
  return new EtlError("json", message, hint);
}
