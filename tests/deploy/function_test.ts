/** The edge function's HTTP face: who may start a run, what is answered, and what never leaks. */
import assert from "node:assert/strict";
import { handle } from "../../main.ts";
import type { FeedReport } from "../../lib/report.ts";
import { environment } from "../support/environment.ts";
import { type Database, freshDatabase } from "../support/database.ts";
import { hush } from "../support/hush.ts";
import { snapshot } from "../support/snapshot.ts";
import { oneOfEach } from "../support/samples.ts";
import { onLoopback, serve } from "../support/web.ts";

const secret = "a-trigger-secret-of-more-than-32-characters";
const next = "the-next-trigger-secret-while-rotating-them";

interface Function extends AsyncDisposable {
  /** What it has logged. */
  logged: string[];
  call(init?: RequestInit & { path?: string; secret?: string | null }): Promise<Response>;
}

/** The function on loopback, with the environment that the platform would give it. */
function serveFunction(db: Database, secrets = secret): Function {
  const settings = environment({ DATABASE_URL: db.url, ETL_TRIGGER_SECRET: secrets });
  const hushed = hush();
  const server = onLoopback(handle);
  return {
    logged: hushed.said,
    call: ({ path = "/functions/v1/etl", secret: given = secret, ...init } = {}) => {
      const headers = new Headers(init.headers);
      if (given !== null) headers.append("authorization", `Bearer ${given}`);
      return fetch(server.url + path, { method: "POST", ...init, headers });
    },
    [Symbol.asyncDispose]: async () => {
      await server[Symbol.asyncDispose]();
      hushed[Symbol.dispose]();
      settings[Symbol.dispose]();
    },
  };
}

async function withFeeds(db: Database, files: Record<string, string>) {
  const web = serve(files);
  await db.pointAt(web.url);
  return web;
}

Deno.test("a call with the trigger secret runs the feeds, and says what it did", async () => {
  await using db = await freshDatabase();
  await using web = await withFeeds(db, oneOfEach());
  await using etl = serveFunction(db);

  const dry = await etl.call({ body: '{"dry_run":true}' });
  assert.deepEqual([dry.status, (await dry.json()).feeds.length], [200, 3]);
  const some = await (await etl.call({ body: '{"feeds":["drivers"]}' })).json();
  assert.deepEqual(some.feeds.map((feed: { feed: string; inserted: number }) => [feed.feed, feed.inserted]), [[
    "drivers",
    1,
  ]]);
  const first = await etl.call({ path: "/etl" });
  assert.equal(first.headers.get("content-type"), "application/json");
  assert.equal(first.headers.get("x-tdc-etl"), "1");
  assert.equal((await first.json()).status, "changed");
  assert.equal((await (await etl.call()).json()).status, "unchanged");
  const forced = await (await etl.call({ body: '{"feeds":["trips"],"force":true}' })).json();
  assert.equal(forced.feeds[0].unchanged, 1, "compared row by row");

  web.files["/charges.csv"] = "no csv at all";
  const partly = await etl.call();
  assert.equal(partly.status, 207);
  assert.equal((await partly.json()).feeds.at(-1).error.code, "columns");
  const wholly = await etl.call({ body: '{"feeds":["charges"]}' });
  assert.equal(wholly.status, 502);
  await wholly.body?.cancel();
});

Deno.test("GET tells how the feeds are, and changes nothing", async () => {
  await using db = await freshDatabase();
  await using web = await withFeeds(db, oneOfEach());
  await using etl = serveFunction(db);
  const look = async () => {
    const answer = await etl.call({ method: "GET" });
    const { status, feeds } = await answer.json();
    return [answer.status, status, feeds.map(({ verdict }: { verdict: string }) => verdict)];
  };

  const before = await snapshot(db);
  assert.deepEqual(await look(), [503, "trouble", ["never ran", "never ran", "never ran"]]);
  assert.deepEqual(await snapshot(db), before);
  await (await etl.call()).body?.cancel();
  assert.deepEqual(await look(), [200, "ok", ["ok", "ok", "ok"]]);
  delete web.files["/charges.csv"];
  await (await etl.call()).body?.cancel();
  assert.deepEqual(await look(), [503, "trouble", ["failing", "ok", "ok"]]);
  const refused = await etl.call({ method: "GET", secret: null });
  assert.deepEqual([refused.status, await refused.json()], [401, { error: { code: "secret_refused" } }]);
});

Deno.test("without the secret nothing is done, and nothing is told", async (t) => {
  await using db = await freshDatabase();
  await using etl = serveFunction(db, `${secret}, ${next}`);
  await db.query("drop schema etl cascade");
  const cases: [name: string, status: number, init: Parameters<Function["call"]>[0]][] = [
    ["no credential", 401, { secret: null }],
    ["a wrong one", 401, { secret: secret.slice(0, -1) + "x" }],
    ["the start of the right one", 401, { secret: secret.slice(0, 20) }],
    ["the right one and more", 401, { secret: secret + "x" }],
    ["both at once, as one", 401, { secret: `${secret}, ${next}` }],
    ["the right one twice", 401, { headers: { authorization: `Bearer ${secret}` } }],
    ["another scheme", 401, { secret: null, headers: { authorization: `Basic ${btoa(secret)}` } }],
    ["an oversized one", 401, { secret: "x".repeat(6000) }],
    ["an empty one", 401, { secret: null, headers: { authorization: "Bearer " } }],
    ["PUT", 405, { method: "PUT" }],
    ["PUT", 405, { method: "PUT" }],
    ["a CORS preflight", 405, {
      method: "OPTIONS",
      secret: null,
      headers: { origin: "https://x.example", "access-control-request-method": "POST" },
    }],
    ["another path", 404, { path: "/functions/v1/etl/../admin" }],
    ["a path beneath", 404, { path: "/etl/feeds" }],
  ];
  for (const [name, status, init] of cases) {
    await t.step(name, async () => {
      const response = await etl.call(init);
      const text = await response.text();
      assert.equal(response.status, status, text);
      assert.deepEqual(Object.keys(JSON.parse(text).error), ["code"], "no hint");
      assert.equal(response.headers.get("access-control-allow-origin"), null);
    });
  }
  await t.step("the old and the next secret both open the door while they are rotated", async () => {
    for (const given of [secret, next]) {
      const response = await etl.call({ secret: given });
      assert.equal(response.status, 503, "it came as far as the database");
      assert.equal((await response.json()).error.code, "not_migrated");
    }
  });
});

Deno.test("a function without a secret, or with a short one, lets nobody in", async () => {
  await using db = await freshDatabase();
  for (const secrets of ["", " , ", "short", `${secret},short`]) {
    await using etl = serveFunction(db, secrets);
    for (const given of [secret, "short", ""]) {
      const response = await etl.call({ secret: given });
      assert.equal(response.status, 503);
      assert.equal((await response.json()).error.code, "not_configured");
    }
  }
});

Deno.test("an empty part of the secrets is none, and opens to nobody", async () => {
  await using db = await freshDatabase();
  for (const secrets of [`${secret},`, `,${secret}`, `${secret}, ,`]) {
    await using etl = serveFunction(db, secrets);
    assert.equal((await etl.call({ secret: "" })).status, 401);
    const { status, body } = await etl.call({ secret });
    await body?.cancel();
    assert.notEqual(status, 503);
    assert.notEqual(status, 401);
  }
});

Deno.test("a request that cannot be understood is refused before the database is asked", async () => {
  await using db = await freshDatabase();
  await using etl = serveFunction(db);
  const bodies = [
    "{",
    "[]",
    "null",
    '"trips"',
    '{"feeds":"trips"}',
    '{"feeds":[1]}',
    '{"force":1}',
    '{"dryrun":true}',
    '{"deadline":0}',
    '{"deadline":"soon"}',
    '{"day":"today"}',
    '{"day":20210701}',
    '{"day":null}',
    `{"feeds":["${"x".repeat(70_000)}"]}`,
  ];
  for (const body of bodies) {
    const response = await etl.call({ body });
    assert.equal(response.status, 400, body.slice(0, 40));
    assert.equal((await response.json()).error.code, "request");
  }
  const noDay = await etl.call({ body: '{"feeds":["trips"],"day":"2021-07-01"}' });
  assert.deepEqual([noDay.status, (await noDay.json()).error.code], [400, "day"]);
  const unknown = await etl.call({ body: JSON.stringify({ feeds: ["trips'; drop table trips; --"] }) });
  assert.equal(unknown.status, 404);
  const { code, message } = (await unknown.json()).error;
  assert.deepEqual([code, message], ["unknown_feed", "Cannot run: there is no feed trips'; drop table trips; --"]);
});

Deno.test("with Accept: application/x-ndjson each step is a line, and the report the last", async () => {
  await using db = await freshDatabase();
  await using _web = await withFeeds(db, oneOfEach());
  await using etl = serveFunction(db);
  const headers = { accept: "application/x-ndjson" };
  const response = await etl.call({ headers });
  assert.equal(response.headers.get("content-type"), "application/x-ndjson");
  const lines = (await response.text()).trimEnd().split("\n").map((line) => JSON.parse(line));
  assert.equal(lines.at(-1).status, "changed");
  const steps = lines.slice(0, -1).map(({ progress }) => `${progress.feed} ${progress.step}`);
  const feeds = ["drivers", "trips", "charges"];
  const expected = [
    ...feeds.map((feed) => `${feed} fetching`),
    ...feeds.flatMap((feed) => [`${feed} merging`, `${feed} changed`]),
  ];
  assert.deepEqual(steps, expected);
  const refused = await etl.call({ headers, body: '{"feeds":["nope"]}' });
  const { code, message } = JSON.parse((await refused.text()).trim()).error;
  assert.deepEqual([code, message], ["unknown_feed", "Cannot run: there is no feed nope"]);
});

Deno.test("at its deadline, or when the platform is about to end it, a run loads what is there", async (t) => {
  await using db = await freshDatabase();
  await using web = await withFeeds(db, oneOfEach());
  await using etl = serveFunction(db);
  const ends: Record<string, [body: string, why: RegExp, end: () => void]> = {
    "the deadline of the call": ['{"deadline":0.3}', /time of the run was up: 0.3 s have passed$/, () => {}],
    "the platform's notice": [
      "{}",
      /time of the run was up: the platform ends the function$/,
      () => dispatchEvent(new Event("beforeunload")),
    ],
  };
  for (const [name, [body, why, end]] of Object.entries(ends)) {
    await t.step(name, async () => {
      web.files["/charges.csv"] = () => {
        end();
        return new Response(new ReadableStream());
      };
      const answer = await etl.call({ body });
      const { feeds } = await answer.json();
      assert.equal(answer.status, 207);
      assert.deepEqual(feeds.map(({ error }: FeedReport) => error?.code), [undefined, undefined, "too_slow"]);
      assert.match(feeds[2].error.message, why);
    });
  }
  assert.equal((await db.query("select from public.trips")).length, 1);
});

Deno.test("fifty calls at once: one run, the others 409 at once, few connections", async () => {
  await using db = await freshDatabase();
  await using web = await withFeeds(db, oneOfEach());
  await using etl = serveFunction(db);
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  web.files["/drivers.json"] = async () => {
    await released;
    return new Response("[]");
  };
  const statuses: number[] = [];
  const calls = Array.from({ length: 50 }, async () => {
    const response = await etl.call({ body: '{"feeds":["drivers"]}' });
    await response.body?.cancel();
    statuses.push(response.status);
    if (statuses.length === 49) release();
  });
  await Promise.all(calls);
  assert.deepEqual(statuses.sort(), [200, ...Array(49).fill(409)]);
  const [{ open }] = await db.query(
    "select count(*)::int as open from pg_stat_activity where application_name = 'tdc-etl' and datname = current_database()",
  );
  assert.equal(open, 0);
});

Deno.test("a log line holds no secret, no query string and no row", async () => {
  await using db = await freshDatabase();
  await using web = await withFeeds(db, {
    ...oneOfEach(),
    "/drivers.json": '[{"id":"d1","first_name":"Zanzibar"},{"id":',
  });
  await db.query("update etl.feeds set url = url || '?key=hunter2'");
  await using etl = serveFunction(db);
  delete web.files["/trips.csv"];
  const text = await (await etl.call()).text();
  assert.ok(etl.logged.length >= 2, "failures are logged");
  for (const said of [...etl.logged, text]) assert.doesNotMatch(said, /hunter2|Zanzibar|trigger-secret|postgres:\/\//);
});
