/**
 * One measured process: `measured.ts read|parse|load ARGUMENT…`. Prints what it cost as JSON: CPU of this process,
 * all its threads, user and system, in milliseconds; its peak resident memory in bytes; and the job's wall time in
 * milliseconds. Each job imports only what it needs, so that start-up is its own.
 */
export interface Cost {
  cpuMs: number;
  peakBytes: number;
  wallMs: number;
  /** The version that ran it. */
  deno: string;
  /** Rows that the job counted, where it counts. */
  rows: number | null;
}

const jobs: Record<string, (...args: string[]) => Promise<number | null>> = { read, parse, load };

/** The pass-through: takes the bytes and drops them. */
async function read(url: string): Promise<null> {
  const { body } = await fetch(url);
  for await (const _ of body!);
  return null;
}

/** What a parser in JavaScript costs, with nothing done with its rows. */
async function parse(url: string): Promise<number> {
  const { parse } = await import("csv-parse");
  const { Readable } = await import("node:stream");
  const { body } = await fetch(url);
  const parser = parse();
  Readable.from(body!).pipe(parser);
  let rows = -1;
  for await (const _ of parser) rows++;
  return rows;
}

/** The loader itself: one feed, loaded as `deno task etl FEED` loads it. */
async function load(databaseUrl: string, feed: string, expected: string, ...options: string[]): Promise<number | null> {
  const { load } = await import("../lib/load.ts");
  const report = await load({ databaseUrl, feeds: [feed], force: options.includes("force") });
  const [{ status, read, error }] = report.feeds;
  if (status !== expected) throw new Error(`${feed} is ${status}, not ${expected}: ${error?.message}`);
  return read || null;
}

/** Milliseconds of CPU, user and system, in steps of 10; elsewhere than on Linux only where Deno itself can tell. */
async function cpuMs(): Promise<number> {
  if (Deno.build.os !== "linux") {
    const { user, system } = (await import("node:process")).cpuUsage();
    return (user + system) / 1000;
  }
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
  const rows = await jobs[job](...args);
  const wallMs = performance.now() - started;
  const cost: Cost = { cpuMs: await cpuMs(), peakBytes: peakBytes(), wallMs, deno: Deno.version.deno, rows };
  console.log(JSON.stringify(cost));
}
