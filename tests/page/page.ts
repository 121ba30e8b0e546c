/**
 * `deno task test:page`: the page in a real Chromium, on REST and auth over real Postgres. Expected values come from the
 * sample files or from SQL, never from the page's own code.
 */
import assert from "node:assert/strict";
import type { Page } from "playwright-core";
import axe from "axe-core";
import { parse } from "csv-parse/sync";
import { sampleFeeds } from "../../lib/local/samples.ts";
import { startBrowser } from "./browser.ts";
import { account, page as files, signIn, type Site, startSite } from "./site.ts";

const browser = await startBrowser();
Deno.test.afterAll(() => browser.close());

/** A test on a site of its own. The browser outlives them all. */
function test(name: string, body: (site: Site, t: Deno.TestContext) => Promise<void>): void {
  Deno.test({
    name,
    sanitizeOps: false,
    sanitizeResources: false,
    fn: async (t) => {
      await using site = await startSite(browser);
      await body(site, t);
    },
  });
}

const rows = (name: string) => sampleFeeds()[name].trim().split("\n").slice(1).map((line) => line.split(","));

/** The trips without charges, from the sample files: id, driver, dropoff, fare and gratuity in cents. */
function uncharged() {
  const charged = new Set(rows("charges.csv").map(([, trip]) => trip));
  return rows("trips.csv").filter(([id, , , , dropoff]) => dropoff !== "" && !charged.has(id))
    .map(([id, driver, , , dropoff, fare, gratuity]) => ({
      ...{ id, driver, dropoff },
      cents: Math.round(Number(fare) * 100) + Math.round(Number(gratuity) * 100),
    }));
}

const dollars = (cents: number) => (cents / 100).toLocaleString("en-US", { style: "currency", currency: "USD" });

/** The number under its name. */
const figure = (page: Page, name: string) =>
  page.locator(".figures > div", { hasText: name }).locator("dd").first().textContent();

/** The texts of a column of the table that is shown. */
const column = (page: Page, name: string) =>
  page.locator(`table[role="table"]`).first().locator(`td[data-label="${name}"]`).allTextContents();

/** Once nothing is under way. */
async function settled(page: Page): Promise<void> {
  await page.getByRole("heading", { level: 1 }).waitFor();
  await eventually(() => page.locator('.skeleton, [aria-busy="true"]').count(), 0);
}

async function eventually<T>(look: () => Promise<T>, expected: T): Promise<void> {
  const end = Date.now() + 10_000;
  while (true) {
    const seen = await look();
    try {
      return assert.deepEqual(seen, expected);
    } catch (error) {
      if (Date.now() > end) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
}

test("signing in: a wrong password is said, the right one shows the report, signing out ends it", async (site) => {
  const page = await site.open();
  await page.getByLabel("E-mail").fill(account.email);
  await page.getByLabel("Password").fill("no");
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.getByText("do not fit together").waitFor();
  await signIn(page, account.email);
  await page.getByRole("heading", { name: "Trips without charges", level: 1 }).waitFor();
  await page.reload();
  await page.getByRole("heading", { name: "Trips without charges", level: 1 }).waitFor();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  assert.equal(await page.getByText("Your session has ended").count(), 0, "who has signed out knows it");
  await page.reload();
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
});

test("a magic link is asked for, and brings one in, to where one was", async (site) => {
  const page = await site.open("/?view=churned&as_of=2021-07-11");
  let body = "";
  site.instead = async (request) => {
    if (new URL(request.url).pathname !== "/auth/v1/otp") return undefined;
    body = `${new URL(request.url).searchParams.get("redirect_to")} ${await request.text()}`;
    return Response.json({});
  };
  await page.getByRole("button", { name: "E-mail me a link" }).click();
  await page.getByText("Type your e-mail address first").waitFor();
  await page.getByLabel("E-mail").fill(account.email);
  await page.getByRole("button", { name: "E-mail me a link" }).click();
  await page.getByText(`A link is on its way to ${account.email}`).waitFor();
  const [back, ...sent] = body.split(" ");
  assert.equal(back, `${site.url}/?view=churned&as_of=2021-07-11`);
  assert.deepEqual(JSON.parse(sent.join(" ")).create_user, false);
  site.instead = undefined;

  // As GoTrue sends whoever follows it.
  const other = await site.enter();
  const session = JSON.parse(await other.evaluate("Object.values(localStorage)[0]") as string);
  const { access_token, refresh_token } = session;
  const hash = new URLSearchParams({ access_token, refresh_token, expires_in: "3600", token_type: "bearer" });
  await page.goto("about:blank");
  await page.goto(`${back}#${hash}`);
  await page.getByRole("heading", { name: "Churned drivers", level: 1 }).waitFor();
  assert.ok(!page.url().includes("access_token"), "the token does not stay in the address");
  await page.goto("about:blank");
  const stale = await site.open("/#error=access_denied&error_description=Email+link+is+invalid+or+has+expired");
  await stale.getByText("That link is not valid").waitFor();
});

test("trips without charges: counts, money, pages, order and search are those of the sample files", async (site, t) => {
  const page = await site.enter();
  const expected = uncharged();
  const total = expected.reduce((sum, { cents }) => sum + cents, 0);
  await t.step("how many, how much, and each on a page", async () => {
    await settled(page);
    assert.equal(await figure(page, "Trips never charged"), `${expected.length}`);
    assert.equal(await figure(page, "Not charged"), dollars(total));
    const newest = expected.toSorted((a, b) => a.dropoff < b.dropoff ? 1 : -1).map(({ id }) => id);
    assert.deepEqual(await column(page, "Trip"), newest.slice(0, 50));
    await page.getByRole("link", { name: "Next" }).click();
    await eventually(() => column(page, "Trip"), newest.slice(50));
    assert.match(page.url(), /page=2/);
    await page.getByText(`51–${expected.length} of ${expected.length}`).waitFor();
    await page.goBack();
    await eventually(() => column(page, "Trip"), newest.slice(0, 50));
  });
  await t.step("sorted by fare, both ways", async () => {
    await page.getByRole("columnheader", { name: "Fare" }).getByRole("button").click();
    const cents = (texts: string[]) => texts.map((text) => Math.round(Number(text.replace(/[$,]/g, "")) * 100));
    const fares = expected.map(({ id }) => {
      const [, , , , , fare] = rows("trips.csv").find(([trip]) => trip === id)!;
      return Math.round(Number(fare) * 100);
    }).sort((a, b) => a - b);
    await eventually(async () => cents(await column(page, "Fare")), fares.slice(0, 50));
    assert.equal(await page.getByRole("columnheader", { name: "Fare" }).getAttribute("aria-sort"), "ascending");
    await page.getByRole("columnheader", { name: "Fare" }).getByRole("button").click();
    await eventually(async () => cents(await column(page, "Fare")), fares.toReversed().slice(0, 50));
  });
  await t.step("searched by a driver's name, without its accent", async () => {
    await page.getByRole("searchbox").fill("jose");
    const drivers = JSON.parse(sampleFeeds()["drivers.json"]) as Record<string, string>[];
    const joses = new Set(drivers.filter(({ first_name }) => first_name === "José").map(({ id }) => id));
    const found = expected.filter(({ driver }) => joses.has(driver));
    assert.ok(found.length > 1);
    await eventually(async () => (await column(page, "Trip")).sort(), found.map(({ id }) => id).sort());
    await eventually(() => figure(page, "Trips never charged"), `${found.length}`);
    assert.match(page.url(), /search=jose/);
    await page.getByRole("searchbox").fill("nobody at all");
    await page.getByText("No trip fits this search").waitFor();
  });
  await t.step("a bar says its day, and the table of the chart all of them", async () => {
    await page.goto(`${site.url}/?period=own&from=2021-06-01&to=2021-06-30`);
    await settled(page);
    const june = expected.filter(({ dropoff }) => dropoff.startsWith("2021-06"));
    assert.equal(await figure(page, "Trips never charged"), `${june.length}`);
    const first = june.map(({ dropoff }) => dropoff.slice(0, 10)).sort()[0];
    const ofFirst = june.filter(({ dropoff }) => dropoff.startsWith(first));
    const text = `Jun ${Number(first.slice(8))}, 2021: ${ofFirst.length} trip${ofFirst.length === 1 ? "" : "s"}, ${
      dollars(ofFirst.reduce((sum, { cents }) => sum + cents, 0))
    }`;
    await page.locator(".bar rect").first().hover();
    assert.equal(await page.locator(".tip").textContent(), text);
    await page.getByText("Show as a table").click();
    assert.equal(await page.locator(".as-table li").first().textContent(), text);
  });
});

test(
  "a page past the last one: the last there is stands there, in the URL too, and going back leaves it out",
  async (site, t) => {
    const page = await site.enter("/?view=feeds");
    const oldest = uncharged().toSorted((a, b) => a.dropoff < b.dropoff ? 1 : -1).slice(50).map(({ id }) => id);
    const churned = (await site.db.query("select id from public.churned_drivers('2021-07-11Z')")).length;
    assert.ok(oldest.length < 50 && churned < 50);
    const cases: Record<string, [path: string, query: string, rows: number]> = {
      "of trips": ["/?sort=-dropoff_timestamp&page=101", "?sort=-dropoff_timestamp&page=2", oldest.length],
      "beyond any number": ["/?page=Infinity", "?page=2", oldest.length],
      "of one page": [
        "/?period=own&from=2021-06-05&to=2021-06-06&page=2",
        "?period=own&from=2021-06-05&to=2021-06-06",
        NaN,
      ],
      "of drivers": ["/?view=churned&as_of=2021-07-11&page=3", "?view=churned&as_of=2021-07-11", churned],
    };
    for (const [name, [path, query, rows]] of Object.entries(cases)) {
      await t.step(name, async () => {
        await page.goto(site.url + path);
        await eventually(() => page.evaluate("location.search"), query);
        await settled(page);
        const shown = await column(page, name === "of drivers" ? "Id" : "Trip");
        if (rows > 0) assert.equal(shown.length, rows);
        assert.ok(shown.length > 0);
      });
    }
    await t.step("of nothing at all: that there is nothing", async () => {
      await page.goto(`${site.url}/?period=yesterday&page=4`);
      await page.getByText("No trip without a charge in this period").waitFor();
      assert.equal(await page.evaluate("location.search"), "?period=yesterday");
    });
    await t.step("a page that there is stays, however few another period had", async () => {
      await page.goto(`${site.url}/?page=2`);
      await settled(page);
      await page.getByRole("radio", { name: "Yesterday" }).check({ force: true });
      await page.getByText("No trip without a charge in this period").waitFor();
      await page.goBack();
      await eventually(() => column(page, "Trip"), oldest);
      assert.equal(await page.evaluate("location.search"), "?page=2");
    });
    await t.step("where nobody can tell how many there are, it says so, and leads to the first", async () => {
      site.instead = (request) =>
        request.url.includes("without_charges_by_day") ? Response.json({ message: "no" }, { status: 500 }) : undefined;
      await page.goto(`${site.url}/?page=101`);
      await page.getByText("There is no page 101.").waitFor();
      assert.equal(await page.getByText("No trip without a charge").count(), 0);
      await page.getByRole("link", { name: "Show the first page" }).click();
      await eventually(() => column(page, "Trip").then(({ length }) => length), 50);
    });
  },
);

test("nothing to list: well only where all that it rests on is", async (site, t) => {
  const page = await site.enter("/?period=yesterday");
  const doubt = page.getByText("not all that this rests on was loaded");
  const empty = ["/?period=yesterday", "/?view=churned&as_of=2021-07-11&window=30", "/?search=nobody-at-all"];
  const look = async (isDoubted: boolean) => {
    for (const path of empty) {
      await t.step(`${path}, ${isDoubted ? "in doubt" : "well"}`, async () => {
        await page.goto(site.url + path);
        await page.locator(".empty").waitFor();
        await settled(page);
        assert.equal(await doubt.count(), isDoubted ? 1 : 0);
        assert.equal(await page.locator(".empty.warn").count(), isDoubted ? 1 : 0);
      });
    }
  };
  await look(false);
  await t.step("a period that ends before it begins is none", async () => {
    await page.goto(`${site.url}/?period=own&from=2021-06-02&to=2021-06-01`);
    await page.locator(".empty").getByText("The last day is before the first one").waitFor();
    await settled(page);
    assert.equal(await page.locator(".empty .icon").count(), 0);
  });
  site.web.files["/trips.csv"] = () => new Response("gone", { status: 404 });
  await site.db.load();
  await look(true);
});

test("periods: yesterday, last week and last month are those of the reader's own days", async (site, t) => {
  const page = await site.open("/", { timezoneId: "America/New_York" });
  // Wednesday in New York, and Thursday in UTC.
  await page.clock.setFixedTime("2021-07-01T02:00:00Z");
  await signIn(page, account.email);
  const expected = {
    "Yesterday": ["2021-06-29T04:00:00.000Z", "2021-06-30T04:00:00.000Z"],
    "Last week": ["2021-06-21T04:00:00.000Z", "2021-06-28T04:00:00.000Z"],
    "Last month": ["2021-05-01T04:00:00.000Z", "2021-06-01T04:00:00.000Z"],
  };
  for (const [name, [from, before]] of Object.entries(expected)) {
    await t.step(name, async () => {
      const asked = page.waitForRequest((request) => {
        const body = request.postDataJSON();
        return request.url().includes("/rpc/trips_without_charges_by_day") && body?.completed_from === from &&
          body.completed_before === before;
      });
      await page.getByRole("radio", { name }).check({ force: true });
      await asked;
      const [{ count }] = await site.db.query("select count(*)::int from public.trips_without_charges($1, $2)", [
        from,
        before,
      ]);
      await settled(page);
      await eventually(() => figure(page, "Trips never charged"), `${count}`);
    });
  }
});

test("what is shown first is the last month, where config.json names no period", async (site) => {
  const page = await site.open();
  await page.clock.setFixedTime("2021-07-05T12:00:00Z");
  await page.route("**/config.json", async (route) => {
    const { period, ...config } = await (await route.fetch()).json();
    assert.equal(period, "all");
    await route.fulfill({ json: config });
  });
  await page.reload();
  await signIn(page, account.email);
  await settled(page);
  assert.ok(await page.getByRole("radio", { name: "Last month" }).isChecked());
  const june = uncharged().filter(({ dropoff }) => dropoff.startsWith("2021-06"));
  assert.equal(await figure(page, "Trips never charged"), `${june.length}`);
  await page.getByRole("radio", { name: "All time" }).check({ force: true });
  await eventually(() => figure(page, "Trips never charged"), `${uncharged().length}`);
});

test("the export is SQL's answer, row by row, beyond a thousand; no cell is a formula", async (site, t) => {
  await site.db.query(`
    insert into public.drivers (id, first_name, last_name)
      values ('=cmd|x', '=HYPERLINK("http://evil.example")', '@SUM(1)'), ('-2', '+1', 'He said "no", twice');
    insert into public.trips (id, driver_id, dropoff_timestamp, base_fare, gratuity)
      select 't' || n, case n % 3 when 0 then '=cmd|x' when 1 then '-2' else 'driver-1' end,
        -- More than a thousand on one day, and many at one moment.
        timestamptz '2021-06-05Z' + (n / 10) * interval '1 minute' + (n % 2) * interval '30 days',
        n * 0.07 - 50, n % 5
      from generate_series(1, 4321) n`);
  const page = await site.enter();
  await settled(page);
  const exported = async () => {
    const download = page.waitForEvent("download");
    await page.getByRole("button", { name: "Export CSV" }).click();
    const file = await download;
    const text = await Deno.readTextFile(await file.path());
    assert.ok(text.startsWith("\ufeff"));
    return {
      name: file.suggestedFilename(),
      rows: parse(text, { bom: true, columns: true }) as Record<string, string>[],
    };
  };
  const safe = (text: string | null) => text === null ? "" : /^[=+\-@]/.test(text) ? `'${text}` : text;
  await t.step("trips", async () => {
    const { name, rows } = await exported();
    assert.match(name, /^trips-without-charges-\d{4}-\d\d-\d\d\.csv$/);
    const expected = await site.db.query(`
      select t.id, driver_id, first_name, last_name, t.dropoff_timestamp, base_fare::float, gratuity::float
      from public.trips_without_charges() t join public.drivers d on d.id = driver_id
      order by dropoff_timestamp, t.id`);
    assert.equal(rows.length, expected.length);
    assert.ok(rows.length > 4321);
    assert.deepEqual(
      rows.map((row) => [
        ...[row.id, row.driver_id, row.first_name, row.last_name, Date.parse(row.dropoff_timestamp)],
        ...[Number(row.base_fare), Number(row.gratuity)],
      ]),
      expected.map((row) => [
        ...[row.id, safe(row.driver_id), safe(row.first_name), safe(row.last_name), row.dropoff_timestamp.getTime()],
        ...[row.base_fare, row.gratuity],
      ]),
    );
    await page.getByText(`${expected.length.toLocaleString("en-US")} rows exported`).waitFor();
  });
  await t.step("churned drivers", async () => {
    await page.goto(`${site.url}/?view=churned&as_of=2022-01-01`);
    await settled(page);
    const { rows } = await exported();
    const expected = await site.db.query(
      "select id from public.churned_drivers('2022-01-01Z') order by last_dropoff_timestamp, id",
    );
    assert.ok(expected.length > 290);
    assert.deepEqual(rows.map((row) => row.id), expected.map((row) => safe(row.id)));
  });
  await t.step("one that breaks off leaves no file, and says so", async () => {
    site.instead = (request) =>
      request.url.includes("churned_drivers_listed")
        ? Response.json({ message: "no more" }, { status: 500 })
        : undefined;
    await page.getByRole("button", { name: "Export CSV" }).click();
    await page.getByText("The export was not finished: The server says: no more").waitFor();
  });
});

test("churned drivers: as of a day and for a window, by a deep link and by hand", async (site) => {
  const [{ ids }] = await site.db.query(
    "select array_agg(id order by last_dropoff_timestamp desc, id) as ids from public.churned_drivers('2021-07-11Z')",
  );
  const page = await site.enter("/?view=churned&as_of=2021-07-11");
  await settled(page);
  assert.equal(await figure(page, "Drivers who stopped"), `${ids.length}`);
  assert.deepEqual(await column(page, "Id"), ids);
  await page.getByLabel("No trip for").selectOption("30");
  await page.getByText("Nobody stopped driving").waitFor();
  await page.getByRole("button", { name: "Now" }).click();
  const [{ now }] = await site.db.query("select count(*)::int as now from public.churned_drivers(now(), '30 days')");
  await eventually(() => figure(page, "Drivers who stopped"), `${now}`);
});

test("freshness: how old, what waits, and a mark where it may mislead", async (site) => {
  await site.db.query("update etl.feeds set reject_limit = 1");
  const charges = sampleFeeds()["charges.csv"];
  site.web.files["/charges.csv"] = charges + "x1,trip-60,abc\nx2,trip-120,abc\nx3,trip-none,1\n";
  await site.db.load();
  const page = await site.enter();
  await page.getByText("3 records of charges wait as rejects").waitFor();
  assert.equal(await figure(page, "Charge came, but was rejected"), "2");
  assert.equal(await page.getByText("may be incomplete").count(), 0);
  await site.db.query(
    "update etl.runs set started_at = started_at - interval '3 hours', finished_at = finished_at - interval '3 hours'",
  );
  await site.db.query("update etl.feeds set fresh_within = '2 hours' where name = 'charges'");
  await page.reload();
  await page.getByText("charges last changed 3 hours ago").waitFor();
  await page.getByText("The figures below may be incomplete").waitFor();
  await settled(page);
  assert.equal(await page.locator(".figures").getByText("may be incomplete").count(), 2);
  await page.getByRole("link", { name: /charges: Stale/ }).click();
  await page.getByRole("heading", { name: "charges", level: 1 }).waitFor();
});

test("freshness goes by the tables, whatever their feeds are called", async (site) => {
  await site.db.query("update etl.feeds set enabled = false where name = 'charges'");
  const processors = { first: "a1,trip-60,abc\n", second: "b1,trip-120,1\n" };
  for (const [name, lines] of Object.entries(processors)) {
    site.web.files[`/${name}.csv`] = `id,trip_id,amount_cents\n${lines}`;
    const feed = { url: `${site.web.url}/${name}.csv`, target: "public.charges", reject_limit: 1 };
    await site.db.feed(name, feed);
  }
  await site.db.load();
  const page = await site.enter();
  await page.getByRole("link", { name: "of these trips" }).click();
  await page.getByRole("heading", { name: "first", level: 1 }).waitFor();
  site.web.files["/second.csv"] += "b2,trip-180,abc\n";
  await site.db.load();
  await page.getByRole("link", { name: "Trips without charges" }).click();
  await page.getByText("1 record of second waits as a reject").waitFor();
  await page.getByText("charges: Switched off").waitFor();
  await page.getByRole("link", { name: "of these trips" }).click();
  await page.getByRole("heading", { name: "Feeds", level: 1 }).waitFor();
  await page.getByRole("link", { name: "Churned drivers" }).click();
  await settled(page);
  assert.equal(await page.getByText(/may be incomplete|first|second/).count(), 0);
});

test("whoever is not staff is told whom to ask, and let in once admitted", async (site) => {
  await site.signUp("bo@partner.example");
  const page = await site.open("/?view=feeds");
  await signIn(page, "bo@partner.example");
  await page.getByRole("heading", { name: "not on the staff list" }).waitFor();
  await page.getByText("select etl.admit('bo@partner.example');").waitFor();
  assert.equal(await page.locator(".feeds").count(), 0);
  await site.db.query("select etl.admit('bo@partner.example')");
  await page.getByRole("button", { name: "Try again" }).click();
  await page.getByRole("link", { name: "charges", exact: true }).waitFor();
});

test("a session that has ended is said, and one is back where one was", async (site, t) => {
  const page = await site.enter("/?view=churned&as_of=2021-07-11");
  await settled(page);
  const spoil = () =>
    page.evaluate(`for (const key of Object.keys(localStorage)) {
      const session = JSON.parse(localStorage[key]);
      if (session.access_token) {
        session.access_token = session.access_token.slice(0, -6) + "AAAAAA";
        session.refresh_token = "gone";
        localStorage[key] = JSON.stringify(session);
      }
    }`);
  const back = async () => {
    await page.getByText("Your session has ended").waitFor();
    await signIn(page, account.email);
    await page.getByRole("heading", { name: "Churned drivers", level: 1 }).waitFor();
    assert.match(page.url(), /as_of=2021-07-11/);
    await settled(page);
  };
  await t.step("while one looks, though one had signed out before", async () => {
    await page.getByRole("button", { name: "Sign out" }).click();
    await signIn(page, account.email);
    await settled(page);
    await spoil();
    await page.getByLabel("No trip for").selectOption("7");
    await back();
  });
  await t.step("before one comes back", async () => {
    await spoil();
    await page.evaluate(`for (const key of Object.keys(localStorage)) {
      const session = JSON.parse(localStorage[key]);
      session.expires_at = 1;
      localStorage[key] = JSON.stringify(session);
    }`);
    await page.reload();
    await back();
  });
});

test("a server that is down, a network that is gone: said, and mended by itself or by a button", async (site, t) => {
  const page = await site.enter();
  await settled(page);
  const before = await column(page, "Trip");
  await t.step("down", async () => {
    site.instead = (request) => request.url.includes("/rest/") ? new Response("", { status: 503 }) : undefined;
    await page.getByRole("columnheader", { name: "Fare" }).getByRole("button").click();
    await page.getByText("The server cannot be reached").waitFor();
    assert.deepEqual(await column(page, "Trip"), before, "what was there stays");
    site.instead = undefined;
    await page.getByRole("button", { name: "Try again" }).click();
    await eventually(() => page.getByText("The server cannot be reached").count(), 0);
    await settled(page);
    assert.notDeepEqual(await column(page, "Trip"), before);
  });
  await t.step("all down: said once, and one button tries all", async () => {
    site.instead = (request) => request.url.includes("/rest/") ? new Response("", { status: 503 }) : undefined;
    await page.reload();
    await settled(page);
    const shown = page.getByText("The server cannot be reached").filter({ visible: true });
    await eventually(() => shown.count(), 1);
    site.instead = undefined;
    await page.getByRole("button", { name: "Try again" }).filter({ visible: true }).click();
    await eventually(() => column(page, "Trip").then(({ length }) => length), 50);
    await page.getByText("charges last changed").waitFor();
  });
  await t.step("offline", async () => {
    await page.context().setOffline(true);
    await page.getByRole("columnheader", { name: "Gratuity" }).getByRole("button").click();
    await page.getByRole("alert").getByText("You are offline").waitFor();
    await page.context().setOffline(false);
    await eventually(() => page.getByText("You are offline").count(), 0);
  });
  await t.step("too slow", async () => {
    site.instead = (request) =>
      request.url.includes("/rest/") ? Response.json({ code: "57014", message: "x" }, { status: 500 }) : undefined;
    await page.getByRole("columnheader", { name: "Fare" }).getByRole("button").click();
    await page.getByText("That took too long").waitFor();
  });
  await t.step("without its config.json it says so", async () => {
    await page.route("**/config.json", (route) => route.fulfill({ status: 404 }));
    await page.reload();
    await page.getByText("config.json, which says where the data is").waitFor();
  });
});

test("skeletons stand where the data is not yet", async (site) => {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  site.instead = (request) => request.url.includes("/rest/") ? promise : undefined;
  const page = await site.enter();
  try {
    await page.getByRole("heading", { name: "Trips without charges", level: 1 }).waitFor();
    assert.ok(await page.locator(".skeleton").count() >= 3);
    assert.equal(await page.locator("table").count(), 0);
  } finally {
    // What waits would keep the server from ending.
    resolve(undefined);
  }
  await settled(page);
  assert.equal((await column(page, "Trip")).length, 50);
});

test("feeds: one fails and recovers before one's eyes, and it is said aloud", async (site) => {
  const page = await site.open("/?view=feeds");
  await page.clock.install();
  await signIn(page, account.email);
  await page.getByText("All 3 feeds are fine").waitFor();
  const good = site.web.files["/trips.csv"];
  site.web.files["/trips.csv"] = () => new Response("gone", { status: 404 });
  await site.db.load();
  await page.clock.runFor(15_000);
  await page.getByText("1 feed needs a look").waitFor();
  const trips = page.locator(".feeds > li", { hasText: "trips" });
  await trips.getByText("Failing").waitFor();
  await trips.getByText("answered 404").waitFor();
  await page.getByRole("status").getByText("trips is now: Failing").waitFor({ state: "attached" });
  site.web.files["/trips.csv"] = good;
  await site.db.load({ force: true });
  await page.clock.runFor(15_000);
  await page.getByText("All 3 feeds are fine").waitFor();
  await page.getByRole("status").getByText("trips is now: Fine").waitFor({ state: "attached" });
});

test("a feed: runs, rejects with what to mend, the letter and a link, changes, undo", async (site, t) => {
  await site.db.query("update etl.feeds set reject_limit = 1, history = '1 day' where name = 'trips'");
  const trips = sampleFeeds()["trips.csv"];
  site.web.files["/trips.csv"] = trips.replace("\ntrip-2,driver-", "\ntrip-2,driver-1") +
    "trip-new,driver-1,,,,,\n" +
    Array.from({ length: 45 }, (_, n) => `bad-${n},driver-1,,,${n % 3 ? "soon" : ""},${n % 3 ? 1 : "x"},1\n`).join("");
  await site.db.load();
  const page = await site.enter("/?view=feeds");
  await page.getByRole("link", { name: "trips", exact: true }).click();
  await page.getByRole("heading", { name: "trips", level: 1 }).waitFor();
  await settled(page);
  await t.step("runs", async () => {
    assert.deepEqual(await column(page, "Rejected"), ["45", "0"]);
    assert.deepEqual(await column(page, "New"), ["1", "4,000"]);
  });
  await t.step("rejects, by reason and page by page", async () => {
    const rejects = page.locator(".rejects > li");
    assert.equal(await rejects.count(), 20);
    await page.getByRole("button", { name: "Show more" }).click();
    await eventually(() => rejects.count(), 40);
    await page.getByRole("button", { name: "Show more" }).click();
    await eventually(() => rejects.count(), 45);
    await page.getByRole("link", { name: /base_fare is not a number/ }).click();
    await eventually(() => rejects.count(), 15);
    await rejects.first().getByText("Send a number, as 12.50.").waitFor();
    await rejects.first().getByText("The whole record").click();
    await rejects.first().getByText('"id": "bad-0"').waitFor();
  });
  await t.step("the letter, and a link for the partner", async () => {
    await page.getByText("Letter to the partner").click();
    const [{ letter }] = await site.db.query("select etl.letter('trips') as letter");
    await eventually(async () => (await page.locator(".letter pre").textContent())?.trim(), letter.trim());
    await page.getByRole("button", { name: "Make a link" }).click();
    await eventually(
      () =>
        page.getByLabel("Link for the partner").inputValue().then((link) =>
          link.startsWith(`${site.url}/functions/v1/etl/rejects/`)
        ),
      true,
    );
  });
  await t.step("changes, old and new", async () => {
    await page.getByRole("link", { name: "Changes" }).click();
    const updated = page.locator(".changes li", { hasText: "trip-2" });
    const [{ driver_id: is }] = await site.db.query("select driver_id from public.trips where id = 'trip-2'");
    const cells = updated.locator("td");
    await eventually(() => cells.allTextContents(), [is.replace("driver-1", "driver-"), is]);
    assert.equal(await page.locator(".changes li").count(), 2);
  });
  await t.step("undo: asked first, and it says what it will do", async () => {
    const dialog = page.getByRole("dialog", { name: "Undo this run?" });
    await page.getByRole("button", { name: "Undo this run" }).click();
    await dialog.getByText("1 row that it added is deleted").waitFor();
    await dialog.getByText("1 row that it changed gets the old values back").waitFor();
    await dialog.getByText("trips is switched off").waitFor();
    await dialog.getByRole("button", { name: "Keep it" }).click();
    await eventually(() => dialog.count(), 0);
    const exists = async () => (await site.db.query("select from public.trips where id = 'trip-new'")).length;
    assert.equal(await exists(), 1);
    await page.getByRole("button", { name: "Undo this run" }).click();
    await dialog.getByRole("button", { name: "Undo it" }).click();
    await page.getByText("An undo").waitFor();
    assert.equal(await exists(), 0);
  });
});

test("a feed above its reject limit: what the last attempt had, the letter and the link", async (site, t) => {
  site.web.files["/charges.csv"] = sampleFeeds()["charges.csv"].split("\n")[0] +
    "\nx1,trip-60,abc\nx2,,1\nx3,trip-120,def\n";
  await site.db.load();
  assert.equal((await site.db.query("select from etl.rejects")).length, 0);
  const page = await site.enter("/?view=feeds");
  const card = page.locator(".feeds > li", { hasText: "charges" });
  await card.getByText("3 in a failed attempt").waitFor();
  await card.getByRole("link", { name: "charges", exact: true }).click();
  await page.getByText("Of the last attempt, which failed as a whole: nothing of it was loaded.").waitFor();
  await settled(page);
  assert.equal(await page.getByText("each record is loaded").count(), 0);
  const rejects = page.locator(".rejects > li");
  await t.step("the list, marked, and by kind", async () => {
    assert.deepEqual(await rejects.locator("strong").allTextContents(), ["Record 1", "Record 2", "Record 3"]);
    assert.equal(await rejects.getByText("In a failed attempt", { exact: true }).count(), 3);
    await page.getByRole("link", { name: /amount_cents/ }).click();
    await eventually(() => rejects.locator("strong").allTextContents(), ["Record 1", "Record 3"]);
    assert.equal(await page.locator(".reasons [aria-current]").count(), 1);
  });
  await t.step("the letter and a link", async () => {
    await page.getByText("Letter to the partner").click();
    await page.locator(".letter pre").getByText("nothing of").waitFor();
    await page.getByRole("button", { name: "Make a link" }).click();
    await page.getByLabel("Link for the partner").waitFor();
  });
  await t.step("of more than are kept, how many", async () => {
    site.web.files["/charges.csv"] = "id,trip_id,amount_cents\n" +
      Array.from({ length: 201 }, (_, n) => `x${n},trip-60,abc\n`).join("");
    await site.db.load();
    await page.goto(`${site.url}/?view=feed&feed=charges`);
    await page.getByText("These are 200 of 201 rejects.").waitFor();
  });
  await t.step("beside what waits from before; and where a kind is no more, it says so", async () => {
    await site.db.query("update etl.feeds set reject_limit = 1 where name = 'charges'");
    site.web.files["/charges.csv"] = sampleFeeds()["charges.csv"] + "x1,trip-60,abc\n";
    await site.db.load();
    await site.db.query("update etl.feeds set reject_limit = 0.1 where name = 'charges'");
    site.web.files["/charges.csv"] = "id,trip_id,amount_cents\nx9,trip-60,abc\n";
    await site.db.load();
    await page.goto(`${site.url}/?view=feed&feed=charges`);
    await page.getByText("Of what was loaded before, and still waits.").waitFor();
    await settled(page);
    assert.equal(await rejects.count(), 2);
    assert.equal(await rejects.getByText("In a failed attempt", { exact: true }).count(), 1);
    for (const [nth, marked] of [1, 0].entries()) {
      await page.locator(".kinds").nth(nth).getByRole("link", { name: /amount_cents/ }).click();
      await eventually(() => rejects.count(), 1);
      await eventually(() => rejects.getByText("In a failed attempt", { exact: true }).count(), marked);
      assert.equal(await page.locator(".reasons [aria-current]").count(), 1);
    }
    site.web.files["/charges.csv"] = () => new Response("gone", { status: 404 });
    await site.db.load();
    await page.goto(`${site.url}/?view=feed&feed=charges`);
    await page.getByText("Of an earlier attempt, which failed as a whole: nothing of it was loaded.").waitFor();
    await page.getByText("Whether the newest file has rejects is not known").waitFor();
    await page.goto(`${site.url}/?view=feed&feed=charges&reason=is+forgotten&source=id`);
    await page.getByText("No record is rejected for this any more.").waitFor();
  });
});

test("a feed that is not loaded is not said to have nothing that waits", async (site, t) => {
  const page = await site.enter("/?view=feeds");
  const look = async (feed: string, said: string[], unsaid: string[]) => {
    await page.goto(`${site.url}/?view=feed&feed=${feed}`);
    const rejects = page.getByRole("region", { name: "Rejects" });
    for (const text of said) await rejects.getByText(text).waitFor();
    for (const text of unsaid) assert.equal(await rejects.getByText(text).count(), 0, text);
    return rejects;
  };
  const well = "Nothing waits: each record is loaded.", open = "Whether the newest file has rejects is not known";
  await t.step("one that is well is", async () => {
    await look("trips", [well], [open, "Letter to the partner"]);
  });
  site.web.files["/trips.csv"] = () => new Response("gone", { status: 404 });
  await site.db.query("update etl.feeds set reject_limit = 1 where name = 'charges'");
  site.web.files["/charges.csv"] = sampleFeeds()["charges.csv"] + "x1,trip-60,abc\n";
  await site.db.load();
  await t.step("one whose file is not there", async () => {
    const said = ["No record waits of what was loaded last", open, "Letter to the partner"];
    const rejects = await look("trips", said, [well]);
    assert.equal(await rejects.locator(".empty.warn").count(), 1);
  });
  site.web.files["/charges.csv"] = () => new Response("gone", { status: 404 });
  await site.db.load();
  await t.step("one of which records wait", async () => {
    await look("charges", [open, "The whole record", "Letter to the partner"], [well]);
  });
  await site.db.query("update etl.feeds set enabled = false where name = 'drivers'");
  await t.step("one that is switched off; and it is not counted among those that are fine", async () => {
    await look("drivers", [open], [well]);
    site.web.files["/trips.csv"] = sampleFeeds()["trips.csv"];
    site.web.files["/charges.csv"] = sampleFeeds()["charges.csv"];
    await site.db.load({ force: true });
    await page.goto(`${site.url}/?view=feeds`);
    await page.getByText("2 feeds are fine. 1 feed is switched off.").waitFor();
    await site.db.query("update etl.feeds set enabled = false");
    await page.reload();
    await page.getByText("3 feeds are switched off, and no other is there.").waitFor();
  });
  await site.db.feed("new", { url: `${site.web.url}/none.csv`, target: "public.charges" });
  await site.db.load();
  await t.step("one that was never loaded", async () => {
    await look("new", ["Nothing was loaded yet.", open], [well]);
  });
});

test("rejects of one reason are those of the column that was chosen", async (site) => {
  await site.db.query("update etl.feeds set reject_limit = 1 where name = 'trips'");
  const day = "2021-06-05T00:00:00Z";
  site.web.files["/trips.csv"] = sampleFeeds()["trips.csv"] +
    `b1,driver-1,,,${day},x,1\nb2,driver-1,,,${day},y,1\nb3,driver-1,,,${day},1,z\n`;
  await site.db.load();
  const page = await site.enter("/?view=feed&feed=trips");
  const faults = page.locator(".rejects .faults li");
  await eventually(() => faults.count(), 3);
  for (
    const [name, values] of [["gratuity is not a number 1", ["z"]], ["base_fare is not a number 2", [
      "x",
      "y",
    ]]] as const
  ) {
    await page.getByRole("link", { name }).click();
    await eventually(() => faults.locator("q").allTextContents(), [...values]);
    const current = page.locator(".reasons [aria-current]");
    assert.deepEqual((await current.allTextContents()).map((text) => text.trim()), [name]);
  }
  await page.reload();
  await eventually(() => faults.locator("q").allTextContents(), ["x", "y"]);
  await page.getByRole("link", { name: "All 3" }).click();
  await eventually(() => faults.count(), 3);
});

test(
  "a link to a run that is not among the latest shows what it changed; one without changes says so",
  async (site, t) => {
    await site.db.query("update etl.feeds set reject_limit = 1, history = '1 day' where name = 'trips'");
    site.web.files["/trips.csv"] = sampleFeeds()["trips.csv"] + "trip-new,driver-1,,,,,\n";
    await site.db.load();
    const [{ run, at }] = await site.db.query(
      "select c.run, r.started_at as at from etl.changes c join etl.runs r using (run, feed) limit 1",
    );
    await site.db.query(`
    insert into etl.runs (run, feed, status, started_at, finished_at, bytes, read, inserted, updated, deleted, unchanged,
      duplicate, rejected, ignored_columns)
    select gen_random_uuid(), 'trips', 'changed', now() + n * interval '1 second', now() + n * interval '1 second', 0, 0, 0,
      0, 0, 0, 0, 0, '{}'
    from generate_series(1, 25) n`);
    const [{ other }] = await site.db.query("select run as other from etl.runs order by started_at desc limit 1");
    const page = await site.enter("/?view=feeds");
    const open = async (run: string) => {
      await page.goto(`${site.url}/?view=feed&feed=trips&run=${run}`);
      await settled(page);
    };
    const heading = (at: Date) =>
      `What the run of ${
        at.toLocaleString("en-US", { dateStyle: "medium", timeStyle: "short", timeZone: "UTC" })
      } changed`;
    await t.step("an older run", async () => {
      await open(run);
      assert.equal((await column(page, "Outcome")).length, 20);
      await page.getByRole("heading", { name: heading(at) }).waitFor();
      await page.locator(".changes li").getByText("trip-new").first().waitFor();
      await page.getByRole("button", { name: "Undo this run" }).waitFor();
      await page.getByRole("button", { name: "Close" }).click();
      await eventually(() => page.locator(".changes").count(), 0);
      assert.doesNotMatch(page.url(), /run=/);
    });
    const none = page.getByText("No changes of this run are kept");
    for (
      const [name, run] of Object.entries({
        "one among the latest, without changes": other,
        "one that there is not": crypto.randomUUID(),
        "what is no run": "yesterday's",
      })
    ) {
      await t.step(name, async () => {
        await open(run);
        await none.waitFor();
        assert.equal(await page.getByRole("alert").filter({ hasText: /./ }).count(), 0);
      });
    }
    await t.step("one that the ledger has forgotten", async () => {
      await site.db.query("delete from etl.runs where feed = 'trips'");
      await open(run);
      await page.getByRole("heading", { name: "What a run changed" }).waitFor();
      await page.locator(".changes li").getByText("trip-new").first().waitFor();
    });
  },
);

test("names and values are text, whatever they hold", async (site) => {
  const evil = `<img src=x onerror="window.hacked=1">`;
  await site.db.query("insert into public.drivers (id, first_name, last_name) values ($1, $1, $1)", [evil]);
  await site.db.query(
    "insert into public.trips (id, driver_id, dropoff_timestamp) values ($1, $1, '2021-06-05Z')",
    [evil],
  );
  await site.db.query("update etl.feeds set reject_limit = 1, history = '1 day' where name = 'charges'");
  const cell = `"${evil.replaceAll('"', '""')}"`;
  site.web.files["/charges.csv"] = sampleFeeds()["charges.csv"] +
    `${cell},trip-60,1\nc2,trip-60,${cell}\n${cell},${cell},${cell}\n`;
  await site.db.load();
  const [{ run }] = await site.db.query("select run from etl.changes where feed = 'charges' limit 1");
  const said: string[] = [];
  const page = await site.enter(`/?search=${encodeURIComponent(evil)}`);
  page.on("console", (message) => said.push(message.text()));
  for (
    const path of [
      `/?search=${encodeURIComponent(evil)}`,
      "/?view=churned",
      `/?view=feed&feed=charges&run=${run}`,
      `/?view=feed&feed=${encodeURIComponent(evil)}`,
      `/?view=${encodeURIComponent(evil)}&period=${encodeURIComponent(evil)}&sort=${encodeURIComponent(evil)}`,
    ]
  ) {
    await page.goto(site.url + path);
    await settled(page);
    assert.equal(await page.locator("img:not([src='icon.svg'])").count(), 0, path);
    assert.equal(await page.evaluate("window.hacked"), undefined, path);
  }
  await page.goto(`${site.url}/?search=${encodeURIComponent(evil)}`);
  await eventually(() => column(page, "Trip"), [evil]);
  await page.goto(`${site.url}/?view=feed&feed=charges`);
  await page.locator(".rejects").getByText(evil).first().waitFor();
  assert.deepEqual(said.filter((text) => /security|trusted/i.test(text)), []);
});

test("the browser refuses what the page does not bring itself: scripts, styles, images and calls", async (site) => {
  const page = await site.open();
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  const refused = await page.evaluate(async () => {
    const names: string[] = [];
    document.addEventListener("securitypolicyviolation", (event) => names.push(event.effectiveDirective));
    const add = (name: string, fields: object) =>
      document.head.append(Object.assign(document.createElement(name), fields));
    add("style", { textContent: "body { color: red }" });
    add("link", { rel: "stylesheet", href: "https://evil.example/x.css" });
    add("img", { src: "https://evil.example/x.png" });
    await fetch("https://evil.example/").catch(() => {});
    for (const script of ["textContent", "src"]) {
      try {
        add("script", { [script]: "https://evil.example/x.js" });
      } catch { /* Trusted Types */ }
    }
    try {
      document.body.innerHTML = "<b></b>";
    } catch { /* Trusted Types */ }
    await new Promise((resolve) => setTimeout(resolve, 200));
    return names;
  });
  for (const name of ["style-src-elem", "img-src", "connect-src", "require-trusted-types-for"]) {
    assert.ok(refused.includes(name), `${name} in ${refused}`);
  }
  assert.ok(refused.length >= 7, `${refused}`);
});

test("nothing is asked of another host, and nothing that is not shown", async (site) => {
  const page = await site.open();
  const hosts = new Set<string>();
  page.on("request", (request) => hosts.add(new URL(request.url()).origin));
  await signIn(page, account.email);
  await settled(page);
  const asked = site.asked.filter((path) => path.includes("/rpc/")).map((path) => /rpc\/(\w+)/.exec(path)![1]);
  assert.deepEqual(asked.sort(), ["report_freshness", "trips_without_charges_by_day", "trips_without_charges_listed"]);
  assert.ok(site.asked.some((path) => /listed.*limit=50/.test(path)), `${site.asked}`);
  await page.goto(`${site.url}/?view=feeds`);
  await settled(page);
  await page.goto(`${site.url}/?view=churned`);
  await settled(page);
  assert.deepEqual([...hosts], [site.url]);
  assert.deepEqual(await page.context().cookies(), []);
});

test("axe finds nothing to mend: each view, light and dark, narrow and wide", async (site, t) => {
  await site.db.query("update etl.feeds set reject_limit = 1, history = '1 day' where name = 'trips'");
  site.web.files["/trips.csv"] = sampleFeeds()["trips.csv"] + "trip-new,driver-1,,,,,\nbad,driver-1,,,soon,x,1\n";
  await site.db.load();
  site.web.files["/drivers.json"] = () => new Response("gone", { status: 404 });
  site.web.files["/charges.csv"] = "id,trip_id,amount_cents\nx1,trip-60,abc\n";
  await site.db.load();
  await site.signUp("bo@partner.example");
  const [{ run }] = await site.db.query("select run from etl.changes where feed = 'trips' limit 1");
  const views = [
    "/",
    "/?period=own&from=2021-06-01&to=2021-06-30",
    "/?period=yesterday",
    "/?view=churned&as_of=2021-07-11",
    "/?view=feeds",
    "/?view=feed&feed=drivers",
    "/?view=feed&feed=charges",
    `/?view=feed&feed=charges&run=${run}`,
    `/?view=feed&feed=trips&run=${run}`,
  ];
  const check = async (page: Page, what: string) => {
    // Scripts of another origin are refused: it comes by the debugger.
    await page.evaluate(axe.source);
    const { violations } = await page.evaluate("axe.run(document, { resultTypes: ['violations'] })") as axe.AxeResults;
    assert.deepEqual(violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html).slice(0, 3)]), [], what);
    const { scroll, width } = await page.evaluate(
      "({ scroll: document.documentElement.scrollWidth, width: innerWidth })",
    ) as Record<string, number>;
    assert.ok(scroll <= width, `${what} is ${scroll} wide`);
  };
  for (const colorScheme of ["light", "dark"] as const) {
    for (const width of [360, 1280]) {
      await t.step(`${colorScheme}, ${width}`, async () => {
        const page = await site.open("/", { colorScheme, viewport: { width, height: 800 } });
        await page.getByRole("heading", { name: "Sign in" }).waitFor();
        await check(page, "sign in");
        await signIn(page, account.email);
        for (const view of views) {
          await page.goto(site.url + view);
          await page.getByRole("heading", { level: 1 }).waitFor();
          await settled(page);
          await check(page, view);
        }
        await page.getByText("Letter to the partner").click();
        await settled(page);
        await page.getByText("The whole record").first().click();
        await check(page, "the letter and a record");
        await page.getByRole("button", { name: "Undo this run" }).click();
        await page.getByText("If you go on").waitFor();
        await check(page, "undo");
        site.instead = (request) => request.url.includes("/rest/") ? new Response("", { status: 503 }) : undefined;
        await page.goto(site.url);
        await page.getByText("The server cannot be reached").first().waitFor();
        site.instead = undefined;
        await check(page, "down");
        const stranger = await site.open("/", { colorScheme, viewport: { width, height: 800 } });
        await signIn(stranger, "bo@partner.example");
        await stranger.getByRole("heading", { name: "not on the staff list" }).waitFor();
        await check(stranger, "not staff");
      });
    }
  }
});

test("by the keyboard alone: in, to another view, through a table's pages", async (site) => {
  const page = await site.open();
  await page.getByLabel("E-mail").focus();
  await page.keyboard.type(account.email);
  await page.keyboard.press("Tab");
  await page.keyboard.type(account.password);
  await page.keyboard.press("Enter");
  await page.getByRole("banner").waitFor();
  await settled(page);
  const tabTo = async (name: RegExp) => {
    for (let i = 0; i < 60; i++) {
      await page.keyboard.press("Tab");
      const text = await page.evaluate(
        "document.activeElement.textContent || document.activeElement.ariaLabel || ''",
      ) as string;
      if (name.test(text)) return;
    }
    throw new Error(`Tab does not come to ${name}`);
  };
  await tabTo(/^Next/);
  await page.keyboard.press("Enter");
  await page.getByText(/^51–/).waitFor();
  await page.evaluate("document.activeElement.blur()");
  await tabTo(/Skip to the content/);
  await tabTo(/Feeds/);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Feeds", level: 1 }).waitFor();
  // Another view takes the focus.
  await eventually(() => page.evaluate("document.activeElement.id"), "content");
});

test("in the reader's language and zone: days, numbers and money", async (site) => {
  const page = await site.open("/", { locale: "de-DE", timezoneId: "Asia/Tokyo" });
  await signIn(page, account.email);
  await settled(page);
  const total = uncharged().reduce((sum, { cents }) => sum + cents, 0) / 100;
  const shown = (await figure(page, "Not charged"))!.replace(/\s/g, " ");
  assert.equal(shown, total.toLocaleString("de-DE", { style: "currency", currency: "USD" }).replace(/\s/g, " "));
  const newest = uncharged().map(({ dropoff }) => dropoff).sort().at(-1)!;
  const there = new Date(newest).toLocaleString("de-DE", {
    dateStyle: "medium",
    timeStyle: "short",
    timeZone: "Asia/Tokyo",
  });
  assert.equal((await column(page, "Ended"))[0], there);
  await page.getByText("Times are in Asia/Tokyo").waitFor();
});

Deno.test("the first load has at most 150 KB of JavaScript, compressed; and the page's rules are strict", async () => {
  const made = await files();
  let bytes = 0;
  for (const [path, { body }] of made) {
    if (!path.endsWith(".js")) continue;
    const gzipped = new Response(body).body!.pipeThrough(new CompressionStream("gzip"));
    bytes += (await new Response(gzipped).arrayBuffer()).byteLength;
  }
  assert.ok(bytes > 10_000 && bytes <= 150 * 1024, `${bytes} bytes`);
  const html = new TextDecoder().decode(made.get("/")!.body);
  const policy = /http-equiv="Content-Security-Policy"\s+content="([^"]+)"/.exec(html)![1];
  assert.match(policy, /^default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';/);
  assert.ok(!/unsafe|https?:|\*/.test(policy), policy);
});
