/** To a server that is not this machine's own: encrypted and verified where it offers TLS, and nothing less. */
import assert from "node:assert/strict";
import { bundle } from "../../lib/local/bundle.ts";
import { migrate } from "../../lib/local/migrate.ts";
import { startPostgres } from "../../lib/local/postgres/start.ts";
import { keepCertificates } from "../support/certificates.ts";
import { result } from "../support/command.ts";
import { database } from "../support/database.ts";
import { temporary } from "../support/directories.ts";
import { serveSamples } from "../support/samples.ts";
import { denoOfThePlatform } from "../deploy/deployed.ts";

// Another host as far as the loader knows, which takes `localhost` for this machine; yet every resolver leads it here.
const elsewhere = "LOCALHOST";

interface Outcome {
  encrypted?: boolean;
  status?: string;
  code?: string;
  message?: string;
  hint?: string;
}

const look = "select ssl as encrypted from pg_stat_ssl where pid = pg_backend_pid()";
const lose = "select pg_terminate_backend(pg_backend_pid()), pg_sleep(60)";

const attempt = (directory: string, sql: string) => `
  const { connect } = await import("${directory}/connect.ts");
  const { load } = await import("${directory}/load.ts");
  const databaseUrl = Deno.env.get("URL_TO_TRY");
  let outcome;
  try {
    if ("${sql}" === "load") outcome = { status: (await load({ databaseUrl, force: true })).status };
    else {
      const client = await connect(databaseUrl);
      const { rows } = await client.query("${sql}").finally(() => client.end());
      outcome = rows[0];
    }
  } catch ({ code, message, hint }) {
    outcome = { code, message, hint };
  }
  console.log(JSON.stringify(outcome));`;

/** What becomes of a query in another Deno that trusts `authority`, a file. What it runs is bundled in `directory`. */
async function connecting(directory: string) {
  await bundle("lib/database/connect.ts", `${directory}/connect.ts`);
  await bundle("lib/load.ts", `${directory}/load.ts`);
  return async (deno: string, url: URL, authority = "", sql = look): Promise<Outcome> => {
    const env: Record<string, string> = { URL_TO_TRY: url.href };
    if (authority) env.DENO_CERT = authority;
    const { out, err } = await result(deno, ["eval", "--no-config", attempt(directory, sql)], { cwd: directory, env });
    assert.ok(out, err);
    return JSON.parse(out);
  };
}

function at(base: string, host: string, sslmode?: string): URL {
  const url = new URL(base);
  url.hostname = host;
  url.search = sslmode ? `?sslmode=${sslmode}` : "";
  return url;
}

/** A server with TLS, its certificate made out to `host`. */
async function serverWithTls(home: string, host: string) {
  const { authority, settings } = await keepCertificates(home, host);
  return { ...await startPostgres(home, [...settings, "fsync=off"]), authority };
}

Deno.test("TLS is used and verified wherever a server offers it", async (t) => {
  await using home = await temporary();
  await using code = await temporary();
  const connectIn = await connecting(code.path);
  await using plain = await database("postgres");
  const server = await serverWithTls(home.path, elsewhere.toLowerCase());
  try {
    await migrate(server.url);
    await using web = serveSamples();
    await using loader = await database("postgres", server);
    await loader.pointAt(web.url);
    let loaded = false;
    for (const [name, deno] of [["the platform's Deno", await denoOfThePlatform()], ["this Deno", Deno.execPath()]]) {
      const refused = async (url: URL, authority?: string) => {
        const { code, message, hint } = await connectIn(deno, url, authority);
        assert.equal(code, "tls", `${message}`);
        assert.equal(message, "Cannot connect to the database: its certificate is not trusted");
        assert.match(hint!, /DENO_CERT/);
      };
      const encrypted = async (url: URL, authority?: string) =>
        assert.deepEqual(await connectIn(deno, url, authority), { encrypted: true });
      const open = async (url: URL) => assert.deepEqual(await connectIn(deno, url), { encrypted: false });

      await t.step(`${name}: trusted, encrypted`, () => encrypted(at(server.url, elsewhere), server.authority));
      await t.step(
        `${name}: not trusted, refused, and not tried in the clear`,
        () => refused(at(server.url, elsewhere)),
      );
      await t.step(
        `${name}: made out to another host, refused`,
        () => refused(at(server.url, "127.0.0.1", "verify-full"), server.authority),
      );
      await t.step(`${name}: the URL may do without`, async () => {
        await open(at(server.url, elsewhere, "disable"));
        // The platform's Deno verifies whatever the URL says.
        if (deno === Deno.execPath()) await encrypted(at(server.url, elsewhere, "no-verify"));
      });
      await t.step(`${name}: a connection that is lost ends what waits for it`, async () => {
        const url = at(server.url, elsewhere);
        const { code, message } = await connectIn(deno, url, server.authority, lose);
        assert.match(`${code} ${message}`, /57P01|terminated/);
      });
      await t.step(`${name}: three feeds by way of TLS`, async () => {
        const outcome = await connectIn(deno, at(server.url, elsewhere), server.authority, "load");
        assert.deepEqual(outcome, { status: loaded ? "unchanged" : "changed" });
        loaded = true;
      });
      await t.step(`${name}: a server without TLS`, () => open(at(plain.url, elsewhere)));
      await t.step(`${name}: this machine's own server`, () => open(at(server.url, "127.0.0.1")));
    }
  } finally {
    await server.stop();
  }
});
