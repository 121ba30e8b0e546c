/** A process that loads as it is told: each line of its input holds a run's options, and each line of its output a report. */
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import { bundle } from "../../lib/local/bundle.ts";
import { load, type LoadOptions } from "../../lib/load.ts";
import type { Report } from "../../lib/report.ts";
import { denoOfThePlatform } from "../deploy/deployed.ts";
import { start } from "./command.ts";
import { temporary } from "./directories.ts";

const linesOf = (stream: ReadableStream<Uint8Array>) =>
  // deno-lint-ignore no-explicit-any
  createInterface({ input: Readable.fromWeb(stream as any), crlfDelay: Infinity })[Symbol.asyncIterator]();

if (import.meta.main) {
  const lines = linesOf(Deno.stdin.readable);
  for (let line = await lines.next(); !line.done; line = await lines.next()) {
    console.log(JSON.stringify(await load(JSON.parse(line.value)).catch(({ code, message }) => ({ code, message }))));
  }
}

export type Name = "Deno 2.1.4" | "this Deno";

export interface Loader extends AsyncDisposable {
  load(options: LoadOptions): Promise<Report>;
  /** All that the process has said. */
  said(): Promise<string>;
}

/** The loader as it is deployed, in a process of its own of one Deno or the other. */
export async function loaderElsewhere(): Promise<(deno: Name, env: Record<string, string>) => Promise<Loader>> {
  const denos = { "Deno 2.1.4": await denoOfThePlatform(), "this Deno": Deno.execPath() };
  await using directory = await temporary();
  await bundle("tests/support/loading.ts", `${directory.path}/loading.ts`);
  const source = await Deno.readTextFile(`${directory.path}/loading.ts`);
  return async (deno, env) => {
    const directory = await temporary();
    await Deno.writeTextFile(`${directory.path}/loading.ts`, source);
    const child = start(denos[deno], ["run", "--no-config", "-A", "--quiet", `${directory.path}/loading.ts`], {
      cwd: directory.path,
      env: { DENO_NO_UPDATE_CHECK: "1", ...env },
      stdin: "piped",
    });
    const input = child.stdin.getWriter();
    const output = linesOf(child.stdout);
    const errors = new Response(child.stderr).text();
    let said = "";
    return {
      load: async (options) => {
        await input.write(new TextEncoder().encode(JSON.stringify(options) + "\n"));
        const { done, value } = await output.next();
        if (done) throw new Error(await errors);
        said += value;
        return JSON.parse(value);
      },
      said: async () => {
        await input.close();
        return said + await errors;
      },
      [Symbol.asyncDispose]: async () => {
        await input.close().catch(() => {});
        await child.status;
        await directory[Symbol.asyncDispose]();
      },
    };
  };
}
