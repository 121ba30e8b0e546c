/** Every recipe of docs/feeds.md does what stands there: the file, the SQL, and the table that comes of them. */
import assert from "node:assert/strict";
import { freshDatabase } from "../support/database.ts";
import { type Answer, serve } from "../support/web.ts";

interface Recipe {
  title: string;
  /** Bodies of the partner's files, in their order. */
  files: string[];
  sql: string;
  /** Lines of the target, as the recipe shows them. */
  table: string;
}

const text = await Deno.readTextFile(new URL("../../docs/feeds.md", import.meta.url));
const recipes = text.split(/^## /m).slice(1).map(recipeOf);

/** How a partner's server gives the files, where it does more than to hand them out. */
const manners: Record<string, (files: string[]) => Answer> = {
  // In windows-1252 the letters of the recipe have their numbers of Unicode.
  "Another encoding": ([file]) => Uint8Array.from(file, (letter) => letter.charCodeAt(0)),
};

function recipeOf(section: string): Recipe {
  const blocks = [...section.matchAll(/^```(\w*)\n(.*?)^```$/gms)].map(([, language, body]) => ({ language, body }));
  const bodies = (...languages: string[]) =>
    blocks.filter(({ language }) => languages.includes(language)).map(({ body }) => body);
  return {
    title: section.split("\n")[0],
    files: bodies("csv", "json", "ndjson"),
    sql: bodies("sql").join(""),
    table: bodies("").join(""),
  };
}

/** A table as the document shows it: aligned columns, nothing for null. */
function shown(rows: Record<string, string | null>[]): string {
  const names = Object.keys(rows[0]);
  const lines = [names, ...rows.map((row) => names.map((name) => row[name] ?? ""))];
  const widths = names.map((_, i) => Math.max(...lines.map((line) => line[i].length)));
  return lines.map((line) => line.map((cell, i) => cell.padEnd(widths[i])).join(" | ").trimEnd() + "\n").join("");
}

Deno.test("the cookbook has recipes, each with all that it needs", () => {
  assert.ok(recipes.length > 10, `${recipes.length} recipes`);
  for (const { title, files, sql, table } of recipes) {
    assert.ok(files.length > 0 && sql !== "" && table !== "", title);
  }
});

for (const { title, files, sql, table } of recipes) {
  Deno.test(`docs/feeds.md: ${title}`, async () => {
    await using db = await freshDatabase();
    const answer = manners[title]?.(files) ?? files[0];
    const [, path] = /https:\/\/partner\.example([^'#?{]*)/.exec(sql)!;
    await using web = serve({ [path]: answer });
    await db.query(sql.replaceAll("https://partner.example", web.url));
    const [{ name, target }] = await db.query("select name, target from etl.feeds order by ctid desc limit 1");
    assert.equal((await db.loadOne(name)).error, null);
    const columns = await db.query(
      `select string_agg(format('%I::text', attname), ', ' order by attnum) as list
      from pg_attribute where attrelid = $1::regclass and attnum > 0`,
      [target],
    );
    assert.equal(shown(await db.query(`select ${columns[0].list} from ${target} order by 1`)), table);
    assert.equal((await db.loadOne(name, { force: true })).status, "unchanged");
  });
}
