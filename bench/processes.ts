/** The processes of the benchmark, each a script of this directory. */
import { locked } from "../tests/support/command.ts";
import type { Cost } from "./measured.ts";

/** Runs a job to its end. */
export async function measure(deno: string, job: string[], env: Record<string, string> = {}): Promise<Cost> {
  const { success, stdout } = await script(deno, env, "measured.ts", ...job).output();
  if (!success) throw new Error(`${job[0]}: the measured process failed`);
  return JSON.parse(new TextDecoder().decode(stdout));
}

/** Starts a server, which ends with `stack`, and returns its first line. */
export async function startScript(
  stack: AsyncDisposableStack,
  deno: string,
  name: string,
  ...args: string[]
): Promise<string> {
  const process = script(deno, {}, name, ...args).spawn();
  const reader = process.stdout.getReader();
  stack.defer(async () => {
    process.kill();
    await reader.cancel();
    await process.status;
  });
  const { value } = await reader.read();
  if (!value) throw new Error(`${name} did not start`);
  return new TextDecoder().decode(value).trim();
}

function script(deno: string, env: Record<string, string>, name: string, ...args: string[]): Deno.Command {
  const path = decodeURIComponent(new URL(name, import.meta.url).pathname);
  return new Deno.Command(deno, {
    // Another Deno may not know the form of the lock file.
    args: ["run", ...(deno === Deno.execPath() ? locked : []), "-A", "--no-check", path, ...args],
    env,
    stdout: "piped",
    stderr: "inherit",
  });
}
