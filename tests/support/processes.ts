/** Who is alive, and whose end is waited for. */
import { output } from "./command.ts";
import { until } from "./waiting.ts";

/** The processes that name `directory` in their command line, or work in it. */
export async function processesOf(directory: string): Promise<{ pid: number; command: string }[]> {
  if (Deno.build.os !== "linux") return await processesByPs(directory);
  const found = [];
  for await (const { name } of Deno.readDir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const command = (await Deno.readTextFile(`/proc/${name}/cmdline`).catch(() => "")).replaceAll("\0", " ");
    const cwd = await Deno.readLink(`/proc/${name}/cwd`).catch(() => "");
    if (command.includes(directory) || cwd.startsWith(directory)) found.push({ pid: Number(name), command });
  }
  return found;
}

async function processesByPs(directory: string): Promise<{ pid: number; command: string }[]> {
  return (await output("ps", ["-Axww", "-o", "pid=,command="])).split("\n")
    .filter((line) => line.includes(directory) && !line.includes("ps -Axww"))
    .map((line) => ({ pid: parseInt(line), command: line.trim().replace(/^\d+ /, "") }));
}

/** Interrupts each, as a terminal's Ctrl-C does; one that another took down with it meanwhile is passed over. */
export function interruptAll(processes: { pid: number }[]): void {
  for (const { pid } of processes) {
    try {
      Deno.kill(pid, "SIGINT");
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
}

/** Waits until no process of `directory` is left, and says which are where some stay. */
export async function allGone(directory: string, seconds = 10): Promise<void> {
  let left = await processesOf(directory);
  await until(
    () => `all processes have ended; left behind: ${left.map(({ pid, command }) => `${pid} ${command}`).join("; ")}`,
    async () => (left = await processesOf(directory)).length === 0,
    seconds,
  );
}
