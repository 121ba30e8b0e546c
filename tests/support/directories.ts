/** Directories that are gone at the end, and a copy of the project to put there. */
import { output } from "./command.ts";
import { project } from "./project.ts";

/** A directory of its own, gone at the end. */
export async function temporary(): Promise<{ path: string } & AsyncDisposable> {
  const path = await Deno.realPath(await Deno.makeTempDir({ prefix: "tdc-etl-tests-" }));
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

/** What a command of the project needs, in `target`, without the data under .local. */
export async function copyProject(target: string): Promise<void> {
  await Deno.mkdir(target, { recursive: true });
  const parts = ["main.ts", "deno.json", "deno.lock", "import_map.json", "lib", "supabase", "web"];
  await output("cp", ["-R", ...parts.map((part) => `${project}/${part}`), target]);
}
