/** What is asked -> its bytes as they arrive, with the validators that let the next run ask "anything new?". */
import { setTimeout } from "node:timers/promises";
import { EtlError } from "../errors.ts";
import { mostRedirects, type Patience, patient } from "../limits.ts";
import { type Asking, redirected, shown } from "./asking.ts";
import { badStatus, cutShort, noAnswer, notTaken, tooBig, tooManyRedirects } from "./failures.ts";
import { StallClock } from "./stall.ts";
import { conditions, type Known, marked, markOf } from "./validators.ts";

/** An answer of the partner's server. Its body is closed at the end of the block that holds it, read or not. */
export interface Download extends AsyncDisposable {
  /** Nothing has changed since the validators were stored (304), and there is no body. */
  isUnchanged: boolean;
  /** Where it came from, at the end of all redirects. */
  url: string;
  /** Its header Link. */
  link: string | null;
  /** As they are remembered. */
  etag: string | null;
  lastModified: string | null;
  /** The encoding that its server says; null where it says none. */
  charset: string | null;
  /** The file in a zip archive, as the URL's fragment names it; null where it has none. */
  member: string | null;
  /** Bytes announced by the server, null where it did not say. */
  total: number | null;
  /** Whether its end is known, by its length or the last chunk: else a body that is cut short ends like a whole one. */
  hasEnd: boolean;
  /**
   * The body. Throws where it is cut short or stalls. `read()` pulls, so a slow database slows the sender.
   * A chunk is valid until the next is asked for.
   */
  body: AsyncGenerator<Uint8Array>;
}

/** Asks for the feed, or a page of it. `over` ends it. `before`: bytes of the pages before. */
export async function openDownload(
  asked: Asking,
  known: Known,
  patience: Patience = patient,
  onBytes: (received: number) => void = () => {},
  over?: AbortSignal,
  before = 0,
): Promise<Download> {
  const clock = new StallClock(patience, asked.place, over);
  const response = await request(asked, known, clock, patience, over).catch((error) => {
    throw shown(asked, error);
  });
  const isUnchanged = response.status === 304;
  const isChunked = /(^|[\s,])chunked$/i.test(response.headers.get("transfer-encoding") ?? "");
  // A 304 may tell the length of the body that it spares us, a 204 any; and chunks count more than a length (RFC 9112, 6.3).
  const hasLength = !isUnchanged && response.status !== 204 && !isChunked;
  const length = hasLength ? response.headers.get("content-length") : null;
  // Sent twice, it arrives as "5, 5".
  const total = length === null ? null : Number(length.split(",")[0]);
  const refusal = isUnchanged
    ? null
    : notTaken(asked.place, response.headers) ?? (total !== null ? tooBig(total, patience.bytes) : null);
  if (refusal) {
    await response.body?.cancel();
    throw shown(asked, refusal);
  }
  const body = receive(asked, response.body, total, clock, (received) => {
    const excess = tooBig(before + received, patience.bytes);
    if (excess) throw excess;
    onBytes(before + received);
  });
  const mark = markOf(new URL(response.url), asked.url);
  return {
    isUnchanged,
    url: response.url,
    link: response.headers.get("link"),
    // What a 304 does not name is as it was.
    etag: marked(response.headers.get("etag"), mark) ?? (isUnchanged ? known.etag : null),
    lastModified: marked(strongDate(response.headers), mark) ?? (isUnchanged ? known.last_modified : null),
    charset: /;\s*charset\s*=\s*"?([^\s;"]+)/i.exec(response.headers.get("content-type") ?? "")?.[1] ?? null,
    member: asked.url.hash.slice(1) || null,
    total,
    hasEnd: total !== null || isChunked,
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

async function request(
  asked: Asking,
  known: Known,
  clock: StallClock,
  { retryMs, longestWaitMs }: Patience,
  over?: AbortSignal,
): Promise<Response> {
  for (let attempt = 0;; attempt++) {
    const last = attempt === retryMs.length;
    let waitMs: number | null = null;
    const way = [asked.url];
    try {
      const response = await follow(asked, known, clock, way);
      // 203 came through a proxy, 204 is empty. Any other success holds no file, or a part of one.
      const isConditional = conditions(known, markOf(way.at(-1)!, asked.url)).length > 0;
      if ([200, 203, 204].includes(response.status) || (response.status === 304 && isConditional)) return response;
      const status = await statusOf(response, clock);
      waitMs = status === 429 || status === 503 ? retryAfter(response.headers) : null;
      const passes = status === 429 || status >= 500;
      if (last || !passes || (waitMs ?? 0) > longestWaitMs) throw badStatus(asked.place, status, waitMs);
    } catch (cause) {
      if (cause instanceof EtlError) throw cause;
      const error = noAnswer(asked.place, way.at(-1)!, cause as Error);
      if (last || error.lasts) throw error;
    }
    await setTimeout(Math.max(retryMs[attempt], waitMs ?? 0), null, { signal: over }).catch(() => {});
  }
}

/** The answer at the end of all redirects, which are added to `way`. */
async function follow(asked: Asking, known: Known, clock: StallClock, way: URL[]): Promise<Response> {
  for (let redirects = 0; redirects <= mostRedirects; redirects++) {
    const url = way.at(-1)!;
    const headers = headersFor(asked, known, url);
    const response = await clock.during(() => fetch(url, { headers, redirect: "manual", signal: clock.signal }));
    const location = response.headers.get("location");
    if (location === null || ![301, 302, 303, 307, 308].includes(response.status)) return response;
    await response.body?.cancel();
    way.push(redirected(asked, url, location));
  }
  throw tooManyRedirects(asked.place, new Set(way.map(({ href }) => href)).size < way.length);
}

/** What the feed's own headers say goes to its own origin alone; what is known, to where it is known of. */
function headersFor(asked: Asking, known: Known, url: URL): Headers {
  // Deno 2.9 unpacks only the first member of a gzip answer, in silence; "identity" leaves the unpacking to us.
  const headers = new Headers({ "accept": "*/*", "accept-encoding": "identity", "user-agent": "tdc-etl" });
  const own = url.origin === asked.url.origin ? Object.entries(asked.headers) : [];
  for (const [name, value] of [...own, ...conditions(known, markOf(url, asked.url))]) headers.set(name, value);
  return headers;
}

/** Closes an answer that is no file. Supabase's Storage has the status that it means in the body of a 400. */
async function statusOf(response: Response, clock: StallClock): Promise<number> {
  const { status, headers, body } = response;
  const length = Number(headers.get("content-length") ?? Infinity);
  if (status !== 400 || !/json/.test(headers.get("content-type") ?? "") || length > 1000) {
    await body?.cancel();
    return status;
  }
  return Number(/"statusCode": ?"(4\d\d)"/.exec(await clock.during(() => response.text()))?.[1] ?? status);
}

/** Milliseconds for which the server has us wait, by its own clock; null where it does not say. */
function retryAfter(headers: Headers): number | null {
  const said = headers.get("retry-after") ?? "";
  if (/^\d{1,9}$/.test(said)) return Number(said) * 1000;
  const now = Date.parse(headers.get("date") ?? "") || Date.now();
  const until = Date.parse(said);
  return until > now ? until - now : null;
}

/** Bytes gathered into one chunk: what comes after costs as much for a chunk of any size. */
const chunkSize = 1 << 19;

/** Each chunk is overwritten by the next: a fresh buffer for each would cost as much as reading. */
async function* receive(
  asked: Asking,
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
        clock.received(value?.length ?? 0);
        received += value?.length ?? 0;
        if (received === total) clock.hasAll();
        onBytes(received);
        ended = done;
      }
      if (filled > 0) yield new Uint8Array(buffer, 0, filled);
    }
  } catch (cause) {
    throw shown(asked, cause instanceof EtlError ? cause : cutShort(received, total, cause));
  } finally {
    clock.stop();
    await reader?.cancel().catch(() => {});
  }
  if (total !== null && received !== total) throw cutShort(received, total);
}
