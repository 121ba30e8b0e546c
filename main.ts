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
  // A computed name: a bundler that takes this file must not follow it to the embedded Postgres.
  const { command } = await import(import.meta.resolve(`./lib/local/${"command"}.ts`));
  Deno.exit(await command(Deno.args));
}
