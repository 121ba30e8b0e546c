/** The deploy guide of the README, by the real CLI; then the function from exactly the files that it uploaded. */
import assert from "node:assert/strict";
import { dirname } from "node:path";
import { bundle } from "../../lib/local/bundle.ts";
import { migrate } from "../../lib/local/migrate.ts";
import { startPostgres } from "../../lib/local/postgres/start.ts";
import { denoOfThePlatform, deployed } from "./deployed.ts";
import { keepCertificates } from "../support/certificates.ts";
import { denoDirectory, output } from "../support/command.ts";
import { type Database, database, freshDatabase } from "../support/database.ts";
import { temporary } from "../support/directories.ts";
import { document, project } from "../support/project.ts";
import { serveSamples } from "../support/samples.ts";
import { snapshot } from "../support/snapshot.ts";
import { managementApi, ref } from "./management_api.ts";
import { workplace } from "./supabase_cli.ts";

const secret = "a-trigger-secret-of-more-than-32-characters";
const planted = "planted-secret";

const path = "supabase/functions/etl/bundle.ts";

/** What a file imports, and what that imports, as Deno sees it. */
async function importsOf(file: string): Promise<string[]> {
  const out = await output(Deno.execPath(), ["info", "--json", "--no-config", file]);
  return (JSON.parse(out).modules as { specifier: string }[]).map(({ specifier }) => specifier);
}

/** The packages with which deno.lock says that it comes. */
async function lockedPackages(): Promise<string[]> {
  const { npm } = JSON.parse(await document("deno.lock"));
  return Object.keys(npm).map((id) => id.replace(/(?<=.@[^_]*)_.*/, ""));
}

Deno.test("the function is uploaded as one file of what deno.lock names, and it runs by itself", async (t) => {
  await using db = await freshDatabase();
  await using api = managementApi(db, (sql) => sql);
  await using work = await workplace(api.url);
  for (
    const path of [".env", "supabase/functions/.env", "supabase/functions/etl/.env", "lib/.env", ".local/password"]
  ) {
    await Deno.mkdir(`${work.path}/${dirname(path)}`, { recursive: true });
    await Deno.writeTextFile(`${work.path}/${path}`, `SECRET=${planted}\n`);
  }

  await t.step("by the CLI alone nothing is", async () => {
    const { code, out, err } = await work.shell(`npx -y supabase@3.1.0 functions deploy etl --use-api --remote=${ref}`);
    assert.notEqual(code, 0, out + err);
    assert.match(out + err, /Entrypoint path does not exist/);
    assert.deepEqual(api.uploaded, {});
  });

  await t.step("what is uploaded, and that the file is gone then", async () => {
    const { code, out, err } = await work.shell(`npx -y deno@2.9.6 task deploy --remote=${ref}`);
    assert.equal(code, 0, out + err);
    assert.deepEqual(Object.keys(api.uploaded), [path]);
    const { entrypoint_path, import_map_path, verify_jwt } = api.metadata;
    assert.deepEqual([entrypoint_path, import_map_path ?? "", verify_jwt], [path, "", false]);
    await assert.rejects(Deno.stat(`${work.path}/${path}`), Deno.errors.NotFound);
  });

  await t.step(
    "it imports Node's built-ins, and holds packages of deno.lock, their licences, and no secret",
    async () => {
      await using directory = await temporary();
      const text = api.uploaded[path];
      await Deno.writeTextFile(`${directory.path}/bundle.ts`, text);
      const [itself, ...imports] = (await importsOf(`${directory.path}/bundle.ts`)).sort();
      assert.match(itself, /bundle\.ts$/);
      assert.ok(imports.length > 5);
      for (const specifier of imports) assert.match(specifier, /^node:/);
      assert.doesNotMatch(text, /createRequire|import\.meta|\bimport\(/);
      const packages = new Set(
        Array.from(text.matchAll(/^\/\/ npm:(.+?)\/(\d[^/]*)\//gm), ([, name, v]) => `${name}@${v}`),
      );
      assert.ok(packages.size > 10);
      const locked = await lockedPackages();
      for (const one of packages) {
        assert.ok(locked.includes(one), one);
        assert.ok(text.includes(`\n/* npm:${one}: `), `the licence of ${one}`);
      }
      for (const hidden of [planted, work.path, project, await denoDirectory()]) {
        assert.ok(
          !text.includes(hidden),
          hidden,
        );
      }
    },
  );

  await t.step("it is the same from another directory", async () => {
    await using directory = await temporary();
    await bundle("supabase/functions/etl/index.ts", `${directory.path}/bundle.ts`);
    assert.equal(await Deno.readTextFile(`${directory.path}/bundle.ts`), api.uploaded[path]);
  });

  for (const [name, deno] of [["the platform's Deno", await denoOfThePlatform()], ["this Deno", Deno.execPath()]]) {
    await t.step(`three feeds under ${name}, and again`, async () => {
      await using db = await freshDatabase();
      await using web = serveSamples();
      await db.pointAt(web.url);
      await using directory = await temporary();
      const env = { SUPABASE_DB_URL: db.url, ETL_TRIGGER_SECRET: secret };
      await using etl = await deployed(deno, directory.path, api, env);
      const call = (given: string) => fetch(etl.url, { method: "POST", headers: { authorization: `Bearer ${given}` } });

      const refused = await call("not-the-trigger-secret-but-long-enough");
      assert.deepEqual([refused.status, await refused.json()], [401, { error: { code: "secret_refused" } }]);
      assert.deepEqual(web.log, []);
      const first = await call(secret);
      assert.equal(first.status, 200);
      const report = await first.json();
      assert.equal(report.status, "changed");
      assert.deepEqual(report.feeds.map((feed: { feed: string }) => feed.feed), ["drivers", "trips", "charges"]);
      const before = await snapshot(db);
      const second = await call(secret);
      assert.deepEqual([second.status, (await second.json()).status], [200, "unchanged"]);
      assert.deepEqual(await snapshot(db), before);
    });
  }

  // Under the rights of the platform, and with no file to read.
  await t.step("by verified TLS", async (t) => {
    await using home = await temporary();
    const { authority, settings } = await keepCertificates(home.path, ["127.0.0.1"]);
    const server = await startPostgres(home.path, [...settings, "fsync=off"]);
    try {
      await migrate(server.url);
      await using web = serveSamples();
      await using loader = await database("postgres", server);
      await loader.pointAt(web.url);
      const url = (parameters: string) => Object.assign(new URL(server.url), { search: parameters }).href;
      const call = async (deno: string, env: Record<string, string>) => {
        await using directory = await temporary();
        const all = { SUPABASE_DB_URL: url("sslmode=verify-full"), ETL_TRIGGER_SECRET: secret, ...env };
        await using etl = await deployed(deno, directory.path, api, all);
        const headers = { authorization: `Bearer ${secret}` };
        const { status, error } = await (await fetch(etl.url, { method: "POST", headers })).json();
        return error?.code ?? status;
      };
      const given = { DATABASE_CA: await Deno.readTextFile(authority) };
      let expected = "changed";
      for (const [name, deno] of [["the platform's Deno", await denoOfThePlatform()], ["this Deno", Deno.execPath()]]) {
        await t.step(name, async () => {
          assert.equal(await call(deno, {}), "tls");
          assert.equal(await call(deno, given), expected);
          assert.equal(await call(deno, { DATABASE_CA: "prod-ca.crt" }), "database_ca");
          assert.equal(await call(deno, { DATABASE_URL: url(`sslrootcert=${authority}`) }), "database_ca");
        });
        expected = "unchanged";
      }
    } finally {
      await server.stop();
    }
  });
});

Deno.test("the CLI finds nothing to advise, and makes the types", async (t) => {
  await using db = await freshDatabase();
  await using api = managementApi(db, (sql) => sql);
  await using work = await workplace(api.url);
  const url = Object.assign(new URL(db.url), { search: "?sslmode=disable" }).href;
  await t.step("db advisors", async () => {
    await useEachIndex(db);
    const command = 'npx -y supabase@3.1.0 db advisors --level info --fail-on info --remote="$url"';
    const { code, out, err } = await work.shell(command, { url });
    assert.equal(code, 0, out + err);
  });
  await t.step("gen types", async () => {
    const { code, out, err } = await work.shell('npx -y supabase@3.1.0 gen types --remote="$url"', { url });
    assert.equal(code, 0, err);
    assert.match(out, /trips_without_charges/);
    assert.doesNotMatch(out, /etl/, "a private schema");
  });
});

/** An index counts as unused, and is advised against, until something has read it. */
async function useEachIndex(db: Database): Promise<void> {
  await db.query("set enable_seqscan = off");
  await db.query("select from public.trips where driver_id = 'x'");
  // A block range index is read where there are blocks to leave out.
  await db.query(`insert into public.drivers (id) values ('d');
    insert into public.trips (id, driver_id, dropoff_timestamp)
    select n, 'd', timestamptz '2021-01-01Z' + n * interval '1 minute' from generate_series(1, 50000) n;
    analyze public.trips`);
  await db.query("select from public.trips where dropoff_timestamp between '2021-01-08Z' and '2021-01-09Z'");
  await db.query("select from public.charges where trip_id = 'x'");
  await db.query("select from etl.runs where feed = 'x' and status = 'failed' order by finished_at desc limit 1");
  await db.query("select max(finished_at) from etl.runs");
  await db.query(`select from etl.rejects
    where feed = 'x' and (sqlstate !~ '^(22|23502|23514)' or reason ~ '^(is refused by a trigger|fits no partition)')`);
  await db.query("select pg_stat_force_next_flush()");
}
