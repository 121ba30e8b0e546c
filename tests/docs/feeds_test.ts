/** Every recipe of docs/feeds.md does what stands there: the file, the SQL, and the table that comes of them. */
import assert from "node:assert/strict";
import { freshDatabase } from "../support/database.ts";
import { onLoopback } from "../support/web.ts";
import { zipped } from "../support/zip.ts";

interface Recipe {
  title: string;
  /** Bodies of the partner's files, in their order. */
  files: string[];
  sql: string;
  /** Asked at the end, where the recipe has a question. */
  query: string;
  /** Lines of the target, and then of the query's answer, as the recipe shows them. */
  table: string;
}

const text = await Deno.readTextFile(new URL("../../docs/feeds.md", import.meta.url));
const recipes = text.split(/^## /m).slice(1).map(recipeOf);

type Answering = (request: Request, files: string[]) => Response;

/** Who has this header gets the file. */
const to = (name: string, value: string): Answering => (request, [file]) =>
  request.headers.get(name) === value ? new Response(file) : new Response("who are you?", { status: 401 });

/** How a partner's server gives the files, where it does more than to hand out one a run. */
const manners: Record<string, Answering> = {
  "A feed of many pages": (request, files) => new Response(files[new URL(request.url).search === "?page=2" ? 1 : 0]),
  // In windows-1252 the letters of the recipe have their numbers of Unicode.
  "Another encoding": (_, [file]) => new Response(Uint8Array.from(file, (letter) => letter.charCodeAt(0))),
  "A zip archive": (_, files) =>
    new Response(zipped(["agency.txt", "stops.txt"].map((name, i) => ({ name: `gtfs/${name}`, data: files[i] })))),
  "A file behind a key": to("authorization", "Bearer a secret"),
  "A file in Supabase Storage": to("apikey", "a secret"),
  "A file a day": (request, [file]) => {
    const yesterday = new Date(Date.now() - 24 * 60 * 60_000).toLocaleDateString("sv", {
      timeZone: "America/New_York",
    });
    const isThere = new URL(request.url).pathname === `/payouts-${yesterday.replaceAll("-", "")}.csv`;
    return isThere ? new Response(file) : new Response("not here", { status: 404 });
  },
};

function recipeOf(section: string): Recipe {
  const blocks = [...section.matchAll(/^```(\w*)\n(.*?)^```$/gms)].map(([, language, body]) => ({ language, body }));
  const bodies = (...languages: string[]) =>
    blocks.filter(({ language }) => languages.includes(language)).map(({ body }) => body);
  return {
    title: section.split("\n")[0],
    files: bodies("csv", "json", "ndjson"),
    sql: bodies("sql").join(""),
    query: bodies("psql").join(""),
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

for (const { title, files, sql, query, table } of recipes) {
  Deno.test(`docs/feeds.md: ${title}`, async () => {
    await using db = await freshDatabase();
    let file = files[0];
    await using web = onLoopback((request) => manners[title]?.(request, files) ?? new Response(file));
    for (const [, name] of sql.matchAll(/\{secret:(\w+)\}/g)) Deno.env.set(`ETL_SECRET_${name}`, "a secret");
    await db.query(sql.replaceAll(/https:\/\/(partner\.example|\w+\.supabase\.co)/g, web.url));
    const [{ name, target }] = await db.query("select name, target from etl.feeds order by ctid desc limit 1");
    // One after the other, as a partner publishes them.
    for (file of manners[title] ? [file] : files) assert.equal((await db.loadOne(name)).error, null);
    const columns = await db.query(
      `select string_agg(format('%I::text', attname), ', ' order by attnum) as list
      from pg_attribute where attrelid = $1::regclass and attnum > 0`,
      [target],
    );
    const answer = query === "" ? "" : shown(await db.query(query));
    assert.equal(shown(await db.query(`select ${columns[0].list} from ${target} order by 1`)) + answer, table);
    assert.equal((await db.loadOne(name, { force: true })).status, "unchanged");
  });
}
