/** What stands before the records of a CSV file: lines to skip, a line that names the delimiter, the header line. */
import { EtlError } from "../errors.ts";
import { mostColumns } from "../limits.ts";
import { askFor, looksLike } from "./encoding.ts";

const lineFeed = 0x0a, carriageReturn = 0x0d;
const delimiters = [",", ";", "\t", "|"];

/** How a feed's CSV is written, as etl.feeds says; `delimiter` and `header` null: as the file itself says. */
export interface Dialect {
  skip: number;
  header: string[] | null;
  delimiter: string | null;
  quote: string;
  escape: string | null;
}

export interface Header {
  names: string[];
  delimiter: string;
  /** The file's own line end, "\n", "\r\n" or "\r". */
  lineEnd: string;
  /** Bytes before the first record. */
  lead: number;
}

interface Line {
  end: number;
  /** Where the next line begins. */
  next: number;
}

/** The line that begins at `from`; null where it has not ended yet, as far as can be told. `quoting`: quotes may hold line ends. */
function lineAt(bytes: Uint8Array, from: number, quoting?: Dialect): Line | null {
  const quote = quoting?.quote.charCodeAt(0), escape = quoting?.escape?.charCodeAt(0);
  let quoted = false;
  for (let end = from; end < bytes.length; end++) {
    if (quoted && bytes[end] === escape && escape !== quote) end++;
    else if (bytes[end] === quote) quoted = !quoted;
    else if (!quoted && (bytes[end] === lineFeed || bytes[end] === carriageReturn)) {
      // "\r\r\n" is one line end, too: what a text file becomes that is written as text twice.
      let at = end;
      while (bytes[at] === carriageReturn) at++;
      if (at === bytes.length) return null;
      return { end, next: bytes[at] === lineFeed ? at + 1 : end + 1 };
    }
  }
  return null;
}

/** Where the file begins behind the lines to skip; -1 where they have not ended yet. */
export function skipLines(bytes: Uint8Array, lines: number): number {
  let at = 0;
  for (let line = 0; line < lines; line++) {
    const found = lineAt(bytes, at);
    if (!found) return -1;
    at = found.next;
  }
  return at;
}

/** Where the lines to skip end, at the end of the file: its last line may lack a line end. */
export function skipAll(bytes: Uint8Array, lines: number): number {
  const at = skipLines(bytes, lines);
  if (at >= 0) return at;
  const hint = "Correct etl.feeds.skip, or ask the partner whether the export failed.";
  throw new EtlError("header", `it has no more than the ${lines} lines that are to be skipped`, hint);
}

/** Whether all that stands before the records is there. */
export function hasHeader(bytes: Uint8Array, dialect: Dialect): boolean {
  const start = skipLines(bytes, dialect.skip);
  if (start < 0) return false;
  return lineAt(bytes, separatorLine(bytes, start)?.next ?? start, dialect) !== null;
}

/**
 * Reads what stands before the records. Where no delimiter is said, the candidate is taken that splits the line most often.
 * `readAs`: see Peekable.
 */
export function readHeader(bytes: Uint8Array, dialect: Dialect, readAs: string | null = null): Header {
  const start = skipAll(bytes, dialect.skip);
  const separator = separatorLine(bytes, start);
  const first = separator?.next ?? start;
  // A first record may have a quote that does not close.
  const line = lineAt(bytes, first, dialect) ?? (dialect.header && lineAt(bytes, first));
  const text = decode(bytes.subarray(first, line?.end), dialect.header !== null, readAs).replace(/\r+$/, "");
  const delimiter = dialect.delimiter ?? separator?.delimiter ?? guess(text, dialect);
  const names = dialect.header ?? splitLine(text, { ...dialect, delimiter });
  if (!names) throw badHeader("a quote in its header is not closed, or does not enclose a whole name");
  if (names.length > mostColumns) {
    throw badHeader(`its header names ${names.length} columns; Postgres takes ${mostColumns}`);
  }
  if (names.length === 1 && names[0].trim() === "") {
    throw badHeader("its header line is blank", "Where the header stands further down, say so in etl.feeds.skip.");
  }
  const bytesOfEnd = bytes.subarray(line?.end ?? bytes.length, line?.next);
  const lineEnd = bytesOfEnd.length > 1 ? "\r\n" : bytesOfEnd[0] === carriageReturn ? "\r" : "\n";
  return { names, delimiter, lineEnd, lead: dialect.header ? first : line?.next ?? bytes.length };
}

/** Whether the first record is there as well. */
export function hasRecord(bytes: Uint8Array, { lead }: Header, dialect: Dialect): boolean {
  return lineAt(bytes, lead, dialect) !== null;
}

/** The header without those of the empty names at its end for which the first record has no field. */
export function fitted(header: Header, bytes: Uint8Array, dialect: Dialect): Header {
  const { names, delimiter, lead } = header;
  const record = decode(bytes.subarray(lead, lineAt(bytes, lead, dialect)?.end), true, null).replace(/\r+$/, "");
  const fields = splitLine(record, { ...dialect, delimiter })?.length ?? names.length;
  return record === "" || fields < trimmed(names).length ? header : { ...header, names: names.slice(0, fields) };
}

/** The names without the empty ones at their end. */
export function trimmed(names: string[]): string[] {
  return names.slice(0, names.findLastIndex((name) => name.trim() !== "") + 1);
}

/** Excel's own line, "sep=;". */
function separatorLine(bytes: Uint8Array, start: number): { delimiter: string; next: number } | null {
  const found = /^"?sep=([^\r\n"\x80-\xff])"?(?:\r*\n|\r(?=[^\r\n]))/i.exec(latin1(bytes.subarray(start, start + 99)));
  return found && { delimiter: found[1], next: start + found[0].length };
}

function latin1(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes);
}

/** The delimiter, by the first line. */
function guess(line: string, dialect: Dialect): string {
  const candidates = delimiters.filter((one) => one !== dialect.quote && one !== dialect.escape);
  const splits = (delimiter: string) => splitLine(line, { ...dialect, delimiter })?.length ?? 0;
  return candidates.find((one) => splits(one) === dialect.header?.length) ??
    candidates.reduce((best, other) => splits(other) > splits(best) ? other : best);
}

/** Null where the quotes do not fit the delimiter. */
function splitLine(line: string, { delimiter, quote, escape }: Dialect & { delimiter: string }): string[] | null {
  const [d, q, e] = [delimiter, quote, escape ?? quote].map((byte) =>
    `\\x${byte.charCodeAt(0).toString(16).padStart(2, "0")}`
  );
  const blanks = `[${[" ", "\\t"].filter((blank) => blank !== (delimiter === "\t" ? "\\t" : delimiter)).join("")}]*`;
  const escapes = e === q ? `${q}${q}` : `${q}${q}|${e}[^]`;
  const field = new RegExp(
    `(?:${blanks}${q}([^${q}${e}]*(?:(?:${escapes})[^${q}${e}]*)*)${q}${blanks}|([^${q}${d}]*))(${d}|$)`,
    "y",
  );
  const doubled = new RegExp(`[${q}${e}]([${q}${e}])`, "g");
  const names: string[] = [];
  for (let more = true; more;) {
    const found = field.exec(line);
    if (!found) return null;
    const [, quoted, plain, end] = found;
    names.push(quoted?.replace(doubled, "$1") ?? plain);
    more = end !== "";
  }
  return names;
}

/** isRecord: what is wrong with it is not the header's fault. */
function decode(bytes: Uint8Array, isRecord: boolean, readAs: string | null): string {
  const isText = !bytes.includes(0);
  try {
    if (isText || isRecord) return new TextDecoder("utf-8", { fatal: !isRecord, ignoreBOM: true }).decode(bytes);
  } catch { /* told below */ }
  throw new EtlError(
    "encoding",
    isText ? `its header line is not ${readAs ?? "UTF-8"}` : "its header line holds a NUL",
    readAs
      ? "Correct etl.feeds.encoding, or ask the partner to have the export mended."
      : askFor(looksLike(bytes, true)),
  );
}

function badHeader(
  message: string,
  hint = "Ask the partner for a file with one header line; where it has none, name the columns in etl.feeds.header.",
): EtlError {
  return new EtlError("header", message, hint);
}
