/** Names that would like to be SQL: of feeds, tables, columns, in headers and in JSON keys. None does harm. */
import assert from "node:assert/strict";
import { freshDatabase } from "../support/database.ts";
import { serve } from "../support/web.ts";

const hostile = [
  `'; drop table public.drivers; --`,
  `"; drop table public.drivers; --`,
  "$$; drop table public.drivers; $$",
  "$copy$",
  `%s %I %L %1$s`,
  `a"b'c\\d`,
  "naïve 名前 🚕",
  "select",
  "c1",
  "record",
  "x\ty\nz",
];

const quoted = (name: string) => `"${name.replaceAll('"', '""')}"`;

Deno.test("hostile names of tables, columns and feeds are loaded as what they are", async (t) => {
  await using db = await freshDatabase();
  await using web = serve({});
  for (const [i, name] of hostile.entries()) {
    await t.step(JSON.stringify(name), async () => {
      await db.query(
        `create table public.${quoted(name)} (id int primary key, ${quoted(name)} text check (${
          quoted(name)
        } <> 'bad'))`,
      );
      const target = `public.${quoted(name)}`;
      web.files[`/csv${i}`] = `id,${quoted(name)}\n1,${quoted(name)}\n2,bad\n`;
      web.files[`/json${i}`] = JSON.stringify([{ id: 3, [name]: name }, { id: 4, [name]: "bad" }]);
      for (const kind of ["csv", "json"]) {
        const feed = `${kind} ${name}`;
        await db.feed(feed, { url: `${web.url}/${kind}${i}`, target, reject_limit: 0.5 });
        const report = await db.loadOne(feed);
        assert.deepEqual([report.inserted, report.rejected, report.error], [1, 1, null]);
        const [reject] = await db.query("select column_name, value, record from etl.rejects where feed = $1", [feed]);
        assert.deepEqual([reject.column_name, reject.value, reject.record[name]], [name, "bad", "bad"]);
      }
      assert.deepEqual(await db.query(`select ${quoted(name)} as value from ${target} order by id`), [{ value: name }, {
        value: name,
      }]);
    });
  }
  assert.deepEqual(await db.query("select count(*)::int as tables from pg_tables where tablename = 'drivers'"), [{
    tables: 1,
  }]);
});

Deno.test("hostile names that no table has are named in the report, or refused by name", async () => {
  await using db = await freshDatabase();
  await using web = serve({ "/drivers.json": "[]" });
  const header = ["id", ...hostile].map(quoted).join(",");
  web.files["/drivers.csv"] = `${header}\nd1${",x".repeat(hostile.length)}\n`;
  await db.feed("drivers", { url: `${web.url}/drivers.csv`, format: "csv" });
  const report = await db.loadOne("drivers");
  assert.deepEqual([report.inserted, report.ignored_columns], [1, hostile]);
  for (const name of hostile) {
    await assert.rejects(db.load({ feeds: [name] }), {
      code: "unknown_feed",
      message: `Cannot run: there is no feed ${name}`,
    });
    await db.feed(`to ${name}`, { url: `${web.url}/drivers.csv`, target: name });
    const { error } = await db.loadOne(`to ${name}`);
    assert.match(error!.code, /^(42...|undefined_table)$/, `${name}: ${error!.message}`);
  }
});
