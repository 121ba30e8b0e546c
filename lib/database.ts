/** One connection to Postgres, and what it says when it fails. */
// @ts-types="@types/pg"
import pg from "pg";
import { EtlError } from "./errors.ts";

export type Client = pg.Client;

const refused: Record<string, [message: string, hint: string]> = {
  "28P01": ["the password is wrong", "Check the password in DATABASE_URL."],
  "28000": ["the role may not connect", "Check the role in DATABASE_URL and the server's pg_hba.conf."],
  "3D000": ["the database does not exist", "Check the database's name in DATABASE_URL, or create it."],
  "ECONNREFUSED": ["no server answers there", "Is Postgres running, and are host and port in DATABASE_URL right?"],
  "ENOTFOUND": ["the host is unknown", "Check the host in DATABASE_URL."],
};

/** Connects to `url`, or says in words why not. Neither the URL nor its password reaches the message. */
export async function connect(url: string): Promise<Client> {
  try {
    const client = new pg.Client({
      connectionString: url,
      application_name: "tdc-etl",
      connectionTimeoutMillis: 10_000,
      keepAlive: true,
    });
    // A connection that dies between two statements is reported by the next one; unheard, it would end the process.
    client.on("error", () => {});
    await client.connect();
    return client;
  } catch (cause) {
    const { code = "connection", message = String(cause) } = cause as { code?: string; message?: string };
    const [why, hint] = refused[code] ?? [message, "Check DATABASE_URL: postgres://user:password@host:5432/database"];
    throw new EtlError(code, `Cannot connect to the database: ${why}`, hint, { cause });
  }
}
