/** The header Link (RFC 8288) -> where the next page is. */
import { EtlError } from "../errors.ts";

const target = /[\s,]*<([^>]*)>/y;
const parameter = /\s*;\s*(?:([!#$%&'*+.^`|~\w-]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s";,]+)))?)?/y;

/** The URL, which may be relative; null where the header names none. */
export function nextLink(header: string): string | null {
  const found = new Set<string>();
  let at = 0;
  const take = (pattern: RegExp) => {
    pattern.lastIndex = at;
    const match = pattern.exec(header);
    if (match) at = pattern.lastIndex;
    return match;
  };
  while (/[^\s,]/.test(header.slice(at))) {
    const link = take(target);
    // What cannot be read may be the link to the next page: to pass over it would lose all that follow.
    if (!link) throw bad("its header Link cannot be read");
    const parameters = new Map<string, string>();
    for (let match; (match = take(parameter));) {
      const [, name, quoted, plain] = match;
      // Of several of a name the first one counts.
      if (name && !parameters.has(name.toLowerCase())) {
        parameters.set(name.toLowerCase(), quoted?.replaceAll(/\\(.)/g, "$1") ?? plain ?? "");
      }
    }
    if (!/^\s*(,|$)/.test(header.slice(at))) throw bad("its header Link cannot be read");
    // With an anchor it is a link from somewhere else.
    if (relations(parameters.get("rel")).includes("next") && !parameters.has("anchor")) found.add(link[1].trim());
  }
  if (found.size > 1) throw bad("its header Link names two next pages");
  return [...found][0] ?? null;
}

/** What the link is to this page. Signs that are meant for quotes and are none, or no word at all, may stand for "next". */
function relations(rel: string | undefined): string[] {
  if (rel === undefined) return [];
  const words = rel.toLowerCase().trim().split(/\s+/);
  const isNone = (word: string) => word === "" || (word !== "next" && /^\W*next\W*$/.test(word));
  if (words.some(isNone)) throw bad("its header Link has a rel that is empty, or in quotes that are none");
  return words;
}

function bad(message: string): EtlError {
  return new EtlError("next", message, "Ask the partner to have the server mended.");
}
