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

/** What may be wrong with a server's certificate. Forged: of version 1, and not signed by the authority that it names. */
export type Flaw = "expired" | "version 1" | "forged";

/** Certificates for `hosts` in files in `home`, which are the server's there; `settings` are what Postgres is to be told. */
export async function keepCertificates(
  home: string,
  hosts: string[],
  flaw?: Flaw,
): Promise<Certificates & { settings: string[] }> {
  const owner = await ownerOf(home);
  const files = { authority: `${home}/authority.pem`, certificate: `${home}/server.pem`, key: `${home}/server.key` };
  for (const [name, text] of Object.entries(certificatesFor(hosts, flaw))) {
    const path = files[name as keyof Certificates];
    await Deno.writeTextFile(path, text, { mode: 0o600 });
    if (owner.uid !== undefined) await Deno.chown(path, owner.uid, owner.gid!);
  }
  return { ...files, settings: ["ssl=on", `ssl_cert_file=${files.certificate}`, `ssl_key_file=${files.key}`] };
}

/** A certificate for `hosts`, signed by an authority that nobody knows yet. */
export function certificatesFor(hosts: string[], flaw?: Flaw): Certificates {
  const authority = keyPair();
  const server = keyPair();
  const authorityName = [{ name: "commonName", value: "an authority of the tests" }];
  const own = certificate(authority, authority, authorityName, authorityName, [
    { name: "basicConstraints", cA: true, critical: true },
    { name: "keyUsage", keyCertSign: true, critical: true },
  ]);
  const signer = flaw === "forged" ? keyPair() : authority;
  const extensions = [
    { name: "basicConstraints", cA: false },
    { name: "subjectAltName", altNames: hosts.map((value) => ({ type: 2, value })) },
  ];
  const name = [{ name: "commonName", value: hosts[0] }];
  const issued = certificate(server, signer, name, authorityName, extensions, flaw);
  return { authority: own, certificate: issued, key: forge.pki.privateKeyToPem(server.privateKey) };
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

function certificate(
  of: forge.pki.rsa.KeyPair,
  by: forge.pki.rsa.KeyPair,
  subject: forge.pki.CertificateField[],
  issuer: forge.pki.CertificateField[],
  extensions: Record<string, unknown>[],
  flaw?: Flaw,
): string {
  const made = forge.pki.createCertificate();
  const hours = (n: number) => new Date(Date.now() + n * 3_600_000);
  made.publicKey = of.publicKey;
  made.serialNumber = `01${forge.util.bytesToHex(forge.random.getBytesSync(8))}`;
  made.validity.notBefore = hours(flaw === "expired" ? -48 : -1);
  made.validity.notAfter = hours(flaw === "expired" ? -24 : 24);
  made.setSubject(subject);
  made.setIssuer(issuer);
  const isVersion1 = flaw === "version 1" || flaw === "forged";
  if (!isVersion1) made.setExtensions(extensions);
  made.sign(by.privateKey, forge.md.sha256.create());
  if (isVersion1) signAsVersion1(made, by);
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
