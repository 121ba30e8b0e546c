/** A server on loopback, on `port` if it is free, else on another. */
export function listen(
  port: number,
  answer: (request: Request) => Response | Promise<Response>,
): { url: string; stop(): Promise<void> } {
  leaveOutProxies();
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

/** A proxy would look for loopback on its own machine. Deno reads this at its first request. */
function leaveOutProxies(): void {
  const others = Deno.env.get("NO_PROXY") ?? Deno.env.get("no_proxy");
  Deno.env.set("NO_PROXY", [others, "127.0.0.1"].filter(Boolean).join(","));
}
