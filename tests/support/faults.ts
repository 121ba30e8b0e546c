/** What the fault tests stand on: chance by a seed, a proxy that cuts, a loader to kill. */
import assert from "node:assert/strict";
import { project } from "./processes.ts";

const seed = Number(Deno.env.get("FAULTS_SEED") ?? crypto.getRandomValues(new Uint32Array(1))[0]);
const total = Number(Deno.env.get("FAULTS") ?? (Deno.env.get("CI") ? 100 : 20));

/** Repeats a fault; each time is named by what chance had chosen. */
export async function often(label: string, part: number, fault: (random: number) => Promise<string>): Promise<void> {
  const random = chance([...label].reduce((sum, letter) => sum * 31 + letter.charCodeAt(0) | 0, seed));
  const outcomes: Record<string, number> = {};
  const times = Math.ceil(total * part);
  for (let n = 1; n <= times; n++) {
    try {
      const outcome = await fault(random());
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
    } catch (cause) {
      throw new Error(`time ${n} of ${times}; again by FAULTS=${total} FAULTS_SEED=${seed}`, { cause });
    }
  }
  console.log(`${times} times ${label} (FAULTS_SEED=${seed}):`, outcomes);
}

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
function chance(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A hang is a failure. */
export async function within<T>(seconds: number, what: string, work: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`${what} hangs: nothing after ${seconds} s`)), seconds * 1000);
  return await Promise.race([work, late.promise]).finally(() => clearTimeout(timer));
}

/** Waits until it is so. */
export async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!await isSo()) {
    assert.ok(Date.now() < deadline, `waited too long until ${what}`);
    await new Promise((resume) => setTimeout(resume, 10));
  }
}

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

/** A loader in a process of its own, waiting for the URL to load into. */
export async function startLoader() {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--no-check", `${project}/tests/support/loader.ts`],
    cwd: project,
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const lines = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const input = child.stdin.getWriter();
  await lines.read();
  return {
    go: (databaseUrl: string) => input.write(new TextEncoder().encode(databaseUrl)),
    /** What it says at its end. */
    answer: async () => (await lines.read()).value ?? "",
    kill: async () => {
      child.kill("SIGKILL");
      await Promise.all([child.status, input.close().catch(() => {}), lines.cancel()]);
    },
  };
}
