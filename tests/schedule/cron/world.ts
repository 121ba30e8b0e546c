/** What the tests of the schedule stand on: the database with pg_cron, the function, a partner's server. */
import { supervise } from "../../../lib/local/postgres/supervise.ts";
import { locked } from "../../support/command.ts";
import { type Database, database } from "../../support/database.ts";
import { project } from "../../support/project.ts";
import { oneOfEach } from "../../support/samples.ts";
import { says } from "../../support/waiting.ts";
import { serve, type Web } from "../../support/web.ts";

export const secret = "the-trigger-secret-of-the-cron-tests-0123456789";
export const nextSecret = "the-secret-after-the-rotation-0123456789-abcdef";

export interface World extends AsyncDisposable {
  db: Database;
  web: Web;
}

/** No job, no secret, no memory of an earlier test; three feeds on loopback, nothing loaded yet. */
export async function newWorld(): Promise<World> {
  const db = await database("postgres");
  await db.query("select etl.unschedule()");
  await db.admin(`truncate cron.job_run_details, net.http_request_queue, net._http_response, vault.secrets,
    etl.feed_state, etl.runs, etl.told, etl.rejects, public.drivers, public.trips, public.charges`);
  const web = serve(oneOfEach());
  await db.pointAt(web.url);
  return {
    db,
    web,
    [Symbol.asyncDispose]: async () => {
      await db.query("select etl.unschedule()");
      await web[Symbol.asyncDispose]();
      await db[Symbol.asyncDispose]();
    },
  };
}

export async function storeSecret(db: Database, name: string, value: string): Promise<void> {
  const found = await db.query("select vault.update_secret(id, $2) from vault.secrets where name = $1", [name, value]);
  if (found.length === 0) await db.query("select vault.create_secret($2, $1)", [name, value]);
}

/** supabase/functions/etl in a process of its own, as on the platform. */
export async function startFunction(env: Record<string, string> = {}): Promise<{ url: string } & AsyncDisposable> {
  const all = { ETL_TRIGGER_SECRET: secret, ...env };
  const child = supervise(project, {}, [
    ...["env", ...Object.entries(all).map(([name, value]) => `${name}=${value}`)],
    ...["sh", "-c", 'exec "$@" >&2', "sh", Deno.execPath(), "run", "-A", "--no-check", ...locked],
    ...[`${project}/tests/deploy/function_server.ts`, "0", `${project}/supabase/functions/etl/index.ts`],
  ]);
  const [, port] = await says(child.log, /listening on (\d+)/);
  return {
    url: `http://127.0.0.1:${port}/functions/v1/etl`,
    [Symbol.asyncDispose]: async () => void await child.stop(),
  };
}
