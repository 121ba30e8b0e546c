/** Ends the process where its Deno is too old for the commands. It imports nothing, and so runs on those, too. */

/** The first that reads deno.lock. Functions run on older ones, without it. */
const least = "2.3.0";

/** Why the commands cannot run on this version, and what to do; null where they can. */
export function tooOld(version: string): string | null {
  const [major, minor] = version.split(".").map(Number);
  const [leastMajor, leastMinor] = least.split(".").map(Number);
  if (major > leastMajor || (major === leastMajor && minor >= leastMinor)) return null;
  return `error: this is Deno ${version}, and the commands need ${least} or newer\n` +
    "       deno upgrade; or say npx -y deno@2.9.6 in place of deno";
}

const said = tooOld(Deno.version.deno);
if (said) {
  console.error(said);
  Deno.exit(1);
}
