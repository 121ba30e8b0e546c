/** `deno task audit`, against a registry with advisories, without, and one that does not answer. */
import assert from "node:assert/strict";
import { locked, result } from "../support/command.ts";
import { project } from "../support/project.ts";
import { onLoopback } from "../support/web.ts";

const advisory = {
  id: 1,
  url: "https://advisories.example/1",
  title: "Reads what it should not",
  severity: "high",
  vulnerable_versions: "<99",
};

/** Runs the task where the registry answers so to a question about advisories; returns also the question. */
async function audited(answer: () => Response) {
  let asked: Record<string, string[]> = {};
  await using registry = onLoopback(async (request) => {
    if (request.method !== "POST") return new Response(null, { status: 404 });
    const gzipped = request.headers.get("content-encoding") === "gzip";
    asked = await new Response(gzipped ? request.body!.pipeThrough(new DecompressionStream("gzip")) : request.body)
      .json();
    return answer();
  });
  const args = ["run", "-A", "--quiet", ...locked, "lib/local/audit.ts"];
  const options = { cwd: project, env: { NO_COLOR: "1", npm_config_registry: registry.url } };
  const ended = await result(Deno.execPath(), args, options);
  return { asked, ...ended };
}

Deno.test("an audit asks for every package in the function, by its version in deno.lock", async () => {
  const { code, out, asked } = await audited(() => Response.json({}));
  assert.deepEqual([code, asked.pg], [0, ["8.23.1"]]);
  assert.ok(Object.keys(asked).includes("pg-protocol") && Object.keys(asked).length > 10);
  assert.match(out, /^0 of \d+ packages have advisories: .*\bpg@8\.23\.1/);
});

Deno.test("an advisory fails it, and is shown", async () => {
  const { code, err } = await audited(() => Response.json({ "pg-protocol": [advisory] }));
  assert.equal(code, 1);
  assert.match(err, /^pg-protocol <99 \(high\): Reads what it should not, https:\/\/advisories\.example\/1$/m);
});

Deno.test("a registry that cannot be asked is no clean audit, and no failure either", async () => {
  const { code, out, err } = await audited(() => new Response(null, { status: 405 }));
  assert.deepEqual([code, out], [75, ""]);
  assert.match(err, /^NOT AUDITED, for the registry did not answer: 405/m);
});
