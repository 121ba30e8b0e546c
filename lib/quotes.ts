/**
 * The quotes of a CSV file, checked in passing.
 *
 * COPY forgives what it should not: a stray or unterminated quote makes it join lines in silence. So a quote may open
 * only at the start of a field and close only at its end.
 */
import { indexOf } from "./bytes.ts";
import type { Header } from "./csv.ts";
import { LineError } from "./errors.ts";

const quote = 0x22, lineFeed = 0x0a, carriageReturn = 0x0d;

/** Passes the chunks on while their quotes are right; a chunk is cut before the quote that is not. */
export async function* checkQuotes(
  chunks: AsyncIterable<Uint8Array>,
  { delimiter, lineEnd }: Pick<Header, "delimiter" | "lineEnd">,
): AsyncGenerator<Uint8Array> {
  const check = new QuoteCheck(delimiter.charCodeAt(0), lineEnd.charCodeAt(0));
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
  if (check.state !== State.inside) return;
  throw badQuote("a quoted field is not closed before the end of the file", check.linesInside);
}

enum State {
  outside,
  inside,
  /** After a quote inside quotes: the end of the field, or the first half of a doubled quote. */
  closing,
}

class QuoteCheck {
  state = State.outside;
  /** While inside quotes: the line ends since they opened. */
  linesInside = 0;
  #previous = lineFeed;

  constructor(private readonly delimiter: number, private readonly lineEnd: number) {}

  /** The place of the first wrong byte, -1 where there is none. */
  scan(chunk: Uint8Array): number {
    let opened = -1;
    for (let i = 0; i < chunk.length; i++) {
      if (this.state === State.outside) {
        i = nextQuote(chunk, i);
        if (i < 0) break;
        if (!this.#endsField(i > 0 ? chunk[i - 1] : this.#previous)) return i;
        this.state = State.inside;
        opened = i;
      } else if (this.state === State.inside) {
        i = nextQuote(chunk, i);
        if (i < 0) break;
        this.state = State.closing;
      } else if (chunk[i] === quote) this.state = State.inside;
      else if (this.#endsField(chunk[i])) this.state = State.outside;
      else return i;
    }
    if (chunk.length > 0) this.#previous = chunk[chunk.length - 1];
    if (this.state !== State.outside) this.#countLines(chunk, opened);
    return -1;
  }

  #countLines(chunk: Uint8Array, opened: number): void {
    if (opened >= 0) this.linesInside = 0;
    for (let i = chunk.indexOf(this.lineEnd, opened + 1); i >= 0; i = chunk.indexOf(this.lineEnd, i + 1)) {
      this.linesInside++;
    }
  }

  #endsField(byte: number): boolean {
    return byte === this.delimiter || byte === lineFeed || byte === carriageReturn;
  }
}

/** A call of `indexOf` costs as much as looking at a few bytes, so near quotes are found by hand. */
function nextQuote(chunk: Uint8Array, from: number): number {
  const near = Math.min(from + 32, chunk.length);
  for (let i = from; i < near; i++) if (chunk[i] === quote) return i;
  return near === chunk.length ? -1 : indexOf(chunk, quote, near);
}

function badQuote(message: string, linesBack = 0): LineError {
  const hint = 'A field with a quote in it must be quoted, and each quote in it doubled: "so ""called"""';
  return new LineError("quote", message, hint, linesBack);
}
