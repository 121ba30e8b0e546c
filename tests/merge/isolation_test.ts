/** Records that only the write itself refuses: an exclusion constraint, a trigger, an index. They are put aside, the others load. */
import assert from "node:assert/strict";
import { until } from "../support/faults.ts";
import { type Database, database, freshDatabase, serve, snapshot } from "../support/harness.ts";

interface Case {
  /** The table's rules, what else it needs, and what is in it. */
  sql: string;
  columns: string;
  /** The records, one a word. */
  rows: string;
  /** Record number, column, value, SQLSTATE, constraint, reason. */
  rejects: [number, string | null, string | null, string, string | null, RegExp][];
  /** The ids in the table afterwards. */
  ids: number[];
  /** Mends what refuses: then all records load, whatever the file's validators say. */
  heal?: string;
}

const refusing = (when: string, timing = "before insert or update", raise = "raise exception 'no %', new.x") =>
  `create function public.refuse() returns trigger language plpgsql as $$
    begin if ${when} then ${raise}; end if; return new; end $$;
  create ${/constraint/.test(timing) ? "constraint trigger" : "trigger"} refuse ${timing.replace("constraint ", "")} on
    public.things ${
    /constraint/.test(timing) ? "deferrable initially deferred" : ""
  } for each row execute function public.refuse();`;

const overlaps = /^conflicts with another row$/;
const refused = /^is refused by a trigger: no 0$/;
const table = "create table public.things (id int primary key, x int);";
const ranges =
  "create table public.things (id int primary key, r int4range, constraint apart exclude using gist (r with &&));";

/** Does not compress to what an index page holds. */
const large = Array.from({ length: 900 }, (_, n) => (n * 7919 + 1e9).toString(36)).join("");

const cases: Record<string, Case> = {
  "an exclusion constraint, within the file": {
    sql: ranges,
    columns: "id;r",
    rows: "1;[1,5) 2;[4,6) 3;[5,8) 4; 5;[7,9)",
    rejects: [[2, "r", "[4,6)", "23P01", "apart", overlaps], [5, "r", "[7,9)", "23P01", "apart", overlaps]],
    ids: [1, 3, 4],
    heal: "alter table public.things drop constraint apart",
  },
  "an exclusion constraint, against the table": {
    sql: `${ranges} insert into public.things values (9, '[1,5)')`,
    columns: "id;r",
    rows: "1;[4,6) 2;[6,8)",
    rejects: [[1, "r", "[4,6)", "23P01", "apart", overlaps]],
    ids: [2, 9],
    heal: "delete from public.things where id = 9",
  },
  "an exclusion constraint on an expression of two columns, and a third": {
    sql: `create table public.things (id int primary key, room int not null, since timestamptz, until timestamptz,
      constraint apart exclude using gist (int4range(room, room, '[]') with &&, tstzrange(since, until) with &&))`,
    columns: "id;room;since;until",
    rows: "1;1;2021-01-01;2021-01-03 2;2;2021-01-01;2021-01-03 3;1;2021-01-02;2021-01-04 4;1;2021-01-03;2021-01-04",
    rejects: [[3, null, null, "23P01", "apart", overlaps]],
    ids: [1, 2, 4],
  },
  "a deferrable exclusion constraint, which waits for the commit": {
    sql: `create table public.things (id int primary key, r int4range,
      constraint apart exclude using gist (r with &&) deferrable initially deferred)`,
    columns: "id;r",
    rows: "1;[1,5) 2;[4,6) 3;[5,8)",
    rejects: [[2, "r", "[4,6)", "23P01", "apart", overlaps]],
    ids: [1, 3],
  },
  "ranges that move up one place": {
    sql: `${ranges} insert into public.things values (1, '[1,5)'), (2, '[5,9)')`,
    columns: "id;r",
    rows: "1;[5,9) 2;[9,12) 3;[1,5)",
    rejects: [],
    ids: [1, 2, 3],
  },
  "a trigger before the row": {
    sql: table + refusing("new.x = 0"),
    columns: "id;x",
    rows: "1;1 2;0 3;3 4;0",
    rejects: [[2, null, null, "P0001", null, refused], [4, null, null, "P0001", null, refused]],
    ids: [1, 3],
    heal: "drop trigger refuse on public.things",
  },
  "a trigger after the row": {
    sql: table + refusing("new.x = 0", "after insert or update"),
    columns: "id;x",
    rows: "1;0 2;2 3;3",
    rejects: [[1, null, null, "P0001", null, refused]],
    ids: [2, 3],
    heal: "drop trigger refuse on public.things",
  },
  "a constraint trigger, which waits for the commit": {
    sql: table + refusing("new.x = 0", "constraint after insert or update"),
    columns: "id;x",
    rows: "1;1 2;2 3;0",
    rejects: [[3, null, null, "P0001", null, refused]],
    ids: [1, 2],
    heal: "drop trigger refuse on public.things",
  },
  "a trigger that raises in class 22": {
    sql: table + refusing("1 / new.x < 0"),
    columns: "id;x",
    rows: "1;1 2;0 3;3",
    rejects: [[2, null, null, "22012", null, /^is refused by a trigger: division by zero$/]],
    ids: [1, 3],
    heal: "drop trigger refuse on public.things",
  },
  "a trigger that raises in class 23": {
    sql: table + refusing("new.x = 0", undefined, "raise exception 'no %', new.x using errcode = 'check_violation'"),
    columns: "id;x",
    rows: "1;1 2;0 3;3",
    rejects: [[2, null, null, "23514", null, refused]],
    ids: [1, 3],
    heal: "drop trigger refuse on public.things",
  },
  "a trigger that raises an error of its own class, or asserts": {
    sql: table +
      refusing("new.x <= 0", undefined, "assert new.x < 0, 'no 0'; raise exception 'no 0' using errcode = 'PT400'"),
    columns: "id;x",
    rows: "1;-1 2;0 3;3",
    rejects: [[1, null, null, "PT400", null, refused], [2, null, null, "P0004", null, refused]],
    ids: [3],
    heal: "drop trigger refuse on public.things",
  },
  "a trigger whose own write fails": {
    sql: `${table} create table public.log (x int unique); insert into public.log values (0);
      ${refusing("true", "after insert or update", "insert into public.log values (new.x)")}`,
    columns: "id;x",
    rows: "1;1 2;0 3;3",
    rejects: [[2, null, null, "23505", "log_x_key", /^is refused by a trigger: duplicate key/]],
    ids: [1, 3],
    heal: "delete from public.log where x = 0",
  },
  "a trigger that breaks a rule of the table": {
    sql: `create table public.things (id int primary key, x int not null check (x > 0), code text unique);
      create function public.change() returns trigger language plpgsql as
        $$ begin new.x := case new.x when 5 then null when 7 then 0 else new.x end; new.code := lower(new.code); return new; end $$;
      create trigger change before insert on public.things for each row execute function public.change()`,
    columns: "id;x;code",
    rows: "1;2;a 2;7;b 3;5;c 4;3;A",
    rejects: [
      [2, "x", "7", "23514", "things_x_check", /^breaks the rule CHECK/],
      [3, "x", "5", "23502", null, /^is missing$/],
      [4, "code", "A", "23505", "things_code_key", /^is another row's already$/],
    ],
    ids: [1],
  },
  "a unique constraint that is deferred": {
    sql: "create table public.things (id int primary key, x int unique deferrable initially deferred)",
    columns: "id;x",
    rows: "1;1 2;1 3;3",
    rejects: [[2, "x", "1", "23505", "things_x_key", /^is another row's already$/]],
    ids: [1, 3],
  },
  "a primary key that is deferred": {
    sql: `create table public.things (id int primary key deferrable initially deferred, x int);
      insert into public.things values (1, 1); ${refusing("new.x = 0")}`,
    columns: "id;x",
    rows: "1;2 2;0 3;3",
    rejects: [[2, null, null, "P0001", null, refused]],
    ids: [1, 3],
  },
  "an index on an expression that fails": {
    sql: `${table} create index on public.things ((1 / x))`,
    columns: "id;x",
    rows: "1;1 2;0 3;3",
    rejects: [[2, null, null, "22012", null, /^cannot be written: division by zero$/]],
    ids: [1, 3],
    heal: "drop index public.things_expr_idx",
  },
  "an index entry that is too large": {
    sql: "create table public.things (id int primary key, x text); create index on public.things (x)",
    columns: "id;x",
    rows: `1;a 2;${large} 3;c`,
    rejects: [[2, "x", large, "54000", "things_x_idx", /^cannot be written: index row/]],
    ids: [1, 3],
  },
  "a generated column that must not be null": {
    sql:
      "create table public.things (id int primary key, x int, y int not null generated always as (nullif(x, 0)) stored)",
    columns: "id;x",
    rows: "1;1 2;0 3;3",
    rejects: [[2, "y", null, "23502", null, /^is missing$/]],
    ids: [1, 3],
  },
  "a generated column that fails": {
    sql: "create table public.things (id int primary key, x int, y int generated always as (1 / x) stored)",
    columns: "id;x",
    rows: "1;1 2;0 3;3 4;",
    rejects: [[2, null, null, "22012", null, /^cannot be written: division by zero$/]],
    ids: [1, 3, 4],
    heal: "alter table public.things alter y set expression as (1 / nullif(x, 0))",
  },
  "a CHECK, a unique index and its condition that fail": {
    sql:
      `create table public.things (id int primary key, x int check (2 / (x - 1) <> 7), y int default 1, check (x / y < 9));
      create unique index on public.things ((6 / x)) where 3 / (x - 2) <> 5`,
    columns: "id;x",
    rows: "1;1 2;0 3;3 4; 5;2 6;6",
    rejects: [1, 2, 5].map((row) => [row, null, null, "22012", null, /^cannot be written: division by zero$/]),
    ids: [3, 4, 6],
  },
  "a value that rows of other tables refer to": {
    sql:
      `create table public.things (id int primary key, x int unique); insert into public.things values (1, 1), (2, 2);
      create table public.others (x int references public.things (x)); insert into public.others values (1);`,
    columns: "id;x",
    rows: "1;5 2;6",
    rejects: [[1, "x", "5", "23503", "others_x_fkey", /^gives up what a row refers to in public\.others$/]],
    ids: [1, 2],
    heal: "delete from public.others",
  },
  "the children of a refused record, before and after it in the file": {
    sql: `create table public.things (id int primary key, x int, elder int references public.things); ${
      refusing("new.x = 0")
    }`,
    columns: "id;x;elder",
    rows: "1;1;2 2;0; 3;3;2 4;4;3 5;5;6 6;6; 7;7;8 8;8;7",
    rejects: [
      [1, "elder", "2", "23503", "things_elder_fkey", /^is in no row of public\.things$/],
      [2, null, null, "P0001", null, refused],
      [3, "elder", "2", "23503", "things_elder_fkey", /^is in no row of public\.things$/],
      [4, "elder", "3", "23503", "things_elder_fkey", /^is in no row of public\.things$/],
    ],
    ids: [5, 6, 7, 8],
    heal: "drop trigger refuse on public.things",
  },
  "who counted on the value of a refused record": {
    sql: `create table public.things (id int primary key, code text not null unique, x int);
      insert into public.things values (1, 'a', 1), (2, 'b', 1), (3, 'c', 1), (4, 'd', 1); ${refusing("new.x = 0")}`,
    columns: "id;code;x",
    rows: "1;b;2 2;a;0 3;d;2 4;c;2",
    rejects: [
      [1, "code", "b", "23505", "things_code_key", /^is another row's already$/],
      [2, null, null, "P0001", null, refused],
    ],
    ids: [1, 2, 3, 4],
    heal: "drop trigger refuse on public.things",
  },
  "a trigger that looks at the rows before": {
    sql: `create table public.things (id int primary key, x int); insert into public.things values (1, 3);
      ${
      refusing("(select sum(x) from public.things where id <> new.id) + new.x > 5", undefined, "raise exception 'no 0'")
    }`,
    columns: "id;x",
    rows: "1;1 2;4 3;1 4;0",
    rejects: [[3, null, null, "P0001", null, refused]],
    ids: [1, 2, 4],
    heal: "drop trigger refuse on public.things",
  },
};

async function prepare(sql: string) {
  const db = await freshDatabase();
  await db.query(sql);
  const web = serve({}, true);
  await db.feed("things", { url: `${web.url}/things`, reject_limit: 1 });
  return {
    db,
    web,
    put: (columns: string, rows: string) => web.files["/things"] = `${columns}\n${rows.replaceAll(" ", "\n")}\n`,
    [Symbol.asyncDispose]: async () => {
      await web[Symbol.asyncDispose]();
      await db[Symbol.asyncDispose]();
    },
  };
}

const ids = async (db: Database) => (await db.query("select id from public.things order by id")).map(({ id }) => id);

for (const [name, { sql, columns, rows, rejects, ids: expected, heal }] of Object.entries(cases)) {
  Deno.test(`what only the write refuses is put aside: ${name}`, async () => {
    await using at = await prepare(sql);
    const { db } = at;
    at.put(columns, rows);

    const report = await db.loadOne("things");

    assert.equal(report.error, null);
    const found = await db.query("select * from etl.rejects order by record_number");
    assert.deepEqual(
      found.map((row) => [Number(row.record_number), row.column_name, row.value, row.sqlstate, row.constraint_name]),
      rejects.map((reject) => reject.slice(0, 5)),
    );
    for (const [i, reject] of rejects.entries()) assert.match(found[i].reason, reject[5]);
    assert.deepEqual(await ids(db), expected);
    const { read, inserted, updated, unchanged, duplicate, rejected } = report;
    assert.deepEqual([read, unchanged, duplicate], [rows.split(" ").length, 0, 0]);
    assert.deepEqual([rejected, inserted + updated], [rejects.length, read - rejects.length]);
    const required = await db.query(
      "select attname from pg_attribute where attrelid = 'public.things'::regclass and attnotnull",
    );

    const before = await snapshot(db);
    assert.equal((await db.loadOne("things", { force: true })).status, "unchanged");
    assert.deepEqual(await snapshot(db), before, "the same again: nothing is written");
    assert.equal((await db.loadOne("things")).status, "unchanged");
    assert.deepEqual(await snapshot(db), before);
    assert.deepEqual(
      await db.query("select attname from pg_attribute where attrelid = 'public.things'::regclass and attnotnull"),
      required,
    );

    if (!heal) return;
    await db.query(heal);
    // Only the reject shall be the reason to look again, but where the definition itself is mended.
    if (!/index|expression/.test(heal)) {
      await db.query(
        "update etl.feed_state s set definition_hash = etl.definition_hash(f) from etl.feeds f where f.name = s.feed",
      );
    }
    const healed = await db.loadOne("things");
    assert.deepEqual([healed.error, healed.status, healed.rejected], [null, "changed", 0]);
    assert.deepEqual(await db.query("select * from etl.rejects"), []);
    assert.equal((await db.loadOne("things")).status, "unchanged");
    assert.match(at.web.log.at(-1)!, / 304$/, "with no reject left the validators count again");
  });
}

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
  const faults: Record<string, [body: string, code: string, message: RegExp]> = {
    "a lock that is not to be had": ["lock table public.gate; return new", "lock_not_available", /holds a lock/],
    "a deadlock": ["raise exception using errcode = '40P01'", "deadlock_detected", /deadlock/],
    "a full disk": ["raise exception 'could not extend' using errcode = '53100'", "disk_full", /could not extend/],
    "a table that is not there": ["insert into public.nowhere values (1); return new", "undefined_table", /nowhere/],
    "a privilege": ["raise exception 'denied' using errcode = '42501'", "42501", /denied/],
    "a trigger that drops rows": ["return null", "rows_dropped", /1 of 2 rows were not written/],
  };
  for (const [name, [body, code, message]] of Object.entries(faults)) {
    await t.step(name, async () => {
      await using at = await prepare(`${table} create table public.gate (); ${counting}
        create function public.fail() returns trigger language plpgsql as
          $$ begin if new.x = 1 then return new; end if; ${body}; end $$;
        create trigger c before insert on public.things for each row execute function public.fail()`);
      at.put("id,x", "1,1 2,2");
      await using other = await database(new URL(at.db.url).pathname.slice(1));
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
  await using other = await database(new URL(db.url).pathname.slice(1));
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
