/** One connection to Postgres, and what it says when it fails. */
import type { EventEmitter } from "node:events";
import type { Duplex } from "node:stream";
// @ts-types="@types/pg"
import pg from "pg";
import { EtlError } from "../errors.ts";
import { connectMs } from "../limits.ts";
import { refused } from "./sqlstates.ts";

export type Client = pg.Client;

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
    throw notConnected(cause as Error & { code?: string });
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
  return client;
}

/**
 * pg learns from the socket beneath TLS that the connection is over; Deno 2.1.4 never says so there, Deno 2.9.6 not
 * always, and client.end() and the queries of a lost connection would wait for ever.
 */
function noticeEndOfTls(client: Client): void {
  const { connection } = client as unknown as { connection: EventEmitter & { stream: Duplex } };
  connection.once("sslconnect", () => {
    const { stream } = connection;
    stream.once("end", () => stream.destroy());
    for (const event of ["end", "close"]) stream.once(event, () => connection.emit("end"));
  });
}

function notConnected(cause: Error & { code?: string }): EtlError {
  const { code = "connection", message } = cause;
  if (/certificate/i.test(message)) {
    const hint =
      "Name the certificate of its authority in DENO_CERT; or, if you must, add ?sslmode=no-verify to the URL, or ?sslmode=disable as an edge function.";
    return new EtlError("tls", "Cannot connect to the database: its certificate is not trusted", hint, { cause });
  }
  const shape = "Check DATABASE_URL: postgres://user:password@host:5432/database";
  const [why, hint] = refused[code] ?? [code === "ERR_INVALID_URL" ? "its URL cannot be read" : message, shape];
  return new EtlError(code, `Cannot connect to the database: ${why}`, hint, { cause });
}

/** The error of a connection that broke, in words; null where it is another error. */
export function connectionLost(cause: unknown): EtlError | null {
  const { code = "connection", message, syscall } = cause as { code?: string; message: string; syscall?: string };
  const lost = syscall || /^(57P0.|EPIPE)$/.test(code) || /^Connection terminated|connection error/.test(message);
  if (!lost) return null;
  // It may have been lost after the commit was sent: whether the run was kept is then known to the database alone.
  const hint = "A run is kept whole or not at all. Run again once the database is up.";
  return new EtlError(code, `the connection to the database was lost: ${message}`, hint, { cause });
}
