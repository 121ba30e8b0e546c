/** Bodies of many megabytes arrive byte for byte, though the buffer they are read into is used again and again. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import { freshDatabase } from "../support/database.ts";
import { serve } from "../support/web.ts";

const rows = Array.from(
  { length: 60_000 },
  (_, i) => `${i},${createHash("sha256").update(`${i}`).digest("hex")} é ${"x".repeat(i % 50)}`,
);
const text = ["id,value", ...rows, ""].join("\n");
const json = (join: (objects: string[]) => string) =>
  join(rows.map((row) => {
    const [id, value] = row.split(",");
    return JSON.stringify({ id, value });
  }));
const bodies: Record<string, [body: Uint8Array<ArrayBuffer>, encoding?: string]> = {
  "plain": [new TextEncoder().encode(text)],
  "gzip": [new Uint8Array(gzipSync(text))],
  "windows-1252": [Uint8Array.from(text, (letter) => letter.charCodeAt(0)), "windows-1252"],
  "JSON": [new TextEncoder().encode(json((objects) => `[${objects.join(",\n")}]`))],
  "NDJSON": [new TextEncoder().encode(json((objects) => objects.join("\n")))],
};

Deno.test("a body of megabytes arrives byte for byte", async (t) => {
  await using db = await freshDatabase();
  await using web = serve({});
  await db.query("create table public.big (id int primary key, value text)");
  await db.query(
    "create view public.digest as select encode(sha256(convert_to(string_agg(id || ',' || value, e'\\n' order by id), 'UTF8')), 'hex') as digest from public.big",
  );
  const expected = createHash("sha256").update(rows.join("\n")).digest("hex");
  for (const [name, [body, encoding = "utf-8"]] of Object.entries(bodies)) {
    await t.step(name, async () => {
      web.files["/big"] = body;
      await db.query("truncate public.big");
      await db.feed("big", { url: `${web.url}/big`, encoding });
      const report = await db.loadOne("big", { force: true });
      assert.deepEqual([report.inserted, report.error], [rows.length, null]);
      assert.deepEqual(await db.query("select digest from public.digest"), [{ digest: expected }]);
    });
  }
});
