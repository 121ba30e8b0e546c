/** A deployed function, as the platform would run it: its uploaded files alone, under a Deno of choice. */
import { dirname } from "node:path";
import { type Result, result } from "../support/processes.ts";

const server = new URL("function_server.ts", import.meta.url).pathname;

/** The runtime that hosts the function, from npm. */
export async function denoOfThePlatform(): Promise<string> {
  const args = ["-y", "deno@2.1.4", "eval", "console.log(Deno.execPath())"];
  const { code, out, err }: Result = await result(
    new Deno.Command("npx", { args, stdin: "null", stdout: "piped", stderr: "piped" }).spawn(),
  );
  if (code !== 0) throw new Error(err);
  return out.trim();
}

export interface Deployed extends AsyncDisposable {
  url: string;
  /** Milliseconds from the start of the process until it listened. */
  startedIn: number;
}

/** Writes `files` to `directory`, which is empty, and serves the function there. */
export async function deployed(
  deno: string,
  directory: string,
  files: Record<string, string>,
  env: Record<string, string>,
): Promise<Deployed> {
  for (const [path, text] of Object.entries(files)) {
    await Deno.mkdir(dirname(`${directory}/${path}`), { recursive: true });
    await Deno.writeTextFile(`${directory}/${path}`, text);
  }
  const startedAt = performance.now();
  const child = new Deno.Command(deno, {
    args: [
      ...["run", "--no-prompt", "--no-lock", "--allow-net=127.0.0.1", "--allow-env", `--allow-read=${directory}`],
      `--config=${directory}/deno.json`,
      ...[server, "0", `${directory}/supabase/functions/etl/index.ts`],
    ],
    cwd: directory,
    env: { DENO_NO_UPDATE_CHECK: "1", DATABASE_URL: "", ...env },
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const port = await listening(child);
  return {
    url: `http://127.0.0.1:${port}/etl`,
    startedIn: performance.now() - startedAt,
    [Symbol.asyncDispose]: async () => {
      child.kill();
      await child.status;
    },
  };
}

/** The port that the child says it listens on. Its output is read to the end, so that the pipe never fills. */
function listening(child: Deno.ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    let said = "";
    const reading = (async () => {
      for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
        said += text;
        const port = /listening on (\d+)/.exec(said)?.[1];
        if (port) resolve(Number(port));
      }
    })();
    reading.finally(() => reject(new Error(`the function did not start: ${said}`)));
  });
}
