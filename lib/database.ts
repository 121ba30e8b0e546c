/** One connection to Postgres, and what it says when it fails. */
// @ts-types="@types/pg"
import pg from "pg";
import { EtlError } from "./errors.ts";

export type Client = pg.Client;

const refused: Record<string, [message: string, hint: string]> = {
  "28P01": ["the password is wrong", "Check the password in DATABASE_URL."],
  "28000": ["the role may not connect", "Check the role in DATABASE_URL and the server's pg_hba.conf."],
  "3D000": ["the database does not exist", "Check the database's name in DATABASE_URL, or create it."],
  "53300": ["it has no connection left", "Wait, or raise max_connections."],
  "ECONNREFUSED": ["no server answers there", "Is Postgres running, and are host and port in DATABASE_URL right?"],
  "ENOTFOUND": ["the host is unknown", "Check the host in DATABASE_URL."],
};

/**
 * Connects to `url`, or says in words why not. Neither the URL nor its password reaches the message.
 *
 * Beyond this machine the connection is encrypted, and the certificate verified, wherever the server offers it; an
 * sslmode in the URL decides otherwise.
 */
export async function connect(url: string): Promise<Client> {
  try {
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

async function open(url: string, ssl?: pg.ClientConfig["ssl"]): Promise<Client> {
  const client = new pg.Client({
    connectionString: url,
    application_name: "tdc-etl",
    connectionTimeoutMillis: 10_000,
    keepAlive: true,
    ...(ssl && { ssl }),
  });
  // A connection that dies between two statements is reported by the next one; unheard, it would end the process.
  client.on("error", () => {});
  await client.connect();
  return client;
}

function notConnected(cause: Error & { code?: string }): EtlError {
  const { code = "connection", message } = cause;
  if (/certificate/i.test(message)) {
    const hint =
      "Name the certificate of its authority in DENO_CERT, or, if you must, add ?sslmode=no-verify to the URL.";
    return new EtlError("tls", "Cannot connect to the database: its certificate is not trusted", hint, { cause });
  }
  const shape = "Check DATABASE_URL: postgres://user:password@host:5432/database";
  const [why, hint] = refused[code] ?? [code === "ERR_INVALID_URL" ? "its URL cannot be read" : message, shape];
  return new EtlError(code, `Cannot connect to the database: ${why}`, hint, { cause });
}
