/** The real Supabase CLI, in a home of its own and with nobody's token. */
import { denoDirectory, type Result, result } from "../support/command.ts";
import { copyProject, temporary } from "../support/directories.ts";

export interface Workplace extends AsyncDisposable {
  /** A copy of the project. */
  path: string;
  /** Runs shell commands there; every question of the CLI is answered with yes. */
  shell(commands: string, env?: Record<string, string>): Promise<Result>;
}

/** `api`: the URL of the management API; the CLI talks to no other. */
export async function workplace(api: string): Promise<Workplace> {
  const home = await temporary();
  const path = `${home.path}/project`;
  await copyProject(path);
  const profile = `${home.path}/profile.yaml`;
  const urls = ["api_url", "dashboard_url", "docs_url"].map((name) => `${name}: ${api}\n`).join("");
  await Deno.writeTextFile(profile, `name: local\n${urls}project_host: 127.0.0.1\n`);
  const ours = Deno.env.get("HOME");
  const common = {
    HOME: home.path,
    // npm and Deno stay at home: what they have fetched before is there, and how npm reaches the registry.
    DENO_DIR: await denoDirectory(),
    npm_config_cache: Deno.env.get("npm_config_cache") ?? `${ours}/.npm`,
    npm_config_userconfig: Deno.env.get("npm_config_userconfig") ?? `${ours}/.npmrc`,
    NO_COLOR: "1",
    SUPABASE_ACCESS_TOKEN: `sbp_${"0".repeat(40)}`,
    SUPABASE_PROFILE: profile,
    SUPABASE_TELEMETRY_DISABLED: "1",
    SUPABASE_YES: "true",
  };
  return {
    path,
    shell: (commands, env = {}) => result("sh", ["-euc", commands], { cwd: path, env: { ...common, ...env } }),
    [Symbol.asyncDispose]: () => home[Symbol.asyncDispose](),
  };
}
