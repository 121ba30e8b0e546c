/** What a role or a database may have set, and the loader must not mind, or must say. */
import assert from "node:assert/strict";
import { load } from "../../lib/load.ts";
import { migrate } from "../../lib/local/migrate.ts";
import { database, freshDatabase } from "../support/database.ts";
import { serve } from "../support/web.ts";

const settings = {
  standard_conforming_strings: "off",
  transaction_timeout: "300ms",
  statement_timeout: "300ms",
  default_transaction_isolation: "serializable",
  datestyle: "German",
  intervalstyle: "sql_standard",
  bytea_output: "escape",
  check_function_bodies: "off",
};

for (const [name, value] of Object.entries(settings)) {
  Deno.test(`a role with ${name} = ${value} loads as any other`, async () => {
    await using db = await freshDatabase();
    const slowly = () =>
      new Response(
        new ReadableStream<Uint8Array>({
          start: async (body) => {
            body.enqueue(new TextEncoder().encode("id,v,at\n"));
            await new Promise((resume) => setTimeout(resume, 600));
            body.enqueue(new TextEncoder().encode("1,a\\b,2021-07-01 00:00\nx,y,\n"));
            body.close();
          },
        }),
      );
    await using web = serve({ "/x": slowly });
    await db.query("create table public.x (id int primary key, v text check (v ~ '^\\w'), at timestamptz)");
    await db.feed("x", { url: `${web.url}/x`, reject_limit: 0.5 });
    const url = new URL(db.url);
    url.searchParams.set("options", `-c ${name}=${value}`);
    const { feeds: [{ error, inserted, rejected }] } = await load({ databaseUrl: url.href, feeds: ["x"] });
    assert.deepEqual([error, inserted, rejected], [null, 1, 1]);
    assert.deepEqual(await db.query("select v, at at time zone 'UTC' = '2021-07-01' as right from public.x"), [
      { v: "a\\b", right: true },
    ]);
  });
}

Deno.test("where Citus is, a run writes shard after shard; where it is not, nothing is set", async () => {
  await using db = await freshDatabase();
  await using web = serve({ "/x": "id\n1\n" });
  await db.query(`create table public.x (id int primary key, mode text);
    create function public.note() returns trigger language plpgsql as $$
      begin new.mode := current_setting('citus.multi_shard_modify_mode', true); return new; end $$;
    create trigger note before insert on public.x for each row execute function public.note()`);
  await db.feed("x", { url: `${web.url}/x` });
  const there = new URL(db.url);
  there.searchParams.set("options", "-c citus.multi_shard_modify_mode=parallel");
  for (const [url, mode] of [[db.url, null], [there.href, "sequential"]]) {
    await db.query("truncate public.x");
    const { status } = await load({ databaseUrl: url!, feeds: ["x"], force: true });
    assert.deepEqual([status, await db.query("select mode from public.x")], ["changed", [{ mode }]]);
  }
});

for (const encoding of ["LATIN1", "EUC_JP", "SQL_ASCII"]) {
  Deno.test(`a database in ${encoding} is not migrated, and told why`, async () => {
    const name = `tdc_etl_${encoding.toLowerCase()}_${crypto.randomUUID().slice(0, 8)}`;
    await using server = await database("postgres");
    await server.query(
      `create database ${name} encoding '${encoding}' template template0 locale_provider libc locale 'C'`,
    );
    try {
      await assert.rejects(migrate(server.urlOf(name)), {
        code: "database_encoding",
        message: `Cannot migrate: the database's encoding is ${encoding}, and it must be UTF8`,
      });
      await using other = await database(name);
      assert.deepEqual(await other.query("select nspname from pg_namespace where nspname ~ '^(etl|supabase)'"), []);
    } finally {
      await server.query(`drop database ${name} with (force)`);
    }
  });
}
