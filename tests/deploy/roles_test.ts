/**
 * Every table and function, tried as every role. What there is to try is read from the catalog; what is expected is the
 * short list here.
 */
import assert from "node:assert/strict";
import { migrate } from "../../lib/local/migrate.ts";
import { type Attempt, attempts } from "../support/attempts.ts";
import { type Database, freshDatabase } from "../support/database.ts";
import { hush } from "../support/hush.ts";

const roles = ["anon", "authenticated", "service_role", "postgres"];
const loader = ["postgres"];
const signedIn = ["authenticated", "service_role", ...loader];

/** Who may do it. Which rows a reader sees is another question: tests/reports/staff_test.ts. */
function expected(schema: string, object: string, action: string): string[] {
  // The policies ask it in the name of whoever reads.
  if (object === "etl.is_staff()") return ["authenticated", ...loader];
  // What the functions of public call by name; each asks itself who it answers.
  if (["etl.freshness()", "etl.trips_of_rejected_charges()"].includes(object)) return signedIn;
  if (/^etl\.(page_\w+|holds_words)\(/.test(object)) return signedIn;
  const isRead = action === "select" || action === "execute";
  return schema === "public" && isRead ? signedIn : loader;
}

/** The attempts that went otherwise than expected, as "anon: select public.drivers was allowed". */
async function surprises(db: Database, tried: Attempt[]): Promise<string[]> {
  const found: string[] = [];
  await db.query("begin");
  try {
    for (const role of roles) {
      await db.query(`set local role ${role}`);
      for (const { schema, object, action, statements } of tried) {
        let allowed = false;
        for (const statement of statements) allowed ||= await isAllowed(db, statement);
        if (allowed !== expected(schema, object, action).includes(role)) {
          found.push(`${role}: ${action} ${object} was ${allowed ? "allowed" : "refused"}`);
        }
      }
      await db.query("reset role");
    }
  } finally {
    await db.query("rollback");
  }
  return found;
}

async function isAllowed(db: Database, statement: string): Promise<boolean> {
  await db.query("savepoint try");
  try {
    await db.query(statement);
    return true;
  } catch (error) {
    const { code, message } = error as { code: string; message: string };
    // What comes after the question of rights: the type of a null, a generated column, a table that others refer to.
    assert.ok(["42501", "42804", "428C9", "0A000"].includes(code), `${statement}: ${code} ${message}`);
    return code !== "42501";
  } finally {
    await db.query("rollback to try");
  }
}

Deno.test("signed-in users may ask for public and call the reports; nobody but the loader does anything else", async (t) => {
  await using db = await freshDatabase();
  const tried = await attempts(db);
  assert.ok(tried.filter(({ action }) => action === "execute").length > 10 && tried.length > 40);
  await t.step("as it is", async () => assert.deepEqual(await surprises(db, tried), []));
  await t.step("and still if someone opened the private schemas to all", async () => {
    await db.query("grant usage on schema etl, supabase_migrations to public");
    assert.deepEqual(await surprises(db, tried), []);
  });
});

Deno.test("each lock is tried: an opened one is found", async () => {
  await using db = await freshDatabase();
  const tried = await attempts(db);
  await db.query(`
    grant usage on schema etl to authenticated;
    grant select (name) on etl.feeds to authenticated;
    grant update (first_name) on public.drivers to authenticated;
    grant truncate on public.charges to anon;
    grant insert on public.trips to service_role;
    grant execute on function etl.cron_values(text, int, int, text[]) to authenticated;
    grant execute on function public.churned_drivers(timestamptz, interval) to public`);
  assert.deepEqual((await surprises(db, tried)).sort(), [
    "anon: execute churned_drivers(timestamp with time zone,interval) was allowed",
    "anon: truncate public.charges was allowed",
    "authenticated: execute etl.cron_values(text,integer,integer,text[]) was allowed",
    "authenticated: select etl.feeds was allowed",
    "authenticated: update public.drivers was allowed",
    "service_role: insert public.trips was allowed",
  ]);
});

Deno.test("the default privileges of an older project, which grant everything to everyone, change nothing", async () => {
  await using db = await freshDatabase("template1");
  await db.query(`
    alter default privileges in schema public grant all on tables to anon, authenticated, service_role;
    alter default privileges in schema public grant all on functions to anon, authenticated, service_role;
    alter default privileges in schema public grant all on sequences to anon, authenticated, service_role`);
  await migrate(db.url);
  await db.query("grant usage on schema etl, supabase_migrations to public");
  assert.deepEqual(await surprises(db, await attempts(db)), []);
});

Deno.test("tables that were there before, open to all, are closed", async () => {
  await using db = await freshDatabase("template1");
  await db.query(`
    create table public.drivers (id text primary key);
    create table public.trips (id text primary key, driver_id text);
    grant all on public.drivers, public.trips to public, anon, authenticated, service_role;
    grant update (id) on public.drivers to anon;
    alter table public.drivers enable row level security;
    create policy "anyone" on public.drivers using (true) with check (true)`);
  using hushed = hush();
  await migrate(db.url);
  // What nobody had switched on stays off, and then the staff read nothing of it.
  assert.ok(hushed.said.some((line) => /public\.trips was here before, without row level security/.test(line)));
  await db.query("alter table public.trips enable row level security; grant select on public.trips to authenticated");
  assert.deepEqual(await surprises(db, await attempts(db)), []);
});

Deno.test("the private schemas are closed, but for the names in etl; row level security is on everywhere", async () => {
  await using db = await freshDatabase();
  const open = await db.admin(
    `select n.nspname, r.rolname from pg_namespace n, pg_roles r
    where n.nspname in ('etl', 'supabase_migrations') and r.rolname = any ($1)
      and has_schema_privilege(r.rolname, n.oid, 'usage, create')
      -- The reports call their part in it by its name.
      and not (n.nspname = 'etl' and r.rolname in ('authenticated', 'service_role')
        and not has_schema_privilege(r.rolname, n.oid, 'create'))`,
    [roles.filter((role) => !loader.includes(role))],
  );
  assert.deepEqual(open, []);
  const unguarded = await db.admin(`
    select c.oid::regclass::text as name from pg_class c
    where c.relnamespace in ('public'::regnamespace, 'etl'::regnamespace) and c.relkind in ('r', 'p')
      and not c.relrowsecurity`);
  assert.deepEqual(unguarded, []);
});
