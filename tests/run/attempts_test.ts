/** A file with too many rejects loads nothing, and says what is wrong with it all the same. */
import assert from "node:assert/strict";
import type { RejectSummary } from "../../lib/errors.ts";
import { databaseAndWeb, type Given } from "../support/given.ts";
import { snapshot } from "../support/snapshot.ts";

const tables = "create table public.things (id int primary key, amount numeric, born date)";
const header = "id,amount,born";
const good = `${header}\n1,1,2021-01-01\n`;
/** Four of five are no good, the third twice over. */
const bad = `${header}\n1,many,2021-01-01\n2,few,\n3,s3cret,soon\n4,,later\n5,5,\n`;
const summary: RejectSummary[] = [
  { column: "amount", reason: "is no numeric", count: 3, first: [1, 2, 3] },
  { column: "born", reason: "is no date", count: 1, first: [4] },
];

async function given(body: string, columns: Record<string, unknown> = {}): Promise<Given> {
  const at = await databaseAndWeb(tables, { "/things.csv": body });
  await at.db.feed("things", { url: `${at.web.url}/things.csv`, ...columns });
  return at;
}

const attempts = (at: Given) => at.db.query("select feed, run, read, rejected, is_least from etl.attempts");

Deno.test("the error above the limit has a summary, and the rejects are kept beside those that are open", async () => {
  await using at = await given(good);
  await at.db.loadOne("things");
  at.web.files["/things.csv"] = bad;
  const report = await at.db.load();
  const feed = report.feeds.find(({ feed }) => feed === "things")!;
  assert.equal(feed.error?.code, "too_many_rejects");
  assert.deepEqual(feed.rejects, summary);
  assert.match(feed.error!.hint!, /^Nothing of this feed was loaded\. deno task rejects things --letter writes /);
  assert.equal(feed.rejected, 0, "the counts are of what was done");
  assert.doesNotMatch(JSON.stringify(report), /s3cret|few|later/, "no value");
  assert.doesNotMatch(JSON.stringify(await at.db.query("select * from etl.runs")), /s3cret|few/);

  assert.deepEqual(await attempts(at), [{
    feed: "things",
    run: report.run,
    read: "5",
    rejected: "4",
    is_least: false,
  }]);
  const kept = await at.db.query(
    "select record_number::int as n, value, record, faults from etl.attempt_rejects order by 1",
  );
  assert.deepEqual(kept.map(({ n, value }) => [n, value]), [[1, "many"], [2, "few"], [3, "s3cret"], [4, "later"]]);
  assert.deepEqual(kept[2].record, { id: "3", amount: "s3cret", born: "soon" });
  assert.deepEqual(kept[2].faults.map(({ column }: { column: string }) => column), ["amount", "born"]);

  assert.deepEqual(await at.db.query("select * from etl.rejects"), [], "none is open");
  const [health] = await at.db.query("select open_rejects::int from etl.health() where feed = 'things'");
  assert.equal(health.open_rejects, 0);
});

Deno.test("a dry run has the summary, of what would be rejected and of what is too much", async () => {
  await using at = await given(bad);
  for (const limit of [0.8, 0.1]) {
    await at.db.query("update etl.feeds set reject_limit = $1 where name = 'things'", [limit]);
    const before = await snapshot(at.db);
    const feed = await at.db.loadOne("things", { dryRun: true });
    assert.deepEqual([feed.status, feed.rejects], [limit === 0.8 ? "changed" : "failed", summary]);
    assert.deepEqual(await snapshot(at.db), before, "nothing was written");
    const hint = feed.error?.hint ?? "";
    assert.equal(
      /^Nothing of this feed would be loaded, and a dry run keeps none of its rejects\./.test(hint),
      limit === 0.1,
    );
  }
});

for (const contents of ["all", "changes"]) {
  Deno.test(`the same attempt again writes nothing but the ledger; another one does; a load ends it: ${contents}`, async () => {
    await using at = await given(bad, { contents });
    await at.db.loadOne("things");
    const [first] = await attempts(at);
    const withoutLedger = async () => {
      const { "etl.runs": _, ...rest } = await snapshot(at.db);
      return rest;
    };
    const before = await withoutLedger();
    for (const force of [false, true]) {
      assert.equal((await at.db.loadOne("things", { force })).error?.code, "too_many_rejects");
      assert.deepEqual(await withoutLedger(), before);
    }
    const [{ plan }] = await at.db.query("select etl.plan('{things}') as plan");
    assert.deepEqual([plan.waits === true, plan.attempted], [false, true], "nothing of it is tried again");

    at.web.files["/things.csv"] = bad.replace("s3cret", "other");
    await at.db.loadOne("things");
    const [other] = await attempts(at);
    assert.notEqual(other.run, first.run);
    assert.equal((await at.db.query("select from etl.attempt_rejects where value = 'other'")).length, 1);

    // What is not there says nothing of it.
    delete at.web.files["/things.csv"];
    assert.equal((await at.db.loadOne("things")).error?.code, "http_404");
    assert.equal((await attempts(at)).length, 1);

    at.web.files["/things.csv"] = good;
    assert.equal((await at.db.loadOne("things")).status, "changed");
    assert.deepEqual([await attempts(at), await at.db.query("select * from etl.attempt_rejects")], [[], []]);

    // Back to what is loaded already: that ends it, too.
    at.web.files["/things.csv"] = bad;
    await at.db.loadOne("things");
    assert.equal((await attempts(at)).length, 1);
    at.web.files["/things.csv"] = good;
    assert.equal((await at.db.loadOne("things")).status, "unchanged");
    assert.deepEqual(await attempts(at), []);
  });
}

Deno.test("of many rejects at most 200 are kept, some of each reason, and long texts are cut", async () => {
  const rows = Array.from(
    { length: 3000 },
    (_, i) => `${i},${i === 2999 ? "x".repeat(50_000) : "no"},${i === 2000 ? "soon" : ""}`,
  );
  // One record that is bad for its date alone, far behind.
  rows[2500] = "2500,,never";
  await using at = await given([header, ...rows, ""].join("\n"));
  const feed = await at.db.loadOne("things");
  assert.deepEqual(feed.rejects.map(({ column, count }) => [column, count]), [["amount", 2999], ["born", 1]]);
  const kept = await at.db.query(
    "select record_number::int as n, length(value) as long from etl.attempt_rejects order by 1",
  );
  assert.equal(kept.length, 200);
  assert.ok(kept.some(({ n }) => n === 2501), "of each reason");
  const [{ size }] = await at.db.query("select max(length(t::text)) as size from etl.attempt_rejects t");
  assert.ok(size < 60_000);
  assert.deepEqual((await attempts(at)).map(({ read, rejected }) => [read, rejected]), [["3000", "3000"]]);
});

Deno.test("a record that is too long is cut, and numbers stay as they are", async () => {
  const long = "y".repeat(20_000);
  await using at = await given(`{"id": 10000000000000000999, "amount": "no"}\n{"id": 1, "amount": "${long}"}\n`);
  await at.db.loadOne("things");
  const kept = await at.db.query(
    "select record::text, length(raw) as raw, length(value) as value from etl.attempt_rejects order by record_number",
  );
  assert.deepEqual(kept, [
    { record: '{"id": 10000000000000000999, "amount": "no"}', raw: null, value: 20 },
    { record: null, raw: 10_000, value: 1000 },
  ]);
});

Deno.test("where a merge is called by itself the error has no value, and nothing is kept", async () => {
  await using at = await given(good);
  await at.db.query("begin");
  await at.db.query("select etl.stage('things', 1, '{id,amount}', ',')");
  await at.db.query("insert into pg_temp.etl_staging_1 values ('1', 's3cret')");
  const merge = at.db.query("select etl.merge('things', gen_random_uuid(), 1, '{id,amount}', null)");
  await assert.rejects(merge, (error: Error & { code: string; detail: string }) => {
    assert.equal(error.code, "ETL06");
    assert.doesNotMatch(JSON.stringify({ ...error }) + error.message, /s3cret/);
    assert.match((error as unknown as { hint: string }).hint, /^Nothing of this feed was loaded: have it mended, or /);
    assert.deepEqual(JSON.parse(error.detail).rejects[0].count, 1);
    return true;
  });
});

Deno.test("what a trigger says is in no summary", async () => {
  await using at = await given(`${header}\n1,1,\n2,2,\n`);
  await at.db.query(`
    create function public.refuse() returns trigger language plpgsql set search_path = '' as
    $$ begin raise exception 'no % here', new.amount using errcode = '23514'; end $$;
    create trigger refuse before insert on public.things for each row execute function public.refuse()`);
  const feed = await at.db.loadOne("things");
  assert.deepEqual(feed.rejects.map(({ reason }) => reason), ["is refused by a trigger"]);
  assert.doesNotMatch(JSON.stringify(feed), /no 1 here/);
  const [{ reason }] = await at.db.query("select reason from etl.attempt_rejects limit 1");
  assert.equal(reason, "is refused by a trigger: no 1 here");
});
