/**
 * A stand-in for pg_net's background worker, for tests only: sends what is in net.http_request_queue once it is
 * committed, and writes to net._http_response what became of it. Nothing is tried twice; answers are kept six hours.
 */
// @ts-types="@types/pg"
import pg from "pg";

interface Queued {
  id: string;
  method: string;
  url: string;
  headers: Record<string, string> | null;
  body: Uint8Array<ArrayBuffer> | null;
  timeout_milliseconds: number;
}

export async function startNetWorker(adminUrl: string): Promise<AsyncDisposable> {
  const client = new pg.Client(adminUrl);
  await client.connect();
  const stopping = new AbortController();
  const sending = new Set<Promise<void>>();
  const take = async () => {
    await client.query("delete from net._http_response where created < now() - interval '6 hours'");
    const { rows } = await client.query("delete from net.http_request_queue returning *");
    for (const request of rows as Queued[]) {
      const sent = send(client, request, stopping.signal).finally(() => sending.delete(sent));
      sending.add(sent);
    }
  };
  let taking = Promise.resolve();
  client.on("notification", () => taking = taking.then(take));
  await client.query("listen net");
  // What an earlier worker left in the queue.
  await (taking = take());
  return {
    [Symbol.asyncDispose]: async () => {
      if (stopping.signal.aborted) return;
      await client.query("unlisten net");
      await taking;
      stopping.abort();
      await Promise.all(sending);
      await client.end();
    },
  };
}

async function send(client: pg.Client, request: Queued, stopping: AbortSignal): Promise<void> {
  const { id, method, url, headers, body, timeout_milliseconds: timeout } = request;
  const store = (columns: Record<string, unknown>) =>
    client.query(
      "insert into net._http_response select (jsonb_populate_record(null::net._http_response, $1)).*",
      [{ id, created: new Date(), ...columns }],
    );
  const late = AbortSignal.timeout(timeout);
  try {
    const signal = AbortSignal.any([late, stopping]);
    const response = await fetch(url, { method, headers: headers ?? {}, body, signal });
    const content = await response.text();
    await store({
      status_code: response.status,
      content_type: response.headers.get("content-type"),
      headers: Object.fromEntries(response.headers),
      content,
      timed_out: false,
    });
  } catch (error) {
    if (stopping.aborted) return;
    const message = late.aborted ? `Timeout of ${timeout} ms reached` : `Couldn't connect to server: ${error}`;
    await store({ timed_out: late.aborted, error_msg: message });
  }
}
