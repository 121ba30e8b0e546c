/** Whether a text that begins with a brace has an object a line, or is one document of several lines. */
import type { EtlError } from "../errors.ts";
import { longestRecord } from "../limits.ts";
import { Document, type Places } from "./document.ts";
import { isVisible, type Peekable } from "./peekable.ts";

const lineFeed = 0x0a;

/** Bytes behind the first line that show whether they go with it. */
const enough = 1 << 16;

export interface Lines {
  format: "json" | "ndjson";
  /** What has been read of it, where it is one document; of one line with one object: where it may be. */
  document: Document | null;
}

export async function linesOrDocument(text: Peekable, start: number, places: Places): Promise<Lines> {
  const endOfLine = (first: Uint8Array) => first.indexOf(lineFeed, start);
  const first = await text.peek((first) => first.length > longestRecord || endOfLine(first) >= 0);
  const end = endOfLine(first) < 0 ? first.length : endOfLine(first);
  const document = new Document(places);
  try {
    document.read(first.subarray(start, end));
    if (!document.isWhole) {
      // Of lines, the next would begin with a brace, which does not go with what is open.
      document.read((await text.peek((first) => first.length >= end + enough)).subarray(end, end + enough));
      return { format: "json", document };
    }
  } catch (error) {
    return (error as EtlError).code === "records" ? { format: "json", document } : { format: "ndjson", document: null };
  }
  const isFollowed = (first: Uint8Array) => first.subarray(end).some(isVisible);
  const all = await text.peek((first) => first.length >= longestRecord || isFollowed(first));
  return { format: "ndjson", document: isFollowed(all) ? null : document };
}
