/** The scanner: its checksum, and its binary. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { compile } from "../../lib/format/scan/build.ts";
import { Bytes, Stop } from "../../lib/format/scan/scanner.ts";
import { checksum, cut, latin1, numRuns, sizes } from "./records.ts";
import { seed } from "../support/chance.ts";

Deno.test("the checksum is XXH64, in whatever pieces the bytes come", async () => {
  const texts = fc.string({ unit: fc.nat(255).map((code) => String.fromCharCode(code)), maxLength: 200 });
  await fc.assert(
    fc.asyncProperty(texts, sizes, async (text, sizes) => {
      const bytes = new Bytes();
      let through = "";
      for await (const chunk of cut(text, sizes)) {
        bytes.put(chunk);
        through += latin1(bytes.take(bytes.rest.length >> 1));
      }
      assert.equal(through + latin1(bytes.rest), text);
      assert.equal(bytes.hash, checksum(text));
    }),
    { seed, numRuns },
  );
});

Deno.test("the scanner's binary is what its source gives", async () => {
  const binary = await Deno.readTextFile(new URL("../../lib/format/scan/binary.ts", import.meta.url));
  assert.ok(binary === await compile(), "Run `deno task scan`.");
});

Deno.test("the scanner's enum has the numbers that its source gives", async () => {
  const source = await Deno.readTextFile(new URL("../../lib/format/scan/assembly.ts", import.meta.url));
  const lines = [...source.matchAll(/^export const .*;$/gm)].flatMap(([line]) => [...line.matchAll(/(\w+) = (\d+)/g)]);
  const constants = Object.fromEntries(lines.map(([, name, value]) => [name, Number(value)]));
  assert.deepEqual(Object.fromEntries(Object.entries(Stop).filter(([name]) => isNaN(Number(name)))), constants);
});
