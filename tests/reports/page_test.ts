/** What the page asks by RPC: each function against SQL of the tests' own, and closed to whoever is not staff. */
import assert from "node:assert/strict";
import type { SupabaseClient } from "@supabase/supabase-js";
import { sampleFeeds } from "../../lib/local/samples.ts";
import { project } from "../deploy/supabase_project.ts";

const asOf = "2021-07-11T00:00:00Z";

interface Trip {
  id: string;
  driver_id: string;
  dropoff_timestamp: string;
  base_fare: number;
  gratuity: number;
}

/** The trips without charges, from the sample files themselves. */
function dropped(): Trip[] {
  const rows = (name: string) => sampleFeeds()[name].trim().split("\n").slice(1).map((line) => line.split(","));
  const charged = new Set(rows("charges.csv").map(([, trip]) => trip));
  return rows("trips.csv").filter(([id, , , , dropoff]) => dropoff !== "" && !charged.has(id))
    .map(([id, driver_id, , , dropoff_timestamp, fare, gratuity]) => (
      { id, driver_id, dropoff_timestamp, base_fare: Number(fare), gratuity: Number(gratuity) }
    ));
}

const sum = (numbers: number[]) => Number(numbers.reduce((a, b) => a + b, 0).toFixed(2));

Deno.test("trips without charges: listed with their drivers, searched, and summed by day, week and month", async (t) => {
  await using at = await project();
  const staff = at.user as unknown as SupabaseClient;
  const expected = dropped();
  const drivers = new Map(
    (JSON.parse(sampleFeeds()["drivers.json"]) as Record<string, string>[]).map((driver) => [driver.id, driver]),
  );
  await t.step("listed", async () => {
    const { data, count, error } = await staff.rpc("trips_without_charges_listed", {}, { count: "exact" })
      .order("base_fare", { ascending: false }).order("id").range(5, 14);
    assert.deepEqual([error, count], [null, expected.length]);
    const sorted = expected.toSorted((a, b) => b.base_fare - a.base_fare || (a.id < b.id ? -1 : 1)).slice(5, 15);
    assert.deepEqual(
      data.map((row: Record<string, string>) => [row.id, row.first_name, row.last_name, row.charge_rejected]),
      sorted.map(({ id, driver_id }) => {
        const { first_name, last_name } = drivers.get(driver_id)!;
        return [id, first_name, last_name, false];
      }),
    );
  });
  const searches: Record<string, (trip: Trip) => boolean> = {
    "trip-60": ({ id }) => id.includes("trip-60"),
    "JOSE": ({ driver_id }) => drivers.get(driver_id)!.first_name === "José",
    "garcía  d": ({ driver_id }) => drivers.get(driver_id)!.last_name === "García",
    "o'neil ines": ({ driver_id }) =>
      drivers.get(driver_id)!.last_name === "O'Neil" && drivers.get(driver_id)!.first_name === "Ines",
    "%": () => false,
    " ": () => true,
  };
  for (const [search, fits] of Object.entries(searches)) {
    await t.step(`search: "${search}"`, async () => {
      const { data } = await staff.rpc("trips_without_charges_listed", { search }).order("id");
      assert.deepEqual(data.map((row: Trip) => row.id), expected.filter(fits).map(({ id }) => id).sort());
    });
  }
  // New York is four hours behind UTC all the while.
  const local = (trip: Trip) => new Date(Date.parse(trip.dropoff_timestamp) - 4 * 3_600_000);
  const units: Record<string, (trip: Trip) => Date> = {
    day: local,
    week: (trip) => new Date(local(trip).getTime() - ((local(trip).getUTCDay() + 6) % 7) * 86_400_000),
    month: (trip) => new Date(`${local(trip).toISOString().slice(0, 7)}-01`),
  };
  for (const [unit, startOf] of Object.entries(units)) {
    await t.step(`by ${unit}`, async () => {
      const groups = Map.groupBy(expected, (trip) => startOf(trip).toISOString().slice(0, 10));
      const { data, error } = await staff.rpc("trips_without_charges_by_day", { unit, zone: "America/New_York" });
      assert.equal(error, null);
      assert.deepEqual(
        data,
        [...groups].sort().map(([day, trips]) => ({
          day,
          unit,
          trips: trips.length,
          fares: sum(trips.map((trip) => trip.base_fare)),
          gratuities: sum(trips.map((trip) => trip.gratuity)),
          charges_rejected: 0,
        })),
      );
    });
  }
  await t.step("by whichever fits", async () => {
    const spans: Record<string, [string, string]> = {
      day: ["-infinity", "infinity"],
      week: ["-infinity", "2022-01-01Z"],
      month: ["-infinity", "2026-01-01Z"],
    };
    for (const [unit, [, last]] of Object.entries(spans)) {
      if (unit !== "day") {
        await at.db.query("insert into public.trips (id, driver_id, dropoff_timestamp) values ($1, 'driver-1', $2)", [
          unit,
          last,
        ]);
      }
      const { data } = await staff.rpc("trips_without_charges_by_day");
      assert.deepEqual(new Set(data.map((row: { unit: string }) => row.unit)), new Set([unit]));
    }
  });
  await t.step("of a period, and of what is searched", async () => {
    const period = { completed_from: "2021-06-01T00:00:00Z", completed_before: "2021-06-08T00:00:00Z" };
    const { data } = await staff.rpc("trips_without_charges_by_day", { ...period, search: "ana" });
    const fitting = expected.filter(({ driver_id, dropoff_timestamp }) =>
      drivers.get(driver_id)!.first_name === "Ana" && dropoff_timestamp >= "2021-06-01" &&
      dropoff_timestamp < "2021-06-08"
    );
    assert.equal(data.reduce((sum: number, row: { trips: number }) => sum + row.trips, 0), fitting.length);
    assert.ok(fitting.length > 0);
  });
  await t.step("a unit or a zone that is none is the caller's error", async () => {
    for (const given of [{ unit: "fortnight" }, { zone: "Mars/Olympus" }]) {
      const { error } = await staff.rpc("trips_without_charges_by_day", given);
      assert.equal(error!.code, "22023");
    }
  });
});

Deno.test("churned drivers: searched, and by the week of their last trip", async () => {
  await using at = await project();
  const staff = at.user as unknown as SupabaseClient;
  const { data: all } = await at.user.rpc("churned_drivers", { as_of: asOf });
  const { data: weeks } = await staff.rpc("churned_drivers_by_week", { as_of: asOf });
  const monday = (time: string) => {
    const day = new Date(time);
    return new Date(day.getTime() - ((day.getUTCDay() + 6) % 7) * 86_400_000).toISOString().slice(0, 10);
  };
  const groups = Map.groupBy(all!, (driver) => monday(driver.last_dropoff_timestamp));
  assert.deepEqual(weeks, [...groups].sort().map(([week, drivers]) => ({ week, drivers: drivers.length })));
  const { data: found } = await staff.rpc("churned_drivers_listed", { as_of: asOf, search: all![0].tlc_number });
  assert.deepEqual(found, [all![0]]);
});

Deno.test("feeds: health, runs, rejects, changes, undo", async (t) => {
  await using at = await project();
  const staff = at.user as unknown as SupabaseClient;
  await at.db.query("update etl.feeds set reject_limit = 1, history = '1 day' where name = 'trips'");
  const record = (n: number) => `bad-${n},driver-1,,,${n % 3 === 0 ? "last Tuesday" : "2021-07-01T00:00:00Z"},x${n},1`;
  await using web = serveText(() =>
    [
      sampleFeeds()["trips.csv"].replace("trip-1,", "trip-new,").replace("\ntrip-2,driver-", "\ntrip-2,driver-1"),
      ...Array.from({ length: 120 }, (_, n) => record(n)),
      "",
    ].join("\n").replaceAll("\n\n", "\n")
  );
  await at.db.query("update etl.feeds set url = $1 where name = 'trips'", [web.url]);
  await at.db.query("update etl.feeds set enabled = false where name = 'drivers'");
  const { inserted, updated, rejected } = await at.db.loadOne("trips");
  assert.deepEqual([inserted, rejected], [1, 120]);

  await t.step("feed_health: as etl.health(), and what is disabled", async () => {
    const { data } = await staff.rpc("feed_health");
    const [expected] = await at.db.query(
      "select json_agg(json_build_array(feed, verdict, message, open_rejects, records) order by feed) as rows from etl.health()",
    );
    const rows = data.map((row: Record<string, unknown>) => row.verdict === "disabled" ? row.feed : row);
    assert.deepEqual(rows.filter((row: unknown) => typeof row === "string"), ["drivers"]);
    assert.deepEqual(
      rows.filter((row: unknown) => typeof row !== "string")
        .map((row: Record<string, unknown>) => [row.feed, row.verdict, row.message, row.open_rejects, row.records]),
      expected.rows,
    );
    assert.deepEqual(data.map((row: Record<string, unknown>) => row.keeps_history), [false, false, true]);
  });
  const runs = async (args: Record<string, unknown> = {}) =>
    (await staff.rpc("feed_runs", { of_feed: "trips", ...args })).data as Record<string, string>[];
  const [latest, first] = await runs();
  await t.step("feed_runs: the latest first, by pages", async () => {
    assert.deepEqual([latest.inserted, latest.updated, latest.rejected], [inserted, updated, rejected]);
    assert.deepEqual([latest.changes_kept, first.changes_kept], [true, false]);
    assert.deepEqual(await runs({ at_most: 1 }), [latest]);
    assert.deepEqual(await runs({ before: latest.started_at }), [first]);
    assert.deepEqual(await runs({ of_feed: "none" }), []);
    assert.deepEqual(await runs({ of_run: first.run, at_most: 1 }), [first]);
    assert.deepEqual(await runs({ of_run: crypto.randomUUID() }), []);
    assert.deepEqual(await runs({ of_run: first.run, of_feed: "drivers" }).then(([{ run }]) => run), first.run);
  });
  await t.step("feed_reject_counts and feed_rejects: by reason, page by page, each once", async () => {
    const { data: counts } = await staff.rpc("feed_reject_counts", { of_feed: "trips" });
    const [known] = await at.db.query(`select json_agg(json_build_array(reason, rejects) order by rejects desc) as rows
      from (select reason, count(*) as rejects from etl.rejects where feed = 'trips' group by 1) r`);
    assert.deepEqual(counts.map((row: Record<string, unknown>) => [row.reason, row.rejects]), known.rows);
    assert.ok(counts.length >= 2);
    const words = Object.fromEntries(counts.map((row: Record<string, string>) => [row.source, row.problem]));
    assert.deepEqual(words, { base_fare: "is not a number", dropoff_timestamp: "is not a date and time" });
    for (const { reason, source } of [{ reason: null, source: null }, counts[0]]) {
      const seen: number[] = [];
      let after = {};
      while (true) {
        const kind = { of_reason: reason, of_source: source };
        const { data } = await staff.rpc("feed_rejects", { of_feed: "trips", ...kind, at_most: 7, ...after });
        if (data.length === 0) break;
        seen.push(...data.map((row: Record<string, unknown>) => row.record_number));
        after = { after_number: data.at(-1).record_number, after_id: data.at(-1).id };
      }
      const numbers = await at.db.query(
        "select record_number::int as n from etl.rejects where feed = 'trips' and ($1::text is null or reason = $1) order by 1",
        [reason],
      );
      assert.deepEqual(seen, numbers.map((row) => row.n));
    }
  });
  await t.step("feed_rejects: all that is wrong with a record, in plain words", async () => {
    const { data } = await staff.rpc("feed_rejects", { of_feed: "trips", at_most: 1 });
    assert.deepEqual(
      data[0].faults.toSorted((a: { source: string }, b: { source: string }) => a.source < b.source ? -1 : 1),
      [
        { source: "base_fare", value: "x0", problem: "is not a number", mend: "Send a number, as 12.50." },
        {
          source: "dropoff_timestamp",
          value: "last Tuesday",
          problem: "is not a date and time",
          mend: "Send a date and time, as 2021-07-31T14:05:00Z.",
        },
      ],
    );
  });
  await t.step("feed_letter and share_rejects: as etl.letter() and etl.share()", async () => {
    const { data: letter } = await staff.rpc("feed_letter", { of_feed: "trips" });
    const [{ expected }] = await at.db.query("select etl.letter('trips') as expected");
    assert.equal(letter, expected);
    const { data: link } = await staff.rpc("share_rejects", {
      of_feed: "trips",
      function_url: "https://f.example/etl",
    });
    const token = link.replace("https://f.example/etl/rejects/", "");
    const [shared] = await at.db.query("select (etl.shared(sha256(convert_to($1, 'UTF8')), false)).*", [token]);
    assert.deepEqual([shared.status, shared.body], [200, letter]);
  });
  await t.step("rejects without a number come last, each once", async () => {
    await at.db.query("begin; update etl.rejects set record_number = null where record_number % 2 = 0; commit");
    const { data } = await staff.rpc("feed_rejects", { of_feed: "trips", at_most: 1000 });
    const cut = data.findIndex((row: Record<string, unknown>) => row.record_number === null);
    const { id, record_number: after_number } = data[cut + 3];
    const rest = await staff.rpc("feed_rejects", { of_feed: "trips", after_number, after_id: id, at_most: 1000 });
    assert.deepEqual(rest.data, data.slice(cut + 4));
    assert.ok(data.length === 120 && cut > 20 && rest.data.length > 20);
  });
  await t.step("feed_changes: old and new, of what differs", async () => {
    const { data } = await staff.rpc("feed_changes", { of_run: latest.run, of_feed: "trips" });
    const changed = (id: string) => data.find((row: { key: { id: string } }) => row.key.id === id);
    assert.deepEqual([changed("trip-new").change, changed("trip-new").before], ["inserted", {}]);
    assert.equal(changed("trip-new").after.id, "trip-new");
    const { change, before, after } = changed("trip-2");
    assert.deepEqual([change, Object.keys(before), Object.keys(after)], ["updated", ["driver_id"], ["driver_id"]]);
    assert.equal(after.driver_id, before.driver_id.replace("driver-", "driver-1"));
    const { number: after_number } = data[0];
    const rest = await staff.rpc("feed_changes", { of_run: latest.run, of_feed: "trips", after_number });
    assert.deepEqual(rest.data, data.slice(1));
  });
  await t.step("undo_run: a trial leaves nothing, and tells what the undo then does", async () => {
    const state = () =>
      at.db.query(
        "select enabled from etl.feeds where name = 'trips' union all select exists (select from public.trips where id = 'trip-new')",
      );
    const undo = async (is_trial?: boolean) =>
      (await staff.rpc("undo_run", { of_run: latest.run, of_feed: "trips", is_trial })).data;
    const before = await state();
    const trial = await undo();
    assert.deepEqual(await state(), before);
    assert.deepEqual(await undo(false), trial);
    assert.deepEqual(await state(), [{ enabled: false }, { enabled: false }]);
    assert.ok(trial.some((row: Record<string, unknown>) => row.outcome === "deleted" && row.records === 1));
    assert.deepEqual((await runs())[0].undoes, latest.run);
  });
});

/** A reject as its place: which file it is of, and its number there. */
const placed = (rows: Record<string, unknown>[]) => rows.map((row) => `${row.attempted} ${row.record_number}`);

Deno.test("rejects are counted and listed by column and reason, those of the last attempt too", async (t) => {
  await using at = await project();
  const staff = at.user as unknown as SupabaseClient;
  const header = "id,driver_id,dropoff_timestamp,Fare,gratuity";
  let body = "";
  await using web = serveText(() => `${header}\n${body}`);
  await at.db.query(
    `update etl.feeds set url = $1, contents = 'changes', columns = '{"Fare": "base_fare"}' where name = 'trips'`,
    [web.url],
  );
  await at.db.query("alter table public.trips add check (base_fare < 1000), add check (base_fare >= 0)");
  await at.db.query(`create function public.refuse() returns trigger language plpgsql as
    $$begin raise 'never trip %', new.id; end$$;
    create trigger refuse before insert on public.trips for each row when (new.id like 'no-%')
      execute function public.refuse()`);
  const limit = (share: number) => at.db.query("update etl.feeds set reject_limit = $1 where name = 'trips'", [share]);
  const counts = async () => (await staff.rpc("feed_reject_counts", { of_feed: "trips" })).data;
  const list = async (args: Record<string, unknown> = {}) => {
    const { data, error } = await staff.rpc("feed_rejects", { of_feed: "trips", ...args });
    assert.equal(error, null);
    return data;
  };
  const told = (rows: Record<string, unknown>[]) =>
    rows.map(({ attempted, source, problem, rejects }) => [attempted, source, problem, rejects]);
  const kindOf = ({ reason, source, attempted }: Record<string, unknown>) => ({
    of_reason: reason,
    of_source: source,
    of_attempt: attempted,
  });

  await t.step(
    "each row of the counts is the list of its own, for one reason may be that of many columns",
    async () => {
      await limit(1);
      const day = "2021-07-01T00:00:00Z";
      body = [
        `a,driver-1,${day},many,1`,
        `b,driver-1,${day},more,1`,
        `c,driver-1,${day},1,much`,
        `d,driver-1,${day},2000,1`,
        `e,driver-1,${day},-2000,1`,
        `no-1,driver-1,${day},1,1`,
        `no-2,driver-1,${day},1,1`,
        `no-3,driver-1,${day},1,1`,
      ].join("\n") + "\n";
      assert.equal((await at.db.loadOne("trips")).rejected, 8);
      const found = await counts();
      assert.deepEqual(
        told(found).sort(),
        [
          [false, "Fare", "breaks a rule", 1],
          [false, "Fare", "breaks a rule", 1],
          [false, "Fare", "is not a number", 2],
          [false, "gratuity", "is not a number", 1],
          [false, null, "cannot be stored", 3],
        ].sort(),
      );
      const lists: Record<string, string[]> = {};
      for (const count of found) {
        const rows = await list(kindOf(count));
        assert.equal(rows.length, count.rejects);
        lists[`${count.source} ${count.problem}: ${count.mend}`] = placed(rows);
      }
      assert.deepEqual(lists, {
        "Fare is not a number: Send a number, as 12.50.": ["false 1", "false 2"],
        "gratuity is not a number: Send a number, as 12.50.": ["false 3"],
        "Fare breaks a rule: Send what holds: Fare < 1000": ["false 4"],
        "Fare breaks a rule: Send what holds: Fare >= 0": ["false 5"],
        "null cannot be stored: Ask us: we know more.": ["false 6", "false 7", "false 8"],
      });
      for (const other of [{ of_source: "base_fare" }, { of_source: null }, { of_attempt: true }]) {
        const fare = found.find(({ source, rejects }: Record<string, unknown>) => source === "Fare" && rejects === 2);
        assert.deepEqual(await list({ ...kindOf(fare), ...other }), []);
      }
    },
  );
  const health = async () => {
    const { data } = await staff.rpc("feed_health");
    const { verdict, open_rejects, attempted_rejects, attempted_is_least, attempt_is_latest, has_letter } = data.find(
      (row: Record<string, unknown>) => row.feed === "trips",
    );
    const { data: letter } = await staff.rpc("feed_letter", { of_feed: "trips" });
    assert.equal(has_letter, /^Subject: .*(to mend|could not be loaded)/.test(letter), letter);
    return [verdict, open_rejects, attempted_rejects, attempted_is_least, attempt_is_latest];
  };
  assert.deepEqual((await health()).slice(1), [8, null, null, null]);
  await t.step("above the limit: what the last attempt had, before what waits", async () => {
    await limit(0.1);
    body = Array.from({ length: 300 }, (_, n) => `f${n},driver-1,,1,${n === 299 ? "x" : "much"}\n`).join("") +
      "g,driver-1,,many,1\n";
    assert.equal((await at.db.loadOne("trips")).error?.code, "too_many_rejects");
    assert.deepEqual(told(await counts()).slice(0, 2), [
      [true, "gratuity", "is not a number", 199],
      [true, "Fare", "is not a number", 1],
    ]);
    assert.deepEqual(told(await counts()).slice(2).length, 5);
    assert.deepEqual(await health(), ["failing", 8, 301, false, true]);
    const [attempted] = await counts();
    assert.deepEqual(placed(await list({ ...kindOf(attempted), at_most: 3 })), ["true 1", "true 2", "true 3"]);
    const [{ record, faults }] = await list();
    assert.deepEqual([record.id, faults], ["f0", [{
      ...{ source: "gratuity", value: "much", problem: "is not a number", mend: "Send a number, as 12.50." },
    }]]);
  });
  await t.step("page by page, each once", async () => {
    const all = await list({ at_most: 1000 });
    assert.deepEqual(placed(all).slice(198, 202), ["true 199", "true 301", "false 1", "false 2"]);
    assert.equal(all.length, 208);
    const seen = [];
    let after = {};
    while (true) {
      const rows = await list({ ...after, at_most: 7 });
      if (rows.length === 0) break;
      seen.push(...rows);
      const { attempted: after_attempted, record_number: after_number, id: after_id } = rows.at(-1);
      after = { after_attempted, after_number, after_id };
    }
    assert.deepEqual(seen, all);
  });
  await t.step("a failure of another kind since is told from it", async () => {
    await at.db.query("update etl.feeds set url = $1 where name = 'trips'", [web.url.replace(/:\d+/, ":1")]);
    assert.equal((await at.db.loadOne("trips")).status, "failed");
    assert.deepEqual(await health(), ["failing", 8, 301, false, false]);
    await at.db.query("update etl.feeds set url = $1 where name = 'trips'", [web.url]);
  });
  await t.step("once the feed is loaded nothing of the attempt is left", async () => {
    body = "h,driver-1,,1,1\n";
    await at.db.loadOne("trips");
    assert.ok((await counts()).every(({ attempted }: Record<string, unknown>) => attempted === false));
    assert.deepEqual((await health()).slice(2), [null, null, null]);
  });
  await t.step(
    "the letter has something to mend where the file or a record is at fault, and not where we are",
    async () => {
      await at.db.query("delete from etl.rejects");
      await health();
      const urls = [web.url.replace(/:\d+/, ":1"), web.url.replace("trips.csv", "gone"), web.url];
      for (const [nth, has] of [false, true, false].entries()) {
        await at.db.query("update etl.feeds set url = $1 where name = 'trips'", [urls[nth]]);
        await at.db.loadOne("trips", { force: true });
        const { data } = await staff.rpc("feed_health");
        const row = data.find((row: Record<string, unknown>) => row.feed === "trips");
        assert.equal(row.has_letter, has, urls[nth]);
        await health();
      }
      await at.db.query(`insert into etl.rejects (feed, as_json, reason, sqlstate, first_run, last_run)
      values ('trips', false, 'gives up what a row refers to in x', '23503', gen_random_uuid(), gen_random_uuid())`);
      assert.equal((await health())[1], 1);
    },
  );
});

Deno.test("whoever is not staff is refused each of them, and told whom to ask", async (t) => {
  await using at = await project();
  const stranger = await at.signUp("bo@partner.example");
  const run = crypto.randomUUID();
  const calls: Record<string, Record<string, unknown>> = {
    trips_without_charges_listed: {},
    trips_without_charges_by_day: {},
    churned_drivers_listed: {},
    churned_drivers_by_week: {},
    feed_health: {},
    feed_runs: { of_feed: "trips" },
    feed_reject_counts: { of_feed: "trips" },
    feed_rejects: { of_feed: "trips" },
    feed_letter: { of_feed: "trips" },
    share_rejects: { of_feed: "trips", function_url: "https://f.example/etl" },
    feed_changes: { of_run: run, of_feed: "trips" },
    undo_run: { of_run: run, of_feed: "trips", is_trial: false },
  };
  for (const [name, args] of Object.entries(calls)) {
    await t.step(name, async () => {
      const refused = await (stranger as unknown as SupabaseClient).rpc(name, args);
      assert.deepEqual([refused.status, refused.error!.code, refused.data], [403, "42501", null]);
      assert.match(`${refused.error!.hint}`, /etl\.admit/);
      const anonymous = await (at.anon as unknown as SupabaseClient).rpc(name, args);
      assert.deepEqual([anonymous.status, anonymous.error!.code], [401, "42501"]);
    });
  }
});

function serveText(text: () => string) {
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    ({ url }) => url.endsWith("/gone") ? new Response("", { status: 404 }) : new Response(text()),
  );
  return {
    url: `http://127.0.0.1:${server.addr.port}/trips.csv`,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}
