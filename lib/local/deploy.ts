/**
 * `deno task deploy [OPTION…]`: uploads the edge function by the Supabase CLI, which takes the options.
 *
 * The bundle exists for as long as that takes. So the CLI alone has nothing to deploy, rather than something old.
 */
import { bundle } from "./bundle.ts";
import { remove } from "./postgres/install.ts";
import { explain } from "./session.ts";

const project = new URL("../../", import.meta.url);
/** The entry point that supabase/config.toml names. */
const file = decodeURIComponent(new URL("supabase/functions/etl/bundle.ts", project).pathname);

async function deploy(options: string[]): Promise<number> {
  const packages = await bundle("supabase/functions/etl/index.ts", file);
  console.log(`Bundled with ${packages.map(({ name, version }) => `${name}@${version}`).join(", ")}`);
  const args = ["-y", "supabase@3.1.0", "functions", "deploy", "etl", "--use-api", ...options];
  return (await new Deno.Command("npx", { args, cwd: project }).spawn().status).code;
}

if (import.meta.main) {
  // They reach the CLI as well: once it has ended, the file goes.
  for (const signal of ["SIGHUP", "SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, () => {});
  Deno.exit(await deploy(Deno.args).catch((error) => explain(error, false)).finally(() => remove(file)));
}
