/** Where the embedded Postgres lives, and as whom. Postgres refuses to run as root, so root's server runs as `nobody`. */
import { createHash } from "node:crypto";
import { EtlError } from "../../errors.ts";

/** What Deno.Command takes; empty where the server runs as ourselves. */
export type Owner = { uid?: number; gid?: number };

/** `.local` in the project; elsewhere where the server's user cannot get there, as under /root. */
export async function homeOf(project: string): Promise<string> {
  const home = `${project}/.local`;
  if (Deno.uid() !== 0) return home;
  const owner = await userFor(home);
  if (await canEnter(project, owner)) return home;
  const name = createHash("sha256").update(project).digest("hex").slice(0, 16);
  const elsewhere = `/var/tmp/tdc-etl-${name}`;
  console.error(`Postgres, which cannot run as root, has no way into ${project}; its data is in ${elsewhere}.`);
  await refuseForeign(elsewhere, owner);
  return elsewhere;
}

/** The user that the server in `home` runs as; as root, `home` becomes theirs. */
export async function ownerOf(home: string): Promise<Owner> {
  if (Deno.uid() !== 0) return {};
  const owner = await userFor(home);
  await Deno.chown(home, owner.uid, owner.gid);
  return owner;
}

/** The one who owns `home` already, if that is not root, so that either may go on where the other has begun. */
async function userFor(home: string): Promise<{ uid: number; gid: number }> {
  const known = await Deno.stat(home).catch(() => null);
  if (known?.uid) return { uid: known.uid, gid: known.gid! };
  const nobody = (await Deno.readTextFile("/etc/passwd")).split("\n").find((line) => line.startsWith("nobody:"));
  const [uid, gid] = (nobody ?? "nobody:x:65534:65534").split(":").slice(2, 4).map(Number);
  return { uid, gid };
}

async function canEnter(directory: string, owner: Owner): Promise<boolean> {
  const { success } = await new Deno.Command("sh", { args: ["-c", 'test -x "$0"', directory], cwd: "/", ...owner })
    .output();
  return success;
}

/** Anyone may write to /var/tmp: what is not ours there is not trusted. */
async function refuseForeign(directory: string, owner: Owner): Promise<void> {
  const found = await Deno.lstat(directory).catch(() => null);
  if (!found || found.isDirectory && (found.uid === 0 || found.uid === owner.uid)) return;
  throw new EtlError(
    "local_postgres",
    `The embedded Postgres did not start: ${directory} is not ours`,
    "Somebody else made it, so nothing in it is trusted: ask them, or set DATABASE_URL to another Postgres.",
  );
}
