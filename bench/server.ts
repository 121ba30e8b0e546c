/**
 * The partner's server, a process of its own so that its work is not counted: `server.ts DIRECTORY`, prints its URL.
 * Asked for FILE?etag it answers with an ETag, the file's size, and 304 to whoever has it.
 */
const [directory] = Deno.args;
const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async ({ url, headers: asked }) => {
  const { pathname, search } = new URL(url);
  const { size } = await Deno.stat(directory + pathname);
  const etag: HeadersInit = search === "?etag" ? { etag: `"${size}"` } : {};
  if (search === "?etag" && asked.get("if-none-match") === `"${size}"`) {
    return new Response(null, { status: 304, headers: etag });
  }
  const file = await Deno.open(directory + pathname);
  return new Response(file.readable, { headers: { "content-length": `${size}`, ...etag } });
});
console.log(`http://127.0.0.1:${server.addr.port}`);
