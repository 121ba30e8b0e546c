/** What CONTRIBUTING.md promises a newcomer: the merge by hand runs, and no task or variable is left out. */
import assert from "node:assert/strict";
import { freshDatabase } from "../support/database.ts";
import { snapshot } from "../support/snapshot.ts";
import { blocks, document, filesIn, root } from "../support/project.ts";

const text = await document("CONTRIBUTING.md");

Deno.test("a merge by hand runs as it is printed, rejects what it says, and leaves nothing", async () => {
  const [sql] = blocks(text, "sql");
  await using db = await freshDatabase();
  const before = await snapshot(db);
  await db.query(sql);
  assert.deepEqual(await snapshot(db), before);
  const steps = sql.slice(0, sql.lastIndexOf("rollback;"));
  await db.query(steps);
  assert.deepEqual(
    await db.query("select column_name, value, reason from pg_temp.etl_rejected order by etl$staged"),
    [
      { column_name: "driver_id", value: "driver-1", reason: "is in no row of public.drivers" },
      { column_name: "dropoff_timestamp", value: "last Tuesday", reason: "is no timestamp with time zone" },
    ],
  );
});

Deno.test("every task and every environment variable has its line", async () => {
  const { tasks } = JSON.parse(await Deno.readTextFile(new URL("deno.json", root)));
  const cells = [...text.matchAll(/^\| (`[^|]+)\|/gm)].flatMap(([, cell]) => [...cell.matchAll(/`([\w:]+)/g)]);
  const listed = new Set(cells.map(([, name]) => name));
  for (const task of Object.keys(tasks)) assert.ok(listed.has(task), `the task ${task}`);
  const machines = ["HOME", "PATH", "TZ"];
  const ours = ["SERVER_LOG", "URL_TO_TRY", "PGPASSFILE"];
  for (const folder of ["lib", "tests", "bench"]) {
    for (const file of await filesIn(new URL(`${folder}/`, root), ".ts")) {
      const source = await Deno.readTextFile(file);
      for (const [, name] of source.matchAll(/\b(?:get|has|number)\("([A-Z][A-Z_]+)"\)/g)) {
        if (![...machines, ...ours].includes(name)) assert.ok(listed.has(name), `${name}, read in ${file.pathname}`);
      }
    }
  }
});
