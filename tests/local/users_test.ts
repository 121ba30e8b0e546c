/** Who runs it: root, whose server cannot be root's, or an ordinary user. Root alone can try both. */
import assert from "node:assert/strict";
import { homeOf } from "../../lib/local/postgres/home.ts";
import { startPostgres } from "../../lib/local/postgres/start.ts";
import { denoDirectory, output, result, run } from "../support/command.ts";
import { copyProject, temporary } from "../support/directories.ts";
import { hush } from "../support/hush.ts";
import { allGone } from "../support/processes.ts";

const root = Deno.uid() === 0;

/** The user that root's server runs as. */
async function nobody(): Promise<{ uid: number; gid: number }> {
  const [uid, gid] = await Promise.all(["-u", "-g"].map((which) => output("id", [which, "nobody"])));
  return { uid: Number(uid), gid: Number(gid) };
}

/** A machine of an ordinary user: their own Deno, packages and project. */
async function ordinary(path: string) {
  const user = await nobody();
  await Deno.chmod(path, 0o755);
  await copyProject(`${path}/project`);
  await Deno.copyFile(Deno.execPath(), `${path}/deno`);
  await Deno.mkdir(`${path}/cache`);
  await output("cp", ["-R", `${await denoDirectory()}/npm`, `${path}/cache/npm`]);
  await output("chown", ["-R", `${user.uid}:${user.gid}`, path]);
  const env = { HOME: path, DENO_DIR: `${path}/cache`, DATABASE_URL: "", NO_COLOR: "1" };
  return (...args: string[]) =>
    result(`${path}/deno`, ["run", "-A", "--quiet", "--lock", "--frozen", "main.ts", ...args], {
      cwd: `${path}/project`,
      env,
      ...user,
    });
}

/** The status of the three feeds, where they have the same. */
function statuses(out: string): string {
  return /^drivers +(\w+) .*\ntrips +\1 .*\ncharges +\1 /m.exec(out)?.[1] ?? out;
}

if (root) {
  Deno.test("an ordinary user", async (t) => {
    await using machine = await temporary();
    const project = `${machine.path}/project`;
    const command = await ordinary(machine.path);
    await t.step("then root, then the user again, all on the same data", async () => {
      const first = await command("start");
      assert.deepEqual([first.code, statuses(first.out)], [0, "changed"], first.err);
      const byRoot = await run(["start"], { cwd: project });
      assert.deepEqual([byRoot.code, statuses(byRoot.out)], [0, "unchanged"], byRoot.err);
      const again = await command("etl", "--json");
      assert.deepEqual([again.code, JSON.parse(again.out).status], [0, "unchanged"], again.err);
      await allGone(machine.path, 0);
    });
    await t.step("data that another user has made: said, with the way out", async () => {
      await Deno.remove(`${project}/.local`, { recursive: true });
      await Deno.mkdir(`${project}/.local`, { mode: 0o700 });
      const { code, out, err } = await command("start");
      assert.deepEqual([code, out], [1, ""]);
      assert.match(
        err,
        /error: .* did not start: Permission denied.*\n {7}.* is another user's\. Make it yours: sudo chown/,
      );
    });
  });

  Deno.test("root, in a directory that only root may enter: the data is elsewhere, and it is said", async () => {
    await using closed = await temporary();
    const project = `${closed.path}/project`;
    await copyProject(project);
    using _hushed = hush();
    const home = await homeOf(project);
    assert.match(home, /^\/var\/tmp\/tdc-etl-[0-9a-f]{16}$/);
    try {
      for (const status of ["changed", "unchanged"]) {
        const { code, out, err } = await run(["etl", "--json"], { cwd: project });
        assert.deepEqual([code, JSON.parse(out).status], [0, status], err);
        assert.equal(err.match(new RegExp(`no way into ${project}; its data is in ${home}\\.`, "g"))?.length, 1, err);
      }
      await allGone(home, 0);
      await Deno.remove(home, { recursive: true });
      await Deno.symlink(closed.path, home);
      const { code, err } = await run(["etl"], { cwd: project });
      assert.equal(code, 1);
      assert.match(err, new RegExp(`${home} is not ours`));
    } finally {
      await Deno.remove(home, { recursive: true });
    }
  });

  Deno.test("root with a mask that hides its files from others", async () => {
    await using home = await temporary();
    const before = Deno.umask(0o077);
    try {
      const postgres = await startPostgres(home.path);
      await postgres.stop();
    } finally {
      Deno.umask(before);
    }
  });
}
