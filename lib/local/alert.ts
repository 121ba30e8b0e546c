/** `deno task health --alert URL`: what etl.tell() does by pg_net, from a timer. */
import type { Client } from "../database/connect.ts";
import { EtlError } from "../errors.ts";
import { isLoopback } from "../fetch/network.ts";

/** Milliseconds for whoever is told to take it. */
const patienceMs = 10_000;

/** The text is a URL to which alerts may go. */
export function isAlertUrl(text: string): boolean {
  const url = URL.parse(text);
  return url?.protocol === "https:" || (url?.protocol === "http:" && isLoopback(url));
}

/** Looks at health, and sends what is new there; nothing of it counts as told where it cannot be sent. */
export async function tell(client: Client, url: string): Promise<void> {
  await client.query("begin");
  try {
    const { rows: [{ message }] } = await client.query("select message from etl.news()");
    if (message !== null) await post(url, message);
    await client.query("commit");
  } catch (error) {
    await client.query("rollback").catch(() => {});
    throw error;
  }
}

/** Whoever has the URL may write there, so that no error holds more of it than the host. */
async function post(url: string, text: string): Promise<void> {
  const { host } = new URL(url);
  const hint = "Nothing counts as told: the next look sends it again. Check the URL of --alert.";
  const refuse = (what: string) => new EtlError("alert", `${host} ${what}`, hint);
  let response;
  try {
    response = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ text }),
      redirect: "manual",
      signal: AbortSignal.timeout(patienceMs),
    });
  } catch {
    throw refuse("cannot be reached");
  }
  await response.body?.cancel();
  if (!response.ok) throw refuse(`answered ${response.status}`);
}
