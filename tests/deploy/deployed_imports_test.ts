/** What is for laptops alone, lib/local/, and for browsers, web/, is not reached from what is deployed. */
import assert from "node:assert/strict";
import { filesIn, root } from "../support/project.ts";

const entry = new URL("supabase/functions/etl/index.ts", root);
const isLocal = (file: string) => ["lib/local/", "web/"].some((folder) => file.startsWith(new URL(folder, root).href));

/** The files that a file imports by a literal path, at its start or later, as a bundler sees them. */
async function importsOf(file: string): Promise<string[]> {
  const text = await Deno.readTextFile(new URL(file));
  return [...text.matchAll(/\b(?:from|import)\s*\(?\s*"(\.[^"]+)"/g)].map(([, path]) => new URL(path, file).href);
}

Deno.test("nothing that is deployed imports lib/local/ or web/", async () => {
  const sources = (await filesIn(new URL("lib/", root), ".ts")).map((file) => file.href).filter((file) =>
    !isLocal(file)
  );
  const seen = new Set([entry.href, ...sources]);
  for (const file of seen) {
    for (const imported of await importsOf(file)) {
      assert.ok(!isLocal(imported), `${file} imports ${imported}`);
      seen.add(imported);
    }
  }
  assert.ok(seen.has(new URL("lib/http.ts", root).href) && seen.size > 15, "the imports are found");
});
