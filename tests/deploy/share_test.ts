/** The partner's link: his rejects and nothing else, until it expires or is revoked; and the token is nowhere. */
import assert from "node:assert/strict";
import { parse } from "csv-parse/sync";
import { handle } from "../../main.ts";
import { environment } from "../support/environment.ts";
import { databaseAndWeb, type Given } from "../support/given.ts";
import { hush } from "../support/hush.ts";
import { onLoopback } from "../support/web.ts";

const gone = "This link is not valid, or not any more. Ask whoever sent it for another one.\n";

interface Shared extends AsyncDisposable {
  at: Given;
  /** Of the function, without etl. */
  url: string;
  logged: string[];
  share(feed?: string, lasts?: string): Promise<string>;
}

/** Two partners, one of whom has rejects; the function on loopback. */
async function given(): Promise<Shared> {
  await using stack = new AsyncDisposableStack();
  const at = stack.use(
    await databaseAndWeb(
      "create table public.payouts (id int primary key, amount int); create table public.others (id int primary key)",
      { "/payouts.csv": "id,amount\n1,=much\n2,2\n3,little\n", "/others.csv": "id\nhidden\n1\n" },
    ),
  );
  for (const name of ["payouts", "others"]) {
    await at.db.feed(name, { url: `${at.web.url}/${name}.csv?key=partners`, reject_limit: 1 });
    assert.equal((await at.db.loadOne(name)).error, null);
  }
  stack.use(
    environment({ DATABASE_URL: at.db.url, ETL_TRIGGER_SECRET: "a-trigger-secret-of-more-than-32-characters" }),
  );
  const hushed = stack.use(hush());
  const server = stack.use(onLoopback(handle));
  const all = stack.move();
  return {
    ...{ at, url: server.url, logged: hushed.said },
    share: async (feed = "payouts", lasts = "30 days") => {
      const [{ share }] = await at.db.query("select etl.share($1, $2, $3)", [
        feed,
        lasts,
        `${server.url}/functions/v1/etl/`,
      ]);
      return share;
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

const textOf = async (answer: Response) => [answer.status, await answer.text()] as const;

Deno.test("the link shows a letter or a sheet of that feed's rejects, and asks for no secret", async () => {
  await using shared = await given();
  const link = await shared.share();
  assert.match(link.slice(shared.url.length), /^\/functions\/v1\/etl\/rejects\/[0-9a-f]{64}$/);
  const letter = await fetch(link);
  const [status, text] = await textOf(letter);
  assert.equal(status, 200);
  assert.match(text, /^Subject: payouts\.csv: 2 records to mend\n/);
  assert.match(
    text,
    /\* Column "amount" is not a whole number \(2 records\)\n {4}record 1 \(row 2\): =much\n {4}record 3 \(row 4\): little\n/,
  );
  assert.doesNotMatch(text, /hidden|others|key=/);
  const headers = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-robots-tag": "noindex",
  };
  for (const [name, value] of Object.entries(headers)) assert.equal(letter.headers.get(name), value, name);
  assert.equal(letter.headers.get("content-type"), "text/plain; charset=utf-8");
  assert.equal(letter.headers.get("content-disposition"), null);

  for (const [url, accept] of [[`${link}?format=csv`, "*/*"], [link, "text/csv"]]) {
    const sheet = await fetch(url, { headers: { accept } });
    const rows = parse(await sheet.text(), { columns: true, bom: true }) as Record<string, string>[];
    assert.deepEqual(
      rows.map(({ feed, row, column, value, problem }) => [feed, row, column, value, problem]),
      [
        ["payouts", "2", "amount", "'=much", "is not a whole number"],
        ["payouts", "4", "amount", "little", "is not a whole number"],
      ],
    );
    assert.equal(sheet.headers.get("content-type"), "text/csv; charset=utf-8");
    assert.match(
      sheet.headers.get("content-disposition")!,
      /^attachment; filename="payouts-rejects-\d{4}-\d\d-\d\d\.csv"$/,
    );
    for (const [name, value] of Object.entries(headers)) assert.equal(sheet.headers.get(name), value, name);
  }
  const head = await fetch(link, { method: "HEAD" });
  assert.deepEqual(await textOf(head), [200, ""]);
  const post = await fetch(link, { method: "POST", body: "{}" });
  assert.deepEqual([post.status, post.headers.get("allow"), (await post.text()).length > 0], [405, "GET, HEAD", true]);
});

Deno.test("once all is mended the link says since when", async () => {
  await using shared = await given();
  const link = await shared.share();
  shared.at.web.files["/payouts.csv"] = "id,amount\n1,1\n2,2\n3,3\n";
  await shared.at.db.loadOne("payouts");
  assert.match(
    (await textOf(await fetch(link)))[1],
    /^payouts\.csv: nothing to mend\. Clean since [-\d]+ [\d:]+ UTC\.\n$/,
  );
  const sheet = await (await fetch(`${link}?format=csv`)).text();
  assert.deepEqual(parse(sheet, { columns: true, bom: true }), []);
});

Deno.test("a file above the limit is shown, too", async () => {
  await using shared = await given();
  const link = await shared.share();
  await shared.at.db.query("update etl.feeds set reject_limit = 0 where name = 'payouts'");
  shared.at.web.files["/payouts.csv"] = "id,amount\n1,1\n2,newer\n";
  await shared.at.db.loadOne("payouts");
  const [, text] = await textOf(await fetch(link));
  assert.match(text, /nothing of payouts\.csv was loaded/);
  assert.match(text, /record 2 \(row 3\): newer/);
  assert.doesNotMatch(text, /much/, "of the file before");
});

Deno.test("a file that could not be loaded as a whole is told, as a letter and as a sheet, without the URL's query", async () => {
  await using shared = await given();
  const link = await shared.share();
  shared.at.web.files["/payouts.csv"] = "no,amounts\n1,1\n";
  assert.equal((await shared.at.db.loadOne("payouts")).error?.code, "columns");
  const [status, text] = await textOf(await fetch(link));
  assert.equal(status, 200);
  assert.match(
    text,
    /^Subject: payouts\.csv: could not be loaded; 2 records to mend\n\nHello,\n\nthe latest payouts\.csv could not be loaded, since [-\d]+ [\d:]+ UTC: it has no column of a name that we know\.\n/,
  );
  const sheet = await (await fetch(`${link}?format=csv`)).text();
  const [row, ...others] = parse(sheet, { columns: true, bom: true }) as Record<string, string>[];
  assert.equal(row.problem, "the latest file could not be loaded: it has no column of a name that we know");
  assert.equal(others.length, 2);
  assert.doesNotMatch(text + sheet, /key=|partners|hidden|others/);
});

Deno.test("a column of an unusual name, with a CHECK, is no failure of the link", async () => {
  await using shared = await given();
  const link = await shared.share();
  await shared.at.db.query('alter table public.payouts add column "c++" int check ("c++" > 0)');
  shared.at.web.files["/payouts.csv"] = "id,amount,c++\n1,1,-1\n2,2,2\n";
  assert.equal((await shared.at.db.loadOne("payouts")).error, null);
  const [status, text] = await textOf(await fetch(link));
  assert.deepEqual([status, text.includes("Send what holds: c++ > 0\n")], [200, true]);
});

Deno.test("a link that is wrong, expired or revoked is gone, and nothing tells which", async (t) => {
  await using shared = await given();
  const { db } = shared.at;
  const link = await shared.share();
  const expired = await shared.share("others", "1 hour");
  const other = await shared.share("others");
  await db.query("update etl.shares set expires_at = now() where expires_at < now() + interval '2 hours'");
  const revoked = link;
  assert.equal((await fetch(revoked)).status, 200);
  assert.equal((await db.query("select etl.unshare('payouts') as n"))[0].n, "1");
  assert.equal((await db.query("select from etl.shares")).length, 2, "the expired one is still there");
  const place = `${shared.url}/functions/v1/etl/rejects/`;
  const links: Record<string, string> = {
    ...{
      expired,
      revoked,
      wrong: place + "0".repeat(64),
      empty: place,
      short: `${place}1`,
      "no token": `${place}%27%20or%201=1`,
    },
    "one letter off": other.slice(0, -1) + (other.endsWith("0") ? "1" : "0"),
  };
  const seen = new Set<string>();
  for (const [name, url] of Object.entries(links)) {
    await t.step(name, async () => {
      const answer = await fetch(url);
      const kept = [...answer.headers].filter(([name]) => name !== "date");
      assert.deepEqual(await textOf(answer), [404, gone]);
      seen.add(JSON.stringify(kept));
    });
  }
  assert.equal(seen.size, 1, "not in the headers either");
  assert.equal((await fetch(other)).status, 200, "another partner's link stays");
});

Deno.test("a link is followed 60 times a minute, no more, and another one still is", async () => {
  await using shared = await given();
  const [link, other] = [await shared.share(), await shared.share()];
  const statuses: number[] = [];
  for (let i = 0; i < 62; i++) {
    const answer = await fetch(link);
    statuses.push(answer.status);
    if (answer.status === 429) assert.equal(answer.headers.get("retry-after"), "60");
    await answer.body?.cancel();
  }
  assert.deepEqual([statuses.filter((status) => status === 200).length, statuses.slice(60)], [60, [429, 429]]);
  assert.equal((await fetch(other)).status, 200);
  await shared.at.db.query("update etl.shares set minute = minute - interval '1 minute'");
  assert.equal((await fetch(link)).status, 200);
});

Deno.test("the token is kept and logged nowhere, and a failure tells nothing", async () => {
  await using shared = await given();
  const { db } = shared.at;
  const link = await shared.share();
  const token = link.split("/").at(-1)!;
  await (await fetch(link)).body?.cancel();
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(token)));
  const [row] = await db.query("select encode(token_hash, 'hex') as hash, s::text as row from etl.shares s");
  assert.equal(row.hash, digest.toHex());
  assert.ok(!row.row.includes(token));
  await db.query("alter table etl.shares rename to elsewhere");
  const [status, text] = await textOf(await fetch(link));
  assert.deepEqual([status, text], [503, "This cannot be shown just now. Try again later.\n"]);
  assert.ok(shared.logged.length > 0 && !shared.logged.join("\n").includes(token), shared.logged.join("\n"));
});

Deno.test("share and unshare say what is wrong", async () => {
  await using shared = await given();
  const { db } = shared.at;
  for (
    const [sql, code, message] of [
      ["select etl.share('nope')", "ETL01", /^there is no feed nope$/],
      ["select etl.unshare('nope')", "ETL01", /^there is no feed nope$/],
      ["select etl.share('payouts')", "ETL07", /^there is no URL to link to: the vault, .* is missing$/],
      ["select etl.share('payouts', '0')", "ETL11", /^a link lasts/],
      ["select etl.share('payouts', null)", "ETL11", /^a link lasts/],
      ["select etl.share('payouts', '2 years')", "ETL11", /^a link lasts/],
      ["select etl.share('payouts', function_url => 'ftp://x')", "ETL11", /^the function's URL is none$/],
    ] as const
  ) await assert.rejects(db.query(sql), { code, message }, sql);
  assert.deepEqual(await db.query("select * from etl.shares"), []);
});

Deno.test("where the vault has the function's URL the link is made of it", async () => {
  await using shared = await given();
  const { db } = shared.at;
  const own = (await db.query("select current_user as role"))[0].role;
  await db.admin(await Deno.readTextFile(new URL("../schedule/cron/vault.sql", import.meta.url)));
  await db.admin(`grant usage on schema vault to ${own}; grant all on all tables in schema vault to ${own}`);
  await assert.rejects(db.query("select etl.share('payouts')"), {
    code: "ETL07",
    message: /^the vault lacks etl_function_url/,
  });
  await db.query("select etl.connect('https://abc.supabase.co/functions/v1/etl')");
  const [{ share }] = await db.query("select etl.share('payouts')");
  assert.match(share, /^https:\/\/abc\.supabase\.co\/functions\/v1\/etl\/rejects\/[0-9a-f]{64}$/);
});
