/** Every command of the README's deploy guide, as it stands there, but for `login` and what only a project has. */
import assert from "node:assert/strict";
import { supabaseRoot2021 } from "../../lib/database/authorities.ts";
import { certificatesIn } from "../../lib/database/certificates.ts";
import { type Deployed, deployed } from "./deployed.ts";
import { type Database, freshDatabase } from "../support/database.ts";
import { temporary } from "../support/directories.ts";
import { blocks, document, project } from "../support/project.ts";
import { serveSamples } from "../support/samples.ts";
import { serve } from "../support/web.ts";
import { type ManagementApi, managementApi, ref } from "./management_api.ts";
import { workplace } from "./supabase_cli.ts";

const chapters = (await document("README.md")).split(/^## /m);
const chapter = (title: string) => chapters.find((chapter) => chapter.startsWith(`${title}\n`)) ?? "";
const commands = blocks(chapter("Deploy to Supabase"), "sh");

/** The schedule's extensions, or what stands in for them. */
async function createExtensions(db: Database): Promise<void> {
  for (const name of ["vault", "net"]) {
    await db.admin(await Deno.readTextFile(`${project}/tests/schedule/cron/${name}.sql`));
  }
  await db.query(`
    create schema cron;
    create table cron.job (jobid bigint generated always as identity, jobname text unique, schedule text, command text,
      active boolean default true);
    create table cron.job_run_details (jobid bigint, runid bigint, status text, return_message text,
      start_time timestamptz, end_time timestamptz);
    create function cron.schedule(text, text, text) returns bigint language sql as
      'insert into cron.job (jobname, schedule, command) values ($1, $2, $3)
      on conflict (jobname) do update set schedule = excluded.schedule, command = excluded.command returning jobid';
    create function cron.unschedule(bigint) returns boolean language sql as
      'delete from cron.job where jobid = $1 returning true';`);
}

/** What the extensions would do at the next tick: the call that the job makes, sent to the function. */
async function tick(db: Database, api: ManagementApi): Promise<{ status: number; last: string }> {
  const [{ command }] = await db.query("select command from cron.job where jobname = 'tdc-etl'");
  await db.query(command);
  const [call] = await db.query("delete from net.http_request_queue returning url, headers, body");
  assert.equal(call.url, `https://${ref}.supabase.co/functions/v1/etl`);
  await using directory = await temporary();
  const env = { ...api.secrets, SUPABASE_DB_URL: db.url };
  await using etl: Deployed = await deployed(Deno.execPath(), directory.path, api, env);
  const answer = await fetch(etl.url, { method: "POST", headers: call.headers, body: call.body });
  return { status: answer.status, last: (await answer.text()).trimEnd().split("\n").at(-1)! };
}

Deno.test("the deploy guide leads from an empty project to a scheduled loader, and back", async (t) => {
  assert.equal(commands.length, 9, "the README has its deploy guide");
  const [deploy, feeds, admit, health, authority, otherUrl, newSecret, oldSecretGone, end] = commands;
  await using db = await freshDatabase("template1");
  await createExtensions(db);
  await using api = managementApi(db, (sql) => sql.replaceAll(/create extension .*/g, ""));
  await using work = await workplace(api.url);
  const run = async (commands: string, env = {}) => {
    const { code, out, err } = await work.shell(
      commands.replace(/^npx .* login$/m, "").replace("db push --remote", 'db push --remote="$url"'),
      { url: Object.assign(new URL(db.url), { search: "?sslmode=disable" }).href, ...env },
    );
    assert.equal(code, 0, out + err);
    return out;
  };

  await t.step("at most seven commands, which may all be run again", async () => {
    assert.ok((deploy.match(/\bnpx /g) ?? []).length <= 7);
    await run(deploy);
    const first = api.secrets.ETL_TRIGGER_SECRET;
    assert.match(await run(deploy), /scheduled .* run 2\d{3}-/);
    assert.match(first, /^[0-9a-f]{64}$/);
    assert.equal(api.secrets.ETL_TRIGGER_SECRET, first);
    assert.deepEqual(
      await db.query("select jobname, schedule from cron.job where jobname = 'tdc-etl'"),
      [{ jobname: "tdc-etl", schedule: "*/10 * * * *" }],
    );
  });

  await t.step("the feeds' URLs", async () => {
    await run(feeds);
    const [{ url }] = await db.query("select url from etl.feeds where name = 'trips'");
    assert.equal(url, "https://partner.example/trips.csv");
  });

  await t.step("the first user, once there is one", async () => {
    await db.query("create schema auth; create table auth.users (id uuid primary key, email text)");
    await db.query("insert into auth.users values (gen_random_uuid(), 'you@example.org')");
    assert.match(await run(admit), /you@example.org is staff now/);
  });

  await using web = serveSamples();
  await db.pointAt(web.url);

  await t.step("the scheduled call loads the feeds", async () => {
    const { status, last } = await tick(db, api);
    assert.deepEqual([status, JSON.parse(last).status], [200, "changed"]);
    assert.match(await run(health), /drivers +│ ok/);
  });

  await t.step("another authority, and another URL, which comes before the platform's", async () => {
    await Deno.writeTextFile(`${work.path}/prod-ca-2021.crt`, supabaseRoot2021);
    await run(authority);
    assert.deepEqual(certificatesIn(api.secrets.DATABASE_CA, "it"), [supabaseRoot2021]);
    await run(otherUrl, { DATABASE_URL: db.urlOf("no_such_database") });
    const { status, last } = await tick(db, api);
    assert.deepEqual([status, JSON.parse(last).error.code], [200, "invalid_catalog_name"]);
    delete api.secrets.DATABASE_URL;
    delete api.secrets.DATABASE_CA;
  });

  await t.step("where the secrets cannot be read, a rotation sets none", async () => {
    const before = { ...api.secrets };
    await db.query("alter function etl.begin_rotation() rename to hidden");
    const { code, err } = await work.shell(newSecret.split("\n").slice(0, 2).join("\n"));
    await db.query("alter function etl.hidden() rename to begin_rotation");
    assert.notEqual(code, 0);
    assert.match(err, /were not read: see the error above/);
    assert.deepEqual(api.secrets, before);
  });

  await t.step("a new secret lets every call in, at each step", async () => {
    const before = api.secrets.ETL_TRIGGER_SECRET;
    await run(newSecret);
    const [fresh, old] = api.secrets.ETL_TRIGGER_SECRET.split(",");
    assert.equal(old, before);
    assert.equal((await tick(db, api)).status, 200);
    await run(oldSecretGone);
    assert.equal(api.secrets.ETL_TRIGGER_SECRET, fresh);
    assert.equal((await tick(db, api)).status, 200);
    await db.query("select vault.update_secret(id, $1) from vault.secrets where name = 'etl_trigger_secret'", [old]);
    assert.equal((await tick(db, api)).status, 401, "the old one opens no longer");
  });

  await t.step("no statement holds a secret, which a server would log where it fails", () => {
    assert.ok(api.queries.length >= 8);
    for (const query of api.queries) assert.doesNotMatch(query, /[0-9a-f]{64}/);
  });

  await t.step("who may only read is refused by words", async () => {
    const { code, out, err } = await work.shell(health.replace("--remote", "--remote --read-only"));
    assert.notEqual(code, 0);
    assert.match(out + err, /permission denied/);
  });

  await t.step("the end of the schedule", async () => {
    await run(end);
    assert.deepEqual(await db.query("select from cron.job"), []);
  });
});

Deno.test("a further feed, as the README prints it, is nobody's by the API, on projects old and new", async (t) => {
  const [sql] = blocks(chapter("A further feed"), "sql");
  for (const classic of [true, false]) {
    await t.step(classic ? "with the default privileges of before" : "without", async () => {
      await using db = await freshDatabase();
      const all = "grant all on tables to anon, authenticated, service_role";
      if (classic) await db.query(`alter default privileges in schema public ${all}`);
      await db.query(sql);
      await db.query("insert into public.drivers (id) values ('d1')");
      await using web = serve({ "/payouts.csv": "id,driver_id,amount_cents\np1,d1,5\n" });
      await db.pointAt(web.url);
      assert.equal((await db.loadOne("payouts")).inserted, 1);
      for (const role of ["anon", "authenticated"]) {
        for (
          const statement of [
            "select * from public.payouts",
            "insert into public.payouts values ('p2', 'd1', 1)",
            "update public.payouts set amount_cents = 1",
            "delete from public.payouts",
            "truncate public.payouts",
          ]
        ) {
          await assert.rejects(db.query(`begin; set local role ${role}; ${statement}`), { code: "42501" });
          await db.query("rollback");
        }
      }
    });
  }
});
