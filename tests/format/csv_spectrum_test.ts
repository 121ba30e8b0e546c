/** Every file of csv-spectrum through the whole loader: exactly the JSON that its authors expect, or a stated reject. */
import assert from "node:assert/strict";
import { freshDatabase } from "../support/database.ts";
import { csvSpectrum } from "../support/packages.ts";
import { serve } from "../support/web.ts";

const names = [...Deno.readDirSync(new URL("csvs", csvSpectrum))].map((file) => file.name.replace(".csv", "")).sort();

/** A quote stands for seconds of arc in a field that is not quoted; its expected JSON is not what the CSV holds either. */
const rejected = ["location_coordinates"];

Deno.test("csv-spectrum", async (t) => {
  await using db = await freshDatabase();
  await using web = serve({});
  assert.equal(names.length, 12);
  for (const name of names) {
    await t.step(name, async () => {
      web.files["/spectrum"] = await Deno.readFile(new URL(`csvs/${name}.csv`, csvSpectrum));
      const json = JSON.parse(await Deno.readTextFile(new URL(`json/${name}.json`, csvSpectrum)));
      const columns = Object.keys(json[0] ?? json).map((column) => `"${column}" text`);
      await db.query(`create table public.spectrum (${columns}, primary key (${columns.map((c) => c.slice(0, -5))}))`);
      await db.feed("spectrum", { url: `${web.url}/spectrum`, reject_limit: 1 });

      const report = await db.loadOne("spectrum");

      const loaded = await db.query("select * from public.spectrum order by ctid");
      assert.equal(report.error, null);
      if (rejected.includes(name)) {
        assert.deepEqual([report.read, report.rejected, loaded], [1, 1, []]);
        const [{ raw, reason }] = await db.query("select * from etl.rejects");
        assert.equal(reason, "has a quote within a field that is not quoted");
        assert.equal(raw, new TextDecoder().decode(web.files["/spectrum"] as Uint8Array).split("\n")[1].trimEnd());
      } else {
        assert.deepEqual(loaded.map((row) => ({ ...row })), json);
        assert.equal((await db.loadOne("spectrum", { force: true })).unchanged, json.length);
      }
      await db.query("drop table public.spectrum");
    });
  }
});
