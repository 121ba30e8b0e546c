/** A partner's web server, on loopback. */

export type Answer = string | Uint8Array<ArrayBuffer> | ((request: Request) => Response | Promise<Response>);

export interface Web extends AsyncDisposable {
  url: string;
  /** Path -> what is answered there: a body, or a function. */
  files: Record<string, Answer>;
  /** The requests so far, as "GET /path 200". */
  log: string[];
}

/** Real HTTP on loopback. Bodies get an ETag where `etags` is set. */
export function serve(files: Record<string, Answer>, etags = false): Web {
  const log: string[] = [];
  const answer = async (request: Request): Promise<Response> => {
    const file = files[new URL(request.url).pathname];
    if (file === undefined) return new Response("not here", { status: 404 });
    if (typeof file === "function") return await file(request);
    if (!etags) return new Response(file);
    const bytes = typeof file === "string" ? new TextEncoder().encode(file) : file;
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    const etag = `"${Array.from(digest.subarray(0, 8), (byte) => byte.toString(16)).join("")}"`;
    const same = request.headers.get("if-none-match") === etag;
    return new Response(same ? null : bytes, { status: same ? 304 : 200, headers: { etag } });
  };
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    const response = await answer(request);
    log.push(`${request.method} ${new URL(request.url).pathname} ${response.status}`);
    return response;
  });
  return {
    url: `http://127.0.0.1:${server.addr.port}`,
    files,
    log,
    [Symbol.asyncDispose]: async () => await server.shutdown(),
  };
}
