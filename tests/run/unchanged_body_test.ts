/** How a body that has not changed is found out: by its validators, by its length and hash, and when none of them counts. */
import assert from "node:assert/strict";
import { countsOf } from "../support/counts.ts";
import { freshDatabase } from "../support/database.ts";
import { databaseAndWeb } from "../support/given.ts";
import { snapshot } from "../support/snapshot.ts";
import { serve } from "../support/web.ts";
import { drivers, files } from "../support/partners.ts";

Deno.test("a new rule or column of the table is obeyed by the next run, though the feed has not changed", async () => {
  await using db = await freshDatabase();
  await using web = serve(files(), true);
  await db.pointAt(web.url);
  await db.load();
  await db.query("alter table public.drivers add column shoe_size int");
  web.files["/drivers.json"] = JSON.stringify(drivers.map((driver) => ({ ...driver, shoe_size: 38 })));
  await db.load();
  await db.query("alter table public.drivers add column nickname text");
  assert.equal((await db.loadOne("drivers")).status, "unchanged");
  assert.equal(web.log.at(-1), "GET /drivers.json 200", "the validators do not count after the change");
  await db.loadOne("drivers");
  assert.equal(web.log.at(-1), "GET /drivers.json 304", "and count again after it");
});

/** A feed whose server sends what it is told to, without validators. */
async function bareFeed() {
  let bodies: string[] = [], gets = 0, chunked = false;
  const given = await databaseAndWeb("create table public.things (id text primary key, name text)", {
    "/things": () => {
      gets++;
      const body = bodies.length > 1 ? bodies.shift()! : bodies[0];
      return new Response(chunked ? new Blob([body]).stream() : body);
    },
  });
  const { db, web } = given;
  // A sequence keeps its value where a transaction is rolled back.
  await db.admin(`
    create sequence public.stagings;
    create function public.count_staging() returns event_trigger language plpgsql security definer as $$
    begin
      perform nextval('public.stagings') from pg_event_trigger_ddl_commands() where object_identity like '%etl_staging_1' and command_tag = 'CREATE TABLE';
    end $$;
    create event trigger count_staging on ddl_command_end execute function public.count_staging();`);
  await db.feed("things", { url: `${web.url}/things` });
  return {
    ...given,
    /** A run while the server answers with these, the last of them again and again. */
    run: async (answers: string[], options: { force?: boolean; chunked?: boolean } = {}) => {
      [bodies, gets, chunked] = [answers, 0, options.chunked ?? false];
      await db.admin("select setval('public.stagings', 1, false)");
      const report = await db.loadOne("things", { force: options.force ?? false });
      assert.equal(report.error, null);
      const [{ stagings }] = await db.admin(
        "select case when is_called then last_value::int else 0 end as stagings from public.stagings",
      );
      const rows = await db.query("select concat(id, name) as row from public.things order by id");
      const [{ content_hash: hash, content_length: length }] = await db.query(
        "select content_hash, content_length from etl.feed_state where feed = 'things'",
      );
      const { status, bytes } = report;
      return {
        status,
        bytes,
        counts: countsOf(report),
        gets,
        stagings,
        rows: rows.map(({ row }) => row),
        hash,
        length,
      };
    },
  };
}

const one = "id,name\n1,a\n2,b\n", two = "id,name\n1,a\n2,c\n", three = "id,name\n1,a\n2,d\n", longer = one + "3,e\n";

const none = [0, 0, 0, 0, 0, 0];

Deno.test("a body as long as the last one is hashed first, and staged only if it differs", async (t) => {
  await using at = await bareFeed();
  const first = await at.run([one]);
  assert.deepEqual([first.gets, first.stagings, first.counts, first.rows], [1, 1, [2, 2, 0, 0, 0, 0], ["1a", "2b"]]);
  assert.equal(first.length, String(one.length));

  await t.step("the same content: asked for once, nothing staged, no counts", async () => {
    const before = await snapshot(at.db);
    const again = await at.run([one]);
    const { gets, stagings, status, bytes, counts } = again;
    assert.deepEqual([gets, stagings, status, bytes, counts], [1, 0, "unchanged", one.length, none]);
    const { "public.stagings": _, ...after } = await snapshot(at.db);
    const { "public.stagings": __, ...rest } = before;
    assert.deepEqual(after, rest);
  });
  await t.step("forced: staged and compared", async () => {
    const { gets, stagings, status, counts } = await at.run([one], { force: true });
    assert.deepEqual([gets, stagings, status, counts], [1, 1, "unchanged", [2, 0, 0, 2, 0, 0]]);
  });
  await t.step("other content: asked for again, and loaded", async () => {
    const { gets, stagings, status, bytes, counts, rows, hash } = await at.run([two]);
    assert.deepEqual([gets, stagings, status, bytes, counts], [2, 1, "changed", two.length, [2, 0, 1, 1, 0, 0]]);
    assert.deepEqual(rows, ["1a", "2c"]);
    assert.notEqual(hash, first.hash);
  });
  await t.step("it changes between the two requests: the second counts, and is what is remembered", async () => {
    const { gets, counts, rows } = await at.run([three, longer]);
    assert.deepEqual([gets, counts, rows], [2, [3, 1, 1, 1, 0, 0], ["1a", "2b", "3e"]]);
    const again = await at.run([longer]);
    assert.deepEqual([again.gets, again.stagings, again.length], [1, 0, String(longer.length)]);
  });
  await t.step("it changes back between the two requests: staged, and unchanged by its hash", async () => {
    const other = longer.replace("3,e", "3,f");
    const { gets, stagings, status, counts, rows } = await at.run([other, longer]);
    assert.deepEqual([gets, stagings, status, counts, rows], [2, 1, "unchanged", none, ["1a", "2b", "3e"]]);
  });
  await t.step("another length: staged at once", async () => {
    const { gets, stagings, status } = await at.run([one]);
    assert.deepEqual([gets, stagings, status], [1, 1, "unchanged"], "its rows are there already");
  });
});

Deno.test("a body of unknown length is staged, and unchanged by its hash", async () => {
  await using at = await bareFeed();
  const first = await at.run([one], { chunked: true });
  assert.deepEqual([first.counts, first.length], [[2, 2, 0, 0, 0, 0], null]);
  const before = await at.db.query("select xmin, ctid, * from public.things");
  const { gets, stagings, status, counts } = await at.run([one], { chunked: true });
  assert.deepEqual([gets, stagings, status, counts], [1, 1, "unchanged", none]);
  assert.deepEqual(await at.db.query("select xmin, ctid, * from public.things"), before);
  const other = await at.run([two], { chunked: true });
  assert.deepEqual([other.gets, other.counts], [1, [2, 0, 1, 1, 0, 0]]);
});

/** What a server answers to a conditional request for a body that is the same. */
type Same = { status?: 304; etag?: string; modified?: string; chunked?: boolean; gzip?: boolean };

const monday = "Mon, 05 Jul 2026 10:00:00 GMT", tuesday = "Tue, 06 Jul 2026 10:00:00 GMT";

const sameAgain: [what: string, first: Same, second: Same, remembered: Record<string, string | null>][] = [
  ["a new ETag", { etag: '"1"' }, { etag: '"2"' }, { etag: '"2"', last_modified: null }],
  ["a new ETag, and no length", { etag: '"1"', chunked: true }, { etag: '"2"', chunked: true }, { etag: '"2"' }],
  ["a new ETag by 304", { etag: '"1"', modified: monday }, { status: 304, etag: '"2"' }, {
    etag: '"2"',
    last_modified: monday,
  }],
  ["a new Last-Modified", { modified: monday }, { modified: tuesday }, { etag: null, last_modified: tuesday }],
  ["a new Last-Modified by 304", { etag: '"1"', modified: monday }, { status: 304, modified: tuesday }, {
    etag: '"1"',
    last_modified: tuesday,
  }],
  ["its first ETag", {}, { etag: '"1"' }, { etag: '"1"' }],
  ["an ETag no more", { etag: '"1"', modified: monday }, { modified: monday }, { etag: null, last_modified: monday }],
  ["another length", { etag: '"1"' }, { etag: '"1"', gzip: true }, { etag: '"1"' }],
];

Deno.test("the same content under other validators: these are remembered, and nothing else is written", async (t) => {
  for (const [what, first, second, remembered] of sameAgain) {
    await t.step(what, async () => {
      await using at = await changingValidators(first);
      const before = await snapshot(at.db);
      await at.run(second, { dryRun: true });
      assert.deepEqual(await snapshot(at.db), before, "a dry run writes nothing");

      await at.run(second);
      const [state] = await at.db.query("select * from etl.feed_state");
      for (const [column, value] of Object.entries(remembered)) assert.equal(state[column], value);
      const { "etl.feed_state": [row], ...after } = await snapshot(at.db) as Record<string, { xmin: string }[]>;
      const { "etl.feed_state": [rowBefore], ...others } = before as Record<string, { xmin: string }[]>;
      assert.deepEqual(after, others);
      assert.notEqual(row.xmin, rowBefore.xmin);

      const again = await snapshot(at.db);
      const sent = await at.run(second);
      assert.deepEqual(sent, [state.etag, state.last_modified], "the next run asks by them");
      assert.deepEqual(await snapshot(at.db), again, "and writes nothing");
    });
  }
});

Deno.test("the same validators: nothing is written", async () => {
  for (const second of [{ etag: '"1"', modified: monday }, { status: 304 }, { status: 304, etag: '"1"' }] as Same[]) {
    await using at = await changingValidators({ etag: '"1"', modified: monday });
    const before = await snapshot(at.db);
    await at.run(second);
    assert.deepEqual(await snapshot(at.db), before, JSON.stringify(second));
  }
});

Deno.test("somebody has locked the state of the feed: its validators wait for the next run, and nobody for them", async () => {
  await using at = await changingValidators({ etag: '"1"' });
  await at.db.query("begin");
  await at.db.query("select from etl.feed_state for update");
  await at.run({ etag: '"2"' });
  await at.db.query("commit");
  assert.deepEqual(await at.db.query("select etag from etl.feed_state"), [{ etag: '"1"' }]);
  await at.run({ etag: '"2"' });
  assert.deepEqual(await at.db.query("select etag from etl.feed_state"), [{ etag: '"2"' }]);
});

/** A feed whose content stays, loaded once with the first answer. */
async function changingValidators(first: Same) {
  let answer = first, sent: (string | null)[] = [];
  const given = await databaseAndWeb("create table public.things (id text primary key, name text)", {
    "/things": async (request) => {
      sent = [request.headers.get("if-none-match"), request.headers.get("if-modified-since")];
      const headers = new Headers({ date: "Fri, 09 Jul 2026 10:00:00 GMT" });
      if (answer.etag) headers.set("etag", answer.etag);
      if (answer.modified) headers.set("last-modified", answer.modified);
      if (answer.status === 304) return new Response(null, { status: 304, headers });
      if (answer.chunked) return new Response(new Blob([one]).stream(), { headers });
      return new Response(answer.gzip ? await gzipped(one) : one, { headers });
    },
  });
  const { db, web } = given;
  await db.feed("things", { url: `${web.url}/things` });
  assert.equal((await db.loadOne("things")).status, "changed");
  return {
    ...given,
    /** A run that finds nothing new; gives the validators by which it asked. */
    run: async (second: Same, options: { dryRun?: boolean } = {}) => {
      answer = second;
      const { status, error } = await db.loadOne("things", options);
      assert.deepEqual([status, error], ["unchanged", null]);
      return sent;
    },
  };
}

async function gzipped(text: string): Promise<Uint8Array<ArrayBuffer>> {
  return await new Response(new Blob([text]).stream().pipeThrough(new CompressionStream("gzip"))).bytes();
}
