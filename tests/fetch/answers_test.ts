/** What a server's answer says of itself: when its file is whole, and when "nothing changed" may be believed. */
import assert from "node:assert/strict";
import { type Database, freshDatabase } from "../support/database.ts";
import { onLoopback } from "../support/web.ts";

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

/** A file behind a redirect, or before it: where /x leads at first and later, what is there, and whether it is asked for by what is known. */
interface Place {
  to: string;
  body?: string;
  etag?: string;
  modified?: number;
}

const redirects: Record<string, [first: Place, then: Place, isAsked: boolean]> = {
  "to a file that stays": [{ to: "/01.csv", etag: '"1"', modified: 9 }, { to: "/01.csv", etag: '"1"' }, true],
  "to a file that changes": [{ to: "/01.csv", etag: '"1"' }, { to: "/01.csv", etag: '"2"', body: "id\n2\n" }, true],
  "to an older file": [{ to: "/01.csv", modified: 9 }, { to: "/02.csv", modified: 5, body: "id\n2\n" }, false],
  "to a file with the same ETag": [
    { to: "/01.csv", etag: '"1"' },
    { to: "/02.csv", etag: '"1"', body: "id\n2\n" },
    false,
  ],
  "to a file that its query names": [
    { to: "/file?name=01", etag: '"1"' },
    { to: "/file?name=02", etag: '"1"', body: "id\n2\n" },
    false,
  ],
  "to a file that its query names, signed": [
    { to: "/file?versionId=1&X-Amz-Signature=a", etag: '"1"' },
    { to: "/file?versionId=2&X-Amz-Signature=b", etag: '"1"', body: "id\n2\n" },
    false,
  ],
  "to a file whose query is named like a signature's": [
    { to: "/file?st=NY", etag: '"1"' },
    { to: "/file?st=NJ", etag: '"1"', body: "id\n2\n" },
    false,
  ],
  "to a file that is signed anew, as S3 does": [
    { to: "/file?v=1&X-Amz-Date=1&X-Amz-Signature=a", etag: '"1"', modified: 9 },
    { to: "/file?v=1&X-Amz-Date=2&X-Amz-Signature=b", etag: '"1"', modified: 9 },
    true,
  ],
  "to a file that is signed anew, as CloudFront does": [
    { to: "/file?Expires=1&Key-Pair-Id=k&Signature=a", modified: 9 },
    { to: "/file?Expires=2&Key-Pair-Id=k&Signature=b", modified: 9 },
    true,
  ],
  "to a file that is signed anew, as Azure does": [
    { to: "/file?sv=1&se=1&sr=b&sp=r&sig=a", etag: '"1"' },
    { to: "/file?sv=1&se=2&sr=b&sp=r&sig=b", etag: '"1"' },
    true,
  ],
  "to itself, signed": [
    { to: "/x?Expires=1&Signature=a", etag: '"1"' },
    { to: "/x?Expires=2&Signature=b", etag: '"1"' },
    true,
  ],
  "where there was none": [{ to: "/x", etag: '"1"' }, { to: "/02.csv", etag: '"1"', body: "id\n2\n" }, false],
  "no more": [{ to: "/02.csv", etag: '"1"' }, { to: "/x", etag: '"1"', body: "id\n2\n" }, false],
};

for (const [where, [first, then, isAsked]] of Object.entries(redirects)) {
  Deno.test(`a redirect ${where}: ${isAsked ? "that is asked with" : "that is not asked with"}`, async () => {
    await using db = await freshDatabase();
    let place = first;
    const conditions: [path: string, etag: string | null, modified: string | null][] = [];
    await using server = onLoopback(({ url, headers }) => {
      const { pathname, search } = new URL(url);
      const [etag, modified] = [headers.get("if-none-match"), headers.get("if-modified-since")];
      if (etag || modified) conditions.push([pathname + search, etag, modified]);
      if (pathname + search !== place.to) return new Response(null, { status: 302, headers: { location: place.to } });
      const said = new Headers({ date: date(10) });
      if (place.etag) said.set("etag", place.etag);
      if (place.modified) said.set("last-modified", date(place.modified));
      // As RFC 9110, 13.2.2 has it.
      const isOld = modified && place.modified && Date.parse(modified) >= Date.parse(date(place.modified));
      const same = etag ? etag === place.etag : isOld;
      return new Response(same ? null : place.body ?? "id\n1\n", { status: same ? 304 : 200, headers: said });
    });
    assert.equal((await load(db, `${server.url}/x`)).inserted, 1);
    place = then;
    const { inserted, status } = await load(db, `${server.url}/x`);
    assert.deepEqual([status, inserted], then.body ? ["changed", 1] : ["unchanged", 0]);
    const known = [first.etag ?? null, first.modified ? date(first.modified) : null];
    assert.ok(conditions.every(([, ...sent]) => String(sent) === String(known)), "they are sent as they came");
    const there = conditions.filter(([path]) => path === then.to).length;
    assert.equal(there, isAsked ? 1 : 0);
    const [state] = await db.query("select etag, last_modified from etl.feed_state");
    assert.doesNotMatch(JSON.stringify(state), /\.csv|name=|X-Amz|Signature/, "no place is kept");
    conditions.length = 0;
    assert.equal((await load(db, `${server.url}/x`)).status, "unchanged");
    assert.equal(conditions.filter(([path]) => path === then.to).length, 1, "by the next run it is known");
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
  ...Object.fromEntries(
    Object.entries({
      "a blank behind a header's name": file("X : 12\n"),
      "a header line without a colon": file("X\n"),
      "a header without a name": file(": x\n"),
      "a header line that is folded": file("X: a\n b\n"),
      "a NUL in a header": file("X: a\0b\n"),
      "a status that is no number": file("").replace("200", "abc"),
      "a status of one digit": file("").replace("200", "0"),
      "chunks in HTTP 1.0": "HTTP/1.0 200 OK\nTransfer-Encoding: chunked\n\n0\n\n",
    }).map(([what, answer]): [string, [string, string, RegExp]] => [
      what,
      [answer, "bad_answer", /with something that is not HTTP$/],
    ]),
  ),
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

const chunked = (body: string) => `${body.replaceAll("\n", "\r\n").length.toString(16)}\n${body}\n0\n\n`;

/** Heads and bodies: whether the row loads, else the code of the error. */
const lengths: Record<string, [answer: string, code: string | null]> = {
  "the same length twice": [file("Content-Length: 7\n"), null],
  "a length, and chunks": [
    `HTTP/1.1 200 OK\nConnection: close\nContent-Length: 5\nTransfer-Encoding: chunked\n\n${chunked("id\n1\n")}`,
    null,
  ],
  "a length of more, and chunks": [
    `HTTP/1.1 200 OK\nConnection: close\nTransfer-Encoding: Chunked\nContent-Length: 99\n\n${chunked("id\n1\n")}`,
    null,
  ],
  "a length, and chunks without the last": [
    "HTTP/1.1 200 OK\nConnection: close\nContent-Length: 5\nTransfer-Encoding: chunked\n\n7\nid\n1\n\n",
    "cut_short",
  ],
  "a coding that is none, and a length, cut short": [
    "HTTP/1.1 200 OK\nConnection: close\nTransfer-Encoding: identity\nContent-Length: 9\n\nid\n1\n",
    "cut_short",
  ],
  "an empty coding, and a length, cut short": [
    "HTTP/1.1 200 OK\nConnection: close\nTransfer-Encoding: \nContent-Length: 9\n\nid\n1\n",
    "cut_short",
  ],
  "no content, and its length": ["HTTP/1.1 204 No Content\nConnection: close\nContent-Length: 5\n\n", "empty"],
};

for (const [what, [answer, code]] of Object.entries(lengths)) {
  Deno.test(`a server says ${what}: ${code ?? "it loads"}`, async () => {
    await using db = await freshDatabase();
    await using server = serveRaw([answer]);
    const { error, inserted } = await load(db, server.url);
    assert.deepEqual([error?.code ?? null, inserted], [code, code ? 0 : 1], `${error?.message}`);
  });
}

Deno.test("a header line of 100,000 columns is refused at once", async () => {
  await using db = await freshDatabase();
  const header = Array.from({ length: 100_000 }, (_, i) => `c${i}`).join(",");
  await using server = serveRaw([file("", `${header}\n`)]);
  const { error, ms } = await load(db, server.url);
  assert.equal(error?.code, "header");
  assert.match(error!.message, /names 100000 columns; Postgres takes 1600$/);
  assert.ok(ms < 5000, "it took eight seconds of CPU once");
});
