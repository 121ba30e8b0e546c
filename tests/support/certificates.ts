/** A certificate authority for a test, and a server's certificate from it. */
import { generateKeyPairSync } from "node:crypto";
// @ts-types="@types/node-forge"
import forge from "node-forge";
import { ownerOf } from "../../lib/local/postgres/home.ts";

export interface Certificates {
  /** PEM, all three; or the files that hold it. */
  authority: string;
  certificate: string;
  key: string;
}

/**
 * A server's certificate that is not simply signed by the authority: by way of an intermediate one; or one that is
 * wrong. Forged: of version 1, it or its intermediate, and not signed by the authority that it names.
 */
export type Kind =
  | "by an intermediate"
  | "an authority's own"
  | "expired"
  | "version 1"
  | "forged"
  | "by a forged intermediate";

/** Certificates for `hosts` in files in `home`, which are the server's there; `settings` are what Postgres is to be told. */
export async function keepCertificates(
  home: string,
  hosts: string[],
  kind?: Kind,
): Promise<Certificates & { settings: string[] }> {
  const owner = await ownerOf(home);
  const files = { authority: `${home}/authority.pem`, certificate: `${home}/server.pem`, key: `${home}/server.key` };
  for (const [name, text] of Object.entries(certificatesFor(hosts, kind))) {
    const path = files[name as keyof Certificates];
    await Deno.writeTextFile(path, text, { mode: 0o600 });
    if (owner.uid !== undefined) await Deno.chown(path, owner.uid, owner.gid!);
  }
  return { ...files, settings: ["ssl=on", `ssl_cert_file=${files.certificate}`, `ssl_key_file=${files.key}`] };
}

/** A certificate for `hosts`, signed by an authority that nobody knows yet. */
export function certificatesFor(hosts: string[], kind?: Kind): Certificates {
  const [authority, intermediate, stranger, server] = Array.from({ length: 4 }, keyPair);
  const [authorityName, intermediateName, serverName] = ["an authority of the tests", "an intermediate", hosts[0]].map(
    (value) => [{ name: "commonName", value }],
  );
  const forAuthorities = [
    { name: "basicConstraints", cA: true, critical: true },
    { name: "keyUsage", keyCertSign: true, critical: true },
  ];
  const forServers = [
    { name: "basicConstraints", cA: false },
    { name: "subjectAltName", altNames: hosts.map(altName) },
  ];
  const signer = { key: kind === "forged" ? stranger : authority, name: authorityName };
  const above = { key: kind === "by a forged intermediate" ? stranger : authority, name: authorityName };
  const isDirect = !kind?.includes("intermediate");
  const issuer = isDirect ? signer : { key: intermediate, name: intermediateName };
  const leaf = certificate(server, issuer, serverName, {
    extensions: kind === "version 1" || kind === "forged" ? null : forServers,
    isExpired: kind === "expired",
  });
  const extensions = kind === "by a forged intermediate" ? null : forAuthorities;
  const chain = isDirect ? [leaf] : [leaf, certificate(intermediate, above, intermediateName, { extensions })];
  const own = certificate(authority, { key: authority, name: authorityName }, authorityName, {
    extensions: kind === "an authority's own" ? [...forAuthorities, ...forServers.slice(1)] : forAuthorities,
  });
  if (kind === "an authority's own") {
    return { authority: own, certificate: own, key: forge.pki.privateKeyToPem(authority.privateKey) };
  }
  return { authority: own, certificate: chain.join(""), key: forge.pki.privateKeyToPem(server.privateKey) };
}

function altName(host: string): Record<string, unknown> {
  return /^[\d.]+$/.test(host) ? { type: 7, ip: host } : { type: 2, value: host };
}

// The library's own keys take seconds to find.
function keyPair(): forge.pki.rsa.KeyPair {
  const { privateKey, publicKey } = generateKeyPairSync("rsa", {
    modulusLength: 2048,
    privateKeyEncoding: { type: "pkcs1", format: "pem" },
    publicKeyEncoding: { type: "spki", format: "pem" },
  });
  return { privateKey: forge.pki.privateKeyFromPem(privateKey), publicKey: forge.pki.publicKeyFromPem(publicKey) };
}

type Name = forge.pki.CertificateField[];

/** Without extensions it is of version 1. */
function certificate(
  of: forge.pki.rsa.KeyPair,
  issuer: { key: forge.pki.rsa.KeyPair; name: Name },
  subject: Name,
  { extensions, isExpired = false }: { extensions: Record<string, unknown>[] | null; isExpired?: boolean },
): string {
  const made = forge.pki.createCertificate();
  const inHours = (hours: number) => new Date(Date.now() + hours * 3_600_000);
  made.publicKey = of.publicKey;
  made.serialNumber = `01${forge.util.bytesToHex(forge.random.getBytesSync(8))}`;
  made.validity.notBefore = inHours(isExpired ? -48 : -1);
  made.validity.notAfter = inHours(isExpired ? -24 : 24);
  made.setSubject(subject);
  made.setIssuer(issuer.name);
  if (extensions) made.setExtensions(extensions);
  made.sign(issuer.key.privateKey, forge.md.sha256.create());
  if (!extensions) signAsVersion1(made, issuer.key);
  return forge.pki.certificateToPem(made);
}

/** A certificate of version 1 does not name its version, which the library does always. */
function signAsVersion1(made: forge.pki.Certificate, by: forge.pki.rsa.KeyPair): void {
  const { tbsCertificate } = made as unknown as { tbsCertificate: { value: forge.asn1.Asn1[] } };
  tbsCertificate.value.shift();
  const digest = forge.md.sha256.create();
  digest.update(forge.asn1.toDer(tbsCertificate as unknown as forge.asn1.Asn1).getBytes());
  made.signature = by.privateKey.sign(digest);
}
