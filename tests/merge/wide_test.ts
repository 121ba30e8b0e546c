/** Files of more columns than a row of text has room for, all of them wanted. */
import assert from "node:assert/strict";
import { databaseAndWeb } from "../support/given.ts";
import { snapshot } from "../support/snapshot.ts";

const numbers = (count: number) => Array.from({ length: count }, (_, i) => i + 1);
const header = (count: number) => ["id", ...numbers(count).map((n) => `c${n}`)].join() + "\n";
const line = (id: number, cells: (string | number)[]) => [id, ...cells].join() + "\n";

/** type -> how many columns of it, a cell, and the value as Postgres prints it. */
const types: Record<string, [count: number, cell: (n: number) => string, value: (n: number) => string]> = {
  timestamptz: [
    450,
    (n) => `2021-07-01T10:00:00.${100 + n}Z`,
    (n) => `2021-07-01 10:00:00.${String(100 + n).replace(/0+$/, "")}+00`,
  ],
  int4: [900, (n) => `${1_000_000_000 + n}`, (n) => `${1_000_000_000 + n}`],
  text: [400, (n) => `"a, ""${"x".repeat(30)}"" {\\} ${n}"`, (n) => `a, "${"x".repeat(30)}" {\\} ${n}`],
};

Deno.test("a row of more texts than fit a page is staged, compared and rejected like any other", async (t) => {
  await using given = await databaseAndWeb();
  const { db, web } = given;
  await db.query("set timezone to 'UTC'");
  for (const [type, [count, cell, value]] of Object.entries(types)) {
    await t.step(type, async () => {
      const columns = numbers(count).map((n) => `c${n} ${type}`);
      await db.query(`drop table if exists public.things; create table public.things (id int primary key, ${columns})`);
      const cells = numbers(count).map(cell);
      const some = cells.map((cell, i) => ["", cell, '""', cell][(i + 1) % 4]);
      web.files["/things"] = header(count) + line(1, cells) + line(2, some) + "3,a\n";
      await db.feed("things", { url: `${web.url}/things`, reject_limit: 1 });
      const report = await db.loadOne("things");
      assert.deepEqual([report.error, report.inserted, report.rejected], [null, 2, 1]);
      const [one, two] = await db.query("select to_jsonb(t) as row from public.things t order by id");
      const [all] = await db.query(
        `select ${numbers(count).map((n) => `c${n}::text`)} from public.things where id = 1`,
      );
      assert.deepEqual(Object.values(all), numbers(count).map(value));
      for (const n of numbers(count)) {
        const empty = n % 4 === 2 && type === "text" ? "" : null;
        assert.equal(two.row[`c${n}`], n % 2 === 1 ? one.row[`c${n}`] : empty, `c${n}`);
      }
      const before = await snapshot(db);
      assert.equal((await db.loadOne("things", { force: true })).status, "unchanged");
      assert.deepEqual(await snapshot(db), before);
    });
  }
});

Deno.test("a wide record of changes waits with all its cells, and its row is marked once it is absent", async () => {
  const count = 450;
  await using given = await databaseAndWeb();
  const { db, web } = given;
  await db.query("set timezone to 'UTC'");
  const columns = numbers(count).map((n) => `c${n} timestamptz`);
  await db.query(`create table public.things (id int primary key, ${columns}, absent_since timestamptz)`);
  const cells = numbers(count).map((n) => `2021-07-01T10:00:00.${100 + n}Z`);
  web.files["/things"] = header(count) + line(1, cells) + line(2, cells.with(-1, "soon"));
  await db.feed("things", { url: `${web.url}/things`, reject_limit: 1, contents: "changes" });
  assert.deepEqual((await db.loadOne("things")).rejected, 1);
  const [{ record, column_name }] = await db.query("select record, column_name from etl.rejects");
  assert.deepEqual([record.c1, record.c449, record.c450, column_name], [cells[0], cells[448], "soon", "c450"]);
  await db.query("alter table public.things alter column c450 type text");
  assert.deepEqual((await db.loadOne("things", { force: true })).rejected, 0);
  const [last] = await db.query("select c449::text, c450 from public.things where id = 2");
  assert.deepEqual(last, { c449: "2021-07-01 10:00:00.549+00", c450: "soon" });

  await db.feed("things", { url: `${web.url}/things`, contents: "all", absent: "mark", absent_limit: 1 });
  web.files["/things"] = header(count) + line(1, cells);
  const { error, deleted } = await db.loadOne("things");
  assert.deepEqual([error, deleted], [null, 1]);
  web.files["/things"] = header(count) + line(1, cells) + line(2, cells);
  const { updated } = await db.loadOne("things");
  assert.equal(updated, 1);
  assert.deepEqual(await db.query("select id from public.things where absent_since is null order by id"), [
    { id: 1 },
    { id: 2 },
  ]);
});

Deno.test("a row that its table itself has no room for is an error with a way out", async () => {
  await using given = await databaseAndWeb();
  const { db, web } = given;
  const count = 1200;
  await db.query(`create table public.things (id int primary key, ${numbers(count).map((n) => `c${n} timestamptz`)})`);
  web.files["/things"] = header(count) + line(1, numbers(count).map(() => "2021-07-01T10:00:00Z"));
  await db.feed("things", { url: `${web.url}/things` });
  const { error } = await db.loadOne("things");
  assert.equal(error!.code, "program_limit_exceeded");
  assert.match(error!.hint!, /fewer or narrower columns/);
});
