/** A feed's URL -> its bytes as they arrive, with the validators that let the next run ask "anything new?". */
import { setTimeout } from "node:timers/promises";
import { EtlError } from "../errors.ts";
import { type Patience, patient } from "../limits.ts";
import { badStatus, checkUrl, cutShort, notHttp, notTaken, place, tooBig, unreachable } from "./failures.ts";
import { StallClock } from "./stall.ts";

export interface Source {
  url: string;
  etag: string | null;
  last_modified: string | null;
}

/** An answer of the partner's server. Its body is closed at the end of the block that holds it, read or not. */
export interface Download extends AsyncDisposable {
  /** Nothing has changed since the validators were stored (304), and there is no body. */
  isUnchanged: boolean;
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

/** Asks for the feed. `over` ends it. */
export async function openDownload(
  source: Source,
  patience: Patience = patient,
  onBytes: (received: number) => void = () => {},
  over?: AbortSignal,
): Promise<Download> {
  const url = checkUrl(source.url);
  // Deno 2.9 unpacks only the first member of a gzip answer, in silence; "identity" leaves the unpacking to us.
  const headers = new Headers({ "accept": "*/*", "accept-encoding": "identity", "user-agent": "tdc-etl" });
  if (source.etag) headers.set("if-none-match", source.etag);
  if (source.last_modified) headers.set("if-modified-since", source.last_modified);
  const clock = new StallClock(patience, place(url), over);
  const response = await request(url, headers, clock, patience.retryMs, over);
  const isUnchanged = response.status === 304;
  // A 304 may tell the length of the body that it spares us.
  const length = isUnchanged ? null : response.headers.get("content-length");
  // Sent twice, it arrives as "5, 5".
  const total = length === null ? null : Number(length.split(",")[0]);
  const refusal = isUnchanged
    ? null
    : notTaken(url, response.headers) ?? (total !== null ? tooBig(total, patience.bytes) : null);
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
    isUnchanged,
    // What a 304 does not name is as it was.
    etag: response.headers.get("etag") ?? (isUnchanged ? source.etag : null),
    lastModified: strongDate(response.headers) ?? (isUnchanged ? source.last_modified : null),
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

async function request(
  url: URL,
  headers: Headers,
  clock: StallClock,
  retryMs: number[],
  over?: AbortSignal,
): Promise<Response> {
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
    await setTimeout(retryMs[attempt], null, { signal: over }).catch(() => {});
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
        clock.received(value?.length ?? 0);
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
