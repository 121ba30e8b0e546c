/** The reports by RPC: the real supabase-js, as staff and as nobody, against REST on real Postgres. */
import assert from "node:assert/strict";
import type { SupabaseClient } from "@supabase/supabase-js";
import { locked, result } from "../support/command.ts";
import { blocks, document, root } from "../support/project.ts";
import { snapshot } from "../support/snapshot.ts";
import { account, type Client, project } from "../deploy/supabase_project.ts";

const asOf = "2021-07-11T00:00:00Z";

Deno.test("the reports, as staff: by POST and by GET, in order, by pages, counted, with arguments", async (t) => {
  await using at = await project();
  const ids = async (sql: string) => (await at.db.query(sql)).map((row) => row.id);
  const dropped = await ids("select id from public.trips_without_charges() order by dropoff_timestamp desc, id");
  const churned = await ids(`select id from public.churned_drivers('${asOf}') order by last_dropoff_timestamp`);
  const may = await ids("select id from public.trips_without_charges('2021-05-01Z', '2021-06-01Z') order by id");
  assert.ok(dropped.length > 20 && churned.length > 5 && may.length > 5 && may.length < dropped.length);

  for (const get of [false, true]) {
    await t.step(get ? "by GET" : "by POST", async () => {
      const page = await at.user.rpc("trips_without_charges", {}, { get, count: "exact" })
        .order("dropoff_timestamp", { ascending: false }).order("id").range(10, 19);
      assert.equal(page.error, null);
      assert.deepEqual(page.data!.map((trip) => trip.id), dropped.slice(10, 20));
      assert.equal(page.count, dropped.length);

      const period = { completed_from: "2021-05-01T00:00:00Z", completed_before: "2021-06-01T00:00:00Z" };
      const inMay = await at.user.rpc("trips_without_charges", period, { get }).order("id");
      assert.deepEqual(inMay.data!.map((trip) => trip.id), may);

      const gone = await at.user.rpc("churned_drivers", { as_of: asOf }, { get, count: "exact" })
        .order("last_dropoff_timestamp");
      assert.deepEqual([gone.count, gone.data!.map((driver) => driver.id)], [churned.length, churned]);
      const longGone = await at.user.rpc("churned_drivers", { as_of: asOf, inactive_for: "30 days" }, { get });
      assert.deepEqual([longGone.error, longGone.data], [null, []]);
    });
  }
  await t.step("counted only, without the rows", async () => {
    const { count } = await at.user.rpc("churned_drivers", { as_of: asOf }, { head: true, count: "exact" });
    assert.equal(count, churned.length);
  });
  await t.step("some columns, and whether the charge is among the rejects", async () => {
    await at.db.query(
      `insert into etl.rejects (feed, record_number, record, reason, sqlstate, first_run, last_run)
      select 'charges', 1, jsonb_build_object('trip_id', $1::text), 'is no bigint', '22P02', run, run
      from (select gen_random_uuid() as run) r`,
      [dropped[0]],
    );
    const { data } = await at.user.rpc("trips_without_charges").select("id, base_fare, charge_rejected")
      .in("id", dropped.slice(0, 2)).order("id");
    const rows = await at.db.query(
      "select id, base_fare::float, id = $1 as charge_rejected from public.trips where id = any ($2) order by id",
      [dropped[0], dropped.slice(0, 2)],
    );
    assert.deepEqual(data, rows);
  });
  await t.step("how fresh they are", async () => {
    const { data } = await at.user.rpc("report_freshness").select("feed, verdict, open_rejects").order("feed");
    assert.deepEqual(data, [
      { feed: "charges", verdict: "ok", open_rejects: 1 },
      { feed: "drivers", verdict: "ok", open_rejects: 0 },
      { feed: "trips", verdict: "ok", open_rejects: 0 },
    ]);
  });
  await t.step("an argument that is no time is the caller's error", async () => {
    const { status, error } = await at.user.rpc("churned_drivers", { as_of: "soon" });
    assert.deepEqual([status, error!.code], [400, "22007"]);
  });
});

Deno.test("without signing in: no report, no table", async () => {
  await using at = await project();
  for (const get of [false, true]) {
    const refused = [
      await at.anon.rpc("trips_without_charges", {}, { get }),
      await at.anon.rpc("churned_drivers", { as_of: asOf }, { get }),
      await at.anon.rpc("report_freshness", {}, { get }),
    ];
    for (const { status, error, data } of refused) assert.deepEqual([status, error!.code, data], [401, "42501", null]);
  }
  for (const table of ["drivers", "trips", "charges"] as const) {
    const { status, error, data } = await at.anon.from(table).select();
    assert.deepEqual([status, error!.code, data], [401, "42501", null]);
  }
  for (const authorization of ["", "Bearer x", `Bearer ${(await forged(at.user)).join(".")}`]) {
    const response = await fetch(`${at.url}/rest/v1/rpc/trips_without_charges`, {
      headers: { ...(authorization && { authorization, apikey: at.publishableKey }) },
    });
    await response.body?.cancel();
    assert.equal(response.status, 401, authorization);
  }
});

/** The user's token, with the owner's role written into it. */
async function forged(user: Client): Promise<string[]> {
  const token = (await user.auth.getSession()).data.session!.access_token.split(".");
  const claims = JSON.parse(atob(token[1].replaceAll("-", "+").replaceAll("_", "/")));
  return token.with(1, btoa(JSON.stringify({ ...claims, role: "postgres" })).replace(/=+$/, ""));
}

Deno.test("staff: the tables can be read, and written by nobody", async (t) => {
  await using at = await project();
  const before = await snapshot(at.db);
  for (const table of ["drivers", "trips", "charges"] as const) {
    const { data, count, error } = await at.user.from(table).select("id", { count: "exact" }).limit(2);
    const [{ rows }] = await at.db.query(`select count(*)::int as rows from public.${table}`);
    assert.deepEqual([error, data!.length, count], [null, 2, rows]);
  }
  const row = {
    drivers: { id: "new" },
    trips: { id: "new", driver_id: "driver-1" },
    charges: { id: "new", trip_id: "trip-1", amount_cents: 1 },
  };
  for (const [client, status] of [[at.user, 403], [at.anon, 401]] as const) {
    for (const table of ["drivers", "trips", "charges"] as const) {
      await t.step(`${table}, ${status === 403 ? "as staff" : "not signed in"}`, async () => {
        const attempts = [
          await client.from(table).insert(row[table] as never),
          await client.from(table).insert(row[table] as never).select(),
          await client.from(table).update({ id: "other" } as never).neq("id", ""),
          await client.from(table).upsert(row[table] as never),
          await client.from(table).delete().neq("id", ""),
        ];
        for (const { error, ...answer } of attempts) assert.deepEqual([answer.status, error!.code], [status, "42501"]);
      });
    }
  }
  const after = await snapshot(at.db);
  for (const table of ["public.drivers", "public.trips", "public.charges"]) {
    assert.deepEqual(after[table], before[table], table);
  }
});

Deno.test("the schema etl cannot be reached", async () => {
  await using at = await project();
  for (const client of [at.user, at.anon] as unknown as SupabaseClient[]) {
    const attempts = [
      await client.schema("etl").from("feeds").select(),
      await client.schema("etl").from("rejects").delete().neq("feed", ""),
      await client.schema("etl").rpc("plan", { names: [] }),
      await client.schema("supabase_migrations").from("schema_migrations").select(),
    ];
    for (const { status, error } of attempts) assert.deepEqual([status, error!.code], [406, "PGRST106"]);
    assert.equal((await client.from("etl.feeds").select()).status, 404);
    assert.equal((await client.from("feeds").select()).status, 404);
    assert.equal((await client.rpc("plan", { names: [] })).status, 404);
  }
});

Deno.test("the frontend's code in README.md, typed and run", async () => {
  const code = blocks(await document("README.md"), "ts").find((block) => block.includes("createClient"));
  assert.ok(code, "README.md shows a createClient");
  await using at = await project();
  const given = Object.entries({ SUPABASE_URL: at.url, SUPABASE_PUBLISHABLE_KEY: at.publishableKey, ...account });
  const constants = given.map(([name, value]) => `const ${name} = ${JSON.stringify(value)};`);
  const file = await Deno.makeTempFile({ suffix: ".ts" });
  const shown = "console.log(JSON.stringify({ error, count, trips: trips?.length, drivers: drivers?.length }));";
  const text = [...constants, code.replace('"./supabase/', `"${root.href}supabase/`), shown, "Deno.exit();"].join("\n");
  await Deno.writeTextFile(file, text);
  const args = ["run", "--check", "-A", ...locked, `--config=${new URL("deno.json", root).pathname}`, file];
  const { out, err } = await result(Deno.execPath(), args, { env: { NO_COLOR: "1" } });
  await Deno.remove(file);
  const [{ dropped }] = await at.db.query("select count(*)::int as dropped from public.trips_without_charges()");
  const [{ churned }] = await at.db.query(`select count(*)::int as churned from public.churned_drivers('${asOf}')`);
  const expected = { error: null, count: dropped, trips: 20, drivers: churned };
  assert.deepEqual(JSON.parse(out || err), expected);
});
