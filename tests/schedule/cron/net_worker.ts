/**
 * A stand-in for pg_net's background worker, for tests only: sends what is in net.http_request_queue once it is
 * committed, one batch at a time, and writes to net._http_response what became of it. Nothing is tried twice; answers
 * are kept six hours.
 */
// @ts-types="@types/pg"
import pg from "pg";
import type { PgNet } from "../past.ts";

/** The first version that does it so: what the schedule's health may meet. */
interface Behaviour {
  /** What is taken from the queue, and its answers, are seen together once all are there, dated by the start. */
  inOneTransaction: boolean;
  /** The column timed_out of an error; before, it is null. */
  saysTimedOut: boolean;
}

export const versions: Record<PgNet, Behaviour> = {
  "0.14": { inOneTransaction: false, saysTimedOut: false },
  "0.19.6": { inOneTransaction: false, saysTimedOut: true },
  "0.20": { inOneTransaction: true, saysTimedOut: true },
};

/** By this name pg_stat_activity shows the stand-in, which is no background worker. */
export const workerName = "pg_net, stood in for";

interface Queued {
  id: string;
  method: string;
  url: string;
  headers: Record<string, string> | null;
  body: Uint8Array<ArrayBuffer> | null;
  timeout_milliseconds: number;
}

type Answer = Record<string, unknown>;

export async function startNetWorker(adminUrl: string, version: PgNet = "0.20"): Promise<AsyncDisposable> {
  const behaviour = versions[version];
  const client = new pg.Client({ connectionString: adminUrl, application_name: workerName });
  await client.connect();
  const stopping = new AbortController();
  const store = (answer: Answer) =>
    client.query("insert into net._http_response select (jsonb_populate_record(null::net._http_response, $1)).*", [
      answer,
    ]);

  const batch = async () => {
    if (stopping.signal.aborted) return;
    await client.query("delete from net._http_response where created < now() - interval '6 hours'");
    if (behaviour.inOneTransaction) await client.query("begin");
    const [{ now }] = (await client.query("select now()")).rows;
    const { rows } = await client.query("delete from net.http_request_queue returning *");
    const answers = (rows as Queued[]).map(async (request) => {
      const answer = await send(request, stopping.signal, behaviour);
      const created = behaviour.inOneTransaction ? now : new Date();
      return answer && { id: request.id, created, ...answer };
    });
    if (behaviour.inOneTransaction) {
      for (const answer of await Promise.all(answers)) if (answer) await store(answer);
      await client.query(stopping.signal.aborted ? "rollback" : "commit");
    } else {
      await Promise.all(answers.map(async (answered) => {
        const answer = await answered;
        if (answer) await store(answer);
      }));
    }
  };

  let taking = Promise.resolve();
  client.on("notification", () => taking = taking.then(batch));
  await client.query("listen net");
  // What an earlier worker left in the queue.
  taking = taking.then(batch);
  return {
    [Symbol.asyncDispose]: async () => {
      if (stopping.signal.aborted) return;
      stopping.abort();
      await taking;
      await client.end();
    },
  };
}

/** What became of a request; undefined where the worker ended before. */
async function send(request: Queued, stopping: AbortSignal, behaviour: Behaviour): Promise<Answer | undefined> {
  const { method, url, headers, body, timeout_milliseconds: timeout } = request;
  const late = AbortSignal.timeout(timeout);
  try {
    const signal = AbortSignal.any([late, stopping]);
    const response = await fetch(url, { method, headers: headers ?? {}, body, signal });
    const content = await response.text();
    return {
      status_code: response.status,
      content_type: response.headers.get("content-type"),
      headers: Object.fromEntries(response.headers),
      content,
      timed_out: false,
    };
  } catch (error) {
    if (stopping.aborted) return undefined;
    return {
      timed_out: behaviour.saysTimedOut ? late.aborted : null,
      error_msg: late.aborted ? `Timeout of ${timeout} ms reached` : `Couldn't connect to server: ${error}`,
    };
  }
}
