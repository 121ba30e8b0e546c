/** How a file seems to be written, by its first bytes: what Postgres must know before it is given the file. */

import type { Dialect } from "../../format/csv.ts";
import { Document } from "../../format/document.ts";
import { looksLike } from "../../format/encoding.ts";
import { isVisible } from "../../format/peekable.ts";
import { pointerOf } from "../../format/pointer.ts";
import { nullWords } from "./profile.ts";

/** Bytes that are looked at. */
export const enough = 1 << 16;

const delimiters = [",", ";", "\t", "|"];

/** The encoding, where the bytes are not UTF-8 and look like another. */
export function encodingOf(first: Uint8Array): string | null {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(first, { stream: true });
    return first.includes(0) ? looksLike(first, true) : null;
  } catch {
    return looksLike(first, true);
  }
}

/** Where in a JSON document its records may be, the likeliest first; nothing where it is an array, or an object a line. */
export function recordsOf(first: Uint8Array): string[] {
  const bytes = first.subarray(first.findIndex(isVisible));
  if (bytes[0] !== "{".charCodeAt(0)) return [];
  const document = new Document({});
  try {
    document.read(bytes);
  } catch {
    // Behind an object another begins.
    return [];
  }
  const isOneLine = !new TextDecoder().decode(bytes).trim().includes("\n");
  return document.arrays.length > 0 ? document.arrays : document.isWhole && !isOneLine ? [""] : [];
}

const nameOfLink = /^(@odata\.)?next(_?(page|link|url|uri|href))*$/i;

/** A link in a JSON document to a further page, and the pointer to it; null where none is to be seen, as in a long one. */
export function linkIn(first: Uint8Array): { link: string; pointer: string } | null {
  const search = (value: unknown, names: string[]): { link: string; pointer: string } | null => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) return null;
    for (const [name, inner] of Object.entries(value)) {
      const here = [...names, name];
      const isLink = typeof inner === "string" && nameOfLink.test(name) && /^(https?:\/\/|[/?.])/i.test(inner);
      const found = isLink ? { link: inner, pointer: pointerOf(here) } : search(inner, here);
      if (found) return found;
    }
    return null;
  };
  try {
    return search(JSON.parse(new TextDecoder().decode(first)), []);
  } catch {
    return null;
  }
}

/** What etl.feeds will say. */
type Said = Pick<Dialect, "delimiter" | "quote" | "escape">;

export interface Lines {
  delimiter: string;
  /** Lines before the header, or before the records where there is none. */
  skip: number;
  /** Fields of most lines. */
  fields: number;
}

const lineEnds = /\r+\n|\r/g;
/** Excel's own. */
const separatorLine = /^"?sep=(.)"?\r*\n/i;

/** How the lines are split, and where the header line is: it has as many fields as most. Null where all have one. */
export function linesOf(text: string, isWhole: boolean, said: Said): Lines | null {
  const separator = separatorLine.exec(text);
  const told = separator?.[1] ?? said.delimiter;
  const candidates = told ? [told] : delimiters.filter((one) => one !== said.quote);
  const found = candidates.flatMap((delimiter) => countFields(text, isWhole, { ...said, delimiter }) ?? []);
  const [best = null] = found.sort((a, b) => b.agreeing - a.agreeing || b.fields - a.fields);
  return best && { ...best, skip: separator ? 0 : best.skip };
}

interface Counted extends Lines {
  /** Lines that have so many. */
  agreeing: number;
}

function countFields(text: string, isWhole: boolean, dialect: Dialected): Counted | null {
  const records = linesIn(text, isWhole, dialect);
  const tally = new Map<number, number>();
  for (const { cells } of records) tally.set(cells.length, (tally.get(cells.length) ?? 0) + 1);
  tally.delete(0);
  tally.delete(1);
  const [most] = [...tally].sort(([, m], [, n]) => n - m);
  if (!most) return null;
  const [fields, agreeing] = most;
  const like = records.filter((record) => record.cells.length === fields);
  const [first] = like;
  // A delimiter more at the end of each row is none of the header's.
  const isFirst = like.every(({ cells }) => cells.at(-1) === "") && records[0].cells.length === fields - 1;
  // A record behind a line of other fields is no header, and that line may be one.
  const isBehind = isRecord(like) && records.some(({ cells, line }) => line < first.line && cells.length > 1);
  return { delimiter: dialect.delimiter, fields, agreeing, skip: isFirst || isBehind ? 0 : first.line };
}

/** The fields of the line behind those to skip, where it looks like a record; null where it may well be a header. */
export function headless(text: string, isWhole: boolean, skip: number, said: Dialected): number | null {
  const rest = text.replaceAll(lineEnds, "\n").split("\n").slice(skip).join("\n").replace(separatorLine, "");
  const lines = linesIn(rest, isWhole, said).filter(({ cells }) => cells.length > 0);
  return isRecord(lines) ? lines[0].cells.length : null;
}

/**
 * Whether the first line holds values, as those below it do, rather than names. A name above numbers or days tells that
 * it is a header, whatever else is in it.
 */
function isRecord([first, ...others]: Line[]): boolean {
  if (!first) return false;
  const names = first.cells;
  const rows = others.filter(({ cells }) => String(cells) !== String(names));
  const alike = names.map((name, i) => {
    if (isNothing(name)) return null;
    const below = rows.map(({ cells }) => cells[i] ?? "").filter((cell) => !isNothing(cell));
    const kinds = new Set(below.map(kindOf));
    const kind = kindOf(name);
    if (kinds.size > 0 && !kinds.has("text") && !kinds.has(kind)) return false;
    const isValue = kind !== "text" && (kinds.size === 0 || kinds.has(kind));
    return isValue || below.includes(name) ? true : null;
  });
  return alike.includes(true) && !alike.includes(false);
}

const kinds: [kind: string, pattern: RegExp][] = [
  ["day", /^(\d{4}[-/.]\d\d?[-/.]\d\d?|\d\d?[-/.]\d\d?[-/.]\d{2,4})(?!\d)/],
  ["time", /^\d\d?:\d\d/],
  ["number", /^[-+]?[$€£]? ?[-+]?(\d[\d.,]*|[.,]\d+)([eE][-+]?\d+)? ?[%$€£]?$/],
  ["uuid", /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i],
  ["address", /^[^\s@]+@[^\s@]+\.[^\s@]+$|^https?:\/\//i],
];

function kindOf(cell: string): string {
  return kinds.find(([, pattern]) => pattern.test(cell))?.[0] ?? "text";
}

function isNothing(cell: string): boolean {
  return cell === "" || nullWords.includes(cell.toLowerCase());
}

interface Line {
  /** Without quotes and blanks around them. */
  cells: string[];
  /** Its number in the file, from 0. */
  line: number;
}

type Dialected = Said & { delimiter: string };

/** Lines as CSV has them: one may go on within quotes. */
function linesIn(text: string, isWhole: boolean, dialect: Dialected): Line[] {
  const lines = splitLines(text.replaceAll(lineEnds, "\n"), dialect);
  if (!isWhole && lines.length > 1) lines.pop();
  return lines;
}

function splitLines(text: string, { delimiter, quote, escape }: Dialected): Line[] {
  const lines: Line[] = [];
  let line = 0, at = 0;
  while (at < text.length) {
    const record: Line = { cells: [], line };
    let start = at;
    let isQuoted = text[at] === quote;
    const endCell = () => record.cells.push(bare(text.slice(start, at), quote));
    for (at += Number(isQuoted); at < text.length && (isQuoted || text[at] !== "\n"); at++) {
      if (text[at] === "\n") line++;
      if (isQuoted && text[at] === escape && escape !== quote) at++;
      else if (isQuoted && text[at] === quote) {
        if (text[at + 1] === quote) at++;
        else isQuoted = false;
      } else if (!isQuoted && text[at] === delimiter) {
        endCell();
        start = at + 1;
        isQuoted = text[start] === quote;
        at += Number(isQuoted);
      }
    }
    if (at > start || record.cells.length > 0) endCell();
    lines.push(record);
    at++;
    line++;
  }
  return lines;
}

function bare(cell: string, quote: string): string {
  const text = cell.trim();
  const isQuoted = text.length > 1 && text.startsWith(quote) && text.endsWith(quote);
  return isQuoted ? text.slice(1, -1).replaceAll(quote + quote, quote).trim() : text;
}
