/** Unique values that move between rows within one file: Postgres looks for a unique violation row by row, the loader must not. */
import assert from "node:assert/strict";
import { countsOf } from "../support/counts.ts";
import { freshDatabase } from "../support/database.ts";
import { snapshot } from "../support/snapshot.ts";
import { serve } from "../support/web.ts";

/** The table's rules; the second file; how it is counted: read, inserted, updated, unchanged, duplicate, rejected. */
const moves: Record<string, [rules: string, before: string, after: string, counts: number[]]> = {
  "two rows swap": ["code text unique, x int", "1,a,1 2,b,1", "1,b,1 2,a,1", [2, 0, 2, 0, 0, 0]],
  "two rows swap, NOT NULL": ["code text not null unique, x int", "1,a,1 2,b,1", "1,b,1 2,a,1", [2, 0, 2, 0, 0, 0]],
  "a chain, NOT NULL": ["code int not null unique, x int", "1,1,1 2,2,1 3,3,1", "1,2,1 2,3,1 3,4,1", [
    3,
    0,
    3,
    0,
    0,
    0,
  ]],
  "a cycle of three": ["code text unique, x int", "1,a,1 2,b,1 3,c,1", "1,c,1 2,a,1 3,b,1", [3, 0, 3, 0, 0, 0]],
  "a new row takes what another gives up": ["code text unique, x int", "1,a,1", "2,a,1 1,b,1", [2, 1, 1, 0, 0, 0]],
  "a composite index": ["code text, x int not null, unique (code, x)", "1,a,1 2,a,2", "1,a,2 2,a,1", [
    2,
    0,
    2,
    0,
    0,
    0,
  ]],
  "a partial index": ["code text not null, x int", "1,a,1 2,a,2 3,a,2", "1,a,2 2,a,1 3,a,2", [3, 0, 2, 1, 0, 0]],
  "a partial index, by its condition": ["code text not null, x int", "1,a,1 2,a,2", "1,a,2 2,a,1", [2, 0, 2, 0, 0, 0]],
  "two rows swap where nulls are equal": [
    "code text, x int, unique nulls not distinct (code)",
    "1,a,1 2,b,1",
    "1,b,1 2,a,1",
    [
      2,
      0,
      2,
      0,
      0,
      0,
    ],
  ],
  "an index where nulls are equal": ["code text, x int", "1,a,1 2,b,1 3,c,1", "1,b,1 2,a,1 3,c,1", [3, 0, 2, 1, 0, 0]],
  "an expression swapped": ["code text not null, x int", "1,a,1 2,b,1", "1,B,1 2,A,1", [2, 0, 2, 0, 0, 0]],
  "an expression": ["code text, x int", "1,a,1", "1,a,1 2,A,1", [2, 0, 0, 1, 0, 1]],
  "one keeps it, and an earlier new row wants it": ["code text unique, x int", "1,a,1", "2,a,1 1,a,2", [
    2,
    0,
    1,
    0,
    0,
    1,
  ]],
  "a row that cannot move keeps its value": ["code text unique, x int check (x > 0)", "1,a,1 2,b,1", "1,b,0 2,a,1", [
    2,
    0,
    0,
    0,
    0,
    2,
  ]],
};

Deno.test("unique values that move within one file", async (t) => {
  await using db = await freshDatabase();
  await using web = serve({});
  const csv = (rows: string) => `id,code,x\n${rows.replaceAll(" ", "\n")}\n`;
  for (const [name, [rules, before, after, counts]] of Object.entries(moves)) {
    await t.step(name, async () => {
      await db.query(`drop table if exists public.codes; create table public.codes (id int primary key, ${rules})`);
      if (/partial/.test(name)) await db.query("create unique index on public.codes (code) where x = 1");
      if (/index where nulls/.test(name)) {
        await db.query("create unique index on public.codes (code) nulls not distinct");
      }
      if (/expression/.test(name)) await db.query("create unique index on public.codes (lower(code))");
      const nullable =
        "select array_agg(attname::text) as columns from pg_attribute where attrelid = 'public.codes'::regclass and attnotnull";
      const required = await db.query(nullable);
      await db.query("delete from etl.feeds where name = 'codes'");
      await db.feed("codes", { url: `${web.url}/codes`, reject_limit: 1 });
      web.files["/codes"] = csv(before);
      assert.equal((await db.loadOne("codes")).error, null);

      web.files["/codes"] = csv(after);
      const report = await db.loadOne("codes");

      assert.equal(report.error, null);
      assert.deepEqual(countsOf(report), counts);
      if (report.rejected === 0) {
        const rows = await db.query("select concat_ws(',', id, code, x) as row from public.codes order by id");
        assert.equal(rows.map(({ row }) => row).join(" "), after.split(" ").sort().join(" "));
      }
      assert.deepEqual(await db.query(nullable), required);
      const then = await snapshot(db);
      assert.equal((await db.loadOne("codes", { force: true })).status, "unchanged");
      assert.deepEqual(await snapshot(db), then);
    });
  }
});
