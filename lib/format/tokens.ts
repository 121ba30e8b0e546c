/** Reads JSON byte by byte, by the grammar of RFC 8259, in pieces of any length; holds nothing but the open brackets. */
import { EtlError } from "../errors.ts";

/** What may come next; those from `escape` on stand within a value. */
enum State {
  value,
  valueOrEnd,
  key,
  keyOrEnd,
  colon,
  commaOrEnd,
  nothing,
  string,
  escape,
  hex,
  word,
  // A number, from `minus` on.
  minus,
  zero,
  digits,
  point,
  fraction,
  exponent,
  signedExponent,
  exponentDigits,
}

const space = 0x20, quote = 0x22, comma = 0x2c, minus = 0x2d, dot = 0x2e, zero = 0x30, nine = 0x39, colon = 0x3a;
const backslash = 0x5c, letterE = 0x65, letterU = 0x75;
export const openBracket = 0x5b, closeBracket = 0x5d, openBrace = 0x7b, closeBrace = 0x7d;
const blanks = new Set([space, 0x09, 0x0a, 0x0d]);
const escapes = new Set(codes('"\\/bfnrt')), hexDigits = new Set(codes("0123456789abcdefABCDEF"));
const words = new Map(["true", "false", "null"].map((word) => [word.charCodeAt(0), codes(word)]));
const deepest = 512;

function codes(text: string): number[] {
  return Array.from(text, (letter) => letter.charCodeAt(0));
}

export abstract class Tokens {
  /** What opened each object and array that is open. */
  protected readonly open: number[] = [];
  /** To be set where the bytes that follow are not to be read on at once. */
  protected pauses = false;
  #state = State.value;
  /** The string that is being read: whether it is a key, and its bytes, where they matter. */
  #isKey = false;
  #most = 0;
  #kept: number[] = [];
  /** What is left of a word, and the digits that are left of an escape. */
  #rest: number[] = [];
  #digits = 0;
  #before = 0;

  /** A value begins, with this byte; an object or array is not open yet. */
  protected abstract beginValue(byte: number): void;
  /** An object or array has ended, and is open no more. */
  protected abstract endValue(): void;
  /** How many bytes of the string that begins are wanted. */
  protected abstract wanted(isKey: boolean): number;
  /** A string has ended, of which bytes were wanted; null where it has more of them. */
  protected abstract takeString(text: string | null, isKey: boolean): void;

  /** Whether one whole value has been read. */
  get isWhole(): boolean {
    return this.#state === State.nothing;
  }

  /** Bytes read so far. */
  get bytes(): number {
    return this.#before;
  }

  /** Reads on until it pauses, or the bytes end; returns how many it took. */
  read(bytes: Uint8Array): number {
    let at = 0;
    for (this.pauses = false; at < bytes.length && !this.pauses;) {
      if (this.#state === State.string) at = this.#readString(bytes, at);
      else if (this.#readByte(bytes[at])) at++;
      else throw badJson(`it is not valid JSON at byte ${this.#before + at + 1}`);
    }
    this.#before += at;
    return at;
  }

  /** So many bytes have been read elsewhere, to the end of the innermost object or array. */
  protected skip(bytes: number): void {
    this.#before += bytes;
    this.#close();
  }

  #close(): true {
    this.open.pop();
    this.#afterValue();
    this.endValue();
    return true;
  }

  #afterValue(): void {
    this.#state = this.open.length > 0 ? State.commaOrEnd : State.nothing;
  }

  #readByte(byte: number): boolean {
    const state = this.#state;
    if (state >= State.minus) {
      const next = afterDigit(state, byte);
      if (next === null) return false;
      if (next !== undefined) {
        this.#state = next;
        return true;
      }
      this.#afterValue();
      return this.#readByte(byte);
    }
    if (state >= State.escape) return this.#readWithin(byte);
    return blanks.has(byte) || this.#readToken(byte);
  }

  /** A byte that is no blank, between values; false where it may not be there. */
  #readToken(byte: number): boolean {
    const isArray = this.open.at(-1) === openBracket;
    switch (this.#state) {
      case State.value:
        return this.#begin(byte);
      case State.valueOrEnd:
        return byte === closeBracket ? this.#close() : this.#begin(byte);
      case State.keyOrEnd:
        return byte === closeBrace ? this.#close() : this.#beginString(byte, true);
      case State.key:
        return this.#beginString(byte, true);
      case State.colon:
        this.#state = State.value;
        return byte === colon;
      case State.commaOrEnd:
        if (byte !== comma) return byte === (isArray ? closeBracket : closeBrace) && this.#close();
        this.#state = isArray ? State.value : State.key;
        return true;
      default:
        // Control characters behind the end do no harm.
        if (byte > space) throw badJson("something follows the end of the array or object");
        return true;
    }
  }

  #begin(byte: number): boolean {
    const isOpening = byte === openBracket || byte === openBrace;
    const word = words.get(byte);
    if (!isOpening && !word && byte !== quote && byte !== minus && !isDigit(byte)) return false;
    if (isOpening && this.open.length === deepest) throw badJson(`it is nested deeper than ${deepest} levels`);
    this.beginValue(byte);
    if (isOpening) {
      this.open.push(byte);
      this.#state = byte === openBracket ? State.valueOrEnd : State.keyOrEnd;
    } else if (word) {
      this.#rest = word.slice(1);
      this.#state = State.word;
    } else if (byte === quote) this.#beginString(byte, false);
    else this.#state = byte === minus ? State.minus : byte === zero ? State.zero : State.digits;
    return true;
  }

  #beginString(byte: number, isKey: boolean): boolean {
    this.#isKey = isKey;
    this.#most = this.wanted(isKey);
    this.#kept = [];
    this.#state = State.string;
    return byte === quote;
  }

  /** Reads to the string's end, or to an escape; returns where it stopped. */
  #readString(bytes: Uint8Array, from: number): number {
    let at = from;
    while (at < bytes.length && bytes[at] >= space && bytes[at] !== quote && bytes[at] !== backslash) at++;
    for (let i = from; i < at && this.#kept.length < this.#most; i++) this.#kept.push(bytes[i]);
    if (at === bytes.length) return at;
    if (bytes[at] === backslash) {
      this.#keep(backslash);
      this.#state = State.escape;
    } else if (bytes[at] === quote) this.#endString();
    else throw badJson(`it has a control character in a string, at byte ${this.#before + at + 1}`);
    return at + 1;
  }

  #endString(): void {
    if (this.#isKey) this.#state = State.colon;
    else this.#afterValue();
    if (this.#most === 0) return;
    const isCut = this.#kept.length === this.#most;
    const text = isCut ? null : JSON.parse(`"${new TextDecoder().decode(Uint8Array.from(this.#kept))}"`);
    this.takeString(text, this.#isKey);
  }

  #keep(byte: number): void {
    if (this.#kept.length < this.#most) this.#kept.push(byte);
  }

  /** A byte of an escape or a word. */
  #readWithin(byte: number): boolean {
    if (this.#state === State.word) {
      if (this.#rest.shift() !== byte) return false;
      if (this.#rest.length === 0) this.#afterValue();
      return true;
    }
    this.#keep(byte);
    if (this.#state === State.hex) {
      if (--this.#digits === 0) this.#state = State.string;
      return hexDigits.has(byte);
    }
    this.#digits = 4;
    this.#state = byte === letterU ? State.hex : State.string;
    return byte === letterU || escapes.has(byte);
  }
}

/** What a byte makes of a number; undefined where the number has ended before it, null where it may not. */
function afterDigit(state: State, byte: number): State | undefined | null {
  const digit = isDigit(byte), isExponent = (byte | 0x20) === letterE;
  switch (state) {
    case State.minus:
      return byte === zero ? State.zero : digit ? State.digits : null;
    case State.zero:
      return byte === dot ? State.point : isExponent ? State.exponent : digit ? null : undefined;
    case State.digits:
      return digit ? state : byte === dot ? State.point : isExponent ? State.exponent : undefined;
    case State.point:
      return digit ? State.fraction : null;
    case State.fraction:
      return digit ? state : isExponent ? State.exponent : undefined;
    case State.exponent:
      return digit ? State.exponentDigits : byte === minus || byte === 0x2b ? State.signedExponent : null;
    case State.signedExponent:
      return digit ? State.exponentDigits : null;
    default:
      return digit ? state : undefined;
  }
}

function isDigit(byte: number): boolean {
  return byte >= zero && byte <= nine;
}

export function badJson(message: string, hint = "Ask the partner for valid JSON."): EtlError {
  return new EtlError("json", message, hint);
}
