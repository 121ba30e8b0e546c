/** What assembly.ts offers, and the bytes in its memory. */
import { binary } from "./binary.ts";

/** How the records of a feed are written. */
export type Shape =
  | { kind: "csv"; columns: number; delimiter: string; lineEnd: string; quote: string; escape: string | null }
  /** "array": what follows the opening bracket of a JSON array. */
  | { kind: "array" | "lines" };

/** Why a scan stopped, by the numbers of assembly.ts. */
export enum Stop {
  more,
  blank,
  otherLineEnd,
  wrongFields,
  strayQuote,
  textAfterQuote,
  strayLineEnd,
  notText,
  endOfData,
  badControl,
  tooDeep,
  /** It begins behind `length` bytes, and the scan goes on there. */
  respelled,
}

interface Exports {
  memory: WebAssembly.Memory;
  base(): number;
  describe(
    delimiter: number,
    columns: number,
    lastByte: number,
    twoBytes: boolean,
    quote: number,
    escape: number,
  ): void;
  scanCsv(from: number, end: number): Stop;
  scanJson(from: number, end: number, inArray: boolean): Stop;
  recordStart: { value: number };
  recordEnd: { value: number };
  fields: { value: number };
  blanks: { value: number };
  records: { value: number };
  arrayClosed: { value: number };
  hash(from: number, end: number): void;
  digest(): bigint;
}

const page = 1 << 16;
const module = new WebAssembly.Module(Uint8Array.from(atob(binary), (character) => character.charCodeAt(0)));

/** Bytes on their way through, and their checksum. */
export class Bytes {
  protected readonly wasm = new WebAssembly.Instance(module).exports as unknown as Exports;
  #bytes = new Uint8Array(this.wasm.memory.buffer);
  /** Bytes taken off so far. */
  taken = 0;
  protected from = 0;
  protected to = 0;

  /** The bytes that are still to be taken; valid until the next `put`. */
  get rest(): Uint8Array {
    return this.#bytes.subarray(this.from, this.to);
  }

  /** XXH64 of all bytes so far, in hexadecimal. */
  get hash(): string {
    return BigInt.asUintN(64, this.wasm.digest()).toString(16).padStart(16, "0");
  }

  /** Adds bytes behind those that are still to be taken. */
  put(chunk: Uint8Array): void {
    this.add(chunk);
    this.wasm.hash(this.to - chunk.length, this.to);
  }

  /** Adds bytes that do not count for the checksum. */
  add(chunk: Uint8Array): void {
    const base = this.wasm.base(), kept = this.to - this.from, to = base + kept + chunk.length;
    const missing = to + 64 - this.#bytes.length;
    if (missing > 0) {
      this.wasm.memory.grow(Math.ceil(missing / page));
      this.#bytes = new Uint8Array(this.wasm.memory.buffer);
    }
    this.#bytes.copyWithin(base, this.from, this.to);
    this.#bytes.set(chunk, base + kept);
    [this.from, this.to] = [base, to];
  }

  /** Takes the first bytes off. */
  take(length: number): Uint8Array {
    this.taken += length;
    this.from += length;
    return this.#bytes.subarray(this.from - length, this.from);
  }
}

/** The checksum of a text, which is read to its end. */
export async function hashOf(text: AsyncIterable<Uint8Array>): Promise<string> {
  const bytes = new Bytes();
  for await (const chunk of text) {
    bytes.put(chunk);
    bytes.take(chunk.length);
  }
  return bytes.hash;
}

/** Bytes that are cut into records. */
export class Scanner extends Bytes {
  constructor(private readonly shape: Shape) {
    super();
    if (shape.kind !== "csv") return;
    const { delimiter, columns, lineEnd, quote, escape } = shape;
    this.wasm.describe(
      delimiter.charCodeAt(0),
      columns,
      lineEnd.charCodeAt(lineEnd.length - 1),
      lineEnd.length > 1,
      quote.charCodeAt(0),
      escape?.charCodeAt(0) ?? 0,
    );
  }

  /** Records in order so far. */
  get records(): number {
    return this.wasm.records.value;
  }

  get fields(): number {
    return this.wasm.fields.value;
  }

  /** Lines with nothing in them at which the scan stopped: blank ones, or the first and others like it. */
  get blanks(): number {
    return this.wasm.blanks.value;
  }

  get arrayClosed(): boolean {
    return this.wasm.arrayClosed.value !== 0;
  }

  /** What follows are the elements of an array. */
  openArray(): void {
    this.wasm.arrayClosed.value = 0;
  }

  /** Takes the records off that are in order; tells why it stopped, and how long the record is at which it did. */
  scan(): { good: Uint8Array; stop: Stop; length: number } {
    const stop = this.shape.kind === "csv"
      ? this.wasm.scanCsv(this.from, this.to)
      : this.wasm.scanJson(this.from, this.to, this.shape.kind === "array");
    const start = this.wasm.recordStart.value;
    return { good: this.take(start - this.from), stop, length: this.wasm.recordEnd.value - start };
  }
}
