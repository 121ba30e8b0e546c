/** A feed's address and headers, with the secrets in their places -> what its server is asked. */
import { EtlError } from "../errors.ts";
import { isInside, isLoopback } from "./network.ts";

/** What etl.feeds says, with the dates in the URL; null where these cannot be written. */
export interface Source {
  address: string | null;
  headers: Record<string, string>;
}

/** Name -> secret. */
export type Secrets = Record<string, string>;

export interface Asking {
  /** With the secrets in it: never to be shown. */
  url: URL;
  /** The URL as it may be shown: without its query, which may hold a key, and with the names of secrets. */
  place: string;
  /** For the feed's own origin alone. */
  headers: Record<string, string>;
  secrets: Secrets;
}

const reference = /\{secret:(\w+)\}/g;

/** Headers that say how the bytes come, which is for the loader and its HTTP client to say. */
const reserved =
  /^(accept-encoding|if-.*|range|host|connection|content-length|transfer-encoding|te|trailer|upgrade|keep-alive|expect|proxy-.*)$/i;

/** The names of the secrets that it needs. */
export function secretsIn({ address, headers }: Source): string[] {
  const texts = [address ?? "", ...Object.values(headers)];
  return [...new Set(texts.flatMap((text) => [...text.matchAll(reference)].map(([, name]) => name)))];
}

/** Each of these secrets, from the vault or the environment. */
export function secretsFrom(vault: Record<string, string | null>, names: string[]): Secrets {
  return Object.fromEntries(names.map((name) => {
    // Pasted values often end in a line break.
    const secret = [vault[name], Deno.env.get(`ETL_SECRET_${name}`)].map((value) => value?.trim()).find(Boolean);
    if (secret) return [name, secret];
    throw new EtlError(
      "secret",
      `there is no secret ${name}`,
      `Put it into the vault under the name ${name}, or into the loader's environment as ETL_SECRET_${name}.`,
    );
  }));
}

export function asking({ address, headers }: Source, secrets: Secrets = {}): Asking {
  if (address === null) {
    const hint = "Check etl.feeds.url, where it says {day…}, and etl.feeds.time_zone.";
    throw new EtlError("url", "the date in its URL cannot be written", hint);
  }
  const shown = checkUrl(address);
  const url = new URL(filled(address, secrets, encodeURIComponent));
  const own = Object.entries(headers).map(([name, value]) => [name, header(name, value, secrets)]);
  const names = own.map(([name]) => name.toLowerCase());
  const twice = names.find((name, i) => names.indexOf(name) < i);
  if (twice) throw badHeader(`its header ${twice} is there twice`, "Leave one of them in etl.feeds.headers.");
  if (Object.keys(secrets).length > 0 && url.protocol === "http:" && !isLoopback(url)) {
    const hint = "Ask the partner for an https URL, and correct etl.feeds.url.";
    throw new EtlError("secret", "a secret would go over plain http beyond this machine", hint);
  }
  const place = (shown.origin + shown.pathname).replaceAll(/%7B(secret:\w+)%7D/g, "{$1}");
  return { url, place, headers: Object.fromEntries(own), secrets };
}

function filled(text: string, secrets: Secrets, encode = (secret: string) => secret): string {
  return text.replaceAll(reference, (_, name) => encode(secrets[name]));
}

/** The address as a URL, its secrets still named, where it is one that may be asked. */
function checkUrl(address: string): URL {
  const url = URL.parse(address);
  if (!url || !/^https?:$/.test(url.protocol)) {
    throw new EtlError("url", "its URL is not an http or https URL", "Correct etl.feeds.url.");
  }
  if (url.username || url.password) {
    throw new EtlError(
      "url",
      "its URL holds a user name or password",
      "Put them into a secret, and name it in etl.feeds.headers: docs/feeds.md shows how.",
    );
  }
  if (url.host.includes("{") || address.replaceAll(reference, "").includes("{")) {
    throw new EtlError(
      "url",
      "its URL holds a { that begins neither a date nor a secret",
      "There are {day}, {day-1}, {day-1:YYYYMMDD} and, behind the host, {secret:NAME}. A { of its own is written %7B.",
    );
  }
  return url;
}

function header(name: string, template: string, secrets: Secrets): string {
  if (!/^[!#$%&'*+.^`|~\w-]+$/.test(name)) {
    throw badHeader("a name in its headers is none that HTTP knows", "A name is of letters, digits and -.");
  }
  if (reserved.test(name)) {
    throw badHeader(`its header ${name} is for the loader to say`, "Remove it from etl.feeds.headers.");
  }
  const other = /\{\s*(secret|day)\b/i.exec(template.replaceAll(reference, ""))?.[1].toLowerCase();
  if (other === "secret") {
    const hint = "A secret is named {secret:NAME}, of letters, digits and _, without blanks.";
    throw badHeader(`its header ${name} names a secret in another way than is known`, hint);
  }
  if (other) throw badHeader(`its header ${name} names a day, which only a URL can`, "Name it in etl.feeds.url.");
  const value = filled(template, secrets);
  if (!/^[\t\x20-\x7e\x80-\xff]*$/.test(value)) {
    const hint = "Look for it in etl.feeds.headers, and in the secret where it names one.";
    throw badHeader(`its header ${name} holds a line break or another character that no header can carry`, hint);
  }
  return value;
}

function badHeader(message: string, hint: string): EtlError {
  return new EtlError("headers", message, hint);
}

/** Where the server at `from` sends us to, if it is where we go. */
export function redirected(asked: Asking, from: URL, location: string): URL {
  const url = URL.parse(location, from.href);
  const refuse = (where: string, hint: string) =>
    new EtlError("redirects", `${asked.place} redirects to ${where}`, hint);
  if (!url || !/^https?:$/.test(url.protocol)) {
    throw refuse("something that is not an http or https URL", "Ask the partner to have the server mended.");
  }
  if (isInside(url) && !isInside(asked.url)) {
    const hint = "No partner has files there: ask the partner. If it is meant, it is for etl.feeds.url to say.";
    throw refuse(`${url.host}, a host of the loader's own network`, hint);
  }
  const isClear = url.protocol === "http:" && (from.protocol === "https:" || !isLoopback(url));
  if (isClear && Object.keys(asked.secrets).length > 0) {
    throw refuse("plain http, which no secret may lead to", "Ask the partner to have the server mended.");
  }
  return url;
}

/** The error as it may be shown: no secret is in it, nor beneath it, whatever the server or the HTTP client said. */
export function shown({ secrets }: Asking, error: EtlError): EtlError {
  if (Object.keys(secrets).length === 0) return error;
  let { message } = error;
  for (const [name, secret] of Object.entries(secrets)) {
    for (const text of [secret, encodeURIComponent(secret), encodeURI(secret)]) {
      const spelled = new RegExp(text.replaceAll(/[^\w]/g, "\\$&"), "gi");
      message = message.replaceAll(spelled, `{secret:${name}}`);
    }
  }
  return new EtlError(error.code, message, error.hint);
}
