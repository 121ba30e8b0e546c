/** One connection to Postgres. */
import type { EventEmitter } from "node:events";
import type { Duplex } from "node:stream";
// @ts-types="@types/pg"
import pg from "pg";
import { asEtlError } from "../errors.ts";
import { connectMs } from "../limits.ts";
import { notConnected } from "./failures.ts";
import { shownCertificate } from "./shown_certificate.ts";
import { type Target, targetOf } from "./target.ts";
import { optionsOf, type Way, waysTo } from "./tls.ts";
import { type Failure, isUnknownAuthority, offersNoTls } from "./tls_faults.ts";

/** Closed at the end of the block that holds it. */
export type Client = pg.Client & AsyncDisposable;

/** Connects to `url`, or says in words why not. Neither the URL nor its password reaches the message. */
export async function connect(url: string): Promise<Client> {
  try {
    const target = await targetOf(url, Deno.env.get("DATABASE_CA"));
    return await openBy(waysTo(target), target);
  } catch (cause) {
    throw asEtlError(cause, "Cannot connect to the database");
  }
}

/** By the first way that leads there. What follows an authority that is unknown is verified too, never in the clear. */
async function openBy([way, ...others]: Way[], target: Target): Promise<Client> {
  try {
    return await open(target, way);
  } catch (cause) {
    const failure = cause as Failure;
    const next = others.filter((other) => other === "plain" ? offersNoTls(failure) : isUnknownAuthority(failure));
    if (next.length > 0) return await openBy(next, target);
    throw notConnected(await withCertificate(failure, target), way);
  }
}

/** To Deno 2.9.6 the authority is unknown whatever is wrong with a certificate, which itself tells more. */
async function withCertificate(failure: Failure, { url }: Target): Promise<Failure> {
  if (failure.code !== "UNABLE_TO_VERIFY_LEAF_SIGNATURE") return failure;
  const { host, port } = new pg.Client(url);
  return Object.assign(failure, { certificate: await shownCertificate(host, port) });
}

/** A bigint is a number here: what we ask for is counts and sizes, none near 2^53. A numeric stays a text: 12.50 is not 12.5. */
const types: pg.CustomTypesConfig = {
  getTypeParser: (oid, format) => oid === pg.types.builtins.INT8 ? Number : pg.types.getTypeParser(oid, format),
};

async function open({ url, own }: Target, way: Way): Promise<Client> {
  const ssl = optionsOf(way);
  const client = new pg.Client({
    connectionString: url,
    application_name: "tdc-etl",
    connectionTimeoutMillis: connectMs,
    types,
    keepAlive: true,
    keepAliveInitialDelayMillis: 60_000,
    ssl: ssl && { ...ssl, ...own },
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
