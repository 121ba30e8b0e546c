/**
 * What this project expects of pg_net and Vault. Run by `deno task test:cron` against the stand-ins, pg_net's in the
 * manner of each version, and against the real extensions by hand, as CONTRIBUTING.md says:
 * NET_DATABASE_URL=postgres://… deno test -A tests/schedule/cron/stand_ins.ts
 * That database must reach this machine's loopback; every request and secret of the test is of no consequence.
 */
// @ts-types="@types/pg"
import pg from "pg";
import assert from "node:assert/strict";
import { until } from "../../support/waiting.ts";
import { serve } from "../../support/web.ts";
import type { PgNet } from "../past.ts";
import { startNetWorker, versions } from "./net_worker.ts";

const real = Deno.env.get("NET_DATABASE_URL");

async function connect(version?: PgNet) {
  const worker = real ? undefined : await startNetWorker(Deno.env.get("ADMIN_DATABASE_URL")!, version);
  const client = new pg.Client(real ?? Deno.env.get("DATABASE_URL"));
  await client.connect();
  return {
    query: async (sql: string, values?: unknown[]) => (await client.query(sql, values)).rows,
    async [Symbol.asyncDispose]() {
      await client.end();
      await worker?.[Symbol.asyncDispose]();
    },
  };
}

type Connection = Awaited<ReturnType<typeof connect>>;

/** A test of the real pg_net, or of its stand-in in the manner of each version. */
function contract(expected: string, test: (db: Connection) => Promise<void>): void {
  for (const version of real ? [undefined] : Object.keys(versions) as PgNet[]) {
    Deno.test(`pg_net${version ? ` as of ${version}` : ""}: ${expected}`, async () => {
      await using db = await connect(version);
      await test(db);
    });
  }
}

const answerTo = (db: Connection, id: string) =>
  until(`an answer to request ${id}`, async () => {
    const [answer] = await db.query("select * from net._http_response where id = $1", [id]);
    return answer;
  });

async function post(db: Connection, url: string, named = ""): Promise<string> {
  return (await db.query(`select net.http_post(url => $1${named}) as id`, [url]))[0].id;
}

contract("the signatures and columns that the schedule and its health rely on", async (db) => {
  const [{ arguments: args, result }] = await db.query(
    `select pg_get_function_arguments(oid) as arguments, pg_get_function_result(oid) as result
    from pg_proc where oid = 'net.http_post'::regproc`,
  );
  assert.equal(
    args.toLowerCase(),
    `url text, body jsonb default '{}'::jsonb, params jsonb default '{}'::jsonb, ` +
      `headers jsonb default '{"content-type": "application/json"}'::jsonb, timeout_milliseconds integer default 5000`,
  );
  assert.equal(result, "bigint");
  const columns = await db.query(
    `select relname || '.' || attname || ' ' || format_type(atttypid, atttypmod) as name
    from pg_attribute join pg_class c on c.oid = attrelid
    where attrelid in ('net._http_response'::regclass, 'net.http_request_queue'::regclass) and attnum > 0`,
  );
  const names = columns.map((column) => column.name);
  for (
    const name of [
      ...["id bigint", "status_code integer", "content_type text", "headers jsonb", "content text"],
      ...["timed_out boolean", "error_msg text", "created timestamp with time zone"],
    ].map((column) => `_http_response.${column}`)
  ) assert.ok(names.includes(name), name);
  assert.ok(names.includes("http_request_queue.url text"));
  const persistence = await db.query(
    `select distinct relpersistence from pg_class
    where oid in ('net._http_response'::regclass, 'net.http_request_queue'::regclass)`,
  );
  assert.deepEqual(persistence, [{ relpersistence: "u" }], "unlogged: empty after a crash");
});

contract(
  "a request is sent after its transaction has committed, once, and never where it is rolled back",
  async (db) => {
    const bodies: string[] = [];
    await using web = serve({
      "/hook": async (request) => {
        bodies.push(`${request.method} ${request.headers.get("x-key")} ${await request.text()}`);
        return new Response('{"fine":true}', { headers: { "X-TDC-ETL": "1", "content-type": "application/json" } });
      },
      "/never": () => new Response("no"),
    });
    await db.query("begin");
    await post(db, `${web.url}/never`);
    await db.query("rollback");
    await db.query("begin");
    const id = await post(
      db,
      `${web.url}/hook`,
      `, body => '{"a":1}', headers => '{"Content-Type":"application/json","x-key":"k"}', timeout_milliseconds => 9000`,
    );
    // In autocommit another connection's request would be here by now.
    await using other = await connectPlain();
    await answerTo(db, await post(other, `${web.url}/hook`));
    assert.equal(bodies.length, 1);
    await db.query("commit");
    const answer = await answerTo(db, id);
    assert.deepEqual([answer.status_code, answer.content, answer.timed_out, answer.error_msg], [
      200,
      '{"fine":true}',
      false,
      null,
    ]);
    assert.equal(Object.entries(answer.headers).find(([name]) => name.toLowerCase() === "x-tdc-etl")?.[1], "1");
    assert.deepEqual(bodies, ["POST null {}", 'POST k {"a": 1}']);
    assert.ok(!web.log.some((line) => line.includes("/never")));
  },
);

async function connectPlain(): Promise<Connection> {
  const client = new pg.Client(real ?? Deno.env.get("DATABASE_URL"));
  await client.connect();
  return {
    query: async (sql, values) => (await client.query(sql, values)).rows,
    [Symbol.asyncDispose]: () => client.end(),
  };
}

contract(
  "401 and 500 are answers like any other; a dead or slow server is told, and nothing is tried again",
  async (db) => {
    const silent = Promise.withResolvers<Response>();
    await using web = serve({
      "/401": () => new Response("no", { status: 401 }),
      "/500": () => new Response("oh", { status: 500 }),
      "/slow": () => silent.promise,
    });
    for (const status of [401, 500]) {
      const answer = await answerTo(db, await post(db, `${web.url}/${status}`));
      assert.deepEqual([answer.status_code, answer.timed_out, answer.error_msg], [status, false, null]);
    }
    const slow = await answerTo(db, await post(db, `${web.url}/slow`, ", timeout_milliseconds => 200"));
    silent.resolve(new Response());
    assert.equal(slow.status_code, null);
    // Before 0.19.6 timed_out is null, and the words alone tell.
    assert.notEqual(slow.timed_out, false);
    assert.match(slow.error_msg, /^timeout/i);
    const dead = await answerTo(db, await post(db, "http://127.0.0.1:1/"));
    assert.equal(dead.status_code, null);
    assert.notEqual(dead.timed_out, true);
    assert.match(dead.error_msg, /connect/i);
    assert.deepEqual(web.log.toSorted(), ["POST /401 401", "POST /500 500", "POST /slow 200"]);
  },
);

contract(
  "a call in flight is not in the queue, or its delete is not committed yet; its answer is dated after it",
  async (db) => {
    const silent = Promise.withResolvers<Response>();
    const called = Promise.withResolvers<void>();
    await using web = serve({
      "/silent": () => {
        called.resolve();
        return silent.promise;
      },
    });
    const [{ before }] = await db.query("select clock_timestamp() as before");
    const id = await post(db, `${web.url}/silent`, ", timeout_milliseconds => 20000");
    await called.promise;
    const waits = "select from net.http_request_queue where id = $1 and xmax = '0'::xid";
    assert.deepEqual(await db.query(waits, [id]), []);
    silent.resolve(new Response("at last"));
    const answer = await answerTo(db, id);
    assert.ok(answer.created >= before, `${answer.created} is before ${before}`);
  },
);

Deno.test("pg_net: pg_stat_activity shows its worker to whoever may see the processes of others", async () => {
  await using db = await connect();
  const workers = await db.query("select from pg_stat_activity where backend_type ilike '%pg_net%'");
  assert.equal(workers.length, real ? 1 : 0, "the stand-in is no background worker");
});

contract(
  "a null URL fails with a message that quotes the headers, which is why etl.invoke() goes before it",
  async (db) => {
    await assert.rejects(
      db.query(
        `select net.http_post(url => null, headers => '{"Content-Type":"application/json","X-Key":"shown"}')`,
      ),
      (error: { code: string; detail: string }) => error.code === "23502" && error.detail.includes("shown"),
    );
    await assert.rejects(
      db.query(`select net.http_post('http://127.0.0.1:1/', headers => '{"content-type":"text/csv"}')`),
    );
  },
);

Deno.test("Vault: a secret is made, found by its name, and changed", async () => {
  await using db = await connect();
  const name = `tdc-etl contract ${crypto.randomUUID()}`;
  const read = async () =>
    (await db.query("select * from vault.decrypted_secrets where name = $1", [name]))[0] as Record<string, string>;
  const [{ id }] = await db.query("select vault.create_secret($1, $2, $3) as id", ["s3cret", name, "a test"]);
  try {
    const { id: found, description, secret, decrypted_secret } = await read();
    assert.deepEqual([found, description, decrypted_secret], [id, "a test", "s3cret"]);
    assert.notEqual(secret, "s3cret");
    await db.query("select vault.update_secret($1, $2)", [id, "n3xt"]);
    assert.deepEqual([(await read()).decrypted_secret, (await read()).description], ["n3xt", "a test"]);
    await assert.rejects(db.query("select vault.create_secret('x', $1)", [name]), /duplicate|unique/);
  } finally {
    await db.query("delete from vault.secrets where id = $1", [id]);
  }
});
