/** Web servers on loopback: of a partner, or any. */

type Body = string | Uint8Array<ArrayBuffer>;
export type Answer = Body | ((request: Request) => Response | Promise<Response>);

export interface Web extends AsyncDisposable {
  url: string;
  /** Path -> what is answered there: a body, or a function. */
  files: Record<string, Answer>;
  /** The requests so far, as "GET /path 200". */
  log: string[];
}

/** A partner's server. Bodies get an ETag where `etags` is set. */
export function serve(files: Record<string, Answer>, etags = false): Web {
  const log: string[] = [];
  const answer = async (request: Request): Promise<Response> => {
    const file = files[new URL(request.url).pathname];
    if (file === undefined) return new Response("not here", { status: 404 });
    if (typeof file === "function") return await file(request);
    return etags ? await withEtag(request, file) : new Response(file);
  };
  const server = onLoopback(async (request) => {
    const response = await answer(request);
    log.push(`${request.method} ${new URL(request.url).pathname} ${response.status}`);
    return response;
  });
  return { ...server, files, log };
}

/** Real HTTP on a port that is free. */
export function onLoopback(
  answer: (request: Request) => Response | Promise<Response>,
): { url: string } & AsyncDisposable {
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => answer(request));
  return { url: `http://127.0.0.1:${server.addr.port}`, [Symbol.asyncDispose]: () => server.shutdown() };
}

/** The body with its ETag, or 304 to who has it already. */
export async function withEtag(request: Request, body: Body, etag?: string): Promise<Response> {
  etag ??= await etagOf(body);
  const same = request.headers.get("if-none-match") === etag;
  return new Response(same ? null : body, { status: same ? 304 : 200, headers: { etag } });
}

async function etagOf(body: Body): Promise<string> {
  const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return `"${digest.subarray(0, 8).toHex()}"`;
}
