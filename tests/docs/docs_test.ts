/** What the documents say is tried. */
import assert from "node:assert/strict";
import { sampleFeeds } from "../../lib/local/samples.ts";
import { freshDatabase, serve } from "../support/harness.ts";
import { sourcesIn } from "../support/sources.ts";

const root = new URL("../../", import.meta.url);

function blocks(text: string, language: string): string[] {
  return [...text.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, "gms"))].map((match) => match[1]);
}

Deno.test("every SQL block of the documents runs", async (t) => {
  const files = ["docs/questions.md", "docs/operation.md"].map((file) => Deno.readTextFile(new URL(file, root)));
  const text = (await Promise.all(files)).join("\n");
  await using db = await freshDatabase();
  await using web = serve(Object.fromEntries(Object.entries(sampleFeeds()).map(([name, text]) => [`/${name}`, text])));
  await db.pointAt(web.url);
  await db.load();
  assert.ok(blocks(text, "sql").length >= 7);
  for (const sql of blocks(text, "sql")) await t.step(sql.trim().split("\n")[0], async () => void await db.query(sql));
});

Deno.test("the queries that docs/questions.md shows are the functions' own", async () => {
  const text = await Deno.readTextFile(new URL("docs/questions.md", root));
  await using db = await freshDatabase();
  await using web = serve(Object.fromEntries(Object.entries(sampleFeeds()).map(([name, text]) => [`/${name}`, text])));
  await db.pointAt(web.url);
  await db.load();
  const [dropped, , churned] = blocks(text, "sql");
  const ids = async (sql: string) => (await db.query(sql.replace(/;\s*$/, ""))).map((row) => row.id).sort();
  assert.deepEqual(await ids(dropped), await ids("select id from public.trips_without_charges()"));
  assert.deepEqual(await ids(churned), await ids("select id from public.churned_drivers('2021-07-11Z')"));
});

Deno.test("every code of an error is explained, and no other", async () => {
  // Where a code stands: in an error that is made, in a table of meanings, in a stream's name, in a refusal by HTTP.
  const places = [
    /new EtlError\(\s*"(\w+)"/g,
    /super\("(\w+)"/g,
    /\bcode: "([a-z]\w*)"/g,
    /named\([^"\n]*"(\w+)"/g,
    /refuse\(\d+, "(\w+)"/g,
  ];
  const texts = await Promise.all((await sourcesIn(new URL("lib/", root))).map((file) => Deno.readTextFile(file)));
  const found = texts.flatMap((text) => places.flatMap((place) => [...text.matchAll(place)].map(([, code]) => code)));
  const rows = (await Deno.readTextFile(new URL("docs/errors.md", root))).matchAll(/^\| (`.*?) +\|/gm);
  const explained = [...rows].flatMap(([, cell]) => [...cell.matchAll(/`(\w+)`/g)].map(([, code]) => code));
  // These are made of the status that came.
  const expected = [...new Set(found), "http_206", "http_304", "http_404", "http_503"];
  assert.deepEqual(explained.sort(), expected.sort());
});

Deno.test("every link between the documents leads somewhere", async () => {
  const files = ["README.md", "CHANGELOG.md"];
  for await (const { name } of Deno.readDir(new URL("docs", root))) {
    if (name.endsWith(".md")) files.push(`docs/${name}`);
  }
  for (const file of files) {
    const text = await Deno.readTextFile(new URL(file, root));
    for (const [, target] of text.matchAll(/\]\((?!https?:|#)([^)#]+)/g)) {
      await assert.doesNotReject(Deno.stat(new URL(target, new URL(file, root))), `${file} links to ${target}`);
    }
  }
});
