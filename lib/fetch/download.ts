/** A feed's URL -> its bytes as they arrive, with the validators that let the next run ask "anything new?". */
import { EtlError } from "../errors.ts";
import { type Patience, patient } from "../limits.ts";
import { StallClock } from "./stall.ts";

export interface Source {
  url: string;
  etag: string | null;
  last_modified: string | null;
}

/** An answer of the partner's server. Its body is closed at the end of the block that holds it, read or not. */
export interface Download extends AsyncDisposable {
  etag: string | null;
  lastModified: string | null;
  /** Bytes announced by the server, null where it did not say. */
  total: number | null;
  /**
   * The body. Throws where it is cut short or stalls. `read()` pulls, so a slow database slows the sender.
   * A chunk is valid until the next is asked for.
   */
  body: AsyncGenerator<Uint8Array>;
}

/** Asks for the feed; null where it has not changed since the validators were stored (304). */
export async function openDownload(
  source: Source,
  patience: Patience = patient,
  onBytes: (received: number) => void = () => {},
): Promise<Download | null> {
  const url = checkUrl(source.url);
  // Deno 2.9 unpacks only the first member of a gzip answer, in silence; "identity" leaves the unpacking to us.
  const headers = new Headers({ "accept": "*/*", "accept-encoding": "identity", "user-agent": "tdc-etl" });
  if (source.etag) headers.set("if-none-match", source.etag);
  if (source.last_modified) headers.set("if-modified-since", source.last_modified);
  const clock = new StallClock(patience.stallMs, patience.totalMs, place(url));
  const response = await request(url, headers, clock, patience.retryMs);
  if (response.status === 304) return null;
  const length = response.headers.get("content-length");
  // Sent twice, it arrives as "5, 5".
  const total = length === null ? null : Number(length.split(",")[0]);
  const refusal = notTaken(url, response.headers) ?? (total !== null ? tooBig(total, patience.bytes) : null);
  if (refusal) {
    await response.body?.cancel();
    throw refusal;
  }
  const body = receive(response.body, total, clock, (received) => {
    const excess = tooBig(received, patience.bytes);
    if (excess) throw excess;
    onBytes(received);
  });
  return {
    etag: response.headers.get("etag"),
    lastModified: strongDate(response.headers),
    total,
    body,
    async [Symbol.asyncDispose]() {
      await body.return(undefined);
      if (!response.body?.locked) await response.body?.cancel();
    },
  };
}

/** Last-Modified, unless the file may have been written once more within that second, unseen (RFC 9110, 8.8.2.2). */
function strongDate(headers: Headers): string | null {
  const modified = headers.get("last-modified");
  const sent = Date.parse(headers.get("date") ?? "");
  return modified !== null && sent - Date.parse(modified) >= 1000 ? modified : null;
}

function notTaken(url: URL, headers: Headers): EtlError | null {
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

async function request(url: URL, headers: Headers, clock: StallClock, retryMs: number[]): Promise<Response> {
  for (let attempt = 0;; attempt++) {
    const last = attempt === retryMs.length;
    try {
      const response = await clock.during(() => fetch(url, { headers, signal: clock.signal }));
      // 203 came through a proxy, 204 is empty. Any other success holds no file, or a part of one.
      const isConditional = headers.has("if-none-match") || headers.has("if-modified-since");
      if ([200, 203, 204].includes(response.status) || (response.status === 304 && isConditional)) return response;
      await response.body?.cancel();
      if (last || !(response.status === 429 || response.status >= 500)) throw badStatus(url, response);
    } catch (cause) {
      if (cause instanceof EtlError) throw cause;
      const lasting = notHttp(url, cause as Error);
      if (lasting) throw lasting;
      if (last) throw unreachable(url, cause);
    }
    await new Promise((resume) => setTimeout(resume, retryMs[attempt]));
  }
}

/** Bytes gathered into one chunk: what comes after costs as much for a chunk of any size. */
const chunkSize = 1 << 19;

/** Each chunk is overwritten by the next: a fresh buffer for each would cost as much as reading. */
async function* receive(
  body: Response["body"],
  total: number | null,
  clock: StallClock,
  onBytes: (received: number) => void,
): AsyncGenerator<Uint8Array> {
  const reader = body?.getReader({ mode: "byob" });
  let buffer = new ArrayBuffer(chunkSize);
  let received = 0;
  try {
    clock.start();
    for (let ended = !reader; !ended;) {
      let filled = 0;
      while (!ended && filled < chunkSize) {
        const { done, value } = await clock.during(() => reader!.read(new Uint8Array(buffer, filled)));
        if (value) buffer = value.buffer;
        filled += value?.length ?? 0;
        onBytes(received += value?.length ?? 0);
        ended = done;
      }
      if (filled > 0) yield new Uint8Array(buffer, 0, filled);
    }
  } catch (cause) {
    throw cause instanceof EtlError ? cause : cutShort(received, total, cause);
  } finally {
    clock.stop();
    await reader?.cancel().catch(() => {});
  }
  if (total !== null && received !== total) throw cutShort(received, total);
}

function checkUrl(text: string): URL {
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

/** A URL as it may be shown: without its query, which may hold a key. */
function place(url: URL): string {
  return url.origin + url.pathname;
}

function tooBig(bytes: number, limit: number): EtlError | null {
  if (bytes <= limit) return null;
  const hint =
    "Ask the partner whether this is the right file, and for smaller ones, each with its own feed, if it is.";
  return new EtlError("too_big", `the body has more than ${limit} bytes`, hint);
}

function badStatus(url: URL, { status, statusText }: Response): EtlError {
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
function notHttp(url: URL, cause: Error): EtlError | null {
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

function unreachable(url: URL, cause: unknown): EtlError {
  const hint = "Check the host in etl.feeds.url, and whether the partner's server is up.";
  return new EtlError("unreachable", `${place(url)} cannot be reached`, hint, { cause });
}

function cutShort(received: number, total: number | null, cause?: unknown): EtlError {
  const message = `the body was cut short after ${received}${total === null ? "" : ` of ${total}`} bytes`;
  return new EtlError("cut_short", message, "Try again; if it lasts, the partner's server breaks off.", { cause });
}
