/** A feed's URL -> its bytes as they arrive, with the validators that let the next run ask "anything new?". */
import { EtlError } from "./errors.ts";

export interface Source {
  url: string;
  etag: string | null;
  last_modified: string | null;
}

export interface Download {
  etag: string | null;
  lastModified: string | null;
  /** Bytes announced by the server, null where it did not say. */
  total: number | null;
  /** The body. Throws where it is cut short or stalls. `read()` pulls, so a slow database slows the sender. */
  body: AsyncGenerator<Uint8Array>;
}

export interface Patience {
  /** Milliseconds without a byte before a server counts as stalled. */
  stallMs: number;
  /** Milliseconds before each further try after 429, 5xx or a network error. */
  retryMs: number[];
}

export const patient: Patience = { stallMs: 30_000, retryMs: [500, 2_000, 5_000] };

/** Asks for the feed; null where it has not changed since the validators were stored (304). */
export async function download(
  source: Source,
  patience: Patience = patient,
  onBytes: (received: number) => void = () => {},
): Promise<Download | null> {
  const url = checkUrl(source.url);
  const headers = new Headers({ "accept": "*/*", "user-agent": "tdc-etl" });
  if (source.etag) headers.set("if-none-match", source.etag);
  if (source.last_modified) headers.set("if-modified-since", source.last_modified);
  const clock = new StallClock(patience.stallMs, url);
  const response = await request(url, headers, clock, patience.retryMs);
  if (response.status === 304) return null;
  if (/^text\/html\b/i.test(response.headers.get("content-type") ?? "")) {
    await response.body?.cancel();
    throw notData(url);
  }
  // fetch() has already taken off a content encoding, so the length of what follows is unknown.
  const length = response.headers.has("content-encoding") ? null : response.headers.get("content-length");
  const total = length === null ? null : Number(length);
  return {
    etag: response.headers.get("etag"),
    lastModified: response.headers.get("last-modified"),
    total,
    body: receive(response.body, total, clock, onBytes),
  };
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
      if (response.ok || response.status === 304) return response;
      await response.body?.cancel();
      if (last || !(response.status === 429 || response.status >= 500)) throw badStatus(url, response);
    } catch (cause) {
      if (cause instanceof EtlError) throw cause;
      if (last) throw unreachable(url, cause);
    }
    await new Promise((resume) => setTimeout(resume, retryMs[attempt]));
  }
}

async function* receive(
  body: Response["body"],
  total: number | null,
  clock: StallClock,
  onBytes: (received: number) => void,
): AsyncGenerator<Uint8Array> {
  const reader = body?.getReader();
  let received = 0;
  try {
    clock.start();
    while (reader) {
      const { done, value } = await clock.during(() => reader.read());
      if (done) break;
      received += value.length;
      onBytes(received);
      yield value;
    }
  } catch (cause) {
    throw cause instanceof EtlError ? cause : cutShort(received, total, cause);
  } finally {
    clock.stop();
    await reader?.cancel().catch(() => {});
  }
  if (total !== null && received !== total) throw cutShort(received, total);
}

/** Ends a request when nothing has come for too long. Time in which we do not ask for more does not count. */
class StallClock {
  #abort = new AbortController();
  #waitingSince: number | null = null;
  #timer: ReturnType<typeof setInterval> | undefined;
  #stalled = false;
  signal = this.#abort.signal;

  constructor(private readonly limitMs: number, private readonly url: URL) {}

  /** From here to `stop` one timer serves all waits; one for each chunk would cost more than the chunk. */
  start(): void {
    this.#timer ??= setInterval(() => {
      if (this.#waitingSince === null || Date.now() - this.#waitingSince < this.limitMs) return;
      this.#stalled = true;
      this.#abort.abort();
    }, this.limitMs / 4);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  async during<T>(wait: () => Promise<T>): Promise<T> {
    const alone = this.#timer === undefined;
    if (alone) this.start();
    this.#waitingSince = Date.now();
    try {
      return await wait();
    } catch (cause) {
      if (!this.#stalled) throw cause;
      const message = `${place(this.url)} sent nothing for ${this.limitMs / 1000} s`;
      throw new EtlError("stalled", message, "The partner's server hangs: try again later, or ask the partner.", {
        cause,
      });
    } finally {
      this.#waitingSince = null;
      if (alone) this.stop();
    }
  }
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

function badStatus(url: URL, { status, statusText }: Response): EtlError {
  const hint = status === 404
    ? "The file is not there: check etl.feeds.url."
    : status === 401 || status === 403
    ? "The partner refuses us: check whether the URL needs a new key."
    : "The partner's server fails: try again later, or ask the partner.";
  return new EtlError(`http_${status}`, `${place(url)} answered ${status} ${statusText}`.trimEnd(), hint);
}

function unreachable(url: URL, cause: unknown): EtlError {
  const hint = "Check the host in etl.feeds.url, and whether the partner's server is up.";
  return new EtlError("unreachable", `${place(url)} cannot be reached`, hint, { cause });
}

function cutShort(received: number, total: number | null, cause?: unknown): EtlError {
  const message = `the body was cut short after ${received}${total === null ? "" : ` of ${total}`} bytes`;
  return new EtlError("cut_short", message, "Try again; if it lasts, the partner's server breaks off.", { cause });
}
