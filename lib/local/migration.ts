/**
 * `deno task migration NAME`: writes the files of supabase/sql that have changed into a new migration.
 *
 * A generated migration holds each such file whole, behind a line with its path. So what the migrations brought last of a
 * file is found in them, and no other record is kept.
 */
import { EtlError } from "../errors.ts";
import { explain } from "./session.ts";

const root = new URL("../../", import.meta.url);
const migrations = new URL("supabase/migrations/", root);
const heading = /^-- (supabase\/sql\/\S+\.sql)$/m;

const head =
  `-- Written by \`deno task migration\` from supabase/sql. Not to be edited: change the source, and write another.
-- The functions of a file call those below them, so that their bodies are checked when they run.
set check_function_bodies = off;
`;
const foot = "\nreset check_function_bodies;\n";

/** Path -> text of each source. */
export async function sources(): Promise<Map<string, string>> {
  const texts = new Map<string, string>();
  for (const name of await filesOf("supabase/sql/")) texts.set(name, await Deno.readTextFile(new URL(name, root)));
  return texts;
}

/** The sources whose text is not what the migrations last brought. */
export async function changedSources(): Promise<Map<string, string>> {
  const changed = await sources();
  for (const [path, text] of await broughtSources()) if (changed.get(path) === text) changed.delete(path);
  return changed;
}

/** Path -> text of each source as the latest migration that has it brought it. */
async function broughtSources(): Promise<Map<string, string>> {
  const brought = new Map<string, string>();
  for (const name of await filesOf("supabase/migrations/")) {
    if (!name.endsWith(".generated.sql")) continue;
    const text = await Deno.readTextFile(new URL(name, root));
    const [, ...parts] = text.slice(0, text.lastIndexOf(foot)).split(heading);
    for (let i = 0; i < parts.length; i += 2) brought.set(parts[i], parts[i + 1].trim() + "\n");
  }
  return brought;
}

async function filesOf(folder: string): Promise<string[]> {
  const names = [];
  for await (const { name } of Deno.readDir(new URL(folder, root))) {
    if (name.endsWith(".sql")) names.push(folder + name);
  }
  return names.sort();
}

/** The text of a migration that brings these sources. */
function migrationOf(changed: Map<string, string>): string {
  return head + [...changed].map(([path, text]) => `\n-- ${path}\n${text}`).join("") + foot;
}

async function write([name, ...others]: string[]): Promise<void> {
  if (!/^[a-z][a-z0-9_]*$/.test(name ?? "") || others.length > 0) {
    throw new EtlError("usage", "a migration has one name, of a-z, 0-9 and _", "deno task migration mend_merge");
  }
  const changed = await changedSources();
  if (changed.size === 0) return console.log("Nothing is written: the migrations bring supabase/sql as it is.");
  const version = new Date().toISOString().replace(/\D/g, "").slice(0, 14);
  const file = `${version}_${name}.generated.sql`;
  await Deno.writeTextFile(new URL(file, migrations), migrationOf(changed), { createNew: true });
  console.log([`supabase/migrations/${file} brings`, ...changed.keys()].join("\n  "));
}

if (import.meta.main) Deno.exit(await write(Deno.args).then(() => 0, (error) => explain(error, false)));
