/** A disk that is full or read-only: the embedded Postgres says so and where, and never that data be removed for it. */
import assert from "node:assert/strict";
import { startPostgres } from "../../lib/local/postgres/start.ts";
import { output, result } from "../support/command.ts";
import { temporary } from "../support/directories.ts";
import { allGone } from "../support/processes.ts";

const losing = /remove|delete|lost|\brm\b/i;

interface Said {
  code: string;
  message: string;
  hint: string;
}

async function refusal(home: string): Promise<Said> {
  const error = await startPostgres(home).then((postgres) => postgres.stop(), (error: Said) => error);
  assert.ok(error, "it started");
  assert.equal(error.code, "local_postgres");
  assert.doesNotMatch(error.message + error.hint, losing);
  return error;
}

/** Postgres' own last words -> what is said of them. */
const words: Record<string, [message: string, hint: RegExp]> = {
  'FATAL:  could not write lock file "postmaster.pid": No space left on device': [
    "the disk that holds {home} is full",
    /^Make room on it.*df -h \S+ .*still there\. Or set DATABASE_URL to another Postgres\.$/,
  ],
  'FATAL:  could not create file "postmaster.pid": Disk quota exceeded': ["the disk that holds {home} is full", /room/],
  'FATAL:  could not create lock file "postmaster.pid": Read-only file system': [
    "{home} is on a disk that is read-only",
    /^Make it writable, .*still there\./,
  ],
  "FATAL:  could not create semaphores: No space left on device": [
    "FATAL:  could not create semaphores: No space left on device",
    /^To begin anew, move \S+ away: its data is kept there\./,
  ],
  "PANIC:  could not locate a valid checkpoint record": [
    "PANIC:  could not locate a valid checkpoint record",
    /^To begin anew, move \S+ away: its data is kept there\./,
  ],
};

Deno.test("what the server says of its disk at the start is told in words", async (t) => {
  await using home = await temporary();
  await Deno.chmod(home.path, 0o755);
  await (await startPostgres(home.path)).stop();
  const said = (message: string) => `The embedded Postgres did not start: ${message.replace("{home}", home.path)}`;

  await t.step("a file that cannot be written: the disk is full", async () => {
    await Deno.remove(`${home.path}/data/postmaster.opts`);
    await Deno.symlink("/dev/full", `${home.path}/data/postmaster.opts`);
    const { message, hint } = await refusal(home.path);
    assert.deepEqual([message, hint.includes(home.path)], [said("the disk that holds {home} is full"), true]);
    await Deno.remove(`${home.path}/data/postmaster.opts`);
    await (await startPostgres(home.path)).stop();
  });
  const [version] = [...Deno.readDirSync(home.path)].filter((entry) => entry.name.startsWith("postgres-"));
  for (const [line, [message, hint]] of Object.entries(words)) {
    await t.step(line, async () => {
      await Deno.writeTextFile(`${home.path}/${version.name}/native/bin/postgres`, `#!/bin/sh\necho '${line}' >&2\n`);
      const told = await refusal(home.path);
      assert.equal(told.message, said(message));
      assert.match(told.hint, hint);
    });
  }
  await allGone(home.path, 0);
});

/** A disk of its own at `path`, where this machine lets us have one: root of a container may not. */
async function mounted(path: string, size: string): Promise<AsyncDisposable | null> {
  await Deno.mkdir(path);
  const { code } = await result("mount", ["-t", "tmpfs", "-o", `size=${size},mode=755`, "tmpfs", path])
    .catch(() => ({ code: 1 }));
  return code === 0 ? { [Symbol.asyncDispose]: async () => void await output("umount", [path]) } : null;
}

Deno.test("a disk that is full at the first start, full later, then read-only", async () => {
  await using work = await temporary();
  await Deno.chmod(work.path, 0o755);
  const home = `${work.path}/disk`;
  {
    await using disk = await mounted(home, "4m");
    if (disk) assert.match((await refusal(home)).message, / did not start: the disk that holds \S+\/disk is full$/);
    else await Deno.remove(home);
  }
  await Deno.remove(home).catch(() => {});
  await using disk = await mounted(home, "400m");
  if (!disk) return;
  await (await startPostgres(home)).stop();
  await result("dd", ["if=/dev/zero", `of=${home}/more`, "bs=64k"]);
  assert.match((await refusal(home)).message, / did not start: the disk that holds \S+\/disk is full$/);
  await Deno.remove(`${home}/more`);
  await output("mount", ["-o", "remount,ro", home]);
  assert.match((await refusal(home)).message, / did not start: \S+\/disk is on a disk that is read-only$/);
  await output("mount", ["-o", "remount,rw", home]);
  await (await startPostgres(home)).stop();
  await allGone(home, 0);
});
