/** `deno task page`: the page for a host of static files, and what it refuses. */
import assert from "node:assert/strict";
import { result } from "../support/command.ts";
import { temporary } from "../support/directories.ts";
import { project } from "../support/project.ts";

const make = (...args: string[]) =>
  result(Deno.execPath(), ["task", "-q", "page", ...args], {
    cwd: project,
    env: { NO_COLOR: "1" },
  });

Deno.test("the page of a project asks that project, and nobody else", async () => {
  await using directory = await temporary();
  const to = `${directory.path}/site`;
  const url = "https://abcdefghijklmnopqrst.supabase.co";
  const { code, out, err } = await make(
    "--url",
    `${url}/`,
    "--key",
    "sb_publishable_x",
    "--currency",
    "EUR",
    "--to",
    to,
  );
  assert.deepEqual([code, out], [
    0,
    `The page of ${url} is in ${to}: put what is in it on any host of static files.\n`,
  ], err);
  const files = Array.from(Deno.readDirSync(to)).map(({ name }) => name).sort();
  assert.deepEqual(files, ["config.json", "icon.svg", "index.html", "main.js", "style.css"]);
  const config = JSON.parse(await Deno.readTextFile(`${to}/config.json`));
  assert.deepEqual(config, { url, key: "sb_publishable_x", currency: "EUR" });
  const html = await Deno.readTextFile(`${to}/index.html`);
  assert.match(html, /connect-src 'self' https:\/\/abcdefghijklmnopqrst\.supabase\.co; base-uri/);
  const text = await Deno.readTextFile(`${to}/main.js`);
  assert.ok(!text.includes(project), "no path of this machine");
});

const jwt = (role: string) => `x.${btoa(JSON.stringify({ role })).replace(/=+$/, "")}.x`;

Deno.test("a key that may do everything never comes into it", async (t) => {
  const url = "https://abcdefghijklmnopqrst.supabase.co";
  const wrong: Record<string, [string[], RegExp]> = {
    "no URL": [["--key", "sb_publishable_x"], /--url takes the project's URL/],
    "a URL that is none": [["--url", "javascript:alert(1)", "--key", "sb_publishable_x"], /--url takes/],
    "no key": [["--url", url], /--key takes the publishable key/],
    "the secret key": [["--url", url, "--key", "sb_secret_x"], /--key takes the publishable key/],
    "the key of service_role": [["--url", url, "--key", jwt("service_role")], /--key takes the publishable key/],
    "a currency that is none": [["--url", url, "--key", "sb_publishable_x", "--currency", "euro"], /three letters/],
    "another option": [["--colour", "red"], /colour/],
  };
  for (const [name, [args, message]] of Object.entries(wrong)) {
    await t.step(name, async () => {
      const { code, out, err } = await make(...args);
      assert.deepEqual([code, out], [2, ""]);
      assert.match(err, message);
    });
  }
  await t.step("the older key of anon does", async () => {
    await using directory = await temporary();
    const { code, err } = await make("--url", url, "--key", jwt("anon"), "--to", directory.path);
    assert.equal(code, 0, err);
  });
});
