/** Every file of csv-spectrum through the whole loader: exactly the JSON that its authors expect, or a stated reject. */
import assert from "node:assert/strict";
import { parse } from "csv-parse/sync";
import { type Database, freshDatabase } from "../support/database.ts";
import { csvSpectrum } from "../support/packages.ts";
import { serve } from "../support/web.ts";

const names = [...Deno.readDirSync(new URL("csvs", csvSpectrum))].map((file) => file.name.replace(".csv", "")).sort();

/** A quote stands for seconds of arc in a field that is not quoted; its expected JSON is not what the CSV holds either. */
const rejected = ["location_coordinates"];

/** Makes the table for a file, and returns the rows that its authors expect. */
async function makeTable(db: Database, name: string): Promise<Record<string, string>[]> {
  const json = JSON.parse(await Deno.readTextFile(new URL(`json/${name}.json`, csvSpectrum)));
  const columns = Object.keys(json[0] ?? json).map((column) => `"${column}" text`);
  await db.query(`create table public.spectrum (${columns}, primary key (${columns.map((c) => c.slice(0, -5))}))`);
  return json;
}

Deno.test("csv-spectrum", async (t) => {
  await using db = await freshDatabase();
  await using web = serve({});
  assert.equal(names.length, 12);
  for (const name of names) {
    await t.step(name, async () => {
      web.files["/spectrum"] = await Deno.readFile(new URL(`csvs/${name}.csv`, csvSpectrum));
      const json = await makeTable(db, name);
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

const quoted = (cell: string) => `"${cell.replaceAll('"', '""')}"`;
const utf16 = (text: string) => new Uint8Array(Uint16Array.from(text, (letter) => letter.charCodeAt(0)).buffer);

/** How else a partner may write the same rows, the header the first, and what etl.feeds then says. */
const dresses: Record<string, (rows: string[][]) => [file: string | Uint8Array, feed?: Record<string, unknown>]> = {
  "backslashes before other quotes": (rows) => [
    rows.map((row) => row.map((cell) => `'${cell.replace(/[\\']/g, "\\$&")}'`).join("^")).join("\n"),
    { quote: "'", escape: "\\", delimiter: "^" },
  ],
  "blanks behind quotes": (rows) => [rows.map((row) => row.map(quoted).join(" ,\t")).join(" \n")],
  "a delimiter more, and CR CR LF": (rows) => [rows.map((row) => row.map(quoted).join(";") + ";\r\r\n").join("")],
  "lines above, and no header": (rows) => [
    `"Rows\n\n${rows.slice(1).map((row) => row.map(quoted).join()).join("\n")}`,
    { skip: 2, header: rows[0] },
  ],
  "as Excel writes it": (
    rows,
  ) => [utf16(`\ufeffsep=\t\r\n${rows.map((row) => row.map(quoted).join("\t")).join("\r\n")}`)],
};

Deno.test("csv-spectrum, written otherwise", async (t) => {
  await using db = await freshDatabase();
  await using web = serve({});
  for (const name of names.filter((name) => !rejected.includes(name))) {
    const rows: string[][] = parse(await Deno.readFile(new URL(`csvs/${name}.csv`, csvSpectrum)));
    for (const [dress, write] of Object.entries(dresses)) {
      await t.step(`${name}: ${dress}`, async () => {
        const json = await makeTable(db, name);
        const [file, feed] = write(rows);
        web.files["/spectrum"] = () => new Response(file as BodyInit);
        await db.query("delete from etl.feeds where name = 'spectrum'");
        await db.feed("spectrum", { url: `${web.url}/spectrum`, format: "csv", ...feed });
        const report = await db.loadOne("spectrum");
        assert.equal(report.error, null);
        assert.deepEqual(
          (await db.query("select * from public.spectrum order by ctid")).map((row) => ({ ...row })),
          json,
        );
        await db.query("drop table public.spectrum");
      });
    }
  }
});
