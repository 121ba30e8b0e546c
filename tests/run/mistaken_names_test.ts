/** A name that is not there, of a feed, a table or a column: the error says what is most likely meant, and its line runs. */
import assert from "node:assert/strict";
import { run } from "../support/command.ts";
import { type Database, freshDatabase } from "../support/database.ts";
import { databaseAndWeb } from "../support/given.ts";
import { snapshot } from "../support/snapshot.ts";

const table = `create table public.payouts (id text primary key, amount numeric, note text);
  create schema other; create table other."Tips" (id text primary key);`;

/** The name that is said -> what it is taken for. */
const feeds: Record<string, RegExp> = {
  "payouts": /^There is a table public\.payouts, and no row of etl\.feeds loads it\. This makes one: insert into/,
  "PAYOUTS": /^There is a table public\.payouts, and no row/,
  "public.payouts": /^There is a table public\.payouts, and no row/,
  "tips": /^There is a table other\."Tips", and no row/,
  "TRIPS": /^The feed is called trips\.$/,
  "public.trips": /^The feed is called trips\.$/,
  "tripz": /^etl\.feeds has: charges, drivers, trips\. A new one: deno task feed URL --name tripz$/,
  "it's": /^etl\.feeds has: charges, drivers, trips\. A new one: deno task feed URL --name "it's"$/,
  "100%": /^etl\.feeds has: charges, drivers, trips\. A new one: deno task feed URL --name "100%"$/,
  "pg_class": /^etl\.feeds has: charges, drivers, trips\./,
};

Deno.test("a feed that is not there: what is meant by its name", async () => {
  await using db = await freshDatabase();
  await db.query(table);
  const before = await snapshot(db);
  for (const [name, hint] of Object.entries(feeds)) {
    await assert.rejects(db.load({ feeds: [name] }), (error: { code: string; message: string; hint: string }) => {
      assert.deepEqual([error.code, error.message], ["unknown_feed", `Cannot run: there is no feed ${name}`]);
      assert.match(error.hint, hint, name);
      return true;
    });
    for (const call of ["approve($1)", "undo(gen_random_uuid(), $1)", "letter($1)", "unshare($1)"]) {
      await assert.rejects(db.query(`select etl.${call}`, [name]), { code: "ETL01", hint }, call);
    }
  }
  assert.deepEqual(await snapshot(db), before);
});

Deno.test("a table's name in place of a feed's: the commands say how it gets its feed, and the line does so", async () => {
  await using given = await databaseAndWeb(table, { "/payouts": "id,amount\n1,2\n" });
  const { db, web } = given;
  const of = (...args: string[]) => run(args, { env: { DATABASE_URL: db.url } });
  for (const args of [["etl", "payouts"], ["etl", "payouts", "--dry-run"], ["rejects", "payouts"]]) {
    const { code, out, err } = await of(...args);
    assert.deepEqual([code, out], [2, ""], args.join(" "));
    assert.match(err, /^error: .*there is no feed payouts\n {7}There is a table public\.payouts, .*\n$/);
    assert.doesNotMatch(err, /Cannot run: Cannot run/);
  }
  const { err } = await of("etl", "payouts");
  await db.query(/insert into etl\.feeds .*/.exec(err)![0].replace("https://…", `${web.url}/payouts`));
  assert.equal((await of("etl", "payouts")).code, 0);
  assert.deepEqual(await db.query("select id, amount from public.payouts"), [{ id: "1", amount: "2" }]);
});

async function hintOf(db: Database, target: string): Promise<string> {
  await db.query("update etl.feeds set target = $1 where name = 'payouts'", [target]);
  const { error } = await db.loadOne("payouts", { force: true });
  assert.deepEqual([error!.code, error!.message], [
    "undefined_table",
    `Cannot load payouts: its table ${target} does not exist`,
  ]);
  return error!.hint!;
}

Deno.test("a target that is not there: the table that is meant, and the line that says so", async () => {
  await using given = await databaseAndWeb(table, { "/payouts": "id\n1\n" });
  const { db, web } = given;
  await db.feed("payouts", { url: `${web.url}/payouts` });
  const meant = {
    "payouts": "public.payouts",
    "Payouts": "public.payouts",
    "tips": 'other."Tips"',
    "other.tips": 'other."Tips"',
  };
  for (const [target, table] of Object.entries(meant)) {
    const hint = await hintOf(db, target);
    assert.equal(
      hint,
      `There is ${table}. If that is meant: update etl.feeds set target = '${table}' where name = 'payouts'`,
    );
    await db.query(/update .*/.exec(hint)![0]);
    const { error, read } = await db.loadOne("payouts", { force: true });
    assert.deepEqual([error, read], [null, 1], target);
  }
  for (const target of ["public.payout", "public.payouts.csv", "w.x.public.payouts", "a..b"]) {
    assert.match(await hintOf(db, target), /^Create it in a migration/, target);
  }
  assert.match(await hintOf(db, "no name at all"), /^Create it in a migration/);
});

Deno.test("a target that Postgres cannot even look for fails its feed alone", async (t) => {
  await using given = await databaseAndWeb(table, { "/payouts": "id\n1\n", "/others": "id\n1\n" });
  const { db, web } = given;
  await db.query("create table public.others (id text primary key)");
  await db.feed("others", { url: `${web.url}/others` });
  await db.admin("create schema closed; create table closed.payouts (id text primary key)");
  await db.query("delete from etl.feeds where name in ('drivers', 'trips', 'charges')");
  const targets: Record<string, [code: string, hint: RegExp]> = {
    "public.payouts.csv": ["undefined_table", /^Create it in a migration/],
    "a.b.c.d": ["undefined_table", /^Create it in a migration/],
    "closed.payouts": ["42501", /grant usage on schema closed to /],
  };
  for (const [target, [code, hint]] of Object.entries(targets)) {
    await t.step(target, async () => {
      await db.feed("payouts", { url: `${web.url}/payouts`, target });
      const { feeds } = await db.load({ force: true });
      assert.deepEqual(feeds.map(({ feed, error }) => [feed, error?.code]), [["others", undefined], ["payouts", code]]);
      assert.match(feeds[1].error!.hint!, hint);
      assert.deepEqual((await db.query("select feed from etl.health_of_all() order by 1")).length, 2);
      await db.query("select * from public.report_freshness(); select * from etl.freshness()");
      await assert.rejects(db.load({ feeds: ["nobody"] }), { code: "unknown_feed" });
    });
  }
});

interface Mapping {
  columns: Record<string, string>;
  body: string;
  /** Of the note, or of the error's hint. */
  note?: RegExp;
  error?: RegExp;
  /** Whether its line mends it. */
  mends?: boolean;
}

const ten = (record: (i: number) => string) => Array.from({ length: 10 }, (_, i) => record(i));

const mappings: Record<string, Mapping> = {
  "a name that the file has": { columns: { no: "id", sum: "amount" }, body: "no,sum\n1,2\n" },
  "a name with a slip, of the key": {
    columns: { "payout no": "id" },
    body: "payout_no,amount\n1,2\n",
    error:
      /^etl\.feeds\.columns maps "payout no" to id, and the file has no such name\. Most likely it is this: update /,
    mends: true,
  },
  "a name with a slip, of another column": {
    columns: { "Sum of it": "amount" },
    body: "id,sum_of_it\n1,2\n",
    note:
      /^etl\.feeds\.columns maps "Sum of it" to amount, and the file has no such name\. Most likely it is this: update /,
    mends: true,
  },
  "a name in other case": {
    columns: { SUM: "amount" },
    body: "id,sum\n1,2\n",
    note: /^etl\.feeds\.columns maps "SUM" to amount, and the file has no such name\. Most likely/,
    mends: true,
  },
  "a name that is gone": {
    columns: { sum: "amount", remark: "note" },
    body: "id,sum\n1,2\n",
    note: /^etl\.feeds\.columns maps remark to note, and the file has no such name\.$/,
  },
  "a name of before, beside that of now": { columns: { total: "amount", sum: "amount" }, body: "id,sum\n1,2\n" },
  "a name of before, where the file has the column's own": { columns: { total: "amount" }, body: "id,amount\n1,2\n" },
  "a name that is to be ignored": { columns: { amount: "not_wanted", gone: "not_either" }, body: "id,amount\n1,2\n" },
  "none of the names": {
    columns: { no: "id" },
    body: "a,b\n1,2\n",
    error: /^etl\.feeds\.columns maps no to id, and the file has no such name\.$/,
  },
  "JSON": {
    columns: { Sum: "amount" },
    body: JSON.stringify(ten((i) => `${i}`).map((id) => ({ id, sum: 1 }))),
    note: /^etl\.feeds\.columns maps "Sum" to amount, and .*Most likely/,
    mends: true,
  },
  "JSON of a single record, which may lack a key": { columns: { sum: "amount" }, body: '[{"id": "1"}]' },
  "blanks around the name": { columns: { sum: "amount" }, body: "id, sum \n1,2\n" },
};

Deno.test("a mapping that matches nothing in the file is named", async (t) => {
  await using given = await databaseAndWeb();
  const { db, web } = given;
  for (const [name, { columns, body, note, error, mends }] of Object.entries(mappings)) {
    await t.step(name, async () => {
      await db.query("drop table if exists public.payouts; drop schema if exists other cascade; " + table);
      web.files["/payouts"] = body;
      await db.feed("payouts", { url: `${web.url}/payouts`, columns });
      const report = await db.loadOne("payouts", { force: true });
      if (error) assert.match(report.error!.hint!, error);
      else assert.equal(report.error, null);
      if (note) assert.match(report.note!, note);
      else assert.equal(report.note, null);
      const [line] = /update etl\.feeds .*/.exec(report.note ?? report.error?.hint ?? "") ?? [];
      assert.equal(line !== undefined, mends ?? false);
      if (!line) return;
      await db.query(line);
      const mended = await db.loadOne("payouts", { force: true });
      assert.deepEqual([mended.error, mended.note, mended.ignored_columns], [null, null, []]);
    });
  }
});
