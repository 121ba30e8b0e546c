/** Commands in processes of their own: any, and `main.ts`. */
import { project } from "./project.ts";

export interface Result {
  code: number;
  out: string;
  err: string;
}

export type Options = Partial<Deno.CommandOptions>;

/** For each Deno that runs code of this project: it takes the packages of deno.lock, and no others. */
export const locked = [`--lock=${project}/deno.lock`, "--frozen"];

/** Starts a command with its output piped. */
export function start(command: string, args: string[], options: Options = {}): Deno.ChildProcess {
  const all = { args, stdin: "null", stdout: "piped", stderr: "piped", ...options } as const;
  return new Deno.Command(command, all).spawn();
}

/** What a child has said once it has ended. */
export async function ended(child: Deno.ChildProcess): Promise<Result> {
  const { code, stdout, stderr } = await child.output();
  return { code, out: new TextDecoder().decode(stdout), err: new TextDecoder().decode(stderr) };
}

/** Runs a command to its end, whatever that is. */
export async function result(command: string, args: string[], options?: Options): Promise<Result> {
  return await ended(start(command, args, options));
}

/** The standard output of a command that must succeed. */
export async function output(command: string, args: string[], options?: Options): Promise<string> {
  const { code, out, err } = await result(command, args, options);
  if (code !== 0) throw new Error(`${command} ${args.join(" ")}: ${err || out}`);
  return out;
}

/** `main.ts` as a child, by this same Deno; without colours, Deno's own remarks, or another DATABASE_URL than the one given. */
export function main(args: string[], { cwd = project, env, ...options }: Options = {}): Deno.ChildProcess {
  return start(Deno.execPath(), ["run", "-A", "--quiet", ...locked, `${cwd}/main.ts`, ...args], {
    cwd,
    env: { NO_COLOR: "1", DATABASE_URL: "", ...env },
    ...options,
  });
}

export async function run(args: string[], options?: Options): Promise<Result> {
  return await ended(main(args, options));
}

/** `etl` on a terminal of its own, by util-linux's `script`, a part of every Debian, or BSD's of the same name. */
export async function onTerminal(cwd: string, env: Record<string, string>): Promise<Result> {
  const command = [Deno.execPath(), "run", "-A", ...locked, `${cwd}/main.ts`, "etl"].map((word) => `'${word}'`).join(
    " ",
  );
  const linux = Deno.build.os === "linux";
  const args = linux ? ["-qec", command, "/dev/null"] : ["-q", "/dev/null", "sh", "-c", command];
  return await result("script", args, { cwd, env: { DATABASE_URL: "", TERM: "xterm", ...env } });
}

/** Where this Deno keeps packages. */
export async function denoDirectory(): Promise<string> {
  return JSON.parse(await output(Deno.execPath(), ["info", "--json"])).denoDir;
}
