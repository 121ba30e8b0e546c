/** A broken record as a row that COPY takes, and why it is broken; the merge makes a reject of it. */
import { looksLike } from "./encoding.ts";
import { type Shape, Stop } from "./scan/scanner.ts";

type Csv = Extract<Shape, { kind: "csv" }>;
type Reason = [sqlstate: string, reason: string];

/** The quote that COPY is told of for JSON: a byte that no JSON holds. */
const jsonQuote = "\x01";
const encoder = new TextEncoder(), decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/**
 * A row whose first cell holds the sentinel, five characters of SQLSTATE, the reason, a line end and the record as it came;
 * all others are null. `fields`: how many the record has, where their number is wrong. `readAs`: see Peekable.
 */
export function rowOfBroken(
  shape: Shape,
  sentinel: string,
  stop: Stop,
  record: Uint8Array,
  fields: number,
  readAs: string | null,
): Uint8Array {
  const raw = decoder.decode(record).replaceAll("\0", "\ufffd");
  const [sqlstate, reason] = shape.kind === "csv"
    ? reasonInCsv(shape, stop, record, fields, readAs)
    : reasonInJson(stop, record, readAs);
  const cell = `${sentinel}${sqlstate}${reason}\n${raw}`;
  if (shape.kind !== "csv") return encoder.encode(quoted(cell, jsonQuote) + "\n");
  return encoder.encode(quoted(cell, shape.quote) + shape.delimiter.repeat(shape.columns - 1) + shape.lineEnd);
}

function reasonInCsv(
  { columns }: Csv,
  stop: Stop,
  record: Uint8Array,
  fields: number,
  readAs: string | null,
): Reason {
  const words: Partial<Record<Stop, string>> = {
    [Stop.more]: "has a quote that is not closed",
    [Stop.blank]: "is a blank line",
    [Stop.wrongFields]: `has ${fieldsOf(fields)} where the header has ${columns}`,
    [Stop.strayQuote]: "has a quote within a field that is not quoted",
    [Stop.textAfterQuote]: "has text after a closing quote",
    [Stop.strayLineEnd]: "has half a line end within a field that is not quoted",
  };
  return words[stop] ? ["22P04", words[stop]] : noText(record, readAs);
}

function reasonInJson(stop: Stop, record: Uint8Array, readAs: string | null): Reason {
  const words: Partial<Record<Stop, string>> = {
    [Stop.blank]: "is empty: there is a comma too many",
    [Stop.endOfData]: "is not valid JSON",
    [Stop.badControl]: "is not valid JSON: it holds a control character, or a string that is not closed on its line",
    [Stop.tooDeep]: "is nested deeper than 512 levels",
  };
  return words[stop] ? ["22032", words[stop]] : noText(record, readAs);
}

function noText(record: Uint8Array, readAs: string | null): Reason {
  const fault = record.includes(0) ? "holds a NUL byte" : "is not UTF-8";
  if (readAs) return ["22021", record.includes(0) ? fault : `${fault}, nor ${readAs}`];
  const likely = looksLike(record);
  return ["22021", likely ? `${fault}: it looks like ${likely}, which etl.feeds.encoding must say` : fault];
}

function fieldsOf(fields: number): string {
  return fields === 1 ? "1 field" : `${fields} fields`;
}

export function quoted(text: string, quote: string): string {
  return quote + text.replaceAll(quote, quote + quote) + quote;
}
