/** A loader to kill: a process that says that it is ready, takes a database's URL, loads once, says how it ended. */
import { load } from "../../lib/load.ts";
import { locked, start } from "./command.ts";
import { project } from "./project.ts";

if (import.meta.main) {
  console.log("ready");
  for await (const databaseUrl of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
    const outcome = await load({ databaseUrl }).then(({ status }) => status, ({ code }) => code);
    console.log(outcome);
  }
}

/** A loader in a process of its own, waiting for the URL to load into. */
export async function startLoader() {
  const args = ["run", "-A", "--quiet", "--no-check", ...locked, new URL(import.meta.url).pathname];
  const child = start(Deno.execPath(), args, { cwd: project, stdin: "piped", stderr: "inherit" });
  const lines = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const input = child.stdin.getWriter();
  await lines.read();
  return {
    go: (databaseUrl: string) => input.write(new TextEncoder().encode(databaseUrl)),
    /** What it says at its end. */
    answer: async () => (await lines.read()).value ?? "",
    kill: async () => {
      child.kill("SIGKILL");
      await Promise.all([child.status, input.close().catch(() => {}), lines.cancel()]);
    },
  };
}
