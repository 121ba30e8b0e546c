/** What is wrong with a feed's URL, the partner's server or its answer, in words. What comes in the file: ../format. */
import { EtlError } from "../errors.ts";

/** The URL, where it is one that may be asked. */
export function checkUrl(text: string): URL {
  const url = URL.parse(text);
  if (!url || !/^https?:$/.test(url.protocol)) {
    throw new EtlError("url", "its URL is not an http or https URL", "Correct etl.feeds.url.");
  }
  if (url.username || url.password) {
    throw new EtlError(
      "url",
      "its URL holds a user name or password",
      "Ask the partner for a URL without, and correct etl.feeds.url.",
    );
  }
  return url;
}

/** Why a body of such headers is not read; null where it is. */
export function notTaken(url: URL, headers: Headers): EtlError | null {
  if (/^text\/html\b/i.test(headers.get("content-type") ?? "")) return notData(url);
  const coding = headers.get("content-encoding") ?? "identity";
  if (/^(identity|gzip|x-gzip)$/i.test(coding)) return null;
  const hint = "Ask the partner to send it plain or as gzip.";
  return new EtlError("content_encoding", `${place(url)} answered with the content encoding ${coding}`, hint);
}

export function notData(url?: URL): EtlError {
  return new EtlError(
    "html",
    `${url ? place(url) : "the server"} answered with a web page in place of data`,
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

export function badStatus(url: URL, { status, statusText }: Response): EtlError {
  const hint = status === 404
    ? "The file is not there: check etl.feeds.url."
    : status === 401 || status === 403
    ? "The partner refuses us: check whether the URL needs a new key."
    : status < 400
    ? "That is no answer to a request for the whole file: ask the partner to have the server mended."
    : "The partner's server fails: try again later, or ask the partner.";
  return new EtlError(`http_${status}`, `${place(url)} answered ${status} ${statusText}`.trimEnd(), hint);
}

/** What another try will not change; the words are those of Deno's client. */
export function notHttp(url: URL, cause: Error): EtlError | null {
  const said = `${cause.message} ${(cause.cause as Error | undefined)?.message}`;
  if (/number of redirects/.test(said)) {
    const hint = "The server sends us in a circle: open the URL in a browser, and check whether it needs a new link.";
    return new EtlError("redirects", `${place(url)} redirects more than 20 times`, hint, { cause });
  }
  const fault = /head is too large/.test(said)
    ? "with too large a header"
    : /invalid (HTTP version|content-length)/i.test(said)
    ? "with something that is not HTTP"
    : null;
  if (!fault) return null;
  const hint = "Ask the partner to have the server mended.";
  return new EtlError("bad_answer", `${place(url)} answered ${fault}`, hint, { cause });
}

export function unreachable(url: URL, cause: unknown): EtlError {
  const hint = "Check the host in etl.feeds.url, and whether the partner's server is up.";
  return new EtlError("unreachable", `${place(url)} cannot be reached`, hint, { cause });
}

export function cutShort(received: number, total: number | null, cause?: unknown): EtlError {
  const message = `the body was cut short after ${received}${total === null ? "" : ` of ${total}`} bytes`;
  return new EtlError("cut_short", message, "Try again; if it lasts, the partner's server breaks off.", { cause });
}

/** A URL as it may be shown: without its query, which may hold a key. */
export function place(url: URL): string {
  return url.origin + url.pathname;
}
