/** What partners' servers do wrong: each fault is named, leaves nothing behind, and costs no other feed. */
import assert from "node:assert/strict";
import { StallClock } from "../../lib/fetch/stall.ts";
import type { Database } from "../support/database.ts";
import { snapshot } from "../support/snapshot.ts";
import { twoFeeds } from "../support/two_feeds.ts";

type Reply = (connection: Deno.TcpConn, attempt: number) => unknown;

/** A server below HTTP. `reply` writes what it likes; unless it returns "hang", the connection is closed after it. */
function rawServer(reply: Reply): AsyncDisposable & { url: string } {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const open: Deno.TcpConn[] = [];
  const serving = (async () => {
    for await (const connection of listener) {
      open.push(connection);
      await connection.read(new Uint8Array(4096));
      if (await reply(connection, open.length) !== "hang") connection.closeWrite().catch(() => {});
    }
  })();
  return {
    url: `http://127.0.0.1:${listener.addr.port}`,
    [Symbol.asyncDispose]: async () => {
      for (const connection of open) connection.close();
      listener.close();
      await serving;
    },
  };
}

const send = (connection: Deno.TcpConn, text: string) => connection.write(new TextEncoder().encode(text));

const sending = (text: string, then?: "hang"): Reply => async (connection) => {
  await send(connection, text.replaceAll("\n", "\r\n"));
  return then;
};

/** A test of a stalled server takes no time. */
const stalledSoon = { stallMs: 400, retryMs: [1] };

const page = "<!doctype html><title>Ana, please log in</title>";

const status = (code: number) => () => new Response("Ana says no", { status: code });

interface Fault {
  code: string;
  message: RegExp;
  http?: (request: Request) => Response;
  tcp?: Reply;
  url?: string;
}

const faults: Record<string, Fault> = {
  "a 500": { http: status(500), code: "http_500", message: /127.0.0.1:\d+\/things answered 500/ },
  "a 404": { http: status(404), code: "http_404", message: /answered 404/ },
  "a 403": { http: status(403), code: "http_403", message: /answered 403/ },
  "a 429 that lasts": { http: status(429), code: "http_429", message: /answered 429/ },
  "a web page": {
    http: () => new Response(page, { headers: { "content-type": "text/html; charset=utf-8" } }),
    code: "html",
    message: /answered with a web page in place of data/,
  },
  "a web page called CSV": {
    http: () => new Response(`\n ${page}`, { headers: { "content-type": "text/csv" } }),
    code: "html",
    message: /answered with a web page in place of data/,
  },
  "an empty body": { http: () => new Response(""), code: "empty", message: /the body is empty/ },
  "no content": { http: () => new Response(null, { status: 204 }), code: "empty", message: /the body is empty/ },
  "a body shorter than its Content-Length": {
    tcp: sending("HTTP/1.1 200 OK\nContent-Length: 99\n\nid,name\n1,Ana\n"),
    code: "cut_short",
    message: /the body was cut short after 16 of 99 bytes/,
  },
  "a chunked body without its end": {
    tcp: sending("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n10\nid,name\n1,Ana\n\n"),
    code: "cut_short",
    message: /the body was cut short after 16 bytes/,
  },
  "a connection closed without an answer": { tcp: () => {}, code: "unreachable", message: /cannot be reached/ },
  "an answer that is not HTTP": { tcp: sending("Ana\n\n"), code: "bad_answer", message: /not HTTP/ },
  "a server that stalls before its answer": { tcp: () => "hang", code: "stalled", message: /sent nothing for 0.4 s/ },
  "a server that stalls in its body": {
    tcp: sending("HTTP/1.1 200 OK\nContent-Length: 99\n\nid,name\n1,Ana\n", "hang"),
    code: "stalled",
    message: /sent nothing for 0.4 s/,
  },
  "a server that stalls in a header line": {
    tcp: sending("HTTP/1.1 200 OK\n\nid,na", "hang"),
    code: "stalled",
    message: /sent nothing for 0.4 s/,
  },
  "a port that HTTP clients do not ask": {
    url: "http://127.0.0.1:1/things",
    code: "port_refused",
    message: /cannot be reached: 127.0.0.1:1 is asked on a port that no HTTP client asks$/,
  },
  "a host that does not exist": {
    url: "http://nowhere.invalid/things",
    code: "no_such_host",
    message: /nowhere.invalid/,
  },
  "a redirect to a file": {
    http: () => new Response(null, { status: 302, headers: { location: "file:///etc/hostname" } }),
    code: "redirects",
    message: /redirects to something that is not an http or https URL/,
  },
  "a redirect without end": {
    http: () => new Response(null, { status: 302, headers: { location: "/things" } }),
    code: "redirect_loop",
    message: /redirects in a circle/,
  },
  "a redirect to nowhere": {
    http: () => new Response(null, { status: 302 }),
    code: "http_302",
    message: /answered 302/,
  },
  "a file URL": { url: "file:///etc/hostname", code: "url", message: /not an http or https URL/ },
  "an ftp URL": { url: "ftp://127.0.0.1/things", code: "url", message: /not an http or https URL/ },
  "no URL": { url: "things", code: "url", message: /not an http or https URL/ },
  "credentials in the URL": {
    url: "http://ana:s3cret@127.0.0.1/things",
    code: "url",
    message: /user name or password/,
  },
};

const stateOf = async (db: Database) => {
  const { "public.things": things, "etl.rejects": rejects } = await snapshot(db);
  return { things, rejects, feed: await db.query("select * from etl.feeds where name = 'things'") };
};

Deno.test("a fault is named, leaves nothing behind, and costs no other feed", async (t) => {
  await using given = await twoFeeds();
  const { db, web } = given;
  let others = 0;
  for (const [name, fault] of Object.entries(faults)) {
    await t.step(name, async () => {
      await using server = fault.tcp ? rawServer(fault.tcp) : null;
      if (fault.http) web.files["/things"] = fault.http;
      web.files["/others"] = `id\n${++others}\n`;
      const url = fault.url ?? `${server?.url ?? web.url}/things`;
      await db.feed("things", { url: `${url}?key=s3cret` });
      const before = await stateOf(db);

      const report = await db.load({ feeds: ["things", "others"], patience: stalledSoon });

      const [fine, { error }] = report.feeds;
      assert.equal(error!.code, fault.code, error!.message);
      assert.match(error!.message, /^Cannot load things: /);
      assert.match(error!.message, fault.message);
      assert.ok(error!.hint);
      assert.doesNotMatch(JSON.stringify(report), /s3cret|Ana/);
      assert.equal(fine.inserted, 1);
      assert.deepEqual(await stateOf(db), before);
      const [entry] = await db.query("select * from etl.runs where run = $1 and feed = 'things'", [report.run]);
      assert.deepEqual([entry.status, entry.error_code, entry.error], ["failed", error!.code, error!.message]);
    });
  }
  await t.step("a good server repairs it", async () => {
    web.files["/things"] = "id,name\n1,Bo\n2,Cy\n";
    await db.feed("things", { url: `${web.url}/things` });
    assert.equal((await db.loadOne("things")).inserted, 1);
  });
});

Deno.test("what passes is waited for: 429, 503, a closed connection, then data", async (t) => {
  await using given = await twoFeeds();
  const retryMs = [1, 1];
  for (const first of [429, 500, 503]) {
    await t.step(String(first), async () => {
      let tries = 0;
      given.web.files["/things"] = () =>
        ++tries < 3 ? status(first)() : new Response(`id,name\n${first},${"x".repeat(first % 7)}\n`);
      const report = await given.db.loadOne("things", { patience: { retryMs } });
      assert.equal(report.error, null);
      assert.deepEqual([tries, report.inserted], [3, 1]);
    });
  }
  await t.step("closed", async () => {
    await using server = rawServer((connection, attempt) =>
      attempt < 3 ? null : sending("HTTP/1.1 200 OK\nContent-Length: 13\n\nid,name\n9,x\n")(connection, attempt)
    );
    await given.db.feed("things", { url: `${server.url}/things` });
    const report = await given.db.loadOne("things", { patience: { retryMs } });
    assert.equal(report.error, null);
  });
});

/** A server's clock stands still. */
const date = "Thu, 01 Jan 2026 00:00:00 GMT";
const waits: Record<
  string,
  { status: number; headers: Record<string, string>; expected: "waited" | "at once" | RegExp }
> = {
  "a second": { status: 429, headers: { "retry-after": "1" }, expected: "waited" },
  "until a second later": {
    status: 503,
    headers: { date, "retry-after": date.replace("00 GMT", "01 GMT") },
    expected: "waited",
  },
  "until before": {
    status: 503,
    headers: { date, "retry-after": "Wed, 31 Dec 2025 23:00:00 GMT" },
    expected: "at once",
  },
  "no time": { status: 429, headers: { "retry-after": "0" }, expected: "at once" },
  "what nobody knows": { status: 429, headers: { "retry-after": "soon" }, expected: "at once" },
  "a second, with a status that means none": { status: 500, headers: { "retry-after": "1" }, expected: "at once" },
  "more than a minute": {
    status: 429,
    headers: { "retry-after": "61" },
    expected: /answered 429, and asks us to stay away until 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$/,
  },
  "a day, by a date": {
    status: 503,
    headers: { date, "retry-after": "Fri, 02 Jan 2026 00:00:00 GMT" },
    expected: /answered 503, and asks us to stay away until 20/,
  },
  "more than the run has left": { status: 503, headers: { "retry-after": "50" }, expected: /stay away until 20/ },
};

Deno.test("Retry-After is obeyed, up to a minute and within the run's time", async (t) => {
  await using given = await twoFeeds();
  for (const [what, { status, headers, expected }] of Object.entries(waits)) {
    await t.step(what, async () => {
      const asked: number[] = [];
      given.web.files["/things"] = () => {
        asked.push(performance.now());
        return asked.length === 1 ? new Response(null, { status, headers }) : new Response("id,name\n1,Bo\n");
      };
      const { error } = await given.db.loadOne("things", {
        patience: { retryMs: [1] },
        allowance: { deadlineMs: 45_000 },
        force: true,
      });
      if (expected instanceof RegExp) {
        assert.equal(error?.code, `http_${status}`);
        assert.match(error!.message, expected);
        assert.equal(asked.length, 1, "it is not waited for");
      } else {
        assert.equal(error, null);
        assert.equal(asked.length, 2);
        if (expected === "waited") assert.ok(asked[1] - asked[0] >= 999, "not sooner than it may be asked");
      }
    });
  }
});

Deno.test("a redirect is followed", async () => {
  await using given = await twoFeeds();
  given.web.files["/things"] = () => new Response(null, { status: 302, headers: { location: "/moved" } });
  given.web.files["/moved"] = "id,name\n1,Bo\n2,Cy\n";
  assert.equal((await given.db.loadOne("things")).inserted, 1);
});

Deno.test("a slow server is no stalled server", async () => {
  await using given = await twoFeeds();
  await using server = rawServer(async (connection) => {
    await send(connection, "HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n");
    for (const byte of "id,name\n2,a\n3,b\n\n") {
      await send(connection, byte);
      await new Promise((resume) => setTimeout(resume, 30));
    }
  });
  await given.db.feed("things", { url: `${server.url}/things` });
  assert.equal((await given.db.loadOne("things", { patience: { ...stalledSoon, slowest: 1 } })).inserted, 2);
});

Deno.test("a wait that never ends is given up, whatever becomes of the request", async () => {
  const clock = new StallClock({ stallMs: 40, slowest: 1000 }, "the server");
  clock.start();
  await assert.rejects(clock.during(() => new Promise(() => {})), { code: "stalled" });
  clock.stop();
});
