/** The rows of the group "start": from the start of a process to the end of a command, or to a first answer. */
import { remove } from "../../lib/local/postgres/install.ts";
import { startScript } from "../processes.ts";

export interface Case {
  name: string;
  /** With the Deno that is measured, in a copy of the project that a bare machine might have; returns milliseconds. */
  time: (deno: string, project: string) => Promise<number>;
}

export const cases: Case[] = [
  {
    name: "task start, bare machine: by npx, with all downloads",
    time: async (_, project) => {
      for (const name of [".npm", ".deno", ".local"]) await remove(`${project}/${name}`);
      const caches = { npm_config_cache: `${project}/.npm`, DENO_DIR: `${project}/.deno` };
      return await start("npx", ["-y", `deno@${Deno.version.deno}`], project, caches);
    },
  },
  {
    name: "task start, Deno and packages there",
    time: async (deno, project) => {
      await remove(`${project}/.local`);
      return await start(deno, [], project);
    },
  },
  {
    name: "task start, again",
    time: async (deno, project) => {
      await start(deno, [], project);
      return await start(deno, [], project);
    },
  },
  { name: "edge function, to its first answer", time: (deno) => answer(deno, "function") },
  { name: "Deno.serve alone, to its first answer", time: (deno) => answer(deno, "nothing") },
];

async function start(program: string, args: string[], cwd: string, env: Record<string, string> = {}): Promise<number> {
  const command = new Deno.Command(program, {
    args: [...args, "task", "start"],
    cwd,
    // The embedded Postgres is what is started here, whatever else there is.
    env: { DATABASE_URL: "", ...env },
    stdin: "null",
    stdout: "null",
    stderr: "null",
  });
  const started = performance.now();
  const { success } = await command.spawn().status;
  if (!success) throw new Error(`${program}: task start failed`);
  return performance.now() - started;
}

async function answer(deno: string, what: string): Promise<number> {
  await using stack = new AsyncDisposableStack();
  const started = performance.now();
  const url = await startScript(stack, deno, "start/serve.ts", what);
  await (await fetch(`${url}/etl`, { method: "POST" })).body?.cancel();
  return performance.now() - started;
}
