/** Rows that a file of all no longer holds: what goes, what stays and why, and what is withheld. */
import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import net from "node:net";
import { countsOf } from "../support/counts.ts";
import { databaseAndWeb } from "../support/given.ts";
import { snapshot } from "../support/snapshot.ts";
import type { Answer } from "../support/web.ts";

const csv = (columns: string, ...lines: string[]) => [columns, ...lines, ""].join("\n");
const plain =
  "create table public.things (id int primary key, size numeric check (size > 0), absent_since timestamptz);";

interface Step {
  sql?: string;
  file?: Answer;
  force?: boolean;
  /** read, inserted, updated, unchanged, duplicate, rejected. */
  counts: number[];
  deleted?: number;
  withheld?: [number, RegExp];
  /** All keys; those of marked rows in brackets. */
  rows: string;
  /** Key and reason of the rows that stay though the file lacks them. */
  kept?: [Record<string, unknown>, RegExp][];
  status?: string;
  error?: RegExp;
}

interface Case {
  name: string;
  tables?: string;
  columns?: Record<string, unknown>;
  steps: Step[];
  /** What is done as the superuser, before. */
  admin?: string;
}

const ten = (...but: number[]) =>
  csv("id,size", ...[1, 2, 3, 4, 5, 6, 7, 8, 9, 10].filter((id) => !but.includes(id)).map((id) => `${id},${id}`));
const first: Step = { file: ten(), counts: [10, 10, 0, 0, 0, 0], rows: "1 2 3 4 5 6 7 8 9 10" };
const tooMany = (has: number, limit = 10) => new RegExp(`^etl\\.feeds\\.absent_limit is ${limit} % of ${has} rows$`);
const refers = (table: string) => new RegExp(`^is absent from the file, but rows refer to it in ${table}$`);

const cases: Case[] = [
  {
    name: "up to the limit they are deleted, and nothing else is touched",
    steps: [
      first,
      { file: ten(3), counts: [9, 0, 0, 9, 0, 0], deleted: 1, rows: "1 2 4 5 6 7 8 9 10" },
      { file: ten(), counts: [10, 1, 0, 9, 0, 0], rows: "1 2 3 4 5 6 7 8 9 10" },
    ],
  },
  {
    name: "keep is the default",
    columns: { absent: "keep" },
    steps: [first, { file: ten(1, 2, 3, 4, 5), counts: [5, 0, 0, 5, 0, 0], rows: "1 2 3 4 5 6 7 8 9 10" }],
  },
  {
    name: "above the limit what is new loads, and they are withheld until somebody permits so many",
    steps: [
      first,
      {
        file: ten(1, 2) + "11,11\n",
        counts: [9, 1, 0, 8, 0, 0],
        withheld: [2, tooMany(10)],
        rows: "1 2 3 4 5 6 7 8 9 10 11",
      },
      { counts: [0, 0, 0, 0, 0, 0], rows: "1 2 3 4 5 6 7 8 9 10 11", status: "unchanged" },
      { sql: "select etl.approve('things')", counts: [9, 0, 0, 9, 0, 0], deleted: 2, rows: "3 4 5 6 7 8 9 10 11" },
      // Used up.
      {
        file: ten(1, 2, 3, 4) + "11,11\n",
        counts: [7, 0, 0, 7, 0, 0],
        withheld: [2, tooMany(9)],
        rows: "3 4 5 6 7 8 9 10 11",
      },
    ],
  },
  {
    name: "what was permitted is no more than what was shown, and lapses with a file that needs it not",
    steps: [
      first,
      { file: ten(1, 2), counts: [8, 0, 0, 8, 0, 0], withheld: [2, tooMany(10)], rows: "1 2 3 4 5 6 7 8 9 10" },
      {
        sql: "select etl.approve('things')",
        file: ten(1, 2, 3),
        counts: [7, 0, 0, 7, 0, 0],
        withheld: [3, tooMany(10)],
        rows: "1 2 3 4 5 6 7 8 9 10",
      },
      { file: ten(), counts: [10, 0, 0, 10, 0, 0], rows: "1 2 3 4 5 6 7 8 9 10" },
      { file: ten(1, 2), counts: [8, 0, 0, 8, 0, 0], withheld: [2, tooMany(10)], rows: "1 2 3 4 5 6 7 8 9 10" },
    ],
  },
  {
    name: "a header alone lacks all of them, which a limit of 1 allows",
    steps: [
      first,
      { file: "id,size\n", counts: [0, 0, 0, 0, 0, 0], withheld: [10, tooMany(10)], rows: "1 2 3 4 5 6 7 8 9 10" },
      { sql: "update etl.feeds set absent_limit = 1", counts: [0, 0, 0, 0, 0, 0], deleted: 10, rows: "" },
    ],
  },
  {
    name: "an empty array, too, and one without an object",
    columns: { absent_limit: 1, reject_limit: 1 },
    steps: [
      first,
      {
        file: "[5]",
        counts: [1, 0, 0, 0, 0, 1],
        withheld: [10, /^the keys of 1 rejected records cannot be read$/],
        rows: "1 2 3 4 5 6 7 8 9 10",
      },
      { file: "[]", counts: [0, 0, 0, 0, 0, 0], deleted: 10, rows: "" },
    ],
  },
  {
    name: "a file of other rows altogether takes none away, however many it brings",
    steps: [
      first,
      {
        file: csv("id,size", ...Array.from({ length: 200 }, (_, i) => `${i + 11},1`)),
        counts: [200, 200, 0, 0, 0, 0],
        withheld: [10, tooMany(10)],
        rows: Array.from({ length: 210 }, (_, i) => i + 1).join(" "),
      },
    ],
  },
  {
    name: "duplicates and rejects are there, by their keys as the index finds them",
    columns: { reject_limit: 1 },
    steps: [
      first,
      {
        file: ten(3, 4, 5) + "03,0\n 4,x\n5,5\n5,5\n",
        counts: [11, 0, 0, 9, 0, 2],
        rows: "1 2 3 4 5 6 7 8 9 10",
      },
      {
        file: ten(3, 4, 5) + "03,0\n5,5\n",
        counts: [9, 0, 0, 8, 0, 1],
        deleted: 1,
        rows: "1 2 3 5 6 7 8 9 10",
      },
    ],
  },
  {
    name: "where the key of a reject cannot be read it may be any of them",
    columns: { reject_limit: 1 },
    steps: [
      first,
      ...["x,4", ",4", "4"].map((line): Step => ({
        file: ten(4) + `${line}\n`,
        counts: [10, 0, 0, 9, 0, 1],
        withheld: [1, /^the keys of 1 rejected records cannot be read$/],
        rows: "1 2 3 4 5 6 7 8 9 10",
      })),
      { file: ten(4), counts: [9, 0, 0, 9, 0, 0], deleted: 1, rows: "1 2 3 5 6 7 8 9 10" },
    ],
  },
  {
    name: "marked, they stay; one that comes back is no longer marked, and is updated",
    columns: { absent: "mark", absent_limit: 0.2 },
    steps: [
      first,
      { file: ten(3, 4), counts: [8, 0, 0, 8, 0, 0], deleted: 2, rows: "1 2 (3) (4) 5 6 7 8 9 10" },
      { file: ten(3, 4, 5), counts: [7, 0, 0, 7, 0, 0], deleted: 1, rows: "1 2 (3) (4) (5) 6 7 8 9 10" },
      { file: ten(4, 5) + "11,\n", counts: [9, 1, 1, 7, 0, 0], rows: "1 2 3 (4) (5) 6 7 8 9 10 11" },
      // Of 9 that are not marked: what is marked makes no limit larger.
      {
        file: ten(1, 2, 4, 5),
        counts: [6, 0, 0, 6, 0, 0],
        withheld: [3, tooMany(9, 20)],
        rows: "1 2 3 (4) (5) 6 7 8 9 10 11",
      },
    ],
  },
  {
    name: "marked by JSON, with a reject that comes back",
    columns: { absent: "mark", absent_limit: 0.5, reject_limit: 1 },
    steps: [
      { file: '[{"id": 1, "size": 1}, {"id": 2, "size": 2}]', counts: [2, 2, 0, 0, 0, 0], rows: "1 2" },
      { file: '[{"id": 1, "size": 1}]', counts: [1, 0, 0, 1, 0, 0], deleted: 1, rows: "1 (2)" },
      {
        file: '[{"id": 1, "size": 1}, {"id": 2, "size": 0}]',
        counts: [2, 0, 0, 1, 0, 1],
        rows: "1 (2)",
        status: "changed",
      },
      { file: '[{"id": 1, "size": 1}, {"id": 2, "size": 3}]', counts: [2, 0, 1, 1, 0, 0], rows: "1 2" },
    ],
  },
  {
    name: "what other rows refer to stays, also where the key would cascade, and goes once they are gone",
    columns: { absent_limit: 1 },
    tables: `${plain}
      create table public.parts (id int primary key, thing_id int references public.things on delete cascade);
      create table public.notes (id int primary key, thing_id int references public.things on delete set null);`,
    steps: [
      first,
      {
        sql: "insert into public.parts values (1, 1), (2, 1), (3, 2); insert into public.notes values (1, 1), (2, 3)",
        file: ten(1, 2, 3, 4),
        counts: [6, 0, 0, 6, 0, 0],
        deleted: 1,
        rows: "1 2 3 5 6 7 8 9 10",
        kept: [[{ id: 1 }, refers("public.notes")], [{ id: 2 }, refers("public.parts")], [
          { id: 3 },
          refers("public.notes"),
        ]],
      },
      {
        sql: "delete from public.notes where id = 1; update etl.feeds set absent_limit = 0",
        file: ten(1, 2, 4),
        counts: [7, 0, 0, 7, 0, 0],
        rows: "1 2 3 5 6 7 8 9 10",
        kept: [[{ id: 1 }, refers("public.parts")], [{ id: 2 }, refers("public.parts")]],
        status: "changed",
      },
      {
        sql: "delete from public.parts",
        counts: [7, 0, 0, 7, 0, 0],
        deleted: 2,
        rows: "3 5 6 7 8 9 10",
      },
      { sql: "update etl.feeds set absent = 'keep'", counts: [7, 0, 0, 7, 0, 0], rows: "3 5 6 7 8 9 10" },
    ],
  },
  {
    name: "rejects without a number go where absent rows are kept",
    columns: { absent_limit: 1 },
    tables: `${plain} create table public.parts (thing_id int references public.things);`,
    steps: [
      first,
      {
        sql: "insert into public.parts values (1)",
        file: ten(1),
        counts: [9, 0, 0, 9, 0, 0],
        rows: "1 2 3 4 5 6 7 8 9 10",
        kept: [[{ id: 1 }, refers("public.parts")]],
        status: "changed",
      },
      {
        sql: "update etl.feeds set absent = 'keep', contents = 'changes'",
        counts: [9, 0, 0, 9, 0, 0],
        rows: "1 2 3 4 5 6 7 8 9 10",
        status: "changed",
      },
    ],
  },
  {
    name: "a tree: children go with their parent, and a parent stays whose child stays",
    columns: { absent_limit: 1 },
    tables: `create table public.things (
        id int primary key, parent_id int references public.things on delete restrict, absent_since timestamptz
      );
      create table public.parts (thing_id int references public.things);`,
    steps: [
      {
        file: csv("id,parent_id", "1,", "2,1", "3,2", "4,", "5,4", "6,", "7,6", "8,"),
        counts: [8, 8, 0, 0, 0, 0],
        rows: "1 2 3 4 5 6 7 8",
      },
      {
        sql: "insert into public.parts values (5)",
        file: csv("id,parent_id", "7,6", "8,"),
        counts: [2, 0, 0, 2, 0, 0],
        deleted: 3,
        rows: "4 5 6 7 8",
        kept: [
          [{ id: 4 }, refers("public.things")],
          [{ id: 5 }, refers("public.parts")],
          [{ id: 6 }, refers("public.things")],
        ],
      },
    ],
  },
  {
    name: "a trigger refuses some, and the others go",
    columns: { absent_limit: 1 },
    tables: `${plain} alter table public.things add column parent_id int references public.things;
      create function public.refuse() returns trigger language plpgsql as $$
        begin if old.id % 4 = 0 then raise exception 'no, not %', old.id; end if; return old; end $$;
      create trigger refuse before delete on public.things for each row execute function public.refuse();`,
    steps: [
      first,
      {
        sql:
          "update public.things set parent_id = 1 where id = 2; update public.things set parent_id = 8 where id = 10",
        file: ten(1, 2, 3, 4, 8),
        counts: [5, 0, 0, 5, 0, 0],
        deleted: 3,
        rows: "4 5 6 7 8 9 10",
        kept: [[{ id: 4 }, /^is refused by a trigger: no, not 4$/], [{ id: 8 }, refers("public.things")]],
      },
    ],
  },
  {
    name: "a trigger that keeps them without a word fails the feed",
    columns: { absent_limit: 1 },
    tables: `${plain}
      create function public.hush() returns trigger language plpgsql as $$ begin return null; end $$;
      create trigger hush before delete on public.things for each row execute function public.hush();`,
    steps: [
      first,
      {
        file: ten(1),
        counts: [0, 0, 0, 0, 0, 0],
        error: /1 of 1 rows that the file lacks were not removed/,
        rows: "1 2 3 4 5 6 7 8 9 10",
      },
    ],
  },
  {
    name: "keys of several columns, citext and partitions",
    columns: { absent_limit: 0.5 },
    admin: "create extension citext schema public",
    tables: `create table public.things (
        id public.citext collate "C", day date, size int, absent_since timestamptz, primary key (day, id)
      ) partition by range (day);
      create table public.things_1 partition of public.things for values from ('2021-01-01') to ('2021-02-01');
      create table public.things_2 partition of public.things default;`,
    steps: [
      {
        file: csv("id,day,size", "a,2021-01-01,1", "b,2021-01-01,2", "a,2021-02-01,3", "b,2021-02-01,4"),
        counts: [4, 4, 0, 0, 0, 0],
        rows: "a a b b",
      },
      {
        file: csv("id,day,size", "A,2021-01-01,1", "B,20210101,2", "b,2021-02-01,5"),
        counts: [3, 0, 1, 2, 0, 0],
        deleted: 1,
        rows: "a b b",
      },
    ],
  },
  {
    name: "two feeds of one table, or no column to mark them in",
    steps: [
      first,
      {
        sql: "insert into etl.feeds (name, url, target) values ('others', 'http://127.0.0.1/', 'public.things')",
        file: ten(1),
        counts: [0, 0, 0, 0, 0, 0],
        error: /^Cannot load things: its rows may be those of others, which loads the same table$/,
        rows: "1 2 3 4 5 6 7 8 9 10",
      },
      {
        sql:
          "delete from etl.feeds where name = 'others'; update etl.feeds set absent = 'mark'; alter table public.things drop column absent_since",
        file: ten(1),
        counts: [0, 0, 0, 0, 0, 0],
        error: /^Cannot load things: its table public\.things has no column absent_since /,
        rows: "1 2 3 4 5 6 7 8 9 10",
      },
      {
        sql: "alter table public.things add column absent_since timestamptz",
        file: csv("id,absent_since", "1,"),
        counts: [0, 0, 0, 0, 0, 0],
        error: /^Cannot load things: it has a column absent_since/,
        rows: "1 2 3 4 5 6 7 8 9 10",
      },
    ],
  },
];

for (const { name, tables = plain, columns, admin, steps } of cases) {
  Deno.test(`rows that a file lacks: ${name}`, async () => {
    await using at = await databaseAndWeb("", {}, true);
    const { db, web } = at;
    if (admin) await db.admin(admin);
    await db.query(tables);
    await db.feed("things", { url: `${web.url}/things`, absent: "delete", ...columns });
    for (const [i, step] of steps.entries()) {
      const told = `step ${i + 1}`;
      if (step.sql) await db.query(step.sql);
      if (step.file !== undefined) web.files["/things"] = step.file;
      const report = await db.loadOne("things");
      if (step.error) assert.match(report.error?.message ?? "none", step.error, told);
      else assert.equal(report.error, null, told);
      assert.deepEqual(countsOf(report), step.counts, told);
      assert.equal(report.deleted, step.deleted ?? 0, `${told}: deleted`);
      const [withheld, why] = step.withheld ?? [0, null];
      assert.equal(report.withheld?.rows ?? 0, withheld, `${told}: withheld`);
      assert.match(report.withheld?.why ?? "", why ?? /^$/, told);
      if (step.status) assert.equal(report.status, step.status, told);
      const marked = "to_jsonb(t) ->> 'absent_since' is not null";
      const [{ ids }] = await db.query(
        `select coalesce(string_agg(case when ${marked} then '(' || id || ')' else id::text end, ' ' order by id), '') as ids
        from public.things t`,
      );
      assert.equal(ids, step.rows, told);
      const kept = await db.query("select record, reason from etl.rejects where record_number is null order by record");
      assert.deepEqual(kept.map(({ record }) => record), (step.kept ?? []).map(([key]) => key), told);
      step.kept?.forEach(([, reason], n) => assert.match(kept[n].reason, reason, told));
      if (step.error) continue;
      const [state] = await db.query("select withheld::int, withheld_why from etl.feed_state where feed = 'things'");
      if (report.read > 0) assert.deepEqual(state, { withheld, withheld_why: report.withheld?.why ?? null }, told);
      const [{ entered = 0 } = {}] = await db.query("select deleted::int as entered from etl.runs where run = $1", [
        (await db.query("select run from etl.runs order by started_at desc limit 1"))[0].run,
      ]);
      if (report.status === "changed") assert.equal(entered, report.deleted, told);

      const before = await snapshot(db);
      for (const force of [false, true]) {
        const again = await db.loadOne("things", { force });
        assert.deepEqual([again.error, again.status, again.deleted], [null, "unchanged", 0], `${told}: nothing is new`);
        assert.deepEqual(await snapshot(db), before, `${told}: and nothing is written`);
      }
    }
  });
}

/** A server that says a body's length, sends it in chunks, or merely closes the connection after it. */
async function bareServer() {
  let answer: Uint8Array = new Uint8Array();
  const server = net.createServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", () => socket.end(answer));
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const { port } = server.address() as net.AddressInfo;
  const encoder = new TextEncoder();
  return {
    url: `http://127.0.0.1:${port}/things`,
    answer(headers: string, body: Uint8Array) {
      const head = encoder.encode(`HTTP/1.1 200 OK\r\nconnection: close\r\n${headers}\r\n`);
      answer = new Uint8Array([...head, ...body]);
    },
    [Symbol.asyncDispose]: () => new Promise<void>((closed) => server.close(() => closed())),
  };
}

Deno.test("a file is whole where its end is known: by its length, the last chunk, its packing, or its bracket", async () => {
  await using at = await databaseAndWeb(plain);
  await using server = await bareServer();
  const { db } = at;
  await db.feed("things", { url: server.url, absent: "delete", absent_limit: 1 });
  const bytes = (text: string) => new TextEncoder().encode(text);
  const chunks = (text: string) => bytes(`${text.length.toString(16)}\r\n${text}\r\n0\r\n\r\n`);
  const body = "id,size\n2,2\n";
  const ways: [string, string, Uint8Array, boolean][] = [
    ["a length", `content-length: ${body.length}\r\n`, bytes(body), true],
    ["chunks", "transfer-encoding: chunked\r\n", chunks(body), true],
    ["gzip", "", gzipSync(body), true],
    ["an array", "", bytes('[{"id": 2, "size": 2}]'), true],
    ["plain CSV", "", bytes(body), false],
    ["lines of JSON", "", bytes('{"id": 2, "size": 2}\n'), false],
  ];
  for (const [way, headers, sent, isWhole] of ways) {
    await db.query("truncate public.things; insert into public.things values (1, 1), (2, 2)");
    server.answer(headers, sent);
    const { error, deleted, withheld } = await db.loadOne("things", { force: true });
    assert.deepEqual([error, deleted, withheld?.rows ?? 0], [null, isWhole ? 1 : 0, isWhole ? 0 : 1], way);
    if (!isWhole) assert.match(withheld!.why, /^nothing tells that the file is whole/, way);
  }
  assert.equal(
    (await db.query("select etl.approve('things')"))[0].approve,
    "The next run may delete up to 1 rows of public.things.",
  );
  assert.equal((await db.loadOne("things")).deleted, 1, "somebody has looked, and has permitted it");
  assert.equal((await db.query("select etl.approve('things')"))[0].approve, "There is nothing to accept.");
  await assert.rejects(db.query("select etl.approve('thing')"), { code: "ETL01" });
});

Deno.test("a dry run tells what would go, and uses up no permission", async () => {
  await using at = await databaseAndWeb(plain, { "/things": ten() });
  const { db, web } = at;
  await db.feed("things", { url: `${web.url}/things`, absent: "delete" });
  await db.loadOne("things");
  web.files["/things"] = ten(1, 2);
  assert.equal((await db.loadOne("things")).withheld?.rows, 2);
  await db.query("select etl.approve('things')");
  const before = await snapshot(db);
  assert.equal((await db.loadOne("things", { dryRun: true })).deleted, 2);
  assert.deepEqual(await snapshot(db), before);
  assert.equal((await db.loadOne("things")).deleted, 2);
});

Deno.test("health says how many rows are withheld, why, and how to have them go", async () => {
  await using at = await databaseAndWeb(plain, { "/things": ten() });
  const { db, web } = at;
  await db.feed("things", { url: `${web.url}/things`, absent: "delete", shrink_limit: 1 });
  const health = async () =>
    (await db.query("select verdict, message, hint, open_rejects::int from etl.health() where feed = 'things'"))[0];
  await db.loadOne("things");
  assert.equal((await health()).verdict, "ok");
  web.files["/things"] = ten(1, 2, 3);
  await db.loadOne("things");
  const { verdict, message, hint } = await health();
  assert.deepEqual([verdict, hint], ["shrunk", "select etl.approve('things');"]);
  assert.match(
    message,
    /^Rows of public\.things that it lacks and that stay: 3, for etl\.feeds\.absent_limit is 10 % of 10 rows\. If the file is right as it is: select etl\.approve\('things'\)/,
  );
  await db.query(hint);
  await db.loadOne("things");
  assert.equal((await health()).verdict, "ok");
});
