/** One partner who is slow holds up nobody: what a run holds while partners send, and what it leaves to the next one. */
import assert from "node:assert/strict";
import type { Progress } from "../../lib/load.ts";
import type { Report } from "../../lib/report.ts";
import { database } from "../support/database.ts";
import { databaseAndWeb, type Given } from "../support/given.ts";
import { until } from "../support/waiting.ts";
import type { Answer } from "../support/web.ts";

const names = ["others", "parents", "things"];

/** Things refer to parents; others to nothing. */
async function given(): Promise<Given> {
  const here = await databaseAndWeb(
    `delete from etl.feeds;
    create table public.parents (id text primary key, name text);
    create table public.others (id text primary key, name text);
    create index on public.others (name);
    create table public.things (id text primary key, name text, parent_id text references public.parents)`,
    {},
    true,
  );
  here.web.files["/others"] = here.web.files["/parents"] = "id,name\n1,new\n";
  here.web.files["/things"] = "id,name,parent_id\n1,new,1\n";
  for (const name of names) await here.db.feed(name, { url: `${here.web.url}/${name}` });
  return here;
}

/** A body that stops after its first line until it is let go. */
function held(text: string): { answer: Answer; asked: Promise<void>; go: () => void } {
  const asked = Promise.withResolvers<void>();
  const released = Promise.withResolvers<void>();
  const [header, rest] = text.split(/(?<=^.*\n)/);
  const body = async function* () {
    yield header;
    asked.resolve();
    await released.promise;
    yield rest;
  };
  const answer = () => new Response(ReadableStream.from(body()).pipeThrough(new TextEncoderStream()));
  return { answer, asked: asked.promise, go: released.resolve };
}

/** Feed -> its status, with the end of the error's words where there is one. */
const told = ({ feeds }: Report) =>
  Object.fromEntries(
    feeds.map((
      { feed, status, error },
    ) => [feed, error ? `${status}: ${error.message.replace(/^.*?: /, "")}` : status]),
  );

Deno.test("while a partner sends, no table is locked, and other feeds are loaded", async () => {
  await using here = await given();
  const { db, web } = here;
  await using other = await database(db.name);
  const slow = held("id,name,parent_id\n1,slow,1\n");
  const things = web.files["/things"];
  web.files["/things"] = slow.answer;
  const one = db.load();
  await slow.asked;
  // Parents and others are staged by then.
  for (const name of names) {
    await other.query(`begin; lock table public.${name} in access exclusive mode nowait; rollback`);
  }
  assert.deepEqual(await other.query("select * from public.others"), []);
  await db.query("insert into etl.feeds (name, url, target) values ('more', $1, 'public.others')", [`${web.url}/more`]);
  web.files["/more"] = "id,name\n2,meanwhile\n";
  assert.deepEqual(told(await other.load({ feeds: ["more"] })), { more: "changed" });
  web.files["/things"] = things;
  slow.go();
  assert.deepEqual(told(await one), { others: "changed", parents: "changed", things: "changed" });
  assert.deepEqual(await db.query("select id, name from public.others order by id"), [
    { id: "1", name: "new" },
    { id: "2", name: "meanwhile" },
  ]);
});

Deno.test("a feed that another run has is busy, and so is what refers to it; the others load", async () => {
  await using here = await given();
  const { db, web } = here;
  await using other = await database(db.name);
  const slow = held("id,name\n1,slow\n");
  web.files["/parents"] = slow.answer;
  const one = db.load({ feeds: ["parents"] });
  await slow.asked;
  const second = await other.load();
  assert.deepEqual(told(second), {
    others: "changed",
    parents: "busy: another run is loading it",
    things: "busy: it refers to parents, which waits",
  });
  assert.equal(second.status, "changed");
  await assert.rejects(other.load({ feeds: ["parents"] }), { code: "busy", message: "another run is under way" });
  slow.go();
  assert.deepEqual(told(await one), { parents: "changed" });
  // What waited is no failure: the ledger has nothing of it.
  assert.deepEqual(
    await db.query("select feed, status from etl.runs order by feed"),
    ["others", "parents"].map((feed) => ({ feed, status: "changed" })),
  );
  web.files["/parents"] = "id,name\n1,new\n";
  assert.deepEqual(told(await db.load()), { others: "unchanged", parents: "changed", things: "changed" });
});

Deno.test("while its parent is being written, a child is busy and no orphan; siblings run side by side", async () => {
  await using here = await given();
  const { db, web } = here;
  await using other = await database(db.name);
  await db.query(`
    create table public.siblings (id text primary key, parent_id text references public.parents);
    create function public.linger() returns trigger language plpgsql as
      $$begin perform pg_advisory_xact_lock(7); return null; end$$;
    create trigger linger after insert on public.parents execute function public.linger();
    create trigger linger after insert on public.siblings execute function public.linger()`);
  await db.feed("siblings", { url: `${web.url}/siblings` });
  web.files["/siblings"] = "id,parent_id\n1,1\n";
  const isWriting = (feed: string) =>
    until(
      `${feed} are written`,
      async () => (await other.query("select from pg_locks where locktype = 'advisory' and not granted")).length > 0,
    );
  const refused = /^things waits: another run is writing its table, or one that is tied to it by a key\. Wait/;
  for (const written of ["parents", "siblings"]) {
    await other.query("select pg_advisory_lock(7)");
    const one = db.load({ feeds: [written] });
    await isWriting(written);
    const things = await other.load({ feeds: ["things"] }).then(told, ({ code, hint }) => `${code} ${hint}`);
    await other.query("select pg_advisory_unlock(7)");
    assert.deepEqual(told(await one), { [written]: "changed" });
    if (written === "parents") assert.match(`${things}`.replace(/^busy /, ""), refused);
    else assert.deepEqual(things, { things: "changed" });
    assert.deepEqual(await db.query("select * from etl.rejects"), []);
  }
  // The other way round: what a child is being checked against is not written.
  await other.query("select pg_advisory_lock(7)");
  web.files["/siblings"] = "id,parent_id\n1,1\n2,1\n";
  web.files["/parents"] = "id,name\n1,newer\n";
  const one = db.load({ feeds: ["siblings"] });
  await isWriting("siblings");
  const parents = await other.load({ feeds: ["parents"] }).then(told, ({ code }) => code);
  await other.query("select pg_advisory_unlock(7)");
  assert.deepEqual([parents, told(await one)], ["busy", { siblings: "changed" }]);
});

Deno.test("at its deadline a run loads what is there; who was sending is too slow, who was not asked waits", async () => {
  await using here = await given();
  const { db, web } = here;
  const slow = held("id,name\n1,slow\n");
  web.files["/parents"] = slow.answer;
  const report = await db.load({ allowance: { deadlineMs: 300 } });
  assert.deepEqual(told(report), {
    others: "changed",
    parents: `failed: ${web.url}/parents had not sent all when the time of the run was up: 0.3 s have passed`,
    things: "deferred: the time of the run was up: 0.3 s have passed",
  });
  assert.deepEqual(report.feeds.map(({ error }) => error?.code), [undefined, "too_slow", "deferred"]);
  slow.go();
  web.files["/parents"] = "id,name\n1,new\n";
  assert.deepEqual(told(await db.load()), { others: "unchanged", parents: "changed", things: "changed" });
});

Deno.test("what is there with its last byte when the time is up is loaded", async () => {
  await using here = await given();
  const { db } = here;
  const ending = new AbortController();
  const onProgress = ({ feed, bytes, total }: Progress) => {
    if (feed === "parents" && bytes === total) ending.abort("the platform ends the function");
  };
  assert.deepEqual(told(await db.load({ ending: ending.signal, onProgress })), {
    others: "changed",
    parents: "changed",
    things: "deferred: the time of the run was up: the platform ends the function",
  });
});

Deno.test("a process that is about to be ended loads what is there", async () => {
  await using here = await given();
  const { db, web } = here;
  const ending = new AbortController();
  web.files["/parents"] = (request) => {
    ending.abort("the platform ends the function");
    return new Response(
      new ReadableStream({ start: (body) => request.signal.addEventListener("abort", () => body.close()) }),
    );
  };
  const report = await db.load({ ending: ending.signal });
  assert.match(told(report).parents, /^failed: .* the time of the run was up: the platform ends the function$/);
  assert.match(told(report).things, /^deferred: .* the platform ends the function$/);
  assert.equal(told(report).others, "changed");
});

Deno.test("feeds that do not fit into one run are loaded by three", async (t) => {
  const rows = (n: number, more = "") => Array.from({ length: n }, (_, i) => `${i},name ${i}${more}\n`).join("");
  const files = {
    others: `id,name\n${rows(1000)}`,
    parents: `id,name\n${rows(1000)}`,
    things: `id,name,parent_id\n${rows(1000, ",1")}`,
  };
  const sizes = Object.values(files).map((text) => text.length);
  const total = sizes.reduce((sum, size) => sum + size);
  const runs = {
    "with Content-Length": (text: string) => text,
    "without": (text: string) => () => new Response(new Blob([text]).stream()),
  };
  for (const [name, answer] of Object.entries(runs)) {
    await t.step(name, async () => {
      await using here = await given();
      const { db, web } = here;
      for (const [feed, text] of Object.entries(files)) web.files[`/${feed}`] = answer(text);
      const allowance = { bytes: Math.round(total / 1.5) };
      const ticks = [];
      for (let tick = 0; tick < 3; tick++) ticks.push(told(await db.load({ allowance })));
      assert.match(ticks[0].things, /^deferred: the run has \d+ MB of other feeds, and no room for it$/);
      assert.equal(ticks[1].things, "changed");
      assert.deepEqual(ticks[2], { others: "unchanged", parents: "unchanged", things: "unchanged" });
      assert.deepEqual(
        await db.query("select feed, status from etl.runs order by feed"),
        names.map((feed) => ({ feed, status: "changed" })),
      );
    });
  }
  await t.step(
    "one that would fill a run by itself lets the others go first, and what refers to it waits",
    async () => {
      await using here = await given();
      const { db, web } = here;
      for (const [feed, text] of Object.entries(files)) web.files[`/${feed}`] = text;
      web.files["/parents"] = `id,name\n${rows(20_000)}`;
      const allowance = { bytes: 2 * sizes[0] };
      const first = told(await db.load({ allowance }));
      assert.equal(first.others, "changed");
      assert.match(first.parents, /^deferred/);
      assert.equal(first.things, "deferred: it refers to parents, which waits");
      const second = told(await db.load({ allowance }));
      assert.deepEqual([second.others, second.parents], ["unchanged", "changed"]);
      assert.match(second.things, /^deferred: the run has \d+ MB of other feeds/);
      assert.deepEqual(told(await db.load({ allowance })), {
        others: "unchanged",
        parents: "unchanged",
        things: "changed",
      });
    },
  );
});
