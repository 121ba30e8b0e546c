/**
 * `deno task audit`: `npm audit` of the packages in the edge function, in the versions of deno.lock.
 *
 * Ends with 1 where an advisory names one of them, and with 75 where the registry could not be asked.
 */
import { bundle, type Package } from "./bundle.ts";
import { remove } from "./postgres/install.ts";
import { explain } from "./session.ts";

interface Vulnerability {
  name: string;
  via: { range: string; severity: string; title: string; url: string }[];
}

/** The files of a project that has these packages alone. Two versions of one are told apart by an alias. */
function manifests(packages: Package[]): Record<string, unknown> {
  const head = { name: "tdc-etl", version: "0.0.0" };
  const alias = ({ name, version }: Package) => `${name}-${version}`;
  const dependencies = Object.fromEntries(packages.map((one) => [alias(one), `npm:${one.name}@${one.version}`]));
  const installed = Object.fromEntries(packages.map((one) => [`node_modules/${alias(one)}`, one]));
  return {
    "package.json": { ...head, dependencies },
    "package-lock.json": { ...head, lockfileVersion: 3, packages: { "": { ...head, dependencies }, ...installed } },
  };
}

async function audit(directory: string): Promise<number> {
  const packages = await bundle("supabase/functions/etl/index.ts", `${directory}/bundle.ts`);
  for (const [name, content] of Object.entries(manifests(packages))) {
    await Deno.writeTextFile(`${directory}/${name}`, JSON.stringify(content));
  }
  const { stdout } = await new Deno.Command("npm", { args: ["audit", "--json"], cwd: directory }).output();
  const report = JSON.parse(new TextDecoder().decode(stdout));
  if (!report.metadata) {
    console.error(`NOT AUDITED, for the registry did not answer: ${report.message}`);
    return 75;
  }
  const found: Vulnerability[] = Object.values(report.vulnerabilities);
  for (const { name, via } of found) {
    for (const { range, severity, title, url } of via) {
      console.error(`${name} ${range} (${severity}): ${title}, ${url}`);
    }
  }
  const names = packages.map(({ name, version }) => `${name}@${version}`).join(", ");
  console.log(`${found.length} of ${packages.length} packages have advisories: ${names}`);
  return found.length === 0 ? 0 : 1;
}

if (import.meta.main) {
  const directory = await Deno.makeTempDir({ prefix: "tdc-etl-audit-" });
  Deno.exit(await audit(directory).catch((error) => explain(error, false)).finally(() => remove(directory)));
}
