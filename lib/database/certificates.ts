/** Certificates: texts that hold them, and who has signed a server's. */
import { X509Certificate } from "node:crypto";
import type { DetailedPeerCertificate } from "node:tls";
import { EtlError } from "../errors.ts";

/** The certificates in a text, each by itself; `name` is the text's. Their line breaks may be lost, or written as \n. */
export function certificatesIn(text: string, name: string): string[] {
  const bodies = text.replaceAll("\\n", "\n").matchAll(/-----BEGIN CERTIFICATE-----([^-]+)-----END CERTIFICATE-----/g);
  const found = Array.from(bodies, ([, body]) => {
    const lines = body.replaceAll(/\s/g, "").match(/.{1,64}/g) ?? [];
    return ["-----BEGIN CERTIFICATE-----", ...lines, "-----END CERTIFICATE-----", ""].join("\n");
  });
  try {
    for (const pem of found) new X509Certificate(pem);
    if (found.length > 0) return found;
  } catch {
    // The error may quote the text.
  }
  const hint = "It is text like -----BEGIN CERTIFICATE----- … -----END CERTIFICATE-----, once or several times.";
  throw new EtlError("database_ca", `${name} holds something else than certificates`, hint);
}

/**
 * Whether one of `authorities` has signed the certificate, be it by way of others that the server has sent.
 *
 * Looked at again, for to Deno 2.9.6 whoever has signed a certificate of version 1 is the authority that it names.
 */
export function isSignedBy(
  authorities: X509Certificate[],
  { raw, issuerCertificate: issuer }: DetailedPeerCertificate,
): boolean {
  const certificate = new X509Certificate(raw);
  if (authorities.some((authority) => verifies(authority, certificate))) return true;
  if (!issuer?.raw || issuer.raw.equals(raw)) return false;
  const above = new X509Certificate(issuer.raw);
  return above.ca && verifies(above, certificate) && isSignedBy(authorities, issuer);
}

function verifies(authority: X509Certificate, certificate: X509Certificate): boolean {
  try {
    return certificate.verify(authority.publicKey);
  } catch {
    // A key of another kind.
    return false;
  }
}

/** Two sequences begin a certificate, and its version comes first in them, unless it is 1. */
export function isVersion3(der: Uint8Array): boolean {
  const within = (at: number) => at + 2 + (der[at + 1] > 0x80 ? der[at + 1] & 0x7f : 0);
  const at = within(within(0));
  return der[at] === 0xa0 && der[at + 4] === 2;
}
