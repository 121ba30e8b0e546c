/** The server process: what is left of an earlier one is ended, then it starts on a free port of loopback. */
import type { Owner } from "./home.ts";
import { remove } from "./install.ts";
import { supervise } from "./supervise.ts";

const tries = 5;

/** Starts the server and waits until it is ready. A port that is taken meanwhile is given up for another. */
export async function serve(home: string, native: string, owner: Owner, settings: string[], ports: () => number) {
  for (let attempt = 1;; attempt++) {
    const port = ports();
    const args = ["-D", `${home}/data`, "-p", `${port}`, "-h", "127.0.0.1", "-k", "", "-c", "log_line_prefix="];
    const options = settings.flatMap((setting) => ["-c", setting]);
    const { log, stop } = supervise(home, owner, [`${native}/bin/postgres`, ...args, ...options]);
    try {
      await ready(log);
      return { port, stop: async () => void await stop() };
    } catch (error) {
      await stop();
      if (!(error as Error).message.includes("Address already in use")) throw error;
      if (attempt === tries) throw new Error(`no free port was found; the last one tried is ${port}`);
    }
  }
}

export function freePort(): number {
  using probe = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return (probe.addr as Deno.NetAddr).port;
}

/** Resolves when the server says it is ready; goes on reading its log, so that the pipe never fills. */
function ready(log: ReadableStream<string>): Promise<void> {
  return new Promise((resolve, reject) => {
    let text = "";
    const reading = (async () => {
      for await (const part of log) {
        text = (text + part).slice(-2000);
        if (text.includes("ready to accept connections")) resolve();
      }
    })();
    reading.catch(() => {}).finally(() => reject(new Error(text)));
  });
}

/**
 * Ends what an earlier server has left behind: a server without its watchdog, or the backends of one that was killed.
 * They stop at once, as in a crash, which Postgres recovers from. Only then may the pid file go.
 */
export async function endLeftovers(data: string): Promise<void> {
  const deadline = Date.now() + 10_000;
  for (let pids = await serversIn(data); pids.length > 0; pids = await serversIn(data)) {
    if (Date.now() > deadline) throw new Error(`processes left over from before do not stop: ${pids.join(", ")}`);
    for (const pid of pids) quit(pid);
    await new Promise((resume) => setTimeout(resume, 20));
  }
  await remove(`${data}/postmaster.pid`);
}

function quit(pid: number): void {
  try {
    Deno.kill(pid, "SIGQUIT");
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** The processes of Postgres whose working directory is `data`: all of a server's are there. */
async function serversIn(data: string): Promise<number[]> {
  const directory = await Deno.realPath(data);
  if (Deno.build.os !== "linux") return await serversByLsof(directory);
  const pids: number[] = [];
  for await (const { name } of Deno.readDir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const link = (of: string) => Deno.readLink(`/proc/${name}/${of}`).catch(() => "");
    if (await link("cwd") === directory && /\/postgres( \(deleted\))?$/.test(await link("exe"))) pids.push(+name);
  }
  return pids;
}

async function serversByLsof(directory: string): Promise<number[]> {
  const { stdout } = await new Deno.Command("lsof", { args: ["-a", "-c", "postgres", "-d", "cwd", "-Fn"] }).output();
  const found = new TextDecoder().decode(stdout).matchAll(/^p(\d+)\n(?:f.*\n)?n(.*)$/gm);
  return [...found].filter(([, , path]) => path === directory).map(([, pid]) => Number(pid));
}
