/** An empty table's indexes are built after it is filled, where nobody can tell but by the time it takes. */
import assert from "node:assert/strict";
import { type Database, database, freshDatabase } from "../support/database.ts";
import { serve } from "../support/web.ts";

interface Index {
  oid: number;
  definition: string;
  /** What the definition does not tell. */
  more: unknown;
}

/** By name. */
async function indexes({ query }: Database): Promise<Record<string, Index>> {
  const rows = await query(`
    select
      c.relname, i.indexrelid::int as oid, pg_get_indexdef(i.indexrelid) as definition,
      json_build_array(
        i.indisvalid, i.indisready, i.indisclustered, obj_description(i.indexrelid, 'pg_class'), s.spcname,
        (select count(*) from pg_inherits h where h.inhparent = i.indexrelid)
      ) as more
    from pg_index i
    join pg_class c on c.oid = i.indexrelid
    left join pg_tablespace s on s.oid = c.reltablespace
    where i.indrelid = 'public.things'::regclass`);
  return Object.fromEntries(rows.map(({ relname, ...index }) => [relname, index]));
}

/** The indexes of a table with these, before and after its first load, of `count` things, and then one of one more. */
async function loaded(count: number, ...statements: string[]): Promise<Record<string, Index>[]> {
  await using db = await freshDatabase();
  await using web = serve({ "/things": things(count) });
  for (const statement of [table, ...statements]) await db.query(statement);
  await db.feed("things", { url: `${web.url}/things` });
  const states = [await indexes(db)];
  for (const more of [0, 1]) {
    web.files["/things"] = things(count + more);
    const { inserted, error } = await db.loadOne("things");
    assert.deepEqual([error, inserted], [null, more || count]);
    states.push(await indexes(db));
  }
  return states;
}

const table = "create table public.things (id text primary key, name text, price numeric)";
const plain = "create index things_name_idx on public.things (name)";

function things(count: number): string {
  return ["id,name,price", ...Array.from({ length: count }, (_, i) => `${i},thing ${i % 7},${i}`), ""].join("\n");
}

Deno.test("the indexes of an empty table that enforce nothing are built anew, as they were", async () => {
  const [before, first, second] = await loaded(
    500,
    plain,
    `create index things_half_idx on public.things using btree (lower(name) collate "C" desc nulls last, price)
      include (id) with (fillfactor = 70) where price > 100`,
    `create index "things' 1st" on public.things using brin (price) with (autosummarize = on)`,
    "create unique index things_price_idx on public.things (price)",
  );
  const like = (all: Record<string, Index>) =>
    Object.fromEntries(Object.entries(all).map(([name, { definition, more }]) => [name, { definition, more }]));
  assert.deepEqual(like(first), like(before));
  const anew = Object.keys(before).filter((name) => first[name].oid !== before[name].oid).sort();
  assert.deepEqual(anew, ["things' 1st", "things_half_idx", "things_name_idx"]);
  assert.deepEqual(second, first, "a table with rows keeps its indexes");
});

const partitioned = [
  "drop table public.things",
  "create table public.things (id text primary key, name text, price numeric) partition by hash (id)",
  "create table public.things_1 partition of public.things for values with (modulus 2, remainder 0)",
  "create table public.things_2 partition of public.things for values with (modulus 2, remainder 1) partition by hash (id)",
  "create table public.things_2a partition of public.things_2 for values with (modulus 1, remainder 0)",
  'create index "2\'s names" on public.things_2 (name) with (fillfactor = 70)',
  plain,
  "create index things_2a_price_idx on public.things_2a (price)",
];

/** The trees of the indexes: of each its definition, whether it is valid, and beneath which it is. */
const trees = `
  select
    i.indexrelid::regclass::text as name, pg_get_indexdef(i.indexrelid) as definition, i.indisvalid as valid,
    h.inhparent::regclass::text as parent
  from pg_index i
  left join pg_inherits h on h.inhrelid = i.indexrelid
  where i.indrelid::regclass::text like 'things%'
  order by 1`;

Deno.test("the indexes of an empty partitioned table are built anew, those of its partitions too", async () => {
  await using db = await freshDatabase();
  await using web = serve({ "/things": things(50) });
  for (const statement of [table, ...partitioned]) await db.query(statement);
  await db.feed("things", { url: `${web.url}/things` });
  const oids = async () =>
    await db.query(
      `select c.relname as name from pg_class c
      where c.relname in ('2''s names', 'things_name_idx', 'things_1_name_idx', 'things_2a_name_idx',
        'things_2a_price_idx', 'things_pkey') and c.oid > $1 order by 1`,
      [youngest],
    );
  const [{ youngest }] = await db.query("select max(oid)::int as youngest from pg_class");
  const before = await db.query(trees);
  assert.deepEqual(await oids(), []);
  const { inserted, error } = await db.loadOne("things");
  assert.deepEqual([error, inserted], [null, 50]);
  assert.deepEqual(await db.query(trees), before);
  const anew = ["2's names", "things_1_name_idx", "things_2a_name_idx", "things_name_idx"];
  assert.deepEqual((await oids()).map(({ name }) => name), anew);
});

Deno.test("an empty table is locked against readers only where an index is built anew", async (t) => {
  const cases: Record<string, [locked: string[], ...statements: string[]]> = {
    "an index": [["things"], plain],
    "no index": [[]],
    "no index of a partitioned table": [[], ...partitioned.slice(0, 5)],
    "one of a partition alone": [[], ...partitioned.slice(0, 5), partitioned.at(-1)!],
  };
  for (const [name, [locked, ...statements]] of Object.entries(cases)) {
    await t.step(name, async () => {
      await using db = await freshDatabase();
      for (const statement of [table, ...statements]) await db.query(statement);
      await db.feed("things", { url: "http://127.0.0.1/" });
      await db.query("begin");
      await db.query("select etl.stage('things', 1, '{id,name,price}', ',')");
      await db.query("insert into pg_temp.etl_staging_1 values ('1', 'one', '1')");
      const [{ inserted }] = await db.query(
        "select * from etl.merge('things', gen_random_uuid(), 1, '{id,name,price}', null)",
      );
      assert.equal(inserted, "1");
      const locks = await db.query(
        `select relation::regclass::text as name from pg_locks
        where pid = pg_backend_pid() and mode = 'AccessExclusiveLock' and relation::regclass::text like 'things%'
          and relation::regclass::text not like '%idx'`,
      );
      assert.deepEqual(locks.map(({ name }) => name), locked);
      await db.query("rollback");
    });
  }
});

Deno.test("an index of which more is known than its definition stays", async (t) => {
  const cases: Record<string, string[]> = {
    "a comment": [plain, "comment on index public.things_name_idx is 'for the search'"],
    "the order of CLUSTER": [plain, "alter table public.things cluster on things_name_idx"],
    "a comment on a part": [...partitioned, "comment on index public.\"2's names\" is 'for the search'"],
  };
  for (const [name, statements] of Object.entries(cases)) {
    await t.step(name, async () => {
      const [before, first] = await loaded(3, ...statements);
      assert.deepEqual(first, before);
    });
  }
  await t.step("a tablespace of its own", async () => {
    await using server = await database("postgres");
    await server.admin("set allow_in_place_tablespaces = on");
    await server.admin("create tablespace tdc_etl_elsewhere owner postgres location ''");
    try {
      const [before, first] = await loaded(3, `${plain} tablespace tdc_etl_elsewhere`);
      assert.deepEqual(first, before);
    } finally {
      await server.admin("drop tablespace tdc_etl_elsewhere");
    }
  });
});

Deno.test("a trigger of the user's finds the indexes in their place", async () => {
  const [before, first] = await loaded(
    3,
    plain,
    `create function public.look() returns trigger language plpgsql as $$
    begin
      perform 'public.things_name_idx'::regclass;
      return new;
    end $$`,
    "create trigger look before insert on public.things for each row execute function public.look()",
  );
  assert.deepEqual(first, before);
});

Deno.test("who reads the empty table meanwhile is not waited for", async () => {
  await using db = await freshDatabase();
  await using reader = await database(db.name);
  await using web = serve({ "/things": things(3) });
  await db.query(`${table}; ${plain}`);
  await db.feed("things", { url: `${web.url}/things` });
  // Who waits all the same gets the lock after all, when this ends the reader's session.
  await reader.query("set idle_in_transaction_session_timeout = '10s'");
  await reader.query("begin; select * from public.things");
  const before = await indexes(db);
  const { inserted, error } = await db.loadOne("things");
  assert.deepEqual([error, inserted], [null, 3]);
  assert.deepEqual(await indexes(db), before);
  await reader.query("rollback");
});
