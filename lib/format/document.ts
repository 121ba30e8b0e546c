/**
 * What stands around the records of a JSON document: finds the records by their pointer, and the link to the next page.
 * The records themselves are the scanner's, so a document may be of any size.
 */
import { EtlError } from "../errors.ts";
import { longestLink, longestRecord } from "../limits.ts";
import { concat } from "./peekable.ts";
import { namesOf, pointerOf, recordsFrom } from "./pointer.ts";
import { badJson, openBrace, openBracket, Tokens } from "./tokens.ts";

/** What etl.feeds says of a document. */
export interface Places {
  name?: string;
  /** Null: the document is the array. */
  records?: string | null;
  next?: string | null;
}

/** Arrays that are named where it is asked for: so many, none deeper, none under names that may be values. */
const mostArrays = 5, deepestArray = 4, nameOfArray = /^[\p{L}_$@][\p{L}\p{N}_$:.-]{0,39}$/u;

/** Bytes of the longest escape. */
const escape = 6;

/** A pointer, and how far the place that is being read agrees with it. */
class Target {
  readonly names: string[];
  /** How many of its names are those of the place. */
  #agreed = 0;
  #seen = 0;

  constructor(readonly pointer: string) {
    this.names = namesOf(pointer);
  }

  /** Whether it points into the innermost of so many open objects and arrays. */
  isWithin(depth: number): boolean {
    return this.#agreed >= depth - 1 && this.names.length >= depth;
  }

  /** The next value in there has this name. */
  enter(depth: number, name: string | null): void {
    if (!this.isWithin(depth)) return;
    const isHere = this.names[depth - 1] === name;
    this.#agreed = isHere ? depth : depth - 1;
    if (!isHere) return;
    // Parsers differ in which of the two they take.
    if (this.#seen >= depth) throw badJson(`it has two values at ${pointerOf(this.names.slice(0, depth))}`);
    this.#seen = depth;
  }

  /** Whether a value within so many is what it points to. */
  isAt(depth: number): boolean {
    return this.#agreed === depth && this.names.length === depth;
  }
}

export class Document extends Tokens {
  /** What comes next is of the records, which are not for `read`. */
  inRecords = false;
  /** The only record, once it has been read, where the pointer names an object. */
  record: Uint8Array | null = null;
  /** The URL of the next page, as the document has it. */
  next: string | null = null;
  #records: Target;
  #next: Target | null;
  #isFound = false;
  /** The name that is being read in each open object, and the elements so far of each open array; null in the other. */
  #names: (string | null)[] = [];
  #elements: (number | null)[] = [];
  #longestName: number;
  /** Pointers to the arrays that hold objects, and to those that are empty. */
  #arrays: string[] = [];
  #empty: string[] = [];
  /** The only record as far as it has been read, and how deep it stands. */
  #pieces: Uint8Array[] = [];
  #size = 0;
  #depth: number | null = null;

  constructor(private readonly places: Places) {
    super();
    this.#records = new Target(places.records ?? "");
    this.#next = places.next?.startsWith("/") ? new Target(places.next) : null;
    const lengths = [...this.#records.names, ...this.#next?.names ?? []].map((name) => name.length);
    this.#longestName = escape * Math.max(40, ...lengths) + 1;
  }

  /** Whether it has an array of objects. */
  get isFilled(): boolean {
    return this.#arrays.length > 0;
  }

  /** Where in what has been read arrays are that may be the records. */
  get arrays(): string[] {
    return this.isFilled ? this.#arrays : this.#empty;
  }

  override read(bytes: Uint8Array): number {
    const wasInRecord = this.#depth !== null;
    const taken = super.read(bytes);
    if (wasInRecord) this.#keep(bytes.slice(0, taken));
    if (!this.#isFound && this.places.records == null && this.bytes > longestRecord) throw this.#missing();
    return taken;
  }

  /** The records have been read, so many bytes with their closing bracket. */
  leave(bytes: number): void {
    this.inRecords = false;
    this.skip(bytes);
  }

  /** There are no more bytes. */
  end(): void {
    if (this.inRecords) throw badJson("the array is not closed: the file may be cut short");
    if (!this.isWhole) throw badJson("the JSON document is not closed: the file may be cut short");
    if (!this.#isFound) throw this.#missing();
  }

  protected beginValue(byte: number): void {
    const depth = this.open.length;
    if (this.open[depth - 1] === openBracket) this.#beginElement(depth, byte);
    if (this.#next?.isAt(depth) && !/["n]/.test(String.fromCharCode(byte))) throw this.#noLink("no text");
    const isRecords = !this.#isFound && this.#records.isAt(depth);
    if (byte !== openBrace && byte !== openBracket) {
      if (isRecords) throw this.#noRecords();
      return;
    }
    this.#names[depth] = null;
    this.#elements[depth] = byte === openBracket ? 0 : null;
    if (!isRecords) return;
    if (byte === openBracket) this.#beginRecords();
    else if (typeof this.places.records === "string") this.#beginRecord(depth);
  }

  protected endValue(): void {
    const depth = this.open.length;
    if (this.#elements[depth] === 0) this.#note(this.#empty, depth);
    if (depth === this.#depth) this.pauses = true;
  }

  protected wanted(isKey: boolean): number {
    const depth = this.open.length;
    if (!isKey) return this.#next?.isAt(depth) ? longestLink : 0;
    const maybeNamed = !this.#isFound && depth <= deepestArray && !this.open.includes(openBracket);
    return maybeNamed || this.#leadsInto(depth) ? this.#longestName : 0;
  }

  protected takeString(text: string | null, isKey: boolean): void {
    if (isKey) this.#enter(this.open.length, text);
    else if (text === null) throw this.#noLink(`longer than ${longestLink} bytes`);
    else this.next = text || null;
  }

  #leadsInto(depth: number): boolean {
    return this.#records.isWithin(depth) || this.#next?.isWithin(depth) === true;
  }

  #enter(depth: number, name: string | null): void {
    this.#names[depth - 1] = name;
    this.#records.enter(depth, name);
    this.#next?.enter(depth, name);
  }

  #beginElement(depth: number, byte: number): void {
    const number = this.#elements[depth - 1]!++;
    if (number === 0 && byte === openBrace) this.#note(this.#arrays, depth - 1);
    if (!this.#leadsInto(depth)) return;
    this.#enter(depth, String(number));
    this.#names[depth - 1] = null;
  }

  /** An array within so many others is one that may be the records. */
  #note(arrays: string[], depth: number): void {
    const names = this.#names.slice(0, depth);
    const isNamed = names.every((name) => name !== null && nameOfArray.test(name));
    if (isNamed && depth <= deepestArray && arrays.length < mostArrays) arrays.push(pointerOf(names as string[]));
  }

  #beginRecords(): void {
    this.#isFound = this.inRecords = this.pauses = true;
    if (!this.#next || !this.#records.names.every((name, i) => name === this.#next!.names[i])) return;
    const message = `etl.feeds.next, ${this.#next.pointer}, leads into the records`;
    throw new EtlError("next", message, "It must lead to what stands beside them: correct it.");
  }

  #beginRecord(depth: number): void {
    this.#isFound = this.pauses = true;
    this.#depth = depth;
    this.#pieces = [Uint8Array.of(openBrace)];
  }

  #keep(piece: Uint8Array): void {
    this.#pieces.push(piece);
    this.#size += piece.length;
    if (this.#size > longestRecord) {
      const message = `the object ${at(this.#records.pointer)} is longer than ${longestRecord >> 20} MiB`;
      throw new EtlError("record_too_long", message, "It would be one record: etl.feeds.records should name an array.");
    }
    if (this.open.length > this.#depth!) return;
    this.record = concat(this.#pieces);
    this.#depth = null;
  }

  #noRecords(): EtlError {
    const message = `what it has ${at(this.#records.pointer)} is neither an array nor an object`;
    return new EtlError("records", message, "Correct etl.feeds.records, or ask the partner.");
  }

  #noLink(what: string): EtlError {
    const message = `what it has ${at(this.#next!.pointer)}, for the URL of the next page, is ${what}`;
    return new EtlError(
      "next",
      message,
      "Correct etl.feeds.next: it must lead to a text, or to null on the last page.",
    );
  }

  #missing(): EtlError {
    const { name = "", records } = this.places;
    const message = records == null ? "it is an object, not an array of objects" : `it has nothing ${at(records)}`;
    return wrapped(message, this.arrays, name, records == null);
  }
}

/** The error for a document whose records are elsewhere: in one of these arrays, it may be. `isObject`: or it is one. */
export function wrapped(message: string, arrays: string[], feed: string, isObject: boolean): EtlError {
  const found = arrays.length > 0 ? `; it has arrays ${arrays.map(at).join(", ")}` : "";
  const ways = arrays.length > 0
    ? `Where the records are ${arrays.length > 1 ? `${at(arrays[0])}, say,` : "there,"} run: ${
      recordsFrom(arrays[0], feed)
    }.`
    : isObject
    ? `Where it is one record, run: ${recordsFrom("", feed)}.`
    : "Correct etl.feeds.records.";
  const others = isObject ? " Where it has an object a line, set etl.feeds.format to ndjson." : "";
  return new EtlError("records", message + found, ways + others);
}

function at(pointer: string): string {
  return pointer === "" ? "at its top" : `at ${pointer}`;
}
