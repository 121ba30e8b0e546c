/** Taking back what a run changed: what comes back, what stays and why, and what is left to whoever looks. */
import assert from "node:assert/strict";
import type { Database } from "../support/database.ts";
import { databaseAndWeb } from "../support/given.ts";
import { snapshot } from "../support/snapshot.ts";

const csv = (...lines: string[]) => lines.join("\n") + "\n";

/** outcome, rows, reason, keys */
type Said = [string, number, RegExp | null, string[]?];

interface Case {
  name: string;
  table?: string;
  columns?: Record<string, unknown>;
  admin?: string;
  /** The last of them is undone. */
  files: string[];
  /** Between the run and its undo. */
  since?: string;
  said: Said[];
  /** All rows after it, as Postgres prints them. */
  rows: string[];
}

const plain = "create table public.things (id int primary key, x text);";
const nothingToDo = (rows: number): Said => ["as before", rows, /^nothing to do$/];
const absent = { absent: "delete", absent_limit: 1 };

const cases: Case[] = [
  {
    name: "what it updated is put back, what it inserted deleted, what it deleted inserted again",
    columns: absent,
    files: [csv("id,x", "1,a", "2,b", "3,c"), csv("id,x", "1,A", "3,c", "4,d")],
    said: [["deleted", 1, null], ["inserted again", 1, null], ["put back", 1, null]],
    rows: ["(1,a)", "(2,b)", "(3,c)"],
  },
  {
    name: "a first load as a whole",
    files: [csv("id,x", "1,a", "2,b")],
    said: [["deleted", 2, null]],
    rows: [],
  },
  {
    name: "what somebody changed, deleted or inserted since is kept; what somebody put back already is nothing to do",
    columns: absent,
    files: [
      csv("id,x", "1,a", "2,b", "3,c", "4,d", "5,e", "6,f"),
      csv("id,x", "1,A", "2,B", "3,C", "4,d", "7,g", "8,h", "9,i"),
    ],
    since: `update public.things set x = 'mine' where id in (1, 7);
      update public.things set x = 'b' where id = 2;
      delete from public.things where id in (3, 8);
      insert into public.things values (5, 'mine'), (6, 'f')`,
    said: [
      nothingToDo(3),
      ["deleted", 1, null],
      ["kept", 1, /^another row took its key since$/, ["5"]],
      ["kept", 2, /^somebody changed it since$/, ["1", "7"]],
      ["kept", 1, /^somebody deleted it since$/, ["3"]],
    ],
    rows: ["(1,mine)", "(2,b)", "(4,d)", "(5,mine)", "(6,f)", "(7,mine)"],
  },
  {
    name: "a change that only its bytes show counts as one",
    table: "create table public.things (id int primary key, x numeric);",
    files: [csv("id,x", "1,1.0", "2,1.0"), csv("id,x", "1,2.0", "2,2.0")],
    since: "update public.things set x = 2.00 where id = 1",
    said: [["put back", 1, null], ["kept", 1, /^somebody changed it since$/, ["1"]]],
    rows: ["(1,2.00)", "(2,1.0)"],
  },
  {
    name: "what others refer to is kept, also where their key would cascade",
    table: `${plain}
      create table public.parts (id int primary key, thing int references public.things on delete cascade);
      create table public.notes (id int primary key, thing int references public.things on delete set null);`,
    files: [csv("id,x", "1,a", "2,b", "3,c")],
    since: "insert into public.parts values (1, 1); insert into public.notes values (1, 2)",
    said: [
      ["deleted", 1, null],
      ["kept", 1, /^rows refer to it in public\.notes$/, ["2"]],
      ["kept", 1, /^rows refer to it in public\.parts$/, ["1"]],
    ],
    rows: ["(1,a)", "(2,b)"],
  },
  {
    name: "what has lost its parent is not inserted again, and what would refer to none is not put back",
    table: `create table public.parents (id int primary key); insert into public.parents values (1), (2), (3);
      create table public.things (id int primary key, x int references public.parents);`,
    columns: absent,
    files: [csv("id,x", "1,1", "2,2", "3,3", "4,3"), csv("id,x", "1,3", "2,3", "4,3")],
    since: "delete from public.parents where id = 1; delete from public.things where id = 4; " +
      "update public.things set x = null; delete from public.parents where id = 3; update public.things set x = null",
    said: [
      ["kept", 1, /^is in no row of public\.parents$/, ["3"]],
      ["kept", 2, /^somebody changed it since$/, ["1", "2"]],
    ],
    rows: ["(1,)", "(2,)"],
  },
  {
    name: "a parent that is gone keeps the update alone that needs it",
    table: `create table public.parents (id int primary key); insert into public.parents values (1), (2), (3);
      create table public.things (id int primary key, x int references public.parents);`,
    files: [csv("id,x", "1,1", "2,2"), csv("id,x", "1,3", "2,3")],
    since: "delete from public.parents where id = 1",
    said: [["put back", 1, null], ["kept", 1, /^is in no row of public\.parents$/, ["1"]]],
    rows: ["(1,3)", "(2,2)"],
  },
  {
    name: "unique values that were swapped, and one that went to a new row",
    table: "create table public.things (id int primary key, x text not null unique);",
    files: [csv("id,x", "1,a", "2,b", "3,c"), csv("id,x", "1,b", "2,a", "3,d", "4,c")],
    said: [["deleted", 1, null], ["put back", 3, null]],
    rows: ["(1,a)", "(2,b)", "(3,c)"],
  },
  {
    name: "a unique value that went from a row that was deleted to another",
    table: "create table public.things (id int primary key, x text unique);",
    columns: absent,
    files: [csv("id,x", "1,a", "2,b"), csv("id,x", "2,b"), csv("id,x", "2,a")],
    since: "insert into public.things values (5, 'b')",
    said: [["kept", 1, /^is another row's already$/, ["2"]]],
    rows: ["(2,a)", "(5,b)"],
  },
  {
    name: "rows of a table that refers to itself, in whatever order that takes",
    table: "create table public.things (id int primary key, x int references public.things);",
    columns: absent,
    // 3 and 4 are new, 1 refers to 3 now; 2, to which it referred, and 5 are gone.
    files: [csv("id,x", "1,2", "2,5", "5,"), csv("id,x", "1,3", "3,4", "4,"), csv("id,x", "1,3", "3,4", "4,")],
    said: [["deleted", 2, null], ["inserted again", 2, null], ["put back", 1, null]],
    rows: ["(1,2)", "(2,5)", "(5,)"],
  },
  {
    name: "what a trigger refuses is kept, and the others are put back",
    table: `${plain}
      create function public.refuse() returns trigger language plpgsql as $$
        begin if new.x = 'b' and tg_op = 'UPDATE' then raise exception 'not %', new.x; end if; return new; end $$;
      create trigger refuse before insert or update on public.things for each row execute function public.refuse();`,
    files: [csv("id,x", "1,a", "2,b", "3,c"), csv("id,x", "1,A", "2,B", "3,C")],
    said: [["put back", 2, null], ["kept", 1, /^is refused by a trigger: not b$/, ["2"]]],
    rows: ["(1,a)", "(2,B)", "(3,c)"],
  },
  {
    name: "what a CHECK of later refuses is kept",
    files: [csv("id,x", "1,a", "2,b"), csv("id,x", "1,A", "2,B")],
    since: "alter table public.things add check (x <> 'a')",
    said: [["put back", 1, null], ["kept", 1, /^breaks the rule CHECK/, ["1"]]],
    rows: ["(1,A)", "(2,b)"],
  },
  {
    name: "an identity comes back with its number, a generated column by itself, a column of later as it is",
    table: `create table public.things (
      id int primary key, x text, n int generated always as identity, y text generated always as (x || '!') stored)`,
    columns: absent,
    files: [csv("id,x", "1,a", "2,b", "3,c"), csv("id,x", "1,A", "2,b", "4,d")],
    since: "alter table public.things add z int default 7; update public.things set z = 8 where id = 1",
    said: [["deleted", 1, null], ["inserted again", 1, null], ["put back", 1, null]],
    rows: ["(1,a,1,a!,8)", "(2,b,2,b!,7)", "(3,c,3,c!,7)"],
  },
  {
    name: "an expression that is another one since changes no row",
    table: "create table public.things (id int primary key, x text, y text generated always as (upper(x)) stored);",
    files: [csv("id,x", "1,a"), csv("id,x", "1,b")],
    since:
      "alter table public.things drop y; alter table public.things add y text generated always as (x || '!') stored",
    said: [["put back", 1, null]],
    rows: ["(1,a,a!)"],
  },
  {
    name: "a partitioned table, from partition to partition",
    table: `create table public.things (id int, x text, primary key (id)) partition by range (id);
      create table public.few partition of public.things for values from (0) to (10);
      create table public.many partition of public.things default;`,
    columns: absent,
    files: [csv("id,x", "1,a", "20,b"), csv("id,x", "1,A", "30,c")],
    said: [["deleted", 1, null], ["inserted again", 1, null], ["put back", 1, null]],
    rows: ["(1,a)", "(20,b)"],
  },
  {
    name: "rows that were marked are unmarked",
    table: "create table public.things (id int primary key, absent_since timestamptz);",
    columns: { absent: "mark", absent_limit: 1 },
    files: [csv("id,x", "1,", "2,"), csv("id,x", "2,")],
    said: [["put back", 1, null]],
    rows: ["(1,)", "(2,)"],
  },
  {
    name: "where a trigger gave a row another key, nothing is touched",
    table: `${plain}
      create function public.move() returns trigger language plpgsql as $$
        begin if new.x = 'move' then new.id := 70; end if; return new; end $$;
      create trigger move before insert on public.things for each row execute function public.move();`,
    files: [csv("id,x", "1,a", "7,move")],
    said: [["deleted", 1, null], ["kept", 1, /^a trigger gave it another key$/, ["7"]]],
    rows: ["(70,move)"],
  },
  {
    name: "keys that are spelled otherwise, in an order of their own, and names that are the loader's",
    admin: "create extension citext schema public",
    table: `create table public.things (
      key public.citext, number numeric, fate text, "step, reason" text, primary key (key, number))`,
    columns: absent,
    files: [
      csv('key,number,fate,"step, reason"', "Bob,1.0,a,x", "Bob,2.0,b,x", "Al,3,,"),
      csv('key,number,fate,"step, reason"', "BOB,1.00,c,y", "bob,2,b,x"),
    ],
    said: [["inserted again", 1, null], ["put back", 1, null]],
    rows: ['(Al,3,,"")', "(Bob,1.0,a,x)", "(Bob,2.0,b,x)"],
  },
];

async function undo(db: Database, run: string, feed = "things") {
  return (await db.query("select * from etl.undo($1, $2)", [run, feed])).map((
    { outcome, records, reason, keys },
  ) => [outcome, records === null ? null : Number(records), reason, keys]);
}

const rowsOf = async (db: Database) =>
  (await db.query('select t::text as row from public.things t order by t::text collate "C"')).map(({ row }) => row);

for (const { name, table = plain, columns, admin, files, since, said, rows } of cases) {
  Deno.test(`undone: ${name}`, async () => {
    await using given = await databaseAndWeb();
    const { db, web } = given;
    if (admin) await db.admin(admin);
    await db.query(table);
    await db.feed("things", { url: `${web.url}/things`, history: "1 day", ...columns });
    let run = "";
    for (const file of files) {
      web.files["/things"] = file;
      const report = await db.load({ feeds: ["things"] });
      assert.equal(report.feeds[0].error, null);
      if (report.feeds[0].status === "changed") run = report.run;
    }
    if (since) await db.query(since);
    const found = await undo(db, run);
    const isDone = said.some(([outcome]) => !["kept", "as before"].includes(outcome));
    const last = found.at(-1)!;
    if (isDone) assert.deepEqual([...found.pop()!.slice(0, 2)], ["disabled", null]);
    assert.deepEqual(found.map(([outcome, rows]) => [outcome, rows]), said.map(([outcome, rows]) => [outcome, rows]));
    said.forEach(([, , reason, keys], i) => {
      if (reason) assert.match(found[i][2], reason);
      else assert.equal(found[i][2], null);
      assert.deepEqual(found[i][3]?.map((key: Record<string, string>) => Object.values(key).join()), keys ?? undefined);
    });
    assert.equal(last[0] === "disabled", isDone);
    assert.deepEqual(await rowsOf(db), rows);
    const [{ enabled }] = await db.query("select enabled from etl.feeds where name = 'things'");
    assert.equal(enabled, !isDone);
    // Once more there is nothing that could be done, and nothing is.
    const before = await snapshot(db);
    for (const [outcome] of await undo(db, run)) assert.match(outcome, /^(kept|as before)$/);
    assert.deepEqual(await snapshot(db), before);
  });
}
