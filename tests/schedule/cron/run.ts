/**
 * `deno task test:cron [deno test's arguments]`: the schedule on a real pg_cron. Postgres 17 with pg_cron comes from
 * Debian (debian.ts); pg_net and Vault are stood in for (net.sql, net_worker.ts, vault.sql).
 */
// @ts-types="@types/pg"
import pg from "pg";
import { createCluster } from "../../../lib/local/postgres/cluster.ts";
import { homeOf, ownerOf } from "../../../lib/local/postgres/home.ts";
import { migrate } from "../../../lib/local/migrate.ts";
import { freePort } from "../../../lib/local/postgres/server.ts";
import { supervise } from "../../../lib/local/postgres/supervise.ts";
import { locked } from "../../support/command.ts";
import { project } from "../../support/project.ts";
import { says } from "../../support/waiting.ts";
import { unpackPostgres } from "./debian.ts";

const read = (file: string) => Deno.readTextFile(new URL(file, import.meta.url));

/** Starts the server in `home`, its log in `home`/log, and resolves once it takes connections. */
async function start(home: string, native: string) {
  const owner = await ownerOf(home);
  const password = await createCluster(home, native, owner);
  const port = freePort();
  // pg_cron connects as the job's user, by libpq: it finds the password here.
  Deno.env.set("PGPASSFILE", `${home}/pgpass`);
  await Deno.writeTextFile(`${home}/pgpass`, `127.0.0.1:${port}:*:*:${password}\n`, { mode: 0o600 });
  if (owner.uid !== undefined) await Deno.chown(`${home}/pgpass`, owner.uid, owner.gid!);
  const settings = [
    ...["fsync=off", "jit=off", "max_connections=100", "log_min_messages=info", "log_error_verbosity=verbose"],
    ...["shared_preload_libraries=pg_cron", "cron.database_name=postgres", "cron.host=127.0.0.1"],
  ].flatMap((setting) => ["-c", setting]);
  const args = ["-D", `${home}/data`, "-p", `${port}`, "-h", "127.0.0.1", "-k", "", ...settings];
  const server = supervise(home, owner, [`${native}/bin/postgres`, ...args]);
  const file = await Deno.open(`${home}/log`, { create: true, append: true });
  await says(server.log, /ready to accept connections/, (text) => file.write(new TextEncoder().encode(text)));
  const url = (role: string) => `postgres://${role}:${password}@127.0.0.1:${port}/postgres?sslmode=disable`;
  return { url: url("postgres"), adminUrl: url("supabase_admin"), password, stop: server.stop };
}

/** What a project of Supabase has: its roles, pg_cron, pg_net, Vault; then the production migrations. */
async function furnish(adminUrl: string, url: string, password: string): Promise<void> {
  const admin = new pg.Client(adminUrl);
  await admin.connect();
  const roles = await read("../../../lib/local/postgres/roles.sql");
  await admin.query(roles.replaceAll(":password", pg.escapeLiteral(password)));
  for (const file of ["pg_cron.sql", "net.sql", "vault.sql"]) await admin.query(await read(file));
  await admin.end();
  await migrate(url);
}

let home = "";
let stop: (() => Promise<unknown>) | undefined;
let code = 1;
Deno.addSignalListener("SIGINT", () => {});
Deno.addSignalListener("SIGTERM", () => {});
try {
  home = await Deno.makeTempDir({ prefix: "tdc-etl-tests-" });
  const cache = await homeOf(project);
  await Deno.mkdir(cache, { recursive: true });
  const native = await unpackPostgres(`${cache}/debian`);
  const server = await start(home, native);
  stop = server.stop;
  await furnish(server.adminUrl, server.url, server.password);
  const env = { DATABASE_URL: server.url, ADMIN_DATABASE_URL: server.adminUrl, SERVER_LOG: `${home}/log` };
  const files = ["stand_ins.ts", "schedule.ts", "ticks.ts"].map((file) => `${import.meta.dirname}/${file}`);
  const args = ["test", "-A", "--no-check", ...locked, ...(Deno.args.length > 0 ? Deno.args : files)];
  code = (await new Deno.Command(Deno.execPath(), { args, env, stdin: "null" }).spawn().status).code;
} finally {
  await stop?.();
  if (home) await Deno.remove(home, { recursive: true });
}
Deno.exit(code);
