/** Rejects of files of changes in runs that bring nothing new; and what a day's own file may take away. */
import assert from "node:assert/strict";
import { countsOf } from "../support/counts.ts";
import { databaseAndWeb } from "../support/given.ts";
import { snapshot } from "../support/snapshot.ts";

const tables = `
  create table public.parents (id int primary key);
  create table public.children (id int primary key, parent_id int references public.parents);`;

/** A feed of children whose only record waits for its parent, 7. */
async function orphan(url = "/children") {
  const given = await databaseAndWeb(tables, { "/children": "id,parent_id\n1,7\n" });
  const { db, web } = given;
  await db.feed("children", { url: `${web.url}${url}`, contents: "changes", reject_limit: 1 });
  const loaded = async () => (await db.query("select id from public.children")).map(({ id }) => id);
  return { ...given, loaded };
}

Deno.test("a parent that comes in the same run heals an orphan whose own file is the same", async () => {
  await using at = await orphan();
  const { db, web, loaded } = at;
  assert.equal((await db.loadOne("children")).rejected, 1);
  web.files["/parents"] = "id\n7\n";
  await db.feed("parents", { url: `${web.url}/parents` });
  const { feeds } = await db.load({ feeds: ["parents", "children"] });
  assert.deepEqual(feeds.map((feed) => [feed.feed, feed.status, countsOf(feed)]), [
    ["parents", "changed", [1, 1, 0, 0, 0, 0]],
    ["children", "changed", [1, 1, 0, 0, 0, 0]],
  ]);
  assert.deepEqual(await loaded(), [1]);
  const [ledger] = await db.query(
    "select read::int, inserted::int, rejected::int from etl.runs where feed = 'children' order by started_at desc",
  );
  assert.deepEqual(ledger, { read: 1, inserted: 1, rejected: 0 });
});

Deno.test("what waits is tried though nothing new came: the same content, or no file yet; not where there is an error", async (t) => {
  await using at = await orphan('/children{day:""}');
  const { db, web, loaded } = at;
  await db.loadOne("children");
  const [body] = [web.files["/children"]];
  const back = async () => {
    await db.query("delete from public.children; delete from public.parents");
    await db.loadOne("children", { force: true });
    assert.deepEqual(await loaded(), []);
    await db.query("insert into public.parents values (7)");
  };
  await t.step("the same content", async () => {
    await back();
    const { status, note, ...report } = await db.loadOne("children");
    assert.deepEqual([status, note, countsOf(report as never)], ["changed", null, [1, 1, 0, 0, 0, 0]]);
    assert.deepEqual(await loaded(), [1]);
  });
  await t.step("a dry run", async () => {
    await back();
    const before = await snapshot(db);
    assert.equal((await db.loadOne("children", { dryRun: true })).inserted, 1);
    assert.deepEqual(await snapshot(db), before);
  });
  await t.step("no file yet", async () => {
    delete web.files["/children"];
    const { status, note, inserted } = await db.loadOne("children");
    assert.deepEqual([status, inserted], ["changed", 1]);
    assert.match(note!, /^not there yet: /);
    web.files["/children"] = body;
  });
  await t.step("an error", async () => {
    await back();
    web.files["/children"] = () => new Response("no", { status: 403 });
    const { status, error } = await db.loadOne("children");
    assert.deepEqual([status, error?.code, await loaded()], ["failed", "http_403", []]);
  });
});

Deno.test("a feed whose rejects are tried holds its table as any other: another run finds it busy", async () => {
  await using at = await orphan();
  const { db } = at;
  await db.loadOne("children");
  await db.query("insert into public.parents values (7)");
  await db.query("begin");
  await db.query("select etl.claim_tables('children')");
  assert.equal((await db.load({ feeds: ["children"] }).catch(({ code }) => ({ status: code }))).status, "busy");
  await db.query("rollback");
  assert.equal((await db.loadOne("children")).inserted, 1);
});

Deno.test("the file of another day takes no row away, and unmarks none", async () => {
  for (const absent of ["delete", "mark"]) {
    await using at = await databaseAndWeb(
      "create table public.things (id int primary key, absent_since timestamptz)",
      { "/things-2021-07-01": "id\n1\n2\n" },
    );
    const { db, web } = at;
    const [{ today }] = await db.query("select to_char(now() at time zone 'UTC', 'YYYY-MM-DD') as today");
    web.files[`/things-${today}`] = "id\n1\n3\n";
    await db.feed("things", { url: `${web.url}/things-{day}`, absent, absent_limit: 1, time_zone: "UTC" });
    const things = "select id, absent_since is not null as marked from public.things order by id";
    await db.loadOne("things", { day: "2021-07-01" });
    const gone = absent === "mark" ? [{ id: 2, marked: true }] : [];
    assert.equal((await db.loadOne("things")).deleted, 1);
    assert.deepEqual(await db.query(things), [{ id: 1, marked: false }, ...gone, { id: 3, marked: false }]);
    assert.deepEqual(
      (({ deleted, withheld }) => [deleted, withheld])(await db.loadOne("things", { day: "2021-07-01" })),
      [0, null],
    );
    const there = { id: 2, marked: absent === "mark" };
    assert.deepEqual(await db.query(things), [{ id: 1, marked: false }, there, { id: 3, marked: false }], absent);
  }
});
