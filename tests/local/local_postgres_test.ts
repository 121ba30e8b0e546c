/** The embedded Postgres: whatever state it was left in, it starts; however its owner ends, nothing stays behind. */
import assert from "node:assert/strict";
import { connect } from "../../lib/database/connect.ts";
import { startPostgres } from "../../lib/local/postgres/start.ts";
import { freePort } from "../../lib/local/postgres/server.ts";
import { locked, start } from "../support/command.ts";
import { temporary } from "../support/directories.ts";
import { allGone, processesOf } from "../support/processes.ts";
import { project } from "../support/project.ts";
import { says, until } from "../support/waiting.ts";

// deno-lint-ignore no-explicit-any
async function query(url: string, sql: string): Promise<any[]> {
  const client = await connect(url);
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}

/** A start that must succeed, a look at the data, and a stop that leaves nothing. */
async function startsAgain(home: string): Promise<void> {
  const postgres = await startPostgres(home);
  assert.deepEqual(await query(postgres.url, "select * from public.kept"), [{ it: 1 }]);
  await postgres.stop();
  await allGone(home, 0);
}

/** One home for all tests: each leaves it so that a server starts again. */
const home = await temporary();

Deno.test.beforeAll(async () => {
  const postgres = await startPostgres(home.path);
  await query(postgres.adminUrl, "create table public.kept as select 1 as it; grant select on public.kept to postgres");
  await postgres.stop();
});

Deno.test.afterAll(async () => await home[Symbol.asyncDispose]());

/** Another Deno that starts the server in `home` and then does nothing. */
function owner(home: string): Deno.ChildProcess {
  const module = new URL("../../lib/local/postgres/start.ts", import.meta.url);
  const code = `const { startPostgres } = await import("${module}");
    const { adminUrl } = await startPostgres("${home}");
    console.log(adminUrl);
    setInterval(() => {}, 1000);`;
  return start(Deno.execPath(), ["eval", ...locked, code], { cwd: project, stderr: "null" });
}

async function firstLine(child: Deno.ChildProcess): Promise<string> {
  return (await says(child.stdout.pipeThrough(new TextDecoderStream()), /^(.+)\n/))[1];
}

async function pidOf(home: string, command: RegExp): Promise<number> {
  const found = (await processesOf(home)).filter((process) => command.test(process.command));
  assert.equal(found.length, 1, JSON.stringify(found));
  return found[0].pid;
}

const server = /^\/.*\/bin\/postgres -D /;
const watchdog = /^\S*sh -c /;

Deno.test("a fresh directory: a server with Supabase's roles, whose loader is no superuser", async () => {
  await using fresh = await temporary();
  await Deno.chmod(fresh.path, 0o755);
  const postgres = await startPostgres(`${fresh.path}/deep/and new`);
  const [{ version, superuser, owner }] = await query(
    postgres.url,
    `select current_setting('server_version_num')::int / 10000 as version, r.rolsuper as superuser, pg_get_userbyid(d.datdba) as owner
    from pg_roles r, pg_database d where r.rolname = current_user and d.datname = current_database()`,
  );
  assert.deepEqual([version, superuser, owner], [17, false, "postgres"]);
  const roles = await query(postgres.adminUrl, "select rolname from pg_roles where rolname !~ '^pg_' order by 1");
  assert.deepEqual(
    roles.map((role) => role.rolname),
    ["anon", "authenticated", "authenticator", "postgres", "service_role", "supabase_admin", "supabase_read_only_user"],
  );
  const { uid } = await Deno.stat(`/proc/${await pidOf(fresh.path, server)}`).catch(() => ({ uid: null }));
  assert.notEqual(uid, 0);
  await postgres.stop();
  await allGone(fresh.path, 0);
});

Deno.test("an existing directory, with a pid file of nobody's, of another's, or an empty one", async () => {
  await startsAgain(home.path);
  const { uid, gid } = await Deno.stat(`${home.path}/data`);
  const user = Deno.uid() === 0 ? { uid: uid!, gid: gid! } : {};
  const other = new Deno.Command("sleep", { args: ["600"], cwd: "/", ...user }).spawn();
  for (const pid of ["4194399", `${other.pid}`, `-${other.pid}`, ""]) {
    const rest = `${home.path}/data\n1600000000\n5432\n\n127.0.0.1\n  1234567  99999\nready   \n`;
    await Deno.writeTextFile(`${home.path}/data/postmaster.pid`, pid && `${pid}\n${rest}`);
    await startsAgain(home.path);
  }
  other.kill("SIGKILL");
  assert.equal((await other.status).signal, "SIGKILL", "it was left alone until now");
});

Deno.test("its owner is killed: the server ends with it; the watchdog too: the next start ends the server", async () => {
  for (const watched of [true, false]) {
    const child = owner(home.path);
    await firstLine(child);
    const pid = await pidOf(home.path, server);
    if (!watched) Deno.kill(await pidOf(home.path, watchdog), "SIGKILL");
    child.kill("SIGKILL");
    await child.status;
    if (watched) await allGone(home.path);
    else assert.equal(await pidOf(home.path, server), pid, "it is left over");
    await startsAgain(home.path);
  }
});

Deno.test("the server is killed while a query keeps a backend busy: the next start ends that, then recovers", async () => {
  const child = owner(home.path);
  const url = await firstLine(child);
  const client = await connect(url);
  const busy = client.query("do $$ begin loop null; end loop; end $$").catch(() => "cut off");
  const active = "select pid from pg_stat_activity where state = 'active' and query ~ '^do '";
  const backend = await until("the backend is busy", async () => (await query(url, active))[0]);
  Deno.kill(await pidOf(home.path, server), "SIGKILL");
  child.kill("SIGKILL");
  await child.status;
  assert.ok((await processesOf(home.path)).some((process) => process.pid === backend.pid), "it goes on");
  await startsAgain(home.path);
  assert.equal(await busy, "cut off");
  await client.end().catch(() => {});
});

Deno.test("its owner is killed while the data directory is being made: the next start makes it anew", async () => {
  await using fresh = await temporary();
  const child = owner(fresh.path);
  const drafts = () => [...Deno.readDirSync(fresh.path)].filter((entry) => entry.name.startsWith("data."));
  await until("the data directory is being made", () => drafts().length > 0);
  child.kill("SIGKILL");
  await child.status;
  await child.stdout.cancel();
  await allGone(fresh.path);
  const postgres = await startPostgres(fresh.path);
  assert.deepEqual(drafts(), []);
  await postgres.stop();
  await allGone(fresh.path, 0);
});

Deno.test("two starts at once: the second waits until the first has stopped", async () => {
  const starts = [startPostgres(home.path), startPostgres(home.path)];
  const first = await Promise.race(starts.map(async (start, i) => ({ postgres: await start, other: starts[1 - i] })));
  assert.equal(await Promise.race([first.other, query(first.postgres.url, "select 1").then(() => "waits")]), "waits");
  await first.postgres.stop();
  const second = await first.other;
  assert.deepEqual(await query(second.url, "select * from public.kept"), [{ it: 1 }]);
  await second.stop();
  await allGone(home.path, 0);
});

Deno.test("a port that is taken meanwhile is given up for another; without end, it is said", async () => {
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = taken.addr as Deno.NetAddr;
  const offers = [port, port, freePort()];
  const postgres = await startPostgres(home.path, [], () => offers.shift()!);
  assert.equal(offers.length, 0);
  await postgres.stop();
  await assert.rejects(startPostgres(home.path, [], () => port), {
    code: "local_postgres",
    message: `The embedded Postgres did not start: no free port was found; the last one tried is ${port}`,
    hint: "Wait until other programs have ended, and run again. Or set DATABASE_URL to another Postgres.",
  });
  await allGone(home.path, 0);
});

Deno.test("a server that cannot start says why", async (t) => {
  await t.step("a setting that does not exist", async () => {
    const message = /did not start: .*unrecognized configuration parameter "no_such"/;
    await assert.rejects(startPostgres(home.path, ["no_such=1"]), { message });
  });
  await t.step("a program that cannot be run", async () => {
    const [version] = [...Deno.readDirSync(home.path)].filter((entry) => entry.name.startsWith("postgres-"));
    await Deno.writeTextFile(`${home.path}/${version.name}/native/bin/postgres`, "no program");
    await assert.rejects(startPostgres(home.path), { code: "local_postgres", message: /did not start: .+/ });
  });
  await t.step("a password file that is gone", async () => {
    await Deno.remove(`${home.path}/password`);
    await assert.rejects(startPostgres(home.path), { code: "local_postgres", message: /password/ });
  });
  await allGone(home.path, 0);
});
