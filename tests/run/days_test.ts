/** A file a day: what is asked for on which day, until when its absence is no failure, and files of before. */
import assert from "node:assert/strict";
import { databaseAndWeb, type Given } from "../support/given.ts";
import { run } from "../support/command.ts";
import { countsOf } from "../support/counts.ts";
import { snapshot } from "../support/snapshot.ts";

const day = "2021-03-01";
const addresses: Record<string, string | null> = {
  "https://a/f.csv": "https://a/f.csv",
  "https://a/{day}.csv": "https://a/2021-03-01.csv",
  "https://a/{day-1}/{day}?d={day-0}": "https://a/2021-02-28/2021-03-01?d=2021-03-01",
  "https://a/{day-1:YYYYMMDD}.zip#trips-{day:DD}.csv": "https://a/20210228.zip#trips-01.csv",
  "https://a/{day-366:DDD}": "https://a/060",
  'https://a/{day:"w"IYYY-"W"IW}': "https://a/w2021-W09",
  "https://a/{day:FMDy, DD Mon}": "https://a/Mon, 01 Mar",
  "https://a/{day-9999}": "https://a/1993-10-15",
  "https://a/{day-10000}": "https://a/{day-10000}",
  "https://a/{day+1}{day -1}{day:}{DAY}{days}{day": "https://a/{day+1}{day -1}{day:}{DAY}{days}{day",
  "https://a/{secret:day}/{day:YY}": "https://a/{secret:day}/21",
  "https://a/{day:{day}}": "https://a/{day:2021-03-01}",
  'https://a/{day:"}': "https://a/",
};

Deno.test("the days in a URL are written as to_char() does", async () => {
  await using given = await databaseAndWeb();
  for (const [url, expected] of Object.entries(addresses)) {
    await given.db.feed("things", { url });
    const [{ address }] = await given.db.query("select etl.address(f, $1) from etl.feeds f where name = 'things'", [
      day,
    ]);
    assert.equal(address, expected, url);
  }
});

const things = "create table public.things (id text primary key, name text);";

async function dailyFeed(columns: Record<string, unknown> = {}, path = "/{day}.csv"): Promise<Given> {
  const given = await databaseAndWeb(things, {}, true);
  await given.db.feed("things", { url: given.web.url + path, ...columns });
  return given;
}

/** What the feed asks for today, as its zone has it at the start of a transaction. */
async function today({ db }: Given, zone = "UTC"): Promise<string> {
  const [{ today }] = await db.query("select (now() at time zone $1)::date::text as today", [zone]);
  return today;
}

Deno.test("today is the day where the feed is", async () => {
  // 25 hours lie between the two.
  await using given = await dailyFeed({ time_zone: "Pacific/Kiritimati" });
  const { db, web } = given;
  await db.feed("others", { url: `${web.url}/{day}.csv`, target: "public.things", time_zone: "Pacific/Niue" });
  const inZone = (timeZone: string) => new Date().toLocaleDateString("sv-SE", { timeZone });
  const before = ["Pacific/Niue", "Pacific/Kiritimati"].map(inZone);
  await db.load({ feeds: ["things", "others"] });
  const after = ["Pacific/Niue", "Pacific/Kiritimati"].map(inZone);
  const asked = new Set(web.log);
  assert.equal(asked.size, 2, "two days");
  const expected = (days: string[]) => days.map((day) => `GET /${day}.csv 404`).sort();
  assert.ok([before, after].some((days) => expected(days).join() === [...asked].sort().join()), [...asked].join());
});

Deno.test("a zone that is an abbreviation, too, has its summer", async () => {
  await using given = await databaseAndWeb();
  const zones = ["CET", "MET", "EET", "WET", "cet", "EST5EDT", "Europe/Paris", "UTC"];
  for (const moment of ["2021-06-30T22:30:00Z", "2021-06-30T21:30:00Z", "2021-12-31T23:30:00Z"]) {
    for (const timeZone of zones) {
      const [{ day }] = await given.db.query("select etl.day_in($1, $2)::text as day", [timeZone, moment]);
      const expected = new Date(moment).toLocaleDateString("sv-SE", { timeZone });
      assert.equal(day, expected, `${timeZone} ${moment}`);
    }
  }
});

Deno.test("a date that cannot be written fails its feed alone", async (t) => {
  await using given = await dailyFeed();
  const { db, web } = given;
  web.files["/others"] = "id\n1\n";
  await db.query("create table public.others (id text primary key)");
  await db.feed("others", { url: `${web.url}/others` });
  const broken: Record<string, Record<string, string>> = {
    "a zone that is none": { url: `${web.url}/{day}.csv`, time_zone: "Nowhere/Town" },
    "a day too far": { url: `${web.url}/{day-99999}.csv`, time_zone: "UTC" },
    "a sum that is none": { url: `${web.url}/{day-1-1}.csv`, time_zone: "UTC" },
    "no more than a brace": { url: `${web.url}/{day.csv`, time_zone: "UTC" },
  };
  for (const [name, columns] of Object.entries(broken)) {
    await t.step(name, async () => {
      await db.feed("things", columns);
      const [others, failed] = (await db.load({ feeds: ["things", "others"] })).feeds;
      assert.deepEqual([failed.error?.code, others.error], ["url", null]);
      assert.ok(failed.error!.hint);
    });
  }
  await t.step("any format is none of these", async () => {
    const hostile = `${'TMMonth"'.repeat(2000)}\\ % $1 ' ; -- TZ OF J SSSSS`;
    await db.feed("things", { url: `${web.url}/{day:${hostile}}`, time_zone: "UTC" });
    const [others, failed] = (await db.load({ feeds: ["things", "others"] })).feeds;
    assert.deepEqual([failed.error?.code.slice(0, 5), others.error], ["http_", null]);
  });
});

Deno.test("a day's file that is not there is no failure until nothing has come for fresh_within", async (t) => {
  await using given = await dailyFeed();
  const { db, web } = given;
  const path = `/${await today(given)}.csv`;
  const ago = (interval: string) =>
    db.query("update etl.runs set finished_at = now() - $1::interval where status = 'changed'", [interval]);
  const notYet = async () => {
    const before = await snapshot(db);
    const { status, note, error, read } = await db.loadOne("things");
    assert.deepEqual([status, note, error, read], [
      "unchanged",
      `not there yet: ${web.url}${path} answered 404`,
      null,
      0,
    ]);
    assert.deepEqual(await snapshot(db), before, "nothing is written");
  };
  const fails = async (code = "http_404") => {
    const { status, note, error } = await db.loadOne("things");
    assert.deepEqual([status, note, error?.code], ["failed", null, code]);
  };

  await t.step("before the first file it is one", () => fails());
  web.files[path] = "id,name\n1,a\n";
  const { inserted, note } = await db.loadOne("things");
  assert.deepEqual([inserted, note], [1, null]);
  delete web.files[path];
  await t.step("none", notYet);
  await t.step("for two days", async () => {
    await ago("47 hours");
    await notYet();
    await ago("49 hours");
    await fails();
  });
  await t.step("for fresh_within", async () => {
    await db.query("update etl.feeds set fresh_within = '5 days' where name = 'things'");
    await notYet();
    await ago("121 hours");
    await fails();
    await ago("1 hour");
  });
  await t.step("nor where Storage says it in its own way", async () => {
    web.files[path] = () =>
      Response.json({ statusCode: "404", error: "not_found", message: "Object not found" }, { status: 400 });
    await notYet();
    web.files[path] = () => Response.json({ statusCode: "403", error: "Unauthorized", message: "no" }, { status: 400 });
    await fails("http_403");
    web.files[path] = () => Response.json({ statusCode: "no" }, { status: 400 });
    await fails("http_400");
  });
  await t.step("any other status is a failure", async () => {
    web.files[path] = () => new Response(null, { status: 410 });
    await fails("http_410");
  });
  await t.step("so is a file of another day, and of no day", async () => {
    assert.equal((await db.loadOne("things", { day })).error?.code, "http_404");
    await db.query("update etl.feeds set url = $1 where name = 'things'", [`${web.url}/none.csv`]);
    await fails();
  });
});

Deno.test("a file of before is loaded whole, is not remembered, and today's has the last word", async (t) => {
  await using given = await dailyFeed({}, "/{day-1:YYYYMMDD}.csv");
  const { db, web } = given;
  const old = "/20210228.csv";
  const [{ path }] = await db.query(
    "select to_char((now() at time zone 'UTC')::date - 1, '\"/\"YYYYMMDD\".csv\"') as path",
  );
  const rows = async () =>
    (await db.query("select concat(id, name) as row from public.things order by id")).map(({ row }) => row);
  web.files[path] = "id,name\n1,new\n2,b\n";
  web.files[old] = "id,name\n1,old\n3,c\n";
  await db.loadOne("things");
  assert.deepEqual(await rows(), ["1new", "2b"]);

  await t.step("a dry run shows it, and changes nothing", async () => {
    const before = await snapshot(db);
    const report = await db.loadOne("things", { day, dryRun: true });
    assert.deepEqual(countsOf(report), [2, 1, 1, 0, 0, 0]);
    assert.deepEqual(await snapshot(db), before);
    assert.equal((await db.loadOne("things")).bytes, 0, "304");
  });
  await t.step("it is loaded", async () => {
    assert.deepEqual(countsOf(await db.loadOne("things", { day })), [2, 1, 1, 0, 0, 0]);
    assert.deepEqual(await rows(), ["1old", "2b", "3c"]);
  });
  await t.step("once more, with nothing to write", async () => {
    const before = await snapshot(db);
    const report = await db.loadOne("things", { day });
    assert.deepEqual([report.status, countsOf(report)], ["unchanged", [2, 0, 0, 2, 0, 0]]);
    assert.deepEqual(await snapshot(db), before);
  });
  await t.step("the next run brings today's values back", async () => {
    assert.deepEqual(countsOf(await db.loadOne("things")), [2, 0, 1, 1, 0, 0]);
    assert.deepEqual(await rows(), ["1new", "2b", "3c"]);
  });
  await t.step("and the one after it finds nothing new", async () => {
    const before = await snapshot(db);
    const { status, bytes } = await db.loadOne("things");
    assert.deepEqual([status, bytes], ["unchanged", 0]);
    assert.deepEqual(await snapshot(db), before);
  });
  await t.step("today by name is today", async () => {
    const { status, bytes } = await db.loadOne("things", { day: await today(given) });
    assert.deepEqual([status, bytes], ["unchanged", 0]);
  });
});

Deno.test("neither tomorrow's file nor one of before is asked for with today's validators", async () => {
  await using given = await dailyFeed();
  const { db, web } = given;
  const etag = '"the same for all"';
  const asked: (string | null)[] = [];
  const path = `/${await today(given)}.csv`;
  const answer = (body: string) => (request: Request) => {
    asked.push(request.headers.get("if-none-match"));
    const same = request.headers.get("if-none-match") === etag;
    return new Response(same ? null : body, { status: same ? 304 : 200, headers: { etag } });
  };
  web.files[path] = answer("id,name\n1,a\n");
  await db.loadOne("things");
  assert.equal((await db.loadOne("things")).status, "unchanged");
  const before = await db.query("select * from etl.feed_state");
  web.files["/2021-03-01.csv"] = answer("id,name\n1,a\n");
  assert.equal((await db.loadOne("things", { day, dryRun: true })).read, 1);
  assert.deepEqual(await db.query("select * from etl.feed_state"), before);
  assert.deepEqual(asked, [null, etag, null]);
  // The clock cannot be put forward, but the function that reads it can.
  await db.query(`
    alter function etl.address(etl.feeds, date) rename to address_of;
    create function etl.address(feed etl.feeds, day date default null) returns text language sql stable as
      'select etl.address_of(feed, coalesce(day, current_date + 3))'`);
  const [{ later }] = await db.query("select etl.address(f) as later from etl.feeds f where name = 'things'");
  web.files[new URL(later).pathname] = answer("id,name\n2,b\n");
  assert.equal((await db.loadOne("things")).inserted, 1);
  assert.deepEqual(asked, [null, etag, null, null]);
});

Deno.test("a day is for feeds whose URL holds one, and is a day", async () => {
  await using given = await dailyFeed();
  const { db } = given;
  const refused = { name: "EtlError", code: "day", message: "Cannot run: the URL of trips holds no {day}" };
  const before = await snapshot(db);
  await assert.rejects(db.load({ feeds: ["things", "trips"], day }), refused);
  await assert.rejects(db.load({ day }), { code: "day", message: /the URL of charges, drivers, trips holds no/ });
  const etl = async (...args: string[]) => await run(["etl", ...args], { env: { DATABASE_URL: db.url } });
  const named = await etl("trips", "--day", day);
  assert.deepEqual([named.code, named.err.split("\n")[0]], [2, "error: Cannot run: the URL of trips holds no {day}"]);
  for (const wrong of ["today", "2021-02-29", "2021-3-1", "20210301", "0000-01-01", ""]) {
    const { code, err } = await etl("things", "--day", wrong);
    assert.deepEqual([code, err.split("\n")[0]], [2, "error: --day takes a day, as 2021-07-01"], wrong);
  }
  assert.deepEqual(await snapshot(db), before);
  given.web.files["/2021-03-01.csv"] = "id,name\n1,a\n";
  const { code, out } = await etl("things", "--day", day);
  assert.equal(code, 0);
  assert.match(out, /^things +changed +1 +1 /m);
  await db.feed("things", { url: `${given.web.url}/{day}.txt` });
  assert.match((await etl("things")).out, /^things: not there yet: http.*\.txt answered 404$/m);
});
