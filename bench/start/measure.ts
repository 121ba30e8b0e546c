/** The group "start": how long a user waits for the first run, and a caller for a function that is not running yet. */
import { cp } from "node:fs/promises";
import { type Spread, spread, turns } from "../medians.ts";
import { type Place, temporaryDirectory } from "../place.ts";
import type { Case } from "./cases.ts";

export interface Result {
  case: string;
  rounds: number;
  wallMs: Spread;
}

const parts = ["deno.json", "import_map.json", "main.ts", "lib", "supabase"];

export async function measureStart(chosen: Case[], rounds: number, { deno, stack }: Place): Promise<Result[]> {
  const project = await temporaryDirectory(stack);
  // Root's Postgres runs as another user, who must get there.
  await Deno.chmod(project, 0o755);
  const root = new URL("../../", import.meta.url);
  for (const part of parts) await cp(new URL(part, root), `${project}/${part}`, { recursive: true });
  const times: Record<string, number[]> = {};
  for (const [round, { name, time }] of turns(chosen, rounds)) {
    const wallMs = await time(deno, project);
    (times[name] ??= []).push(wallMs);
    console.error(`round ${round}: ${name}: ${wallMs.toFixed(0)} ms`);
  }
  return chosen.map(({ name }) => ({ case: name, rounds, wallMs: spread(times[name]) }));
}
