/** A proxy that cuts connections. */

export interface Proxy extends Disposable {
  port: number;
  /** Bytes passed on so far, both ways; and how many they were after each piece. */
  bytes: number;
  pieces: number[];
  /** Cuts the connection that carries the byte number `left` from here. */
  left: number;
}

/** Passes bytes on to a port of this machine, and back. */
export function proxy(port: number): Proxy {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const open = new Set<Deno.TcpConn>();
  const self = {
    port: listener.addr.port,
    bytes: 0,
    pieces: [] as number[],
    left: Infinity,
    [Symbol.dispose]: () => close(listener, ...open),
  };
  const pass = async (from: Deno.TcpConn, to: Deno.TcpConn) => {
    const buffer = new Uint8Array(1 << 16);
    for (let n; (n = await from.read(buffer)) !== null;) {
      const passing = Math.min(n, self.left);
      self.pieces.push(self.bytes += passing);
      self.left -= passing;
      for (let sent = 0; sent < passing;) sent += await to.write(buffer.subarray(sent, passing));
      if (self.left > 0) continue;
      self.left = Infinity;
      break;
    }
  };
  const join = async (near: Deno.TcpConn) => {
    const far = await Deno.connect({ hostname: "127.0.0.1", port });
    for (const end of [near, far]) open.add(end);
    await Promise.any([pass(near, far), pass(far, near)]).catch(() => {});
    close(near, far);
    for (const end of [near, far]) open.delete(end);
  };
  const serving = async () => {
    for await (const near of listener) void join(near);
  };
  void serving().catch(() => {});
  return self;
}

function close(...ends: { close(): void }[]): void {
  for (const end of ends) {
    try {
      end.close();
    } catch (error) {
      if (!(error instanceof Deno.errors.BadResource)) throw error;
    }
  }
}
