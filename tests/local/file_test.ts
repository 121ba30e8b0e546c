/** `deno task etl FEED --file PATH`: a file of this machine, by the feed's own options, and the partner's next all the same. */
import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";
import { run } from "../support/command.ts";
import { type Database, freshDatabase } from "../support/database.ts";
import { temporary } from "../support/directories.ts";
import { snapshot } from "../support/snapshot.ts";
import { serve, withEtag } from "../support/web.ts";
import { zipped } from "../support/zip.ts";

const table = "create table public.things (id int primary key, price numeric, absent_since timestamptz)";

const prices = async (db: Database) =>
  Object.fromEntries((await db.query("select id, price::float from public.things order by id")).map((
    { id, price },
  ) => [id, price]));

/** Runs it as the task does: in the project's folder, and told from where it was started. A proxy leads nowhere. */
function command(db: Database, folder: string) {
  return async (code: number, ...args: string[]) => {
    const result = await run(["etl", "things", ...args, "--json"], {
      env: { DATABASE_URL: db.url, INIT_CWD: folder, HTTP_PROXY: args.includes("--file") ? "http://127.0.0.1:9" : "" },
    });
    assert.equal(result.code, code, result.err + result.out);
    const { error, feeds: [feed] } = JSON.parse(result.out);
    return error ? { error } : feed;
  };
}

Deno.test("a file is loaded by the feed's own options; the partner's is read anew by the next run, and by no other", async () => {
  await using db = await freshDatabase();
  await using work = await temporary();
  const asked: string[] = [];
  await using web = serve({
    "/things": async (request) => {
      asked.push(request.headers.get("if-none-match") ?? "all");
      assert.equal(request.headers.get("x-key"), "for the partner");
      const response = await withEtag(request, "No;Preis\n1;1,50\n2;2,50\n", '"1"');
      return response;
    },
  });
  await db.query(table);
  const url = `${web.url}/things`;
  await db.feed("things", {
    ...{ url, headers: { "x-key": "for the partner" }, delimiter: ";", decimal_comma: true },
    columns: { No: "id", Preis: "price" },
  });
  const etl = command(db, work.path);
  assert.equal((await etl(0)).inserted, 2);
  assert.equal((await etl(0)).status, "unchanged");
  assert.deepEqual(asked.splice(0), ["all", '"1"']);

  await Deno.writeTextFile(`${work.path}/mended.csv`, "No;Preis\n1;9,75\n3;3,50\n");
  const before = await snapshot(db);
  assert.equal((await etl(0, "--file", "mended.csv", "--dry-run")).updated, 1);
  assert.deepEqual(await snapshot(db), before, "a dry run writes nothing");
  const { status, inserted, updated, bytes } = await etl(0, "--file", "mended.csv");
  assert.deepEqual([status, inserted, updated, bytes], ["changed", 1, 1, 23]);
  assert.deepEqual(await prices(db), { 1: 9.75, 2: 2.5, 3: 3.5 });
  assert.deepEqual(asked, [], "the partner is not asked");
  assert.deepEqual(await db.query("select url from etl.feeds where name = 'things'"), [{ url }]);

  const loaded = await snapshot(db);
  assert.equal((await etl(0, "--file", "mended.csv")).status, "unchanged");
  assert.deepEqual(await snapshot(db), loaded, "the same file again writes nothing");

  // Written anew in the same second, and as long.
  const { mtime } = await Deno.stat(`${work.path}/mended.csv`);
  await Deno.writeTextFile(`${work.path}/mended.csv`, "No;Preis\n1;9,85\n3;3,50\n");
  await Deno.utime(`${work.path}/mended.csv`, mtime!, mtime!);
  assert.equal((await etl(0, "--file", "mended.csv")).updated, 1);

  assert.equal((await etl(0)).updated, 1, "the partner's file is read, though his ETag is the last one's");
  assert.deepEqual(await prices(db), { 1: 1.5, 2: 2.5, 3: 3.5 });
  assert.equal((await etl(0)).status, "unchanged");
  assert.deepEqual(asked, ["all", '"1"']);

  await Deno.writeTextFile(`${work.path}/same.csv`, "No;Preis\n1;1,50\n2;2,50\n");
  const same = await snapshot(db);
  assert.equal((await etl(0, "--file", "same.csv")).read, 0, "it is what the partner sent last");
  assert.deepEqual(await snapshot(db), same);
});

Deno.test("rows that the file lacks go as the feed says; a file in an archive is found", async () => {
  await using db = await freshDatabase();
  await using work = await temporary();
  await db.query(`${table}; insert into public.things (id) select generate_series(1, 20)`);
  await db.feed("things", { url: "http://partner.invalid/all.zip#a/things.csv", absent: "delete" });
  const lines = Array.from({ length: 19 }, (_, i) => i + 1).join("\n");
  await Deno.writeFile(
    `${work.path}/all.zip`,
    zipped([{ name: "a/things.csv", data: `id\n${lines}\n` }, { name: "b.csv", data: "id\n77\n" }]),
  );
  const { error, deleted, read } = await command(db, work.path)(0, "--file", "all.zip");
  assert.deepEqual([error, read, deleted], [null, 19, 1]);
});

Deno.test("the ways to name a file, and what is none", async (t) => {
  await using db = await freshDatabase();
  await using work = await temporary();
  await db.query(table);
  await db.feed("things", { url: "http://partner.invalid/things" });
  await Deno.mkdir(`${work.path}/a folder`);
  await Deno.writeTextFile(`${work.path}/a folder/ä #1?.csv`, "id\n1\n");
  await Deno.writeTextFile(`${work.path}/empty.csv`, "");
  const path = `${work.path}/a folder/ä #1?.csv`;
  const etl = command(db, work.path);
  for (
    const said of [
      "a folder/ä #1?.csv",
      "./a folder/ä #1?.csv",
      "a folder/../a folder/ä #1?.csv",
      path,
      pathToFileURL(path).href,
    ]
  ) {
    await t.step(said.replace(work.path, "…"), async () => {
      assert.deepEqual((await etl(0, "--file", said, "--force")).read, 1);
    });
  }
  const none: Record<string, [code: string, message: RegExp]> = {
    "nowhere.csv": ["file", /^there is no file nowhere\.csv$/],
    "empty.csv/below": ["file", /^empty\.csv\/below cannot be read$/],
    "a folder": ["file", /^a folder is a folder$/],
    "/dev/null": ["file", /^\/dev\/null is no plain file/],
    "-": ["file", /^- is no file of this machine$/],
    "https://partner.example/things": ["file", /is no file of this machine$/],
    "file://elsewhere/things": ["file", /is not the URL of a file on this machine$/],
    "": ["usage", /^--file takes the path of a file$/],
  };
  for (const [said, [code, message]] of Object.entries(none)) {
    await t.step(`none: ${said}`, async () => {
      const { error } = await etl(2, "--file", said);
      assert.equal(error.code, code);
      assert.match(error.message, message);
      assert.ok(error.hint);
    });
  }
  await t.step("an empty one is told as a partner's is", async () => {
    assert.equal((await etl(1, "--file", "empty.csv")).error.code, "empty");
  });
  await t.step("an error names the file, not where it is served", async () => {
    const from = { url: "http://127.0.0.1:1/secret", place: "./things.csv" };
    const { error } = await db.loadOne("things", { from });
    assert.match(error!.message, /^Cannot load things: \.\/things\.csv cannot be reached/);
    assert.doesNotMatch(error!.message, /secret/);
  });
  await t.step("one feed, and no day", async () => {
    for (
      const args of [["etl", "--file", path], ["etl", "things", "trips", "--file", path], [
        "etl",
        "things",
        "--day",
        "2021-07-01",
        "--file",
        path,
      ], ["etl", "things", "--file"]]
    ) {
      const { code, err } = await run(args, { env: { DATABASE_URL: db.url } });
      assert.equal(code, 2, args.join(" "));
      assert.match(err, /^error: .*--file/);
      assert.doesNotMatch(err, /\n +at /);
    }
  });
  if (Deno.uid() !== 0) {
    await t.step("one that may not be read", async () => {
      await Deno.chmod(path, 0o000);
      const { error } = await etl(2, "--file", path);
      assert.match(error.message, / cannot be read$/);
    });
  }
});
