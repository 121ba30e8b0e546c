/** One connection to Postgres. */
import type { EventEmitter } from "node:events";
import type { Duplex } from "node:stream";
// @ts-types="@types/pg"
import pg from "pg";
import { connectMs } from "../limits.ts";
import { notConnected } from "./failures.ts";

/** Closed at the end of the block that holds it. */
export type Client = pg.Client & AsyncDisposable;

/**
 * Connects to `url`, or says in words why not. Neither the URL nor its password reaches the message.
 *
 * Beyond this machine the connection is encrypted, and the certificate verified, wherever the server offers it; an
 * sslmode in the URL decides otherwise.
 */
export async function connect(url: string): Promise<Client> {
  try {
    // The error of new URL() would quote the URL, password and all.
    if (!URL.canParse(url)) throw Object.assign(new Error("Invalid URL"), { code: "ERR_INVALID_URL" });
    const { hostname, searchParams } = new URL(url);
    const here = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\]|)$/.test(hostname);
    if (here || searchParams.has("sslmode")) return await open(url);
    return await open(url, { rejectUnauthorized: true }).catch((error) => {
      if (/does not support SSL/.test(error.message)) return open(url);
      throw error;
    });
  } catch (cause) {
    throw notConnected(cause as Error);
  }
}

/** A bigint is a number here: what we ask for is counts and sizes, none near 2^53. A numeric stays a text: 12.50 is not 12.5. */
const types: pg.CustomTypesConfig = {
  getTypeParser: (oid, format) => oid === pg.types.builtins.INT8 ? Number : pg.types.getTypeParser(oid, format),
};

async function open(url: string, ssl?: pg.ClientConfig["ssl"]): Promise<Client> {
  const client = new pg.Client({
    connectionString: url,
    application_name: "tdc-etl",
    connectionTimeoutMillis: connectMs,
    types,
    keepAlive: true,
    keepAliveInitialDelayMillis: 60_000,
    ...(ssl && { ssl }),
  });
  // A connection that dies between two statements is reported by the next one; unheard, it would end the process.
  client.on("error", () => {});
  noticeEndOfTls(client);
  await client.connect();
  return Object.assign(client, { [Symbol.asyncDispose]: () => client.end() });
}

/**
 * pg learns from the socket beneath TLS that the connection is over; Deno 2.1.4 never says so there, Deno 2.9.6 not
 * always, and client.end() and the queries of a lost connection would wait for ever.
 */
function noticeEndOfTls(client: pg.Client): void {
  const { connection } = client as unknown as { connection: EventEmitter & { stream: Duplex } };
  connection.once("sslconnect", () => {
    const { stream } = connection;
    stream.once("end", () => stream.destroy());
    for (const event of ["end", "close"]) stream.once(event, () => connection.emit("end"));
  });
}
