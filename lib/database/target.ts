/** What is to be connected to: the URL, and what it and DATABASE_CA say of TLS. */
import type { ConnectionOptions } from "node:tls";
import { EtlError } from "../errors.ts";
import { certificatesIn } from "./certificates.ts";
import { notConnected } from "./failures.ts";
import type { Wanted } from "./tls.ts";

export interface Target extends Wanted {
  /** The URL for pg, without what it would make of TLS by itself. */
  url: string;
  /** What we show a server that wants a certificate of ours. */
  own: Pick<ConnectionOptions, "cert" | "key">;
}

/** The parameters that lib/database/tls.ts decides on. */
const ours = /^(ssl|sslmode|sslrootcert|sslcert|sslkey|sslnegotiation|uselibpqcompat)$/;

/** Reads the URL, and the files that it names; `given` is DATABASE_CA, one PEM or several. */
export async function targetOf(url: string, given = ""): Promise<Target> {
  // The error of new URL() would quote the URL, password and all.
  if (!URL.canParse(url)) throw notConnected(Object.assign(new Error("Invalid URL"), { code: "ERR_INVALID_URL" }));
  const { hostname, searchParams: said } = new URL(url);
  const host = said.get("host") || hostname.replace(/^\[(.*)\]$/, "$1");
  const authorities = given.trim() === "" ? [] : certificatesIn(given, "DATABASE_CA");
  const root = said.get("sslrootcert");
  // To libpq, `system` is what we know anyway.
  if (root && root !== "system") authorities.push(...certificatesIn(await read(root), "the file of sslrootcert"));
  const own: Target["own"] = {};
  for (const [part, path] of [["cert", said.get("sslcert")], ["key", said.get("sslkey")]] as const) {
    if (path) own[part] = await read(path);
  }
  return { url: withoutOurs(url), host, sslmode: said.get("sslmode") || modeOf(said.get("ssl")), authorities, own };
}

/** `ssl=…` is pg's own. */
function modeOf(ssl: string | null): string | undefined {
  if (ssl === null) return undefined;
  return ssl === "0" || ssl === "false" ? "disable" : ssl === "no-verify" ? "no-verify" : "verify-full";
}

/** Part by part: written anew as a whole, a password with odd characters might be another one. */
function withoutOurs(url: string): string {
  const [start, query = ""] = url.split(/\?(.*)/s);
  const kept = query.split("&").filter((part) =>
    ![...new URLSearchParams(part).keys()].some((name) => ours.test(name))
  );
  return query && kept.length > 0 ? `${start}?${kept.join("&")}` : start;
}

async function read(path: string): Promise<string> {
  return await Deno.readTextFile(path).catch((cause) => {
    const hint = "A function reads no file: put the authority's certificate into DATABASE_CA in place of sslrootcert.";
    throw new EtlError("database_ca", "a file that its URL names for TLS cannot be read", hint, { cause });
  });
}
