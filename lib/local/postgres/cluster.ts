/** The data directory: made once, under another name until it is whole. */
import { randomBytes } from "node:crypto";
import type { Owner } from "./home.ts";
import { exists, remove } from "./install.ts";
import { supervise } from "./supervise.ts";

/** Makes `home`/data unless it is there; returns the password of its roles. */
export async function createCluster(home: string, native: string, owner: Owner): Promise<string> {
  const secret = `${home}/password`;
  if (await exists(`${home}/data`)) return await Deno.readTextFile(secret);
  for await (const { name } of Deno.readDir(home)) if (name.startsWith("data.")) await remove(`${home}/${name}`);
  const password = randomBytes(16).toString("hex");
  await remove(secret);
  await Deno.writeTextFile(secret, password, { mode: 0o600 });
  if (owner.uid !== undefined) await Deno.chown(secret, owner.uid, owner.gid!);
  const draft = `${home}/data.${crypto.randomUUID()}`;
  const initdb = supervise(home, owner, [
    ...[`${native}/bin/initdb`, "-D", draft, "-U", "supabase_admin", "-A", "scram-sha-256", `--pwfile=${secret}`],
    ...["-E", "UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C", "--no-sync"],
  ]);
  const log = (await Array.fromAsync(initdb.log)).join("");
  const { success } = await initdb.stop();
  if (!success) throw new Error(log);
  await Deno.rename(draft, `${home}/data`);
  return password;
}
