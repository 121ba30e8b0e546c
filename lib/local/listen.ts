/** A server on loopback, on `port` if it is free, else on another. */
export function listen(
  port: number,
  answer: (request: Request) => Response | Promise<Response>,
): { url: string; stop(): Promise<void> } {
  const end = new AbortController();
  const on = (port: number) =>
    Deno.serve({ hostname: "127.0.0.1", port, signal: end.signal, onListen() {} }, (request) => answer(request));
  let server;
  try {
    server = on(port);
  } catch (error) {
    if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    server = on(0);
  }
  const { finished, addr } = server;
  return {
    url: `http://127.0.0.1:${addr.port}`,
    // Without waiting for answers under way, which an interrupted run would never read.
    stop: () => {
      end.abort();
      return finished;
    },
  };
}
