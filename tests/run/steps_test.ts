/** What a run says while it goes on: the steps of a merge, and who has a feed that is busy. */
import assert from "node:assert/strict";
import type { Progress } from "../../lib/load.ts";
import { database } from "../support/database.ts";
import { databaseAndWeb } from "../support/given.ts";
import { loaderElsewhere } from "../support/loading.ts";

const tables = `create table public.parents (id int primary key);
  create table public.things (id int primary key, parent int references public.parents (id), absent_since timestamptz);
  insert into public.parents values (1); insert into public.things (id) values (9);`;

const merging = ["reading cells", "comparing rows", "checking rows", "checking keys", "writing rows"];

const files: Record<string, [body: string, options: Record<string, unknown>, steps: string[]]> = {
  "new rows": ["id,parent\n1,1\n", {}, merging],
  "new rows of JSON": ['[{"id": 2}]', {}, merging],
  "the same rows in another order, which need no write": ["id,parent\n2,\n1,1\n", {}, merging.slice(0, 2)],
  "rows that are lacking": ["id\n1\n2\n", { absent: "mark", absent_limit: 1 }, [
    ...merging.slice(0, 2),
    "looking for absent rows",
  ]],
};

Deno.test("a merge tells each step, and nothing of it stays", async (t) => {
  await using given = await databaseAndWeb(tables);
  const { db, web } = given;
  for (const [name, [body, options, steps]] of Object.entries(files)) {
    await t.step(name, async () => {
      await db.feed("things", { url: `${web.url}/things`, ...options });
      web.files["/things"] = body;
      const told: string[] = [];
      const onProgress = ({ step, doing }: Progress) => told.push(doing === null ? step : `${step}: ${doing}`);
      const { status } = await db.loadOne("things", { onProgress });
      const others = told.filter((one) => one !== "fetching");
      assert.deepEqual(others, ["merging", ...steps.map((step) => `merging: ${step}`), status]);
    });
  }
});

Deno.test("a busy feed says since when which process has it, by the feed, its table and its parent's", async () => {
  await using given = await databaseAndWeb(tables, { "/things": "id\n1\n" });
  const { db, web } = given;
  await db.feed("things", { url: `${web.url}/things` });
  await db.feed("parents", { url: `${web.url}/things` });
  await db.feed("siblings", { url: `${web.url}/things`, target: "public.parents" });
  await using other = await database(db.name);
  const ways: Record<string, [lock: string, message: RegExp]> = {
    "the feed": ["select etl.claim_feeds('{things}')", /^things waits: another run is loading it$/],
    "its table": ["select etl.claim_tables('things')", /^things waits: another run is writing its table/],
    "its parent": ["select etl.claim_tables('siblings')", /^things waits: another run is writing its table/],
  };
  for (const [name, [lock, message]] of Object.entries(ways)) {
    await other.query("begin");
    const [{ pid, since }] = await other.query(
      "select pg_backend_pid() as pid, to_char(now() at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS') as since",
    );
    await other.query(lock);
    const said =
      `Process ${pid} of the database has it since ${since} UTC; select pg_terminate_backend(${pid}) ends that run.`;
    await assert.rejects(db.load({ feeds: ["things"] }), (error: { message: string; hint: string }) => {
      assert.equal(error.message, "another run is under way", name);
      assert.match(error.hint.split(". ")[0], message, name);
      assert.ok(error.hint.endsWith(said), error.hint);
      return true;
    });
    assert.match((await db.query("select etl.holder('things') as holder"))[0].holder, new RegExp(`^Process ${pid} `));
    await other.query("rollback");
    assert.deepEqual(await db.query("select etl.holder('things') as holder"), [{ holder: null }]);
  }
  // Who shares a parent is in nobody's way.
  await db.query("create table public.cousins (id int primary key references public.parents (id))");
  await db.feed("cousins", { url: `${web.url}/things` });
  await other.query("begin; select etl.claim_tables('cousins')");
  assert.deepEqual(await db.query("select etl.holder('things') as holder"), [{ holder: null }]);
  assert.equal((await db.loadOne("things")).status, "changed");
  await other.query("rollback");
});

Deno.test("Deno 2.1.4 hears the steps, too, and they end no run", async () => {
  await using given = await databaseAndWeb(tables, { "/things": "id\n1\n" });
  await given.db.feed("things", { url: `${given.web.url}/things` });
  await using loader = await (await loaderElsewhere())("Deno 2.1.4", {});
  assert.equal((await loader.load({ databaseUrl: given.db.url, feeds: ["things"] })).status, "changed");
});
