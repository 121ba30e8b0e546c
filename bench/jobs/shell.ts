/** Other programs, `shell LINE`: what they cost, without this process. CPU and memory are known on Linux alone. */

export default async function (line: string): Promise<{ cpuMs: number; peakBytes: number }> {
  const shell = new Deno.Command("bash", { args: ["-o", "pipefail", "-c", line], stdout: "null" }).spawn();
  const peaks = new Map<number, number>();
  const watch = setInterval(() => note(shell.pid, peaks), 10);
  const { success } = await shell.status;
  clearInterval(watch);
  if (!success) throw new Error(`failed: ${line}`);
  return { cpuMs: childrensCpuMs(), peakBytes: peaks.values().reduce((sum, peak) => sum + peak, 0) };
}

/** Notes the peak memory of a process and of all below it: the last seen is the highest. */
function note(pid: number, peaks: Map<number, number>): void {
  try {
    const peak = /VmHWM:\s+(\d+)/.exec(Deno.readTextFileSync(`/proc/${pid}/status`));
    if (peak) peaks.set(pid, Number(peak[1]) * 1024);
    for (const task of Deno.readDirSync(`/proc/${pid}/task`)) {
      const children = Deno.readTextFileSync(`/proc/${pid}/task/${task.name}/children`).match(/\d+/g) ?? [];
      for (const child of children) note(Number(child), peaks);
    }
  } catch { /* it has ended, or this is not Linux */ }
}

/** User and system time of the children that have ended, in steps of 10 ms. */
function childrensCpuMs(): number {
  if (Deno.build.os !== "linux") return 0;
  const fields = Deno.readTextFileSync("/proc/self/stat").split(") ").at(-1)!.split(" ");
  return (Number(fields[13]) + Number(fields[14])) * 10;
}
