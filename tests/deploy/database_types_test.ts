/** supabase/database.types.ts is what the Supabase CLI makes of the migrations. UPDATE_TYPES=1 writes it anew. */
import assert from "node:assert/strict";
import { output } from "../support/command.ts";
import { freshDatabase } from "../support/database.ts";
import { temporary } from "../support/directories.ts";

const committed = new URL("../../supabase/database.types.ts", import.meta.url);

Deno.test("the committed types are those of the schema", async () => {
  await using db = await freshDatabase();
  const types = await format(await generate(db.url));
  if (Deno.env.has("UPDATE_TYPES")) await Deno.writeTextFile(committed, types);
  const hint =
    "supabase/database.types.ts is out of date: UPDATE_TYPES=1 deno task test tests/deploy/database_types_test.ts";
  assert.equal(await Deno.readTextFile(committed), types, hint);
});

async function generate(url: string): Promise<string> {
  await using home = await temporary();
  const gen = ["gen", "types", "--lang", "typescript", "--schema", "public", `--remote=${url}`, "--workdir", home.path];
  const cache = Deno.env.get("npm_config_cache") ?? `${Deno.env.get("HOME")}/.npm`;
  const quiet = { SUPABASE_TELEMETRY_DISABLED: "1", DO_NOT_TRACK: "1", SUPABASE_YES: "1" };
  return await output("npx", ["-y", "supabase@3.1.0", ...gen, "--yes"], {
    cwd: home.path,
    env: { ...quiet, HOME: home.path, npm_config_cache: cache },
  });
}

async function format(types: string): Promise<string> {
  await using directory = await temporary();
  const file = `${directory.path}/types.ts`;
  await Deno.writeTextFile(file, types);
  const config = new URL("../../deno.json", import.meta.url).pathname;
  await output(Deno.execPath(), ["fmt", "-q", `--config=${config}`, file]);
  return await Deno.readTextFile(file);
}
