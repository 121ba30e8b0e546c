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
/** Its rows can hold each other fast; its rules have what their definitions do not tell. */
const circle = `create table public.things (id int primary key, x text, other int);
  create unique index things_x on public.things (x) include (other) where x <> 'z';
  comment on index public.things_x is 'an index';
  alter table public.things add unique (x) deferrable;
  alter table public.things add constraint others foreign key (other) references public.things deferrable;
  comment on constraint others on public.things is 'a key';`;
/** Of public.things, for what an undo lifts it must make again as it was. */
const rules = `select
    (select jsonb_agg(to_jsonb(i) order by i.name) from (
      select indexrelid::regclass::text as name, pg_get_indexdef(indexrelid) as definition, indisvalid,
        obj_description(indexrelid, 'pg_class') as comment
      from pg_index where indrelid = 'public.things'::regclass) i) as indexes,
    (select jsonb_agg(to_jsonb(c) order by c.conname) from (
      select conname, pg_get_constraintdef(oid) as definition, convalidated,
        obj_description(oid, 'pg_constraint') as comment
      from pg_constraint where conrelid = 'public.things'::regclass) c) as constraints`;
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
    name: "a new row with the value of a changed one that refers to it, which hold each other fast",
    table: circle,
    files: [csv("id,x,other", "1,a,", "3,c,"), csv("id,x,other", "1,b,2", "2,a,", "3,d,")],
    said: [["deleted", 1, null], ["put back", 2, null]],
    rows: ["(1,a,)", "(3,c,)"],
  },
  {
    name: "a new row and a changed one that refer to each other, where a key would cascade",
    table: `create table public.things (
      id int primary key, x text, other text references public.things (x) on delete cascade, unique (x));`,
    files: [csv("id,x,other", "1,a,"), csv("id,x,other", "1,b,c", "2,c,b")],
    said: [["deleted", 1, null], ["put back", 1, null]],
    rows: ["(1,a,)"],
  },
  {
    name: "rows that hold each other fast are kept where another one refers to one of them",
    table: circle,
    files: [csv("id,x,other", "1,a,"), csv("id,x,other", "1,b,2", "2,a,")],
    since: "insert into public.things values (3, 'c', 2)",
    said: [
      ["kept", 1, /^is another row's already$/, ["1"]],
      ["kept", 1, /^rows refer to it in public\.things$/, ["2"]],
    ],
    rows: ["(1,b,2)", "(2,a,)", "(3,c,2)"],
  },
  {
    name: "rows that hold each other fast, of a table to which another one refers by another index",
    table: `${circle} alter table public.things add code text, add constraint code unique (code);
      create table public.notes (code text references public.things (code));`,
    files: [csv("id,x,other", "1,a,"), csv("id,x,other", "1,b,2", "2,a,")],
    said: [["deleted", 1, null], ["put back", 1, null]],
    rows: ["(1,a,,)"],
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
    rows: ["(Al,3,,)", "(Bob,1.0,a,x)", "(Bob,2.0,b,x)"],
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
    const before = await db.query(rules);
    const found = await undo(db, run);
    assert.deepEqual(await db.query(rules), before);
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
    const undone = await snapshot(db);
    for (const [outcome] of await undo(db, run)) assert.match(outcome, /^(kept|as before)$/);
    assert.deepEqual(await snapshot(db), undone);
  });
}

/** Values of which one or the other form keeps no more than a part. */
const values: Record<string, string[]> = {
  numeric: ["1.0", "1.00", "'NaN'", "'-Infinity'", "1e300", "0.000", "null"],
  float8: ["'-0'", "0", "'NaN'", "'Infinity'", "0.1::float8 + 0.2", "5e-324", "1.7976931348623157e308"],
  float4: ["'-0'", "0.1", "3.4028235e38", "'-Infinity'"],
  text: ["''", "'null'", "e'a\\\\b\\n\\t\\u00e4'", "'\\N'", "null", "repeat('x', 10000)"],
  "char(5)": ["'a'", "''", "'abcde'", "null"],
  bpchar: ["'a  '", "'a'", "''"],
  '"char"': ["'a'", "'\\300'", "''"],
  name: ["'a b'", "null"],
  bytea: ["'\\x00ff5c'", "''", "'\\x'"],
  json: [`'{"b": 1,  "a": 2, "b": 3}'`, "'null'", "null", `'"x"'`, "'1.0'", "'[1 ,2]'"],
  jsonb: [`'{"b": 1.00, "a": null}'`, "'null'", "null", `'"x"'`, `'"{\\"a\\": 1}"'`, "'[]'"],
  "int[]": ["'[0:1]={1,2}'", "'{}'", "'{{1,2},{3,null}}'", "null", "'{null}'"],
  "text[]": [`array['', 'null', null, 'a"b', '{', ',', '\\']`, "'{}'"],
  "json[]": [`array['{"b": 1,  "a": 2}', 'null', null]::json[]`],
  "char(3)[]": ["'{a,bcd}'"],
  timestamptz: ["'2021-03-28 01:30:00.123456Z'", "'infinity'", "'-infinity'", "'0044-03-15 BC'", "'1890-01-01 12:00Z'"],
  timestamp: ["'2021-03-28 02:30'", "'294276-12-31 23:59:59.999999'"],
  date: ["'2021-07-04'", "'infinity'", "'0044-03-15 BC'", "'5874897-12-31'"],
  timetz: ["'24:00:00+05:30'", "'00:00:00.000001-11'"],
  interval: ["'1 mon -1 day +00:00:01'", "'-1 mon +1 day'", "'1 year -3:02:01.5'", "'infinity'", "'0'"],
  money: ["'-1234.56'", "'0'"],
  bool: ["true", "false", "null"],
  inet: ["'10.0.0.1'", "'10.0.0.1/8'", "'::1'"],
  cidr: ["'10.0.0.0/8'"],
  "bit(4)": ["b'0101'"],
  varbit: ["b''", "b'01'"],
  xml: ["'<a>x</a>'", "'x<b/>y'"],
  point: ["'(0.1,-0)'"],
  polygon: ["'((0,0),(1,1),(1,0))'"],
  int4range: ["'[1,5)'", "'empty'", "'(,)'"],
  tstzmultirange: ["'{[2021-01-01Z,2021-02-01Z),[2021-03-01Z,infinity)}'"],
  tsvector: [`'a:1A ''b c'':2'`],
  tsquery: ["'a & !b'"],
  regclass: ["'etl.feeds'", "'pg_catalog.pg_class'"],
  uuid: ["'00000000-0000-0000-0000-00000000000A'"],
  "public.pair": ["row(null, null)", "null", `row('-0'::float8, '{"b":1, "a":2}'::json)`],
  "public.short": ["'ab '", "null"],
  "public.mood": ["'so, so'", "null"],
  "public.citext": ["'Bob'", "'bob'"],
  "public.hstore": [`'a=>1, b=>NULL, "c d"=>"x\\"y"'`],
  "public.ltree": ["'a.b'"],
};
const typesOf = `
  create type public.pair as (a float8, b json);
  create domain public.short as char(3) check (value <> 'no');
  create type public.mood as enum ('well', 'so, so');`;

const types = Object.keys(values);
const most = Math.max(...Object.values(values).map(({ length }) => length));
const each = (rows: string[]) => rows.join(", ");

for (
  const role of [
    "extra_float_digits = 0",
    "intervalstyle = sql_standard",
    "datestyle = 'German'",
    "timezone = 'Asia/Kolkata'",
  ]
) {
  Deno.test(`values of every type come back byte for byte, by a role with ${role}`, async () => {
    await using given = await databaseAndWeb();
    const { db, web } = given;
    await db.admin(
      "create extension citext schema public; create extension hstore schema public;" +
        "create extension ltree schema public",
    );
    await db.query(typesOf);
    await db.query(
      `create table public.things (id int primary key, n int, ${each(types.map((type, i) => `c${i} ${type}`))})`,
    );
    for (let row = 0; row < most; row++) {
      const cells = types.map((type) => `(${values[type][row % values[type].length]})::${type}`);
      await db.query(`insert into public.things values (${row}, 0, ${each(cells)})`);
    }
    await db.query("create table public.saved as table public.things");
    await db.feed("things", { url: `${web.url}/things`, history: "1 day", ...absent, time_zone: "America/New_York" });
    web.files["/things"] = csv(
      "id,n",
      ...Array.from({ length: most }, (_, id) => `${id},${id % 2}`).slice(0, most - 3),
    );
    const url = new URL(db.url);
    url.searchParams.set("options", `-c ${role.replaceAll(/[ ']/g, "")}`);
    const { run, feeds: [{ updated, deleted, error }] } = await db.load({ feeds: ["things"], databaseUrl: url.href });
    assert.deepEqual([updated, deleted, error], [Math.floor((most - 3) / 2), 3, null]);
    await db.query(`set ${role}`);
    const said = await undo(db, run);
    assert.deepEqual(said.map(([outcome, rows]) => [outcome, rows]), [["inserted again", 3], ["put back", updated], [
      "disabled",
      null,
    ]]);
    const other = await db.query(
      `select s.id, ${each(types.map((_, i) => `not record_image_eq(row(s.c${i}), row(t.c${i})) as c${i}`))}
      from public.saved s left join public.things t using (id) where not t *= s`,
    );
    const differing = other.map((row) => types.filter((_, i) => row[`c${i}`]));
    assert.deepEqual(differing, []);
    const [{ same }] = await db.query(
      "select count(*)::int as same from public.saved s join public.things t on t *= s",
    );
    assert.equal(same, most);
  });
}

Deno.test("after it the feed is disabled, health says why, and its next load is as the first", async () => {
  await using given = await databaseAndWeb(plain, { "/things": csv("id,x", "1,a") }, true);
  const { db, web } = given;
  await db.query("delete from etl.feeds");
  await db.feed("things", { url: `${web.url}/things`, history: "1 day" });
  await db.load();
  web.files["/things"] = csv("id,x", "1,b", "2,b");
  const { run } = await db.load();
  await undo(db, run);
  const health = async () => (await db.query("select verdict, message, hint from etl.health()"));
  const [{ verdict, message, hint }] = await health();
  assert.equal(verdict, "undone");
  assert.match(message, new RegExp(`^Run ${run} was undone at .*, and the feed is disabled`));
  const [ledger] = await db.query(
    `select status, undoes, read::int, inserted::int, updated::int, deleted::int from etl.runs where status = 'undone'`,
  );
  assert.deepEqual(ledger, { status: "undone", undoes: run, read: 0, inserted: 0, updated: 1, deleted: 1 });
  // Whoever names it has it loaded, and it stays disabled: no run takes it, and health goes on saying so.
  const { run: again, feeds: [named] } = await db.load({ feeds: ["things"] });
  assert.deepEqual([named.status, named.note], ["changed", "it is disabled: no run takes it unless it is named"]);
  const [{ message: then, ...still }] = await health();
  assert.deepEqual(still, { verdict, hint });
  assert.match(then, /^Run .*\. A run that named it has loaded it again, at .*\. Once that is mended: /);
  await undo(db, again);
  // The same body under the same ETag is loaded all the same.
  await db.query(hint);
  const { feeds: [third] } = await db.load();
  assert.deepEqual([third.status, third.note, third.inserted, third.updated], ["changed", null, 1, 1]);
  assert.equal((await db.load()).status, "unchanged");
  assert.deepEqual((await health()).map(({ verdict }) => verdict), ["ok"]);
  await db.query("update etl.feeds set enabled = false");
  assert.deepEqual(await health(), [], "what a person disables is no matter of health");
});

Deno.test("what it left disabled is accepted by etl.approve()", async () => {
  await using given = await databaseAndWeb(plain, { "/things": csv("id,x", "1,a") });
  const { db, web } = given;
  await db.query("delete from etl.feeds");
  await db.feed("things", { url: `${web.url}/things`, history: "1 day" });
  await undo(db, (await db.load()).run);
  const [{ said }] = await db.query("select etl.approve('things') as said");
  assert.equal(said, "It stays disabled, and health does not speak of it.");
  assert.deepEqual(await db.query("select * from etl.health()"), []);
});

Deno.test("an undo is a run, and can be undone", async () => {
  await using given = await databaseAndWeb(plain);
  const { db, web } = given;
  await db.feed("things", { url: `${web.url}/things`, history: "1 day", ...absent });
  for (const file of [csv("id,x", "1,a", "2,b"), csv("id,x", "1,A", "3,c")]) {
    web.files["/things"] = file;
    await db.load({ feeds: ["things"] });
  }
  const after = await rowsOf(db);
  // Also where no history is wanted any more.
  await db.query("update etl.feeds set history = null where name = 'things'");
  const runs = () => db.query("select run from etl.runs where feed = 'things' order by finished_at desc");
  await undo(db, (await runs())[0].run);
  assert.deepEqual(await rowsOf(db), ["(1,a)", "(2,b)"]);
  await undo(db, (await runs())[0].run);
  assert.deepEqual(await rowsOf(db), after);
});

Deno.test("undone one after the other, though a trigger marks each write", async (t) => {
  const touched = `${plain} alter table public.things add column touched int not null default 0;
    create function public.touch() returns trigger language plpgsql
    as 'begin new.touched = coalesce(old.touched, 0) + 1; return new; end';
    create trigger touch before insert or update on public.things for each row execute function public.touch();`;
  await using given = await databaseAndWeb(touched);
  const { db, web } = given;
  await db.feed("things", { url: `${web.url}/things`, history: "1 day", ...absent });
  const runs: string[] = [];
  for (
    const file of [csv("id,x", "1,a", "9,z"), csv("id,x", "1,b", "2,b"), csv("id,x", "1,c", "2,c"), csv("id,x", "1,d")]
  ) {
    web.files["/things"] = file;
    runs.push((await db.load({ feeds: ["things"] })).run);
  }
  const values = async () =>
    (await db.query("select id || x as row from public.things order by id")).map(({ row }) => row);
  assert.deepEqual(await values(), ["1d"]);
  await t.step("the latest first, two of them in one transaction", async () => {
    await db.query("begin");
    await undo(db, runs[3]);
    assert.deepEqual(await values(), ["1c", "2c"]);
    await undo(db, runs[2]);
    await db.query("commit");
    assert.deepEqual(await values(), ["1b", "2b"]);
  });
  await t.step("what is undone already is as before", async () => {
    assert.deepEqual(await undo(db, runs[2]), [["as before", 2, "nothing to do", null]]);
    assert.deepEqual(await values(), ["1b", "2b"]);
  });
  await t.step("what somebody changes between is kept", async () => {
    await db.query("begin; update public.things set x = 'mine' where id = 1");
    const said = await undo(db, runs[1]);
    assert.deepEqual(said.slice(0, 3).map(([outcome, , reason]) => [outcome, reason]), [
      ["deleted", null],
      ["inserted again", null],
      ["kept", "somebody changed it since"],
    ]);
    await db.query("rollback");
  });
  await t.step("the next", async () => {
    await undo(db, runs[1]);
    assert.deepEqual(await values(), ["1a", "9z"]);
  });
  await t.step("and the first", async () => {
    await undo(db, runs[0]);
    assert.deepEqual(await values(), []);
  });
});

const waitingKeys: { name: string; key: string; admin?: string; early: string; late: string; spelled?: string }[] = [
  { name: "an integer", key: "int", early: "2", late: "3" },
  {
    name: "a citext that is spelled otherwise",
    key: "public.citext",
    admin: "create extension citext schema public",
    early: "Bob",
    late: "Al",
    spelled: "BOB",
  },
  {
    name: "a time, which the feed's zone and the order of its dates decide",
    key: "timestamptz",
    early: "03/04/2021 10:00",
    late: "04/04/2021 10:00",
    spelled: "2021-04-03T08:00Z",
  },
];

for (const { name, key, admin, early, late, spelled = early } of waitingKeys) {
  Deno.test(`of a feed of changes what waited waits again, where its key is ${name}`, async (t) => {
    await using given = await databaseAndWeb();
    const { db, web } = given;
    if (admin) await db.admin(admin);
    await db.query(`create table public.parents (id int primary key); insert into public.parents values (1);
      create table public.things (id ${key} primary key, x int references public.parents, y text);`);
    const feed = { url: `${web.url}/things`, history: "1 day", contents: "changes", reject_limit: 1 };
    await db.feed("things", { ...feed, time_zone: "Europe/Berlin", date_order: "dmy" });
    const load = async (...lines: string[]) => {
      web.files["/things"] = csv("id,x,y", ...lines);
      const { run, feeds: [{ error }] } = await db.load({ feeds: ["things"] });
      assert.equal(error, null);
      return run;
    };
    const rejects = () => db.query("select * from etl.rejects order by record_number");
    const state = async () => [await rowsOf(db), (await rejects()).map(({ record }) => record.y)];
    await load(`${early},7,orphan`);
    const waited = await rejects();
    await db.query("insert into public.parents values (7)");
    const enable = () => db.query("update etl.feeds set enabled = true");
    const orphans = (run: string) =>
      "that run rejected them, and they are tried with the next file. If they are no good: delete from etl.rejects " +
      `where feed = 'things' and first_run = '${run}';`;
    const again = "that run had loaded them, or a newer record, and they are tried with the next file";
    const said = (found: unknown[][]) =>
      found.map((line) => line.slice(0, 3)).filter(([outcome]) => outcome !== "disabled");
    for (
      const [how, ...lines] of [
        ["it had loaded", `${late},8,new orphan`],
        ["a newer record of its key had loaded", `${spelled},1,newer`, `${late},8,new orphan`],
      ]
    ) {
      await t.step(how, async () => {
        const run = await load(...lines);
        const after = await state();
        assert.deepEqual(after[1], ["new orphan"]);
        assert.deepEqual(said(await undo(db, run)), [
          ["deleted", 1, null],
          ["waits again", 1, again],
          ["waits on", 1, orphans(run)],
        ]);
        assert.deepEqual(await rowsOf(db), []);
        assert.deepEqual((await rejects()).filter(({ id }) => id === waited[0].id), waited);
        // The undo undone: it waits no more. And that undone: it does.
        const undoOf = async (run: string) =>
          (await db.query("select run from etl.runs where undoes = $1", [run]))[0].run;
        assert.deepEqual(said(await undo(db, await undoOf(run))), [["inserted again", 1, null]]);
        assert.deepEqual(await state(), after);
        const third = said(await undo(db, await undoOf(await undoOf(run))));
        assert.deepEqual(third, [["deleted", 1, null], ["waits again", 1, again]]);
        // The same file once more makes all as it was.
        await enable();
        const second = await load(...lines);
        assert.deepEqual(await state(), after);
        // A row that somebody has changed since stays, and nothing waits for it.
        await db.query("begin; update public.things set y = 'mine'");
        assert.deepEqual(said(await undo(db, second)).map(([outcome]) => outcome), ["kept"]);
        assert.deepEqual((await rejects()).map(({ record }) => record.y), ["new orphan"]);
        await db.query("rollback");
        await undo(db, second);
        await enable();
        await db.query("delete from etl.rejects where id <> $1", [waited[0].id]);
      });
    }
  });
}

Deno.test("what cannot be undone at all says so, and changes nothing", async () => {
  await using given = await databaseAndWeb(`${plain} create table public.others (id int primary key, x text)`);
  const { db, web } = given;
  web.files["/things"] = csv("id,x", "1,a");
  await db.feed("things", { url: `${web.url}/things`, history: "1 day" });
  const { run } = await db.load({ feeds: ["things"] });
  const nobody = crypto.randomUUID();
  assert.deepEqual(await undo(db, nobody), [[
    "nothing",
    0,
    `nothing is kept of what run ${nobody} changed of things: see etl.feeds.history`,
    null,
  ]]);
  const before = await snapshot(db);
  const cases: [string, RegExp, string?][] = [
    ["", /^there is no feed nobody's$/, "nobody's"],
    [
      "update etl.feeds set target = 'public.others' where name = 'things'",
      /wrote to public\.things, .* loads public\.others now$/,
    ],
    ["alter table public.things rename x to y", /^public\.things has no column x any more/],
  ];
  for (const [sql, message, feed] of cases) {
    await db.query(`begin; ${sql}`);
    await assert.rejects(undo(db, run, feed), { message });
    await db.query("rollback");
  }
  await db.query("begin");
  await db.admin("begin");
  await db.admin("select etl.claim_feeds('{things}')");
  await assert.rejects(undo(db, run), { code: "55P03", message: /^a run has things, / });
  await db.admin("rollback; begin; select etl.claim_tables('things')");
  await db.query("rollback");
  await assert.rejects(undo(db, run), { code: "55P03", message: /^a run has things, / });
  await db.admin("rollback");
  assert.deepEqual(await snapshot(db), before);
});
