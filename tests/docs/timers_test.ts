/** The recipes of docs/operation.md for other schedulers than pg_cron: each is read as its scheduler reads it, and run. */
import assert from "node:assert/strict";
import { result } from "../support/command.ts";
import { temporary } from "../support/directories.ts";
import { databaseAndWeb } from "../support/given.ts";
import { blocks, document, project } from "../support/project.ts";
import { serve } from "../support/web.ts";

const text = await document("docs/operation.md");

/** The block that begins with the line that names its file. */
function fileNamed(language: string, path: string): string {
  const found = blocks(text, language).find((block) => block.startsWith(`# ${path}\n`));
  assert.ok(found, path);
  return found;
}

const lines = (file: string) =>
  file.split("\n").map((line) => line.trim()).filter((line) => line && !/^[#;]/.test(line));

/** What stands in a file of variables, as a scheduler hands it on. */
function variablesOf(file: string): Record<string, string> {
  const pairs = lines(file).map((line) => /^([A-Z_]+)=(.*)$/.exec(line)).filter((match) => match !== null);
  return Object.fromEntries(pairs.map(([, name, value]) => [name, value]));
}

/** Key -> values, of all sections of a unit. */
function unitOf(file: string): Record<string, string[]> {
  const unit: Record<string, string[]> = {};
  for (const line of lines(file)) {
    const [, key, value] = /^(\w+)=(.*)$/.exec(line) ?? [];
    if (key) (unit[key] ??= []).push(value);
    else assert.match(line, /^\[(Unit|Service|Timer|Install)\]$/);
  }
  return unit;
}

/** A feed that fails, and somebody who is told. */
async function given() {
  const { db, ...all } = await databaseAndWeb();
  const texts: string[] = [];
  const receiver = serve({
    "/hook": async (request) => {
      texts.push((await request.json()).text);
      return new Response("ok");
    },
  });
  await db.query("update etl.feeds set enabled = name = 'trips'");
  await db.pointAt(all.web.url);
  return {
    ...{ db, texts, values: { DATABASE_URL: db.url, ETL_ALERT_URL: `${receiver.url}/hook` } },
    [Symbol.asyncDispose]: async () => {
      await receiver[Symbol.asyncDispose]();
      await all[Symbol.asyncDispose]();
    },
  };
}

const told = /^tdc-etl: trips is failing since .*Cause: Cannot load trips: /;
const deno = "/usr/local/bin/deno";

Deno.test("systemd: the service loads, and then tells; it fails where a feed is not ok", async () => {
  await using at = await given();
  const unit = unitOf(fileNamed("ini", "/etc/systemd/system/tdc-etl.service"));
  assert.deepEqual([unit.Type, unit.WorkingDirectory, unit.EnvironmentFile], [
    ["oneshot"],
    ["/opt/tdc-etl"],
    ["/etc/tdc-etl.env"],
  ]);
  const shown = variablesOf(fileNamed("ini", "/etc/tdc-etl.env"));
  assert.deepEqual(Object.keys(shown), Object.keys(at.values));
  const start = async () => {
    for (const command of unit.ExecStart) {
      const [, mayFail, words] = /^(-?)(.*)$/.exec(command)!;
      const [program, ...args] = words.split(" ").map((word) =>
        word.replace(/^\$\{(\w+)\}$/, (_, name) => at.values[name as keyof typeof at.values])
      );
      assert.equal(program, deno);
      const { code } = await result(Deno.execPath(), args, { cwd: project, env: at.values });
      if (code !== 0 && !mayFail) return "failed";
    }
    return "inactive";
  };
  assert.equal(await start(), "failed");
  assert.deepEqual([at.texts.length, await at.db.query("select status from etl.runs")], [0, [{ status: "failed" }]]);
  assert.equal(await start(), "failed");
  assert.equal(at.texts.length, 1);
  assert.match(at.texts[0], told);
  await using web = serve({ "/trips.csv": "id,driver_id\n" });
  await at.db.pointAt(web.url);
  assert.equal(await start(), "inactive");
});

Deno.test("systemd itself finds no fault with the units, and the timer is due every ten minutes", async () => {
  await using work = await temporary();
  const timer = fileNamed("ini", "/etc/systemd/system/tdc-etl.timer");
  assert.deepEqual(unitOf(timer).OnCalendar, ["*:0/10"]);
  assert.deepEqual(unitOf(timer).WantedBy, ["timers.target"]);
  // Where there is no systemd there is nobody to ask.
  const analyze = await result("sh", ["-c", "command -v systemd-analyze"]);
  if (analyze.code !== 0) return;
  const service = fileNamed("ini", "/etc/systemd/system/tdc-etl.service").replaceAll(deno, "/bin/true")
    .replaceAll("User=etl", "User=root");
  await Deno.writeTextFile(`${work.path}/tdc-etl.service`, service);
  await Deno.writeTextFile(`${work.path}/tdc-etl.timer`, timer);
  const units = ["service", "timer"].map((kind) => `${work.path}/tdc-etl.${kind}`);
  const verified = await result("systemd-analyze", ["verify", "--man=no", "--recursive-errors=no", ...units]);
  const said = (verified.out + verified.err).split("\n").filter((line) => line.includes("tdc-etl"));
  assert.deepEqual(said, []);
  const times = ["calendar", "--iterations=3", "--base-time=2026-11-26 02:01:00 UTC", "*:0/10"];
  const { out } = await result("systemd-analyze", times, { env: { TZ: "UTC" } });
  const due = [...out.matchAll(/(\d\d:\d\d):00 UTC$/gm)].map(([, time]) => time);
  assert.deepEqual(due, ["02:10", "02:20", "02:30"]);
});

Deno.test("cron: its line is one, and its command loads, and then tells", async () => {
  await using at = await given();
  const file = fileNamed("crontab", "/etc/cron.d/tdc-etl");
  assert.deepEqual(Object.keys(variablesOf(file)), Object.keys(at.values));
  const [line, ...others] = lines(file).filter((line) => !/^[A-Z_]+=/.test(line));
  assert.deepEqual(others, []);
  const [, when, user, command] = /^((?:\S+ ){5})(\S+) (.*)$/.exec(line)!;
  assert.equal(user, "etl");
  // To cron a % is the end of the line.
  assert.ok(!command.includes("%"));
  const [{ due }] = await at.db.query(
    "select etl.next_run($1, '2026-11-26 02:01Z') at time zone 'UTC' = '2026-11-26 02:10' as due",
    [
      when.trim(),
    ],
  );
  assert.ok(due);

  await using work = await temporary();
  await Deno.writeTextFile(`${work.path}/logger`, `#!/bin/sh\nexec cat >> '${work.path}/log'\n`, { mode: 0o755 });
  assert.equal(command.split(deno).length, 3);
  const here = command.replaceAll(deno, Deno.execPath()).replace("/opt/tdc-etl", project);
  const env = { ...at.values, PATH: `${work.path}:/usr/bin:/bin` };
  const tick = () => result("/bin/sh", ["-c", here], { env, cwd: work.path });
  // What it says would be mailed.
  assert.deepEqual(await tick(), { code: 0, out: "", err: "" });
  assert.equal(at.texts.length, 0);
  await tick();
  assert.equal(at.texts.length, 1);
  assert.match(at.texts[0], told);
  assert.match(await Deno.readTextFile(`${work.path}/log`), /error: Cannot load trips.*trips is failing: /s);
});
