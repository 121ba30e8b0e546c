/** How a file seems to be written, by its first bytes: what Postgres must know before it is given the file. */

import type { Dialect } from "../../format/csv.ts";
import { Document } from "../../format/document.ts";
import { looksLike } from "../../format/encoding.ts";
import { isVisible } from "../../format/peekable.ts";

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

/** What etl.feeds will say. */
type Said = Pick<Dialect, "delimiter" | "quote" | "escape">;

export interface Lines {
  delimiter: string;
  /** Lines before the header. */
  skip: number;
  /** Fields of most lines. */
  fields: number;
}

/** How the lines are split, and where the header line is: it has as many fields as most. Null where all have one. */
export function linesOf(text: string, isWhole: boolean, said: Said): Lines | null {
  const separator = /^"?sep=(.)"?\r*\n/i.exec(text);
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

function countFields(text: string, isWhole: boolean, dialect: Said & { delimiter: string }): Counted | null {
  const records = recordsIn(text.replaceAll(/\r+\n|\r/g, "\n"), dialect);
  if (!isWhole && records.length > 1) records.pop();
  const tally = new Map<number, number>();
  for (const { fields } of records) tally.set(fields, (tally.get(fields) ?? 0) + 1);
  tally.delete(0);
  tally.delete(1);
  const [most] = [...tally].sort(([, m], [, n]) => n - m);
  if (!most) return null;
  const [fields, agreeing] = most;
  const like = records.filter((record) => record.fields === fields);
  // A delimiter more at the end of each row is none of the header's. And where there is a number it is none.
  const isFirst = like.every(({ endsOpen }) => endsOpen) && records[0].fields === fields - 1;
  const isRecord = like[0].text.split(dialect.delimiter).some((cell) => /^ *"?-?[\d.,]*\d"? *$/.test(cell));
  return { delimiter: dialect.delimiter, fields, agreeing, skip: isFirst || isRecord ? 0 : like[0].line };
}

interface Line {
  text: string;
  /** Its number in the file, from 0. */
  line: number;
  fields: number;
  /** Whether nothing follows its last delimiter. */
  endsOpen: boolean;
}

/** Lines as CSV has them: one may go on within quotes. */
function recordsIn(text: string, { delimiter, quote, escape }: Said): Line[] {
  const records: Line[] = [];
  let line = 0, at = 0;
  while (at < text.length) {
    const record = { text: "", line, fields: text[at] === "\n" ? 0 : 1, endsOpen: false };
    const start = at;
    let isQuoted = text[at] === quote;
    for (at += Number(isQuoted); at < text.length && (isQuoted || text[at] !== "\n"); at++) {
      if (text[at] === "\n") line++;
      if (isQuoted && text[at] === escape && escape !== quote) at++;
      else if (isQuoted && text[at] === quote) {
        if (text[at + 1] === quote) at++;
        else isQuoted = false;
      } else if (!isQuoted && text[at] === delimiter) {
        record.fields++;
        isQuoted = text[at + 1] === quote;
        at += Number(isQuoted);
      }
    }
    record.text = text.slice(start, at);
    record.endsOpen = text[at - 1] === delimiter;
    records.push(record);
    at++;
    line++;
  }
  return records;
}
