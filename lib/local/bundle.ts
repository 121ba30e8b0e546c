/**
 * The edge function as one file that imports no package: for a platform that reads no lock file.
 *
 * Deno's bundler takes the packages of deno.lock. What it writes is put right in three places: pg, which is CommonJS,
 * asks for Node's built-ins where nobody sees it; it expects Node's globals, which Deno 2.1.4 gives to packages alone; and
 * comments hold the paths of this machine. The rest is left as new as it is (`await using`). A Deno of before must take it
 * for TypeScript, to make it older: so `target` ends in .ts.
 */
import { relative } from "node:path";

const project = new URL("../../", import.meta.url);

export interface Package {
  name: string;
  version: string;
}

/** Writes `entry`, a path in this project, with all that it imports to the path `target`; returns the packages in it. */
export async function bundle(entry: string, target: string): Promise<Package[]> {
  await deno("bundle", "--quiet", "--lock", "--frozen", "--platform=deno", `--output=${target}`, entry);
  const { npmCache } = JSON.parse(await deno("info", "--json"));
  const { text, packages } = withPackagesNamed(withImportsFirst(await Deno.readTextFile(target)), npmCache);
  const licences = await Promise.all([...packages].map(([directory, one]) => licence(one, `${npmCache}/${directory}`)));
  await Deno.writeTextFile(target, text + licences.join(""));
  return [...packages.values()];
}

async function deno(...args: string[]): Promise<string> {
  const command = new Deno.Command(Deno.execPath(), { args, cwd: project, stderr: "inherit" });
  const { success, stdout } = await command.output();
  if (!success) throw new Error(`deno ${args[0]} did not succeed`);
  return new TextDecoder().decode(stdout);
}

/** What packages written for Node take for granted. */
const globals = [
  'import { Buffer } from "node:buffer";',
  'import process from "node:process";',
  'import { setImmediate } from "node:timers";',
  "const global = globalThis;",
];

/** `require` of a built-in becomes an import; of anything else, as pg's of the package pg-native, it fails. */
function withImportsFirst(text: string): string {
  const prelude =
    /^import \{ createRequire as (\w+) \} from "node:module";\nvar __require = \1\(import\.meta\.url\);$/m;
  if (!prelude.test(text)) {
    throw new Error(`Deno ${Deno.version.deno} bundles in another way than 2.9.6, which is known`);
  }
  const imports = new Set<string>();
  const asked = text.replace(/\b__require\("(node:([^"]+))"\)/g, (_, specifier, name) => {
    const variable = `__node_${name.replaceAll("/", "_")}`;
    imports.add(`import ${variable} from "${specifier}";`);
    return variable;
  });
  const fails = 'function __require(name) { throw new Error("There is no package " + name); }';
  return asked.replace(prelude, () => [...imports, ...globals, fails].join("\n"));
}

/** `npm:pg/8.23.1/lib/client.js` for each path in the cache; and the packages there, by their directories. */
function withPackagesNamed(text: string, npmCache: string): { text: string; packages: Map<string, Package> } {
  const packages = new Map<string, Package>();
  const [head, ...others] = text.split(`${relative(decodeURIComponent(project.pathname), npmCache)}/`);
  const named = others.map((other) => {
    const [directory, registry, name, version] = /^([^/]+\/)((?:@[^/]+\/)?[^/]+)\/([^/]+)/.exec(other)!;
    packages.set(directory, { name, version });
    return `npm:${other.slice(registry.length)}`;
  });
  if (packages.size === 0) throw new Error(`The bundle has no package from ${npmCache}`);
  return { text: head + named.join(""), packages };
}

/** A package's licence, as these ask of whoever passes a copy on. */
async function licence({ name, version }: Package, directory: string): Promise<string> {
  const { license } = JSON.parse(await Deno.readTextFile(`${directory}/package.json`));
  const files = Array.from(Deno.readDirSync(directory)).filter((file) => /^licen[cs]e/i.test(file.name));
  const texts = await Promise.all(files.map((file) => Deno.readTextFile(`${directory}/${file.name}`)));
  return `\n/* npm:${name}@${version}: ${license}\n${texts.join("\n").replaceAll("*/", "* /")}*/\n`;
}
