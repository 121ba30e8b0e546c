/** What is wrong with the partner's server or its answer, in words. What comes in the file: ../format. */
import { EtlError } from "../errors.ts";

/** Why a body of such headers is not read; null where it is. */
export function notTaken(place: string, headers: Headers): EtlError | null {
  if (/^text\/html\b/i.test(headers.get("content-type") ?? "")) return notData(place);
  const coding = headers.get("content-encoding") ?? "identity";
  if (/^(identity|gzip|x-gzip)$/i.test(coding)) return null;
  const hint = "Ask the partner to send it plain or as gzip.";
  return new EtlError("content_encoding", `${place} answered with the content encoding ${coding}`, hint);
}

export function notData(place = "the server"): EtlError {
  return new EtlError(
    "html",
    `${place} answered with a web page in place of data`,
    "It may be a login or error page: open the URL in a browser, and check whether it needs a new link.",
  );
}

/** Null where it is not. */
export function tooBig(bytes: number, limit: number): EtlError | null {
  if (bytes <= limit) return null;
  const hint =
    "Ask the partner whether this is the right file, and for smaller ones, each with its own feed, if it is.";
  return new EtlError("too_big", `the body has more than ${limit} bytes`, hint);
}

/** `waitMs`: for how long the server has us stay away, where it says so. */
export function badStatus(place: string, status: number, waitMs: number | null): EtlError {
  const hint = status === 404
    ? "The file is not there: check etl.feeds.url."
    : status === 401 || status === 403
    ? "The partner refuses us: check whether it needs a new key, in etl.feeds.url or etl.feeds.headers."
    : status < 400
    ? "That is no answer to a request for the whole file: ask the partner to have the server mended."
    : "The partner's server fails: try again later, or ask the partner.";
  const until = waitMs ? `, and asks us to stay away until ${instant(Date.now() + waitMs)}` : "";
  return new EtlError(`http_${status}`, `${place} answered ${status}${until}`, hint);
}

function instant(time: number): string {
  return new Date(time).toISOString().replace(/\..*/, "Z");
}

export function tooManyRedirects(place: string): EtlError {
  const hint = "The server sends us in a circle: open the URL in a browser, and check whether it needs a new link.";
  return new EtlError("redirects", `${place} redirects more than 20 times`, hint);
}

/** What another try will not change; the words are those of Deno's client. */
export function notHttp(place: string, cause: Error): EtlError | null {
  const said = `${cause.message} ${(cause.cause as Error | undefined)?.message}`;
  const fault = /head is too large/.test(said)
    ? "with too large a header"
    : /invalid (HTTP version|content-length)/i.test(said)
    ? "with something that is not HTTP"
    : null;
  if (!fault) return null;
  const hint = "Ask the partner to have the server mended.";
  return new EtlError("bad_answer", `${place} answered ${fault}`, hint, { cause });
}

export function unreachable(place: string, cause: unknown): EtlError {
  const hint = "Check the host in etl.feeds.url, and whether the partner's server is up.";
  return new EtlError("unreachable", `${place} cannot be reached`, hint, { cause });
}

export function cutShort(received: number, total: number | null, cause?: unknown): EtlError {
  const message = `the body was cut short after ${received}${total === null ? "" : ` of ${total}`} bytes`;
  return new EtlError("cut_short", message, "Try again; if it lasts, the partner's server breaks off.", { cause });
}
