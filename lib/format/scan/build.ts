/** `deno task scan`: compiles assembly.ts into binary.ts. A test holds the two together. */
import asc from "assemblyscript/asc";

const folder = new URL(".", import.meta.url);

/** The text of binary.ts, as it follows from assembly.ts. */
export async function compile(): Promise<string> {
  const source = await Deno.readTextFile(new URL("assembly.ts", folder));
  let binary = new Uint8Array();
  const options = ["--runtime", "stub", "-O3", "--noAssert", "--enable", "simd", "--outFile", "binary.wasm"];
  const { error, stderr } = await asc.main(["assembly.ts", ...options], {
    readFile: (name) => name === "assembly.ts" ? source : null,
    writeFile: (_, contents) => {
      binary = contents as Uint8Array<ArrayBuffer>;
    },
    listFiles: () => [],
  });
  if (error) throw new Error(`assembly.ts does not compile:\n${stderr}`);
  const lines = btoa(String.fromCharCode(...binary)).match(/.{1,116}/g)!;
  return `/** assembly.ts, compiled by \`deno task scan\`: WebAssembly in base64. */\nexport const binary = \`\n${
    lines.join("\n")
  }\n\`;\n`;
}

if (import.meta.main) await Deno.writeTextFile(new URL("binary.ts", folder), await compile());
