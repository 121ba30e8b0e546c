/**
 * A feed's bytes -> lines that COPY takes, a row for each record.
 *
 * A broken record, over which COPY would stumble and fail the whole feed, travels as a row of its own: see broken.ts. All
 * other bytes stay as they are.
 */
import { asEtlError, EtlError } from "../errors.ts";
import { hopelessRecords, longestRecord } from "../limits.ts";
import { askFor, looksLike } from "./encoding.ts";
import { quoted, rowOfBroken } from "./broken.ts";
import { Document, type Places } from "./document.ts";
import { concat } from "./peekable.ts";
import { Scanner, type Shape, Stop } from "./scan/scanner.ts";

const batchSize = 1 << 19;
/** Kinds of lines, one after the other, that wait to be known for the file's end, and their bytes. */
const mostWaiting = 10_000, mostWaitingBytes = 1 << 20;
const lineFeed = 0x0a, carriageReturn = 0x0d, space = 0x20;
const encoder = new TextEncoder();

export interface Page {
  /** Bytes before its first record. */
  lead: number;
  chunks: AsyncIterable<Uint8Array>;
}

/** The page that follows, by the link in the document before it, if it has one; null where none does. */
export type PageAfter = (link: string | null) => Promise<Page | null>;

export class Records {
  /** What the cell of a broken record begins with: random, so that no record can look like one. */
  readonly sentinel = crypto.randomUUID();
  broken = 0;
  /** Those of them that are no text in UTF-8, and what the last one looks like. */
  #noText = 0;
  #encoding: string | null = null;
  #respelled = 0;
  /** Lines with nothing in them, as they are not passed on yet, and how many of each: at the end of a file they are none. */
  #waiting: { line: Uint8Array; count: number }[] = [];
  #waitingBytes = 0;
  #scanner: Scanner;
  #lineEnd: Uint8Array;
  /** What is around the elements of an array; the records and bytes before them. */
  #document: Document | null = null;
  #before = { records: 0, bytes: 0 };

  /**
   * `lead`: bytes before the first record of a CSV. `rejectLimit`: share of the records that may be broken; of the first
   * 100,000, half may be in any case. `places`: where in a JSON document the records are. `readAs`: the encoding of which
   * the text was, if it is not UTF-8.
   */
  constructor(
    private readonly shape: Shape,
    private readonly lead = 0,
    private readonly rejectLimit = 0,
    private readonly places: Places = {},
    private readonly readAs: string | null = null,
  ) {
    this.#scanner = new Scanner(shape);
    this.#lineEnd = encoder.encode(shape.kind === "csv" ? shape.lineEnd : "\n");
  }

  /** Records passed on so far, a row each, the broken ones included. */
  get count(): number {
    return this.#scanner.records + this.#respelled + this.broken;
  }

  /** The checksum of all that was read, with the lead. */
  get hash(): string {
    return this.#scanner.hash;
  }

  /**
   * Passes the records on, of this page and of those that `pageAfter` finds. A page's first chunk holds its lead. A chunk
   * is valid until the next is asked for.
   */
  async *from(chunks: AsyncIterable<Uint8Array>, pageAfter?: PageAfter): AsyncGenerator<Uint8Array> {
    yield* this.#fromPage({ chunks, lead: this.lead });
    for (let number = 2; pageAfter; number++) {
      try {
        const page = await pageAfter(this.#document?.next ?? null);
        if (!page) return;
        yield* this.#fromPage(page);
      } catch (error) {
        throw asEtlError(error, `page ${number}`);
      }
    }
  }

  async *#fromPage({ chunks, lead }: Page): AsyncGenerator<Uint8Array> {
    this.#document = this.shape.kind === "array" ? new Document(this.places) : null;
    this.#waiting = [];
    for await (const chunk of chunks) {
      this.#scanner.put(chunk);
      this.#scanner.take(lead);
      lead = 0;
      yield* batches(this.#take(false));
    }
    const last = this.#scanner.rest.at(-1);
    if (last !== undefined && !this.#document) {
      this.#scanner.add(last === carriageReturn ? this.#lineEnd.slice(-1) : this.#lineEnd);
    }
    yield* batches(this.#take(true));
    this.#document?.end();
  }

  /** Takes from the scanner what can be taken. */
  *#take(isEnd: boolean): Generator<Uint8Array> {
    const scanner = this.#scanner;
    while (scanner.rest.length > 0) {
      if (this.#document?.inRecords === false) {
        yield* this.#takeAround(this.#document);
        continue;
      }
      const { good, stop, length } = scanner.scan();
      if (good.length > 0) yield* this.#pass(good);
      if (stop === Stop.respelled) scanner.take(length);
      else if (stop !== Stop.more) yield* this.#mend(stop, scanner.take(length));
      if (scanner.arrayClosed) this.#document?.leave(scanner.taken - this.#before.bytes);
      if (stop !== Stop.more || scanner.arrayClosed) continue;
      const isTooLong = scanner.rest.length > longestRecord;
      if (scanner.rest.length === 0) break;
      else if (this.shape.kind === "csv" && (isEnd || isTooLong)) yield* this.#blameFirstLine();
      else if (isTooLong) throw this.#tooLong();
      else break;
    }
  }

  /** Takes what is before or after the records of a document, or its only record. */
  *#takeAround(document: Document): Generator<Uint8Array> {
    this.#scanner.take(document.read(this.#scanner.rest));
    if (document.inRecords) {
      this.#scanner.openArray();
      this.#before = { records: this.count, bytes: this.#scanner.taken };
    }
    const { record } = document;
    if (!record) return;
    document.record = null;
    if (!isText(record)) return yield this.#broken(Stop.notText, record);
    this.#respelled++;
    // Its line ends stand between tokens.
    for (const [i, byte] of record.entries()) if (byte === lineFeed || byte === carriageReturn) record[i] = space;
    yield concat([record, this.#lineEnd]);
  }

  /** Passes records on, after the lines that wait before them. */
  *#pass(records: Uint8Array): Generator<Uint8Array> {
    yield* this.#passWaiting();
    yield records;
  }

  *#passWaiting(): Generator<Uint8Array> {
    this.#waitingBytes = 0;
    for (const { line, count } of this.#waiting.splice(0)) {
      const { broken } = this, row = this.#ofNothing(line);
      if (this.broken > broken) {
        yield row;
        for (let i = 1; i < count; i++) yield this.#ofNothing(line);
        continue;
      }
      this.#respelled += count - 1;
      const most = Math.min(count, Math.ceil(batchSize / row.length)), rows = new Uint8Array(most * row.length);
      for (let i = 0; i < most; i++) rows.set(row, i * row.length);
      for (let left = count; left > 0; left -= most) yield rows.slice(0, Math.min(left, most) * row.length);
    }
  }

  /** So many lines that may be the last ones of the file. */
  *#wait(line: Uint8Array, count: number): Generator<Uint8Array> {
    const last = this.#waiting.at(-1);
    if (last?.line.length === line.length && line.every((byte, i) => byte === last.line[i])) {
      last.count += count;
      return;
    }
    if (this.#waiting.length === mostWaiting || this.#waitingBytes > mostWaitingBytes) yield* this.#passWaiting();
    this.#waiting.push({ line: line.slice(), count });
    this.#waitingBytes += line.length;
  }

  /** A line with nothing in it as a row: among records it is read like them. */
  #ofNothing(line: Uint8Array): Uint8Array {
    const { shape } = this;
    if (shape.kind !== "csv") return this.#broken(Stop.badControl, line);
    if (line.length === 0) return this.#broken(Stop.blank, line);
    const delimiter = shape.delimiter.charCodeAt(0);
    const fields = line.filter((byte) => byte === delimiter).length + 1, extra = Math.max(fields - shape.columns, 0);
    const isExtra = extra < line.length && line.subarray(line.length - extra).every((byte) => byte === delimiter);
    if (isExtra ? fields < shape.columns : extra > 0) return this.#broken(Stop.wrongFields, line, fields);
    const record = line.subarray(0, line.length - extra);
    if (record.includes(0)) return this.#broken(Stop.notText, line);
    this.#respelled++;
    return concat([record, this.#lineEnd]);
  }

  get #isEmptyArray(): boolean {
    return this.#scanner.arrayClosed && this.count === this.#before.records;
  }

  /** Passes on a line that the scanner stopped at. */
  *#mend(stop: Stop, line: Uint8Array): Generator<Uint8Array> {
    const { shape } = this, { kind } = shape;
    const record = kind === "array" ? line.subarray(0, -1) : withoutLineEnd(line);
    if (kind === "csv" && (stop === Stop.otherLineEnd || stop === Stop.endOfData)) {
      this.#respelled++;
      const spelled = stop === Stop.endOfData ? encoder.encode(quoted("\\.", shape.quote)) : record;
      yield* this.#pass(concat([spelled, this.#lineEnd]));
    } else if (stop === Stop.blank && kind === "csv") {
      yield* this.#wait(firstOf(line, this.#scanner.blanks), this.#scanner.blanks);
    } else if (stop === Stop.badControl && kind === "lines" && record.every((byte) => byte <= space)) {
      yield* this.#wait(record, 1);
    } else if (stop === Stop.blank && (kind === "lines" || this.#isEmptyArray)) return;
    else yield* this.#pass(this.#broken(stop, record));
  }

  /** A quote opens and does not close: the next line may begin a record. */
  *#blameFirstLine(): Generator<Uint8Array> {
    const end = this.#scanner.rest.indexOf(this.#lineEnd.at(-1)!) + 1;
    if (end === 0) throw this.#tooLong();
    yield* this.#pass(this.#broken(Stop.more, withoutLineEnd(this.#scanner.take(end))));
  }

  #broken(stop: Stop, record: Uint8Array, fields = this.#scanner.fields): Uint8Array {
    if (stop === Stop.notText) {
      this.#noText++;
      this.#encoding = this.readAs ? null : looksLike(record);
    }
    if (++this.broken >= hopelessRecords && this.broken > this.count * Math.max(this.rejectLimit, 0.5)) {
      throw this.#hopeless();
    }
    return rowOfBroken(this.shape, this.sentinel, stop, record, fields, this.readAs);
  }

  #hopeless(): EtlError {
    const message = `${this.broken} of its first ${this.count} records cannot be read`;
    const hint = this.#noText > this.broken / 2
      ? `${askFor(this.#encoding)} deno task rejects shows the records, once reject_limit is 1.`
      : "Check the feed's format and delimiter in etl.feeds: deno task rejects shows why, once reject_limit is 1.";
    return new EtlError("unreadable", message, hint);
  }

  #tooLong(): EtlError {
    const message = `record ${this.count + 1} is longer than ${longestRecord >> 20} MiB`;
    const hint =
      "A quote or a bracket may not be closed in it. Check etl.feeds.format, or ask the partner to mend the file.";
    return new EtlError("record_too_long", message, hint);
  }
}

/** The first of so many lines with nothing in them, without its line end: they are the same, or blank and so without anything. */
function firstOf(lines: Uint8Array, count: number): Uint8Array {
  const isBlank = lines[0] === lineFeed || lines[0] === carriageReturn;
  return isBlank ? new Uint8Array() : withoutLineEnd(lines.subarray(0, lines.length / count));
}

function withoutLineEnd(line: Uint8Array): Uint8Array {
  let end = line.length - 1;
  if (line[end] === lineFeed) { while (line[end - 1] === carriageReturn) end--; }
  return line.subarray(0, end);
}

/** Joins small pieces: each that goes to COPY costs a system call or two. */
function* batches(pieces: Iterable<Uint8Array>): Generator<Uint8Array> {
  let batch: Uint8Array[] = [], size = 0;
  for (const piece of pieces) {
    batch.push(piece);
    size += piece.length;
    if (size < batchSize) continue;
    yield concat(batch);
    batch = [];
    size = 0;
  }
  if (size > 0) yield concat(batch);
}

function isText(bytes: Uint8Array): boolean {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes) !== null;
  } catch {
    return false;
  }
}
