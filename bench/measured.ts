/**
 * One measured process: `measured.ts JOB ARGUMENT…`, JOB a file in jobs/. Prints what it cost as JSON. Each job imports
 * only what it needs, so that start-up is its own.
 */
export interface Cost {
  /** CPU of this process, all its threads, user and system, in milliseconds. */
  cpuMs: number;
  /** Its peak resident memory. */
  peakBytes: number;
  /** Of the job alone. */
  wallMs: number;
  /** The version that ran it. */
  deno: string;
  /** Rows that the job counted, where it counts. */
  rows: number | null;
}

/** What a job knows better than this process: its rows, or what other programs cost that did the work. */
export type Job = (...args: string[]) => Promise<Partial<Cost> | void>;

/** Where Deno cannot tell, as 2.1.4, Linux does, in steps of 10 ms. To ask Deno takes 20 ms, a part of start-up. */
async function cpuMs(): Promise<number> {
  try {
    const { user, system } = (await import("node:process")).cpuUsage();
    if (user + system > 0) return (user + system) / 1000;
  } catch { /* not implemented */ }
  const fields = Deno.readTextFileSync("/proc/self/stat").split(") ").at(-1)!.split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

function peakBytes(): number {
  if (Deno.build.os !== "linux") return Deno.memoryUsage().rss;
  return Number(/VmHWM:\s+(\d+)/.exec(Deno.readTextFileSync("/proc/self/status"))![1]) * 1024;
}

if (import.meta.main) {
  const [job, ...args] = Deno.args;
  const started = performance.now();
  const run: Job = (await import(`./jobs/${job}.ts`)).default;
  const known = await run(...args);
  const wallMs = performance.now() - started;
  const own = { cpuMs: await cpuMs(), peakBytes: peakBytes(), wallMs, deno: Deno.version.deno, rows: null };
  console.log(JSON.stringify({ ...own, ...known } satisfies Cost));
}
