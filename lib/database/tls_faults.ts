/** What is wrong with the TLS of a database, in words. */
import type { PeerCertificate } from "node:tls";
import { isVersion3 } from "./certificates.ts";
import type { Meaning } from "./sqlstates.ts";
import type { Way } from "./tls.ts";

export interface Failure extends Error {
  code?: string;
  /** The server's, where it was looked at. */
  certificate?: PeerCertificate | null;
}

interface Fault {
  /** In the code of Node, or in the words of Deno 2.1.4. */
  told: RegExp;
  message: string;
  hint: string;
}

const unknownAuthority = /UnknownIssuer|BadSignature|UNABLE_TO_|SELF_SIGNED/;
const renew = "Have its certificate made anew";

/** The first that fits is told. */
const faults: Fault[] = [
  {
    told: /UnsupportedCertVersion/,
    message: "it shows a certificate of X.509 version 1, which is not trusted",
    hint: `${renew}, as version 3: with extensions, such as the subjectAltName that names its host.`,
  },
  {
    told: /NotValidForName|ALTNAME_INVALID/,
    message: "its certificate is made out to another host",
    hint:
      "Connect to the host that it names. Or give its authority in DATABASE_CA, and add sslmode=verify-ca, which leaves the name out; only in a function it cannot.",
  },
  {
    told: /Expired|HAS_EXPIRED/,
    message: "its certificate has expired",
    hint: `${renew}. Or is the clock of this machine wrong?`,
  },
  {
    told: /NotValidYet|NOT_YET_VALID/,
    message: "its certificate is not valid yet",
    hint: `${renew}. Or is the clock of this machine wrong?`,
  },
  {
    told: /CaUsedAsEndEntity/,
    message: "its certificate is an authority's own, which a function's runtime takes for no server's",
    hint: `${renew}, as a server's (basicConstraints CA:FALSE), and give the authority that signs it in DATABASE_CA.`,
  },
  {
    told: unknownAuthority,
    message: "its certificate is signed by an authority that is not known here",
    hint:
      'Give that authority\'s certificate, as PEM: supabase secrets set DATABASE_CA="$(cat ca.crt)" for a function, export DATABASE_CA="$(cat ca.crt)" for a command.',
  },
  {
    told: /certificate/i,
    message: "its certificate is not trusted",
    hint: `${renew}, as X.509 version 3, by an authority that DATABASE_CA holds.`,
  },
];

/** What a failure to connect says of TLS; null where it says nothing. */
export function tlsFault(failure: Failure, way: Way): Meaning | null {
  if (way === "plain") return null;
  if (offersNoTls(failure)) {
    const hint = "Turn TLS on in the server; or, within a network that you trust, sslmode=prefer does without.";
    return { code: "tls", message: "the server offers no TLS", hint };
  }
  const fault = faults.find(({ told }) => told.test(wordsOf(failure)));
  if (!fault) return null;
  // Deno 2.1.4, on which functions run, always verifies.
  const anyway = way.verify === "nothing"
    ? "The URL's sslmode asks for TLS without verification, which this runtime cannot do. "
    : "";
  return { code: "tls", message: fault.message, hint: anyway + fault.hint };
}

export function offersNoTls({ message }: Failure): boolean {
  return /does not support SSL/.test(message);
}

export function isUnknownAuthority(failure: Failure): boolean {
  return unknownAuthority.test(wordsOf(failure));
}

function wordsOf({ code, message, certificate }: Failure): string {
  const words = [code, message];
  if (certificate?.raw) {
    if (!isVersion3(certificate.raw)) words.push("UnsupportedCertVersion");
    if (Date.parse(certificate.valid_to) < Date.now()) words.push("Expired");
    if (Date.parse(certificate.valid_from) > Date.now()) words.push("NotValidYet");
  }
  return words.join(" ");
}
