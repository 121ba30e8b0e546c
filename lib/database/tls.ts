/** How a connection to Postgres is secured: decided here alone, whatever pg would make of the URL. */
import { X509Certificate } from "node:crypto";
import {
  checkServerIdentity,
  type ConnectionOptions,
  type DetailedPeerCertificate,
  type PeerCertificate,
} from "node:tls";
import { EtlError } from "../errors.ts";
import { supabaseRoot2021 } from "./authorities.ts";
import { isSignedBy, isVersion3 } from "./certificates.ts";

/** What a connection is asked to be. */
export interface Wanted {
  /** A host's name or address, or the directory of a socket. */
  host: string;
  /** As in the URL. */
  sslmode?: string;
  /** Certificates of authorities to trust beside the usual ones, each a PEM. */
  authorities?: string[];
}

/** In the clear, or by TLS: what is verified (the authority and the host's name, the authority, nothing), and by whom. */
export type Way = "plain" | {
  verify: "full" | "authority" | "nothing";
  /** In place of the usual ones, where there are any. */
  authorities: string[];
};

/**
 * The ways to try in turn: by the authorities that are given, by the usual ones where these have not signed, and in the
 * clear where the server offers no TLS.
 *
 * sslmode is what it is to libpq, save that `allow` too begins with TLS. Without one, what is said to another machine is
 * encrypted and verified wherever its server offers TLS; to Supabase it always is, and its root is trusted there.
 */
export function waysTo({ host, sslmode, authorities: given = [] }: Wanted): Way[] {
  if (/^(\/|%2f)/i.test(host)) return ["plain"];
  const supabase = /\.supabase\.(co|com)\.?$/i.test(host);
  const authorities = supabase ? [supabaseRoot2021, ...given] : given;
  const known = authorities.length > 0;
  const usual: Way = { verify: "full", authorities: [] };
  const full: Way[] = known ? [{ verify: "full", authorities }, usual] : [usual];
  // A name is never left out for the usual authorities: anybody can have a certificate from these.
  const authority: Way[] = known ? [{ verify: "authority", authorities }, usual] : [usual];
  const unverified: Way = { verify: "nothing", authorities };
  switch (sslmode) {
    case undefined:
      return supabase ? full : isThisMachine(host) ? ["plain"] : [...full, "plain"];
    case "disable":
      return ["plain"];
    case "allow":
    case "prefer":
      return [unverified, "plain"];
    case "no-verify":
      return [unverified];
    case "require":
      return known ? authority : [unverified];
    case "verify-ca":
      return authority;
    case "verify-full":
      return full;
  }
  const hint =
    "libpq knows disable, allow, prefer, require, verify-ca and verify-full; pg knows no-verify beside them.";
  throw new EtlError("database_url", "the sslmode in its URL does not exist", hint);
}

function isThisMachine(host: string): boolean {
  return /^(localhost|127\.\d+\.\d+\.\d+|::1|)$/.test(host);
}

/** A way as pg takes it. In Deno 2.1.4 `ca` adds to the usual authorities, in 2.9.6 it replaces them. */
export function optionsOf(way: Way): false | ConnectionOptions {
  if (way === "plain") return false;
  const { verify, authorities } = way;
  return {
    rejectUnauthorized: verify !== "nothing",
    ...(authorities.length > 0 && { ca: authorities }),
    ...(authorities.length > 0 && verify !== "nothing" && { checkServerIdentity: identify(verify, authorities) }),
  };
}

/** Asked once the runtime is content with the chain. Deno 2.1.4 does not ask: it has compared the name by itself. */
function identify(verify: "full" | "authority", pems: string[]) {
  const authorities = pems.map((pem) => new X509Certificate(pem));
  return (host: string, certificate: PeerCertificate): Error | undefined => {
    if (!isVersion3(certificate.raw)) return new Error("UnsupportedCertVersion");
    if (!isSignedBy(authorities, certificate as DetailedPeerCertificate)) return new Error("UnknownIssuer");
    return verify === "full" ? checkServerIdentity(host, certificate) : undefined;
  };
}
