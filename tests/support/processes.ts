/** Child processes of the tests: a command run to its end, a copy of the project, and who is still alive. */
import { resolve } from "node:path";

export const project = resolve(import.meta.dirname!, "../..");

export interface Result {
  code: number;
  out: string;
  err: string;
}

type Options = Partial<Deno.CommandOptions>;

/** `main.ts` as a child, by this same Deno; without colours, Deno's own remarks, or another DATABASE_URL than the one given. */
export function main(args: string[], { cwd = project, env, ...options }: Options = {}): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", `${cwd}/main.ts`, ...args],
    cwd,
    env: { NO_COLOR: "1", DATABASE_URL: "", ...env },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    ...options,
  }).spawn();
}

export async function result(child: Deno.ChildProcess): Promise<Result> {
  const { code, stdout, stderr } = await child.output();
  return { code, out: new TextDecoder().decode(stdout), err: new TextDecoder().decode(stderr) };
}

export async function run(args: string[], options: Options = {}): Promise<Result> {
  return await result(main(args, options));
}

/** `etl` on a terminal of its own, by util-linux's `script`, a part of every Debian, or BSD's of the same name. */
export async function onTerminal(cwd: string, env: Record<string, string>): Promise<{ code: number; out: string }> {
  const command = `'${Deno.execPath()}' run -A '${cwd}/main.ts' etl`;
  const linux = Deno.build.os === "linux";
  const args = linux ? ["-qec", command, "/dev/null"] : ["-q", "/dev/null", "sh", "-c", command];
  const options = { args, cwd, env: { DATABASE_URL: "", TERM: "xterm", ...env }, stdin: "null" } as const;
  const { code, stdout } = await new Deno.Command("script", options).output();
  return { code, out: new TextDecoder().decode(stdout) };
}

/** A directory of its own, gone at the end. */
export async function temporary(): Promise<{ path: string } & AsyncDisposable> {
  const path = await Deno.realPath(await Deno.makeTempDir({ prefix: "tdc-etl-tests-" }));
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

/** What a command of the project needs, in `target`, without the data under .local. */
export async function copyProject(target: string): Promise<void> {
  await Deno.mkdir(target, { recursive: true });
  const parts = ["main.ts", "deno.json", "import_map.json", "lib", "supabase"].map((part) => `${project}/${part}`);
  await shell("cp", "-R", ...parts, target);
}

export async function shell(command: string, ...args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command(command, { args }).output();
  if (!success) throw new Error(`${command} ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
}

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
  const { stdout } = await new Deno.Command("ps", { args: ["-Axww", "-o", "pid=,command="] }).output();
  return new TextDecoder().decode(stdout).split("\n")
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
export async function allGone(directory: string, milliseconds = 10_000): Promise<void> {
  const deadline = Date.now() + milliseconds;
  for (let left = await processesOf(directory); left.length > 0; left = await processesOf(directory)) {
    if (Date.now() > deadline) throw new Error(`left behind: ${left.map((p) => `${p.pid} ${p.command}`).join("; ")}`);
    await new Promise((resume) => setTimeout(resume, 20));
  }
}
