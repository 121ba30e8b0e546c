/**
 * A real Postgres 17 for laptops and tests, from npm's platform package: no Docker, no installation, root or not.
 * The server lives exactly as long as the process that started it.
 */
// @ts-types="@types/pg"
import pg from "pg";
import { connect } from "../../database/connect.ts";
import { EtlError } from "../../errors.ts";
import { createCluster } from "./cluster.ts";
import { ownerOf } from "./home.ts";
import { install } from "./install.ts";
import { endLeftovers, freePort, serve } from "./server.ts";

export interface LocalPostgres {
  /** As the loader connects: the role `postgres`, which is no superuser, as on Supabase. */
  url: string;
  /** The superuser `supabase_admin`, for tests that look beneath the tables. */
  adminUrl: string;
  stop(): Promise<void>;
}

/** Starts the server whose files are under `home`, made on first use. One at a time: a second caller waits. */
export async function startPostgres(home: string, settings: string[] = [], ports = freePort): Promise<LocalPostgres> {
  await using stack = new AsyncDisposableStack();
  try {
    await Deno.mkdir(home, { recursive: true });
    const lock = await takeLock(home);
    stack.defer(() => lock.close());
    const owner = await ownerOf(home);
    const native = await install(home, owner);
    const password = await createCluster(home, native, owner);
    await endLeftovers(`${home}/data`);
    const { port, stop } = await serve(home, native, owner, settings, ports);
    stack.defer(stop);
    const url = (role: string) => `postgres://${role}:${password}@127.0.0.1:${port}/postgres?sslmode=disable`;
    const [loader, admin] = [url("postgres"), url("supabase_admin")];
    await createRoles(admin, password);
    const running = stack.move();
    return { url: loader, adminUrl: admin, stop: () => running.disposeAsync() };
  } catch (error) {
    throw error instanceof EtlError ? error : notStarted(home, error as Error);
  }
}

async function takeLock(home: string): Promise<Deno.FsFile> {
  const file = await Deno.open(`${home}/lock`, { create: true, write: true });
  const notice = setTimeout(
    () => console.error("Another command is using the embedded Postgres; waiting for it to end."),
    500,
  );
  await file.lock(true);
  clearTimeout(notice);
  return file;
}

/** The roles of a Supabase project. */
async function createRoles(adminUrl: string, password: string): Promise<void> {
  await using client = await connect(adminUrl);
  const sql = await Deno.readTextFile(new URL("roles.sql", import.meta.url));
  await client.query(sql.replaceAll(":password", pg.escapeLiteral(password)));
}

/** Why it did not start, and what to do: never anything by which data would be lost. */
function notStarted(home: string, cause: Error): EtlError {
  const lines = cause.message.trim().split("\n").filter((line) => !line.includes("database system is shut down"));
  const fault = faults.find(({ told }) => told.test(cause.message));
  const why = fault?.why ?? (lines.slice(-3).join(" / ") || "it ended without a word");
  const hint = fault?.hint ?? `To begin anew, move ${home} away: its data is kept there.`;
  return new EtlError(
    "local_postgres",
    `The embedded Postgres did not start: ${why.replace("{home}", () => home)}`,
    `${hint.replaceAll("{home}", () => home)} Or set DATABASE_URL to another Postgres.`,
    { cause },
  );
}

/** In the words of the operating system, as Deno or Postgres hands them on; {home} is where the data is. */
const faults: { told: RegExp; why?: string; hint: string }[] = [
  {
    // Of semaphores and shared memory it means other limits than a disk's.
    told: /^(?!.*(semaphore|shared memory)).*(No space left on device|quota exceeded|os error (28|122)\b)/si,
    why: "the disk that holds {home} is full",
    hint: "Make room on it, about 200 MB (df -h {home} shows what there is), and run again: its data is still there.",
  },
  {
    told: /Read-only file ?system|os error 30\b/i,
    why: "{home} is on a disk that is read-only",
    hint: "Make it writable, or use a copy of the project where you may write; its data is still there.",
  },
  {
    told: /Permission denied|os error 13\b/i,
    hint: '{home}, or a directory above it, is another user\'s. Make it yours: sudo chown -R "$USER" {home}',
  },
  { told: /no free port was found/, hint: "Wait until other programs have ended, and run again." },
  { told: /processes left over/, hint: "End them, and run again." },
];
