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

/** Certificates for `host` in files in `home`, which are the server's there; `settings` are what Postgres is to be told. */
export async function keepCertificates(home: string, host: string): Promise<Certificates & { settings: string[] }> {
  const owner = await ownerOf(home);
  const files = { authority: `${home}/authority.pem`, certificate: `${home}/server.pem`, key: `${home}/server.key` };
  for (const [name, text] of Object.entries(certificatesFor(host))) {
    const path = files[name as keyof Certificates];
    await Deno.writeTextFile(path, text, { mode: 0o600 });
    if (owner.uid !== undefined) await Deno.chown(path, owner.uid, owner.gid!);
  }
  return { ...files, settings: ["ssl=on", `ssl_cert_file=${files.certificate}`, `ssl_key_file=${files.key}`] };
}

/** A certificate for `host`, signed by an authority that nobody knows yet. */
function certificatesFor(host: string): Certificates {
  const authority = keyPair();
  const server = keyPair();
  const authorityName = [{ name: "commonName", value: "an authority of the tests" }];
  const own = certificate(authority, authority, authorityName, authorityName, [
    { name: "basicConstraints", cA: true, critical: true },
    { name: "keyUsage", keyCertSign: true, critical: true },
  ]);
  const issued = certificate(server, authority, [{ name: "commonName", value: host }], authorityName, [
    { name: "basicConstraints", cA: false },
    { name: "subjectAltName", altNames: [{ type: 2, value: host }] },
  ]);
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
): string {
  const made = forge.pki.createCertificate();
  made.publicKey = of.publicKey;
  made.serialNumber = `01${forge.util.bytesToHex(forge.random.getBytesSync(8))}`;
  made.validity.notBefore = new Date(Date.now() - 3_600_000);
  made.validity.notAfter = new Date(Date.now() + 86_400_000);
  made.setSubject(subject);
  made.setIssuer(issuer);
  made.setExtensions(extensions);
  made.sign(by.privateKey, forge.md.sha256.create());
  return forge.pki.certificateToPem(made);
}
