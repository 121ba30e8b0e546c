/** The page in front of a project on loopback, in a browser: as `deno task dev` serves it. */
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { buildPage, readPage } from "../../lib/local/page.ts";
import { startApi } from "../../lib/local/supabase/api.ts";
import type { Database } from "../support/database.ts";
import { temporary } from "../support/directories.ts";
import { hush } from "../support/hush.ts";
import { serveSamples } from "../support/samples.ts";
import { freshDatabase } from "../support/database.ts";
import { onLoopback, type Web } from "../support/web.ts";

export const account = { email: "ana@partner.example", password: "correct horse battery staple" };
const publishableKey = "sb_publishable_of_this_test";

type Page_ = Awaited<ReturnType<typeof readPage>>;
let made: Promise<Page_> | undefined;

/** Made once for all tests of a run. */
export function page(): Promise<Page_> {
  return made ??= (async () => {
    await using directory = await temporary();
    await buildPage(directory.path, { url: "", key: publishableKey, period: "all" });
    return await readPage(directory.path);
  })();
}

export interface Site extends AsyncDisposable {
  url: string;
  db: Database;
  /** The partners' server. */
  web: Web;
  /** What is answered in place of the project, where it answers. */
  instead?: (request: Request) => Response | undefined | Promise<Response | undefined>;
  /** Paths that were asked for, with their query. */
  asked: string[];
  signUp(email: string): Promise<void>;
  /** A window of its own, nobody signed in. */
  open(path?: string, options?: BrowserContextOptions): Promise<Page>;
  /** The same, signed in as staff. */
  enter(path?: string, options?: BrowserContextOptions): Promise<Page>;
}

/** The sample feeds, loaded, and one user, who is staff. */
export async function startSite(browser: Browser): Promise<Site> {
  await using stack = new AsyncDisposableStack();
  const db = stack.use(await freshDatabase());
  const web = stack.use(serveSamples());
  await db.pointAt(web.url);
  await db.load();
  const api = stack.adopt(
    await startApi({ databaseUrl: db.url, publishableKey, jwtSecret: crypto.randomUUID() }),
    (api) => api.close(),
  );
  const files = await page();
  const { url } = stack.use(onLoopback(async (request) => {
    const { pathname, search } = new URL(request.url);
    const file = files.get(pathname);
    if (file) return new Response(file.body, { headers: { "content-type": file.type } });
    site.asked.push(`${request.method} ${pathname}${search}`);
    return await site.instead?.(request) ?? await api.fetch(request);
  }));
  stack.use(hush());
  const signUp = async (email: string) => {
    const response = await fetch(`${url}/auth/v1/signup`, {
      method: "POST",
      headers: { apikey: publishableKey, "content-type": "application/json" },
      body: JSON.stringify({ email, password: account.password }),
    });
    await response.body?.cancel();
    if (!response.ok) throw new Error(`${email} could not sign up`);
  };
  const open = async (path = "/", options: BrowserContextOptions = {}) => {
    const context = await browser.newContext({ locale: "en-US", timezoneId: "UTC", ...options });
    end.defer(() => context.close());
    const page = await context.newPage();
    await page.goto(url + path);
    return page;
  };
  const site: Site = {
    ...{ url, db, web, asked: [], signUp, open },
    enter: async (path = "/", options) => {
      const page = await open(path, options);
      await signIn(page, account.email);
      return page;
    },
    [Symbol.asyncDispose]: () => end.disposeAsync(),
  };
  await signUp(account.email);
  await db.query("select etl.admit($1)", [account.email]);
  const end = stack.move();
  return site;
}

export async function signIn(page: Page, email: string): Promise<void> {
  await page.getByLabel("E-mail").fill(email);
  await page.getByLabel("Password").fill(account.password);
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.getByRole("banner").waitFor();
}
