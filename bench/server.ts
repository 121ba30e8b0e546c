/** The partner's server, a process of its own so that its work is not counted: `server.ts DIRECTORY`, prints its port. */
const [directory] = Deno.args;
const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
  const file = await Deno.open(directory + new URL(request.url).pathname);
  const { size } = await file.stat();
  return new Response(file.readable, { headers: { "content-length": `${size}` } });
});
console.log(server.addr.port);
