/** Why a partner's server cannot be reached: each cause has its own code and its own way out, on both Denos. */
import assert from "node:assert/strict";
import { certificatesFor, type Kind } from "../support/certificates.ts";
import { freshDatabase } from "../support/database.ts";
import { temporary } from "../support/directories.ts";
import { loaderElsewhere } from "../support/loading.ts";
import { onLoopback } from "../support/web.ts";

interface Server extends Disposable {
  port: number;
  /** Connections so far. */
  count: number;
}

/** Takes connections, by TLS with these certificates, and closes each without an answer. */
function closing(certificates?: { certificate: string; key: string }): Server {
  const on = { hostname: "127.0.0.1", port: 0 };
  const listener = certificates
    ? Deno.listenTls({ ...on, cert: certificates.certificate, key: certificates.key })
    : Deno.listen(on);
  const server = { port: listener.addr.port, count: 0, [Symbol.dispose]: () => listener.close() };
  (async () => {
    for await (const connection of listener) {
      server.count++;
      await ("handshake" in connection ? connection.handshake() : send(connection)).catch(() => {});
      connection.close();
    }
  })();
  return server;
}

/** As a server does that is asked in the clear for what it cannot read. */
async function send(connection: Deno.Conn): Promise<void> {
  await connection.read(new Uint8Array(4096));
  await connection.write(new TextEncoder().encode("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"));
}

/** Code, what the message says behind the host, what the hint says; and whether it is tried but once. */
type Expected = [code: string, message: RegExp, hint: RegExp, once?: boolean];

const byTls: Record<string, [hosts: string[], kind: Kind | undefined, isKnown: boolean, ...Expected]> = {
  "an unknown authority": [
    ["127.0.0.1"],
    undefined,
    false,
    "certificate",
    /authority that is not known here$/,
    /DENO_/,
  ],
  "another host's": [["other.example"], undefined, true, "certificate", /made out to another host$/, /etl\.feeds\.url/],
  "expired": [["127.0.0.1"], "expired", true, "certificate", /has expired, or is not valid yet$/, /clock/],
  "an authority's own": [["127.0.0.1"], "an authority's own", true, "certificate", /is not trusted$/, /anew/],
};

const redirects: Record<string, [location: (from: string, free: number) => string, ...Expected]> = {
  "in a circle": [(from) => from === "/a" ? "/b" : "/a", "redirect_loop", /\/a redirects in a circle$/, /browser/],
  "without end": [(from) => `${from}a`, "redirects", /\/a redirects more than 20 times$/, /browser/],
  "to a port that is shut": [
    (_, free) => `http://127.0.0.1:${free}/b`,
    "port_refused",
    /\/a cannot be reached: 127\.0\.0\.1:\d+ refuses the connection: nothing listens on that port$/,
    /host and port/,
  ],
};

function freePort(): number {
  using probe = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return probe.addr.port;
}

Deno.test("why a partner's server cannot be reached, on both Denos", async (t) => {
  const loaderIn = await loaderElsewhere();
  await using db = await freshDatabase();
  await db.query("create table public.things (id text primary key)");
  await using directory = await temporary();
  const certificates = Object.values(byTls).map(([hosts, kind]) => certificatesFor(hosts, kind));
  const known = Object.values(byTls).flatMap(([, , isKnown], i) => isKnown ? [certificates[i].authority] : []);
  await Deno.writeTextFile(`${directory.path}/known.pem`, known.join(""));

  for (const deno of ["this Deno", "Deno 2.1.4"] as const) {
    await using loader = await loaderIn(deno, { DENO_CERT: `${directory.path}/known.pem`, HTTP_PROXY: "" });
    const check = async (title: string, url: string, [code, message, hint]: Expected) => {
      await t.step(`${deno}: ${title}: ${code}`, async () => {
        await db.feed("things", { url: `${url}?key=s3cret`, target: "public.things" });
        const { feeds: [{ error }] } = await loader.load({
          databaseUrl: db.url,
          patience: { retryMs: [1, 1] },
          feeds: ["things"],
        });
        assert.equal(error?.code, code, `${error?.message}`);
        assert.match(error!.message, message);
        assert.match(error!.hint!, hint);
        assert.doesNotMatch(JSON.stringify(error), /s3cret|os error|client error/);
      });
    };
    for (const [i, [title, [, , , ...expected]]] of Object.entries(byTls).entries()) {
      using server = closing(certificates[i]);
      await check(`a certificate, ${title}`, `https://127.0.0.1:${server.port}/a`, expected);
      assert.equal(server.count, 1, "another try would change nothing");
    }
    for (const [title, [location, ...expected]] of Object.entries(redirects)) {
      const free = freePort();
      await using server = onLoopback(({ url }) =>
        new Response(null, { status: 302, headers: { location: location(new URL(url).pathname, free) } })
      );
      await check(`a redirect ${title}`, `${server.url}/a`, expected);
    }
    using plain = closing();
    await check("https to a server without TLS", `https://127.0.0.1:${plain.port}/a`, [
      ...["no_tls", /127\.0\.0\.1:\d+ speaks no TLS 1\.2 or 1\.3 there$/, /port/] as const,
    ]);
    assert.equal(plain.count, 1);
    await check("a port that is shut", `http://127.0.0.1:${freePort()}/a`, [
      ...["port_refused", /refuses the connection: nothing listens on that port$/, /host and port/] as const,
    ]);
    await check("a host that does not exist", "http://nowhere.invalid/a", [
      ...["no_such_host", /: nowhere\.invalid is unknown: its name has no address$/, /a slip/] as const,
    ]);
  }
});
