/** What is wrong with the partner's server or its answer, in words. What comes in the file: ../format. */
import { EtlError } from "../errors.ts";

/** What a body may be packed in that its own bytes do not tell. gzip they do, and the rest is no packing: "none", "utf-8". */
const unreadable = /^(br|deflate|zstd|(x-)?compress|dc[bz]|exi|aes128gcm)$/;

/** Why a body of such headers is not read; null where it is. */
export function notTaken(place: string, headers: Headers): EtlError | null {
  const codings = (headers.get("content-encoding") ?? "").toLowerCase().split(",").map((coding) => coding.trim());
  const coding = codings.find((coding) => unreadable.test(coding));
  if (!coding) return null;
  const hint = "Ask the partner to send it plain or as gzip.";
  return new EtlError("content_encoding", `${place} answered with the content encoding ${coding}`, hint);
}

/** Its content type tells nothing: scripts that write CSV often leave it as text/html. */
export function notData(): EtlError {
  return new EtlError(
    "html",
    "the server answered with a web page in place of data",
    "It may be a login or error page: open the URL in a browser, and check whether it needs a new link.",
  );
}

/** Null where it is not. */
export function tooBig(bytes: number, limit: number): EtlError | null {
  if (bytes <= limit) return null;
  const hint =
    "Ask the partner whether this is the right file, and for smaller ones, each with its own feed, if it is.";
  return new EtlError("too_big", `the body has more than ${limit} bytes`, hint);
}

/** `waitMs`: for how long the server has us stay away, where it says so. */
export function badStatus(place: string, status: number, waitMs: number | null): EtlError {
  const hint = status === 404
    ? "The file is not there: check etl.feeds.url."
    : status === 401 || status === 403
    ? "The partner refuses us: check whether it needs a new key, in etl.feeds.url or etl.feeds.headers."
    : status < 400
    ? "That is no answer to a request for the whole file: ask the partner to have the server mended."
    : "The partner's server fails: try again later, or ask the partner.";
  const until = waitMs ? `, and asks us to stay away until ${instant(Date.now() + waitMs)}` : "";
  return new EtlError(`http_${status}`, `${place} answered ${status}${until}`, hint);
}

function instant(time: number): string {
  return new Date(time).toISOString().replace(/\..*/, "Z");
}

/** `isCircle`: it came by the same URL twice. */
export function tooManyRedirects(place: string, isCircle: boolean): EtlError {
  const hint = "Open the URL in a browser, and check whether it needs a new link.";
  if (isCircle) return new EtlError("redirect_loop", `${place} redirects in a circle`, hint);
  return new EtlError("redirects", `${place} redirects more than 20 times`, hint);
}

interface Fault {
  /** In the words of Deno's client, of either version. */
  told: RegExp;
  code: string;
  /** With {place} and {host}. */
  message: string;
  hint: string;
  /** Whether another try will change nothing. */
  lasts?: true;
}

const mended = "Ask the partner to have the server mended.";

/** The first that fits is told. */
const faults: Fault[] = [
  {
    told: /peer certificate: .*(UnknownIssuer|BadSignature)/,
    code: "certificate",
    message: "{place} cannot be reached: {host} shows a certificate of an authority that is not known here",
    hint:
      "Ask the partner for one of a public authority, with all between it and that. Behind a proxy of your own, set DENO_TLS_CA_STORE=system, or DENO_CERT to its certificate.",
    lasts: true,
  },
  {
    told: /peer certificate: .*(not valid for name|NotValidForName)/,
    code: "certificate",
    message: "{place} cannot be reached: {host} shows a certificate that is made out to another host",
    hint: "Check the host in etl.feeds.url, or ask the partner to have the certificate made anew.",
    lasts: true,
  },
  {
    told: /peer certificate: .*(expired|Expired|not valid yet|NotValidYet)/,
    code: "certificate",
    message: "{place} cannot be reached: {host} shows a certificate that has expired, or is not valid yet",
    hint: "Ask the partner to have it renewed. Or is the clock of this machine wrong?",
    lasts: true,
  },
  {
    told: /invalid peer certificate/,
    code: "certificate",
    message: "{place} cannot be reached: {host} shows a certificate that is not trusted",
    hint: "Ask the partner to have it made anew: of X.509 version 3, a server's own, by a public authority.",
    lasts: true,
  },
  {
    told: /InvalidContentType|peer is incompatible|fatal alert: (HandshakeFailure|ProtocolVersion)/,
    code: "no_tls",
    message: "{place} cannot be reached: {host} speaks no TLS 1.2 or 1.3 there",
    hint: "Check the port in etl.feeds.url, and whether it is an http URL; or ask the partner.",
    lasts: true,
  },
  {
    told: /head is too large/,
    code: "bad_answer",
    message: "{place} answered with too large a header",
    hint: mended,
    lasts: true,
  },
  {
    told: /invalid (HTTP |content-length)|transfer-encoding parsed/i,
    code: "bad_answer",
    message: "{place} answered with something that is not HTTP",
    hint: mended,
    lasts: true,
  },
  {
    told: /dns error: .*(emporary failure|try again)/,
    code: "unreachable",
    message: "{place} cannot be reached: {host} cannot be looked up, for no name server answers",
    hint: "Is this machine's own network up?",
  },
  {
    told: /dns error/,
    code: "no_such_host",
    message: "{place} cannot be reached: {host} is unknown: its name has no address",
    hint: "Check the host in etl.feeds.url for a slip; if it is right, ask the partner whether it has moved.",
  },
  {
    told: /Requests to port \d+ are blocked/,
    code: "port_refused",
    message: "{place} cannot be reached: {host} is asked on a port that no HTTP client asks",
    hint: "Ask the partner for a URL without that port, and correct etl.feeds.url.",
    lasts: true,
  },
  {
    told: /Connection refused/,
    code: "port_refused",
    message: "{place} cannot be reached: {host} refuses the connection: nothing listens on that port",
    hint: "Check host and port in etl.feeds.url, and whether the partner's server is up.",
  },
  {
    told: /(?:)/,
    code: "unreachable",
    message: "{place} cannot be reached: {host} does not answer",
    hint: "Check the host in etl.feeds.url, and whether the partner's server is up.",
  },
];

/** Why nothing came of a request for `url`, where the feed's or a redirect's leads. */
export function noAnswer(place: string, { host }: URL, cause: Error): EtlError & { lasts?: true } {
  const said = `${cause.message} ${(cause.cause as Error | undefined)?.message}`;
  const { code, message, hint, lasts } = faults.find(({ told }) => told.test(said))!;
  const words = message.replace("{place}", () => place).replace("{host}", () => host);
  return Object.assign(new EtlError(code, words, hint, { cause }), { lasts });
}

export function cutShort(received: number, total: number | null, cause?: unknown): EtlError {
  const message = `the body was cut short after ${received}${total === null ? "" : ` of ${total}`} bytes`;
  return new EtlError("cut_short", message, "Try again; if it lasts, the partner's server breaks off.", { cause });
}
