/**
 * The loader as it is served, `serve DATABASE_URL FEED STATUS`: one request to the edge function, both in this process, so
 * that all the CPU of the invocation is counted.
 */
import { handle } from "../../main.ts";

export default async function (databaseUrl: string, feed: string, expected: string) {
  const secret = crypto.randomUUID();
  Deno.env.set("DATABASE_URL", databaseUrl);
  Deno.env.set("ETL_TRIGGER_SECRET", secret);
  await using server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, handle);
  const answer = await fetch(`http://127.0.0.1:${server.addr.port}/etl`, {
    method: "POST",
    headers: { authorization: `Bearer ${secret}` },
    body: JSON.stringify({ feeds: [feed] }),
  });
  const { error, feeds } = await answer.json();
  const status = feeds?.[0].status;
  if (status !== expected) {
    throw new Error(`${feed} is ${status}, not ${expected}: ${error?.message ?? feeds?.[0].error?.message}`);
  }
}
