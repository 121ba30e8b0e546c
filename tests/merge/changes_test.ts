/** Files that hold what is new since the last one: what becomes of a reject while other files come. */
import assert from "node:assert/strict";
import { countsOf } from "../support/counts.ts";
import { databaseAndWeb } from "../support/given.ts";
import { snapshot } from "../support/snapshot.ts";

const tables = `
  create table public.parents (id int primary key);
  insert into public.parents values (1);
  create table public.things (
    id int primary key,
    parent_id int references public.parents,
    sibling_id int references public.things,
    size numeric constraint size_is_positive check (size > 0),
    badge text unique,
    note text default 'none',
    extra jsonb
  );`;

interface Step {
  /** What happens in the database before the run. */
  sql?: string;
  /** The next file; without one the server has the last one still. */
  file?: string;
  /** read, inserted, updated, unchanged, duplicate, rejected. */
  counts: number[];
  /** What waits after it: number in its file, key (or text), reason. */
  waits: [number, string, RegExp][];
  /** All rows: id, parent, size, badge, note. */
  rows: string[];
  error?: RegExp;
}

const csv = (columns: string, ...lines: string[]) => [columns, ...lines, ""].join("\n");
const orphan = /^is in no row of public\.parents$/;
const tooSmall = /^breaks the rule CHECK/;

const cases: { name: string; columns?: Record<string, unknown>; steps: Step[] }[] = [
  {
    name: "an orphan waits while other files come, and loads once its parent is there, without a download",
    steps: [
      { file: csv("id,parent_id", "1,1", "2,7"), counts: [2, 1, 0, 0, 0, 1], waits: [[2, "2", orphan]], rows: ["1 1"] },
      { file: csv("id,parent_id", "3,1"), counts: [2, 1, 0, 0, 0, 1], waits: [[2, "2", orphan]], rows: ["1 1", "3 1"] },
      { counts: [1, 0, 0, 0, 0, 1], waits: [[2, "2", orphan]], rows: ["1 1", "3 1"] },
      {
        sql: "insert into public.parents values (7)",
        counts: [1, 1, 0, 0, 0, 0],
        waits: [],
        rows: ["1 1", "2 7", "3 1"],
      },
      { counts: [0, 0, 0, 0, 0, 0], waits: [], rows: ["1 1", "2 7", "3 1"] },
    ],
  },
  {
    name: "a newer record of its key supersedes it: loaded, unchanged, or rejected in its turn",
    steps: [
      {
        file: csv("id,size", "1,0", "2,0", "3,0", "4,5"),
        counts: [4, 1, 0, 0, 0, 3],
        waits: [[1, "1", tooSmall], [2, "2", tooSmall], [3, "3", tooSmall]],
        rows: ["4 size 5"],
      },
      {
        file: csv("id,size", "4,5", "1,1", "2,-2"),
        counts: [6, 1, 0, 1, 2, 2],
        waits: [[3, "3", tooSmall], [3, "2", tooSmall]],
        rows: ["1 size 1", "4 size 5"],
      },
      {
        sql: "alter table public.things drop constraint size_is_positive",
        counts: [5, 2, 0, 2, 1, 0],
        waits: [],
        rows: ["1 size 1", "2 size -2", "3 size 0", "4 size 5"],
      },
    ],
  },
  {
    name: "a newer record that is bad by itself supersedes no orphan of its key, within a file or not",
    steps: [
      {
        file: csv("id,parent_id,size", "1,7,1", "1,1,0", "2,7,1"),
        counts: [3, 0, 0, 0, 0, 3],
        waits: [[1, "1", orphan], [2, "1", tooSmall], [3, "2", orphan]],
        rows: [],
      },
      {
        file: csv("id,parent_id,size", "2,1,0"),
        counts: [4, 0, 0, 0, 0, 4],
        waits: [[1, "1", orphan], [2, "1", tooSmall], [3, "2", orphan], [1, "2", tooSmall]],
        rows: [],
      },
      {
        sql: "insert into public.parents values (7)",
        counts: [4, 2, 0, 0, 0, 2],
        waits: [[2, "1", tooSmall], [1, "2", tooSmall]],
        rows: ["1 7 size 1", "2 7 size 1"],
      },
      {
        sql: "alter table public.things drop constraint size_is_positive",
        file: csv("id,parent_id", "3,1"),
        counts: [3, 1, 2, 0, 0, 0],
        waits: [],
        rows: ["1 1 size 0", "2 1 size 0", "3 1"],
      },
    ],
  },
  {
    name: "of two that heal at once, of one key and other columns, the newer one is left",
    steps: [
      {
        sql: "alter table public.things alter extra type text",
        file: csv("id,sibling_id", "1,9"),
        counts: [1, 0, 0, 0, 0, 1],
        waits: [[1, "1", /^is in no row of public\.things$/]],
        rows: [],
      },
      {
        sql: "alter table public.things add constraint extra_is_short check (extra <> 'x')",
        file: csv("id,extra", "1,x"),
        counts: [2, 0, 0, 0, 0, 2],
        waits: [[1, "1", /^is in no row of public\.things$/], [1, "1", tooSmall]],
        rows: [],
      },
      {
        sql: "alter table public.things drop constraint extra_is_short",
        file: csv("id", "9"),
        counts: [3, 2, 0, 0, 1, 0],
        waits: [],
        rows: ["1 note none extra x", "9 note none"],
      },
    ],
  },
  {
    name: "a reject that comes once more, behind an orphan of its key, is the newer of the two from then on",
    steps: [
      { file: csv("id,size,parent_id", "1,0,"), counts: [1, 0, 0, 0, 0, 1], waits: [[1, "1", tooSmall]], rows: [] },
      {
        file: csv("id,size,parent_id", "1,5,7", "1,0,"),
        counts: [2, 0, 0, 0, 0, 2],
        waits: [[1, "1", orphan], [2, "1", tooSmall]],
        rows: [],
      },
      { counts: [2, 0, 0, 0, 0, 2], waits: [[1, "1", orphan], [2, "1", tooSmall]], rows: [] },
      {
        sql: "insert into public.parents values (7)",
        counts: [2, 1, 0, 0, 0, 1],
        waits: [[2, "1", tooSmall]],
        rows: ["1 7 size 5"],
      },
    ],
  },
  {
    name: "an older record never overwrites a newer one, not even once its parent comes",
    steps: [
      { file: csv("id,parent_id", "1,7"), counts: [1, 0, 0, 0, 0, 1], waits: [[1, "1", orphan]], rows: [] },
      { file: csv("id,parent_id", "1,1"), counts: [2, 1, 0, 0, 1, 0], waits: [], rows: ["1 1"] },
      {
        sql: "insert into public.parents values (7)",
        file: csv("id,parent_id", "2,1"),
        counts: [1, 1, 0, 0, 0, 0],
        waits: [],
        rows: ["1 1", "2 1"],
      },
    ],
  },
  {
    name: "a newer record of a row that is there already waits, and updates it then",
    steps: [
      { file: csv("id,parent_id", "1,1"), counts: [1, 1, 0, 0, 0, 0], waits: [], rows: ["1 1"] },
      { file: csv("id,parent_id", "1,7"), counts: [1, 0, 0, 0, 0, 1], waits: [[1, "1", orphan]], rows: ["1 1"] },
      { sql: "insert into public.parents values (7)", counts: [1, 0, 1, 0, 0, 0], waits: [], rows: ["1 7"] },
    ],
  },
  {
    name: "within a file a later record supersedes, too; an earlier one does not",
    steps: [
      {
        file: csv("id,size,parent_id", "1,0,", "1,1,", "2,1,", "2,0,", "3,1,", "3,2,7", "4,0,", "4,-1,"),
        counts: [8, 2, 0, 0, 3, 3],
        waits: [[4, "2", tooSmall], [6, "3", orphan], [8, "4", tooSmall]],
        rows: ["1 size 1", "2 size 1"],
      },
      {
        sql: "insert into public.parents values (7)",
        counts: [3, 1, 0, 0, 0, 2],
        waits: [[4, "2", tooSmall], [8, "4", tooSmall]],
        rows: ["1 size 1", "2 size 1", "3 7 size 2"],
      },
      {
        counts: [0, 0, 0, 0, 0, 0],
        waits: [[4, "2", tooSmall], [8, "4", tooSmall]],
        rows: ["1 size 1", "2 size 1", "3 7 size 2"],
      },
    ],
  },
  {
    name: "keys are the same as their index finds them",
    steps: [
      {
        file: csv("id,size", "01,0", " 2,0"),
        counts: [2, 0, 0, 0, 0, 2],
        waits: [[1, "01", tooSmall], [2, " 2", tooSmall]],
        rows: [],
      },
      {
        file: csv("id,size", "1,1", "+2,-1"),
        counts: [4, 1, 0, 0, 2, 1],
        waits: [[2, "+2", tooSmall]],
        rows: ["1 size 1"],
      },
    ],
  },
  {
    name: "the same record once more is the same reject, and what cannot be read or has no key stays",
    steps: [
      {
        file: csv("id,size", "1", "x,1", "1", ",1", "5,0"),
        counts: [5, 0, 0, 0, 0, 5],
        waits: [[1, "1", /^has 1 field/], [2, "x", /^is no integer/], [3, "1", /^has 1 field/], [
          4,
          "null",
          /^is missing/,
        ], [5, "5", tooSmall]],
        rows: [],
      },
      {
        file: csv("id,size", "2,2", "5,0", "x,1", "1", "1", "1"),
        counts: [7, 1, 0, 0, 0, 6],
        waits: [
          [1, "1", /^has 1 field/],
          [2, "x", /^is no integer/],
          [3, "1", /^has 1 field/],
          [4, "null", /^is missing/],
          [5, "5", tooSmall],
          [4, "1", /^has 1 field/],
        ],
        rows: ["2 size 2"],
      },
      {
        sql: "delete from etl.rejects where raw = '1' or value = 'x' or reason = 'is missing'",
        file: csv("id,size", "3,3"),
        counts: [2, 1, 0, 0, 0, 1],
        waits: [[5, "5", tooSmall]],
        rows: ["2 size 2", "3 size 3"],
      },
    ],
  },
  {
    name: "a unique value that another row has, until that gives it up",
    steps: [
      { file: csv("id,badge", "1,A"), counts: [1, 1, 0, 0, 0, 0], waits: [], rows: ["1 badge A"] },
      {
        file: csv("id,badge", "2,A"),
        counts: [1, 0, 0, 0, 0, 1],
        waits: [[1, "2", /^is another row's already$/]],
        rows: ["1 badge A"],
      },
      { file: csv("id,badge", "1,B"), counts: [2, 1, 1, 0, 0, 0], waits: [], rows: ["1 badge B", "2 badge A"] },
    ],
  },
  {
    name: "what a file carries is what its records mean, whatever the files of other days carry",
    steps: [
      {
        file: csv("id,parent_id,size,note", "1,7,1,", "2,7,2,two"),
        counts: [2, 0, 0, 0, 0, 2],
        waits: [[1, "1", orphan], [2, "2", orphan]],
        rows: [],
      },
      {
        file: csv("id,parent_id", "3,1", "4,7"),
        counts: [4, 1, 0, 0, 0, 3],
        waits: [[1, "1", orphan], [2, "2", orphan], [2, "4", orphan]],
        rows: ["3 1 note none"],
      },
      {
        sql: "insert into public.parents values (7)",
        file: csv("id,size", "3,3"),
        counts: [4, 3, 1, 0, 0, 0],
        waits: [],
        rows: ["1 7 size 1", "2 7 size 2 note two", "3 1 size 3 note none", "4 7 note none"],
      },
    ],
  },
  {
    name: "JSON: a key that an object lacks and others of its file have is null, then as on its first day",
    steps: [
      {
        file:
          '[{"id": 1, "parent_id": 7}, {"id": 2, "parent_id": 1, "note": "x"}, {"id": 3, "parent_id": 7, "extra": "[1]"}]',
        counts: [3, 1, 0, 0, 0, 2],
        waits: [[1, "1", orphan], [3, "3", orphan]],
        rows: ["2 1 note x"],
      },
      {
        file: '[{"id": 2, "size": 1.50}, {"id": 4, "parent_id": 7}]',
        counts: [4, 0, 1, 0, 0, 3],
        waits: [[1, "1", orphan], [3, "3", orphan], [2, "4", orphan]],
        rows: ["2 size 1.50 note x"],
      },
      {
        sql: "insert into public.parents values (7)",
        counts: [3, 3, 0, 0, 0, 0],
        waits: [],
        rows: ["1 7", "2 size 1.50 note x", '3 7 extra "[1]"', "4 7 note none"],
      },
    ],
  },
  {
    name: "the partner goes from CSV to JSON, and to NDJSON",
    steps: [
      { file: csv("id,parent_id,extra", "1,7,[1]"), counts: [1, 0, 0, 0, 0, 1], waits: [[1, "1", orphan]], rows: [] },
      {
        file: '[{"id": 2, "parent_id": 7, "extra": [2]}, 5]',
        counts: [3, 0, 0, 0, 0, 3],
        waits: [[1, "1", orphan], [1, "2", orphan], [2, " 5", /^is not a JSON object$/]],
        rows: [],
      },
      {
        sql: "insert into public.parents values (7)",
        file: '{"id": 1, "size": 1}\n{"id": 3, "size": 3}\n',
        counts: [4, 3, 0, 0, 1, 0],
        waits: [[2, " 5", /^is not a JSON object$/]],
        rows: ["1 size 1 note none", "2 7 note none extra [2]", "3 size 3 note none"],
      },
    ],
  },
  {
    name: "the limit counts what is new alone",
    columns: { reject_limit: 0.5 },
    steps: [
      { file: csv("id,parent_id", "1,7", "2,1"), counts: [2, 1, 0, 0, 0, 1], waits: [[1, "1", orphan]], rows: ["2 1"] },
      {
        file: csv("id,parent_id", "3,7", "4,1"),
        counts: [3, 1, 0, 0, 0, 2],
        waits: [[1, "1", orphan], [1, "3", orphan]],
        rows: ["2 1", "4 1"],
      },
      {
        file: csv("id,parent_id", "5,1", "6,8", "7,9"),
        counts: [0, 0, 0, 0, 0, 0],
        error:
          /2 of 3 records break a rule, more than the limit of 50 %; the first is record 2, column parent_id: is in no row of public\.parents/,
        waits: [[1, "1", orphan], [1, "3", orphan]],
        rows: ["2 1", "4 1"],
      },
    ],
  },
  {
    name: "children whose parent waits in the same table load with it, and are below the limit then",
    columns: { reject_limit: 0.5 },
    steps: [
      {
        file: csv("id,parent_id,sibling_id", "1,7,", "2,1,"),
        counts: [2, 1, 0, 0, 0, 1],
        waits: [[1, "1", orphan]],
        rows: ["2 1"],
      },
      {
        sql: "insert into public.parents values (7)",
        file: csv("id,sibling_id", "3,1", "4,3"),
        counts: [3, 3, 0, 0, 0, 0],
        waits: [],
        rows: ["1 7 note none", "2 1 note none", "3 sibling 1 note none", "4 sibling 3 note none"],
      },
    ],
  },
  {
    name: "what loads of one day's rejects lets those of another load, which carry other columns",
    steps: [
      {
        file: csv("badge,id,sibling_id", "A,1,2"),
        counts: [1, 0, 0, 0, 0, 1],
        waits: [[1, "1", /^is in no row of public\.things$/]],
        rows: [],
      },
      {
        file: csv("id,parent_id", "2,7"),
        counts: [2, 0, 0, 0, 0, 2],
        waits: [[1, "1", /^is in no row of public\.things$/], [1, "2", orphan]],
        rows: [],
      },
      {
        sql: "insert into public.parents values (7)",
        counts: [2, 2, 0, 0, 0, 0],
        waits: [],
        rows: ["1 sibling 2 badge A note none", "2 7 note none"],
      },
    ],
  },
  {
    name: "what cannot be tried, for the table is another one, stays",
    steps: [
      { file: csv("id,parent_id", "1,7", "2,1"), counts: [2, 1, 0, 0, 0, 1], waits: [[1, "1", orphan]], rows: ["2 1"] },
      {
        sql: 'alter table public.things rename id to no; update etl.feeds set columns = \'{"number": "no"}\'',
        file: csv("number,parent_id", "3,1"),
        counts: [2, 1, 0, 0, 0, 1],
        waits: [[1, "1", orphan]],
        rows: ["2 1", "3 1"],
      },
    ],
  },
  {
    name: "of a file of all nothing waits any more; of changes again, what it has",
    steps: [
      { file: csv("id,parent_id", "1,7"), counts: [1, 0, 0, 0, 0, 1], waits: [[1, "1", orphan]], rows: [] },
      {
        file: csv("id,parent_id", "2,7"),
        counts: [2, 0, 0, 0, 0, 2],
        waits: [[1, "1", orphan], [1, "2", orphan]],
        rows: [],
      },
      { sql: "update etl.feeds set contents = 'all'", counts: [1, 0, 0, 0, 0, 1], waits: [[1, "2", orphan]], rows: [] },
      {
        sql: "update etl.feeds set contents = 'changes'",
        file: csv("id,parent_id", "3,7"),
        counts: [2, 0, 0, 0, 0, 2],
        waits: [[1, "2", orphan], [1, "3", orphan]],
        rows: [],
      },
    ],
  },
];

for (const { name, columns, steps } of cases) {
  Deno.test(`a file of changes: ${name}`, async () => {
    await using at = await databaseAndWeb(tables, {}, true);
    const { db, web } = at;
    await db.feed("things", { url: `${web.url}/things`, reject_limit: 1, contents: "changes", ...columns });
    for (const [i, { sql, file, counts, waits, rows, error }] of steps.entries()) {
      const told = `step ${i + 1}`;
      if (sql) await db.query(sql);
      if (file) web.files["/things"] = file;
      const report = await db.loadOne("things");
      if (error) assert.match(report.error?.message ?? "none", error, told);
      else assert.equal(report.error, null, told);
      assert.deepEqual(countsOf(report), counts, told);
      if (!file && !/contents|alter/.test(sql ?? "")) assert.equal(web.log.at(-1), "GET /things 304", told);
      const found = await db.query(
        `select record_number::int, coalesce(raw, record ->> 'id', 'null') as id, reason from etl.rejects
        order by since, record_number`,
      );
      assert.deepEqual(
        found.map(({ record_number, id }) => [record_number, id]),
        waits.map(([n, id]) => [n, id]),
        told,
      );
      waits.forEach(([, , reason], n) => assert.match(found[n].reason, reason, told));
      const [{ lines }] = await db.query(
        `select coalesce(array_agg(line order by line), '{}') as lines
        from public.things t, concat_ws(' ', to_jsonb(t) ->> 'id', to_jsonb(t) ->> 'no', parent_id, 'sibling ' || sibling_id,
          'size ' || size, 'badge ' || badge, 'note ' || note, 'extra ' || extra::text) line`,
      );
      const noted = rows.some((row) => row.includes("note")) || rows.length === 0;
      assert.deepEqual(noted ? lines : lines.map((line: string) => line.replace(" note none", "")), rows, told);
      if (error) continue;

      const before = await snapshot(db);
      for (const force of [false, true]) {
        const again = await db.loadOne("things", { force });
        assert.deepEqual([again.error, again.status], [null, "unchanged"], `${told}: nothing is new`);
        assert.deepEqual(await snapshot(db), before, `${told}: and nothing is written`);
      }
    }
  });
}
