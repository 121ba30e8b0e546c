/** What docs/feeds.md shows, tried against servers that behave as the real ones do. */
import assert from "node:assert/strict";
import { environment } from "../support/environment.ts";
import { databaseAndWeb } from "../support/given.ts";
import { blocks, document } from "../support/project.ts";

const csv = "id,amount\n1,5\n";

/** The SQL of a section of docs/feeds.md, with its host's place taken by another. */
async function recipe(title: string, host: string, url: string): Promise<string> {
  const section = (await document("docs/feeds.md")).split(/^## /m).find((text) => text.startsWith(`${title}\n`));
  assert.ok(section, title);
  const [sql] = blocks(section, "sql");
  assert.ok(sql.includes(host));
  return sql.replaceAll(host, url);
}

const secretsOf = (secrets: Record<string, string>) =>
  environment(Object.fromEntries(Object.entries(secrets).map(([name, value]) => [`ETL_SECRET_${name}`, value])));

Deno.test("a file behind a key: each way that the recipe names", async (t) => {
  const section = (await document("docs/feeds.md")).split(/^## /m).find((text) =>
    text.startsWith("A file behind a key")
  )!;
  const ways = [...section.matchAll(/^\| [a-zA-Z ]+\| `([^`]+)`/gm)].map(([, way]) => way).filter((way) =>
    way !== "headers"
  );
  assert.equal(ways.length, 4);
  await using given = await databaseAndWeb("", {
    "/payouts.csv": ({ headers, url }) => {
      const [scheme, login] = (headers.get("authorization") ?? "").split(" ");
      const isKnown = scheme === "Bearer" && login === "t0ken" ||
        scheme === "Basic" && atob(login) === "user:password" ||
        headers.get("x-api-key") === "t0ken" || new URL(url).searchParams.get("key") === "t0ken";
      return new Response(isKnown ? csv : "who are you?", { status: isKnown ? 200 : 401 });
    },
  });
  const { db, web } = given;
  using _secrets = secretsOf({ PARTNER_TOKEN: "t0ken", PARTNER_LOGIN: btoa("user:password") });
  await t.step("the recipe", async () => {
    await db.query(await recipe("A file behind a key", "https://partner.example", web.url));
    assert.equal((await db.loadOne("payouts")).inserted, 1);
  });
  for (const way of ways) {
    await t.step(way, async () => {
      const url = way.startsWith("{") ? `${web.url}/payouts.csv` : way.replace("https://partner.example", web.url);
      await db.feed("payouts", { url, headers: way.startsWith("{") ? way : "{}" });
      const { error, unchanged } = await db.loadOne("payouts", { force: true });
      assert.deepEqual([error, unchanged], [null, 1]);
    });
  }
});

/** Supabase Storage as it answers for a private bucket: the status is 400 whatever is wrong, and the body tells. */
function storage(key: string, files: Record<string, string>) {
  const refuse = (statusCode: string, error: string, message: string) =>
    Response.json({ statusCode, error, message }, { status: 400 });
  return ({ headers, url }: Request): Response => {
    const isSecretKey = key.startsWith("sb_");
    const given = isSecretKey ? headers.get("apikey") : headers.get("authorization")?.replace("Bearer ", "");
    if (given !== key) return refuse("403", "Unauthorized", "Invalid Compact JWS");
    const file = files[new URL(url).pathname.replace("/storage/v1/object/authenticated/", "")];
    if (file === undefined) return refuse("404", "not_found", "Object not found");
    const etag = `"${file.length}-${file.at(-2)}"`;
    if (headers.get("if-none-match") === etag) return new Response(null, { status: 304, headers: { etag } });
    return new Response(file, { headers: { etag, "content-type": "text/csv", "cache-control": "no-cache" } });
  };
}

Deno.test("a file in a private bucket of Supabase Storage, by both kinds of key", async (t) => {
  const path = "/storage/v1/object/authenticated/partners/payouts.csv";
  await using given = await databaseAndWeb();
  const { db, web } = given;
  const files = { "partners/payouts.csv": csv };
  const text = await document("docs/feeds.md");
  const [, older] = /`(\{"authorization": "Bearer \{secret:STORAGE_KEY\}"\})`/.exec(text)!;
  await db.query(
    await recipe("A file in Supabase Storage", "https://abcdefghijklmnopqrst.supabase.co", web.url),
  );
  for (const [key, headers] of [["sb_secret_s3cret", null], ["eyJhbGciOi.s3cret.x", older]] as const) {
    if (headers) await db.query("update etl.feeds set headers = $1 where name = 'payouts'", [headers]);
    web.files[path] = storage(key, files);
    await t.step(`${key}: loaded, and the next time unchanged`, async () => {
      using _secret = secretsOf({ STORAGE_KEY: key });
      assert.deepEqual([(await db.loadOne("payouts")).read, (await db.loadOne("payouts")).bytes], [1, 0]);
    });
    await t.step(`${key}: another key`, async () => {
      using _secret = secretsOf({ STORAGE_KEY: "s3cret" });
      const { error } = await db.loadOne("payouts");
      assert.equal(error?.code, "http_403");
      assert.doesNotMatch(JSON.stringify(error), /s3cret/);
    });
    await t.step(`${key}: no such file`, async () => {
      web.files[path] = storage(key, {});
      using _secret = secretsOf({ STORAGE_KEY: key });
      assert.equal((await db.loadOne("payouts")).error?.code, "http_404");
    });
  }
});

Deno.test("a file a day, and the days of before", async (t) => {
  await using given = await databaseAndWeb();
  const { db, web } = given;
  await db.query(await recipe("A file a day", "https://partner.example", web.url));
  for (const [i, date] of ["20210630", "20210701", "20210702"].entries()) {
    web.files[`/payouts-${date}.csv`] = `id,amount\n${i},${i}\n99,${i}\n`;
  }
  const [, days] = /^for day in ([\d -]+); do deno task etl payouts --day "\$day"; done$/m.exec(
    await document("docs/feeds.md"),
  )!;
  for (const day of days.split(" ")) await db.loadOne("payouts", { day });
  const rows = await db.query("select id || ' ' || amount as row from public.payouts order by id");
  assert.deepEqual(rows.map(({ row }) => row), ["0 0", "1 1", "2 2", "99 2"]);
  assert.match((await db.loadOne("payouts")).note!, /^not there yet: /);

  const table = (await document("docs/feeds.md")).matchAll(/^\| `([^`]*\{day[^`]*)` +\| `([^`]+)`/gm);
  for (const [, url, written] of table) {
    await t.step(url, async () => {
      await db.feed("payouts", { url });
      const [{ address }] = await db.query(
        "select etl.address(f, '2021-07-02') from etl.feeds f where name = 'payouts'",
      );
      assert.equal(address, written);
    });
  }
});
