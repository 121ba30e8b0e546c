/** No feed is put off for ever: who waits comes first, and whoever breaks the run off, or has had all of it, gives way. */
import assert from "node:assert/strict";
import type { LoadOptions } from "../../lib/load.ts";
import type { Report } from "../../lib/report.ts";
import { type Database, database } from "../support/database.ts";
import { databaseAndWeb, type Given } from "../support/given.ts";
import { snapshot } from "../support/snapshot.ts";

/** Things refer to parents; others to nothing. */
async function given(): Promise<Given> {
  const here = await databaseAndWeb(
    `delete from etl.feeds;
    create table public.parents (id text primary key, name text);
    create table public.others (id text primary key, name text);
    create table public.things (id text primary key, name text, parent_id text references public.parents)`,
    {},
    true,
  );
  for (const name of ["others", "parents", "things"]) {
    here.web.files[`/${name}`] = file(name, 1);
    await here.db.feed(name, { url: `${here.web.url}/${name}` });
  }
  return here;
}

/** A file of so many rows; another one for each word. */
const file = (feed: string, rows: number, word = "new") =>
  feed === "things"
    ? "id,name,parent_id\n" + Array.from({ length: rows }, (_, n) => `${n},${word},0\n`).join("")
    : "id,name\n" + Array.from({ length: rows }, (_, n) => `${n},${word}\n`).join("");

/** Feed -> what became of it. */
const told = ({ feeds }: Report) => Object.fromEntries(feeds.map(({ feed, status }) => [feed, status]));

const waiting = async (db: Database) =>
  Object.fromEntries(
    (await db.query("select feed, led from etl.waiting order by feed")).map(({ feed, led }) => [feed, led]),
  );

/** A server that sends nothing until the run's time is up; the run is told so as soon as it is asked. */
function untilTheEnd({ web }: Given, path: string): Partial<LoadOptions> {
  const ending = new AbortController();
  web.files[path] = (request) => {
    ending.abort("it ends");
    return new Response(
      new ReadableStream({ start: (body) => request.signal.addEventListener("abort", () => body.close()) }),
    );
  };
  return { ending: ending.signal };
}

Deno.test("a feed that alone fills the room, beside one that changes at every tick, has a run to itself", async () => {
  await using here = await given();
  const { db, web } = here;
  web.files["/parents"] = file("parents", 1000);
  const load = async (tick: number) => {
    web.files["/others"] = file("others", 1, `tick ${tick}`);
    return told(await db.load({ feeds: ["others", "parents"], allowance: { bytes: 2000 } }));
  };
  assert.deepEqual(await load(1), { others: "changed", parents: "deferred" });
  assert.deepEqual(await load(2), { others: "deferred", parents: "changed" });
  assert.deepEqual(await waiting(db), { others: false });
  assert.deepEqual(await load(3), { others: "changed", parents: "unchanged" });
  assert.deepEqual(await waiting(db), {});
});

Deno.test("a feed that breaks the run off gives way to the others, and then has its turn", async () => {
  await using here = await given();
  const { db, web } = here;
  const big = file("parents", 1000);
  const load = (tick: number) => {
    web.files["/others"] = file("others", 1, `tick ${tick}`);
    return db.load({ feeds: ["others", "parents"], allowance: { bytes: 2000 } });
  };
  web.files["/parents"] = big;
  assert.deepEqual(told(await load(1)), { others: "changed", parents: "deferred" });
  web.files["/parents"] = async () => {
    await db.admin("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'tdc-etl'");
    return new Response(big);
  };
  await assert.rejects(load(2), { code: /^(admin_shutdown|connection_lost)$/ });
  assert.deepEqual(await waiting(db), { parents: true });
  web.files["/parents"] = big;
  assert.deepEqual(told(await load(3)), { others: "changed", parents: "deferred" });
  assert.deepEqual(await waiting(db), { parents: false });
  assert.deepEqual(told(await load(4)), { others: "deferred", parents: "changed" });
});

Deno.test("a partner who takes all the time of a run, and is asked for others' sake too, leaves every second one", async () => {
  await using here = await given();
  const { db, web } = here;
  const ticks = [];
  for (let tick = 1; tick <= 8; tick++) {
    web.files["/others"] = file("others", 1, `tick ${tick}`);
    ticks.push(Object.values(told(await db.load(untilTheEnd(here, "/parents")))).join(" "));
  }
  // Others, parents, things. In the second tick parents have a run to themselves, in the third with things.
  const [theirs, taken] = ["changed failed deferred", "deferred failed deferred"];
  assert.deepEqual(ticks, [theirs, taken, taken, theirs, taken, theirs, taken, theirs]);
  assert.deepEqual(await waiting(db), { parents: false, things: false });
  web.files["/parents"] = file("parents", 1);
  assert.deepEqual(told(await db.load()), { others: "unchanged", parents: "changed", things: "changed" });
  assert.deepEqual(await waiting(db), {});
});

Deno.test("who waits for another run", async (t) => {
  await using here = await given();
  const { db } = here;
  await using other = await database(db.name);
  const claim = async (sql: string) => {
    await other.query("begin");
    await other.query(`select ${sql}`);
  };
  await t.step("a table that another run is writing: remembered, also where all wait", async () => {
    await claim("etl.claim_tables('parents')");
    await assert.rejects(db.load({ feeds: ["things"] }), { code: "busy" });
    const [{ since, reason }] = await db.query("select * from etl.waiting");
    assert.equal(reason, "things waits: another run is writing its table, or one that is tied to it by a key");
    assert.deepEqual(told(await db.load()), { others: "changed", parents: "busy", things: "busy" });
    const rows = await db.query("select feed, since, reason from etl.waiting order by since");
    assert.deepEqual(rows[0], { feed: "things", since, reason: "things waits: it refers to parents, which waits" });
    assert.equal(rows[1].feed, "parents");
    await other.query("rollback");
  });
  await t.step("a feed that another run has: it has the row, too", async () => {
    await claim("etl.claim_feeds('{things}')");
    await other.query("select from etl.waiting where feed = 'things' for update");
    assert.deepEqual(told(await db.load()), { others: "unchanged", parents: "changed", things: "busy" });
    assert.deepEqual(Object.keys(await waiting(db)), ["things"]);
    await other.query("rollback");
  });
  await t.step("it ends with its turn", async () => {
    assert.deepEqual(told(await db.load()), { others: "unchanged", parents: "unchanged", things: "changed" });
    assert.deepEqual(await waiting(db), {});
  });
});

Deno.test("a dry run puts nobody off, and nobody first", async () => {
  await using here = await given();
  const { db } = here;
  const allowance = { bytes: 15 };
  const expected = { others: "changed", parents: "deferred", things: "deferred" };
  assert.deepEqual(told(await db.load({ allowance, dryRun: true })), expected);
  assert.deepEqual(await waiting(db), {});
  assert.deepEqual(told(await db.load({ allowance })), expected);
  const before = await snapshot(db);
  assert.equal((await db.load({ allowance, dryRun: true })).status, "changed");
  assert.deepEqual(await snapshot(db), before);
});

Deno.test("whoever removes a feed, or locks it, breaks no run that puts it off", async (t) => {
  await using here = await given();
  const { db, web } = here;
  await using other = await database(db.name);
  const load = async () => {
    web.files["/others"] = file("others", 1, crypto.randomUUID());
    const databaseUrl = `${db.url}&options=-c%20lock_timeout=200ms`;
    return told(await db.load({ allowance: { bytes: 60 }, databaseUrl }));
  };
  await db.query("update etl.feeds set enabled = name <> 'things'");
  web.files["/parents"] = file("parents", 10);
  await t.step("it is locked", async () => {
    await other.query("begin; select from etl.feeds where name = 'parents' for update");
    assert.deepEqual(await load(), { others: "changed", parents: "deferred" });
    await other.query("rollback");
    assert.deepEqual(await waiting(db), {});
  });
  await t.step("it is removed meanwhile", async () => {
    web.files["/parents"] = async () => {
      await other.query("delete from etl.feeds where name = 'parents'");
      return new Response(file("parents", 10));
    };
    assert.deepEqual(await load(), { others: "changed", parents: "deferred" });
    assert.deepEqual(await waiting(db), {});
  });
});

Deno.test("tables in a circle of keys: who is below it comes behind it, and waits with all of it", async () => {
  await using here = await databaseAndWeb(
    `delete from etl.feeds;
    create table public.b (id text primary key, c_id text);
    create table public.c (id text primary key, b_id text references public.b);
    alter table public.b add foreign key (c_id) references public.c;
    create table public.a (id text primary key, b_id text not null references public.b);
    create table public.d (id text primary key, b_id text references public.b, c_id text references public.c)`,
    { "/a": "id,b_id\n1,1\n", "/b": "id,c_id\n1,\n", "/c": "id,b_id\n1,1\n", "/d": "id,b_id,c_id\n1,1,1\n" },
  );
  const { db, web } = here;
  for (const name of ["a", "b", "c", "d"]) await db.feed(name, { url: `${web.url}/${name}` });
  await using other = await database(db.name);
  const order = (await db.query("select feed ->> 'name' as name from etl.plan('{}') feed")).map(({ name }) => name);
  assert.deepEqual(order, ["b", "c", "a", "d"]);
  // Another run shares c for a child of its own: so b may be written, and c may not.
  await other.query(
    "begin; select pg_advisory_xact_lock_shared(hashtext('tdc-etl table'), hashoid('public.c'::regclass))",
  );
  await assert.rejects(db.load(), { code: "busy" });
  assert.deepEqual(await waiting(db), { a: false, b: false, c: false, d: false });
  await other.query("rollback");
  assert.deepEqual(told(await db.load()), { b: "changed", c: "changed", a: "changed", d: "changed" });
  assert.deepEqual(await db.query("select * from etl.rejects"), []);
});

Deno.test("two runs that begin at once are led by two feeds", async () => {
  await using here = await given();
  const { db } = here;
  await using other = await database(db.name);
  await db.query("insert into etl.waiting values ('others', now() - interval '1 h', 'x'), ('things', now(), 'x')");
  await other.query("begin");
  const lead = async (db: Database) => (await db.query("select etl.lead('{}') as leader"))[0].leader;
  assert.deepEqual([await lead(other), await lead(db), await lead(db)], ["others", "things", null]);
  await other.query("rollback");
});
