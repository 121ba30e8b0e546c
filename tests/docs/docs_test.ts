/** What the documents say is tried. */
import assert from "node:assert/strict";
import { meaningOf } from "../../lib/database/sqlstates.ts";
import { sources } from "../../lib/local/migration.ts";
import { blocks, document, filesIn, root } from "../support/project.ts";
import { sampleDatabase } from "../support/samples.ts";

Deno.test("every SQL block of the documents runs", async (t) => {
  const text = (await Promise.all(["docs/questions.md", "docs/operation.md"].map(document))).join("\n");
  await using db = await sampleDatabase();
  assert.ok(blocks(text, "sql").length >= 7);
  for (const sql of blocks(text, "sql")) await t.step(sql.trim().split("\n")[0], async () => void await db.query(sql));
});

Deno.test("the queries that docs/questions.md shows are the functions' own", async () => {
  const text = await document("docs/questions.md");
  await using db = await sampleDatabase();
  const [dropped, , , churned] = blocks(text, "sql");
  const ids = async (sql: string) => (await db.query(sql.replace(/;\s*$/, ""))).map((row) => row.id).sort();
  assert.deepEqual(await ids(dropped), await ids("select id from public.trips_without_charges()"));
  assert.deepEqual(await ids(churned), await ids("select id from public.churned_drivers('2021-07-11Z')"));
});

Deno.test("the form of churned_drivers for Citus gives what the function gives", async () => {
  await using db = await sampleDatabase();
  const churned = () => db.query("select * from public.churned_drivers('2021-07-11Z', '10 days') order by id");
  const expected = await churned();
  assert.ok(expected.length > 0);
  const [query] = blocks(await document("docs/scale.md"), "sql").filter((sql) => sql.startsWith("select d.id"));
  const [{ source }] = await db.query("select pg_get_functiondef('public.churned_drivers'::regproc) as source");
  const other = source.replace(/(?<=return query\n).*?;/s, () => query);
  assert.notEqual(other, source);
  await db.query(other);
  assert.deepEqual(await churned(), expected);
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
  const texts = await Promise.all((await filesIn(new URL("lib/", root), ".ts")).map((file) => Deno.readTextFile(file)));
  const found = texts.flatMap((text) => places.flatMap((place) => [...text.matchAll(place)].map(([, code]) => code)));
  const rows = (await document("docs/errors.md")).matchAll(/^\| (`.*?) +\|/gm);
  const explained = [...rows].flatMap(([, cell]) => [...cell.matchAll(/`(\w+)`/g)].map(([, code]) => code));
  // These are made of the status that came.
  const expected = [...new Set(found), "http_206", "http_304", "http_404", "http_503"];
  assert.deepEqual(explained.sort(), expected.sort());
});

Deno.test("every kind of the error tls, and every sslmode, is explained", async () => {
  const text = (await document("docs/errors.md")).replaceAll(/\s+/g, " ");
  const words = [...(await document("lib/database/tls_faults.ts")).matchAll(/\bmessage: "([^"]+)"/g)];
  const modes = [...(await document("lib/database/tls.ts")).matchAll(/\bcase "([a-z-]+)"/g)];
  assert.ok(words.length >= 7 && modes.length >= 7, "they are found");
  for (const [, kind] of words) assert.ok(text.includes(`| ${kind} |`), kind);
  for (const [, sslmode] of modes) assert.match(text, new RegExp(`\\| ([^|]*, )?${sslmode}(, [^|]*)? \\|`), sslmode);
});

Deno.test("every SQLSTATE of the loader's own has the word that is explained, and no other", async () => {
  const sql = [...(await sources()).values()].join("\n");
  // ETL00 stays within the function that raises it.
  const raised = new Set(
    [...sql.matchAll(/errcode = '(ETL\d\d)'/g)].map(([, code]) => code).filter((c) => c !== "ETL00"),
  );
  const words = [...raised].map((code) => [code, meaningOf({ code, severity: "ERROR" })!.code]);
  const [, text] = (await Deno.readTextFile(new URL("docs/errors.md", root))).split("\n## In SQL\n");
  const explained = [...text.matchAll(/`(\w+)`\s(?:is\s)?(ETL\d\d)/g)].map(([, word, code]) => [code, word]);
  assert.deepEqual(words.sort(), explained.sort());
});

Deno.test("every link between the documents leads somewhere", async () => {
  const files = ["README.md", "CHANGELOG.md"];
  for await (const { name } of Deno.readDir(new URL("docs", root))) {
    if (name.endsWith(".md")) files.push(`docs/${name}`);
  }
  for (const file of files) {
    const text = await document(file);
    for (const [, target] of text.matchAll(/\]\((?!https?:|#)([^)#]+)/g)) {
      await assert.doesNotReject(Deno.stat(new URL(target, new URL(file, root))), `${file} links to ${target}`);
    }
  }
});

Deno.test("every reason of a reject is explained", async () => {
  const table = (await document("docs/rejects.md")).replaceAll(/\s+/g, " ");
  const texts = [...(await sources()).values(), await document("lib/format/broken.ts")];
  // What a reason begins with, up to what differs from record to record.
  const begun = /(?<=['"`])(?:is|has|holds|breaks|repeats|conflicts|gives up|cannot be) (?:[^'"`$,\\%\n]|'')*/g;
  const reasons = texts.flatMap((text) => [...text.matchAll(begun)].map(([reason]) => reason.replaceAll("''", "'")));
  assert.ok(reasons.length > 20, "the reasons are found");
  for (const reason of new Set(reasons)) assert.ok(table.includes(reason.trim().replace(/:$/, "")), reason);
});

Deno.test("the design names each file of SQL, and no other", async () => {
  const named = [...(await document("docs/design.md")).matchAll(/^\| (`\w+\.sql`(?:, `\w+\.sql`)*)/gm)];
  const files = named.flatMap(([, names]) => names.split(", ").map((name) => name.slice(1, -1)));
  const there = [...Deno.readDirSync(new URL("supabase/sql/", root))].map(({ name }) => name);
  assert.deepEqual(files.sort(), there.sort());
});
