/** How a file seems to be written, by its first bytes: what Postgres must know before it is given the file. */

/** Bytes that are looked at. */
export const enough = 1 << 16;

const delimiters = [",", ";", "\t", "|"];

/** The encoding, where the bytes are not UTF-8. */
export function encodingOf(first: Uint8Array): string | null {
  if (first.includes(0)) {
    const odd = first.filter((byte, i) => i % 2 === 1 && byte === 0).length;
    return odd * 2 > first.filter((byte) => byte === 0).length ? "utf-16le" : "utf-16be";
  }
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(first, { stream: true });
    return null;
  } catch {
    return "windows-1252";
  }
}

export interface Lines {
  delimiter: string;
  /** Lines before the header. */
  skip: number;
  /** Fields of most lines. */
  fields: number;
}

/** The lines before the header line, which has as many fields as most after it; null where it has one field or few lines. */
export function linesOf(text: string, isWhole: boolean, quote: string, said: string | null): Lines | null {
  const separator = /^"?sep=(.)"?\r*\n/i.exec(text);
  const candidates = separator ? [separator[1]] : said ? [said] : delimiters.filter((one) => one !== quote);
  const found = candidates.map((delimiter) => countFields(text, isWhole, quote, delimiter)).filter((lines) => lines);
  const best = found.toSorted((a, b) => b!.agreeing - a!.agreeing || b!.fields - a!.fields)[0];
  if (!best) return null;
  const { delimiter, fields, skip } = best;
  return { delimiter, fields, skip: separator ? 0 : skip };
}

interface Counted extends Lines {
  /** Lines that have so many. */
  agreeing: number;
}

function countFields(text: string, isWhole: boolean, quote: string, delimiter: string): Counted | null {
  const records = recordsIn(text.replaceAll(/\r+\n|\r/g, "\n"), quote, delimiter);
  if (!isWhole && records.length > 1) records.pop();
  const tally = new Map<number, number>();
  for (const { fields } of records) tally.set(fields, (tally.get(fields) ?? 0) + 1);
  tally.delete(0);
  tally.delete(1);
  const [most] = [...tally].sort(([a, m], [b, n]) => n - m || b - a);
  if (!most) return null;
  const [fields, agreeing] = most;
  const like = records.filter((record) => record.fields === fields);
  // A delimiter more at the end of each row is none of the header's.
  const isHeader = like.every(({ endsOpen }) => endsOpen) && records[0].fields === fields - 1;
  return { delimiter, fields, agreeing, skip: isHeader ? 0 : like[0].line };
}

interface Line {
  /** Its number in the file, from 0. */
  line: number;
  fields: number;
  /** Whether nothing follows its last delimiter. */
  endsOpen: boolean;
}

/** Lines as CSV has them: one may go on within quotes. */
function recordsIn(text: string, quote: string, delimiter: string): Line[] {
  const records: Line[] = [];
  let line = 0, at = 0;
  while (at < text.length) {
    const record = { line, fields: text[at] === "\n" ? 0 : 1, endsOpen: false };
    let isQuoted = text[at] === quote;
    for (at += Number(isQuoted); at < text.length && (isQuoted || text[at] !== "\n"); at++) {
      if (text[at] === "\n") line++;
      if (isQuoted && text[at] === quote) {
        if (text[at + 1] === quote) at++;
        else isQuoted = false;
      } else if (!isQuoted && text[at] === delimiter) {
        record.fields++;
        isQuoted = text[at + 1] === quote;
        at += Number(isQuoted);
      }
    }
    record.endsOpen = text[at - 1] === delimiter;
    records.push(record);
    at++;
    line++;
  }
  return records;
}
