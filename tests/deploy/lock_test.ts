/** Whatever runs takes the packages of deno.lock. */
import assert from "node:assert/strict";
import { output } from "../support/command.ts";
import { document, filesIn, project, root } from "../support/project.ts";
import { denoOfThePlatform } from "./deployed.ts";

Deno.test("every task that loads packages names the lock file, and may not change it", async () => {
  const { tasks } = JSON.parse(await document("deno.json"));
  const { lock, ...others } = tasks;
  assert.match(lock, /--frozen=false/);
  const commands = Object.values<string>(others).flatMap((task) => task.split(" && "));
  const loading = commands.filter((command) => !/^deno (fmt|lint|task) ?/.test(command));
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
