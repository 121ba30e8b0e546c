/**
 * A process that does not outlive this one. It runs under a small shell that waits on its standard input: when this
 * process ends, in whatever way, the pipe closes and the shell interrupts the command until it is gone.
 */
import type { Owner } from "./home.ts";

export interface Supervised {
  /** What the command says on standard error; ends when the command does. */
  log: ReadableStream<string>;
  stop(): Promise<Deno.CommandStatus>;
}

// One interrupt may come before the command listens for it. `exec` leaves standard error to the command alone.
const watchdog = `trap : HUP INT TERM
"$0" "$@" & command=$!
exec 2>/dev/null
read _
while kill -INT $command; do sleep 0.02; done
wait $command`;

export function supervise(cwd: string, owner: Owner, command: string[]): Supervised {
  const options = { cwd, stdin: "piped", stdout: "null", stderr: "piped", ...owner } as const;
  const shell = new Deno.Command("sh", { args: ["-c", watchdog, ...command], ...options }).spawn();
  return {
    log: shell.stderr.pipeThrough(new TextDecoderStream()),
    stop: async () => {
      await shell.stdin.close().catch(() => {});
      return await shell.status;
    },
  };
}
