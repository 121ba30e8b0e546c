/** Which feeds a run loads: one without a table fails alone, one that nobody knows ends the run. */
import assert from "node:assert/strict";
import { snapshot } from "../support/snapshot.ts";
import { twoFeeds } from "../support/two_feeds.ts";

Deno.test("a table that is missing or has no key fails its feed alone, plain or packed", async () => {
  await using given = await twoFeeds();
  const { db, web } = given;
  const packed = new Response("id,name\n" + "1,Ana\n".repeat(1e6)).body!.pipeThrough(new CompressionStream("gzip"));
  web.files["/packed"] = await new Response(packed).bytes();
  await db.query("create table public.keyless (id text)");
  for (const path of ["/things", "/packed"]) {
    await db.feed("none", { url: web.url + path, target: "public.no_such_table" });
    await db.feed("keyless", { url: web.url + path });
    const [keyless, none, others] = (await db.load({ feeds: ["none", "keyless", "others"], force: true })).feeds;
    assert.deepEqual([none.error!.code, keyless.error!.code, others.error], [
      "undefined_table",
      "no_primary_key",
      null,
    ]);
    assert.equal(none.error!.message, "Cannot load none: its table public.no_such_table does not exist");
    assert.equal(keyless.error!.message, "Cannot load keyless: its table public.keyless has no primary key");
  }
});

Deno.test("an unknown feed name rejects the run, and nothing is loaded", async () => {
  await using given = await twoFeeds();
  const before = await snapshot(given.db);
  given.web.files["/things"] = "id,name\n5,x\n";
  await assert.rejects(given.db.load({ feeds: ["things", "thingz"] }), {
    name: "EtlError",
    code: "unknown_feed",
    message: /thingz/,
  });
  assert.deepEqual(await snapshot(given.db), before);
});
