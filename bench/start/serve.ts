/** `serve.ts WHAT`: the edge function (`function`), or a server with nothing in it (`nothing`); prints its URL. */
Deno.env.set("ETL_TRIGGER_SECRET", crypto.randomUUID());
const handle = Deno.args[0] === "function" ? (await import("../../main.ts")).handle : () => new Response();
const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, handle);
console.log(`http://127.0.0.1:${server.addr.port}`);
