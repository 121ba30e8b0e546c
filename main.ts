/**
 * tdc-etl: partners' data files into Postgres, again and again; the same input changes nothing.
 *
 *   load()     one run, from etl.feeds to the report: lib/load.ts
 *   handle()   the same by HTTP, as an edge function: lib/http.ts
 *
 * As a command: `deno task start`, `deno task etl`; see `deno task etl --help`.
 */
export { handle } from "./lib/http.ts";
export { load } from "./lib/load.ts";

if (import.meta.main) {
  // Computed names: a bundler that takes this file must not follow them to the embedded Postgres.
  const local = (name: string) => import(import.meta.resolve(`./lib/local/${name}.ts`));
  await local("version");
  const { command } = await local("command");
  Deno.exit(await command(Deno.args));
}
