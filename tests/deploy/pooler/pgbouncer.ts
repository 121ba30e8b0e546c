/** PgBouncer from Debian, unpacked beside the host where it is not installed: a transaction pooler like the hosted one. */
import { homeOf, ownerOf } from "../../../lib/local/postgres/home.ts";
import { freePort } from "../../../lib/local/postgres/server.ts";
import { supervise } from "../../../lib/local/postgres/supervise.ts";
import { unpack } from "../../schedule/cron/debian.ts";
import { temporary } from "../../support/directories.ts";
import { project } from "../../support/project.ts";
import { says } from "../../support/waiting.ts";

const packages = `libaudit1 libc6 libcap-ng0 libcap2 libcares2 libevent-2.1-7t64 libgcc-s1 libpam0g libssl3t64
  libsystemd0 libzstd1 pgbouncer zlib1g`.split(/\s+/);

export interface Pooler extends AsyncDisposable {
  url: string;
  /** PgBouncer's own database, for `show pools`. */
  consoleUrl: string;
}

/** A pooler before the server of `databaseUrl`, which gives each transaction one of `size` connections. */
export async function startPooler(databaseUrl: string, size: number): Promise<Pooler> {
  const program = await pgbouncer();
  const home = await temporary();
  const owner = await ownerOf(home.path);
  const { hostname, port, username, password } = new URL(databaseUrl);
  const listenPort = freePort();
  await Deno.writeTextFile(`${home.path}/users`, `"${username}" "${decodeURIComponent(password)}"\n`);
  await Deno.writeTextFile(
    `${home.path}/pgbouncer.ini`,
    `[databases]
* = host=${hostname} port=${port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${listenPort}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = ${home.path}/users
admin_users = ${username}
pool_mode = transaction
default_pool_size = ${size}
`,
  );
  const { log, stop } = supervise(home.path, owner, [program, `${home.path}/pgbouncer.ini`]);
  await says(log, /process up/);
  const at = (url: string) => Object.assign(new URL(url), { port: `${listenPort}` });
  return {
    url: at(databaseUrl).href,
    consoleUrl: Object.assign(at(databaseUrl), { pathname: "/pgbouncer" }).href,
    [Symbol.asyncDispose]: async () => {
      await stop();
      await home[Symbol.asyncDispose]();
    },
  };
}

async function pgbouncer(): Promise<string> {
  const installed = "/usr/sbin/pgbouncer";
  if (await Deno.stat(installed).then(() => true, () => false)) return installed;
  const home = await homeOf(project);
  await Deno.mkdir(home, { recursive: true });
  await unpack(`${home}/pgbouncer`, packages, ["usr/sbin/pgbouncer"]);
  return `${home}/pgbouncer/usr/sbin/pgbouncer`;
}
