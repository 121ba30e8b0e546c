/** What a run changed, with etl.feeds.history: on every path of a write, value for value. */
import assert from "node:assert/strict";
import { databaseAndWeb } from "../support/given.ts";
import { snapshot } from "../support/snapshot.ts";
import { until } from "../support/waiting.ts";

type Row = Record<string, string | null>;
/** What is kept of a row: key, before, after. */
type Change = [string, Row | null, Row | null];

interface Step {
  sql?: string;
  file: string;
  status?: string;
  changes: Change[];
}

interface Case {
  name: string;
  table: string;
  columns?: Record<string, unknown>;
  admin?: string;
  steps: Step[];
  /** A trigger makes the rows differ from their feed for good. */
  isNeverStill?: boolean;
}

const csv = (...lines: string[]) => lines.join("\n") + "\n";
const plain = "create table public.things (id int primary key, x text);";
const row = (id: string, x: string | null): Row => ({ id, x });
const inserted = (id: string, x: string): Change => [id, null, row(id, x)];

const cases: Case[] = [
  {
    name: "a first load, then what is new and what differs, and nothing of what is as it was",
    table: plain,
    steps: [
      { file: csv("id,x", "1,a", "2,b"), changes: [inserted("1", "a"), inserted("2", "b")] },
      { file: csv("id,x", "1,A", "2,b", "3,c"), changes: [["1", row("1", "a"), row("1", "A")], inserted("3", "c")] },
      { file: csv("id,x", "3,c", "1,A", "2,b"), status: "unchanged", changes: [] },
    ],
  },
  {
    name: "a null and an empty text are two things",
    table: plain,
    columns: { format: "json" },
    steps: [
      { file: '[{"id":1,"x":""}]', changes: [inserted("1", "")] },
      { file: '[{"id":1,"x":null}]', changes: [["1", row("1", ""), row("1", null)]] },
    ],
  },
  {
    name: "what triggers make of a row, before and after it is written, and what a generated column says",
    table: `create table public.things (
        id int primary key, x text, y text, z text generated always as (upper(x)) stored, n int
      );
      create function public.stamp() returns trigger language plpgsql as $$
        begin new.y := 'was ' || coalesce(new.x, ''); return new; end $$;
      create trigger stamp before insert or update on public.things for each row execute function public.stamp();
      create function public.later() returns trigger language plpgsql as $$
        begin update public.things t set n = length(t.x) where t.id = new.id and n is distinct from length(t.x);
        return null; end $$;
      create constraint trigger later after insert or update on public.things deferrable initially deferred
        for each row execute function public.later();`,
    steps: [
      { file: csv("id,x", "1,a"), changes: [["1", null, { id: "1", x: "a", y: "was a", z: "A", n: "1" }]] },
      {
        file: csv("id,x", "1,bb"),
        changes: [["1", { id: "1", x: "a", y: "was a", z: "A", n: "1" }, {
          id: "1",
          x: "bb",
          y: "was bb",
          z: "BB",
          n: "2",
        }]],
      },
    ],
  },
  {
    name: "what a trigger keeps as it was is no change, and what it gives another key is not found",
    table: `${plain}
      create function public.stay() returns trigger language plpgsql as $$
        begin if new.x = 'stay' then return old; end if; if new.x = 'move' then new.id := 70; end if; return new; end $$;
      create trigger stay before insert or update on public.things for each row execute function public.stay();`,
    isNeverStill: true,
    steps: [
      { file: csv("id,x", "1,a", "7,move"), changes: [inserted("1", "a"), ["7", null, {}]] },
      { sql: "delete from public.things where id = 70", file: csv("id,x", "1,stay"), changes: [] },
    ],
  },
  {
    name: "where a record is refused by a trigger, the others, written part by part",
    table: `${plain}
      create function public.refuse() returns trigger language plpgsql as $$
        begin if new.x = 'no' then raise exception 'no'; end if; return new; end $$;
      create trigger refuse before insert or update on public.things for each row execute function public.refuse();`,
    columns: { reject_limit: 1 },
    steps: [
      { file: csv("id,x", "1,a", "2,no", "3,c"), changes: [inserted("1", "a"), inserted("3", "c")] },
      { file: csv("id,x", "1,no", "2,b", "3,C"), changes: [inserted("2", "b"), ["3", row("3", "c"), row("3", "C")]] },
      // What was refused is tried again at each run, and so nothing is kept of it.
      { file: csv("id,x", "1,no", "2,b", "3,C"), status: "unchanged", changes: [] },
    ],
  },
  {
    name: "unique values that rows swap, each as it was",
    table: "create table public.things (id int primary key, x text not null unique);",
    steps: [
      { file: csv("id,x", "1,a", "2,b"), changes: [inserted("1", "a"), inserted("2", "b")] },
      {
        file: csv("id,x", "1,b", "2,a"),
        changes: [["1", row("1", "a"), row("1", "b")], ["2", row("2", "b"), row("2", "a")]],
      },
    ],
  },
  {
    name: "rows that refer to each other, inserted and updated by one statement",
    table: "create table public.things (id int primary key, x int references public.things);",
    steps: [
      { file: csv("id,x", "1,", "2,1"), changes: [["1", null, row("1", null)], ["2", null, row("2", "1")]] },
      {
        file: csv("id,x", "1,3", "2,1", "3,2"),
        changes: [["1", row("1", null), row("1", "3")], ["3", null, row("3", "2")]],
      },
    ],
  },
  {
    name: "rows that the file lacks, deleted",
    table: plain,
    columns: { absent: "delete", absent_limit: 1 },
    steps: [
      { file: csv("id,x", "1,a", "2,b"), changes: [inserted("1", "a"), inserted("2", "b")] },
      { file: csv("id,x", "2,B"), changes: [["2", row("2", "b"), row("2", "B")], ["1", row("1", "a"), null]] },
    ],
  },
  {
    name: "rows that the file lacks, marked, which is an update, and so is that they come back",
    table: `create table public.things (id int primary key, absent_since timestamptz);
      create function public.noon() returns trigger language plpgsql as $$
        begin if new.absent_since is not null then new.absent_since := '2021-07-01 12:00Z'; end if; return new; end $$;
      create trigger noon before update on public.things for each row execute function public.noon();`,
    columns: { absent: "mark", absent_limit: 1, time_zone: "America/New_York" },
    steps: [
      { file: csv("id,y", "1,", "2,"), changes: ["1", "2"].map((id) => [id, null, { id, absent_since: null }]) },
      {
        file: csv("id,y", "2,"),
        changes: [["1", { id: "1", absent_since: null }, { id: "1", absent_since: "2021-07-01 12:00:00+00" }]],
      },
      {
        file: csv("id,y", "1,", "2,"),
        changes: [["1", { id: "1", absent_since: "2021-07-01 12:00:00+00" }, { id: "1", absent_since: null }]],
      },
    ],
  },
  {
    name: "files of changes, and a reject of an earlier one that loads",
    table: `create table public.parents (id int primary key);
      create table public.things (id int primary key, x int references public.parents);`,
    columns: { contents: "changes", reject_limit: 1 },
    steps: [
      { file: csv("id,x", "1,", "2,7"), changes: [["1", null, row("1", null)]] },
      {
        sql: "insert into public.parents values (7)",
        file: csv("id,x", "3,7"),
        changes: [["3", null, row("3", "7")], ["2", null, row("2", "7")]],
      },
    ],
  },
  {
    name: "a partitioned table, and a row that moves to another partition",
    table: `create table public.things (id int, x text, primary key (id)) partition by range (id);
      create table public.few partition of public.things for values from (0) to (10);
      create table public.many partition of public.things default;`,
    steps: [
      { file: csv("id,x", "1,a", "20,b"), changes: [inserted("1", "a"), inserted("20", "b")] },
      { file: csv("id,x", "1,A", "20,b"), changes: [["1", row("1", "a"), row("1", "A")]] },
    ],
  },
  {
    name: "a key that is spelled otherwise, as it is stored",
    admin: "create extension citext schema public",
    table: "create table public.things (id public.citext primary key, x text);",
    steps: [
      { file: csv("id,x", "Bob,a"), changes: [inserted("Bob", "a")] },
      { file: csv("id,x", "BOB,b"), changes: [["Bob", row("Bob", "a"), row("Bob", "b")]] },
    ],
  },
  {
    name: "names that a statement must quote, and those of the loader's own columns",
    table:
      `create table public.things (number int, key text, "before, after" text, step text, primary key (number, key));`,
    steps: [
      {
        file: csv('number,key,"before, after",step', "1,k,a,x"),
        changes: [["k,1", null, { number: "1", key: "k", "before, after": "a", step: "x" }]],
      },
    ],
  },
  {
    name: "a table of more columns than a function takes arguments",
    table: `create table public.things (id int primary key, ${Array.from({ length: 150 }, (_, i) => `c${i} int`)});`,
    steps: [{
      file: csv("id,c149", "1,5"),
      changes: [["1", null, {
        id: "1",
        ...Object.fromEntries(Array.from({ length: 150 }, (_, i) => [`c${i}`, i === 149 ? "5" : null])),
      }]],
    }],
  },
];

for (const { name, table, columns, admin, steps, isNeverStill } of cases) {
  Deno.test(`kept: ${name}`, async () => {
    await using given = await databaseAndWeb();
    const { db, web } = given;
    if (admin) await db.admin(admin);
    await db.query(table);
    await db.feed("things", { url: `${web.url}/things`, history: "1 day", ...columns });
    for (const { sql, file, status, changes } of steps) {
      if (sql) await db.query(sql);
      web.files["/things"] = file;
      const report = await db.load({ feeds: ["things"], force: true });
      const { status: said, error } = report.feeds[0];
      assert.deepEqual([said, error], [status ?? "changed", null]);
      const kept = await db.query("select key, before, after, target, feed from etl.changes where run = $1", [
        report.run,
      ]);
      const found = kept.map(({ key, before, after }): Change => [Object.values(key).join(), before, after]);
      const byKey = ([a]: Change, [b]: Change) => a < b ? -1 : 1;
      assert.deepEqual(found.sort(byKey), changes.sort(byKey));
      for (const { target, feed } of kept) assert.deepEqual([target, feed], ["public.things", "things"]);
    }
    if (isNeverStill) return;
    const before = await snapshot(db);
    assert.equal((await db.loadOne("things", { force: true })).status, "unchanged");
    assert.deepEqual(await snapshot(db), before);
  });
}

Deno.test("without a history nothing is kept", async () => {
  await using given = await databaseAndWeb(plain);
  const { db, web } = given;
  const texts: string[] = [];
  for (const history of [null, "1 day"]) {
    await db.query("drop table public.things; " + plain);
    await db.feed("things", { url: `${web.url}/things`, absent: "delete", absent_limit: 1, history });
    for (const file of [csv("id,x", "1,a", "2,b"), csv("id,x", "1,A", "3,c")]) {
      web.files["/things"] = file;
      await db.load({ feeds: ["things"] });
    }
    const [{ count }] = await db.query("select count(*)::int from etl.changes");
    texts.push(`${count} rows`);
  }
  assert.deepEqual(texts, ["0 rows", "5 rows"]);
});

Deno.test("a dry run keeps nothing, and neither does a feed that fails", async () => {
  await using given = await databaseAndWeb(plain);
  const { db, web } = given;
  await db.feed("things", { url: `${web.url}/things`, history: "1 day", reject_limit: 0 });
  web.files["/things"] = csv("id,x", "1,a");
  await db.load({ feeds: ["things"], dryRun: true });
  web.files["/things"] = csv("id,x", "1,a", "x,b");
  await db.load({ feeds: ["things"] });
  assert.deepEqual(await db.query("select * from etl.changes"), []);
});

Deno.test("a row that another session inserted meanwhile is kept as that one left it", async () => {
  await using given = await databaseAndWeb(`${plain}
    create function public.meanwhile() returns trigger language plpgsql as $$
      begin perform pg_advisory_xact_lock_shared(7); return null; end $$;
    create trigger meanwhile before insert on public.things execute function public.meanwhile();`);
  const { db, web } = given;
  await db.feed("things", { url: `${web.url}/things`, history: "1 day" });
  web.files["/things"] = csv("id,x", "1,a", "2,b");
  // The run is at its write, and has compared its records with an empty table.
  await db.admin("begin; select pg_advisory_xact_lock(7)");
  const loading = db.load({ feeds: ["things"] });
  await until(
    "the run waits",
    async () =>
      (await db.query("select from pg_locks where locktype = 'advisory' and objid = 7 and not granted")).length > 0,
  );
  await db.admin("set session_replication_role = replica; insert into public.things values (2, 'theirs'); commit");
  const { run, feeds: [{ error }] } = await loading;
  assert.equal(error, null);
  const kept = await db.query("select before, after from etl.changes where run = $1 order by after ->> 'id'", [run]);
  assert.deepEqual(kept, [
    { before: null, after: row("1", "a") },
    { before: row("2", "theirs"), after: row("2", "b") },
  ]);
});

Deno.test("a row that is kept as it was is changed by nobody else until the run is over", async () => {
  await using given = await databaseAndWeb(`${plain}
    insert into public.things values (1, 'a');
    create function public.meanwhile() returns trigger language plpgsql as $$
      begin perform pg_advisory_xact_lock_shared(7); return null; end $$;
    create trigger meanwhile before update on public.things execute function public.meanwhile();`);
  const { db, web } = given;
  await db.feed("things", { url: `${web.url}/things`, history: "1 day" });
  web.files["/things"] = csv("id,x", "1,b");
  const waits = (locktype: string) => async () =>
    (await db.query("select from pg_locks where locktype = $1 and not granted", [locktype])).length > 0;
  await db.query("select pg_advisory_lock(7)");
  const loading = db.load({ feeds: ["things"] });
  await until("the run waits", waits("advisory"));
  const theirs = db.admin("set session_replication_role = replica; update public.things set x = 'theirs'");
  const first = await Promise.race([
    theirs.then(() => "theirs is written over"),
    until("theirs waits", waits("transactionid")).then(() => "theirs waits"),
  ]);
  assert.equal(first, "theirs waits");
  await db.query("select pg_advisory_unlock(7)");
  await Promise.all([loading, theirs]);
  assert.deepEqual(await db.query("select before, after from etl.changes"), [
    { before: row("1", "a"), after: row("1", "b") },
  ]);
  assert.deepEqual(await db.query("select x from public.things"), [{ x: "theirs" }]);
});

Deno.test("what changed, old and new, value by value", async () => {
  await using given = await databaseAndWeb("create table public.things (id int primary key, x text, y int);");
  const { db, web } = given;
  await db.feed("things", { url: `${web.url}/things`, history: "3 days", absent: "delete", absent_limit: 1 });
  for (const file of [csv("id,x,y", "1,a,1", "2,b,2"), csv("id,x,y", "1,A,1", "3,,3")]) {
    web.files["/things"] = file;
    await db.load({ feeds: ["things"] });
  }
  const changed = (args: string) =>
    db.query(`select concat_ws(' ', change, key ->> 'id', column_name, coalesce(old, '-'), coalesce(new, '-')) as line
      from etl.changed(${args})`)
      .then((rows) => rows.map(({ line }) => line).sort());
  const first = ["inserted 1 id - 1", "inserted 1 x - a", "inserted 1 y - 1"];
  const second = ["inserted 2 id - 2", "inserted 2 x - b", "inserted 2 y - 2"];
  const later = ["deleted 2 id 2 -", "deleted 2 x b -", "deleted 2 y 2 -", "inserted 3 id - 3", "inserted 3 y - 3"];
  const all = [...first, ...second, ...later, "updated 1 x a A"].sort();
  assert.deepEqual(await changed(""), all);
  assert.deepEqual(await changed("'things'"), all);
  assert.deepEqual(await changed("'trips'"), []);
  assert.deepEqual(await changed("'things', now()"), []);
  assert.deepEqual(await changed("'things', until => now() - interval '1 hour'"), []);
});

Deno.test("what is older than the feed wants goes: with the next change of the feed, or by etl.purge()", async () => {
  await using given = await databaseAndWeb(plain);
  const { db, web } = given;
  const kept = async () =>
    (await db.query("select feed, after ->> 'x' as x from etl.changes order by 1, 2")).map(({ feed, x }) =>
      `${feed} ${x}`
    );
  await db.feed("things", { url: `${web.url}/things`, history: "2 days" });
  const load = async (x: string) => {
    web.files["/things"] = csv("id,x", `1,${x}`);
    await db.load({ feeds: ["things"] });
  };
  const age = (days: number) => db.query("update etl.changes set at = at - $1 * interval '1 day'", [days]);
  await load("a");
  await age(1);
  await load("b");
  assert.deepEqual(await kept(), ["things a", "things b"]);
  await age(1.5);
  const before = await snapshot(db);
  await db.load({ feeds: ["things"], force: true });
  assert.deepEqual(await snapshot(db), before, "a run that changes nothing takes nothing away");
  await load("c");
  assert.deepEqual(await kept(), ["things b", "things c"]);
  // Renamed, it keeps what it has.
  await db.query("update etl.feeds set name = 'stuff' where name = 'things'");
  assert.deepEqual(await kept(), ["stuff b", "stuff c"]);
  await db.query(
    "insert into etl.changes (feed, run, number, target, key) select 'gone', run, 1, 'x', '{}' from etl.changes limit 1",
  );
  await db.query("select etl.purge()");
  assert.deepEqual(await kept(), ["stuff b", "stuff c"], "and what is no feed's goes");
  await age(1);
  await db.query("select etl.purge()");
  assert.deepEqual(await kept(), ["stuff c"]);
  await db.query("update etl.feeds set history = null where name = 'stuff'");
  await db.query("select etl.purge()");
  assert.deepEqual(await kept(), []);
});
