/** Databases that are not ours alone: tables of an older script with data in them, and servers without Supabase's roles. */
import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";
import { connect } from "../../lib/database/connect.ts";
import type { EtlError } from "../../lib/errors.ts";
import { migrate } from "../../lib/local/migrate.ts";
import { startPostgres } from "../../lib/local/postgres/start.ts";
import { type Database, database, freshDatabase } from "../support/database.ts";
import { temporary } from "../support/directories.ts";
import { hush } from "../support/hush.ts";
import { project } from "../support/project.ts";
import { schemaOf } from "../support/schema.ts";
import { serve, type Web } from "../support/web.ts";

const tables = ["drivers", "trips", "charges"];
/** What is said of a table that was there before, with the statements that it names. */
const hidden = /was here before, without row level security; it stays so.*: (alter .* to authenticated)\./;

/** What the older script made, and how many rows break a rule that the migration would add. */
const older: Record<string, { sql: string; warnings: RegExp[]; trip?: string }> = {
  "neither primary nor foreign keys": {
    sql: `create table drivers (id text, tlc_number text, first_name text, last_name text);
      create table trips (id text, driver_id text, request_timestamp timestamptz, pickup_timestamp timestamptz,
        dropoff_timestamp timestamptz, base_fare numeric, gratuity numeric);
      create table charges (id text, trip_id text, amount_cents int);
      insert into drivers values ('1', '5000', 'Ana', 'Díaz'), ('2', '', null, null), ('3', '', null, null);
      insert into trips values ('1', '1', now(), now(), now(), 12.50, 1), ('2', '1', null, null, null, null, null);
      insert into charges values ('1', '1', 1350)`,
    warnings: [],
  },
  "integer ids and numbers, timestamp columns, keys of other names": {
    sql: `create table drivers (id int generated always as identity constraint one primary key, tlc_number int unique);
      create table trips (id bigint constraint two primary key, driver_id int constraint three references drivers,
        request_timestamp timestamp, pickup_timestamp timestamp, dropoff_timestamp timestamp, base_fare float8, gratuity money);
      create table charges (id smallint primary key, trip_id bigint references trips on delete cascade, amount_cents int not null);
      insert into drivers (tlc_number) values (5000), (null);
      insert into trips values (1, 1, now(), now(), '2021-06-01 10:00', 12.5, 3);
      insert into charges values (1, 1, 1550)`,
    warnings: [],
  },
  "rows that break the rules": {
    sql: `create table drivers (id text primary key, tlc_number text);
      create table trips (id text primary key, driver_id text, dropoff_timestamp timestamptz);
      create table charges (id text primary key, trip_id text, amount_cents bigint);
      insert into drivers values ('1', '5000'), ('2', '5000');
      insert into trips values ('1', 'nobody', now()), ('2', null, null);
      insert into charges values ('1', 'no trip', null), ('2', '1', 5)`,
    warnings: [
      /trips holds rows without driver_id/,
      /charges holds rows without amount_cents/,
      /trips holds rows whose driver_id is in no row of public.drivers; they stay, new ones are refused/,
      /charges holds rows whose trip_id is in no row of public.trips/,
      /a tlc_number twice/,
    ],
  },
  "columns missing, others extra": {
    sql:
      `create table drivers (id int primary key, shoe_size int default 38, joined date not null default current_date);
      create table trips (id uuid primary key, mood text);
      insert into drivers values (1, 40, '2020-01-01');
      insert into trips values (gen_random_uuid(), 'good')`,
    warnings: [/trips holds rows without driver_id/],
    trip: "00000000-0000-0000-0000-000000000901",
  },
  "times as text": {
    sql: `create table trips (id text primary key, driver_id text, dropoff_timestamp text);
      insert into trips values ('1', '1', '2021-06-01T10:00:00Z')`,
    warnings: [/trips holds rows whose driver_id/],
  },
  "partitioned, by the id or by time": {
    sql: `create table drivers (id text primary key, tlc_number text) partition by hash (id);
      create table drivers_0 partition of drivers for values with (modulus 2, remainder 0);
      create table drivers_1 partition of drivers for values with (modulus 2, remainder 1);
      create table trips (id text, driver_id text, dropoff_timestamp timestamptz, primary key (id, dropoff_timestamp))
        partition by range (dropoff_timestamp);
      create table trips_2021 partition of trips for values from ('2021-01-01Z') to ('2022-01-01Z');
      create table charges (id text primary key, trip_id text, amount_cents bigint) partition by list (id);
      create table charges_rest partition of charges default;
      insert into drivers values ('1', '5000'), ('2', null);
      insert into trips values ('1', '1', '2021-06-01Z');
      insert into charges values ('1', '1', 1350)`,
    warnings: [
      /^warning: public\.trips is partitioned; set \(fillfactor = 95\) on its partitions yourself$/,
      /charges.trip_id cannot refer to public.trips: there is no unique constraint/,
      /^warning: public\.drivers is partitioned by another column than tlc_number, which is not made unique$/,
    ],
  },
  "partitioned, with rows that break the rules": {
    sql: `create table trips (id text primary key, driver_id text) partition by hash (id);
      create table trips_0 partition of trips for values with (modulus 1, remainder 0);
      create table drivers (id text, tlc_number text, primary key (id, tlc_number)) partition by list (tlc_number);
      create table drivers_rest partition of drivers default;
      create table charges (id text primary key, trip_id text) partition by hash (id);
      create table charges_0 partition of charges for values with (modulus 1, remainder 0);
      insert into drivers values ('1', '5000'), ('2', '5000');
      insert into trips values ('1', 'nobody');
      insert into charges values ('1', 'no trip')`,
    warnings: [
      /trips is partitioned/,
      /charges holds rows without amount_cents/,
      /trips.driver_id cannot refer to public.drivers: there is no unique constraint/,
      /charges is partitioned, and holds rows whose trip_id is in no row of public.trips; they stay, and there is no key/,
      /a tlc_number twice/,
    ],
  },
};

function feeds(trip = "901"): Web {
  return serve({
    "/drivers.json": '[{"id": "901", "tlc_number": "9001", "first_name": "New"}]',
    "/trips.csv": `id,driver_id,dropoff_timestamp,base_fare\n${trip},901,2021-07-01T10:00:00Z,12.50\n`,
    "/charges.csv": `id,trip_id,amount_cents\n901,${trip},1250\n`,
  });
}

async function rowsOf(db: Database): Promise<Record<string, unknown[]>> {
  const rows: Record<string, unknown[]> = {};
  for (const table of tables) {
    const [{ exists }] = await db.query("select to_regclass($1) is not null as exists", [`public.${table}`]);
    rows[table] = exists ? await db.query(`select to_jsonb(t) as row from public.${table} t`) : [];
  }
  return rows;
}

/** Runs `work`; returns what it said on standard error. */
async function warningsOf(work: () => Promise<unknown>): Promise<string[]> {
  using hushed = hush();
  await work();
  return hushed.said;
}

Deno.test("tables of an older script: every row stays, and then a load works", async (t) => {
  for (const [name, { sql, warnings, trip }] of Object.entries(older)) {
    await t.step(name, async () => {
      await using db = await freshDatabase("template1");
      await using web = feeds(trip);
      await db.query(sql);
      const before = await rowsOf(db);

      const said = await warningsOf(() => migrate(db.url));

      const [others, left] = [false, true].map((is) => said.filter((line) => hidden.test(line) === is));
      assert.equal(others.length, warnings.length, others.join("\n"));
      warnings.forEach((warning, i) => assert.match(others[i], warning));
      assert.equal(left.length, tables.filter((table) => before[table].length > 0).length, left.join("\n"));
      for (const table of tables) {
        for (const { row } of before[table] as { row: unknown }[]) {
          const kept = await db.query(`select from public.${table} t where to_jsonb(t) @> $1`, [JSON.stringify(row)]);
          assert.equal(kept.length, 1, JSON.stringify(row));
        }
      }
      await db.pointAt(web.url);
      const report = await db.load();
      // Without the keys that cannot be, their order is another.
      const loaded = report.feeds.map((feed) => [feed.feed, feed.status, feed.inserted]).sort();
      assert.deepEqual(loaded, tables.toSorted().map((table) => [table, "changed", 1]), JSON.stringify(report));
      assert.equal((await db.load({ force: true })).status, "unchanged");
      const churned = await db.query("select id::text from public.churned_drivers('2021-08-01Z') where id = '901'");
      assert.deepEqual(churned, [{ id: "901" }]);
      assert.ok(await db.query("select from public.trips_without_charges()"));
    });
  }
});

Deno.test("who reads a table that was there before reads on, and whoever has signed up does not", async () => {
  await using db = await freshDatabase("template1");
  await db.query(`create table drivers (id text primary key); insert into drivers values ('1');
    create table trips (id text primary key); alter table trips enable row level security;
    grant select on drivers, trips to authenticated, pg_monitor`);
  const seen = async (role: string) => {
    await db.admin(`set role ${role}`);
    const [{ count }] = await db.admin("select count(*)::int from public.drivers").catch((
      { code },
    ) => [{ count: code }]);
    await db.admin("reset role");
    return count;
  };
  assert.deepEqual([await seen("pg_monitor"), await seen("authenticated")], [1, 1]);

  const said = (await warningsOf(() => migrate(db.url))).filter((line) => hidden.test(line));

  assert.deepEqual([await seen("pg_monitor"), await seen("authenticated")], [1, "42501"]);
  assert.deepEqual(said.map((line) => /public\.\w+/.exec(line)![0]), ["public.drivers"]);
  await db.query(hidden.exec(said[0])![1]);
  assert.equal(await seen("authenticated"), 0, "who has signed up is no staff");
});

/**
 * The one landed migration that was edited since, where it failed on some tables, and where it hid the rows of tables that
 * were there before: each place as it is, and as it was.
 */
const edited = "20261126000100_tables.sql";
const landedAs = "cc25ddf09386f6c3f87f81f23c8ebbead0d344b80c65ab430d611373c97f159d";
const edits = [
  [
    `do $$
begin
  alter table public.trips set (fillfactor = 95);
exception when wrong_object_type then
  raise warning 'public.trips is partitioned; set (fillfactor = 95) on its partitions yourself';
end $$;
`,
    `alter table public.trips set (fillfactor = 95);
`,
  ],
  [
    `        begin
          execute format('alter table %s add constraint %s not valid', rule.target, rule.definition);
          raise warning '% holds rows whose % is in no row of %; they stay, new ones are refused',
            rule.target, rule.referrer, rule.parent;
        exception when wrong_object_type then
          raise warning '% is partitioned, and holds rows whose % is in no row of %; they stay, and there is no key',
            rule.target, rule.referrer, rule.parent;
        end;
`,
    `        execute format('alter table %s add constraint %s not valid', rule.target, rule.definition);
        raise warning '% holds rows whose % is in no row of %; they stay, new ones are refused',
          rule.target, rule.referrer, rule.parent;
`,
  ],
  [
    `  exception
    when unique_violation then
      raise warning 'public.drivers holds a tlc_number twice; the rows stay, and it is not made unique';
    when feature_not_supported then
      raise warning 'public.drivers is partitioned by another column than tlc_number, which is not made unique';
  end;
`,
    `  exception when unique_violation then
    raise warning 'public.drivers holds a tlc_number twice; the rows stay, and it is not made unique';
  end;
`,
  ],
  [
    `-- Without a policy the readers of a table that was here before would see no row more: its owner switches that on.
select set_config('etl.older_tables', coalesce(string_agg(t.name, ','), ''), false)
from unnest(array['drivers', 'trips', 'charges']) as t(name)
join pg_catalog.pg_class c on c.oid = to_regclass(format('public.%I', t.name)) and not c.relrowsecurity;

`,
    "",
  ],
  [
    `  foreach subject in array array['drivers', 'trips', 'charges'] loop
    is_older := subject = any (string_to_array(current_setting('etl.older_tables'), ','));
    if is_older then
      raise warning 'public.% was here before, without row level security; it stays so. For the staff to read it '
        'by the API: alter table public.% enable row level security; grant select on public.% to authenticated. '
        'Whoever else reads it needs a policy then', subject, subject, subject;
    else
      execute format('alter table public.%I enable row level security', subject);
    end if;
    execute format('revoke all on public.%I from public', subject);
`,
    `  foreach subject in array array['drivers', 'trips', 'charges'] loop
    execute format('revoke all on public.%I from public', subject);
`,
  ],
  [
    `  reader text;
  is_older boolean;
`,
    `  reader text;
`,
  ],
  [
    `      if not (is_older and reader = 'authenticated') then
        execute format('grant select on public.%I to %I', subject, reader);
      end if;
`,
    `      execute format('grant select on public.%I to %I', subject, reader);
`,
  ],
  [
    `alone. Supabase's roles may be absent elsewhere.
`,
    `alone. Supabase's roles may be absent elsewhere.
alter table public.drivers enable row level security;
alter table public.trips enable row level security;
alter table public.charges enable row level security;

`,
  ],
];

Deno.test("the migration that was edited makes of all other databases what it made before", async (t) => {
  const now = await Deno.readTextFile(`${project}/supabase/migrations/${edited}`);
  const then = edits.reduce((text, [is, was]) => text.replace(is, () => was), now);
  const sum = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(then)));
  assert.equal(Array.from(sum, (byte) => byte.toString(16).padStart(2, "0")).join(""), landedAs);
  const made = async (migration: string, sql: string, isNow = false) => {
    await using work = await temporary();
    await Deno.writeTextFile(`${work.path}/${edited}`, migration);
    await using db = await freshDatabase("template1");
    await db.query(sql);
    const said = await warningsOf(() => migrate(db.url, pathToFileURL(`${work.path}/`)));
    const [others, older] = [false, true].map((is) => said.filter((line) => hidden.test(line) === is));
    for (const line of isNow ? older : []) {
      await db.query(hidden.exec(line)![1]);
      // In the order of before.
      await db.query(`revoke select on ${/public\.\w+/.exec(line)![0]} from service_role`);
      await db.query(`grant select on ${/public\.\w+/.exec(line)![0]} to service_role`);
    }
    return { said: others, schema: await schemaOf(db) };
  };
  for (const [name, { sql }] of [["nothing", { sql: "" }] as const, ...Object.entries(older)]) {
    await t.step(name, async () => {
      if (/partition by/.test(sql)) await assert.rejects(made(then, sql), { code: "42809" });
      else assert.deepEqual(await made(now, sql, true), await made(then, sql));
    });
  }
});

Deno.test("older tables that cannot be loaded as they are: a clear refusal, and no row is lost", async (t) => {
  const cases: [sql: string, code: string, message: RegExp][] = [
    [
      "create table drivers (id text); insert into drivers values ('1'), ('1')",
      "23505",
      /Key \(id\)=\(1\) is duplicated/,
    ],
    [
      "create table trips (id text, dropoff_timestamp timestamptz) partition by range (dropoff_timestamp)",
      "0A000",
      /PRIMARY KEY constraint on table "trips" lacks column "dropoff_timestamp" which is part of the partition key/,
    ],
    ["create table drivers (name text); insert into drivers values ('a')", "42703", /column "id"/],
    [
      "create table drivers (id int primary key); create table trips (id text, driver_id text)",
      "42804",
      /public.trips.driver_id and public.drivers.id are of different types/,
    ],
  ];
  for (const [sql, code, message] of cases) {
    await t.step(message.source, async () => {
      await using db = await freshDatabase("template1");
      await db.query(sql);
      const before = await rowsOf(db);
      await assert.rejects(migrate(db.url), (error: EtlError) => {
        assert.equal(error.code, code);
        assert.match(error.message, /^Cannot apply the migration \d+_tables\.sql; it was rolled back: /);
        assert.match(error.message, message);
        return true;
      });
      assert.deepEqual(await rowsOf(db), before);
    });
  }
});

Deno.test("a plain Postgres, without Supabase's roles and with its loader as superuser or not", async (t) => {
  await using home = await temporary();
  const postgres = await startPostgres(home.path, ["fsync=off"]);
  const admin = await connect(postgres.adminUrl);
  try {
    await admin.query(
      "revoke all on schema public from anon, authenticated, service_role; grant all on database postgres to supabase_admin",
    );
    await admin.query("alter database postgres owner to supabase_admin; drop owned by postgres cascade");
    await admin.query("drop role anon, authenticated, service_role, authenticator, postgres");
    await admin.query("create role loader login password 'plain'");
    for (const role of ["loader", "supabase_admin"]) {
      await t.step(role, async () => {
        await admin.query(`create database of_${role} owner ${role}`);
        const { host } = new URL(postgres.url);
        const as = role === "loader" ? `postgres://loader:plain@${host}/` : postgres.adminUrl;
        const url = Object.assign(new URL(as), { pathname: `/of_${role}` }).href;
        await using web = feeds();
        assert.deepEqual(await warningsOf(() => migrate(url)), []);
        await using db = await database(`of_${role}`, { url, adminUrl: postgres.adminUrl });
        await db.pointAt(web.url);
        assert.deepEqual((await db.load()).feeds.map((feed) => feed.inserted), [1, 1, 1]);
        assert.equal((await db.load()).status, "unchanged");
      });
    }
  } finally {
    await admin.end();
    await postgres.stop();
  }
});
