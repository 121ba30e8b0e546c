/** The header line of a CSV file. */
import { EtlError } from "../errors.ts";
import { mostColumns } from "../limits.ts";

const quote = 0x22, lineFeed = 0x0a, carriageReturn = 0x0d;
const delimiters = [",", ";", "\t", "|"];

export interface Header {
  names: string[];
  delimiter: string;
  /** The file's own line end, "\n", "\r\n" or "\r". */
  lineEnd: string;
}

/** Where the first line ends that is not inside quotes; -1 where it has not ended yet. */
export function endOfHeader(bytes: Uint8Array): number {
  let quoted = false;
  for (let i = 0; i < bytes.length; i++) {
    if (bytes[i] === quote) quoted = !quoted;
    else if (!quoted && (bytes[i] === lineFeed || bytes[i] === carriageReturn)) return i;
  }
  return -1;
}

/** Reads the header line at the start of `bytes`; `delimiter` null takes the candidate that splits it most often. */
export function readHeader(bytes: Uint8Array, delimiter: string | null): Header {
  const end = endOfHeader(bytes);
  const line = decode(bytes.subarray(0, end < 0 ? bytes.length : end));
  const splits = (candidate: string) => splitLine(line, candidate)?.length ?? 0;
  const chosen = delimiter ?? delimiters.reduce((best, other) => splits(other) > splits(best) ? other : best);
  const names = splitLine(line, chosen);
  if (!names) throw badHeader("a quote in its header is not closed, or does not enclose a whole name");
  if (names.length > mostColumns) {
    throw badHeader(`its header names ${names.length} columns; Postgres takes ${mostColumns}`);
  }
  const blank = names.findIndex((name) => name.trim() === "");
  if (blank >= 0) {
    throw badHeader(names.length === 1 ? "its header line is blank" : `column ${blank + 1} of its header has no name`);
  }
  const twice = names.find((name, i) => names.indexOf(name) < i);
  if (twice !== undefined) throw badHeader(`its header names the column "${twice}" twice`);
  const lineEnd = bytes[end] !== carriageReturn ? "\n" : bytes[end + 1] === lineFeed ? "\r\n" : "\r";
  return { names, delimiter: chosen, lineEnd };
}

/** Null where the quotes do not fit the delimiter. */
function splitLine(line: string, delimiter: string): string[] | null {
  const field = new RegExp(`(?:"([^"]*(?:""[^"]*)*)"|([^"${delimiter}]*))([${delimiter}]|$)`, "y");
  const names: string[] = [];
  for (let more = true; more;) {
    const found = field.exec(line);
    if (!found) return null;
    const [, quoted, plain, end] = found;
    names.push(quoted?.replaceAll('""', '"') ?? plain);
    more = end !== "";
  }
  return names;
}

function decode(bytes: Uint8Array): string {
  const hint = "Say the feed's encoding in etl.feeds.encoding.";
  if (bytes.includes(0)) throw new EtlError("encoding", "its header line holds a NUL: it may be UTF-16", hint);
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new EtlError("encoding", "its header line is not UTF-8", hint, { cause });
  }
}

function badHeader(message: string): EtlError {
  return new EtlError("header", message, "Ask the partner for a file with one header line of distinct names.");
}
