/** The names of a header or of JSON keys: which column each means, and that no value is shown in place of a name. */
import assert from "node:assert/strict";
import type { Answer } from "../support/web.ts";
import { databaseAndWeb } from "../support/given.ts";

const table = "create table public.things (id text primary key, name text, v int)";
const blanks = [..."\u0020\t\u00a0\ufeff\u200b\u3000\u2060\u200e\u200f\u202a\u202e\u2066\u2069\ufe0f"];

type Columns = Record<string, unknown>;

/** Feeds that load the row ("1", "Ana", 7), and what of them is ignored. */
const loads: [name: string, body: Answer, feed?: Columns, ignored?: string[]][] = [
  ...blanks.map((blank): [string, string, Columns] => [
    `U+${blank.charCodeAt(0).toString(16)} around names`,
    `id${blank}|${blank}name|${blank}v${blank}${blank}\n1|Ana|7\n`,
    { delimiter: "|" },
  ]),
  ["blanks around quoted names", '"id "," name","v"\n1,Ana,7\n'],
  ["blanks around the keys of JSON", '[{"id":"1"," name":"Ana","v\\u00a0":7}]'],
  ["blanks around a name that is mapped", " No ,name,v\n1,Ana,7\n", { columns: { No: "id" } }],
  ["a mapping that spells the blanks", " No ,name,v\n1,Ana,7\n", { columns: { " No ": "id" } }],
  [
    "a near name that is mapped to another",
    "id,name,v,NAME\n1,Ana,7,Bo\n",
    { columns: { NAME: "ignored" } },
    ["NAME"],
  ],
  ["a near name beside the very name", "id,Name,name,V,v\n1,Bo,Ana,8,7\n", {}, ["Name", "V"]],
  ["a name twice that is no column", "id,x,name,x,v,x\n1,a,Ana,b,7,c\n", {}, ["x", "column 4", "column 6"]],
  ["columns without a name", ",id,name, ,v\n0,1,Ana,,7\n", {}, ["column 1"]],
  ["a column without a name beside one so called", ",id,name,column 1,v\n0,1,Ana,x,7\n", {}, [
    "column 1 (unnamed)",
    "column 1",
  ]],
  ["a delimiter at the end of each line", "id,name,v,\n1,Ana,7,\n"],
  [
    "a long name, which is cut",
    `id,name,v,${"x".repeat(300)}\n1,Ana,7,\n`,
    {},
    ["x".repeat(100)],
  ],
  [
    "more names than are shown",
    `id,name,v${Array.from({ length: 150 }, (_, n) => `,n${n}`).join("")}\n1,Ana,7${",".repeat(150)}\n`,
    {},
    [...Array.from({ length: 100 }, (_, n) => `n${n}`), "… and 50 more"],
  ],
];

Deno.test("names that differ from a column by the blanks around them are that column", async (t) => {
  await using given = await databaseAndWeb(table);
  const { db, web } = given;
  for (const [name, body, feed, ignored] of loads) {
    await t.step(name, async () => {
      await db.query("truncate public.things; delete from etl.feeds where name = 'things'; truncate etl.runs");
      web.files["/things"] = body;
      await db.feed("things", { url: `${web.url}/things`, ...feed });
      const report = await db.loadOne("things");
      assert.equal(report.error, null);
      assert.deepEqual(await db.query("select * from public.things"), [{ id: "1", name: "Ana", v: 7 }]);
      assert.deepEqual(report.ignored_columns, ignored ?? []);
      const [entry] = await db.query("select ignored_columns from etl.runs");
      assert.deepEqual(entry.ignored_columns, ignored ?? [], "the ledger keeps them");
    });
  }
});

const mapped = (columns: Columns) =>
  `update etl.feeds set columns = columns || '${
    JSON.stringify(columns).replaceAll(":", ": ").replaceAll(",", ", ")
  }' ` +
  "where name = 'things'";

Deno.test("a name that is a column but for case or blanks fails, and the hint's line mends it", async (t) => {
  const cases: [name: string, body: string, columns: Columns][] = [
    ["case, of the key", "ID,name,v\n1,Ana,7\n", { ID: "id" }],
    ["case, of all", "ID,Name,V\n1,Ana,7\n", { V: "v", ID: "id", Name: "name" }],
    ["a blank within", "id,na me,v\n1,Ana,7\n", { "na me": "name" }],
    ["case, in JSON", '[{"id":"1","Name":"Ana","V":7}]', { V: "v", Name: "name" }],
    ["case and a quote", "id,name,V'\n1,Ana,7\n", {}],
  ];
  await using given = await databaseAndWeb(table);
  const { db, web } = given;
  for (const [name, body, columns] of cases) {
    await t.step(name, async () => {
      await db.query("truncate public.things; delete from etl.feeds where name = 'things'");
      web.files["/things"] = body;
      await db.feed("things", { url: `${web.url}/things` });
      let report = await db.loadOne("things");
      if (Object.keys(columns).length === 0) return assert.equal(report.error, null);
      assert.equal(report.error?.code, "columns");
      assert.match(report.error!.message, /it spells a column otherwise than its table does: /);
      const line = /update .* where name = '\w+'/.exec(report.error!.hint!)![0];
      assert.equal(line, mapped(columns));
      assert.deepEqual(await db.query("select * from public.things"), []);
      await db.query(line);
      report = await db.loadOne("things");
      assert.equal(report.error, null);
      assert.deepEqual(await db.query("select * from public.things"), [{ id: "1", name: "Ana", v: 7 }]);
    });
  }
});

Deno.test("a name whose accents are encoded otherwise is near its column", async (t) => {
  const [composed, decomposed] = ["café", "cafe\u0301"];
  const bodies: [name: string, column: string, body: (name: string) => string][] = [
    ["of CSV", composed, (name) => `id,${name}\n1,7\n`],
    ["of CSV, decomposed in the table", decomposed, (name) => `id,${name}\n1,7\n`],
    ["of JSON, and in capitals", composed, (name) => `[{"id":"1","${name.toUpperCase()}":7}]`],
    ["of the key", composed, (name) => `${name}\n1\n`],
  ];
  await using given = await databaseAndWeb();
  const { db, web } = given;
  for (const [name, column, body] of bodies) {
    await t.step(name, async () => {
      await db.query(`drop table if exists public.things; create table public.things (id text, "${column}" int);
        alter table public.things add primary key (${name === "of the key" ? `"${column}"` : "id"})`);
      await db.feed("things", { url: `${web.url}/things`, columns: {} });
      web.files["/things"] = body(column === composed ? decomposed : composed);
      const { error } = await db.loadOne("things");
      assert.match(error!.message, /it spells a column otherwise than its table does: /);
      await db.query(/update .* where name = '\w+'/.exec(error!.hint!)![0]);
      const report = await db.loadOne("things");
      assert.deepEqual([report.error, report.inserted, report.ignored_columns], [null, 1, []]);
      assert.equal((await db.query("select * from public.things"))[0][column], name === "of the key" ? 1 : 7);
    });
  }
});

interface Late {
  /** What the first 1,000 records hold beside their id, and the last ones, as JSON. */
  first?: string;
  last: string[];
  columns?: Record<string, string>;
  /** v in the last ones; null for one that is rejected. */
  v?: (number | null)[];
  ignored?: string[];
  error?: RegExp;
}

const late: Record<string, Late> = {
  "its own name": { last: ['"v":7'], v: [7] },
  "its own name, beside another that is mapped": { last: ['"v":7'], columns: { fare_amount: "v" }, v: [7] },
  "one of two mapped names": { last: ['"fare_amount":7'], columns: { fare: "v", fare_amount: "v" }, v: [7] },
  "blanks around it": { last: ['" v ":7', '"v\\u00a0":8', '"\u202av\u202c":9'], v: [7, 8, 9] },
  "blanks around it, where others have it without": { first: '"v":1', last: ['"\\tv":7'], v: [7] },
  "blanks around it, where all is filled": { first: '"name":"a","v":1', last: ['"name":"b"," v ":7'], v: [7] },
  "an escape": { last: ['"\\u0076":7'], v: [7] },
  "blanks before its colon": { first: '"name":"a"', last: ['"name":"b","v"  :7', '"name":"b","v"\t:8'], v: [7, 8] },
  "another place among the usual ones": {
    first: '"name":"a","w":1',
    last: ['"v":7,"name":"b","w":1', '"name":"b","v":8'],
    v: [7, 8],
    ignored: ["w"],
  },
  "an end like that of a usual one": {
    first: '"name":"a"',
    last: ['"a\\"name":7'],
    columns: { 'a"name': "v" },
    v: [7],
  },
  "a place where a pattern would match any": {
    first: '"n_me":1',
    last: ['"name":7'],
    columns: { name: "v" },
    v: [7],
    ignored: ["n_me"],
  },
  "capitals": { last: ['"V":7'], error: /it spells a column otherwise than its table does: "V" for v$/ },
  "a name that the table lacks": { last: ['"x":7'], v: [0], ignored: ["x"] },
  "two names, each record with one of them": {
    first: '"fare_amount":1',
    last: ['"fare":7', '"fare_amount":8', '"fare":null,"fare_amount":9', '"fare":10,"fare_amount":null', '"v":11'],
    columns: { fare: "v", fare_amount: "v" },
    v: [7, 8, 9, 10, 11],
  },
  "two names, of which all but the last have one alone": {
    first: '"name":"a","fare_amount":1',
    last: ['"name":"b","fare_amount":null,"fare":7'],
    columns: { fare: "v", fare_amount: "v" },
    v: [7],
  },
  "two names in one record": {
    first: '"fare_amount":1',
    last: ['"fare":7,"fare_amount":8', '"fare":9'],
    columns: { fare: "v", fare_amount: "v" },
    v: [null, 9],
  },
  "a name twice but for blanks": { first: '"v":1', last: ['"v":7," v":7', '"v":8'], v: [null, 8] },
  "more names than a table has columns": {
    last: [Array.from({ length: 1601 }, (_, i) => `"k${i}":1`).join() + ',"v":7'],
    v: [7],
    // Beside those of the table the first hundred.
    ignored: Array.from({ length: 1601 }, (_, i) => `k${i}`).sort().slice(0, 99),
  },
};

Deno.test("a key of JSON counts wherever it comes first, and each record may use another of a column's names", async (t) => {
  await using given = await databaseAndWeb(table);
  const { db, web } = given;
  for (const [name, { first, last, columns, v, ignored, error }] of Object.entries(late)) {
    await t.step(name, async () => {
      await db.query("truncate public.things, etl.rejects; delete from etl.feeds where name = 'things'");
      const known = Array.from({ length: 1000 }, (_, i) => `{${[`"id":"${i}"`, first].filter(Boolean)}}`);
      web.files["/things"] = [...known, ...last.map((keys, i) => `{"id":"L${i}",${keys}}`)].join("\n");
      await db.feed("things", { url: `${web.url}/things`, columns: columns ?? {} });
      const report = await db.loadOne("things");
      if (error) {
        assert.match(report.error!.message, error);
        assert.ok(report.error!.hint);
        return;
      }
      assert.deepEqual([report.error, report.note, report.ignored_columns], [null, null, ignored ?? []]);
      const rows = await db.query("select coalesce(v, 0) as v from public.things where id like 'L%' order by id");
      assert.deepEqual(rows.map((row) => row.v), v!.filter((one) => one !== null));
      const rejects = await db.query(
        "select record_number::int, column_name, value, reason, sqlstate from etl.rejects",
      );
      const expected = v!.flatMap((one, i) => one === null ? [1001 + i] : []);
      assert.deepEqual(rejects.map((r) => [r.record_number, r.column_name, r.value, r.sqlstate]), [
        ...expected.map((n) => [n, "v", columns ? "8" : "7", "22032"]),
      ]);
      for (const { reason } of rejects) {
        assert.match(reason, /^has a value under more than one name: (fare_amount, fare|v, " v")$/);
      }
      assert.equal((await db.loadOne("things", { force: true })).status, "unchanged");
    });
  }
});

Deno.test("a record of changes under a column's other name waits, and loads once its value is one", async () => {
  await using given = await databaseAndWeb(table);
  const { db, web } = given;
  web.files["/things"] = '{"id":"1","fare":"one"}\n{"id":"2","fare_amount":"two"}\n{"id":"3","fare":3}\n' +
    '{"id":"4","fare":4,"fare_amount":4}\n';
  await db.feed("things", {
    url: `${web.url}/things`,
    columns: { fare: "v", fare_amount: "v" },
    contents: "changes",
    reject_limit: 1,
  });
  assert.deepEqual((await db.loadOne("things")).rejected, 3);
  await db.query("alter table public.things alter column v type text");
  web.files["/things"] = '{"id":"4","fare":5}\n';
  const report = await db.loadOne("things");
  assert.deepEqual([report.error, report.rejected], [null, 0]);
  assert.deepEqual(await db.query("select id, v from public.things order by id"), [
    { id: "1", v: "one" },
    { id: "2", v: "two" },
    { id: "3", v: "3" },
    { id: "4", v: "5" },
  ]);
});

const secret = ["drv-1", "Ana Díaz", "ana@example.org"];

/** A record where names should be. */
const values: Record<string, [body: string, feed?: Columns]> = {
  "no header line": [`${secret}\nd-2,Bo,bo@example.org\n`],
  "no header line, one value twice": [`drv-1,Ana Díaz,drv-1,ana@example.org\n`],
  "no header line, an empty value": [`drv-1,,Ana Díaz,ana@example.org,\n`],
  "no header line, a quote amiss": [`drv-1,Ana "Díaz",ana@example.org\n`],
  "no header line, a quote that does not close": [`drv-1,"Ana Díaz,ana@example.org\n`],
  "no header line, Latin-1": [`drv-1,Ana D\xcdaz,ana@example.org\n`],
  "one line of one value": ["ana@example.org\n"],
  "objects by their ids": [`[{"drv-1":{"name":"Ana Díaz"},"ana@example.org":{}}]`],
  "objects by their ids, without an array": [`{"drv-1":{"name":"Ana Díaz"},"ana@example.org":{}}`],
  "an array of arrays": [`[["drv-1","Ana Díaz","ana@example.org"]]`, { reject_limit: 0 }],
  "more fields than there are columns in Postgres": [Array(1700).fill("ana@example.org").join() + "\n"],
};

Deno.test("no value of a file is in an answer, a hint or the ledger", async (t) => {
  await using given = await databaseAndWeb(table);
  const { db, web } = given;
  for (const [name, [body, feed]] of Object.entries(values)) {
    await t.step(name, async () => {
      await db.query("delete from etl.feeds where name = 'things'; truncate etl.runs");
      const bytes = /Latin/.test(name) ? Uint8Array.from(body, (c) => c.charCodeAt(0)) : body;
      web.files["/things"] = () => new Response(bytes);
      await db.feed("things", { url: `${web.url}/things`, ...feed });
      const report = await db.loadOne("things");
      assert.equal(report.status, "failed");
      assert.ok(report.error!.hint);
      const ledger = await db.query("select r::text from etl.runs r");
      assert.equal(ledger.length, 1);
      assert.doesNotMatch(JSON.stringify([report, ledger]), /drv-1|Ana|D.az|example\.org/);
    });
  }
});

Deno.test("what Postgres says of a value is in no answer either", async (t) => {
  const rules = {
    "an index": "create index on public.things ((name::int))",
    "a CHECK": "alter table public.things add check (name::int > 0)",
    "a generated column": "alter table public.things add n int generated always as (name::int) stored",
    "a deferred trigger": `create function public.refuse() returns trigger language plpgsql as $$
        begin raise exception 'no %', new.name using hint = new.id, detail = new.name; end $$;
      create constraint trigger refuse after insert on public.things deferrable initially deferred
        for each row execute function public.refuse()`,
  };
  for (const [name, rule] of Object.entries(rules)) {
    await t.step(name, async () => {
      await using given = await databaseAndWeb(`${table}; ${rule}`);
      const { db, web } = given;
      web.files["/things"] = "id,name\nd-1,Ana\nd-1a,Ana Díaz\n";
      await db.feed("things", { url: `${web.url}/things`, reject_limit: 0.1 });
      const report = await db.loadOne("things");
      assert.equal(report.error?.code, "too_many_rejects");
      assert.doesNotMatch(JSON.stringify([report, await db.query("select r::text from etl.runs r")]), /drv-1|Ana/);
    });
  }
});
