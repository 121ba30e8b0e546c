/** `deno task health --alert URL`: a timer is all it takes to be told. */
import assert from "node:assert/strict";
import { run } from "../support/command.ts";
import { databaseAndWeb } from "../support/given.ts";
import { serveSamples } from "../support/samples.ts";
import { type Answer, serve } from "../support/web.ts";

async function given(answer: (texts: string[]) => Answer) {
  const { db, web, ...all } = await databaseAndWeb();
  const texts: string[] = [];
  const receiver = serve({ "/hooks/h1dden": answer(texts) });
  await db.query("update etl.feeds set enabled = name = 'trips'");
  await db.pointAt(web.url);
  await db.load();
  const look = (...args: string[]) =>
    run(["health", "--alert", `${receiver.url}/hooks/h1dden`, ...args], { env: { DATABASE_URL: db.url } });
  return {
    ...{ db, texts, receiver, look },
    [Symbol.asyncDispose]: async () => {
      await receiver[Symbol.asyncDispose]();
      await all[Symbol.asyncDispose]();
    },
  };
}

/** Keeps what it is sent, if it is what a chat takes. */
const takes = (texts: string[]): Answer => async (request) => {
  assert.deepEqual([request.method, request.headers.get("content-type")], ["POST", "application/json"]);
  const { text, ...others } = await request.json();
  assert.deepEqual(others, {});
  texts.push(text);
  return new Response("ok");
};

Deno.test("two looks of a timer tell of trouble, two more of its end", async () => {
  await using at = await given(takes);
  const { db, texts, look } = at;
  const first = await look();
  assert.deepEqual([first.code, texts], [1, []]);
  assert.match(first.out, /\n\ntrips is failing: Cannot load trips: /);
  assert.equal((await look()).code, 1);
  assert.equal(texts.length, 1);
  assert.match(
    texts[0],
    /^tdc-etl: trips is failing since .* UTC\. Cause: Cannot load trips: .*answered 404\. What to do: /,
  );
  await look();

  await using web = serveSamples();
  await db.pointAt(web.url);
  await db.load({ feeds: ["drivers", "trips"] });
  for (const _ of ["first", "second", "third"]) assert.equal((await look("--json")).code, 0);
  assert.equal(texts.length, 2);
  assert.match(texts[1], /^tdc-etl: trips is ok again; before: failing since /);
});

Deno.test("where nobody takes it, that is said, without the URL, and the next look sends it again", async () => {
  const answers = [500, 302, 200];
  await using at = await given((texts) => async (request) => {
    texts.push((await request.json()).text);
    const status = answers.shift()!;
    return new Response(null, { status, headers: status === 302 ? { location: "https://elsewhere.example/" } : {} });
  });
  const { texts, look } = at;
  await look();
  const { host } = new URL(at.receiver.url);
  const refused = await look();
  assert.deepEqual([refused.code, refused.err], [
    1,
    `error: Cannot alert: ${host} answered 500\n       Nothing counts as told: the next look sends it again. Check the URL of --alert.\n`,
  ]);
  assert.match(refused.out, /trips is failing/, "the health is shown all the same");
  const moved = JSON.parse((await look("--json")).out);
  assert.deepEqual([moved.status, moved.feeds.length, moved.error.code, moved.error.message], [
    "trouble",
    1,
    "alert",
    `Cannot alert: ${host} answered 302`,
  ]);
  assert.equal((await look()).err, "");
  await look();
  assert.deepEqual(texts, Array(3).fill(texts[0]));
});

Deno.test("where nobody is: it cannot be reached", async () => {
  await using at = await given(takes);
  await at.look();
  await at.receiver[Symbol.asyncDispose]();
  const { code, err } = await at.look();
  assert.equal(code, 1);
  assert.match(err, /^error: Cannot alert: 127\.0\.0\.1:\d+ cannot be reached\n/);
  assert.ok(!err.includes("h1dden"));
});

Deno.test("alerts go by https, or stay on this machine", async () => {
  for (
    const url of ["http://hooks.example/h1dden", "http://localhost.example/h1dden", "ftp://127.0.0.1/h1dden", "h1dden"]
  ) {
    const { code, err } = await run(["health", "--alert", url], { env: { DATABASE_URL: "postgres://127.0.0.1:1/x" } });
    assert.equal(code, 2, url);
    assert.equal(err, "error: --alert takes an https URL\n       deno task etl --help\n");
  }
});
