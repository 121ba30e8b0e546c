/** A feed of many pages: all of them or none, each asked for once, and words where the links lead astray. */
import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import { nextLink } from "../../lib/fetch/link.ts";
import { Peekable } from "../../lib/format/peekable.ts";
import { openRows } from "../../lib/format/rows.ts";
import { databaseAndWeb } from "../support/given.ts";
import { snapshot } from "../support/snapshot.ts";
import { zipped } from "../support/zip.ts";

/** A header Link, and the next page's URL in it. */
const links: [header: string, next: string | null][] = [
  ['<https://x.example/?page=2>; rel="next"', "https://x.example/?page=2"],
  ["</b?page=2>;rel=next", "/b?page=2"],
  ['<?a=1,2>; rel="prev", <?a=3,4>; rel="next"', "?a=3,4"],
  ['<a>; title="x, <b>; rel=next"; rel=last, <c>; REL = "Next"', "c"],
  ['<a>; rel="last NEXT other"', "a"],
  ['<a>; title="a \\" quote"; rel="next"', "a"],
  ["<a>; rel=prev; rel=next", null],
  ['<a>; rel="next"; anchor="/elsewhere", <b>; rel="next"', "b"],
  ["<a>; rel=nextish, <b>; rel=prefetch", null],
  ["<a>; rel=next; flag; title*=UTF-8''caf%C3%A9", "a"],
  ["< a >; rel=next;", "a"],
  [", <a>; rel=next ,, <a>; rel=next,", "a"],
  ['<a>; rel="prev http://x.example/o\'neil"', null],
  ["<a>; title='next'; rel=prev, <b>", null],
  ["<a.css>; rel='preload', <b>; rel=next", "b"],
  ['<a>; rel="last page\'s", <b>; rel="é"', null],
  ["", null],
];

Deno.test("the header Link is read as RFC 8288 has it", () => {
  for (const [header, next] of links) assert.equal(nextLink(header), next, header);
  for (const header of ["a; rel=next", "<a; rel=next", '<a>; rel="next', "<a>; rel=next <b>", "<a>; =next"]) {
    assert.throws(() => nextLink(header), /its header Link cannot be read$/, header);
  }
  const latin1 = (text: string) => String.fromCharCode(...new TextEncoder().encode(text));
  for (
    const rel of [
      "='next'",
      "=`next`",
      "=next'",
      "=\"'next'\"",
      latin1("=“next”"),
      latin1('="“next”"'),
      "",
      '=""',
      '=" "',
    ]
  ) {
    const header = `<a>; rel=prev, <b>; rel${rel}; title=x`;
    assert.throws(
      () => nextLink(header),
      /its header Link has a rel that is empty, or in quotes that are none$/,
      header,
    );
  }
  assert.throws(() => nextLink("<a>; rel=next, <b>; rel=next"), /names two next pages$/);
});

interface Page {
  body: string | Uint8Array<ArrayBuffer>;
  link?: string;
}

const page = (ids: string[], next?: unknown) =>
  JSON.stringify({ data: ids.map((id) => ({ id })), links: next === undefined ? {} : { next } });

const pointed = { records: "/data", next: "/links/next" };

/** Columns of etl.feeds, the pages by their path and query, and the ids that load. ORIGIN is the server's. */
const loads: Record<string, { feed: Record<string, unknown>; pages: Record<string, Page>; ids: string[] }> = {
  "by a pointer, relative and absolute": {
    feed: pointed,
    pages: {
      "/things": { body: page(["1", "2"], "/things?page=2") },
      "/things?page=2": { body: page([], "ORIGIN/things?page=3") },
      "/things?page=3": { body: page(["3"], "?page=4") },
      "/things?page=4": { body: page(["4"], null) },
    },
    ids: ["1", "2", "3", "4"],
  },
  "a link before the records, and an empty one": {
    feed: { records: "/data", next: "/next" },
    pages: {
      "/things": { body: '{"next":"/b","data":[{"id":"1"}]}' },
      "/b": { body: '{"next":"","data":[{"id":"2"}]}' },
    },
    ids: ["1", "2"],
  },
  "one page": { feed: pointed, pages: { "/things": { body: page(["1"]) } }, ids: ["1"] },
  "an object a page": {
    feed: { records: "", next: "/next" },
    pages: { "/things": { body: '{"id":"1","next":"/b"}' }, "/b": { body: '{"id":"2"}' } },
    ids: ["1", "2"],
  },
  "by the header, of arrays": {
    feed: { next: "link" },
    pages: {
      "/things": { body: '[{"id":"1"}]', link: '</b?a={x}>; rel="next"' },
      "/b?a={x}": { body: "[]", link: '</c>; rel="next", </things>; rel="first"' },
      "/c": { body: '[{"id":"2"}]', link: '</things>; rel="first"' },
    },
    ids: ["1", "2"],
  },
  "by the header, of CSV with and without a line end": {
    feed: { next: "link" },
    pages: {
      "/things": { body: 'id,name\n1,"a\nb"', link: "</b>; rel=next" },
      "/b": { body: "\ufeffid,name\n", link: "</c>; rel=next" },
      "/c": { body: "id,name\n2,x\n\n", link: "</d>; rel=next" },
      "/d": { body: "id,name\r\n3,y\r\n" },
    },
    ids: ["1", "2", "3"],
  },
  "by the header, of CSV with a delimiter more in a header": {
    feed: { next: "link" },
    pages: {
      "/things": { body: "id,name,\n1,x\n", link: "</b>; rel=next" },
      "/b": { body: "id,name\n2,y\n", link: "</c>; rel=next" },
      "/c": { body: "id,name,\n" },
    },
    ids: ["1", "2"],
  },
  "by the header, of lines": {
    feed: { next: "link" },
    pages: {
      "/things": { body: '{"id":"1"}\n{"id":"2"}', link: "</b>; rel=next" },
      "/b": { body: '{"id":"3"}\n', link: "</c>; rel=next" },
      "/c": { body: "" },
    },
    ids: ["1", "2", "3"],
  },
  "packed, each in its own way": {
    feed: pointed,
    pages: {
      "/things": { body: new Uint8Array(gzipSync(page(["1"], "/b"))) },
      "/b": { body: zipped([{ name: "b.json", data: page(["2"], "/c") }]) },
      "/c": { body: page(["3"]) },
    },
    ids: ["1", "2", "3"],
  },
};

/** What is refused. */
const refused: Record<
  string,
  { feed: Record<string, unknown>; pages: Record<string, Page>; code: string; message: RegExp; limit?: number }
> = {
  "a circle": {
    feed: pointed,
    pages: { "/things": { body: page(["1"], "/b") }, "/b": { body: page(["2"], "/things#top") } },
    code: "next",
    message: /: page 3: it is a page that was asked for already: the links lead in a circle$/,
  },
  "itself": {
    feed: { next: "link" },
    pages: { "/things": { body: '[{"id":"1"}]', link: "</things>; rel=next" } },
    code: "next",
    message: /: page 2: it is a page that was asked for already/,
  },
  "another server": {
    feed: pointed,
    pages: { "/things": { body: page(["1"], "https://other.example/b?key=s3cret") } },
    code: "next",
    message: /: page 2: it is on another server, https:\/\/other\.example$/,
  },
  "another port": {
    feed: pointed,
    pages: { "/things": { body: page(["1"], "http://127.0.0.1:1/b") } },
    code: "next",
    message: /: page 2: it is on another server, http:\/\/127\.0\.0\.1:1$/,
  },
  "no URL": {
    feed: pointed,
    pages: { "/things": { body: page(["1"], "http://") } },
    code: "next",
    message: /: page 2: its link is no URL that may be asked$/,
  },
  "credentials": {
    feed: pointed,
    pages: { "/things": { body: page(["1"], "//ana:s3cret@127.0.0.1/b") } },
    code: "next",
    message: /: page 2: its link is no URL that may be asked$/,
  },
  "a file of this machine": {
    feed: pointed,
    pages: { "/things": { body: page(["1"], "file:///etc/hostname") } },
    code: "next",
    message: /: page 2: it is on another server, null$/,
  },
  "a link that is a number": {
    feed: pointed,
    pages: { "/things": { body: page(["1"], 2) } },
    code: "next",
    message: /: what it has at \/links\/next, for the URL of the next page, is no text$/,
  },
  "a link that is too long": {
    feed: pointed,
    pages: { "/things": { body: page(["1"], "/" + "b".repeat(20_000)) } },
    code: "next",
    message: /is longer than 16384 bytes$/,
  },
  "two links": {
    feed: { records: "/data", next: "/next" },
    pages: { "/things": { body: '{"data":[{"id":"1"}],"next":"/b","next":"/c"}' } },
    code: "json",
    message: /it has two values at \/next$/,
  },
  "a pointer into the records": {
    feed: { records: "/data", next: "/data/0/next" },
    pages: { "/things": { body: page(["1"]) } },
    code: "next",
    message: /etl\.feeds\.next, \/data\/0\/next, leads into the records$/,
  },
  "a pointer, and no records": {
    feed: { next: "/next" },
    pages: { "/things": { body: '[{"id":"1"}]' } },
    code: "next",
    message: /points into a document, and etl\.feeds\.records does not$/,
  },
  "a page that is not there": {
    feed: pointed,
    pages: { "/things": { body: page(["1"], "/b") } },
    code: "next",
    message: /: page 2: http:\/\/127\.0\.0\.1:\d+\/b answered 404$/,
  },
  "a page that is no JSON": {
    feed: pointed,
    pages: { "/things": { body: page(["1"], "/b") }, "/b": { body: '{"data":[{"id":"2"}' } },
    code: "json",
    message: /: page 2: the array is not closed/,
  },
  "a page without records": {
    feed: pointed,
    pages: { "/things": { body: page(["1"], "/b") }, "/b": { body: '{"error":"Ana"}' } },
    code: "records",
    message: /: page 2: it has nothing at \/data$/,
  },
  "a page that is an object among arrays": {
    feed: { next: "link" },
    pages: { "/things": { body: '[{"id":"1"}]', link: "</b>; rel=next" }, "/b": { body: '{"id":"2"}' } },
    code: "records",
    message: /: page 2: it is an object, not an array of objects$/,
  },
  "an empty page": {
    feed: pointed,
    pages: { "/things": { body: page(["1"], "/b") }, "/b": { body: "" } },
    code: "empty",
    message: /: page 2: the body is empty$/,
  },
  "a web page": {
    feed: { next: "link" },
    pages: { "/things": { body: "id,name\n1,x\n", link: "</b>; rel=next" }, "/b": { body: "<html>Ana" } },
    code: "html",
    message: /: page 2: the server answered with a web page/,
  },
  "another header line": {
    feed: { next: "link" },
    pages: { "/things": { body: "id,name\n1,x\n", link: "</b>; rel=next" }, "/b": { body: "name,id\nx,2\n" } },
    code: "header",
    message: /: page 2: its header line is not that of the first page$/,
  },
  "a header Link that cannot be read": {
    feed: { next: "link" },
    pages: { "/things": { body: '[{"id":"1"}]', link: "/b; rel=next" } },
    code: "next",
    message: /: page 2: its header Link cannot be read$/,
  },
  "a header Link in quotes that are none": {
    feed: { next: "link" },
    pages: { "/things": { body: '[{"id":"1"}]', link: "</b>; rel='next'" }, "/b": { body: '[{"id":"2"}]' } },
    code: "next",
    message: /: page 2: its header Link has a rel that is empty, or in quotes that are none$/,
  },
  "pages that are too big together": {
    feed: pointed,
    pages: { "/things": { body: page(["1"], "/b") }, "/b": { body: page(["2"]) } },
    limit: 60,
    code: "too_big",
    message: /: page 2: the body has more than 60 bytes$/,
  },
};

async function given() {
  let pages: Record<string, Page> = {};
  const asked: string[] = [];
  const here = await databaseAndWeb("create table public.things (id text primary key, name text)");
  const { web, db } = here;
  const answer = (request: Request) => {
    const { pathname, search } = new URL(request.url);
    asked.push(pathname + search);
    const page = pages[pathname + search];
    if (!page) return new Response("not here", { status: 404 });
    const body = typeof page.body === "string" ? page.body.replaceAll("ORIGIN", web.url) : page.body;
    return new Response(body, { headers: { etag: '"same"', ...page.link ? { link: page.link } : {} } });
  };
  for (const path of ["/things", "/b", "/c", "/d"]) web.files[path] = answer;
  return {
    ...here,
    asked,
    set: async (feed: Record<string, unknown>, all: Record<string, Page>) => {
      pages = all;
      asked.length = 0;
      await db.query("truncate public.things, etl.feeds cascade");
      await db.feed("things", { url: `${web.url}/things`, ...feed });
    },
    ids: async () => (await db.query("select id from public.things order by id")).map(({ id }) => id),
  };
}

Deno.test("all pages load as one feed, and unchanged ones are found out", async (t) => {
  await using at = await given();
  const { db, asked } = at;
  for (const [name, { feed, pages, ids }] of Object.entries(loads)) {
    await t.step(name, async () => {
      await at.set(feed, pages);
      const { error, read, bytes } = await db.loadOne("things");
      assert.deepEqual([error, read, await at.ids()], [null, ids.length, ids]);
      assert.deepEqual(asked, Object.keys(pages));
      const sizes = Object.values(pages).map(({ body }) =>
        typeof body === "string" ? new TextEncoder().encode(body.replaceAll("ORIGIN", at.web.url)).length : body.length
      );
      assert.equal(bytes, sizes.reduce((sum, size) => sum + size));
      const [state] = await db.query("select etag, last_modified, content_length from etl.feed_state");
      assert.deepEqual(Object.values(state), [null, null, null], "a page's validators say nothing of the others");
      const before = await snapshot(db);
      assert.equal((await db.loadOne("things")).status, "unchanged");
      assert.deepEqual(await snapshot(db), before);
      assert.deepEqual(asked, [...Object.keys(pages), ...Object.keys(pages)]);
    });
  }
});

Deno.test("a change of the last page alone is seen", async () => {
  await using at = await given();
  const pages = { "/things": { body: page(["1"], "/b") }, "/b": { body: page(["2"]) } };
  await at.set(pointed, pages);
  await at.db.loadOne("things");
  pages["/b"].body = page(["3"]);
  assert.equal((await at.db.loadOne("things")).inserted, 1);
});

Deno.test("records are counted through the pages", async () => {
  await using at = await given();
  await at.set({ next: "link", reject_limit: 1 }, {
    "/things": { body: "id,name\n1,x\n2,x,y\n", link: "</b>; rel=next" },
    "/b": { body: 'id,name\n3,x\n4,"x\n', link: "</c>; rel=next" },
    "/c": { body: 'id,name\n5,"\n6,y"\n,z\n' },
  });
  const { read, inserted } = await at.db.loadOne("things");
  const rejects = await at.db.query("select record_number::int as n, reason from etl.rejects order by 1");
  assert.deepEqual([read, inserted], [6, 3]);
  assert.deepEqual(rejects.map(({ n, reason }) => [n, reason]), [
    [2, "has 3 fields where the header has 2"],
    [4, "has a quote that is not closed"],
    [6, "is missing"],
  ]);
});

Deno.test("links that lead astray fail the feed with the page's number, and leave nothing", async (t) => {
  await using at = await given();
  const { db } = at;
  for (const [name, { feed, pages, code, message, limit }] of Object.entries(refused)) {
    await t.step(name, async () => {
      await at.set(feed, pages);
      const patience = { retryMs: [], ...limit ? { bytes: limit } : {} };
      const { status, error } = await db.loadOne("things", { patience });
      assert.deepEqual([status, error?.code], ["failed", code], `${error?.message}`);
      assert.match(error!.message, message);
      assert.ok(error!.hint);
      assert.doesNotMatch(JSON.stringify(error), /s3cret|Ana/);
      assert.deepEqual(await at.ids(), []);
    });
  }
});

Deno.test("headers of the feed's own go to every page; a missing page is not a file that is not there yet", async () => {
  await using at = await given();
  const keys: (string | null)[] = [];
  at.web.files["/things"] = (request) => {
    keys.push(request.headers.get("x-api-key"));
    const isFirst = new URL(request.url).search === "?first";
    return new Response(page([isFirst ? "1" : "2"], isFirst ? "?second" : null));
  };
  await at.db.feed("things", { url: `${at.web.url}/things?first`, headers: { "x-api-key": "abc" }, ...pointed });
  assert.equal((await at.db.loadOne("things")).inserted, 2);
  assert.deepEqual(keys, ["abc", "abc"]);
  const day = new Date().toISOString().slice(0, 10);
  at.web.files[`/${day}`] = page(["3"], null);
  await at.db.feed("things", { url: `${at.web.url}/{day}`, time_zone: "UTC", ...pointed });
  assert.equal((await at.db.loadOne("things")).inserted, 1);
  at.web.files[`/${day}`] = page(["4"], "/gone");
  assert.equal((await at.db.loadOne("things")).error?.code, "next");
});

Deno.test("a page by a redirect: what is relative counts from where it came", async () => {
  await using at = await given();
  at.web.files["/moved/things"] = page(["1"], "more");
  at.web.files["/moved/more"] = page(["2"]);
  at.web.files["/things"] = () => new Response(null, { status: 302, headers: { location: "/moved/things" } });
  await at.db.feed("things", { url: `${at.web.url}/things`, ...pointed });
  assert.equal((await at.db.loadOne("things")).inserted, 2);
});

Deno.test("a server that links without end is stopped", async () => {
  await using at = await given();
  let number = 0;
  at.web.files["/things"] = () => new Response(page([String(++number)], `?${number}`));
  await at.db.feed("things", { url: `${at.web.url}/things`, ...pointed });
  const { error } = await at.db.loadOne("things", { patience: { pages: 20 } });
  assert.equal(error?.code, "next");
  assert.match(error!.message, /: page 21: there are more than 20 pages$/);
  assert.equal(number, 20);
  assert.deepEqual(await at.ids(), []);
});

Deno.test("of pages the end is known where that of each is", async () => {
  const text = (body: string, hasEnd: boolean) =>
    new Peekable(
      (async function* () {
        yield await Promise.resolve(new TextEncoder().encode(body));
      })(),
      hasEnd,
    );
  for (
    const [body, ends, expected] of [
      ["id\n1\n", [true, true], true],
      ["id\n1\n", [true, false], false],
      ["id\n1\n", [false, true], false],
      ['{"id":1}\n{"id":2}\n', [true, false], false],
      ['[{"id":1}]', [false, false], true],
    ] as const
  ) {
    const [first, ...others] = ends.map((hasEnd) => text(body, hasEnd));
    const rows = await openRows(
      first,
      { format: null, delimiter: null },
      () => Promise.resolve(others.shift() ?? null),
    );
    for await (const _ of rows.chunks);
    assert.equal(rows.hasEnd, expected, `${body} ${ends}`);
  }
});
