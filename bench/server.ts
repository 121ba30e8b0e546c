/**
 * The partner's server, a process of its own so that its work is not counted: `server.ts DIRECTORY CERTIFICATE KEY`, the
 * latter two files; prints its URLs, without and with TLS.
 * Asked for FILE?etag it answers with an ETag, the file's size, and 304 to whoever has it.
 */
const [directory, certificate, privateKey] = Deno.args;

async function answer({ url, headers: asked }: Request): Promise<Response> {
  const { pathname, search } = new URL(url);
  const { size } = await Deno.stat(directory + pathname);
  const etag: HeadersInit = search === "?etag" ? { etag: `"${size}"` } : {};
  if (search === "?etag" && asked.get("if-none-match") === `"${size}"`) {
    return new Response(null, { status: 304, headers: etag });
  }
  const file = await Deno.open(directory + pathname);
  return new Response(file.readable, { headers: { "content-length": `${size}`, ...etag } });
}

const here = { hostname: "127.0.0.1", port: 0, onListen() {} };
const [cert, key] = [certificate, privateKey].map((path) => Deno.readTextFileSync(path));
const plain = Deno.serve(here, answer), tls = Deno.serve({ ...here, cert, key }, answer);
console.log(`http://127.0.0.1:${plain.addr.port} https://localhost:${tls.addr.port}`);
