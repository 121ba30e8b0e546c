/** etl.isolate: how it searches for the records that the write refuses, and which errors are no record's. */
import assert from "node:assert/strict";
import { type Database, database } from "../support/database.ts";
import { until } from "../support/waiting.ts";
import { ids, prepare, refusing, table } from "./things.ts";

/** A sequence counts also what is rolled back. */
const counting = `create sequence public.parts; create sequence public.rows;
  create function public.count() returns trigger language plpgsql as
    $$ begin perform nextval('public.' || tg_argv[0]); return new; end $$;
  create trigger a before insert on public.things for each statement execute function public.count('parts');
  create trigger b before insert on public.things for each row execute function public.count('rows');`;

async function counted(db: Database): Promise<{ parts: number; rows: number }> {
  const [{ parts, rows }] = await db.query(
    "select (select last_value from public.parts) as parts, (select last_value from public.rows) as rows",
  );
  return { parts: Number(parts), rows: Number(rows) };
}

Deno.test("five bad records of 20,000 are found in few parts", async () => {
  const bad = [1, 2, 7_777, 15_000, 20_000];
  await using at = await prepare(`${table} ${counting} ${refusing("new.x = 0", "after insert")}`);
  at.put("id,x", Array.from({ length: 20_000 }, (_, n) => `${n + 1},${bad.includes(n + 1) ? 0 : 1}`).join(" "));
  const report = await at.db.loadOne("things");
  assert.deepEqual([report.error, report.inserted, report.rejected], [null, 19_995, 5]);
  const found = await at.db.query("select record_number::int from etl.rejects order by 1");
  assert.deepEqual(found.map((row) => row.record_number), bad);
  const { parts, rows } = await counted(at.db);
  assert.ok(parts < 5 * 2 * Math.log2(20_000), `${parts} parts`);
  assert.ok(rows < 6 * 20_000, `${rows} rows written for 20,000`);
});

Deno.test("where all are refused the search ends at the limit, and the error holds no value", async () => {
  await using at = await prepare(`${table} ${counting} ${refusing("true")}`);
  await at.db.query("update etl.feeds set reject_limit = 0.05");
  at.put("id,x", Array.from({ length: 2000 }, (_, n) => `${n + 1},4711`).join(" "));
  const { error, rejected } = await at.db.loadOne("things");
  assert.equal(error?.code, "too_many_rejects");
  assert.equal(
    error!.message,
    "Cannot load things: at least 101 of 2000 records break a rule, more than the limit of 5 %; " +
      "the first is record 1, is refused by a trigger",
  );
  assert.equal(rejected, 0);
  assert.deepEqual(await at.db.query("select * from etl.rejects"), []);
  assert.ok((await counted(at.db)).parts < 130);
});

Deno.test("what is no record's fault fails the feed, at once", async (t) => {
  // What a function says may hold what it was given: its name alone is told.
  const fails = /^Cannot load things: fail\(\), a function of the database, failed$/;
  const faults: Record<string, [body: string, code: string, message: RegExp]> = {
    "a lock that is not to be had": ["lock table public.gate; return new", "lock_not_available", /holds a lock/],
    "a deadlock": ["raise exception using errcode = '40P01'", "deadlock_detected", /deadlock/],
    "a full disk": ["raise exception 'no % more', new using errcode = '53100'", "disk_full", fails],
    "a table that is not there": ["insert into public.nowhere values (1); return new", "undefined_table", fails],
    "a privilege": ["raise exception 'none for %', new using errcode = '42501', hint = new.id", "42501", fails],
    "what is not to be had": ["raise exception 'no %', new using errcode = '0A000'", "0A000", fails],
    "SQL that holds a value": ["execute format('select %s from', new); return new", "42601", fails],
    "an error of another function": ["perform public.other(new); return new", "XX000", /: other\(\), a /],
    "a trigger that drops rows": ["return null", "rows_dropped", /1 of 2 rows were not written/],
  };
  for (const [name, [body, code, message]] of Object.entries(faults)) {
    await t.step(name, async () => {
      await using at = await prepare(`${table} create table public.gate (); ${counting}
        create function public.other(o public.things) returns void language plpgsql as
          $$ begin raise exception 'no %', o using errcode = 'XX000'; end $$;
        create function public.fail() returns trigger language plpgsql as
          $$ begin if new.x = 1 then return new; end if; ${body}; end $$;
        create trigger c before insert on public.things for each row execute function public.fail()`);
      at.put("id,x", "1,1 2,2");
      await using other = await database(at.db.name);
      await other.query("begin; lock table public.gate");
      const report = await at.db.loadOne("things", { databaseUrl: `${at.db.url}&options=-c%20lock_timeout%3D200ms` });
      assert.equal(report.error?.code, code);
      assert.match(report.error!.message, message);
      assert.equal((await counted(at.db)).parts, 1, "nothing was tried again");
      assert.deepEqual(await ids(at.db), []);
      assert.deepEqual(await at.db.query("select * from etl.rejects"), []);
    });
  }
});

Deno.test("a row that another session deletes before it is updated is not blamed on a trigger", async () => {
  await using at = await prepare(`${table} insert into public.things values (1, 1), (2, 2);
    create function public.linger() returns trigger language plpgsql as
      $$ begin perform pg_advisory_xact_lock(7); return null; end $$;
    create trigger linger before update on public.things for each statement execute function public.linger()`);
  const { db } = at;
  await using other = await database(db.name);
  at.put("id,x", "1,5 2,5");
  await other.query("select pg_advisory_lock(7)");
  const meanwhile = (async () => {
    await until(
      "the update waits",
      async () => (await other.query("select from pg_locks where not granted")).length > 0,
    );
    await other.query("delete from public.things where id = 2");
    await other.query("select pg_advisory_unlock(7)");
  })();
  const { error } = await db.loadOne("things");
  await meanwhile;
  assert.equal(error?.code, "serialization_failure");
  assert.match(error!.message, /another session changed the same rows/);
  assert.equal(error!.hint, "Run again.");
  const next = await db.loadOne("things");
  assert.deepEqual([next.error, next.inserted, next.updated], [null, 1, 1]);
});

Deno.test("which rejects are tried again though the file is the same", async () => {
  await using at = await prepare(table);
  const { db, web } = at;
  at.put("id,x", "1,1 2,x");
  await db.loadOne("things");
  const status = async (sqlstate: string, reason = "as it may be") => {
    await db.query("update etl.rejects set sqlstate = $1, reason = $2", [sqlstate, reason]);
    await db.loadOne("things");
    const last = web.log.at(-1)!.slice(-3);
    await db.loadOne("things", { force: true });
    return last;
  };
  for (const alone of ["22P02", "22012", "23502", "23514"]) assert.equal(await status(alone), "304", alone);
  for (const others of ["23503", "23505", "23P01", "P0001", "PT400"]) assert.equal(await status(others), "200", others);
  for (const any of ["22012", "23514"]) assert.equal(await status(any, "is refused by a trigger: no"), "200");
});
