/**
 * Kinds of tables, keys and values on which loaders are known to fail. Each case lists the siblings of its kind: what
 * the table is, the files in the order of their coming, and what must be there after each.
 */
import assert from "node:assert/strict";
import { type Database, freshDatabase } from "../support/database.ts";
import { snapshot } from "../support/snapshot.ts";
import { serve } from "../support/web.ts";

interface Step {
  file: string;
  /** The rows of t.x as Postgres prints them, in their order. */
  rows: string[];
  /** Record number, column, SQLSTATE, reason. */
  rejects?: [number, string | null, string, RegExp][];
  counts?: Record<string, number>;
  /** The error of the feed. */
  error?: [code: string, message: RegExp];
  /** The same file again writes nothing, forced or not; false where a reject heals by the next run. */
  settled?: boolean;
}

interface Case {
  sql: string;
  /** Files, and what is done by hand between them. */
  steps: (Step | string)[];
  feed?: Record<string, unknown>;
  /** A query, and the one row that it must give at the end. */
  also?: Record<string, string>;
}

const x = (columns: string) => `create table t.x (${columns});`;

const csv = (cell: string) => `"${cell.replaceAll('"', '""')}"`;
/** As Postgres prints a text in a row. */
const row = (cell: string) => /[\\", ]/.test(cell) ? `"${cell.replaceAll("\\", "\\\\").replaceAll('"', '""')}"` : cell;

const ours = (
  "t d r c s o e g p cells rule typed place kept etl_staged etl_exists etl_known etl_value etl_rejected record"
).split(" ");

const cases: Record<string, Case> = {
  // A unique value that moves, while a foreign key refers to it.
  "on update cascade, in the table itself: a swap is refused, and no reference is lost": {
    sql: x("id int primary key, code text unique, parent text references t.x (code) on update cascade"),
    steps: [
      { file: "id,code,parent\n1,a,\n2,b,\n3,c,a\n", rows: ["(1,a,)", "(2,b,)", "(3,c,a)"] },
      {
        file: "id,code,parent\n1,b,\n2,a,\n3,c,a\n",
        rows: ["(1,a,)", "(2,b,)", "(3,c,a)"],
        rejects: [[1, "code", "23505", /^is another row's still, and rows refer to it$/], [
          2,
          "code",
          "23505",
          /still/,
        ]],
      },
    ],
  },
  ...Object.fromEntries(
    ["cascade", "set null", "set default"].flatMap((action): [string, Case][] => [
      [`on update ${action}, in the table itself: what the same file says of a child does not follow in silence`, {
        sql: x(
          `id int primary key, code text unique, parent text default 'd' references t.x (code) on update ${action}, n int`,
        ),
        steps: [
          { file: "id,code,parent,n\n1,a,,0\n3,c,a,0\n4,d,,0\n", rows: ["(1,a,,0)", "(3,c,a,0)", "(4,d,,0)"] },
          {
            file: "id,code,parent,n\n1,z,,0\n3,c,a,0\n4,d,,1\n",
            rows: ["(1,a,,0)", "(3,c,a,0)", "(4,d,,1)"],
            rejects: [[1, "code", "23503", /^gives up what a row refers to in t\.x$/]],
          },
          { file: "id,code,parent,n\n1,z,,0\n3,c,z,0\n4,d,,1\n", rows: ["(1,z,,0)", "(3,c,z,0)", "(4,d,,1)"] },
        ],
      }],
      [`on update ${action}, in the table itself: a child of which the file says nothing follows`, {
        sql: x(
          `id int primary key, code text unique, parent text default 'd' references t.x (code) on update ${action}`,
        ),
        steps: [
          { file: "id,code,parent\n1,a,\n3,c,a\n4,d,\n", rows: ["(1,a,)", "(3,c,a)", "(4,d,)"] },
          {
            file: "id,code\n1,z\n3,c\n4,d\n",
            rows: ["(1,z,)", `(3,c,${{ cascade: "z", "set null": "", "set default": "d" }[action]})`, "(4,d,)"],
          },
          {
            file: "id,code,parent\n1,y,\n",
            rows: [
              "(1,y,)",
              `(3,c,${{ cascade: "y", "set null": "", "set default": "d" }[action]})`,
              "(4,d,)",
            ],
          },
        ],
      }],
    ]),
  ),
  "on update cascade, in the table itself, beside dates of an order": {
    sql: x("id int primary key, code text unique, parent text references t.x (code) on update cascade, d date"),
    feed: { date_order: "dmy" },
    steps: [
      {
        file: "id,code,parent,d\n1,a,,31/01/2021\n3,c,a,03/04/2021\n",
        rows: ["(1,a,,2021-01-31)", "(3,c,a,2021-04-03)"],
      },
      {
        file: "id,code,parent,d\n1,z,,31/01/2021\n3,c,a,03/04/2021\n",
        rows: ["(1,a,,2021-01-31)", "(3,c,a,2021-04-03)"],
        rejects: [[1, "code", "23503", /^gives up/]],
      },
    ],
  },
  "on update cascade, from another table: the reference follows its row, and the value moves in the next run": {
    sql: `${x("id int primary key, code text unique")}
      create table t.c (code text references t.x (code) on update cascade);`,
    also: { "select c::text as row from t.c": "(z)" },
    steps: [
      { file: "id,code\n1,a\n2,b\n", rows: ["(1,a)", "(2,b)"] },
      "insert into t.c values ('a')",
      {
        file: "id,code\n1,z\n2,a\n",
        rows: ["(1,z)", "(2,b)"],
        rejects: [[2, "code", "23505", /^is another row's still, and rows refer to it$/]],
        settled: false,
      },
      { file: "id,code\n1,z\n2,a\n", rows: ["(1,z)", "(2,a)"] },
    ],
  },
  "on update cascade, from a NOT NULL column": {
    sql: `${x("id int primary key, code text unique")}
      create table t.c (code text not null references t.x (code) on update cascade);`,
    also: { "select c::text as row from t.c": "(z)" },
    steps: [
      { file: "id,code\n1,a\n2,b\n", rows: ["(1,a)", "(2,b)"] },
      "insert into t.c values ('a')",
      {
        file: "id,code\n1,z\n2,a\n",
        rows: ["(1,z)", "(2,b)"],
        rejects: [[2, "code", "23505", /still/]],
        settled: false,
      },
    ],
  },
  "on update cascade, and a second unique index over the same column": {
    sql: `${x("id int primary key, code text unique, parent text references t.x (code) on update cascade")}
      create unique index on t.x (lower(code));`,
    steps: [
      { file: "id,code,parent\n1,Ab,\n2,b,\n3,c,Ab\n", rows: ["(1,Ab,)", "(2,b,)", "(3,c,Ab)"] },
      { file: "id,code\n1,z\n2,ab\n3,c\n", rows: ["(1,z,)", "(2,ab,)", "(3,c,z)"] },
    ],
  },
  "a value that moves beneath an expression that makes no null of a null": {
    sql: `${x("id int primary key, code text")} create unique index on t.x (coalesce(code, 'none'));`,
    steps: [
      { file: "id,code\n1,a\n2,b\n", rows: ["(1,a)", "(2,b)"] },
      { file: "id,code\n1,b\n2,a\n", rows: ["(1,b)", "(2,a)"] },
    ],
  },
  "a value that moves beneath two indexes, to one of which two nulls are the same": {
    sql: `${x("id int primary key, code text not null")}
      create unique index a on t.x (code); create unique index b on t.x (code) nulls not distinct;`,
    steps: [
      { file: "id,code\n1,a\n2,b\n3,c\n", rows: ["(1,a)", "(2,b)", "(3,c)"] },
      { file: "id,code\n1,b\n2,c\n3,a\n", rows: ["(1,b)", "(2,c)", "(3,a)"] },
    ],
  },
  "a value that moves beneath a condition that holds of a null": {
    sql: `${x("id int primary key, code text, gone int")} create unique index on t.x (code) where gone is null;`,
    steps: [
      { file: "id,code,gone\n1,a,\n2,a,5\n", rows: ["(1,a,)", "(2,a,5)"] },
      { file: "id,gone\n1,5\n2,\n", rows: ["(1,a,5)", "(2,a,)"] },
    ],
  },
  "new and known rows that refer to what the others get": {
    sql: x("id int primary key, code text unique, parent text references t.x (code)"),
    steps: [
      { file: "id,code,parent\n1,a,\n", rows: ["(1,a,)"] },
      {
        file: "id,code,parent\n1,b,c\n2,c,b\n",
        rows: ["(1,b,c)", "(2,c,b)"],
        counts: { inserted: 1, updated: 1 },
      },
    ],
  },
  "no action, in the table itself, by a feed that changes the child and does not carry its reference": {
    sql: x("id int primary key, code text unique, parent text references t.x (code), v int"),
    steps: [
      { file: "id,code,parent,v\n1,a,,1\n2,b,,1\n3,c,a,1\n", rows: ["(1,a,,1)", "(2,b,,1)", "(3,c,a,1)"] },
      {
        file: "id,code,v\n1,z,2\n2,y,2\n3,c,2\n",
        rows: ["(1,a,,1)", "(2,y,,2)", "(3,c,a,2)"],
        rejects: [[1, "code", "23503", /^gives up what a row refers to in t\.x$/]],
      },
    ],
  },
  "on update cascade, in the table itself, by such a feed": {
    sql: x("id int primary key, code text unique, parent text references t.x (code) on update cascade, v int"),
    steps: [
      { file: "id,code,parent,v\n1,a,,1\n3,c,a,1\n", rows: ["(1,a,,1)", "(3,c,a,1)"] },
      { file: "id,code,v\n1,z,2\n3,c,2\n", rows: ["(1,z,,2)", "(3,c,z,2)"] },
    ],
  },
  "a partition by itself, beneath a table that refers to another": {
    sql: `create table t.p (id int primary key); insert into t.p values (1);
      create table t.whole (id int primary key, p int references t.p) partition by range (id);
      create table t.x partition of t.whole for values from (0) to (100);`,
    steps: [{ file: "id,p\n1,1\n2,9\n", rows: ["(1,1)"], rejects: [[2, "p", "23503", /^is in no row of t\.p$/]] }],
  },
  "no action: another spelling of the same value is no other value": {
    sql: `create extension citext schema t; ${x("id int primary key, code t.citext unique")}
      create table t.c (code t.citext references t.x (code));`,
    also: { "select c::text as row from t.c": "(bob)" },
    steps: [
      { file: "id,code\n1,bob\n2,eve\n", rows: ["(1,bob)", "(2,eve)"] },
      "insert into t.c values ('bob')",
      { file: "id,code\n1,Bob\n2,eve\n", rows: ["(1,Bob)", "(2,eve)"] },
    ],
  },
  "no action, in the table itself: what is given up is refused, the good record loads": {
    sql: x("id int primary key, code text unique, parent text references t.x (code)"),
    steps: [
      { file: "id,code,parent\n1,a,\n2,b,\n3,c,a\n", rows: ["(1,a,)", "(2,b,)", "(3,c,a)"] },
      {
        file: "id,code,parent\n1,z,\n2,y,\n3,c,a\n",
        rows: ["(1,a,)", "(2,y,)", "(3,c,a)"],
        rejects: [[1, "code", "23503", /^gives up what a row refers to in t\.x$/]],
      },
      // Both change at once: that is in order.
      { file: "id,code,parent\n1,z,\n2,y,\n3,c,z\n", rows: ["(1,z,)", "(2,y,)", "(3,c,z)"] },
    ],
  },
  "no action, deferrable, from another table": {
    sql: `${x("id int primary key, code text unique")}
      create table t.c (code text references t.x (code) deferrable initially deferred);`,
    also: { "select c::text as row from t.c": "(a)" },
    steps: [
      { file: "id,code\n1,a\n2,b\n", rows: ["(1,a)", "(2,b)"] },
      "insert into t.c values ('a')",
      {
        file: "id,code\n1,z\n2,y\n",
        rows: ["(1,a)", "(2,y)"],
        rejects: [[1, "code", "23503", /^gives up what a row refers to in t\.c$/]],
      },
    ],
  },

  "a trigger that audits sees what moved, and no null": {
    sql: `${x("id int primary key, code text unique, span int4range, exclude using gist (span with &&)")}
      create table t.audit (id int, old text, new text);
      create function t.note() returns trigger language plpgsql as $$begin
        insert into t.audit values (new.id, old.code || old.span, new.code || new.span); return new;
      end$$;
      create trigger note before update on t.x for each row execute function t.note();`,
    also: {
      "select string_agg(a::text, ' ' order by id) as row from t.audit a":
        '(1,"a[1,3)","b[3,5)") (2,"b[3,5)","a[1,3)")',
      "select count(*)::text as row from pg_index where indrelid = 't.x'::regclass": "3",
    },
    steps: [
      { file: 'id,code,span\n1,a,"[1,3)"\n2,b,"[3,5)"\n', rows: ['(1,a,"[1,3)")', '(2,b,"[3,5)")'] },
      { file: 'id,code,span\n1,b,"[3,5)"\n2,a,"[1,3)"\n', rows: ['(1,b,"[3,5)")', '(2,a,"[1,3)")'] },
    ],
  },

  "a composite unique key, with ON UPDATE CASCADE: who takes a value that is free follows at once": {
    sql: `${x("id int primary key, a text, b int, unique (a, b)")}
      create table t.c (a text, b int, foreign key (a, b) references t.x (a, b) on update cascade);`,
    also: { "select c::text as row from t.c": "(a,3)" },
    steps: [
      { file: "id,a,b\n1,a,1\n2,a,2\n", rows: ["(1,a,1)", "(2,a,2)"] },
      "insert into t.c values ('a', 1)",
      {
        file: "id,a,b\n1,a,3\n2,a,1\n",
        rows: ["(1,a,3)", "(2,a,2)"],
        rejects: [[2, null, "23505", /still/]],
        settled: false,
      },
      { file: "id,a,b\n1,a,3\n2,a,1\n", rows: ["(1,a,3)", "(2,a,1)"] },
    ],
  },
  "on update set null: what the key says happens, and no more": {
    sql: `${x("id int primary key, code text unique")}
      create table t.c (id int, code text references t.x (code) on update set null);`,
    also: { "select string_agg(c::text, ' ' order by id) as row from t.c": "(1,) (2,b)" },
    steps: [
      { file: "id,code\n1,a\n2,b\n", rows: ["(1,a)", "(2,b)"] },
      "insert into t.c values (1, 'a'), (2, 'b')",
      { file: "id,code\n1,z\n2,b\n", rows: ["(1,z)", "(2,b)"], counts: { updated: 1, unchanged: 1 } },
    ],
  },

  // Types whose length an explicit cast cuts.
  "a domain with a length": {
    sql: `create domain t.d3 as varchar(3); ${x("id t.d3 primary key, v t.d3")}`,
    steps: [
      {
        file: "id,v\nabc,abc\nabcd,x\nb,abcd\nc,ab\n",
        rows: ["(abc,abc)", "(c,ab)"],
        rejects: [[2, "id", "22001", /^is too long for t\.d3$/], [3, "v", "22001", /^is too long for t\.d3$/]],
      },
    ],
  },
  "domains over domains, of char, bit and numeric": {
    sql: `create domain t.c3 as char(3); create domain t.c33 as t.c3 check (value <> 'bad');
      create domain t.b3 as bit(3); create domain t.m as numeric(5,2);
      ${x("id int primary key, c t.c33, b t.b3, m t.m, a t.c3[]")}`,
    steps: [
      {
        file: 'id,c,b,m,a\n1,ab,101,1.234,"{ab,c}"\n2,abcd,,,\n3,,1010,,\n4,,,1000,\n5,bad,,,\n6,,,,"{abcd}"\n7,,1,,\n',
        rows: ['(1,"ab ",101,1.23,"{""ab "",""c  ""}")'],
        rejects: [
          [2, "c", "22001", /^is too long for t\.c33$/],
          [3, "b", "22026", /^is no t\.b3$/],
          [4, "m", "22003", /^is out of the range of t\.m$/],
          [5, "c", "23514", /^breaks a rule of t\.c33$/],
          [6, "a", "22001", /^is too long for t\.c3\[\]$/],
          [7, "b", "22026", /^is no t\.b3$/],
        ],
      },
    ],
  },
  "bit(n) and bit varying(n)": {
    sql: x("id int primary key, b bit(3), v bit varying(3)"),
    steps: [
      {
        file: "id,b,v\n1,101,1\n2,10,\n3,,1010\n",
        rows: ["(1,101,1)"],
        rejects: [[2, "b", "22026", /^is no bit\(3\)$/], [3, "v", "22001", /^is too long for bit varying\(3\)$/]],
      },
    ],
  },

  // Types whose text means other values in a column of fewer fields, or under a setting.
  "a key of days, in CSV and JSON": {
    sql: x("id interval day primary key, v int"),
    steps: [
      {
        file: "id,v\n1,1\n2,2\n3,3\n",
        rows: ['("1 day",1)', '("2 days",2)', '("3 days",3)'],
        counts: { inserted: 3, duplicate: 0 },
      },
      {
        file: '[{"id":1,"v":1},{"id":"2","v":5},{"id":"3 days","v":3},{"id":"1h30","v":3}]',
        rows: ['("1 day",1)', '("2 days",5)', '("3 days",3)'],
        rejects: [[4, "id", "22007", /^is no interval day$/]],
        counts: { updated: 1, unchanged: 2, duplicate: 0 },
      },
    ],
  },
  "a key of days that comes twice, the last time as what is there": {
    sql: x("id interval day primary key, v int"),
    steps: [
      { file: "id,v\n1,1\n2,2\n", rows: ['("1 day",1)', '("2 days",2)'] },
      {
        file: "id,v\n1,7\n2,8\n1 day,1\n",
        rows: ['("1 day",1)', '("2 days",8)'],
        counts: { updated: 1, duplicate: 1, unchanged: 1 },
      },
    ],
  },
  "a domain over a span of minutes, in a CHECK, beside a fault in another column": {
    sql: `create domain t.m as interval minute; ${x("id int primary key, m t.m check (m < interval '1 hour'), n int")}`,
    also: {
      "select string_agg(f ->> 'sqlstate', ' ' order by f ->> 'sqlstate') as row from etl.rejects r, \
jsonb_array_elements(r.faults) f where r.record_number = 3": "22P02 23514",
    },
    steps: [
      {
        file: "id,m,n\n1,59,1\n2,90,1\n3,90,x\n",
        rows: ["(1,00:59:00,1)"],
        rejects: [[2, "m", "23514", /^breaks the rule/], [3, "n", "22P02", /^is no integer$/]],
      },
    ],
  },
  "names alike in 63 bytes": {
    sql: x("id name primary key, v int"),
    steps: [
      {
        file: `id,v\n${"n".repeat(63)}a,1\n${"n".repeat(63)}b,2\nn,3\n`,
        rows: ["(n,3)"],
        rejects: [[1, "id", "22001", /^is too long for name$/], [2, "id", "22001", /^is too long for name$/]],
        counts: { duplicate: 0 },
      },
    ],
  },
  "null in an array, whatever the role's array_nulls is": {
    sql: `${x("id int primary key, v text[]")} do $$begin
      execute format('alter role current_user in database %I set array_nulls = off', current_database());
    end$$;`,
    steps: [{ file: 'id,v\n1,"{a,NULL}"\n2,"{a,""NULL""}"\n', rows: ['(1,"{a,NULL}")', '(2,"{a,""NULL""}")'] }],
  },
  "a cast from text that gives something else": {
    sql: `create type t.mood as enum ('low', 'high'); create function t.mood(text) returns t.mood language sql
        as $$select 'high'::t.mood$$;
      create cast (text as t.mood) with function t.mood(text); ${x("id int primary key, v t.mood")}`,
    steps: [
      {
        file: "id,v\n1,low\n2,mid\n3,\n",
        rows: ["(1,low)", "(3,)"],
        rejects: [[2, "v", "22P02", /^is no t\.mood$/]],
      },
    ],
  },

  // A record of the names themselves is the header line only where the file has one.
  "names as values, in JSON": {
    sql: x("id text primary key, v text"),
    steps: [{ file: '[{"id":"id","v":"v"}]', rows: ["(id,v)"] }],
  },
  "names as values, where etl.feeds.header has the names": {
    sql: x("id text primary key, v text"),
    feed: { header: ["id", "v"] },
    steps: [
      // As the first record it is a header line that the partner has begun to send.
      { file: "id,v\na,b\n", rows: ["(a,b)"], rejects: [[1, null, "22P04", /^repeats the header line$/]] },
      { file: "a,b\nid,v\n", rows: ["(a,b)", "(id,v)"] },
    ],
  },
  "the header line once more, and in capitals, where case is nothing": {
    sql: `create collation t.ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
      ${x("id text collate t.ci primary key, v text collate t.ci")}`,
    steps: [
      {
        file: "id,v\nID,V\nzz,b\nid,v\n",
        rows: ["(ID,V)", "(zz,b)"],
        rejects: [[3, null, "22P04", /^repeats the header line$/]],
      },
    ],
  },

  // Keys whose equality is not that of their text.
  "citext as key: the last record wins, and a forced run agrees": {
    sql: `create extension citext schema t; ${x("id t.citext primary key, v int")}`,
    steps: [
      { file: "id,v\nBob,1\nbob,2\n", rows: ["(bob,2)"], counts: { inserted: 1, duplicate: 1 } },
      { file: "id,v\nBOB,3\n", rows: ["(bob,3)"], counts: { updated: 1 } },
    ],
  },
  "citext in a composite key and in unique indexes": {
    sql: `create extension citext schema t;
      ${x("a t.citext, b int, u t.citext unique, n t.citext, primary key (b, a)")}
      create unique index on t.x (n) nulls not distinct where n <> 'free';`,
    steps: [
      {
        file: "a,b,u,n\nx,1,P,free\nX,1,p,free\ny,1,P,FREE\nz,1,q,taken\nw,1,r,TAKEN\n",
        rows: ["(X,1,p,free)", "(z,1,q,taken)"],
        rejects: [[3, "u", "23505", /already$/], [5, "n", "23505", /already$/]],
        counts: { duplicate: 1 },
      },
    ],
  },
  "citext and a domain with a length in JSON, and a child's key of citext": {
    sql: `create extension citext schema t; create domain t.d3 as varchar(3);
      create table t.p (id t.citext primary key); insert into t.p values ('Ana');
      ${x("id t.citext primary key, d t.d3, p t.citext references t.p")}`,
    steps: [
      {
        file:
          '[{"id":"A","d":"abc","p":"ANA"},{"id":"a","d":"abc","p":"ana"},{"id":"b","d":"abcd"},{"id":"c","p":"bo"}]',
        rows: ["(a,abc,ana)"],
        rejects: [[3, "d", "22001", /^is too long for t\.d3$/], [4, "p", "23503", /^is in no row of t\.p$/]],
        counts: { duplicate: 1 },
      },
    ],
  },
  "keys whose operator is that of all arrays, ranges or enums": {
    sql: `create type t.mood as enum ('low', 'high'); ${
      x("a int[], r int4range, m t.mood, v int, primary key (a, r, m)")
    }`,
    steps: [
      {
        file: 'a,r,m,v\n{1},"[1,3)",low,1\n"{ 1 }","[1,2]",low,2\n{1},"[1,3)",high,3\n',
        rows: ['({1},"[1,3)",high,3)', '({1},"[1,3)",low,2)'],
        counts: { duplicate: 1, inserted: 2 },
      },
      { file: 'a,r,m,v\n{1},"[1,2]",low,5\n', rows: ['({1},"[1,3)",high,3)', '({1},"[1,3)",low,5)'] },
    ],
  },
  "a domain over citext": {
    sql: `create extension citext schema t; create domain t.mail as t.citext; ${x("id t.mail primary key, v int")}`,
    steps: [{ file: "id,v\nA@x,1\na@X,2\n", rows: ["(a@X,2)"], counts: { duplicate: 1 } }],
  },
  "ltree and hstore in keys and unique indexes": {
    sql: `create extension ltree schema t; create extension hstore schema t;
      ${x("id t.ltree primary key, h t.hstore unique, n t.ltree")} create unique index on t.x (n) nulls not distinct;`,
    steps: [
      {
        file: 'id,h,n\na.b,"a=>1, b=>2",n.1\na.c,"b=>2, a=>1",n.2\na..d,,n.3\ne,a=,n.4\nf,,n.1\n',
        rows: ['(a.b,"""a""=>""1"", ""b""=>""2""",n.1)'],
        rejects: [
          [2, "h", "23505", /already$/],
          [3, "id", "42601", /^is no t\.ltree$/],
          [4, "h", "42601", /^is no t\.hstore$/],
          [5, "n", "23505", /already$/],
        ],
        settled: true,
      },
    ],
  },
  "isn as key": {
    sql: `create extension isn schema t; ${x("id t.isbn13 primary key, v int")}`,
    steps: [
      {
        file: "id,v\n978-0-393-04002-9,1\n9780393040029,2\n",
        rows: ["(978-0-393-04002-9,2)"],
        counts: { duplicate: 1 },
      },
    ],
  },

  // Collations.
  "a collation to which case is nothing": {
    sql: `create collation t.ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
      ${
      x("id text collate t.ci primary key, v text collate t.ci check (v in ('yes', 'no')), u text collate t.ci unique")
    }`,
    steps: [
      {
        file: "id,v,u\na,YES,p\nA,no,p\nb,maybe,q\nc,No,P\n",
        rows: ["(A,no,p)"],
        rejects: [[3, "v", "23514", /^breaks the rule/], [4, "u", "23505", /already$/]],
        counts: { duplicate: 1 },
      },
    ],
  },
  "a unique index and a reference with a collation of their own": {
    sql: `create collation t.ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
      ${x('id int primary key, u text collate "C", p text collate "C"')}
      create unique index on t.x (u collate t.ci);
      create table t.p (id text collate t.ci primary key); insert into t.p values ('Ana');
      alter table t.x add constraint p foreign key (p) references t.p;`,
    steps: [
      {
        file: "id,u,p\n1,a,ana\n2,A,\n3,b,bo\n",
        rows: ["(1,a,ana)"],
        rejects: [[2, "u", "23505", /already$/], [3, "p", "23503", /^is in no row of t\.p$/]],
      },
    ],
  },
  "a check with < under a collation": {
    sql: x(`id int primary key, v text collate "en-x-icu" check (v < 'b')`),
    steps: [{
      file: "id,v\n1,A\n2,B\n3,a\n",
      rows: ["(1,A)", "(3,a)"],
      rejects: [[2, "v", "23514", /^breaks the rule/]],
    }],
  },

  // Foreign keys.
  "to a partitioned table, and to itself": {
    sql: `create table t.p (id int primary key) partition by hash (id);
      create table t.p0 partition of t.p for values with (modulus 2, remainder 0);
      create table t.p1 partition of t.p for values with (modulus 2, remainder 1);
      insert into t.p select generate_series(1, 9);
      create table t.x (id int primary key, p int references t.p, up int references t.x) partition by range (id);
      create table t.x0 partition of t.x for values from (0) to (5);
      create table t.x5 partition of t.x for values from (5) to (10);`,
    steps: [
      {
        file: "id,p,up\n1,1,6\n6,2,\n7,10,\n8,,9\n",
        rows: ["(1,1,6)", "(6,2,)"],
        rejects: [[3, "p", "23503", /^is in no row of t\.p$/], [4, "up", "23503", /^is in no row of t\.x$/]],
      },
    ],
  },
  "match full": {
    sql: `create table t.p (a int, b int, primary key (a, b)); insert into t.p values (1, 1);
      ${x("id int primary key, a int, b int, foreign key (a, b) references t.p match full")}`,
    steps: [
      {
        file: "id,a,b\n1,1,1\n2,1,\n3,,\n4,2,2\n",
        rows: ["(1,1,1)", "(3,,)"],
        rejects: [[2, null, "23503", /^is in no row of t\.p$/], [4, null, "23503", /^is in no row of t\.p$/]],
      },
    ],
  },
  "tables that refer to each other: neither waits in silence": {
    sql: `${x("id int primary key, y int")} create table t.y (id int primary key, x int references t.x);
      alter table t.x add foreign key (y) references t.y;`,
    steps: [
      {
        file: "id,y\n1,1\n2,\n",
        rows: ["(2,)"],
        rejects: [[
          1,
          "y",
          "23503",
          /^is in no row of t\.y, which refers to this table in turn: of two new rows that need each other neither can be first$/,
        ]],
      },
    ],
  },

  // Inheritance that is no partitioning: what inherits is seen in the table, and none of its keys holds it.
  "inherited, and inheriting itself or not: refused, for the same id could be in both": {
    sql: `create table t.p (id int primary key); create table t.x (primary key (id)) inherits (t.p);
      create table t.y () inherits (t.x);`,
    steps: [
      { file: "id\n1\n", rows: [], error: ["not_a_table", /t\.x has tables that inherit from it$/], settled: false },
      "insert into t.y values (1)",
      { file: "id\n1\n", rows: ["(1)"], error: ["not_a_table", /inherit/], settled: false },
      "alter table t.y no inherit t.x",
      { file: "id\n1\n", rows: ["(1)"], counts: { inserted: 1 } },
    ],
  },
  "inheriting alone: the parent's rows are none of its own": {
    sql: `create table t.p (id int primary key, v int check (v > 0)); create table t.y () inherits (t.p);
      insert into t.p values (1, 1); insert into t.y values (2, 2);
      create table t.x (up int references t.x, primary key (id)) inherits (t.p);`,
    also: { "select count(*)::text as row from only t.p": "1", "select (y.*)::text as row from t.y": "(2,2)" },
    steps: [
      {
        file: "id,v,up\n1,5,\n2,6,1\n3,0,\n4,7,9\n",
        rows: ["(1,5,)", "(2,6,1)"],
        rejects: [[3, "v", "23514", /^breaks the rule/], [4, "up", "23503", /^is in no row of t\.x$/]],
        counts: { inserted: 2 },
      },
      { file: "id,v,up\n1,8,\n2,9,\n", rows: ["(1,8,)", "(2,9,)"], counts: { updated: 2 } },
    ],
  },
  "to an inherited table: what inherits is no parent, and the orphan loads once its parent is one": {
    sql: `create table t.p (id int primary key); create table t.q () inherits (t.p);
      insert into t.p values (1); insert into t.q values (2);
      ${x("id int primary key, p int references t.p")}`,
    steps: [
      {
        file: "id,p\n1,1\n2,2\n3,3\n",
        rows: ["(1,1)"],
        rejects: [
          [2, "p", "23503", /^is in no row of t\.p itself: the tables that inherit from it do not count$/],
          [3, "p", "23503", /^is in no row of t\.p itself/],
        ],
      },
      "with moved as (delete from t.q returning id) insert into t.p select id from moved",
      { file: "id,p\n1,1\n2,2\n", rows: ["(1,1)", "(2,2)"] },
    ],
  },
  "to a table that inherits": {
    sql: `create table t.p (id int); create table t.q (primary key (id)) inherits (t.p);
      insert into t.p values (1); insert into t.q values (2); ${x("id int primary key, q int references t.q")}`,
    steps: [
      {
        file: "id,q\n1,1\n2,2\n",
        rows: ["(2,2)"],
        rejects: [[1, "q", "23503", /^is in no row of t\.q$/]],
      },
    ],
  },
  "from an inherited table: what inherits holds no value back": {
    sql: `${x("id int primary key, code text unique")} create table t.c (code text references t.x (code));
      create table t.d () inherits (t.c);`,
    steps: [
      { file: "id,code\n1,a\n2,b\n", rows: ["(1,a)", "(2,b)"] },
      "insert into t.d values ('a'); insert into t.c values ('b')",
      {
        file: "id,code\n1,y\n2,z\n",
        rows: ["(1,y)", "(2,b)"],
        rejects: [[2, "code", "23503", /^gives up what a row refers to in t\.c$/]],
      },
    ],
  },
  "a partition that is partitioned, and referred to as a part": {
    sql: `create table t.p (id int primary key, up int) partition by range (id);
      create table t.x partition of t.p for values from (0) to (10) partition by range (id);
      create table t.x0 partition of t.x for values from (0) to (5);
      create table t.x5 partition of t.x for values from (5) to (10);
      alter table t.x add foreign key (up) references t.x;
      create table t.c (id int references t.p);`,
    steps: [
      {
        file: "id,up\n1,6\n6,\n7,8\n",
        rows: ["(1,6)", "(6,)"],
        rejects: [[3, "up", "23503", /^is in no row of t\.x$/]],
      },
    ],
  },

  // Keys, identities, defaults.
  "a key with INCLUDE": {
    sql: x("id int, v int, primary key (id) include (v)"),
    steps: [
      { file: "id,v\n1,1\n", rows: ["(1,1)"] },
      { file: "id,v\n1,2\n2,2\n", rows: ["(1,2)", "(2,2)"], counts: { updated: 1, inserted: 1 } },
    ],
  },
  "an identity that is generated always: as key it is the feed's, elsewhere the database's": {
    sql: x("id int generated always as identity primary key, n int generated always as identity, v int"),
    steps: [
      { file: "id,n,v\n7,70,1\n", rows: ["(7,1,1)"] },
      { file: "id,n,v\n7,71,2\n", rows: ["(7,1,2)"], counts: { updated: 1 } },
    ],
  },
  "a default with an effect is evaluated once": {
    sql: `create sequence t.s; create function t.next() returns bigint language sql as $$select nextval('t.s')$$;
      ${x("id int primary key, n bigint default t.next(), v int")}`,
    also: { "select last_value::text as row from t.s": "2" },
    steps: [{ file: "id,v\n1,1\n2,2\n", rows: ["(1,1,1)", "(2,2,2)"] }],
  },
  "a file of corrections: known rows are updated, new ones lack what is required": {
    sql: x("id int primary key, driver text not null, gratuity numeric"),
    steps: [
      {
        file: "id,gratuity\n1,5\n",
        rows: [],
        error: ["columns", /lacks the key or required column driver/],
        settled: false,
      },
      { file: "id,driver,gratuity\n1,d,1\n2,d,2\n", rows: ["(1,d,1)", "(2,d,2)"] },
      {
        file: "id,gratuity\n1,5\n3,1\n",
        rows: ["(1,d,5)", "(2,d,2)"],
        rejects: [[2, "driver", "23502", /^is missing$/]],
        counts: { updated: 1 },
      },
    ],
  },

  // Types whose input raises.
  "input that raises in class 42": {
    sql: x("id int primary key, v tsvector, q tsquery, j jsonpath, c regclass"),
    steps: [
      {
        file: "id,v,q,j,c\n1,a b,a,$.a,pg_class\n2,'a b,,,\n3,,a &,,\n4,,,$.,\n5,,,,nowhere\n",
        rows: ['(1,"\'a\' \'b\'",\'a\',"$.""a""",pg_class)'],
        rejects: [
          [2, "v", "42601", /^is no tsvector$/],
          [3, "q", "42601", /^is no tsquery$/],
          [4, "j", "42601", /^is no jsonpath$/],
          [5, "c", "42P01", /^is no regclass$/],
        ],
      },
    ],
  },
  "a domain whose rule raises": {
    sql: `create domain t.inverse as int check (1 / value < 2);
      create function t.loud(int) returns boolean language plpgsql as $$begin raise exception 'no'; end$$;
      create domain t.loud as int check (value > 0 or t.loud(value)); ${
      x("id int primary key, v t.inverse, l t.loud")
    }`,
    steps: [
      {
        file: "id,v,l\n1,5,1\n2,0,1\n3,,-1\n4,x,\n",
        rows: ["(1,5,1)"],
        rejects: [
          [2, "v", "22012", /^is no t\.inverse$/],
          [3, "l", "P0001", /^is no t\.loud$/],
          [4, "v", "22P02", /^is no t\.inverse$/],
        ],
      },
    ],
  },

  // Names and widths.
  "700 columns, of which two are wanted": {
    sql: x("id int primary key, c600 text"),
    steps: [
      {
        file: `id,${names(700)}\n1,${"abcdefghijkl,".repeat(700).slice(0, -1)}\nx,${"b,".repeat(700).slice(0, -1)}\n`,
        rows: ["(1,abcdefghijkl)"],
        rejects: [[2, "id", "22P02", /^is no integer$/]],
      },
    ],
  },
  "columns of the names that the merge uses itself": {
    sql: `${x(`etl_1 int primary key, ${ours.map((name) => `${name} int check (${name} > 0)`)}, unique (etl_value, t)`)}
      create unique index on t.x ((place + 1)) where kept > 0;`,
    steps: [
      {
        file: `etl_1,${ours}\n1,${ours.map(() => 5)}\n2,${ours.map(() => 5)}\n3,${ours.map(() => 0)}\n4,${
          ours.map(() => "x")
        }\n`,
        rows: [`(1,${ours.map(() => 5)})`],
        rejects: [
          [2, null, "23505", /already$/],
          [3, "c", "23514", /^breaks the rule CHECK \(\(c > 0\)\)$/],
          [4, "t", "22P02", /^is no integer$/],
        ],
      },
      {
        file: `etl_1,${ours}\n1,${ours.map(() => 6)}\n`,
        rows: [`(1,${ours.map(() => 6)})`],
        counts: { updated: 1 },
      },
    ],
  },
  "names of more than 63 bytes": {
    sql: x(`id int primary key, "${"n".repeat(70)}" text`),
    steps: [
      {
        file: `id,${"n".repeat(70)},${"i".repeat(64)}a,${"i".repeat(64)}b\n1,x,1,2\n`,
        rows: ["(1,x)"],
      },
      {
        file: `[{"id":1,"${"n".repeat(70)}":"y","${"i".repeat(64)}a":1,"${"i".repeat(64)}b":2}]`,
        rows: ["(1,y)"],
        counts: { updated: 1 },
      },
    ],
  },

  // Domains that refuse a null, or have a default.
  ...Object.fromEntries(
    ["int not null", "int check (value is not null)"].flatMap((domain) => [
      [`a domain ${domain}: an empty cell is missing`, {
        sql: `create domain t.d as ${domain}; ${x("id int primary key, v t.d, w int")}`,
        steps: [
          {
            file: "id,v,w\n1,1,\n2,,\n3,x,\n4,4,y\n",
            rows: ["(1,1,)"],
            rejects: [[2, "v", "23502", /^is missing$/], [3, "v", "22P02", /^is no t\.d$/], [
              4,
              "w",
              "22P02",
              /^is no/,
            ]],
          },
          {
            file: '[{"id":1,"w":5,"v":2},{"id":2,"w":6}]',
            rows: ["(1,2,5)"],
            rejects: [[2, "v", "23502", /^is missing$/]],
          },
          // Not carried: known rows are corrected, and there are no new ones.
          { file: "id,w\n1,7\n3,8\n", rows: ["(1,2,7)"], rejects: [[2, "v", "23502", /^is missing$/]] },
        ],
      }],
      [`a domain ${domain}: a key that cannot be read, with absences`, {
        sql: `create domain t.d as ${domain}; ${x("id t.d primary key, w int")}`,
        feed: { absent: "delete", absent_limit: 1 },
        steps: [
          { file: "id,w\n1,1\n2,2\n", rows: ["(1,1)", "(2,2)"] },
          { file: "id,w\n1,3\n,4\n", rows: ["(1,3)", "(2,2)"], rejects: [[2, "id", "23502", /^is missing$/]] },
        ],
      }],
      [`a domain ${domain}: a key that cannot be read, in a file of changes`, {
        sql: `create domain t.d as ${domain}; ${x("id t.d primary key, w int")}`,
        feed: { contents: "changes" },
        steps: [
          {
            file: "id,w\n1,x\n,4\n",
            rows: [],
            rejects: [[1, "w", "22P02", /^is no/], [2, "id", "23502", /^is missing$/]],
          },
          { file: "id,w\n1,5\n", rows: ["(1,5)"], rejects: [[2, "id", "23502", /^is missing$/]] },
        ],
      }],
    ]),
  ) as Record<string, Case>,
  "a domain's default is a default": {
    sql: `create domain t.d as int default 5; create sequence t.s; create domain t.n as int default nextval('t.s');
      ${x("id int primary key, v t.d not null, n t.n not null, w t.d check (w < 6), y int")}`,
    steps: [
      { file: "id,y\n1,7\n", rows: ["(1,5,1,5,7)"] },
      { file: "id,y\n1,8\n2,9\n", rows: ["(1,5,1,5,8)", "(2,5,2,5,9)"], counts: { inserted: 1, updated: 1 } },
    ],
  },
  "a domain's default stands for no key that cannot be read": {
    sql: `create domain t.d as int default 7; ${x("id t.d primary key, w int")}`,
    feed: { contents: "changes" },
    steps: [
      {
        file: "id,w\nx,1\ny,2\n7,z\n,3\n",
        rows: [],
        rejects: [[1, "id", "22P02", /^is no/], [2, "id", "22P02", /^is no/], [3, "w", "22P02", /^is no/], [
          4,
          "id",
          "23502",
          /missing/,
        ]],
      },
    ],
  },
  "a domain's default that no parent has": {
    sql: `create domain t.d as int default 5; create table t.p (id int primary key);
      ${x("id int primary key, v t.d references t.p, w int")}`,
    steps: [{ file: "id,w\n1,7\n", rows: [], rejects: [[1, "v", "23503", /^is in no row of t\.p$/]] }],
  },

  // JSON that no jsonb takes, beside what is rejected.
  ...Object.fromEntries(
    [String.raw`"\u0000"`, "1e200000", String.raw`"\ud800"`].map((value) => [
      `json that holds ${value} beside a unique index, a CHECK, an orphan and an exclusion`,
      {
        sql: `create table t.p (id int primary key);
          ${
          x(
            "id int primary key, c text unique, n int check (n > 0), p int references t.p, r int4range, j json, js json[], " +
              "exclude using gist (r with &&)",
          )
        }`,
        steps: [{
          file: [
            "id,c,n,p,r,j,js",
            ...['1,a,1,,"[1,2)"', "2,a,1,,", "3,b,0,,", "4,c,1,9,", '5,d,1,,"[1,3)"'].map((cells) =>
              `${cells},${csv(value)},${csv(`{${JSON.stringify(value)}}`)}`
            ),
            "",
          ].join("\n"),
          rows: [`(1,a,1,,"[1,2)",${row(value)},${row(`{${/[\\"]/.test(value) ? JSON.stringify(value) : value}}`)})`],
          rejects: [
            [2, "c", "23505", /already$/],
            [3, "n", "23514", /^breaks the rule/],
            [4, "p", "23503", /^is in no row/],
            [5, "r", "23P01", /^conflicts/],
          ],
        }],
      },
    ]),
  ) as Record<string, Case>,

  // What a key does to another table's rows, and they refuse.
  ...Object.fromEntries(
    [
      ["set null, of a column that is NOT NULL", "owner text not null references t.x (code) on update set null"],
      ["set null, of a column of the target's name", "code text not null references t.x (code) on update set null"],
      ["cascade, to a value that breaks a CHECK", "c text check (c <> 'z') references t.x (code) on update cascade"],
      ["cascade, to a value that is another's", "c text unique references t.x (code) on update cascade, d text unique"],
    ].map(([name, column]): [string, Case] => [`on update ${name}`, {
      sql: `${x("id int primary key, code text unique, owner text")} create table t.c (${column});
        ${
        name.includes("another's")
          ? `create function t.z() returns trigger language plpgsql as
          'begin new.d := ''one''; return new; end'; create trigger z before update on t.c for each row
          execute function t.z(); insert into t.c values (null, 'one');`
          : ""
      }`,
      steps: [
        { file: "id,code\n1,a\n2,b\n", rows: ["(1,a,)", "(2,b,)"] },
        "insert into t.c values ('a')",
        {
          file: "id,code\n1,z\n2,y\n",
          rows: ["(1,a,)", "(2,y,)"],
          rejects: [[
            1,
            null,
            name.includes("NOT NULL") || name.includes("name") ? "23502" : name.includes("CHECK") ? "23514" : "23505",
            /^gives up what a row refers to in c$/,
          ]],
        },
      ],
    }]),
  ),

  // Rules that look at the row as a whole, and functions that know names without a schema.
  "a CHECK of the whole row, and one of where it is stored": {
    sql: `${x("id int primary key, v int")}
      create function t.ok(r t.x) returns boolean language sql immutable as 'select r.v > 0';
      alter table t.x add constraint ok check (t.ok(x.*)), add constraint here check (tableoid = 't.x'::regclass);`,
    steps: [{
      file: "id,v\n1,1\n2,0\n",
      rows: ["(1,1)"],
      rejects: [[2, null, "23514", /^breaks the rule CHECK \(t\.ok\(x\.\*\)\)$/]],
    }],
  },
  "functions of CHECKs and triggers that name tables without a schema": {
    sql: `${x("id int primary key, v int")} create table t.seen (id int); create table t.limits (v int);
      insert into t.limits values (5);
      create function t.note() returns trigger language plpgsql as $$
        begin insert into seen values (coalesce(new.id, old.id)); return coalesce(new, old); end $$;
      create trigger note before insert or update or delete on t.x for each row execute function t.note();
      create function t.fits(v int) returns boolean language plpgsql stable as $$
        begin return v < (select l.v from limits l); end $$;
      alter table t.x add constraint fits check (t.fits(v));
      do $$ begin execute format('alter database %I set search_path = t, etl', current_database()); end $$;`,
    feed: { absent: "delete", absent_limit: 1 },
    also: { "select array_agg(id order by id)::text as row from t.seen": "{1,1,2,2}" },
    steps: [
      { file: "id,v\n1,1\n2,2\n3,9\n", rows: ["(1,1)", "(2,2)"], rejects: [[3, "v", "23514", /^breaks the rule/]] },
      { file: "id,v\n1,3\n", rows: ["(1,3)"], counts: { deleted: 1, updated: 1 } },
    ],
  },
  "a key of a composite type of which a part is missing": {
    sql: `create type t.c as (a int, b int); ${x("id t.c primary key, v t.c not null")}`,
    steps: [{
      file: 'id,v\n"(1,2)","(,)"\n"(1,)","(1,2)"\n"(,)","(1,2)"\n"(2,2)",\n',
      rows: ['("(1,2)","(,)")'],
      rejects: [[2, "id", "23502", /missing/], [3, "id", "23502", /missing/], [4, "v", "23502", /missing/]],
    }],
  },

  // What is no table, and settings.
  "a rule INSTEAD": {
    sql: `${x("id int primary key")} create rule r as on insert to t.x do instead nothing;`,
    steps: [{
      file: "id\n1\n",
      rows: [],
      error: ["not_a_table", /has a rule that does something else INSTEAD/],
      settled: false,
    }],
  },
  "an index that must be dropped, and a key that refers to a part by itself": {
    sql: `create table t.x (id int, p int, code text, primary key (id, p)) partition by list (p);
      create table t.x1 partition of t.x for values in (1); create unique index u on t.x (code, p);
      create table t.c (code text, p int, foreign key (code, p) references t.x1 (code, p) on update cascade);`,
    also: { "select c::text as row from t.c": "(a,1)" },
    steps: [
      { file: "id,p,code\n1,1,a\n2,1,b\n", rows: ["(1,1,a)", "(2,1,b)"] },
      "insert into t.c values ('a', 1)",
      {
        file: "id,p,code\n1,1,b\n2,1,a\n",
        rows: ["(1,1,a)", "(2,1,b)"],
        error: ["dependent_objects_still_exist", /the index t\.u must be dropped for the time of the write/],
      },
    ],
  },
  "a rule DO ALSO on a table that refers to itself: new and known rows refer to what the others get": {
    sql: `${
      x("id int primary key, code text unique, parent text, constraint up foreign key (parent) references t.x (code)")
    }
      create table t.log (id int, code text);
      create rule i as on insert to t.x do also insert into t.log values (new.id, new.code);
      create rule u as on update to t.x do also insert into t.log values (old.id, new.code);`,
    also: {
      "select string_agg(l::text, ' ' order by id, code) as row from t.log l": "(1,a) (1,b) (2,c)",
      "select concat_ws(' ', condeferrable, condeferred) as row from pg_constraint where conname = 'up'": "f f",
    },
    steps: [
      { file: "id,code,parent\n1,a,\n", rows: ["(1,a,)"] },
      {
        file: "id,code,parent\n1,b,c\n2,c,b\n",
        rows: ["(1,b,c)", "(2,c,b)"],
        counts: { inserted: 1, updated: 1 },
      },
    ],
  },
  "a rule DO ALSO, keys to itself that wait for the commit or not, and values that move": {
    sql: `${
      x(`id int primary key, code text unique, a int references t.x deferrable initially deferred,
        b int references t.x`)
    }
      create table t.log (id int, code text);
      create rule u as on update to t.x do also insert into t.log values (old.id, new.code);`,
    also: {
      "select string_agg(l::text, ' ' order by id, code) as row from t.log l": "(1,b) (2,a)",
      "select string_agg(concat_ws(' ', conname, condeferrable, condeferred), ', ' order by conname) as row from pg_constraint where confrelid = 't.x'::regclass":
        "x_a_fkey t t, x_b_fkey f f",
    },
    steps: [
      { file: "id,code,a,b\n1,a,,\n2,b,,\n", rows: ["(1,a,,)", "(2,b,,)"] },
      {
        file: "id,code,a,b\n1,b,3,\n2,a,,3\n3,c,1,2\n",
        rows: ["(1,b,3,)", "(2,a,,3)", "(3,c,1,2)"],
        counts: { inserted: 1, updated: 2 },
      },
    ],
  },
  "a rule DO ALSO, and a record that a trigger refuses": {
    sql: `${x("id int primary key, v int")} create table t.log (id int, v int);
      create rule i as on insert to t.x do also insert into t.log values (new.id, new.v);
      create function t.refuse() returns trigger language plpgsql as $$begin
        if new.v = 13 then raise exception 'no'; end if; return new;
      end$$;
      create trigger refuse before insert or update on t.x for each row execute function t.refuse();`,
    also: { "select string_agg(l::text, ' ' order by id, v) as row from t.log l": "(1,1) (3,1) (4,1)" },
    steps: [
      {
        file: "id,v\n1,1\n2,13\n3,1\n",
        rows: ["(1,1)", "(3,1)"],
        rejects: [[2, null, "P0001", /^is refused by a trigger: no$/]],
      },
      {
        file: "id,v\n1,2\n3,13\n4,1\n",
        rows: ["(1,2)", "(3,1)", "(4,1)"],
        rejects: [[2, null, "P0001", /^is refused by a trigger: no$/]],
      },
    ],
  },
  "an index that must be dropped, and something else needs": {
    sql: `${x("id int primary key, code text, constraint u unique nulls not distinct (code)")}
      create function t.note() returns void begin atomic
        insert into t.x values (9, 'q') on conflict on constraint u do nothing;
      end;`,
    steps: [
      { file: "id,code\n1,a\n2,b\n", rows: ["(1,a)", "(2,b)"] },
      {
        file: "id,code\n1,b\n2,a\n",
        rows: ["(1,a)", "(2,b)"],
        error: [
          "dependent_objects_still_exist",
          /the index t\.u must be dropped for the time of the write, and cannot be: cannot drop constraint u /,
        ],
      },
      { file: "id,code\n1,a\n2,c\n", rows: ["(1,a)", "(2,c)"] },
    ],
  },
  "a view": {
    sql: "create table t.b (id int primary key); create view t.x as table t.b;",
    steps: [{ file: "id\n1\n", rows: [], error: ["not_a_table", /t\.x is no table$/], settled: false }],
  },
};
for (const zone of ["+05:30", "-5", "UTC+5", "GMT-3", "Foo", "America/Nowhere"]) {
  cases[`the time zone ${zone}`] = {
    sql: x("id int primary key, at timestamptz"),
    feed: { time_zone: zone },
    steps: [{
      file: "id,at\n1,2021-07-01 00:00\n",
      rows: [],
      error: ["time_zone", /there is no time zone/],
      settled: false,
    }],
  };
}
for (const zone of ["Etc/GMT+5", "etc/gmt+5", "EST5EDT", "est5edt", "America/Port-au-Prince", "Asia/Kolkata"]) {
  cases[`the time zone ${zone}`] = {
    sql: x("id int primary key, at timestamptz"),
    feed: { time_zone: zone },
    steps: [{
      file: "id,at\n1,2021-07-01 12:00\n",
      rows: [
        {
          "Etc/GMT+5": '(1,"2021-07-01 17:00:00+00")',
          "etc/gmt+5": '(1,"2021-07-01 17:00:00+00")',
          "EST5EDT": '(1,"2021-07-01 16:00:00+00")',
          "est5edt": '(1,"2021-07-01 16:00:00+00")',
          "America/Port-au-Prince": '(1,"2021-07-01 16:00:00+00")',
          "Asia/Kolkata": '(1,"2021-07-01 06:30:00+00")',
        }[zone]!,
      ],
    }],
  };
}

function names(count: number): string {
  return Array.from({ length: count }, (_, i) => `c${i + 1}`).join(",");
}

for (const [name, { sql, also = {}, feed, steps }] of Object.entries(cases)) {
  Deno.test(`kinds: ${name}`, async () => {
    await using db = await freshDatabase();
    await using web = serve({});
    await db.admin(`create schema t; grant all on schema t to ${new URL(db.url).username}; set role
      ${new URL(db.url).username}; set search_path to t`);
    await db.query("set timezone to 'UTC'");
    await create(db, sql);
    await db.feed("x", { url: `${web.url}/x`, target: "t.x", reject_limit: 1, ...feed });
    for (const step of steps) {
      if (typeof step === "string") await db.query(step);
      else await take(db, web.files, step);
    }
    for (const [query, row] of Object.entries(also)) {
      assert.deepEqual(await db.query(query), [{ row }], query);
    }
  });
}

/** Extensions are made by the superuser, all else by the loader's role. */
async function create(db: Database, sql: string): Promise<void> {
  for (const extension of sql.match(/create extension \w+ schema t;/g) ?? []) {
    await db.admin(`reset role; ${extension}`);
  }
  await db.query(sql.replaceAll(/create extension \w+ schema t;/g, ""));
}

async function take(db: Database, files: Record<string, unknown>, step: Step): Promise<void> {
  files["/x"] = step.file;
  const report = await db.loadOne("x");
  const rows = await db.query("select (r.*)::text as row from t.x r order by 1");
  if (step.error) {
    assert.deepEqual([report.error?.code, rows.map(({ row }) => row)], [step.error[0], step.rows]);
    assert.match(report.error!.message, step.error[1]);
    assert.ok(report.error!.hint);
    return;
  }
  assert.equal(report.error, null);
  assert.deepEqual(rows.map(({ row }) => row), step.rows);
  const rejects = await db.query(
    `select record_number::int as number, column_name, sqlstate, reason, value is null as is_bare
    from etl.rejects where feed = 'x' order by 1`,
  );
  const expected = step.rejects ?? [];
  assert.deepEqual(rejects.map((r) => [r.number, r.column_name, r.sqlstate]), expected.map((r) => r.slice(0, 3)));
  rejects.forEach(({ reason }, i) => assert.match(reason, expected[i][3]));
  for (const { column_name, is_bare, reason } of rejects) {
    if (reason !== "is missing") assert.equal(is_bare, column_name === null, `the value of ${column_name}`);
  }
  assert.deepEqual({ ...report, ...step.counts }, report);
  if (step.settled === false) return;
  const before = await snapshot(db);
  for (const force of [false, true]) assert.equal((await db.loadOne("x", { force })).status, "unchanged");
  assert.deepEqual(await snapshot(db), before);
}
