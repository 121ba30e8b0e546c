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
  /** The file's only record, where it may be a document around the records. */
  only: Pick<Document, "arrays" | "isFilled"> | null;
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
      return { format: "json", only: null };
    }
  } catch (error) {
    return { format: (error as EtlError).code === "records" ? "json" : "ndjson", only: null };
  }
  const isFollowed = (first: Uint8Array) => first.subarray(end).some(isVisible);
  const all = await text.peek((first) => first.length >= longestRecord || isFollowed(first));
  return { format: "ndjson", only: isFollowed(all) || document.arrays.length === 0 ? null : document };
}
