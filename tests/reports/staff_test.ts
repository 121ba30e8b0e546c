/** Who may see: by the real supabase-js, each kind of caller; and by SQL, how often the policies ask. */
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { createClient } from "@supabase/supabase-js";
import { migrate } from "../../lib/local/migrate.ts";
import { asEtlError } from "../../lib/errors.ts";
import { account, type Client, type Project, project } from "../deploy/supabase_project.ts";
import { type Database, freshDatabase } from "../support/database.ts";

const tables = ["drivers", "trips", "charges"] as const;
const asOf = "2021-07-11T00:00:00Z";
const refusal = ["42501", "the reports are for staff", "The owner admits: select etl.admit('you@example.org')."];

async function seesNothing(client: Client): Promise<void> {
  for (const table of tables) {
    for (const head of [false, true]) {
      const { status, error, data, count } = await client.from(table).select("id", { count: "exact", head });
      assert.deepEqual([status, error, data, count], [200, null, head ? null : [], 0], table);
    }
  }
  for (const { error, data } of await embedded(client)) assert.deepEqual([error, data], [null, []]);
  for (const { status, error, data } of await reports(client)) {
    assert.deepEqual([status, error!.code, error!.message, error!.hint, data], [403, ...refusal, null]);
  }
  const { status, count } = await client.rpc("churned_drivers", { as_of: asOf }, { head: true, count: "exact" });
  assert.deepEqual([status, count], [403, null]);
}

async function seesAll(at: Project, client: Client): Promise<void> {
  for (const table of tables) {
    const [{ rows }] = await at.db.query(`select count(*)::int as rows from public.${table}`);
    for (const head of [false, true]) {
      const { error, count } = await client.from(table).select("id", { count: "exact", head });
      assert.deepEqual([error, count], [null, rows], table);
    }
  }
  for (const { error, data } of [...await embedded(client), ...await reports(client)]) {
    assert.equal(error, null);
    assert.ok(data!.length > 0);
  }
  const { data } = await client.from("trips").select("id, drivers(last_name)").not("drivers", "is", null).limit(1);
  assert.equal(typeof (data![0].drivers as { last_name: unknown }).last_name, "string");
}

/** One table by way of another. */
async function embedded(client: Client) {
  return [
    await client.from("trips").select("id, drivers(last_name)").limit(5),
    await client.from("drivers").select("id, trips(id, charges(amount_cents))").limit(5),
    await client.from("charges").select("id, trips(id)").limit(5),
  ];
}

async function reports(client: Client) {
  return [
    await client.rpc("trips_without_charges"),
    await client.rpc("trips_without_charges", {}, { get: true }).select("id, charge_rejected"),
    await client.rpc("churned_drivers", { as_of: asOf }),
    await client.rpc("churned_drivers", { as_of: asOf }, { get: true }),
    await client.rpc("report_freshness"),
    await client.rpc("report_freshness", {}, { get: true }),
  ];
}

/** A caller with a token that the project has signed, as `signInAnonymously` gives one. */
function bearing(at: Project, claims: Record<string, unknown>): Client {
  const encode = (part: unknown) => btoa(JSON.stringify(part)).replace(/=+$/, "").replaceAll("/", "_");
  const expires = Math.floor(Date.now() / 1000) + 600;
  const text = `${encode({ alg: "HS256", typ: "JWT" })}.${encode({ role: "authenticated", exp: expires, ...claims })}`;
  const token = `${text}.${createHmac("sha256", at.jwtSecret).update(text).digest("base64url")}`;
  return createClient(at.url, at.publishableKey, {
    auth: { persistSession: false, autoRefreshToken: false },
    global: { headers: { authorization: `Bearer ${token}` } },
  });
}

Deno.test("who may see by the API: staff, and nobody who has merely signed up or signed in", async (t) => {
  await using at = await project();
  const bea = await at.signUp("bea@partner.example");
  await t.step("nobody: no table, no report", async () => {
    for (const answer of [...await reports(at.anon), ...await embedded(at.anon)]) {
      assert.deepEqual([answer.status, answer.error!.code], [401, "42501"]);
    }
    for (const table of tables) {
      const { status, count } = await at.anon.from(table).select("id", { count: "exact", head: true });
      assert.deepEqual([status, count], [401, null]);
    }
  });
  await t.step("signed up: empty tables, no report", () => seesNothing(bea));
  await t.step("signed in anonymously, or by a token without a user", async () => {
    await seesNothing(bearing(at, { sub: crypto.randomUUID(), is_anonymous: true }));
    await seesNothing(bearing(at, { sub: "" }));
    await seesNothing(bearing(at, { sub: "nobody' or true" }));
    await seesNothing(bearing(at, { sub: { id: 1 } }));
  });
  await t.step("staff: everything", () => seesAll(at, at.user));
  await t.step("admitted, from the next request on", async () => {
    await at.db.query("select etl.admit('Bea@Partner.example')");
    await seesAll(at, bea);
  });
  await t.step("dismissed, from the next request on; others stay", async () => {
    await at.db.query("select etl.dismiss('bea@partner.example')");
    await seesNothing(bea);
    await seesAll(at, at.user);
  });
  await t.step("a user of the same address, made anew, is another", async () => {
    await at.db.query("delete from auth.users where email = $1", [account.email]);
    await seesNothing(await at.signUp(account.email));
  });
});

Deno.test("the owner and service_role get all reports; what they read is not a question of staff", async () => {
  await using db = await freshDatabase();
  await db.query("insert into public.drivers (id) values ('d')");
  await db.query("insert into public.trips (id, driver_id, dropoff_timestamp) values ('t', 'd', '2021-01-01Z')");
  for (const role of ["postgres", "service_role"]) {
    await db.query(`set role ${role}`);
    assert.deepEqual(await db.query("select id from public.trips_without_charges()"), [{ id: "t" }], role);
    assert.deepEqual(await db.query("select id from public.churned_drivers()"), [{ id: "d" }], role);
    assert.equal((await db.query("select from public.report_freshness()")).length, 3, role);
    await db.query("reset role");
  }
});

/** auth.users, as far as it matters here. */
async function createUsers(db: Database, ...emails: (string | null)[]): Promise<void> {
  await db.query("create schema auth; create table auth.users (id uuid primary key, email text)");
  for (const email of emails) await db.query("insert into auth.users values (gen_random_uuid(), $1)", [email]);
}

Deno.test("admit and dismiss say what they changed; the same again changes nothing", async () => {
  await using db = await freshDatabase();
  await createUsers(db, "ana@partner.example", "Bea@Partner.example", null, "");
  const say = async (call: string) => (await db.query(`select etl.${call} as said`))[0].said;
  const staff = () =>
    db.query("select s.*, u.email from etl.staff s join auth.users u on u.id = s.user_id order by email");

  assert.equal(await say("admit('ANA@partner.example ')"), "ANA@partner.example  is staff now");
  const admitted = await staff();
  assert.deepEqual(admitted.map(({ email }) => email), ["ana@partner.example"]);
  assert.equal(await say("admit('ana@partner.example')"), "ana@partner.example was staff already");
  assert.deepEqual(await staff(), admitted);
  assert.equal(await say("dismiss('bea@partner.example')"), "bea@partner.example was not staff");
  assert.deepEqual(await staff(), admitted);
  assert.equal(await say("dismiss('Ana@partner.example')"), "Ana@partner.example is staff no longer");
  assert.deepEqual(await staff(), []);
});

Deno.test("admit and dismiss refuse whom they do not find, in words", async (t) => {
  await using db = await freshDatabase();
  const refused = async (call: string, message: string, hint: RegExp) => {
    const error = await db.query(`select etl.${call}`).then(
      () => assert.fail(`${call} went through`),
      (error) => error,
    );
    assert.deepEqual([error.code, error.message], ["ETL10", message]);
    assert.match(error.hint, hint);
    assert.equal(asEtlError(error, "").code, "unknown_user");
  };
  await t.step("without auth.users", async () => {
    for (const call of ["admit('ana@partner.example')", "dismiss('ana@partner.example')"]) {
      await refused(call, "there is no table auth.users, or it is not for this role", /Supabase project/);
    }
  });
  await createUsers(db, "ana@partner.example", null, "");
  for (const email of ["", " ", "%", "ana@partner", "ana@partner.example'"]) {
    await t.step(`"${email}"`, async () => {
      for (const call of ["admit", "dismiss"]) {
        const quoted = email.replaceAll("'", "''");
        await refused(`${call}('${quoted}')`, `no user has the e-mail address "${email}"`, /signs up first/);
      }
    });
  }
  assert.deepEqual(await db.query("select from etl.staff"), []);
});

Deno.test("is_staff: whatever the claims are, it answers; also without them, and without a schema auth", async () => {
  await using db = await freshDatabase();
  const id = "00000000-0000-4000-8000-00000000000a";
  await db.query("insert into etl.staff (user_id) values ($1)", [id]);
  const ask = async () => (await db.query("select etl.is_staff() as answer"))[0].answer;
  assert.equal(await ask(), false, "no claims");
  const claims = {
    [JSON.stringify({ sub: id })]: true,
    [JSON.stringify({ sub: id.toUpperCase(), role: "authenticated" })]: true,
    [JSON.stringify({ sub: crypto.randomUUID() })]: false,
    [JSON.stringify({ user_id: id })]: false,
    [JSON.stringify({ sub: null })]: false,
    [JSON.stringify({ sub: [id] })]: false,
    [JSON.stringify([{ sub: id }])]: false,
    [JSON.stringify(id)]: false,
    [id]: false,
    [`{"sub": "${id}"`]: false,
    '{"sub": "\\u0000"}': false,
    "{}": false,
    "null": false,
    "": false,
  };
  for (const [text, expected] of Object.entries(claims)) {
    await db.query("select set_config('request.jwt.claims', $1, false)", [text]);
    assert.equal(await ask(), expected, text);
  }
});

Deno.test("etl.staff is for the owner alone, though the roles of the API might look into etl", async () => {
  await using db = await freshDatabase();
  await db.query("insert into etl.staff (user_id) values (gen_random_uuid())");
  await db.query("grant usage on schema etl to public");
  const statements = [
    "select from etl.staff",
    "insert into etl.staff (user_id) values (gen_random_uuid())",
    "update etl.staff set added_at = now()",
    "delete from etl.staff",
    "select etl.admit('ana@partner.example')",
    "select etl.dismiss('ana@partner.example')",
    "select etl.users_with('ana@partner.example')",
  ];
  for (const role of ["anon", "authenticated", "service_role", "authenticator"]) {
    await db.admin(`set role ${role}`);
    for (const statement of statements) await assert.rejects(db.admin(statement), { code: "42501" }, statement);
    await db.admin("reset role");
  }
  await db.query("grant all on etl.staff to authenticated");
  await db.admin("set role authenticated");
  assert.deepEqual(await db.admin("select from etl.staff"), [], "and the policy hides the rows behind the lock");
});

Deno.test("staff is asked once a query, not once a row", async (t) => {
  await using db = await freshDatabase();
  await db.query(`
    insert into etl.staff (user_id) values ('00000000-0000-4000-8000-00000000000a');
    insert into public.drivers select 'd' || n from generate_series(1, 100) n;
    insert into public.trips (id, driver_id, dropoff_timestamp)
      select 't' || n, 'd' || n % 100 + 1, timestamptz '2021-01-01Z' + n * interval '1 minute' from generate_series(1, 1000) n;
    insert into public.charges select 'c' || n, 't' || n, 1 from generate_series(1, 900) n;
    analyze public.drivers, public.trips, public.charges`);
  // Counted by the server, which a superuser alone may have it do.
  await db.admin("set track_functions = 'all'");
  await db.admin("set role authenticated");
  await db.admin(`set "request.jwt.claims" = '{"sub": "00000000-0000-4000-8000-00000000000a"}'`);
  for (const table of tables) {
    await t.step(`${table}: by the plan`, async () => {
      const [row] = await db.admin(
        `explain (analyze, verbose, timing off, format json) select id from public.${table}`,
      );
      const nodes = nodesOf(row["QUERY PLAN"][0].Plan);
      const [asked, ...others] = nodes.filter((node) => JSON.stringify(node.Output ?? []).includes("etl.is_staff()"));
      assert.deepEqual(others, []);
      assert.deepEqual([asked["Parent Relationship"], asked["Actual Loops"]], ["InitPlan", 1]);
      assert.ok(nodes.some((node) => node["Relation Name"] === table && node["Actual Rows"]! >= 100));
      assert.ok(nodes.every((node) => !/is_staff/.test(`${node.Filter}`)), "no row asks");
    });
  }
  const calls = async (): Promise<number> => {
    const [{ calls }] = await db.admin(`
      select coalesce(sum(calls), 0)::int as calls from pg_stat_xact_user_functions where funcname = 'is_staff'`);
    return calls;
  };
  const queries = {
    "select count(*) from public.trips t join public.drivers d on d.id = t.driver_id": 2,
    // Once by the function, once for each table, and once for the rejects.
    "select count(*) from public.trips_without_charges()": 4,
    "select count(*) from public.churned_drivers()": 3,
  };
  for (const [query, expected] of Object.entries(queries)) {
    await t.step(query, async () => {
      await db.admin("begin");
      const before = await calls();
      const [{ count }] = await db.admin(query);
      const after = await calls();
      await db.admin("rollback");
      assert.ok(Number(count) >= 100);
      assert.equal(after - before, expected);
    });
  }
});

interface Node {
  "Parent Relationship"?: string;
  "Relation Name"?: string;
  "Actual Loops"?: number;
  "Actual Rows"?: number;
  Filter?: string;
  Output?: string[];
  Plans?: Node[];
}

function nodesOf(node: Node): Node[] {
  return [node, ...(node.Plans ?? []).flatMap(nodesOf)];
}

Deno.test("tables that another policy opens stay open, and the migration says so", async () => {
  await using db = await freshDatabase("template1");
  await db.query(`
    create table public.drivers (id text primary key);
    alter table public.drivers enable row level security;
    create policy "read all" on public.drivers for select using (true);
    create policy "own rows" on public.drivers for delete using (false)`);
  const said: string[] = [];
  const log = console.error;
  console.error = (text) => said.push(text);
  try {
    await migrate(db.url);
  } finally {
    console.error = log;
  }
  assert.deepEqual(said, [
    'warning: public.drivers has another policy, "read all"; it stays, and whoever it lets in reads on',
  ]);
});
