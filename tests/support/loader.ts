/** A loader to kill: says that it is ready, takes a database's URL, loads once, says how it ended. */
import { load } from "../../lib/load.ts";

console.log("ready");
for await (const databaseUrl of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
  const outcome = await load({ databaseUrl }).then(({ status }) => status, ({ code }) => code);
  console.log(outcome);
}
