/** Chance by a seed: the same numbers each time, so that a failure can be looked at. */

/** Of all that is random. The same in CI each time: a change is judged there by what it does, not by luck. */
export const seed = Number(Deno.env.get("SEED")) || (Deno.env.get("CI") ? 1 : Date.now() % 2 ** 31);

const total = Number(Deno.env.get("FAULTS") ?? (Deno.env.get("CI") ? 100 : 20));

/** Repeats a fault; each time is named by what chance had chosen. */
export async function often(label: string, part: number, fault: (random: number) => Promise<string>): Promise<void> {
  const random = chance([...label].reduce((sum, letter) => sum * 31 + letter.charCodeAt(0) | 0, seed));
  const outcomes: Record<string, number> = {};
  const times = Math.ceil(total * part);
  for (let n = 1; n <= times; n++) {
    try {
      const outcome = await fault(random());
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
    } catch (cause) {
      throw new Error(`time ${n} of ${times}; again by FAULTS=${total} SEED=${seed}`, { cause });
    }
  }
  console.log(`${times} times ${label} (SEED=${seed}):`, outcomes);
}

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
export function chance(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
