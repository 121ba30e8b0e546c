/** What only looks changes nothing, least of all the schema; what brings it up to date says so. */
import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";
import { migrate } from "../../lib/local/migrate.ts";
import { run } from "../support/command.ts";
import { type Database, freshDatabase } from "../support/database.ts";
import { temporary } from "../support/directories.ts";
import { project } from "../support/project.ts";
import { schemaOf } from "../support/schema.ts";
import { snapshot } from "../support/snapshot.ts";
import { serveSamples } from "../support/samples.ts";

const migrations = (await Array.fromAsync(Deno.readDir(`${project}/supabase/migrations`))).map(({ name }) => name)
  .sort();
const looks = [["rejects"], ["rejects", "--json"], ["etl", "--dry-run"], ["etl", "--dry-run", "--json"]];
const all = async (db: Database) => [await schemaOf(db), await snapshot(db)];
const of = (db: Database, args: string[]) => run(args, { env: { DATABASE_URL: db.url } });

/** A database on which these migrations were applied. */
async function withMigrations(names: string[]): Promise<Database> {
  await using work = await temporary();
  for (const name of names) {
    await Deno.copyFile(`${project}/supabase/migrations/${name}`, `${work.path}/${name}`);
  }
  const db = await freshDatabase("template1");
  if (names.length > 0) await migrate(db.url, pathToFileURL(`${work.path}/`));
  return db;
}

for (
  const [title, names] of Object.entries({ "an empty database": [], "a database of before": migrations.slice(0, 3) })
) {
  Deno.test(`looking leaves ${title} as it is, and says what brings it up to date`, async () => {
    await using db = await withMigrations(names);
    await db.admin(`create table public.theirs (id int primary key); insert into public.theirs values (1);`);
    const before = await all(db);
    for (const args of looks) {
      const { code, out, err } = await of(db, args);
      const said = args.includes("--json") ? JSON.parse(out).error.code : err;
      assert.match(said, /not_migrated|^error: the database lacks \d+ of the migrations .*\n.*deno task migrate/);
      assert.equal(code, 1, args.join(" "));
      if (args.includes("--json")) assert.equal(JSON.parse(out).dry_run, args.includes("--dry-run"), args.join(" "));
    }
    assert.deepEqual(await all(db), before);

    const { code, err } = await of(db, ["migrate"]);
    assert.deepEqual([code, err], [
      0,
      `Applied ${migrations.length - names.length} migrations, up to ${migrations.at(-1)!.split("_")[0]}.\n`,
    ]);
    assert.deepEqual(await of(db, ["migrate"]), {
      code: 0,
      out: "The database's schema is that of this checkout.\n",
      err: "",
    });
    await using web = serveSamples();
    await db.pointAt(web.url);
    const migrated = await all(db);
    for (const args of looks) assert.equal((await of(db, args)).code, 0, args.join(" "));
    assert.deepEqual(await all(db), migrated);
  });
}

Deno.test("a schema that is newer than the checkout is refused, by what looks and by what loads", async () => {
  await using db = await freshDatabase();
  await db.query(
    "insert into supabase_migrations.schema_migrations (version, name) values ('29990101000000', 'later.generated')",
  );
  const before = await all(db);
  for (const args of [...looks, ["etl"], ["migrate"]]) {
    const { code, out, err } = await of(db, args);
    assert.equal(code, 1);
    assert.match(out + err, /the database's schema is newer than this checkout/, args.join(" "));
  }
  assert.deepEqual(await all(db), before);
});

Deno.test("migrations of somebody else, later ones too, are none of our business", async () => {
  await using db = await freshDatabase();
  await db.query(
    "insert into supabase_migrations.schema_migrations (version, name) values ('29990101000000', 'theirs')",
  );
  assert.equal((await of(db, ["rejects"])).code, 0);
});

Deno.test("health ends with 1 where a feed is not ok, and says what to do", async () => {
  await using db = await freshDatabase();
  await using web = serveSamples();
  await db.pointAt(web.url);
  const never = await of(db, ["health"]);
  assert.deepEqual([never.code, never.err], [1, ""]);
  assert.match(never.out, /^feed +verdict +last change\ncharges +never ran +never\n/);
  assert.match(never.out, /\n\ntrips is never ran: Nothing was ever loaded/);
  await db.load();
  const well = await of(db, ["health", "--json"]);
  const { status, feeds } = JSON.parse(well.out);
  assert.deepEqual([well.code, status, feeds.length], [0, "ok", 3]);
  await db.query("update etl.runs set finished_at = finished_at - interval '3 days'");
  const unknown = await of(db, ["health"]);
  assert.equal(unknown.code, 1);
  assert.match(unknown.out, /\n\ntrips is unknown: No run is known of since/);
  assert.equal((await of(db, ["health", "trips"])).code, 2);
});
