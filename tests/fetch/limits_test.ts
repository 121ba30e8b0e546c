/** What is put up with from a partner: above each limit the feed fails with words, and nothing of it is left. */
import assert from "node:assert/strict";
import type { Patience } from "../../lib/limits.ts";
import { freshDatabase } from "../support/database.ts";
import { serve } from "../support/web.ts";

const megabyte = 2 ** 20;
const lines = (text: string, bytes: number) => text.repeat(Math.ceil(bytes / text.length));

async function packed(...parts: string[]): Promise<Uint8Array<ArrayBuffer>> {
  return await new Response(new Blob(parts).stream().pipeThrough(new CompressionStream("gzip"))).bytes();
}

/** A server that sends a line every 20 ms, and never all: no wait is long, but little comes. */
function trickle(): Response {
  let timer: ReturnType<typeof setInterval>;
  const body = new ReadableStream({
    start(controller) {
      controller.enqueue(new TextEncoder().encode("id,name\n"));
      timer = setInterval(() => controller.enqueue(new TextEncoder().encode("1,Ana\n")), 20);
    },
    cancel: () => clearInterval(timer),
  });
  return new Response(body);
}

interface Excess {
  body: string | Uint8Array<ArrayBuffer> | (() => Response);
  patience?: Partial<Patience>;
  code: string;
  message: RegExp;
  hint?: RegExp;
}

const tooBig = { patience: { bytes: 1000 }, code: "too_big", message: /the body has more than 1000 bytes$/ };
const excesses: Record<string, Excess> = {
  "a body that is announced as too big": { body: "id,name\n" + lines("1,Ana\n", 1000), ...tooBig },
  "a body that turns out too big": {
    body: () => new Response(new Blob(["id,name\n", lines("1,Ana\n", 1000)]).stream()),
    ...tooBig,
  },
  "a server that never comes to an end": {
    body: trickle,
    patience: { stallMs: 300 },
    code: "too_slow",
    message: /\/things sent \d+ bytes in 0\.\d s$/,
  },
  "a gzip bomb": {
    body: await packed("id,name\n", lines("\n", 80 * megabyte)),
    code: "gzip_bomb",
    message: /unpacks to more than 250 times its size$/,
  },
  "a file of which nearly nothing can be read": {
    body: "id,name\n1,Ana\n" + lines("2,Bo,x\n", 700_000),
    code: "unreadable",
    message: /100000 of its first 100001 records cannot be read$/,
  },
  "a file in another encoding": {
    body: Uint8Array.from("id,name\n" + lines("1,Jos\xe9\n", 700_000), (letter) => letter.charCodeAt(0)),
    code: "unreadable",
    message: /100000 of its first 100000 records cannot be read$/,
    hint: /looks like windows-1252: say so in etl\.feeds\.encoding/,
  },
  "a file of blank lines with a record behind them": {
    body: "id,name\n1,Ana\n" + lines("\n", 10 * megabyte) + "2,Bo\n",
    code: "unreadable",
    message: /100000 of its first 100002 records cannot be read$/,
  },
  "a line without an end": {
    body: "id,name\n1,Ana\n2," + lines("o", 9 * megabyte),
    code: "record_too_long",
    message: /record 2 is longer than 8 MiB$/,
  },
  "more columns than a table can have": {
    body: Array.from({ length: 1601 }, (_, i) => `c${i}`).join() + "\n",
    code: "header",
    message: /names 1601 columns; Postgres takes 1600$/,
  },
};

Deno.test("each limit is kept", async (t) => {
  await using db = await freshDatabase();
  await using web = serve({});
  await db.query("create table public.things (id text primary key, name text)");
  await db.feed("things", { url: `${web.url}/things` });
  for (const [name, { body, patience, code, message, hint }] of Object.entries(excesses)) {
    await t.step(name, async () => {
      web.files["/things"] = body;
      const { error } = await db.loadOne("things", { patience: { retryMs: [], ...patience } });
      assert.ok(error);
      assert.equal(error.code, code, error.message);
      assert.match(error.message, message);
      assert.match(error.hint!, hint ?? /./);
      assert.deepEqual(await db.query("select * from public.things"), []);
    });
  }
  await t.step("below them a well packed file loads", async () => {
    const rows = Array.from({ length: 20_000 }, (_, i) => `${i},${lines(" ", 4_000)}\n`);
    web.files["/things"] = await packed("id,name\n", ...rows);
    const { error, inserted } = await db.loadOne("things");
    assert.equal(error, null);
    assert.equal(inserted, rows.length);
  });
});
