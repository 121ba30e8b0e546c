/**
 * What an answer says of itself, to be asked whether it is so still. It says it of one URL alone (RFC 9110, 8.8 and 15.4):
 * what comes from the end of a redirect is remembered with a mark of that place, and told to no other.
 */
import { createHash } from "node:crypto";

/** Of the last answer; null where it had none. */
export interface Known {
  etag: string | null;
  last_modified: string | null;
}

/** What signs a URL for a while, so that it comes anew each time. Any other part of a query may say which file it is. */
const signature = /^((x-(amz|goog|oss|cos)-)?signature|sig)$/i;
const ofSignature =
  /^(x-(amz|goog|oss|cos)-.+|(aws|google|oss)access(key)?id|key-pair-id|policy|expires|signature|sig|s[eprtsv]|sip|jwt|spr|srt|sk[a-z]{1,3})$/i;

/** Nothing for the feed's own URL; else a hash, for a query may hold a key. */
export function markOf(url: URL, own: URL): string {
  const [place, home] = [url, own].map(withoutSignature);
  return place === home ? "" : ` @${createHash("sha256").update(place).digest("hex").slice(0, 16)}`;
}

function withoutSignature({ origin, pathname, searchParams }: URL): string {
  const query = [...searchParams];
  const isSigned = query.some(([name]) => signature.test(name));
  return `${origin}${pathname}?${new URLSearchParams(query.filter(([name]) => !isSigned || !ofSignature.test(name)))}`;
}

export function marked(validator: string | null, mark: string): string | null {
  return validator && validator + mark;
}

/** The headers that ask the place of this mark whether anything is new; none where nothing is known of it. */
export function conditions({ etag, last_modified }: Known, mark: string): [name: string, value: string][] {
  return ([["if-none-match", etag], ["if-modified-since", last_modified]] as const).flatMap(([name, remembered]) => {
    const [, validator, from = ""] = /^([^]*?)( @[\da-f]{16})?$/.exec(remembered ?? "")!;
    return validator && from === mark ? [[name, validator] as [string, string]] : [];
  });
}
