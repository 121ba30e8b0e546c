/** One night, from the first fault to the last look: who is told what, where they look, and how it is taken back. */
import assert from "node:assert/strict";
import { handle } from "../../main.ts";
import { environment } from "../support/environment.ts";
import { databaseAndWeb } from "../support/given.ts";
import { hush } from "../support/hush.ts";
import { project } from "../support/project.ts";
import { until } from "../support/waiting.ts";
import { onLoopback, serve } from "../support/web.ts";
import { startNetWorker } from "./cron/net_worker.ts";

const secret = "a-trigger-secret-of-more-than-32-characters";
const csv = (...lines: string[]) => ["id,driver,amount", ...lines, ""].join("\n");

Deno.test("one night: a feed fails, is told of, looked at, mended, seen to be well again, and undone", async (t) => {
  await using at = await databaseAndWeb(
    `create table public.payouts (
      id int primary key, driver text not null, amount numeric(10, 2) constraint amount_is_positive check (amount > 0)
    )`,
    { "/payouts.csv": csv("1,ann,10.00", "2,bob,20.00", "3,eve,30.00") },
  );
  const { db, web } = at;
  for (const file of ["net.sql", "vault.sql"]) {
    await db.admin(await Deno.readTextFile(`${project}/tests/schedule/cron/${file}`));
  }
  const told: string[] = [];
  await using chat = serve({
    "/hook": async (request) => {
      told.push((await request.json()).text);
      return new Response("ok");
    },
  });
  await using _worker = await startNetWorker(db.adminUrl);
  await db.query("update etl.feeds set enabled = false");
  await db.feed("payouts", { url: `${web.url}/payouts.csv?key=partners`, reject_limit: 0.3, history: "7 days" });
  await db.query("select vault.create_secret($1, 'etl_alert_url')", [`${chat.url}/hook`]);
  using _settings = environment({ DATABASE_URL: db.url, ETL_TRIGGER_SECRET: secret });
  await using server = onLoopback(handle);
  using hushed = hush();

  const headers = { authorization: `Bearer ${secret}` };
  const tick = async () => {
    const answer = await fetch(`${server.url}/etl`, { method: "POST", headers });
    return [answer.status, await answer.json()] as const;
  };
  const monitor = async () => {
    const answer = await fetch(`${server.url}/etl`, { headers });
    const { feeds: [feed] } = await answer.json();
    return [answer.status, feed.verdict, feed.message, feed.hint];
  };
  /** Two looks, five minutes apart; what the chat has then. */
  const looks = async (messages: number) => {
    for (let n = 0; n < 2; n++) await db.query("select etl.tell()");
    await until("the chat has it", () => told.length === messages);
    return told.at(-1)!;
  };
  const rows = () => db.query("select id, driver, amount from public.payouts order by id");

  const [{ share: link }] = await db.query("select etl.share('payouts', function_url => $1)", [`${server.url}/etl`]);
  const partner = async (query = "") => await (await fetch(link + query)).text();

  let before: unknown[];
  await t.step("in the evening all is well", async () => {
    assert.equal((await tick())[0], 200);
    before = await rows();
    assert.deepEqual((await monitor()).slice(0, 2), [200, "ok"]);
    assert.match(await partner(), /clean since/i);
    for (let n = 0; n < 2; n++) await db.query("select etl.tell()");
    assert.deepEqual(await db.query("table net.http_request_queue"), []);
  });

  await t.step("at two the file is broken: nothing of it is loaded, and the report says what is wrong", async () => {
    web.files["/payouts.csv"] = csv("1,ann,ten", "2,,-20.00", "4,kim,40.00");
    const [status, { feeds: [report] }] = await tick();
    assert.deepEqual([status, report.status, report.error.code], [502, "failed", "too_many_rejects"]);
    assert.doesNotMatch(JSON.stringify(report), /ten|-20|kim/);
    assert.deepEqual(await rows(), before);
  });

  await t.step("whoever is on call is told once, with the cause and what to do, and no value", async () => {
    const text = await looks(1);
    assert.match(
      text,
      /^tdc-etl: payouts is failing since .* UTC\. Cause: Cannot load payouts: 2 of 3 records break a rule.* What to do: .*too_many_rejects/,
    );
    assert.doesNotMatch(text, /ten|-20|kim|partners/);
    assert.equal((await tick())[0], 502);
    assert.equal(await looks(1), text, "and not again");
  });

  await t.step("health and the monitor say the same", async () => {
    const [status, verdict, message] = await monitor();
    assert.deepEqual([status, verdict], [503, "failing"]);
    assert.match(message, /^Cannot load payouts: 2 of 3 records break a rule/);
    assert.doesNotMatch(message, /ten|-20|kim|partners/);
  });

  await t.step("the partner's link shows him his records, all that is wrong with each, and nobody else's", async () => {
    const letter = await partner();
    assert.match(letter, /record 1 \(row 2\).*ten/);
    assert.match(letter, /Column "driver" is missing/);
    assert.match(letter, /record 2 \(row 3\).*-20\.00/);
    const sheet = await partner("?format=csv");
    assert.equal(sheet.split("\n").filter((line) => /row|ten|-20\.00|driver/.test(line)).length >= 3, true, sheet);
  });

  await t.step("the mended file loads, and the recovery is told", async () => {
    web.files["/payouts.csv"] = csv("1,ann,11.00", "2,bob,20.00", "4,kim,40.00");
    const [status, { feeds: [report] }] = await tick();
    assert.deepEqual([status, report.inserted, report.updated, report.unchanged], [200, 1, 1, 1]);
    assert.match(await looks(2), /^tdc-etl: payouts is ok again; before: failing since .* UTC\.$/);
    assert.deepEqual((await monitor()).slice(0, 2), [200, "ok"]);
    assert.match(await partner(), /clean since/i);
  });

  let run: string;
  await t.step("history shows what changed, old and new", async () => {
    [{ run }] = await db.query("select run from etl.runs where status = 'changed' order by started_at desc limit 1");
    const found = await db.query(
      "select change, key ->> 'id' as id, column_name, old, new from etl.changed('payouts') where run = $1 order by 1, 2, 3",
      [run],
    );
    assert.deepEqual(found.map((row) => Object.values(row).join(" ")), [
      ...["inserted 4 amount  40.00", "inserted 4 driver  kim", "inserted 4 id  4"],
      "updated 1 amount 10.00 11.00",
    ]);
  });

  await t.step("undo takes it back, and the feed waits for somebody", async () => {
    const said = await db.query("select outcome, records::int from etl.undo($1, 'payouts')", [run]);
    assert.deepEqual(said.map((row) => Object.values(row)), [["deleted", 1], ["put back", 1], ["disabled", null]]);
    assert.deepEqual(await rows(), before);
    assert.equal((await tick())[0], 200, "and no tick brings it back");
    assert.deepEqual(await rows(), before);
    const [status, verdict, , hint] = await monitor();
    assert.deepEqual([status, verdict], [503, "undone"]);
    assert.match(await looks(3), /^tdc-etl: payouts is undone since .* UTC\. /);
    await db.query(hint);
    const [, { feeds: [report] }] = await tick();
    assert.deepEqual([report.status, report.inserted, report.updated], ["changed", 1, 1]);
    assert.match(await looks(4), /^tdc-etl: payouts is ok again; before: undone since /);
  });

  const everywhere = [...hushed.said, ...told, JSON.stringify(await db.query("select * from etl.runs"))].join("\n");
  for (const hidden of [secret, "partners", link.split("/").at(-1)!]) assert.ok(!everywhere.includes(hidden));
});
