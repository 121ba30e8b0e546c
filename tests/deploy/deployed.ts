/** A deployed function, as the platform would run it: its uploaded files alone, under a Deno of choice. */
import { dirname } from "node:path";
import { output, start } from "../support/command.ts";
import type { ManagementApi } from "./management_api.ts";
import { says } from "../support/waiting.ts";

const server = new URL("function_server.ts", import.meta.url).pathname;

/** The runtime that hosts the function, from npm. */
export async function denoOfThePlatform(): Promise<string> {
  const args = ["-y", "deno@2.1.4", "eval", "console.log(Deno.execPath())"];
  return (await output("npx", args)).trim();
}

export interface Deployed extends AsyncDisposable {
  url: string;
  /** Milliseconds from the start of the process until it listened. */
  startedIn: number;
}

/** Writes what was uploaded to `directory`, which is empty, and serves the function there; it can fetch no package. */
export async function deployed(
  deno: string,
  directory: string,
  { uploaded, metadata }: Pick<ManagementApi, "uploaded" | "metadata">,
  env: Record<string, string>,
): Promise<Deployed> {
  for (const [path, text] of Object.entries(uploaded)) {
    await Deno.mkdir(dirname(`${directory}/${path}`), { recursive: true });
    await Deno.writeTextFile(`${directory}/${path}`, text);
  }
  const startedAt = performance.now();
  const args = [
    ...["run", "--no-prompt", "--no-config", "--no-lock", "--no-npm", "--no-remote"],
    ...["--allow-net=127.0.0.1", "--allow-env", `--allow-read=${directory}`],
    ...[server, "0", `${directory}/${metadata.entrypoint_path}`],
  ];
  const child = start(deno, args, {
    cwd: directory,
    env: { DENO_NO_UPDATE_CHECK: "1", DATABASE_URL: "", ...env },
    stderr: "inherit",
  });
  const [, port] = await says(child.stdout.pipeThrough(new TextDecoderStream()), /listening on (\d+)/);
  return {
    url: `http://127.0.0.1:${port}/etl`,
    startedIn: performance.now() - startedAt,
    [Symbol.asyncDispose]: async () => {
      child.kill();
      await child.status;
    },
  };
}
