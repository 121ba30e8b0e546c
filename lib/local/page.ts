/**
 * `deno task page`: the page of web/ as static files, for any host that serves such. Its rules for the browser
 * (Content-Security-Policy) name the project that it may ask, and nobody else.
 */
import { parseArgs } from "node:util";
import { asksForHelp, say } from "./print.ts";
import { explain, wrongUsage } from "./session.ts";

const project = new URL("../../", import.meta.url);

const usage = `deno task page --url URL --key KEY [--currency CODE] [--to DIRECTORY]

Makes the page of a project, to be put on any host of static files.

  --url       the project's, as https://abcdefghijklmnopqrst.supabase.co
  --key       its publishable key, sb_publishable_…; it is in the page, for everyone to see
  --currency  of fares and gratuities, as USD (the default)
  --to        where to: .local/page, if nothing is said`;

/** config.json, beside the page: see web/api.ts. */
export interface PageConfig {
  url: string;
  key: string;
  currency?: string;
  period?: string;
  sign_in?: { email: string; password: string };
}

/** Writes the page into a directory. Without a URL it asks the host that it comes from. */
export async function buildPage(directory: string, config: PageConfig): Promise<void> {
  await Deno.mkdir(directory, { recursive: true });
  const args = ["--quiet", "--lock", "--frozen", "--platform=browser", "--minify", `--output=${directory}/main.js`];
  const { success } = await new Deno.Command(Deno.execPath(), {
    args: ["bundle", ...args, "web/main.tsx"],
    cwd: project,
    stdout: "null",
    stderr: "inherit",
  }).output();
  if (!success) throw new Error("deno bundle did not succeed");
  for (const file of ["style.css", "icon.svg"]) {
    await Deno.copyFile(new URL(`web/${file}`, project), `${directory}/${file}`);
  }
  const html = await Deno.readTextFile(new URL("web/index.html", project));
  const asked = config.url ? `connect-src 'self' ${new URL(config.url).origin}` : "connect-src 'self'";
  await Deno.writeTextFile(`${directory}/index.html`, html.replace("connect-src 'self'", asked));
  await Deno.writeTextFile(`${directory}/config.json`, JSON.stringify(config, null, 2) + "\n");
}

/** Path -> file, of a page that has been made. */
export async function readPage(
  directory: string,
): Promise<Map<string, { body: Uint8Array<ArrayBuffer>; type: string }>> {
  const types: Record<string, string> = {
    html: "text/html; charset=utf-8",
    js: "text/javascript; charset=utf-8",
    css: "text/css; charset=utf-8",
    svg: "image/svg+xml",
    json: "application/json",
  };
  const files = new Map();
  for await (const { name } of Deno.readDir(directory)) {
    const type = types[name.split(".").at(-1)!];
    if (type) files.set(`/${name}`, { body: await Deno.readFile(`${directory}/${name}`), type });
  }
  files.set("/", files.get("/index.html"));
  return files;
}

async function command(args: string[]): Promise<number> {
  if (asksForHelp(args)) {
    say(usage);
    return 0;
  }
  const { url, key, currency, to } = parse(args);
  const directory = to ?? decodeURIComponent(new URL(".local/page", project).pathname);
  await buildPage(directory, { url, key, ...(currency && { currency }) });
  console.log(`The page of ${url} is in ${directory}: put what is in it on any host of static files.`);
  return 0;
}

function parse(args: string[]) {
  const string = { type: "string" } as const;
  const options = { url: string, key: string, currency: string, to: string };
  try {
    const { url, key, currency, to } = parseArgs({ args, options }).values;
    const address = URL.parse(url ?? "");
    if (!address || !/^https?:$/.test(address.protocol)) throw new Error("--url takes the project's URL");
    // Whoever has such a key may do everything.
    if (!key || /^sb_secret_/.test(key) || roleOf(key) === "service_role") {
      throw new Error("--key takes the publishable key");
    }
    if (currency && !/^[A-Z]{3}$/.test(currency)) throw new Error("--currency takes three letters, as USD");
    return { url: address.origin, key, currency, to };
  } catch (cause) {
    throw wrongUsage(cause, "deno task page --help");
  }
}

/** What an older project's key, a JWT, says of itself. */
function roleOf(key: string): string | undefined {
  try {
    return JSON.parse(atob(key.split(".")[1].replaceAll("-", "+").replaceAll("_", "/"))).role;
  } catch {
    return undefined;
  }
}

if (import.meta.main) Deno.exit(await command(Deno.args).catch((error) => explain(error, false)));
