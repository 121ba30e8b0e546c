/** What of a feed's URL and headers is asked, and what is refused in words, without a request and without the secret. */
import assert from "node:assert/strict";
import { inspect } from "node:util";
import { asking, redirected, secretsFrom, secretsIn, shown } from "../../lib/fetch/asking.ts";
import { openDownload } from "../../lib/fetch/download.ts";
import { isInside, isLoopback } from "../../lib/fetch/network.ts";
import { EtlError } from "../../lib/errors.ts";
import { environment } from "../support/environment.ts";

const secrets = { KEY: "s3cret/+&#?é", BROKEN: "s3cret\nx-evil: 1", EURO: "s3cret€", BARE: "s3cret" };
const origin = "https://partner.example";

const made: Record<string, { address?: string; headers?: Record<string, string>; url: string; place: string }> = {
  "a secret in the query": {
    address: `${origin}/file?key={secret:KEY}&day=1`,
    url: `${origin}/file?key=s3cret%2F%2B%26%23%3F%C3%A9&day=1`,
    place: `${origin}/file`,
  },
  "a secret in the path": {
    address: `${origin}/{secret:KEY}/{secret:BARE}.csv`,
    url: `${origin}/s3cret%2F%2B%26%23%3F%C3%A9/s3cret.csv`,
    place: `${origin}/{secret:KEY}/{secret:BARE}.csv`,
  },
  "a { of its own": { address: `${origin}/%7Bday%7D`, url: `${origin}/%7Bday%7D`, place: `${origin}/%7Bday%7D` },
  "a secret over plain http to this machine": {
    address: "http://localhost:8000/?{secret:BARE}",
    url: "http://localhost:8000/?s3cret",
    place: "http://localhost:8000/",
  },
};

for (const [what, { address = origin, url, place }] of Object.entries(made)) {
  Deno.test(`${what} is asked for, and not shown`, () => {
    const asked = asking({ address, headers: {} }, secretsFrom(secrets, secretsIn({ address, headers: {} })));
    assert.deepEqual([asked.url.href, asked.place], [url, place]);
  });
}

const refused: Record<
  string,
  [given: { address?: string | null; headers?: Record<string, string> }, code: string, RegExp]
> = {
  "a date that cannot be written": [{ address: null }, "url", /^the date in its URL cannot be written$/],
  "a misspelt date": [{ address: `${origin}/{dya}` }, "url", /^its URL holds a \{ that begins neither/],
  "a date behind today's": [{ address: `${origin}/?{day+1}` }, "url", /^its URL holds a \{ that begins neither/],
  "a misspelt secret": [{ address: `${origin}/?{secret: KEY}` }, "url", /^its URL holds a \{ that begins neither/],
  "a secret for a host": [{ address: "https://{secret:BARE}.partner.example/" }, "url", /^its URL/],
  "a secret for a port": [{ address: "https://partner.example:{secret:BARE}/" }, "url", /^its URL/],
  "a secret for all": [{ address: "{secret:BARE}" }, "url", /^its URL is not an http or https URL$/],
  "a secret for a password": [{ address: "https://u:{secret:BARE}@partner.example/" }, "url", /user name or password$/],
  "no such secret": [{ address: `${origin}/?{secret:NONE}` }, "secret", /^there is no secret NONE$/],
  "plain http": [{ address: "http://partner.example/?{secret:BARE}" }, "secret", /^a secret would go over plain http/],
  "plain http beside this machine": [{ address: "http://10.0.0.1/?{secret:BARE}" }, "secret", /over plain http/],
  "plain http, and a secret in a header": [
    { address: "http://partner.example/", headers: { "x-key": "{secret:BARE}" } },
    "secret",
    /^a secret would go over plain http beyond this machine$/,
  ],
  "a misspelt secret in a header": [
    { headers: { "x-key": "{secret:}" } },
    "headers",
    /^its header x-key names a secret/,
  ],
  ...Object.fromEntries(
    [
      "{Secret:BARE}",
      "{SECRET:BARE}",
      "{secret: BARE}",
      "{ secret:BARE }",
      "Bearer {secret:BARE }",
      "{secret}",
      "{secret:A-B}",
    ]
      .map((value) => [
        `${value} in a header`,
        [{ headers: { "x-key": value } }, "headers", /^its header x-key names a secret in another way than is known$/],
      ]),
  ),
  ...Object.fromEntries(
    ["{day}", "{Day}", "{ day-1 }", "{day:YYYY}"].map((value) => [
      `${value} in a header`,
      [{ headers: { "x-day": value } }, "headers", /^its header x-day names a day, which only a URL can$/],
    ]),
  ),
  "a line break in a secret": [
    { headers: { "x-key": "{secret:BROKEN}" } },
    "headers",
    /^its header x-key holds a line/,
  ],
  "a line break": [{ headers: { "x-key": "a\r\nb" } }, "headers", /^its header x-key holds a line break or another/],
  "what is not of latin-1": [{ headers: { "x-key": "{secret:EURO}" } }, "headers", /^its header x-key holds a line/],
  "a name with a blank": [{ headers: { "x key": "a" } }, "headers", /^a name in its headers is none that HTTP knows$/],
  "a name with a line break": [{ headers: { "x\nkey": "a" } }, "headers", /^a name in its headers is none/],
  "no name": [{ headers: { "": "a" } }, "headers", /^a name in its headers is none/],
  "the same name twice": [{ headers: { "X-Key": "a", "x-key": "b" } }, "headers", /^its header x-key is there twice$/],
  ...Object.fromEntries(
    ["If-None-Match", "if-modified-since", "Accept-Encoding", "Range", "Host", "Connection", "Content-Length"]
      .concat("Transfer-Encoding", "TE", "Upgrade", "Proxy-Authorization", "Expect")
      .map((name) => [name, [{ headers: { [name]: "a" } }, "headers", new RegExp(`^its header ${name} is for the l`)]]),
  ),
};

for (const [what, [{ address = origin, headers = {} }, code, message]] of Object.entries(refused)) {
  Deno.test(`refused in words: ${what}`, () => {
    const source = { address, headers };
    assert.throws(() => asking(source, secretsFrom(secrets, secretsIn(source))), (error: EtlError) => {
      assert.equal(error.code, code, error.message);
      assert.match(error.message, message);
      assert.ok(error.hint);
      assert.doesNotMatch(inspect(error, { depth: 10 }), /s3cret/);
      return true;
    });
  });
}

Deno.test("a { of a header's own is sent as it stands", () => {
  for (const value of ['{"day": 1, "secret": 2}', "{daily}", "{secretary}", "{}"]) {
    assert.deepEqual(asking({ address: origin, headers: { "x-key": value } }).headers, { "x-key": value });
  }
});

Deno.test("a secret is the vault's, else the environment's, without blanks around it; else both places are named", () => {
  using _settings = environment({
    ETL_SECRET_BOTH: "environment",
    ETL_SECRET_BLANK: " environment\n",
    ETL_SECRET_EMPTY: "\n",
  });
  const vault = { BOTH: " vault\r\n", BLANK: " ", UNKNOWN: null };
  assert.deepEqual(secretsFrom(vault, ["BOTH", "BLANK"]), { BOTH: "vault", BLANK: "environment" });
  for (const name of ["EMPTY", "UNKNOWN", "both"]) {
    assert.throws(() => secretsFrom(vault, [name]), {
      code: "secret",
      message: `there is no secret ${name}`,
      hint: `Put it into the vault under the name ${name}, or into the loader's environment as ETL_SECRET_${name}.`,
    });
  }
});

Deno.test("whatever an error says, no secret is in it, however it is spelled", () => {
  const asked = asking({ address: `${origin}/?{secret:KEY}{secret:BARE}`, headers: {} }, secrets);
  const cause = new TypeError(`error sending request for url (${asked.url})`);
  const texts = [secrets.KEY, secrets.BARE, encodeURIComponent(secrets.KEY), "S3CRET", asked.url.href];
  const error = shown(asked, new EtlError("unreachable", texts.join(" "), "A hint.", { cause }));
  assert.doesNotMatch(inspect(error, { depth: 10 }), /s3cret/i);
  assert.match(error.message, /^\{secret:KEY\} \{secret:BARE\} \{secret:KEY\} \{secret:BARE\} https:\/\/partner/);
  const plain = new EtlError("unreachable", "a", "b", { cause });
  assert.equal(shown(asking({ address: origin, headers: {} }), plain), plain, "without a secret all is kept");
});

Deno.test("what Deno's client says of a request is not kept where there is a secret", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  const asked = asking({ address: `http://127.0.0.1:${port}/?{secret:BARE}`, headers: {} }, { BARE: "s3cret" });
  const nothing = { etag: null, last_modified: null };
  await assert.rejects(fetch(asked.url), (error) => /s3cret/.test(inspect(error)));
  await assert.rejects(openDownload(asked, nothing), (error: EtlError) => {
    assert.equal(error.code, "port_refused");
    return !/s3cret/.test(inspect(error, { depth: 10 }));
  });
});

const hosts: [where: "public" | "inside" | "loopback", hosts: string][] = [
  ["loopback", "localhost LOCALHOST localhost. a.localhost 127.0.0.1 127.1 0x7f.1 2130706433 017700000001 127.255.0.9"],
  ["loopback", "[::1] [0:0:0:0:0:0:0:1] [::ffff:127.0.0.1] [::ffff:7f00:1] ①②⑦.0.0.1 127.0.0.1."],
  ["inside", "0.0.0.0 0 10.0.0.1 10.255.255.255 100.64.0.1 169.254.169.254 0xa9fea9fe 172.16.0.1 172.31.255.255"],
  ["inside", "192.168.0.1 192.0.0.8 198.18.0.1 224.0.0.1 255.255.255.255 [::] [fd00::1] [fc00::1] [fe80::1] [fec0::1]"],
  ["inside", "[ff02::1] [::ffff:10.0.0.1] [::ffff:a9fe:a9fe] [::10.0.0.1] [64:ff9b::10.0.0.1] [2002:a00:1::]"],
  ["inside", "db kong metadata.google.internal printer.local PRINTER.LOCAL. host.docker.internal nas.home.arpa"],
  ["public", "partner.example 8.8.8.8 100.63.255.255 100.128.0.1 172.15.255.255 172.32.0.1 192.169.0.1 169.253.1.1"],
  [
    "public",
    "11.0.0.1 223.255.255.255 [2606:4700::1] [::ffff:8.8.8.8] local.example internal.example localhost.example",
  ],
];

Deno.test("a host is of this machine, of its network, or public", () => {
  for (const [where, names] of hosts) {
    for (const name of names.split(" ")) {
      const url = new URL(`http://${name}/`);
      const is = isLoopback(url) ? "loopback" : isInside(url) ? "inside" : "public";
      assert.equal(is, where, name);
      assert.ok(where === "public" || isInside(url), `${name} is inside`);
    }
  }
});

const steps: [feed: string, from: string, to: string, went: string | RegExp][] = [
  [`${origin}/a`, `${origin}/a`, "b?c", `${origin}/b?c`],
  [`${origin}/a`, `${origin}/a`, "//other.example/b", "https://other.example/b"],
  [`${origin}/a`, `${origin}/a`, "http://other.example/b", "http://other.example/b"],
  [`${origin}/a`, `${origin}/a`, "http://10.0.0.1:8080/", / to 10\.0\.0\.1:8080, a host of the loader's own network$/],
  [`${origin}/a`, "http://other.example/", "http://localhost/", / to localhost, a host of the loader's own network$/],
  ["http://10.0.0.1/a", "http://10.0.0.1/a", "http://10.0.0.2/", "http://10.0.0.2/"],
  ["http://10.0.0.1/a", "https://other.example/a", "http://db/", "http://db/"],
  [`${origin}/a`, `${origin}/a`, "file:///etc/passwd", / something that is not an http or https URL$/],
  [`${origin}/a`, `${origin}/a`, "https://", / something that is not an http or https URL$/],
  [`${origin}/?{secret:BARE}`, `${origin}/`, "https://other.example/", "https://other.example/"],
  [`${origin}/?{secret:BARE}`, `${origin}/`, "http://partner.example/", / to plain http, which no secret may lead to$/],
  [
    `${origin}/?{secret:BARE}`,
    `${origin}/`,
    "https://s3cret.internal/",
    / to \{secret:BARE\}\.internal, a host of the/,
  ],
  ["https://127.0.0.1/?{secret:BARE}", "https://127.0.0.1/", "http://127.0.0.1/", / to plain http, which no/],
  ["http://127.0.0.1/?{secret:BARE}", "http://127.0.0.1/", "http://127.0.0.1:81/", "http://127.0.0.1:81/"],
  ["http://127.0.0.1/?{secret:BARE}", "http://127.0.0.1/", "http://partner.example/", / to plain http, which no/],
];

Deno.test("a redirect leads elsewhere, or is refused", () => {
  for (const [address, from, to, went] of steps) {
    const source = { address, headers: {} };
    const asked = asking(source, secretsFrom(secrets, secretsIn(source)));
    let arrived: string;
    try {
      arrived = redirected(asked, new URL(from), to).href;
    } catch (error) {
      const { code, message } = shown(asked, error as EtlError);
      assert.equal(code, "redirects");
      arrived = message;
    }
    if (typeof went === "string") assert.equal(arrived, went);
    else assert.match(arrived, went);
  }
});
