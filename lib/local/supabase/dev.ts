/** `deno task dev`: a Supabase project on one port of this machine, with the loader as its edge function. */
import { createHmac } from "node:crypto";
import { connect } from "../../database/connect.ts";
import { EtlError } from "../../errors.ts";
import { handle } from "../../http.ts";
import { load } from "../../load.ts";
import { type Api, startApi } from "./api.ts";
import { listen } from "../listen.ts";
import { buildPage, readPage } from "../page.ts";
import { printReport } from "../print.ts";
import { embedded, explain } from "../session.ts";

/** Of the Supabase CLI; another where it is taken. */
const usualPort = 54321;
const email = "dev@example.com";

interface Keys {
  publishableKey: string;
  jwtSecret: string;
  triggerSecret: string;
  password: string;
}

/** Runs until the process is told to end; returns the exit code. */
export async function dev(): Promise<number> {
  const stack = new AsyncDisposableStack();
  const { promise: ended, resolve: end } = Promise.withResolvers<void>();
  for (const signal of ["SIGHUP", "SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, end);
  try {
    await Promise.race([ended, start(stack)]);
    await ended;
    return 0;
  } catch (error) {
    return explain(error, false);
  } finally {
    await stack.disposeAsync();
  }
}

async function start(stack: AsyncDisposableStack): Promise<void> {
  if (Deno.env.get("DATABASE_URL")) {
    throw new EtlError("usage", "dev has a Postgres of its own", "Run it without DATABASE_URL.");
  }
  const databaseUrl = await embedded(stack);
  printReport(await load({ databaseUrl }));
  const keys = keysOf(databaseUrl);
  const api = stack.adopt(await startApi({ databaseUrl, ...keys }), (api) => api.close());
  Deno.env.set("DATABASE_URL", databaseUrl);
  Deno.env.set("ETL_TRIGGER_SECRET", keys.triggerSecret);
  const page = await pageFor(keys);
  const server = listen(usualPort, (request) => {
    const { pathname } = new URL(request.url);
    if (pathname.startsWith("/functions/")) return handle(request);
    const file = page.get(pathname);
    return file ? new Response(file.body, { headers: { "content-type": file.type } }) : api.fetch(request);
  });
  stack.defer(server.stop);
  const token = await signIn(api, keys);
  await admit(databaseUrl);
  printGuide(server.url, databaseUrl, keys, token);
}

/** The same at every start, so that a frontend need not be told anew. */
function keysOf(databaseUrl: string): Keys {
  const { password } = new URL(databaseUrl);
  const derive = (purpose: string) => createHmac("sha256", password).update(purpose).digest("base64url");
  return {
    publishableKey: `sb_publishable_${derive("publishable key").slice(0, 22)}`,
    jwtSecret: derive("jwt secret"),
    triggerSecret: derive("trigger secret"),
    password: derive("password").slice(0, 22),
  };
}

/** The page, on the same port, with the sign-in filled in. */
async function pageFor({ publishableKey, password }: Keys): Promise<Awaited<ReturnType<typeof readPage>>> {
  const directory = await Deno.makeTempDir({ prefix: "tdc-etl-page-" });
  try {
    await buildPage(directory, { url: "", key: publishableKey, period: "all", sign_in: { email, password } });
    return await readPage(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** The token of the one user there is, signed up at the first start. */
async function signIn(api: Api, { publishableKey, password }: Keys): Promise<string> {
  const post = (path: string) =>
    api.fetch(
      new Request(`http://127.0.0.1/auth/v1/${path}`, {
        method: "POST",
        headers: { apikey: publishableKey, "content-type": "application/json" },
        body: JSON.stringify({ email, password }),
      }),
    );
  await (await post("signup")).body?.cancel();
  const response = await post("token?grant_type=password");
  if (!response.ok) throw new Error(`Cannot sign in ${email}: ${await response.text()}`);
  return (await response.json()).access_token;
}

/** As the owner of a project does, once a user has signed up. */
async function admit(databaseUrl: string): Promise<void> {
  const client = await connect(databaseUrl);
  try {
    await client.query("select etl.admit($1)", [email]);
  } finally {
    await client.end();
  }
}

function printGuide(url: string, databaseUrl: string, keys: Keys, token: string): void {
  const report = (query: string) =>
    `curl '${url}/rest/v1/rpc/${query}' -H 'apikey: ${keys.publishableKey}' -H 'authorization: Bearer ${token}'`;
  console.log(`
The page        ${url}/
                ${url}/?view=churned&as_of=2021-07-11

URL             ${url}
publishable key ${keys.publishableKey}
user            ${email}, password ${keys.password}
user's token    ${token}
trigger secret  ${keys.triggerSecret}
Postgres        ${databaseUrl}

Run the feeds, as the schedule does:
curl -X POST ${url}/functions/v1/etl -H 'authorization: Bearer ${keys.triggerSecret}'

Trips without charges, the latest three:
${report("trips_without_charges?order=dropoff_timestamp.desc&limit=3")}

Drivers churned as of 2021-07-11:
${report("churned_drivers?as_of=2021-07-11T00:00:00Z&order=last_dropoff_timestamp")}

How fresh they are:
${report("report_freshness")}

Ctrl-C ends it.`);
}
