/** What a feed takes of what all feeds of a run share: the room for locks until the commit, and the catalogs. */
import assert from "node:assert/strict";
import { type Database, freshDatabase } from "../support/database.ts";

/** How the tables of the feeds differ: what the feed carries is all, lacks a default, lacks what others generate. */
const shapes = [
  "id text primary key, name text, at timestamptz",
  "id text primary key, name text, at timestamptz, made timestamptz default '2026-01-01Z'",
  'id text primary key, name varchar(9) not null, at timestamptz, size int default 3, kind text collate "C"',
  "at timestamptz, id int primary key, name text, twice int generated always as (id * 2) stored",
];
const header = ["id", "name", "at", "more"];

async function given(feeds: number) {
  const db = await freshDatabase();
  for (let n = 1; n <= feeds; n++) {
    await db.query(`create table public.t${n} (${shapes[n % shapes.length]})`);
    await db.feed(`t${n}`, { url: "http://127.0.0.1/" });
  }
  const stage = async (n: number, name = `n${n}`) => {
    await db.query("select etl.stage($1, $2, $3, ',')", [`t${n}`, n, header]);
    await db.query(
      `insert into pg_temp.etl_staging_${n} values ('1', '${name}', '2021-07-01Z', 'x'), ('2', '${name}', null, null)`,
    );
  };
  const merge = async (n: number) =>
    (await db.query("select * from etl.merge($1, gen_random_uuid(), $2, $3, null)", [`t${n}`, n, header]))[0];
  return { db, stage, merge, [Symbol.asyncDispose]: () => db[Symbol.asyncDispose]() };
}

/** Objects that are locked, each a place in the lock table, and the rows of pg_locks. */
async function locksOf(db: Database) {
  const [locks] = await db.query(`
    select count(*)::int as rows, count(distinct concat_ws(' ', locktype, relation, classid, objid))::int as objects
    from pg_locks where pid = pg_backend_pid()`);
  return locks;
}

Deno.test("locks that a changed feed keeps until the commit", async (t) => {
  const feeds = 48;
  await using at = await given(feeds);
  const { db, stage, merge } = at;
  await db.query("begin");
  await db.query("savepoint feed");
  await stage(1);
  await db.query("rollback to savepoint feed");
  const before = await locksOf(db);
  for (let n = 1; n <= feeds; n++) await stage(n);
  const staged = await locksOf(db);
  await t.step("staged: no lock on any target", async () => {
    assert.deepEqual(
      await db.query("select relation::regclass from pg_locks where relation::regclass::text ~ '^t\\d'"),
      [],
    );
    assert.ok(staged.objects - before.objects <= 3 * feeds + 50, JSON.stringify([before, staged]));
  });
  const merged: { rows: number; objects: number }[] = [];
  for (let n = 1; n <= feeds; n++) {
    await db.query("savepoint feed");
    const { inserted } = await merge(n);
    assert.equal(inserted, "2");
    // A feed that fails leaves the tables as those before it have shaped them.
    await db.query("rollback to savepoint feed");
    assert.equal((await merge(n)).inserted, "2");
    await db.query("release savepoint feed");
    merged.push(await locksOf(db));
  }
  await t.step("merged: two more for the staging table, and the target's", () => {
    const [half, all] = [merged[feeds / 2 - 1], merged[feeds - 1]];
    const perFeed = (of: "rows" | "objects") => (all[of] - half[of]) / (feeds / 2) + (staged[of] - before[of]) / feeds;
    // Of four feeds one has a generated column, and so a table of its own.
    assert.ok(perFeed("objects") < 10, `${perFeed("objects")} objects a feed`);
    assert.ok(perFeed("rows") < 18, `${perFeed("rows")} rows of pg_locks a feed`);
  });
  await db.query("commit");
  await t.step("each has its rows", async () => {
    for (let n = 1; n <= feeds; n++) {
      const rows = await db.query(`select to_jsonb(t) - 'at' as row from public.t${n} t order by id`);
      const more = [{}, { made: "2026-01-01T00:00:00+00:00" }, { size: 3, kind: null }, null][n % shapes.length];
      assert.deepEqual(
        rows.map(({ row }) => row),
        [1, 2].map((id) => more ? { id: `${id}`, name: `n${n}`, ...more } : { id, name: `n${n}`, twice: 2 * id }),
      );
    }
  });
});

Deno.test("a wide feed, then one whose table has hardly room beside it", async () => {
  await using at = await given(4);
  const { db } = at;
  const wide = Array.from({ length: 1500 }, (_, n) => `c${n}`);
  await db.query(`create table public.wide (id text primary key, ${wide.map((name) => `${name} int`)})`);
  await db.feed("wide", { url: "http://127.0.0.1/" });
  await db.query("begin");
  for (let n = 1; n <= 3; n++) {
    await at.stage(n);
    await db.query("select etl.stage('wide', 10, $1, ',')", [["id", ...wide.slice(0, 900)]]);
    await db.query("insert into pg_temp.etl_staging_10 (c1, c2) values ($1, '7')", [`w${n}`]);
    assert.equal((await at.merge(n)).inserted, "2");
    const [{ inserted }] = await db.query("select * from etl.merge('wide', gen_random_uuid(), 10, $1, null)", [
      ["id", ...wide.slice(0, 900)],
    ]);
    assert.equal(inserted, "1");
  }
  await db.query("commit");
  assert.deepEqual(await db.query("select id, c0, c1499 from public.wide order by id"), [
    { id: "w1", c0: 7, c1499: null },
    { id: "w2", c0: 7, c1499: null },
    { id: "w3", c0: 7, c1499: null },
  ]);
});

Deno.test("what an unchanged feed that is forced leaves in the WAL of the catalogs", async () => {
  const feeds = 20;
  await using at = await given(feeds);
  const { db, stage, merge } = at;
  const position = async () => (await db.admin("select pg_current_wal_insert_lsn() as lsn"))[0].lsn;
  let least = Infinity;
  // What else runs in the cluster only adds to it; nor does the first run count, which loads.
  for (let run = 0; run < 5; run++) {
    const before = await position();
    await db.query("begin");
    for (let n = 1; n <= feeds; n++) await stage(n);
    for (let n = 1; n <= feeds; n++) assert.equal((await merge(n)).unchanged, run === 0 ? "0" : "2");
    await db.query("commit");
    const [{ bytes }] = await db.admin("select pg_current_wal_insert_lsn() - $1::pg_lsn as bytes", [before]);
    least = Math.min(least, Number(bytes) / feeds);
  }
  // It was 104 KB when each feed made all its temp tables itself; 27 were measured.
  assert.ok(least < 40_000, `${least} bytes a feed`);
});
