/** Told, not asked: what is told of which change of a verdict, how often, in which words, and by pg_net. */
import assert from "node:assert/strict";
import { type Database, freshDatabase } from "../support/database.ts";
import { databaseAndWeb } from "../support/given.ts";
import { project } from "../support/project.ts";
import { snapshot } from "../support/snapshot.ts";
import { until, within } from "../support/waiting.ts";
import { serve } from "../support/web.ts";
import { startNetWorker } from "./cron/net_worker.ts";
import { Past, wellUntilHalfAnHourAgo } from "./past.ts";

/** What etl.news() says at a look. */
async function news(db: Database): Promise<string | null> {
  return (await db.query("select message from etl.news()"))[0].message;
}

/** The verdicts are those of a table of the test's. */
async function withVerdicts(): Promise<
  { db: Database; say(verdicts: Record<string, string>): Promise<void> } & AsyncDisposable
> {
  const db = await freshDatabase();
  const [{ columns }] = await db.query(
    "select pg_get_function_result('etl.health'::regproc) as columns",
  );
  await db.query(`
    create table public.verdicts (feed text primary key, verdict text, message text, next_run timestamptz);
    drop function etl.health();
    create function etl.health() returns ${columns} language sql stable as $$
      select v.feed, v.verdict, v.message, null::timestamptz, null::timestamptz, null::text, 0::bigint, null::timestamptz,
        v.next_run, null::timestamptz, null::text, null::bigint, null::bigint, null::timestamptz
      from public.verdicts v
    $$`);
  return {
    db,
    say: async (verdicts) => {
      for (const [feed, verdict] of Object.entries(verdicts)) {
        await db.feed(feed, { url: "http://127.0.0.1/" });
        await db.query(
          `insert into public.verdicts (feed, verdict, message) values ($1, $2, case when $2 <> 'ok' then 'Why ' || $1 end)
          on conflict (feed) do update set verdict = excluded.verdict, message = excluded.message`,
          [feed, verdict],
        );
      }
    },
    [Symbol.asyncDispose]: () => db[Symbol.asyncDispose](),
  };
}

/** The verdicts that the looks see one after the other -> what each of them tells, as "verdict" or nothing. */
const sequences: Record<string, [seen: string, told: string]> = {
  "all is well": ["ok ok ok", "- - -"],
  "trouble that lasts is told once, at the second look": ["ok failing failing failing failing", "- - failing - -"],
  "and so is its end": ["failing failing ok ok ok", "- failing - ok -"],
  "what only one look sees is not told": ["ok failing ok late ok", "- - - - -"],
  "nor is an end that only one look sees": ["late late ok late ok late", "- late - - - -"],
  "another trouble is told, too": ["late late failing failing", "- late - failing"],
  "but not if one look saw it": ["late late failing late", "- late - -"],
  "two troubles agree that it is not well": ["ok late failing failing", "- - failing -"],
  "what is told is what is so then": ["late late failing ok ok", "- late - - ok"],
  "twice the same in a row": ["failing failing ok ok failing failing ok ok", "- failing - ok - failing - ok"],
};

Deno.test("a change of the verdict is told once two looks agree, and written once it is seen", async (t) => {
  await using at = await withVerdicts();
  const { db, say } = at;
  for (const [what, [seen, told]] of Object.entries(sequences)) {
    await t.step(what, async () => {
      await db.query("truncate etl.told, public.verdicts");
      const found: string[] = [];
      let last = "";
      for (const verdict of seen.split(" ")) {
        await say({ trips: verdict, drivers: "ok" });
        const before = (await snapshot(db))["etl.told"];
        const message = await news(db);
        const isWritten = JSON.stringify((await snapshot(db))["etl.told"]) !== JSON.stringify(before);
        const says = message?.match(/^tdc-etl: trips is (.+?)(?: since| again)/)?.[1] ?? "-";
        assert.equal(message === null, says === "-", message!);
        if (verdict === last && says === "-") assert.ok(!isWritten, `${verdict} was there before`);
        found.push(says);
        last = verdict;
      }
      assert.equal(found.join(" "), told);
      assert.deepEqual(await db.query("select from etl.told where feed <> 'trips'"), []);
    });
  }
});

Deno.test("a feed that has its first run before it is no trouble; without a schedule it is", async () => {
  await using at = await withVerdicts();
  const { db, say } = at;
  await say({ trips: "never ran" });
  await db.query("update public.verdicts set next_run = now()");
  assert.deepEqual([await news(db), await news(db)], [null, null]);
  await db.query("update public.verdicts set next_run = null");
  assert.equal(await news(db), null);
  assert.match((await news(db))!, /^tdc-etl: trips is never ran since .*What to do: Run it: deno task etl trips; /);
});

/** So much time passes for what was told. */
const passes = (db: Database, time: string) =>
  db.query(
    `update etl.told set since = since - $1::interval, seen_at = seen_at - $1::interval,
      told_at = array(select at - $1::interval from unnest(told_at) with ordinality a(at, n) order by n)`,
    [time],
  );

Deno.test("a feed that changes to and fro makes six messages in any 24 hours, and the sixth says so; others are told", async () => {
  await using at = await withVerdicts();
  const { db, say } = at;
  const looks = 3 * 24 * 12;
  const told: { look: number; message: string }[] = [];
  for (let look = 0; look < looks; look++) {
    // Every two looks another one, which both agree on.
    await say({ trips: Math.floor(look / 2) % 2 === 0 ? "failing" : "ok", drivers: look < 100 ? "ok" : "late" });
    const message = await news(db);
    for (const line of message?.split("\n") ?? []) told.push({ look, message: line });
    await passes(db, "5 min");
  }
  const ofTrips = told.filter(({ message }) => message.startsWith("tdc-etl: trips "));
  const ofDrivers = told.filter(({ message }) => message.startsWith("tdc-etl: drivers "));
  assert.deepEqual(ofDrivers.map(({ look }) => look), [101], "and once only");
  assert.deepEqual(ofTrips.slice(0, 7).map(({ look }) => look).slice(0, 6), [1, 3, 5, 7, 9, 11]);
  for (const { look } of ofTrips) {
    const day = ofTrips.filter((other) => other.look <= look && other.look > look - 288);
    assert.ok(day.length <= 6, `${day.length} in the 24 hours before look ${look}`);
  }
  assert.ok(ofTrips.length >= 13 && ofTrips.length <= 24, `${ofTrips.length} in three days: it is not forgotten`);
  const saying = ofTrips.map(({ message }) => /this is the sixth message on it in 24 hours/.test(message));
  assert.deepEqual(saying.slice(0, 6), [false, false, false, false, false, true]);
  const [, at6] = ofTrips[5].message.match(
    /The next one comes after (\d{4}-\d\d-\d\d \d\d:\d\d UTC) at the earliest\.$/,
  )!;
  assert.ok(Date.parse(at6.replace(" UTC", "Z")) > Date.now() + 22 * 3600_000);

  await say({ trips: "ok", drivers: "late" });
  for (let look = 0; look < 300; look++) {
    const message = await news(db);
    if (message) told.push({ look: looks + look, message });
    await passes(db, "5 min");
  }
  assert.match(told.at(-1)!.message, /trips is ok again/, "in the end it is told how it is");
});

Deno.test("the words: which feeds, since when, why, what to do; what is alike in one line, and ten lines at most", async () => {
  await using at = await withVerdicts();
  const { db, say } = at;
  await say(Object.fromEntries(Array.from({ length: 15 }, (_, n) => [`feed${n + 10}`, "late"])));
  await db.query("update public.verdicts set message = 'Why ' || feed");
  await news(db);
  const lines = (await news(db))!.split("\n");
  assert.equal(lines.length, 11);
  assert.match(
    lines[0],
    /^tdc-etl: feed10 is late since \d{4}-\d\d-\d\d \d\d:\d\d UTC\. Cause: Why feed10\. What to do: docs\/operation\.md lists .*\.$/,
  );
  assert.equal(lines[10], "And 5 more: select * from etl.health()");
  await say(Object.fromEntries(Array.from({ length: 15 }, (_, n) => [`feed${n + 10}`, "ok"])));
  await news(db);
  assert.match(
    (await news(db))!,
    /^tdc-etl: feed10, feed11, .*, feed19 and 5 more are ok again; before: late since [^\n]*UTC\.$/,
  );

  await say({ trips: "failing" });
  await db.query(
    String
      .raw`update public.verdicts set message = e'its header <!channel> & @here\nand\x1b[2J ' || repeat('x', 2000) where feed = 'trips'`,
  );
  await news(db);
  const text = (await news(db))!;
  assert.match(text, /Cause: its header &lt;!channel&gt; &amp; @ here and \[2J x+\. What to do: See the logs/);
  assert.ok(text.length < 1400 && !text.includes("\n"));
});

Deno.test("no value of a record, no query of a URL and no secret is in what is told", async () => {
  const rows = (n: number, value: string) =>
    "id,amount\n" + Array.from({ length: n }, (_, i) => `k3y-${i},${value}\n`).join("");
  await using given = await databaseAndWeb(
    "create table public.rides (id text primary key, amount int check (amount < 1000))",
  );
  const { db, web } = given;
  await db.query("update etl.feeds set enabled = false");
  await db.feed("rides", { url: `${web.url}/rides.csv?token=h1dden`, headers: { "x-key": "h1dden" } });
  web.files["/rides.csv"] = rows(20, "7");
  assert.equal((await db.loadOne("rides")).error, null);
  const failing: [string, () => void][] = [
    ["http_500", () => web.files["/rides.csv"] = () => new Response("s3cret", { status: 500 })],
    ["too_many_rejects", () => web.files["/rides.csv"] = rows(30, "s3cret")],
    ["too_many_rejects", () => web.files["/rides.csv"] = rows(31, "1234")],
    ["columns", () => web.files["/rides.csv"] = "s3cret,other\nk3y,1\n"],
  ];
  for (const [code, breaks] of failing) {
    breaks();
    assert.equal((await db.loadOne("rides")).error!.code, code);
    await db.query("truncate etl.told");
    await news(db);
    const text = (await news(db))!;
    assert.match(
      text,
      new RegExp(`^tdc-etl: rides is failing since .*Cause: Cannot load rides: .*docs/errors\\.md explains ${code}; `),
    );
    // What stands in the header is a name, and no value.
    for (const word of ["k3y", "h1dden", "1234", "token", ...(code === "columns" ? [] : ["s3cret"])]) {
      assert.ok(!text.includes(word), `${word}: ${text}`);
    }
  }
});

/** Stand-ins for pg_net and Vault, and somebody to be told. */
async function withReceiver(answer: (request: Request) => Response) {
  const db = await freshDatabase();
  for (const file of ["net.sql", "vault.sql"]) {
    await db.admin(await Deno.readTextFile(`${project}/tests/schedule/cron/${file}`));
  }
  const texts: unknown[] = [];
  const web = serve({
    "/hook": async (request) => {
      texts.push(await request.json());
      return answer(request);
    },
  });
  const worker = await startNetWorker(db.adminUrl);
  return {
    ...{ db, texts, url: `${web.url}/hook` },
    answered: (n: number) =>
      until(`${n} answers`, async () => (await db.query("select from net._http_response")).length === n),
    [Symbol.asyncDispose]: async () => {
      await worker[Symbol.asyncDispose]();
      await web[Symbol.asyncDispose]();
      await db[Symbol.asyncDispose]();
    },
  };
}

const fails = (db: Database) =>
  db.query(
    `insert into etl.runs
    select gen_random_uuid(), name, 'failed', now(), now(), 0, 0, 0, 0, 0, 0, 0, 'http_404', 'Cannot load it: gone'
    from etl.feeds where name = 'trips'`,
  );

const tell = async (db: Database) => (await db.query("select etl.tell()::int as request"))[0].request;

Deno.test("etl.tell() posts what is new to the URL in the vault; what the receiver does not take is sent again", async () => {
  let status = 500;
  await using at = await withReceiver(() =>
    new Response("<html>", { status, headers: { "content-type": "text/html" } })
  );
  const { db, texts } = at;
  await fails(db);
  await db.query("update etl.feeds set enabled = name = 'trips'");
  assert.deepEqual([await tell(db), await tell(db)], [null, null], "there is no URL");
  assert.deepEqual(await db.query("table etl.told"), []);
  await db.query("select vault.create_secret($1, 'etl_alert_url')", [`${at.url}\n`]);
  assert.equal(await tell(db), null);
  const first = await tell(db);
  await at.answered(1);
  assert.equal(typeof first, "number");
  assert.equal(texts.length, 1);
  const { text, ...others } = texts[0] as { text: string };
  assert.deepEqual(others, {});
  assert.match(
    text,
    /^tdc-etl: trips is failing since .* UTC\. Cause: Cannot load it: gone.* What to do: docs\/errors\.md explains http_404; deno task etl trips tries again\.$/,
  );

  const second = await tell(db);
  assert.ok(second > first, "again, for nobody took it");
  await at.answered(2);
  assert.deepEqual(texts[1], texts[0]);
  status = 200;
  await tell(db);
  await at.answered(3);
  assert.deepEqual([await tell(db), await tell(db), texts.length], [null, null, 3]);
  assert.deepEqual(await db.query("select * from etl.answers()"), [], "they are no answers of the function");
});

Deno.test("a receiver that takes nothing gets six messages in 24 hours", async () => {
  await using at = await withReceiver(() => new Response("no", { status: 404 }));
  const { db, texts } = at;
  await fails(db);
  await db.query(
    "update etl.feeds set enabled = name = 'trips'; select vault.create_secret('" + at.url + "', 'etl_alert_url')",
  );
  let sent = 0;
  for (let look = 0; look < 20; look++) {
    if (await tell(db)) await at.answered(++sent);
  }
  assert.deepEqual([sent, texts.length], [6, 6]);
  assert.match((texts[5] as { text: string }).text, /this is the sixth message/);
});

Deno.test("where alerts may go: by https, or on this machine; no error holds the URL", async (t) => {
  await using at = await withReceiver(() => new Response());
  const { db } = at;
  await assert.rejects(db.query("select etl.post_alert('A test')"), {
    code: "ETL07",
    message: "the vault lacks etl_alert_url",
  });
  const fit = [
    "https://hooks.example/services/T0/h1dden",
    "http://localhost/x",
    "http://127.0.0.1:8065/hooks/h1dden",
    "http://[::1]:1",
  ];
  const unfit = [
    ...["http://hooks.example/h1dden", "http://localhost.example/h1dden", "http://localhost:1@hooks.example/h1dden"],
    ...["http://127.0.0.1.example/h1dden", "ftp://hooks.example/h1dden", "h1dden", "https:///h1dden"],
  ];
  await db.query("select vault.create_secret('x', 'etl_alert_url')");
  for (const url of [...fit, ...unfit]) {
    await t.step(url, async () => {
      await db.query("select vault.update_secret(id, $1) from vault.secrets", [url]);
      const asked = db.query("select etl.alert_url() as url");
      if (fit.includes(url)) assert.deepEqual(await asked, [{ url }]);
      else {
        await assert.rejects(asked, (error: Record<string, string>) => {
          assert.deepEqual([error.code, error.message], ["ETL07", "etl_alert_url in the vault is no https URL"]);
          return !JSON.stringify(error).includes("h1dden");
        });
      }
    });
  }
  await t.step("an error of pg_net is passed on without its words", async () => {
    await db.query("select vault.update_secret(id, $1) from vault.secrets", [fit[0]]);
    await db.admin("alter table net.http_request_queue add constraint never check (url is null)");
    await assert.rejects(db.query("select etl.post_alert('A test')"), (error: Record<string, string>) => {
      assert.deepEqual([error.code, error.message], ["ETL07", "pg_net took no request (SQLSTATE 23514)"]);
      return !JSON.stringify({ ...error }).includes("h1dden");
    });
  });
});

Deno.test("of two that look at the same time one tells", async () => {
  await using given = await databaseAndWeb();
  const { db } = given;
  await fails(db);
  await news(db);
  await db.query("begin");
  assert.ok(await news(db));
  const other = within(20, "the other one", db.admin("select message from etl.news()"));
  assert.deepEqual(await other, [{ message: null }]);
  await db.query("rollback");
  assert.ok((await db.admin("select message from etl.news()"))[0].message, "what was not sent is news still");
});

Deno.test("the answers to alerts do not hide what is wrong with the function", async () => {
  await using db = await freshDatabase();
  await db.query("begin");
  const past = new Past(db);
  await wellUntilHalfAnHourAgo(past);
  await past.called("21 min", "11 min", "1 min");
  await past.answered("2 min", { id: 7, status_code: 200, content_type: "text/html", content: "ok" });
  const said = async () => (await db.query("select message from etl.health() where feed = 'trips'"))[0].message;
  assert.match(await said(), /What answers at etl_function_url is not the function/);
  await db.query("insert into etl.told values ('trips', 'late', now(), null, null, array[now()], '{7}')");
  assert.match(await said(), /^The function was called and has not answered well since [^A-Z]*$/);
  await db.query("update etl.told set told_at = array[now() - interval '2 hours']");
  assert.match(await said(), /What answers at etl_function_url/, "a number of before a crash");
});
