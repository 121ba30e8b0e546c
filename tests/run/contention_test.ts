/** Others are at work in the database while a run is: it says what is in its way, costs no other feed, and the next run repairs. */
import assert from "node:assert/strict";
import { type Database, database, freshDatabase } from "../support/database.ts";
import { databaseAndWeb, type Given } from "../support/given.ts";
import { until } from "../support/waiting.ts";
import { serve, withEtag } from "../support/web.ts";

interface Contention extends Given {
  /** Another session. */
  other: Database;
}

const feeds = ["others", "parents", "things"];

/** Things refer to parents; others to nothing. All are loaded once, and then have something new. */
async function given(): Promise<Contention> {
  await using stack = new AsyncDisposableStack();
  const tables = `create table public.parents (id text primary key, name text);
    create table public.others (id text primary key, name text check (name <> ''));
    create table public.things (id text primary key, name text check (name <> ''), parent_id text references public.parents)`;
  const { db, web } = stack.use(await databaseAndWeb(tables, {}, true));
  const other = stack.use(await database(db.name));
  for (const version of ["old", "new"]) {
    web.files["/others"] = web.files["/parents"] = `id,name\n1,${version}\n`;
    web.files["/things"] = `id,name,parent_id\n1,${version},1\n`;
    for (const name of feeds) await db.feed(name, { url: `${web.url}/${name}`, reject_limit: 1 });
    if (version === "old") assert.equal((await db.load({ feeds })).status, "changed");
  }
  const all = stack.move();
  return { db, other, web, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

const names = async ({ other }: Contention) =>
  (await other.query(
    "select (select name from others) as others, (select name from parents) as parents, (select name from things) as things",
  ))[0];

const copying = async (db: Database) =>
  (await db.admin("select from pg_stat_activity where query like 'copy pg_temp.etl_staging%'")).length > 0;

const withSetting = (url: string, setting: string) => `${url}&options=-c%20${encodeURIComponent(setting)}`;

/** Things fail with this code and these words, the other feeds load; `mend`, and the next run loads things. */
async function failsAlone(
  here: Contention,
  run: { databaseUrl?: string },
  code: string,
  message: RegExp,
  mend: () => unknown,
): Promise<void> {
  const report = await here.db.load({ feeds, ...run });
  const errors = Object.fromEntries(report.feeds.map(({ feed, error }) => [feed, error]));
  assert.deepEqual([errors.others, errors.parents], [null, null]);
  const error = errors.things!;
  assert.equal(error.code, code, error.message);
  assert.match(error.message, message);
  assert.ok(error.hint, error.message);
  assert.deepEqual(await names(here), { others: "new", parents: "new", things: "old" });
  const [{ ledger }] = await here.db.query(
    "select json_object_agg(feed, status) as ledger from etl.runs where run = $1",
    [report.run],
  );
  assert.deepEqual(ledger, { others: "changed", parents: "changed", things: "failed" });
  await mend();
  const next = await here.db.load({ feeds });
  assert.deepEqual(next.feeds.map((feed) => feed.error), [null, null, null]);
  assert.deepEqual(await names(here), { others: "new", parents: "new", things: "new" });
}

Deno.test("a lock that another session holds", async (t) => {
  for (const lock of ["access exclusive", "share row exclusive"]) {
    await t.step(lock, async () => {
      await using here = await given();
      await here.other.query(`begin; lock table public.things in ${lock} mode`);
      const databaseUrl = withSetting(here.db.url, "lock_timeout=200ms");
      const words = /^Cannot load things: another session holds a lock on its table, or on one it refers to$/;
      await failsAlone(here, { databaseUrl }, "lock_not_available", words, () => here.other.query("rollback"));
    });
  }
});

Deno.test("a deadlock with another session", async () => {
  await using here = await given();
  const { db, other } = here;
  await db.admin(`alter database ${db.name} set deadlock_timeout = '50ms'`);
  await other.admin("set deadlock_timeout = '1h'");
  // The run has written others, and comes to things once the other session, which has these, waits for others.
  await db.query(`create function public.linger() returns trigger language plpgsql as $$
      begin perform pg_advisory_xact_lock(7); return null; end $$;
    create trigger linger after update on public.others execute function public.linger();
    select pg_advisory_lock(7)`);
  const waiters = async () => (await db.query("select from pg_locks where not granted")).length;
  let waiting: Promise<unknown> | undefined;
  const meanwhile = (async () => {
    await until("others are written", async () => await waiters() > 0);
    await other.admin("begin; update public.things set name = name");
    waiting = other.admin("update public.others set name = name; rollback");
    await until("the other session waits", async () => await waiters() > 1);
    await db.query("select pg_advisory_unlock(7)");
  })();
  const words = /^Cannot load things: it and another session waited for each other/;
  await failsAlone(here, {}, "deadlock_detected", words, async () => {
    await meanwhile;
    await waiting;
  });
});

Deno.test("a role with a stricter isolation level is not in the way of others", async (t) => {
  for (const level of ["serializable", "repeatable read"]) {
    await t.step(level, async () => {
      await using here = await given();
      const { db, other, web } = here;
      const things = web.files["/things"];
      web.files["/things"] = async () => {
        await other.query("update public.things set name = 'between'");
        return new Response(things as string);
      };
      await db.query(`alter role current_user in database ${db.name}
        set default_transaction_isolation = '${level}'`);
      const report = await db.load({ feeds });
      assert.deepEqual(report.feeds.map(({ error, status }) => error ?? status), ["changed", "changed", "changed"]);
      assert.deepEqual(await names(here), { others: "new", parents: "new", things: "new" });
    });
  }
});

Deno.test("a database that is read-only says so", async () => {
  await using here = await given();
  const databaseUrl = withSetting(here.db.url, "default_transaction_read_only=on");
  await assert.rejects(here.db.load({ feeds, databaseUrl }), {
    code: "read_only_sql_transaction",
    message: "Cannot run: the database is read-only",
    hint: /disk.*default_transaction_read_only/,
  });
});

const wide = Array.from({ length: 20_000 }, (_, n) => `${n},name ${n},1\n`).join("");

Deno.test("a disk that is full, as far as a limit stands for it", async () => {
  await using here = await given();
  const { db, web } = here;
  const settings = ["temp_file_limit = '100kB'", "work_mem = '64kB'"];
  const alter = (change: string) => db.admin(`alter database ${db.name} ${change}`);
  const things = web.files["/things"];
  web.files["/things"] = `id,name,parent_id\n${wide}`;
  for (const setting of settings) await alter(`set ${setting}`);
  await failsAlone(
    here,
    {},
    "configuration_limit_exceeded",
    /^Cannot load things: temporary file size exceeds .?temp_file_limit/,
    async () => {
      await alter("reset all");
      web.files["/things"] = things;
    },
  );
});

Deno.test("a parent that is deleted while its child loads", async () => {
  await using here = await given();
  const { db, other } = here;
  await here.db.query(`create function public.linger() returns trigger language plpgsql as $$
      begin perform pg_advisory_xact_lock(7); return null; end $$;
    create trigger linger before insert on public.things execute function public.linger()`);
  await db.query("update public.things set parent_id = null");
  await other.query("select pg_advisory_lock(7)");
  const meanwhile = (async () => {
    await until(
      "things are about to be written",
      async () => (await db.query("select from pg_locks where not granted")).length > 0,
    );
    await other.query("delete from public.parents; select pg_advisory_unlock(7)");
  })();
  const report = await db.load({ feeds: ["others", "things"] });
  await meanwhile;
  const [others, things] = report.feeds;
  assert.equal(others.status, "changed");
  assert.equal(things.error?.code, "foreign_key_violation");
  assert.match(
    things.error!.message,
    /^Cannot load things: .*violates foreign key constraint "things_parent_id_fkey"$/,
  );
  assert.match(things.error!.hint!, /deleted meanwhile/);
  assert.deepEqual(await names(here), { others: "new", parents: null, things: "old" });

  const next = await db.load({ feeds });
  assert.deepEqual(next.feeds.map((feed) => feed.error), [null, null, null]);
  assert.deepEqual(await names(here), { others: "new", parents: "new", things: "new" });
});

const changes: Record<string, { change: string; back: string; ignored?: string[]; missing?: RegExp }> = {
  "a column is dropped": { change: "drop column name", back: "add column name text", ignored: ["name"] },
  "a column is required": { change: "add column size int not null", back: "drop column size", missing: /size/ },
  "a column is renamed": {
    change: "rename column name to title",
    back: "rename column title to name",
    ignored: ["name"],
  },
};

Deno.test("a table that is altered while its feed is fetched is taken as it is at the merge", async (t) => {
  for (const [name, { change, back, ignored, missing }] of Object.entries(changes)) {
    await t.step(name, async () => {
      await using here = await given();
      const { db, other, web } = here;
      const things = web.files["/things"] as string;
      const [header, row] = things.split(/(?<=\n)/);
      if (/required/.test(name)) await db.query("delete from public.things");
      let altered = false;
      const body = async function* () {
        yield header;
        for (; !altered; yield row.repeat(5000)) {
          if (await copying(db)) altered = !!await other.query(`alter table public.things ${change}`);
        }
      };
      web.files["/things"] = () => new Response(ReadableStream.from(body()).pipeThrough(new TextEncoderStream()));
      const report = await db.load({ feeds });
      const { error, ignored_columns } = report.feeds.find(({ feed }) => feed === "things")!;
      if (missing) assert.match(error!.message, missing);
      assert.equal(error?.code, missing && "columns");
      assert.deepEqual(ignored_columns, ignored ?? []);
      await other.query(`alter table public.things ${back}`);
      web.files["/things"] = things;
      assert.equal((await db.load({ feeds })).status, "changed");
      assert.deepEqual(await names(here), { others: "new", parents: "new", things: "new" });
    });
  }
});

Deno.test("a feed that is redefined while it is fetched is loaded again", async () => {
  await using here = await given();
  const { db, other, web } = here;
  const things = "id,name,parent_id\n1,caf\u00e9,1\n";
  await db.query("update etl.feeds set encoding = 'windows-1252' where name = 'things'");
  web.files["/things"] = async (request) => {
    const response = await withEtag(request, things);
    if (response.status === 200) await other.query("update etl.feeds set encoding = 'utf-8' where name = 'things'");
    return response;
  };
  for (const [status, name] of [["changed", "caf\u00c3\u00a9"], ["changed", "caf\u00e9"], ["unchanged", "caf\u00e9"]]) {
    assert.equal((await db.load({ feeds })).status, status);
    assert.equal((await names(here)).things, name);
  }
});

Deno.test("two runs at once: one runs, the other says so", async () => {
  await using db = await freshDatabase();
  const { promise: arrived, resolve: arrive } = Promise.withResolvers<void>();
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  await using web = serve({
    "/drivers.json": async () => {
      arrive();
      await released;
      return new Response("[]");
    },
  });
  await db.pointAt(web.url);
  const one = db.loadOne("drivers", { patience: { stallMs: 30_000, retryMs: [] } });
  await arrived;
  await assert.rejects(db.load(), { code: "busy", message: "another run is under way" });
  release();
  assert.equal((await one).status, "unchanged");
});

Deno.test("a wide feed is loaded again where a column came that was staged as a byte", async () => {
  await using here = await given();
  const { db, other, web } = here;
  const wide = Array.from({ length: 300 }, (_, n) => `c${n}`);
  let altered = false;
  const body = async function* () {
    yield ["id,name,size", ...wide].join() + "\n";
    const row = ["1,wide,four", ...wide].join() + "\n";
    for (; !altered; yield row.repeat(100)) {
      if (await copying(db)) altered = !!await other.query("alter table public.others add column size text");
    }
    yield row;
  };
  web.files["/others"] = () => new Response(ReadableStream.from(body()).pipeThrough(new TextEncoderStream()));
  const report = await db.load({ feeds });
  const error = report.feeds.find(({ feed }) => feed === "others")!.error;
  assert.equal(error?.code, "columns");
  assert.match(error!.message, /given a column while it was staged/);
  assert.equal((await db.loadOne("others")).status, "changed");
  assert.deepEqual(await db.query("select name, size from public.others"), [{ name: "wide", size: "four" }]);
});
