/** etl.isolate: each kind of record that only the write itself refuses is rejected, and the others load. */
import assert from "node:assert/strict";
import { snapshot } from "../support/snapshot.ts";
import { ids, prepare, refusing, table } from "./things.ts";

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

const overlaps = /^conflicts with another row$/;

const refused = /^is refused by a trigger: no 0$/;

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
    sql: `create table public.things (id int primary key, x int, parent int references public.things); ${
      refusing("new.x = 0")
    }`,
    columns: "id;x;parent",
    rows: "1;1;2 2;0; 3;3;2 4;4;3 5;5;6 6;6; 7;7;8 8;8;7",
    rejects: [
      [1, "parent", "2", "23503", "things_parent_fkey", /^is in no row of public\.things$/],
      [2, null, null, "P0001", null, refused],
      [3, "parent", "2", "23503", "things_parent_fkey", /^is in no row of public\.things$/],
      [4, "parent", "3", "23503", "things_parent_fkey", /^is in no row of public\.things$/],
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

for (const [name, { sql, columns, rows, rejects, ids: expected, heal }] of Object.entries(cases)) {
  Deno.test(`what only the write refuses is rejected: ${name}`, async () => {
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
