/** What a server's answer says of itself: when its file is whole, and when "nothing changed" may be believed. */
import assert from "node:assert/strict";
import { type Database, freshDatabase } from "../support/database.ts";

/** A server below HTTP: it answers each request with the next of these heads and bodies, and keeps what it was asked. */
function serveRaw(answers: string[]) {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const asked: string[] = [];
  const serving = (async () => {
    for await (const connection of listener) {
      const buffer = new Uint8Array(4096);
      asked.push(new TextDecoder().decode(buffer.subarray(0, await connection.read(buffer) ?? 0)));
      const answer = answers.length > 1 ? answers.shift()! : answers[0];
      const bytes = new TextEncoder().encode(answer.replaceAll("\n", "\r\n"));
      for (let sent = 0; sent < bytes.length;) sent += await connection.write(bytes.subarray(sent));
      connection.close();
    }
  })();
  return {
    url: `http://127.0.0.1:${listener.addr.port}/x`,
    asked,
    [Symbol.asyncDispose]: async () => {
      listener.close();
      await serving;
    },
  };
}

const date = (seconds: number) => new Date(Date.UTC(2026, 0, 1, 0, 0, seconds)).toUTCString();
const file = (head: string, body = "id\n1\n") =>
  `HTTP/1.1 200 OK\nConnection: close\n${head}Content-Length: ${body.replaceAll("\n", "\r\n").length}\n\n${body}`;

async function load(db: Database, url: string) {
  await db.query("create table if not exists public.x (id int primary key)");
  await db.feed("x", { url });
  return await db.loadOne("x");
}

const lastModified: Record<string, [head: string, kept: boolean]> = {
  "a second before it was sent": [`Date: ${date(10)}\nLast-Modified: ${date(9)}\n`, true],
  "in the second in which it was sent": [`Date: ${date(10)}\nLast-Modified: ${date(10)}\n`, false],
  "after it was sent": [`Date: ${date(10)}\nLast-Modified: ${date(20)}\n`, false],
  "by a server without a clock": [`Last-Modified: ${date(9)}\n`, false],
  "in the second in which it was sent, with an ETag": [
    `Date: ${date(10)}\nLast-Modified: ${date(10)}\nETag: "1"\n`,
    false,
  ],
};

for (const [when, [head, kept]] of Object.entries(lastModified)) {
  Deno.test(`a file last modified ${when}: ${kept ? "that is asked with" : "that is not asked with"}`, async () => {
    await using db = await freshDatabase();
    await using server = serveRaw([file(head), file(head), file(head, "id\n2\n")]);
    assert.equal((await load(db, server.url)).inserted, 1);
    assert.equal((await load(db, server.url)).status, "unchanged");
    assert.equal(/^if-modified-since:/im.test(server.asked[1]), kept);
    assert.equal((await load(db, server.url)).inserted, 1, "a file rewritten within that second is seen");
  });
}

const refused: Record<string, [answer: string, code: string, message: RegExp]> = {
  "a part of the file": [
    "HTTP/1.1 206 Partial Content\nContent-Range: bytes 0-3/8\nContent-Length: 4\nConnection: close\n\nid\n",
    "http_206",
    /answered 206/,
  ],
  "nothing changed, though it was not asked": ["HTTP/1.1 304 Not Modified\nConnection: close\n\n", "http_304", /304/],
  "accepted, and the file later": [
    "HTTP/1.1 202 Accepted\nContent-Length: 2\nConnection: close\n\n{}",
    "http_202",
    /answered 202/,
  ],
  "a circle": [
    "HTTP/1.1 302 Found\nLocation: /x\nContent-Length: 0\nConnection: close\n\n",
    "redirect_loop",
    /in a circle$/,
  ],
  "a header of 600 KB": [file(`X: ${"a".repeat(600_000)}\n`), "bad_answer", /with too large a header$/],
  "two lengths": [file("Content-Length: 999\n"), "bad_answer", /with something that is not HTTP$/],
  "no HTTP": ["hello\n\n", "bad_answer", /with something that is not HTTP$/],
};

for (const [what, [answer, code, message]] of Object.entries(refused)) {
  Deno.test(`a server answers with ${what}`, async () => {
    await using db = await freshDatabase();
    await using server = serveRaw([answer]);
    const { error, status } = await load(db, server.url);
    assert.deepEqual([status, error?.code], ["failed", code]);
    assert.match(error!.message, message);
    assert.ok(error!.hint);
    assert.ok(server.asked.length === 1 || code === "redirect_loop", "another try would change nothing");
    assert.deepEqual(await db.query("select * from public.x"), []);
  });
}

Deno.test("the same length twice is that length", async () => {
  await using db = await freshDatabase();
  await using server = serveRaw([file("Content-Length: 7\n")]);
  assert.equal((await load(db, server.url)).inserted, 1);
});

Deno.test("a header line of 100,000 columns is refused at once", async () => {
  await using db = await freshDatabase();
  const header = Array.from({ length: 100_000 }, (_, i) => `c${i}`).join(",");
  await using server = serveRaw([file("", `${header}\n`)]);
  const { error, ms } = await load(db, server.url);
  assert.equal(error?.code, "header");
  assert.match(error!.message, /names 100000 columns; Postgres takes 1600$/);
  assert.ok(ms < 5000, "it took eight seconds of CPU once");
});
