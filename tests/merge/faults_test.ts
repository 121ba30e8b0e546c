/** All that is wrong with a record is found at once, under its partner's own names, and in his words. */
import assert from "node:assert/strict";
import { databaseAndWeb } from "../support/given.ts";
import { snapshot } from "../support/snapshot.ts";

const tables = `
  create type public.shape as enum ('round', 'flat');
  create domain public.percent as int check (value between 0 and 100);
  create table public.parents (id int primary key);
  insert into public.parents values (1);
  create table public.things (
    id int primary key, name text not null, parent_id int references public.parents, boss int references public.things,
    born date, at timestamptz, size numeric(4, 1), small smallint, part public.percent, code varchar(3), shape public.shape,
    flag boolean, low int, high int,
    constraint order_of check (low <= high), constraint size_is_positive check (size > 0)
  );`;

/** Columns of the table, and of them what is wrong: the source, the value as it came, how the reason begins. */
type Fault = [source: string | null, value: string | null, reason: string];

const header = "Thing No,name,parent_id,boss,born,at,size,small,part,code,shape,flag,low,high";
const record = (cells: Record<string, string>) => header.split(",").map((name) => cells[name] ?? "").join(",");
const json = (cells: Record<string, string>) => JSON.stringify(cells);

const cases: Record<string, { cells: Record<string, string>; faults: Fault[] }> = {
  "cells of several types, and one that is missing": {
    cells: { "Thing No": "1", born: "soon", size: "12-5o", small: "99999", flag: "perhaps", shape: "square" },
    faults: [
      ["born", "soon", "is no date"],
      ["name", null, "is missing"],
      ["size", "12-5o", "is no numeric(4,1)"],
      ["small", "99999", "is out of the range of smallint"],
      ["shape", "square", "is no public.shape"],
      ["flag", "perhaps", "is no boolean"],
    ],
  },
  "a cell, a CHECK of others, and a parent": {
    cells: { "Thing No": "2", name: "x", born: "2021-02-30", low: "9", high: "1", parent_id: "7" },
    faults: [
      ["born", "2021-02-30", "is out of the range of date"],
      [null, null, "breaks the rule CHECK ((low <= high))"],
      ["parent_id", "7", "is in no row of public.parents"],
    ],
  },
  "a CHECK of a cell at fault is not asked": {
    cells: { "Thing No": "3", name: "x", low: "many", high: "1" },
    faults: [["low", "many", "is no integer"]],
  },
  "two CHECKs": {
    cells: { "Thing No": "4", name: "x", low: "9", high: "1", size: "-1" },
    faults: [[null, null, "breaks the rule CHECK ((low <= high))"], ["size", "-1", "breaks the rule CHECK"]],
  },
  "missing, and a parent": {
    cells: { "Thing No": "5", parent_id: "8" },
    faults: [["name", null, "is missing"], ["parent_id", "8", "is in no row of public.parents"]],
  },
  "the key itself, and what is too long": {
    cells: { "Thing No": "six", name: "x", code: "abcd", part: "101" },
    faults: [
      ["Thing No", "six", "is no integer"],
      ["part", "101", "breaks a rule of public.percent"],
      ["code", "abcd", "is too long for character varying(3)"],
    ],
  },
  "a parent alone": {
    cells: { "Thing No": "7", name: "x", parent_id: "9" },
    faults: [["parent_id", "9", "is in no row of public.parents"]],
  },
};

const files = {
  csv: [
    header,
    ...Object.values(cases).map(({ cells }) => record(cells)),
    record({ "Thing No": "99", name: "good" }),
    "",
  ]
    .join("\n"),
  ndjson: [...Object.values(cases).map(({ cells }) => cells), { "Thing No": "99", name: "good" }].map(json).join("\n"),
};

for (const [format, body] of Object.entries(files)) {
  for (const contents of ["all", "changes"]) {
    Deno.test(`all faults of a record are kept: ${format}, files of ${contents}`, async (t) => {
      await using at = await databaseAndWeb(tables, { "/things": body });
      await at.db.feed("things", {
        ...{ url: `${at.web.url}/things`, format, contents, reject_limit: 1, columns: { "Thing No": "id" } },
      });
      const report = await at.db.loadOne("things");
      const count = Object.keys(cases).length;
      assert.deepEqual([report.error, report.read, report.inserted, report.rejected], [null, count + 1, 1, count]);
      const rows = await at.db.query("select * from etl.rejects order by record_number");
      assert.equal(rows.length, count, "one row a record");
      for (const [i, [name, { faults }]] of Object.entries(cases).entries()) {
        await t.step(name, () => {
          const found = rows[i].faults as { source?: string; value?: string; reason: string; sqlstate: string }[];
          const sorted = (all: Fault[]) => all.map((fault) => JSON.stringify(fault)).sort();
          assert.deepEqual(
            sorted(found.map(({ source, value, reason }) => [source ?? null, value ?? null, reason.slice(0, 40)])),
            sorted(faults.map(([source, value, reason]) => [
              source,
              value,
              reason === "breaks the rule CHECK"
                ? "breaks the rule CHECK ((size > (0)::numeric))".slice(0, 40)
                : reason.slice(0, 40),
            ])),
          );
          assert.equal(found[0].reason, rows[i].reason, "the first is the one that it was rejected for");
          assert.ok(found.every(({ sqlstate }) => /^[0-9A-Z]{5}$/.test(sqlstate)));
        });
      }
      const before = await snapshot(at.db);
      assert.equal((await at.db.loadOne("things", { force: true })).status, "unchanged");
      assert.deepEqual(await snapshot(at.db), before, "what stays wrong is not written again");
      // What waits has its faults found anew, each time that it is tried.
      await at.db.query("insert into public.parents values (7), (8), (9)");
      const healed = await at.db.loadOne("things", { force: true });
      assert.deepEqual([healed.error, healed.inserted, healed.rejected], [null, 1, count - 1]);
      const left = await at.db.query("select faults from etl.rejects where faults::text like '%parents%'");
      assert.deepEqual(left, []);
    });
  }
}

Deno.test("a rule that raises hides the other rules, not the other cells", async () => {
  await using at = await databaseAndWeb(
    "create table public.things (id int primary key, a int, b int, c date, check (1 / a > 0))",
    { "/things": "id,a,b,c\n1,0,x,y\n2,0,1,\n3,1,,\n" },
  );
  await at.db.feed("things", { url: `${at.web.url}/things`, reject_limit: 1 });
  const report = await at.db.loadOne("things");
  assert.deepEqual([report.error, report.rejected, report.inserted], [null, 2, 1]);
  const rows = await at.db.query("select reason, faults from etl.rejects order by record_number");
  assert.deepEqual(
    rows.map(({ faults }) => faults.map(({ column, reason }: Record<string, string>) => `${column} ${reason}`)),
    [["b is no integer", "c is no date"], ["undefined cannot be written: division by zero"]],
  );
});

Deno.test("a record that could not be split, or is the header once more, has one fault", async () => {
  await using at = await databaseAndWeb(
    "create table public.things (id text primary key, n int)",
    { "/things": 'id,n\n1,x,y\nid,n\n2,"a\n3,1\n' },
  );
  await at.db.feed("things", { url: `${at.web.url}/things`, reject_limit: 1 });
  assert.equal((await at.db.loadOne("things")).error, null);
  const rows = await at.db.query("select reason, faults from etl.rejects order by record_number");
  assert.deepEqual(rows.map(({ faults }) => faults.length), [1, 1, 1]);
  assert.deepEqual(rows.map(({ faults }) => faults[0].reason), rows.map(({ reason }) => reason));
});
