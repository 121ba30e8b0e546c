/** The database's own faults: it cannot be reached, or it goes away in the middle. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createConnection } from "node:net";
import { connectionLost } from "../../lib/database/failures.ts";
import { load } from "../../lib/load.ts";
import { EtlError } from "../../lib/errors.ts";
import { type Database, freshDatabase } from "../support/database.ts";
import { snapshot } from "../support/snapshot.ts";
import { serve } from "../support/web.ts";

Deno.test("a database that cannot be reached is named, its password is not", async (t) => {
  await using db = await freshDatabase();
  const at = (change: (url: URL) => void) => {
    const url = new URL(db.url);
    url.password = "s3cret";
    change(url);
    return url.href;
  };
  const unreachable: Record<string, [databaseUrl: string, code: string, message: RegExp]> = {
    "a wrong password": [at(() => {}), "invalid_password", /the password is wrong/],
    "an unknown role": [at((url) => url.username = "nobody_knows"), "invalid_password", /password is wrong/],
    "an unknown database": [db.urlOf("no_such_database"), "invalid_catalog_name", /the database does not exist/],
    "a dead port": [at((url) => url.port = "1"), "connection_refused", /no server answers there/],
    "an unknown host": [at((url) => url.hostname = "nowhere.invalid"), "unknown_host", /the host is unknown/],
    "no URL": ["postgres://ana:s3cret@[/x", "database_url", /its URL cannot be read/],
    "a port that is none": ["postgres://ana:s3c%ret@127.0.0.1:x/y", "database_url", /its URL cannot be read/],
  };
  for (const [name, [databaseUrl, code, message]] of Object.entries(unreachable)) {
    await t.step(name, async () => {
      const error = await load({ databaseUrl }).then(() => null, (error) => error);
      assert.ok(error instanceof EtlError);
      assert.equal(error.code, code, error.message);
      assert.match(error.message, /^Cannot connect to the database: /);
      assert.match(error.message, message);
      assert.ok(error.hint);
      assert.doesNotMatch(error.message + error.hint, /s3c/);
    });
  }
});

Deno.test("a database that is not migrated says so", async () => {
  await using db = await freshDatabase("template1");
  await assert.rejects(db.load(), { name: "EtlError", code: "not_migrated" });
});

/** Ends the loader's connection once it runs a statement like this; returns whether it did. */
const kill = async (db: Database, statement: string) =>
  (await db.admin(
    `select pg_terminate_backend(pid) from pg_stat_activity
    where application_name = 'tdc-etl' and datname = current_database() and query ilike $1`,
    [statement],
  )).length > 0;

/** A body that sends rows until the loader is in COPY, ends its connection, and then goes on, ends or stalls. */
function deadly(db: Database, then: string): Response {
  const row = new TextEncoder().encode("0123456789\n".repeat(6000));
  const { promise: cancelled, resolve: cancel } = Promise.withResolvers<void>();
  let killed = false;
  return new Response(
    new ReadableStream({
      start: (body) => body.enqueue(new TextEncoder().encode("id\n")),
      async pull(body) {
        killed ||= await kill(db, "copy %");
        if (!killed || then === "goes on") return body.enqueue(row);
        if (then === "stalls") await cancelled;
        else body.close();
      },
      cancel,
    }),
  );
}

Deno.test("a connection that is lost rejects the run and keeps nothing of it", async (t) => {
  await using db = await freshDatabase();
  await db.query("create table public.things (id text primary key); create table public.firsts (id text primary key)");
  await using web = serve({ "/firsts": "id\n1\n" });
  for (const name of ["firsts", "things"]) await db.feed(name, { url: `${web.url}/${name}` });
  const before = await snapshot(db);
  const refused = { name: "EtlError", message: /^the connection to the database was lost: [^0]*$/ };

  await t.step("before the answer", async () => {
    web.files["/things"] = async () => {
      assert.ok(await kill(db, "savepoint %"));
      return new Response("id\n1\n");
    };
    await assert.rejects(db.load({ feeds: ["firsts", "things"] }), refused);
    assert.deepEqual(await snapshot(db), before);
  });
  for (const then of ["goes on", "ends", "stalls"]) {
    await t.step(`in COPY, while the body ${then}`, async () => {
      web.files["/things"] = () => deadly(db, then);
      await assert.rejects(db.load({ feeds: ["firsts", "things"] }), refused);
      assert.deepEqual(await snapshot(db), before);
    });
  }
  await t.step("and the next run loads", async () => {
    web.files["/things"] = "id\n1\n";
    assert.equal((await db.loadOne("things")).inserted, 1);
  });
});

Deno.test("a socket that has ended, written to before the driver hears of it, is a connection lost", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const socket = createConnection(listener.addr.port, "127.0.0.1").resume();
  (await listener.accept()).close();
  await once(socket, "end");
  socket.write("");
  const [error] = await once(socket, "error");
  assert.equal(connectionLost(error)?.code, "connection_lost");
});

Deno.test("a full disk is the database's fault, not the file's", async () => {
  await using db = await freshDatabase();
  await using web = serve({ "/drivers.json": '[{"id":"1"}]' });
  await db.feed("drivers", { url: `${web.url}/drivers.json`, target: "public.drivers" });
  await db.query(
    "create function public.fail() returns trigger language plpgsql as $$ begin raise 'disk full' using errcode = '53100'; end $$",
  );
  await db.query("create trigger fail before insert on public.drivers execute function public.fail()");
  const { error } = await db.loadOne("drivers");
  assert.equal(error?.code, "disk_full");
  // The trigger plays it, and what a trigger says is not shown.
  assert.match(error!.message, /^Cannot load drivers: fail\(\)/);
  assert.match(error!.hint!, /^The database's disk is full/);
});
