/** The migrations: by our runner or the Supabase CLI, in either order, and whole or not at all. */
import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";
import { migrate } from "../../lib/local/migrate.ts";
import { output, result } from "../support/command.ts";
import { type Database, freshDatabase } from "../support/database.ts";
import { temporary } from "../support/directories.ts";
import { project } from "../support/project.ts";
import { schemaOf } from "../support/schema.ts";
import { snapshot } from "../support/snapshot.ts";

const versions = [...Deno.readDirSync(`${project}/supabase/migrations`)].map((file) => file.name.split("_")[0]).sort();

Deno.test("an empty database gets every migration, the next time none", async () => {
  await using db = await freshDatabase("template1");
  assert.deepEqual(await migrate(db.url), versions);
  const before = await snapshot(db);
  assert.deepEqual(await migrate(db.url), []);
  assert.deepEqual(await snapshot(db), before);
});

Deno.test("two runners at once: each migration is applied once", async () => {
  await using db = await freshDatabase("template1");
  const applied = await Promise.all([migrate(db.url), migrate(db.url)]);
  assert.deepEqual(applied.flat().sort(), versions);
});

Deno.test("the Supabase CLI before or after: the other finds nothing to do", async (t) => {
  await using work = await temporary();
  await output("cp", ["-R", `${project}/supabase`, work.path]);
  const supabase = async (db: Database, ...command: string[]) => {
    const url = Object.assign(new URL(db.url), { search: "?sslmode=disable" }).href;
    const args = ["-y", "supabase@3.1.0", ...command, `--remote=${url}`, "--workdir", work.path, "--yes"];
    const { code, out, err } = await result("npx", args);
    assert.equal(code, 0, out + err);
    return out + err;
  };
  await t.step("db push, then our runner", async () => {
    await using db = await freshDatabase("template1");
    assert.match(await supabase(db, "db", "push"), /Finished/);
    assert.deepEqual(await migrate(db.url), []);
    assert.deepEqual(await schemaOf(db), await ourSchema());
  });
  await t.step("our runner, then db push and migration list", async () => {
    await using db = await freshDatabase();
    assert.match(await supabase(db, "db", "push"), /up to date/);
    const list = await supabase(db, "migration", "list");
    for (const version of versions) assert.match(list, new RegExp(`${version}.*${version}`), "local and remote");
  });
});

async function ourSchema(): Promise<unknown> {
  await using db = await freshDatabase();
  return await schemaOf(db);
}

Deno.test("a migration that fails is rolled back whole, and named; those before it stay", async () => {
  await using db = await freshDatabase("template1");
  await using work = await temporary();
  await Deno.writeTextFile(`${work.path}/1_fine.sql`, "create table public.one (id int primary key);");
  await Deno.writeTextFile(
    `${work.path}/2_breaks.sql`,
    "create table public.two (id int); insert into public.two values (1), (1); alter table public.two add primary key (id);",
  );
  const directory = pathToFileURL(`${work.path}/`);
  for (const _ of ["the first time", "again"]) {
    await assert.rejects(migrate(db.url, directory), {
      name: "EtlError",
      code: "23505",
      message: "Cannot apply the migration 2_breaks.sql; it was rolled back: " +
        'could not create unique index "two_pkey": Key (id)=(1) is duplicated.',
    });
    assert.deepEqual(await db.query("select to_regclass('one')::text as one, to_regclass('two')::text as two"), [
      { one: "one", two: null },
    ]);
  }
  await Deno.writeTextFile(`${work.path}/2_breaks.sql`, "create table public.two (id int);");
  assert.deepEqual(await migrate(db.url, directory), ["2"]);
});

Deno.test("rights: nothing for anon, reading what the policies show for authenticated, and the machinery for the owner alone", async () => {
  await using db = await freshDatabase("template1");
  // As in a Supabase project of before 2026-10-30.
  await db.query(`
    alter default privileges in schema public grant all on tables to anon, authenticated, service_role;
    alter default privileges in schema public grant all on functions to anon, authenticated, service_role;
    alter default privileges in schema public grant all on sequences to anon, authenticated, service_role`);
  await migrate(db.url);
  const tables = await db.query(`
    select c.relname as name, c.relrowsecurity as secured,
      has_table_privilege('anon', c.oid, 'select,insert,update,delete,truncate,references,trigger') as anon,
      has_table_privilege('authenticated', c.oid, 'select') as reads,
      has_table_privilege('authenticated', c.oid, 'insert,update,delete,truncate,references,trigger') as writes,
      has_table_privilege('service_role', c.oid, 'insert,update,delete,truncate,references,trigger') as service
    from pg_class c
    where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'v')
    order by 1`);
  const expected = { secured: true, anon: false, reads: true, writes: false, service: false };
  assert.deepEqual(tables, ["charges", "drivers", "trips"].map((name) => ({ name, ...expected })));

  const loose = await db.query(`
    select p.oid::regprocedure::text as function
    from pg_proc p
    where p.pronamespace in ('etl'::regnamespace, 'public'::regnamespace)
      and (
        not exists (select from unnest(p.proconfig) as setting where setting ~ '^search_path=')
        or has_function_privilege('anon', p.oid, 'execute')
        or p.pronamespace = 'etl'::regnamespace
          and exists (select from aclexplode(p.proacl) a where a.grantee = 0)
      )`);
  assert.deepEqual(loose, [], "each function has a search_path, and public may call none");
  const open = await db.query(`
    select c.oid::regclass::text as name, r.rolname
    from pg_class c, pg_roles r
    where c.relnamespace = 'etl'::regnamespace and c.relkind in ('r', 'v', 'S')
      and r.rolname in ('anon', 'authenticated', 'authenticator', 'service_role')
      and (r.rolname not in ('authenticated', 'service_role') and has_schema_privilege(r.oid, 'etl', 'usage')
        or has_table_privilege(r.oid, c.oid, 'select,insert,update,delete,truncate,references,trigger')
        or c.relkind = 'r' and not c.relrowsecurity)`);
  assert.deepEqual(open, []);
});
