/** Files behind a key, over real HTTP and TLS, by the loader as it is deployed, on both Denos: who gets the secret, and who not. */
import assert from "node:assert/strict";
import { certificatesFor } from "../support/certificates.ts";
import { type Database, freshDatabase } from "../support/database.ts";
import { temporary } from "../support/directories.ts";
import { loaderElsewhere } from "../support/loading.ts";
import { project } from "../support/project.ts";
import { snapshot } from "../support/snapshot.ts";

const env = { ETL_SECRET_TOKEN: "s3cret/+&?", ETL_SECRET_BOTH: "of the environment", ETL_SECRET_BROKEN: "s3cret\nb" };
const vault = { VAULTED: "s3cret of the vault\n", BOTH: "s3cret first", BASIC: btoa("ana:s3cret") };

interface Asked {
  /** As the client sees it: by way of the proxy too. */
  url: URL;
  headers: Headers;
}

/** Servers on loopback: over http, which is also a proxy to all hosts; the same as another origin; and over https. */
function servers(answer: (asked: Asked) => Response, { certificate, key }: { certificate: string; key: string }) {
  const log: Asked[] = [];
  const options = { hostname: "127.0.0.1", port: 0, onListen() {} };
  const handle = ({ url, headers }: Request) => {
    const asked = { url: new URL(url), headers: new Headers(headers) };
    log.push(asked);
    return answer(asked);
  };
  const http = Deno.serve(options, handle), other = Deno.serve(options, handle);
  const https = Deno.serve({ ...options, cert: certificate, key }, handle);
  return {
    log,
    http: `http://127.0.0.1:${http.addr.port}`,
    other: `http://127.0.0.1:${other.addr.port}`,
    https: `https://127.0.0.1:${https.addr.port}`,
    [Symbol.asyncDispose]: async () => void await Promise.all([http, other, https].map((one) => one.shutdown())),
  };
}

interface Case {
  /** Behind http, other or https: servers of this machine; or anywhere, by way of a proxy. */
  url: string;
  headers?: Record<string, string>;
  /** Path -> where the server redirects to. */
  redirects?: Record<string, string>;
  answer?: () => Response;
  /** What the servers are asked: each request's origin and path, and the headers that are looked at. */
  asked: [url: string, headers: Record<string, string | null>][];
  error?: [code: string, message: RegExp];
}

const both = { "authorization": "Bearer {secret:TOKEN}", "x-api-key": "{secret:VAULTED}" };
const bothSent = { "authorization": "Bearer s3cret/+&?", "x-api-key": "s3cret of the vault" };
const bothKept = { "authorization": null, "x-api-key": null };

const cases: Record<string, Case> = {
  bearer: {
    url: "http/f",
    headers: { authorization: "Bearer {secret:TOKEN}" },
    asked: [["http/f", { authorization: "Bearer s3cret/+&?" }]],
  },
  api_key: {
    url: "https/f",
    headers: { "X-Api-Key": "{secret:VAULTED}" },
    asked: [["https/f", { "x-api-key": "s3cret of the vault" }]],
  },
  basic: {
    url: "http/f",
    headers: { authorization: "Basic {secret:BASIC}" },
    asked: [["http/f", { authorization: "Basic YW5hOnMzY3JldA==" }]],
  },
  vault_first: {
    url: "http/f",
    headers: { "x-key": "{secret:BOTH}" },
    asked: [["http/f", { "x-key": "s3cret first" }]],
  },
  in_the_query: { url: "http/f?key={secret:TOKEN}&a=1", asked: [["http/f?key=s3cret%2F%2B%26%3F&a=1", {}]] },
  in_the_path: { url: "http/{secret:TOKEN}/f", asked: [["http/s3cret%2F%2B%26%3F/f", {}]] },
  plain_headers: {
    url: "http://partner.example/f",
    headers: { "accept": "text/csv", "user-agent": "ours", "cookie": "a=b", "x-a": "{ a }" },
    asked: [["http://partner.example/f", {
      "accept": "text/csv",
      "user-agent": "ours",
      "cookie": "a=b",
      "x-a": "{ a }",
    }]],
  },
  without_headers: {
    url: "http/f",
    asked: [["http/f", { "accept": "*/*", "user-agent": "tdc-etl", "accept-encoding": "identity" }]],
  },

  missing: {
    url: "http/f",
    headers: { "x-key": "{secret:NONE}" },
    asked: [],
    error: ["secret", /: there is no secret NONE$/],
  },
  in_the_clear: {
    url: "http://partner.example/f",
    headers: both,
    asked: [],
    error: ["secret", /over plain http beyond/],
  },
  line_break: {
    url: "http/f",
    headers: { "x-key": "{secret:BROKEN}" },
    asked: [],
    error: ["headers", /x-key holds a line break/],
  },
  refused_key: {
    url: "http/{secret:TOKEN}/f?{secret:TOKEN}",
    answer: () => new Response("s3cret/+&? is wrong", { status: 401 }),
    asked: [["http/s3cret%2F%2B%26%3F/f?s3cret%2F%2B%26%3F", {}]],
    error: ["http_401", /: http:\/\/127\.0\.0\.1:\d+\/\{secret:TOKEN\}\/f answered 401$/],
  },
  said_back: {
    url: "http/f?{secret:TOKEN}",
    answer: () => new Response("a", { headers: { "content-encoding": "s3cret/+&?, br" } }),
    asked: [["http/f?s3cret%2F%2B%26%3F", {}]],
    error: ["content_encoding", /with the content encoding br$/],
  },
  a_web_page: {
    url: "http/f?{secret:TOKEN}",
    answer: () => new Response("<!doctype html>s3cret/+&?", { headers: { "content-type": "text/html" } }),
    asked: [["http/f?s3cret%2F%2B%26%3F", {}]],
    error: ["html", /: the server answered with a web page/],
  },

  to_its_own_origin: {
    url: "http/f",
    headers: both,
    redirects: { "/f": "/g" },
    asked: [["http/f", bothSent], ["http/g", bothSent]],
  },
  to_another_origin: {
    url: "http/f",
    headers: { ...both, "accept": "text/csv" },
    redirects: { "/f": "other/g" },
    asked: [["http/f", { ...bothSent, accept: "text/csv" }], ["other/g", {
      ...bothKept,
      "accept": "*/*",
      "accept-encoding": "identity",
    }]],
  },
  to_another_origin_and_back: {
    url: "http/f",
    headers: both,
    redirects: { "/f": "other/g", "/g": "http/h" },
    asked: [["http/f", bothSent], ["other/g", bothKept], ["http/h", bothSent]],
  },
  from_https_to_http: {
    url: "https/f",
    headers: both,
    redirects: { "/f": "http/g" },
    asked: [["https/f", bothSent]],
    error: ["redirects", /\/f redirects to plain http, which no secret may lead to$/],
  },
  from_https_to_http_without_a_secret: {
    url: "https/f",
    redirects: { "/f": "http/g" },
    asked: [["https/f", {}], ["http/g", {}]],
  },
  to_another_host: {
    url: "http://partner.example/f",
    redirects: { "/f": "http://other.example/g" },
    asked: [["http://partner.example/f", {}], ["http://other.example/g", {}]],
  },
  ...Object.fromEntries(
    Object.entries({
      to_the_cloud: "http://169.254.169.254/latest/meta-data/",
      to_the_cloud_by_name: "http://metadata.google.internal/",
      to_this_machine: "http://localhost/",
      to_this_machine_in_hex: "http://0x7f.1/",
      to_this_machine_in_ipv6: "http://[::ffff:127.0.0.1]/",
      to_a_neighbour: "http://db/",
    }).map(([name, to]): [string, Case] => [name, {
      url: "http://partner.example/f",
      redirects: { "/f": to },
      asked: [["http://partner.example/f", {}]],
      error: ["redirects", /, a host of the loader's own network$/],
    }]),
  ),
};

async function withVault(db: Database): Promise<void> {
  await db.admin(await Deno.readTextFile(`${project}/tests/schedule/cron/vault.sql`));
  for (const [name, secret] of Object.entries(vault)) {
    await db.query("select vault.create_secret($1, $2)", [secret, name]);
  }
}

Deno.test("a feed's headers and secrets go to its own origin, and nowhere else", async (t) => {
  const loaderIn = await loaderElsewhere();
  await using directory = await temporary();
  const certificates = certificatesFor(["127.0.0.1"]);
  await Deno.writeTextFile(`${directory.path}/authority.pem`, certificates.authority);
  let now: Case = cases.bearer;
  await using web = servers(({ url }) => {
    const location = now.redirects?.[url.pathname];
    if (location) return new Response(null, { status: 302, headers: { location: placed(location) } });
    return now.answer?.() ?? new Response("id\n1\n");
  }, certificates);
  const placed = (url: string) => url.replace(/^(https?|other)(?=\/[^/])/, (name) => web[name as "http"]);

  for (const deno of ["this Deno", "Deno 2.1.4"] as const) {
    await using db = await freshDatabase();
    await withVault(db);
    await db.query("create table public.things (id text primary key)");
    for (const [name, { url, headers = {} }] of Object.entries(cases)) {
      await db.feed(name, { url: placed(url), headers, target: "public.things" });
    }
    await using loader = await loaderIn(deno, {
      ...env,
      HTTP_PROXY: web.http,
      NO_PROXY: "127.0.0.1",
      DENO_CERT: `${directory.path}/authority.pem`,
    });
    for (const [name, one] of Object.entries(cases)) {
      await t.step(`${deno}: ${name}`, async () => {
        now = one;
        web.log.length = 0;
        const report = await loader.load({ databaseUrl: db.url, feeds: [name], patience: { retryMs: [] } });
        const { error, read } = report.feeds[0];
        if (one.error) {
          assert.ok(error);
          assert.equal(error.code, one.error[0], error.message);
          assert.match(error.message, one.error[1]);
          assert.ok(error.hint);
        } else assert.deepEqual([error, read], [null, 1]);
        const looked = web.log.map(({ url, headers }, i) => [
          url.href,
          Object.fromEntries(Object.keys(one.asked[i]?.[1] ?? {}).map((name) => [name, headers.get(name)])),
        ]);
        assert.deepEqual(looked, one.asked.map(([url, headers]) => [placed(url), headers]));
      });
    }
    await t.step(`${deno}: no secret is said or kept anywhere`, async () => {
      assert.doesNotMatch(await loader.said(), /s3cret/);
      const { "vault.secrets": kept, ...rest } = await snapshot(db);
      assert.match(JSON.stringify(kept), /s3cret/);
      assert.doesNotMatch(JSON.stringify(rest), /s3cret/);
      assert.ok(
        (await db.query("select from etl.runs where status = 'failed'")).length >= 10,
        "failures are in the ledger",
      );
    });
  }
});

Deno.test("a missing secret fails its feed alone; one that is rotated brings no new download", async () => {
  await using db = await freshDatabase();
  await withVault(db);
  const keys: (string | null)[] = [];
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, ({ headers }) => {
    keys.push(headers.get("x-key"));
    const same = headers.get("if-none-match") === '"1"';
    return new Response(same ? null : "id\n1\n", { status: same ? 304 : 200, headers: { etag: '"1"' } });
  });
  try {
    await db.query(
      "create table public.things (id text primary key); create table public.others (id text primary key)",
    );
    const url = `http://127.0.0.1:${server.addr.port}/`;
    await db.feed("things", { url, headers: { "x-key": "{secret:VAULTED}" } });
    await db.feed("others", { url, headers: { "x-key": "{secret:LATER}" } });
    const feeds = ["others", "things"];
    const [others, things] = (await db.load({ feeds })).feeds;
    assert.deepEqual([others.error?.code, things.error, things.inserted], ["secret", null, 1]);
    await db.query("select vault.create_secret('later', 'LATER')");
    await db.query("select vault.update_secret(id, 'rotated') from vault.secrets where name = 'VAULTED'");
    keys.length = 0;
    const [loaded, unchanged] = (await db.load({ feeds })).feeds;
    assert.deepEqual([loaded.inserted, unchanged.status, unchanged.bytes], [1, "unchanged", 0]);
    assert.deepEqual(keys, ["later", "rotated"]);
    await db.feed("things", { url, headers: { "x-key": "{secret:VAULTED}", "x-other": "1" } });
    assert.equal((await db.loadOne("things")).read, 1, "other headers may bring another file");
  } finally {
    await server.shutdown();
  }
});

Deno.test("the vault is asked where there is one that may be read", async () => {
  await using db = await freshDatabase();
  const asked = () => db.query("select etl.vault_secrets('{VAULTED,NONE}') as secrets");
  assert.deepEqual(await asked(), [{ secrets: {} }], "there is none");
  await withVault(db);
  assert.deepEqual(await asked(), [{ secrets: { VAULTED: "s3cret of the vault\n" } }]);
  await db.admin("revoke all on vault.decrypted_secrets from postgres, service_role");
  assert.deepEqual(await asked(), [{ secrets: {} }], "it may not be read");
});
