/**
 * Stands in for the platform's server: `function_server.ts PORT INDEX` serves the function whose entry file is INDEX
 * on loopback, and says on which port (one that is free where PORT is 0).
 */
import { pathToFileURL } from "node:url";

const [port, index] = Deno.args;
const serve = Deno.serve;
const onListen = ({ port }: { port: number }) => console.log(`listening on ${port}`);

Object.defineProperty(Deno, "serve", {
  value: (handler: Deno.ServeHandler) => serve({ hostname: "127.0.0.1", port: Number(port), onListen }, handler),
});
await import(pathToFileURL(index).href);
