/** Unique values that move between rows within one file: Postgres looks for a unique violation row by row, the loader must not. */
import assert from "node:assert/strict";
import { countsOf } from "../support/counts.ts";
import { type Database, freshDatabase } from "../support/database.ts";
import { snapshot } from "../support/snapshot.ts";
import { serve, type Web } from "../support/web.ts";

/** The table's rules; the second file; how it is counted: read, inserted, updated, unchanged, duplicate, rejected. */
const moves: Record<string, [rules: string, before: string, after: string, counts: number[]]> = {
  "two rows swap": ["code text unique, x int", "1,a,1 2,b,1", "1,b,1 2,a,1", [2, 0, 2, 0, 0, 0]],
  "two rows swap, NOT NULL": ["code text not null unique, x int", "1,a,1 2,b,1", "1,b,1 2,a,1", [2, 0, 2, 0, 0, 0]],
  "a chain, NOT NULL": ["code int not null unique, x int", "1,1,1 2,2,1 3,3,1", "1,2,1 2,3,1 3,4,1", [
    3,
    0,
    3,
    0,
    0,
    0,
  ]],
  "a cycle of three": ["code text unique, x int", "1,a,1 2,b,1 3,c,1", "1,c,1 2,a,1 3,b,1", [3, 0, 3, 0, 0, 0]],
  "a new row takes what another gives up": ["code text unique, x int", "1,a,1", "2,a,1 1,b,1", [2, 1, 1, 0, 0, 0]],
  "a composite index": ["code text, x int not null, unique (code, x)", "1,a,1 2,a,2", "1,a,2 2,a,1", [
    2,
    0,
    2,
    0,
    0,
    0,
  ]],
  "a partial index": ["code text not null, x int", "1,a,1 2,a,2 3,a,2", "1,a,2 2,a,1 3,a,2", [3, 0, 2, 1, 0, 0]],
  "a partial index, by its condition": ["code text not null, x int", "1,a,1 2,a,2", "1,a,2 2,a,1", [2, 0, 2, 0, 0, 0]],
  "two rows swap where nulls are equal": [
    "code text, x int, unique nulls not distinct (code)",
    "1,a,1 2,b,1",
    "1,b,1 2,a,1",
    [
      2,
      0,
      2,
      0,
      0,
      0,
    ],
  ],
  "an index where nulls are equal": ["code text, x int", "1,a,1 2,b,1 3,c,1", "1,b,1 2,a,1 3,c,1", [3, 0, 2, 1, 0, 0]],
  "an expression swapped": ["code text not null, x int", "1,a,1 2,b,1", "1,B,1 2,A,1", [2, 0, 2, 0, 0, 0]],
  "an expression": ["code text, x int", "1,a,1", "1,a,1 2,A,1", [2, 0, 0, 1, 0, 1]],
  "one keeps it, and an earlier new row wants it": ["code text unique, x int", "1,a,1", "2,a,1 1,a,2", [
    2,
    0,
    1,
    0,
    0,
    1,
  ]],
  "a row that cannot move keeps its value": ["code text unique, x int check (x > 0)", "1,a,1 2,b,1", "1,b,0 2,a,1", [
    2,
    0,
    0,
    0,
    0,
    2,
  ]],
};

Deno.test("unique values that move within one file", async (t) => {
  await using db = await freshDatabase();
  await using web = serve({});
  const csv = (rows: string) => `id,code,x\n${rows.replaceAll(" ", "\n")}\n`;
  for (const [name, [rules, before, after, counts]] of Object.entries(moves)) {
    await t.step(name, async () => {
      await db.query(`drop table if exists public.codes; create table public.codes (id int primary key, ${rules})`);
      if (/partial/.test(name)) await db.query("create unique index on public.codes (code) where x = 1");
      if (/index where nulls/.test(name)) {
        await db.query("create unique index on public.codes (code) nulls not distinct");
      }
      if (/expression/.test(name)) await db.query("create unique index on public.codes (lower(code))");
      const nullable =
        "select array_agg(attname::text) as columns from pg_attribute where attrelid = 'public.codes'::regclass and attnotnull";
      const required = await db.query(nullable);
      await db.query("delete from etl.feeds where name = 'codes'");
      await db.feed("codes", { url: `${web.url}/codes`, reject_limit: 1 });
      web.files["/codes"] = csv(before);
      assert.equal((await db.loadOne("codes")).error, null);

      web.files["/codes"] = csv(after);
      const report = await db.loadOne("codes");

      assert.equal(report.error, null);
      assert.deepEqual(countsOf(report), counts);
      if (report.rejected === 0) {
        const rows = await db.query("select concat_ws(',', id, code, x) as row from public.codes order by id");
        assert.equal(rows.map(({ row }) => row).join(" "), after.split(" ").sort().join(" "));
      }
      assert.deepEqual(await db.query(nullable), required);
      const then = await snapshot(db);
      assert.equal((await db.loadOne("codes", { force: true })).status, "unchanged");
      assert.deepEqual(await snapshot(db), then);
    });
  }
});

/** A table t.x, of which two rows exchange what is unique. */
interface Exchange {
  sql: string;
  header?: string;
  rows?: string;
  moved?: string;
  /** t.audit sees the exchange, and nothing else. */
  audited?: boolean;
}

const audit = `create table t.audit (old text, new text);
  create function t.note() returns trigger language plpgsql as $$begin
    if new.code is null then raise exception 'a null'; end if;
    insert into t.audit values (old.code, new.code);
    return new;
  end$$;`;
const audits = (table: string) =>
  `${audit} create trigger note before update on t.${table} for each row execute function t.note();`;

const spelled = { moved: "1,B 2,A" };
const plain = "create table t.x (id int primary key, code text);";

const within = { header: "id,p,code", rows: "1,1,a 2,1,b", moved: "1,1,b 2,1,a" };
const parted = (code = "code text") =>
  `create table t.x (id int, p int, ${code}, primary key (id, p)) partition by list (p);
  create table t.x1 partition of t.x for values in (1); create table t.x2 partition of t.x for values in (2);`;

/** t.x is itself a part, which has a key of its own or that of the whole. */
const part = (columns: string, own = "(primary key (id))", values = "1") =>
  `create table t.whole (id int, ${columns}) partition by list (${/\bp int/.test(columns) ? "p" : "code"});
  create table t.x partition of t.whole ${own} for values in (${values});`;
const ofWhole = (code: string) =>
  `${part(`p int, ${code}, primary key (id, p)`, "")}
  create table t.y partition of t.whole for values in (2); insert into t.y values (1, 2, 'a'), (2, 2, 'b');`;

const exchanges: Record<string, Record<string, Exchange>> = {
  "the index of a partitioned table and those of its parts": {
    "an expression": {
      ...within,
      sql: `${parted()} create unique index u on t.x (lower(code), p);`,
      moved: "1,1,B 2,1,A",
    },
    "nulls are equal": {
      ...within,
      sql: `${parted()} create unique index u on t.x (code, p) nulls not distinct with (fillfactor = 70);
        comment on index t.x1_code_p_idx is 'its own';`,
    },
    "a trigger": {
      ...within,
      sql: `${parted()} create unique index u on t.x (code, p); ${audits("x")}`,
      audited: true,
    },
    "a trigger of a part": {
      ...within,
      sql: `${parted()} create unique index u on t.x (code, p); ${audits("x1")}`,
      audited: true,
    },
    "a constraint of two levels, a part under a name of its own": {
      ...within,
      sql: `create table t.x (id int, p int, code text, primary key (id, p)) partition by list (p);
        create table t.x1 partition of t.x for values in (1, 2) partition by list (p);
        create table t.x11 partition of t.x1 for values in (1);
        alter table t.x add constraint u unique nulls not distinct (code, p) with (fillfactor = 70) deferrable;
        alter index t.x11_code_p_key rename to "its own"; alter table t.x11 cluster on "its own";
        comment on constraint u on t.x is 'it''s u'; comment on constraint "its own" on t.x11 is 'its own';`,
    },
    "generated": {
      ...within,
      sql: parted("code text, g text generated always as (lower(code)) stored, unique (g, p)"),
    },
    "of a replica identity": {
      ...within,
      sql: `${parted("code text not null")} create unique index u on t.x (code, p);
        alter table t.x1 replica identity using index x1_code_p_idx; create publication parted for table t.x;`,
    },
  },
  "what the definition does not tell": {
    "an index": {
      ...spelled,
      sql: `${plain} create unique index u on t.x (lower(code)) with (fillfactor = 70);
        comment on index t.u is 'it''s u'; alter table t.x cluster on u;
        alter index t.u alter column 1 set statistics 50;`,
    },
    "a constraint": {
      sql: `create table t.x (id int primary key, code text,
          constraint u unique nulls not distinct (code) include (id) with (fillfactor = 70)
            deferrable initially deferred);
        comment on index t.u is 'it''s u'; comment on constraint u on t.x is 'it''s the rule'; alter table t.x cluster on u;`,
    },
    "an exclusion": {
      ...spelled,
      sql: `create table t.x (id int primary key, code text, constraint u exclude using btree (lower(code) with =)
          with (fillfactor = 70) where (code <> 'zz') deferrable);
        comment on constraint u on t.x is 'it''s the rule';`,
    },
    "a replica identity of a table that is published": {
      sql: `create table t.x (id int primary key, code text not null); create unique index u on t.x (code);
        alter table t.x replica identity using index u; create publication single for table t.x;`,
    },
  },
  "where a null cannot be": {
    "NOT NULL in the whole": {
      sql: `${part("p int default 1, code text not null")} create unique index u on t.x (code);`,
    },
    "NOT NULL in a part": {
      ...within,
      sql: `${parted()} create unique index u on t.x (code, p); alter table t.x1 alter code set not null;`,
    },
    "NOT NULL in the whole, the index of the whole": {
      ...within,
      sql: ofWhole("code text not null, constraint u unique (code, p)"),
    },
    "a trigger, and the index of the whole": {
      ...within,
      sql: `${ofWhole("code text")} create unique index u on t.whole (code, p); ${audits("x")}`,
      audited: true,
    },
    "what tells the part": { sql: `${part("code text", undefined, "'a', 'b'")} create unique index u on t.x (code);` },
    "an identity": {
      sql: "create table t.x (id int primary key, code int generated by default as identity unique);",
      rows: "1,10 2,20",
      moved: "1,20 2,10",
    },
    "a replica identity, and another index before it": {
      sql: `create table t.x (id int primary key, code text not null);
        create unique index a on t.x (code); create unique index b on t.x (code); create unique index c on t.x (code);
        alter table t.x replica identity using index b;`,
    },
    "a domain that is NOT NULL": {
      sql: "create domain t.d as text not null; create table t.x (id int primary key, code t.d unique);",
    },
    "a domain with a CHECK": {
      sql: `create domain t.d as text check (value is not null);
        create table t.x (id int primary key, code t.d unique);`,
    },
    "a CHECK": { sql: "create table t.x (id int primary key, code text unique check (code is not null));" },
    "a key MATCH FULL": {
      sql: `create table t.p (a int, b text, primary key (a, b)); insert into t.p values (1, 'a'), (1, 'b');
        create table t.x (id int primary key, a int default 1, code text, unique (a, code),
          foreign key (a, code) references t.p match full);`,
    },
    "what is generated is NOT NULL": {
      sql: `create table t.x (id int primary key, code text unique,
        g text not null generated always as (lower(code)) stored);`,
    },
    "what is generated raises": {
      sql: `create table t.x (id int primary key, code text unique,
        g int generated always as (1 / case when code is null then 0 else 1 end) stored);`,
    },
    "another index, to which two nulls are one value": {
      sql: `create table t.x (id int primary key, code text unique);
        create unique index z on t.x (coalesce(code, 'none'));`,
    },
  },
  "what is generated": {
    "a column": {
      sql: "create table t.x (id int primary key, code text, g text generated always as (lower(code)) stored unique);",
    },
    "an expression": {
      sql: `create table t.x (id int primary key, code text, g text generated always as (lower(code)) stored);
        create unique index u on t.x ((g || '!'));`,
      ...spelled,
    },
    "a condition": {
      sql: `create table t.x (id int primary key, v int default 1, code text,
          g text generated always as (lower(code)) stored);
        create unique index u on t.x (v) where g = 'a';`,
      rows: "1,b 2,a",
      moved: "1,a 2,b",
    },
  },
  "what sees an update": {
    "a trigger": { sql: `create table t.x (id int primary key, code text unique); ${audits("x")}`, audited: true },
    "a rule": {
      sql: `create table t.x (id int primary key, code text not null unique); ${audit}
        create rule r as on update to t.x do also insert into t.audit values (old.code, new.code);`,
      audited: true,
    },
  },
};

for (const [group, all] of Object.entries(exchanges)) {
  Deno.test(`values exchanged, and nothing else: ${group}`, async (t) => {
    await using db = await freshDatabase();
    await using web = serve({});
    for (const [name, exchange] of Object.entries(all)) await t.step(name, () => take(db, web, exchange));
  });
}

Deno.test("values exchanged, and nothing else: a tablespace", async () => {
  await using db = await freshDatabase();
  await using web = serve({});
  await db.admin("set allow_in_place_tablespaces = on");
  await db.admin("create tablespace tdc_etl_moved owner postgres location ''");
  try {
    await take(db, web, {
      ...within,
      sql: `${parted()} alter table t.x add constraint u unique nulls not distinct (code, p)
        using index tablespace tdc_etl_moved;
        create unique index v on t.x (lower(code), p) tablespace tdc_etl_moved;`,
    });
    await db.query("drop schema t cascade");
  } finally {
    await db.admin("drop tablespace tdc_etl_moved");
  }
});

async function take(
  db: Database,
  web: Web,
  { sql, header = "id,code", rows = "1,a 2,b", moved = "1,b 2,a", audited }: Exchange,
) {
  await db.query("delete from etl.feeds where name = 'x'; drop schema if exists t cascade; create schema t");
  await db.query(`set search_path to t; ${sql} reset search_path`);
  await db.feed("x", { url: `${web.url}/x`, target: "t.x", reject_limit: 1 });
  const load = async (lines: string, force = false) => {
    web.files["/x"] = `${header}\n${lines.replaceAll(" ", "\n")}\n`;
    const report = await db.loadOne("x", { force });
    assert.equal(report.error, null);
    return report;
  };
  await load(rows);
  const before = await known(db);

  const { updated, rejected } = await load(moved);

  assert.deepEqual([updated, rejected], [2, 0]);
  const stored = await db.query(`select concat_ws(',', ${header}) as row from t.x order by id`);
  assert.equal(stored.map(({ row }) => row).join(" "), moved);
  assert.deepEqual(await known(db), before);
  const again = ["3", ...moved.split(" ").find((row) => /a$|^1,20$/i.test(row))!.split(",").slice(1)];
  await assert.rejects(
    db.query(`insert into t.x (${header}) values (${again.map((value) => `'${value}'`)})`),
    ({ code }: { code: string }) => ["23505", "23P01"].includes(code),
  );
  if (audited) {
    const [{ seen }] = await db.query(`select string_agg(concat(old, new), ' ' order by old) as seen from t.audit`);
    assert.equal(seen, "ab ba");
  }
  assert.equal((await load(moved, true)).status, "unchanged");
}

/** What is known of the tables, but for their rows. */
async function known({ query }: Database) {
  const indexes = await query(`
    select
      i.indexrelid::regclass::text as name, pg_get_indexdef(i.indexrelid) as definition,
      pg_get_constraintdef(k.oid) as rule, k.conislocal, k.coninhcount, x.reloptions, s.spcname, h.inhparent::regclass::text as parent,
      i.indisvalid, i.indisclustered, i.indisreplident,
      obj_description(i.indexrelid, 'pg_class') as comment, obj_description(k.oid, 'pg_constraint') as comment_on_rule,
      (select json_agg(a.attstattarget order by a.attnum) from pg_attribute a where a.attrelid = x.oid) as statistics
    from pg_index i
    join pg_class x on x.oid = i.indexrelid
    left join pg_constraint k on k.conindid = i.indexrelid and k.contype in ('u', 'x')
    left join pg_tablespace s on s.oid = x.reltablespace
    left join pg_inherits h on h.inhrelid = i.indexrelid
    where x.relnamespace = 't'::regnamespace
    order by 1`);
  const columns = await query(`
    select c.relname, c.relreplident, a.attname, a.attnotnull
    from pg_class c
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
    where c.relnamespace = 't'::regnamespace and c.relkind in ('r', 'p')
    order by 1, 3`);
  return { indexes, columns };
}
