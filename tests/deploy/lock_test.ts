/** Whatever runs takes the packages of deno.lock. */
import assert from "node:assert/strict";
import { tooOld } from "../../lib/local/version.ts";
import { output, result } from "../support/command.ts";
import { document, filesIn, project, root } from "../support/project.ts";
import { denoOfThePlatform } from "./deployed.ts";

Deno.test("every task that loads packages names the lock file, and may not change it", async () => {
  const { tasks } = JSON.parse(await document("deno.json"));
  const { lock, ...others } = tasks;
  assert.match(lock, /--frozen=false/);
  const commands = Object.values<string>(others).flatMap((task) => task.split(" && "));
  // What imports nothing runs without the lock file, on a Deno that cannot read it, too.
  const loading = commands.filter((command) =>
    !/^deno (fmt|lint|task|run --no-lock lib\/local\/version\.ts$) ?/.test(command)
  );
  assert.ok(loading.length > 10);
  for (const command of loading) assert.match(command, /^deno \w+ (-A )?--lock --frozen /);
});

Deno.test("so does every Deno that a test or the benchmark starts", async () => {
  let seen = 0;
  for (const folder of ["lib", "tests", "bench"]) {
    for (const file of await filesIn(new URL(`${folder}/`, root), ".ts")) {
      const text = await Deno.readTextFile(file);
      for (const [start] of text.matchAll(/(?:\[|Deno\.execPath\(\), )"(?:run|eval|test)", (?:"-|\.\.\.).*/g)) {
        seen++;
        assert.match(start, /\blocked\b|"--lock"|"--no-config"/, `${file.pathname}: ${start}`);
      }
    }
  }
  assert.ok(seen > 8, "they are found");
});

Deno.test("the lock file holds what import_map.json pins, for every machine, with checksums", async () => {
  const { imports } = JSON.parse(await document("import_map.json"));
  const { specifiers, npm } = JSON.parse(await document("deno.lock"));
  const pinned = Object.values<string>(imports).map((one) => /^npm:@?[^@]+@\d+\.\d+\.\d+[^/]*/.exec(one)?.[0] ?? one);
  assert.deepEqual([...new Set(pinned)].sort(), Object.keys(specifiers).sort());
  for (const [name, { integrity }] of Object.entries<{ integrity?: string }>(npm)) {
    assert.match(integrity ?? "", /^sha512-/, name);
  }
});

Deno.test("Deno 2.1.4 reads deno.json, though it does not know the form of the lock file beside it", async () => {
  assert.match(await output(await denoOfThePlatform(), ["info", "main.ts"], { cwd: project }), /npm:\/pg@/);
});

Deno.test("a Deno that is too old for the commands says so in a sentence, by task and by hand", async () => {
  const old = await denoOfThePlatform();
  const sentence = "error: this is Deno 2.1.4, and the commands need 2.3.0 or newer\n" +
    "       deno upgrade; or say npx -y deno@2.9.6 in place of deno\n";
  for (
    const args of [["task", "--quiet", "etl"], ["task", "--quiet", "start"], [
      "run",
      "--no-lock",
      "-A",
      "main.ts",
      "etl",
    ]]
  ) {
    const { code, out, err } = await result(old, args, { cwd: project, env: { DATABASE_URL: "", NO_COLOR: "1" } });
    assert.deepEqual([code, out, err.replace(/^Warning .*\n/, "")], [1, "", sentence], args.join(" "));
  }
  const guarded = Object.entries<string>(JSON.parse(await document("deno.json")).tasks)
    .filter(([, task]) => task.startsWith("deno run --no-lock lib/local/version.ts && ")).map(([name]) => name);
  assert.deepEqual(guarded.sort(), ["deploy", "dev", "etl", "feed", "health", "migrate", "page", "rejects", "start"]);
  const versions = {
    "1.46.3": true,
    "2.2.15": true,
    "2.3.0": false,
    "2.10.0": false,
    "2.9.6+1a2b": false,
    "3.0.0": false,
  };
  for (const [version, isOld] of Object.entries(versions)) assert.equal(tooOld(version) !== null, isOld, version);
});
