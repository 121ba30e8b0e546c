/** A file of this machine as a feed's server would send it: what follows is the same for both. */
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { EtlError } from "../errors.ts";
import type { LocalFile } from "../load.ts";
import { listen } from "./listen.ts";

/** Serves the file on loopback, at a path that nobody else knows, without a word of when it was written. */
export async function serveFile(said: string): Promise<LocalFile & { stop(): Promise<void> }> {
  const path = pathOf(said);
  await check(path, said);
  const secret = `/${crypto.randomUUID()}`;
  const { url, stop } = listen(0, async (request) => {
    if (new URL(request.url).pathname !== secret) return new Response("not here", { status: 404 });
    const file = await Deno.open(path);
    const { size } = await file.stat();
    return new Response(file.readable, { headers: { "content-length": `${size}` } });
  });
  return { url: url + secret, place: said, stop };
}

/** A path as whoever types it means it, or a file URL. A task runs in the project's folder, wherever it was started. */
function pathOf(said: string): string {
  try {
    if (/^file:/i.test(said)) return fileURLToPath(said);
  } catch (cause) {
    throw refused(`${said} is not the URL of a file on this machine`, "Say its path, as in --file ./trips.csv", cause);
  }
  if (said === "-" || /^https?:/i.test(said)) {
    throw refused(`${said} is no file of this machine`, "A partner's file is named by etl.feeds.url.");
  }
  return resolve(Deno.env.get("INIT_CWD") ?? Deno.cwd(), said);
}

async function check(path: string, said: string): Promise<void> {
  try {
    const { isFile, isDirectory } = await Deno.stat(path);
    if (isDirectory) throw refused(`${said} is a folder`, "Name a file in it.");
    if (!isFile) throw refused(`${said} is no plain file, and can be read but once`, "Write it to a file first.");
    (await Deno.open(path)).close();
  } catch (cause) {
    if (cause instanceof EtlError) throw cause;
    if (cause instanceof Deno.errors.NotFound) {
      throw refused(`there is no file ${said}`, `It was looked for at ${path}.`, cause);
    }
    throw refused(`${said} cannot be read`, `Who runs the command must be allowed to read ${path}.`, cause);
  }
}

function refused(message: string, hint: string, cause?: unknown): EtlError {
  return new EtlError("file", message, hint, { cause });
}
