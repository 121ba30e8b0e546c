/** supabase/sql is what runs: the migrations bring it, all of it, and nothing else; and it keeps the rules of its house. */
import assert from "node:assert/strict";
import { changedSources, sources } from "../../lib/local/migration.ts";
import { type Database, freshDatabase } from "../support/database.ts";
import { filesIn, root } from "../support/project.ts";

Deno.test("deno task migration has nothing to write", async () => {
  const hint = "supabase/sql was changed: deno task migration NAME";
  assert.deepEqual([...(await changedSources()).keys()], [], hint);
});

Deno.test("the migrations give exactly the functions of the sources, with their comments and privileges", async () => {
  await using db = await freshDatabase();
  const migrated = await functionsOf(db);
  for (const { name } of migrated) await db.query(`drop function ${name} cascade`);
  await applySources(db);
  assert.deepEqual(await functionsOf(db), migrated);
});

Deno.test("each function compiles under every extra check of PL/pgSQL", async () => {
  await using db = await freshDatabase();
  await db.query("begin");
  // Functions in SQL are checked against the tables that they name: the temp tables of a load among them.
  await db.query("select etl.stage('drivers', 1, array['id'], ',')");
  await db.query("alter table pg_temp.etl_staging_1 rename to etl_staging");
  await db.query("select set_config('plpgsql.extra_errors', 'all', true)");
  for (const { oid, name, validator } of await functionsOf(db)) {
    await db.query("savepoint here");
    await assert.doesNotReject(db.query(`select ${validator}(${oid})`), name);
    await db.query("rollback to savepoint here");
  }
  await db.query(`create function pg_temp.shadows() returns int language plpgsql
    as 'declare f int; begin declare f int; begin return f; end; end'`).then(
    () => assert.fail("a function that shadows its own variable compiles: the checks are off"),
    ({ message }) => assert.match(message, /shadows/),
  );
});

Deno.test("every function, table and column of etl has a comment", async () => {
  await using db = await freshDatabase();
  const bare = await db.query(`
    select p.oid::regprocedure::text as name from pg_proc p
    where p.pronamespace in ('etl'::regnamespace, 'public'::regnamespace) and obj_description(p.oid, 'pg_proc') is null
    union all
    select c.oid::regclass::text from pg_class c
    where c.relnamespace = 'etl'::regnamespace and c.relkind in ('r', 'v') and obj_description(c.oid, 'pg_class') is null
    union all
    select format('%s.%I', a.attrelid::regclass, a.attname) from pg_attribute a
    join pg_class c on c.oid = a.attrelid and c.relnamespace = 'etl'::regnamespace and c.relkind in ('r', 'v')
    where a.attnum > 0 and not a.attisdropped and col_description(a.attrelid, a.attnum) is null
    order by 1`);
  assert.deepEqual(bare, []);
});

Deno.test("no line of SQL is longer than 120 characters", async () => {
  const long: string[] = [];
  for (const folder of ["lib", "supabase", "tests"]) {
    for (const file of await filesIn(new URL(`${folder}/`, root), ".sql")) {
      const lines = (await Deno.readTextFile(file)).split("\n");
      lines.forEach((line, i) => [...line].length > 120 && long.push(`${file.pathname}:${i + 1}`));
    }
  }
  assert.deepEqual(long, []);
});

async function functionsOf(db: Database) {
  return await db.query(`
    select
      p.oid::int as oid, p.oid::regprocedure::text as name, l.lanvalidator::regproc::text as validator,
      pg_get_functiondef(p.oid) as definition, obj_description(p.oid, 'pg_proc') as comment, p.proacl::text[] as rights
    from pg_proc p
    join pg_language l on l.oid = p.prolang
    where p.pronamespace in ('etl'::regnamespace, 'public'::regnamespace)
    order by name`).then((rows) => rows.map(({ oid, ...row }) => Object.defineProperty(row, "oid", { value: oid })));
}

async function applySources(db: Database): Promise<void> {
  await db.query("set check_function_bodies = off");
  for (const text of (await sources()).values()) await db.query(text);
}
