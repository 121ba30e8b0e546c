/** A record that fits no partition of its table says so, and loads by itself once the partition is there. */
import assert from "node:assert/strict";
import { ids, prepare } from "./things.ts";

const weeks = `create table public.things (id int, x int, primary key (id, x)) partition by range (x);
  create table public.things_0 partition of public.things for values from (0) to (10);
  create table public.things_10 partition of public.things for values from (10) to (20) partition by list (x);
  create table public.things_12 partition of public.things_10 for values in (12);`;

const rejectsOf = "select record_number::int as record, reason, sqlstate, constraint_name from etl.rejects order by 1";

Deno.test("a record without a partition heals in the run that finds one, though the file is the same", async () => {
  await using here = await prepare(weeks);
  const { db, web, put } = here;
  put("id,x", "1,1 2,11 3,12 4,30");
  const first = await db.loadOne("things");
  assert.deepEqual([first.error, first.inserted, first.rejected], [null, 2, 2]);
  const [outside, beneath] = [
    { reason: "fits no partition of public.things", sqlstate: "23514", constraint_name: null },
    { reason: "fits no partition of things_10", sqlstate: "23514", constraint_name: null },
  ];
  assert.deepEqual(await db.query(rejectsOf), [{ record: 2, ...beneath }, { record: 4, ...outside }]);
  assert.equal((await db.loadOne("things")).status, "unchanged");
  assert.match(web.log.at(-1)!, / 200$/, "the validators do not count");
  await db.query("create table public.things_30 partition of public.things for values from (30) to (40)");
  const healed = await db.loadOne("things");
  assert.deepEqual([healed.error, healed.inserted, healed.rejected], [null, 1, 1]);
  await db.query("create table public.things_11 partition of public.things_10 for values in (11)");
  assert.equal((await db.loadOne("things")).inserted, 1);
  assert.deepEqual([await ids(db), await db.query(rejectsOf)], [[1, 2, 3, 4], []]);
  assert.equal((await db.loadOne("things")).status, "unchanged");
  await db.loadOne("things");
  assert.match(web.log.at(-1)!, / 304$/, "and count again");
});

Deno.test("a target that is a partition itself takes what is its own", async () => {
  await using here = await prepare(
    weeks.replaceAll("things", "wholes") +
      "alter table public.wholes_0 rename to things;",
  );
  const { db, put } = here;
  put("id,x", "1,1 2,11");
  const { error, inserted, rejected } = await db.loadOne("things");
  assert.deepEqual([error, inserted, rejected], [null, 1, 1]);
  assert.deepEqual((await db.query(rejectsOf))[0].reason, "fits no partition of public.things");
});
