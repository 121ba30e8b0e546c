/** A Supabase project for the tests: the sample feeds loaded, REST and auth on loopback, one client for each kind of caller. */
import assert from "node:assert/strict";
import { createClient, type SupabaseClient } from "@supabase/supabase-js";
import type { Database as Types } from "../../supabase/database.types.ts";
import { startApi } from "../../lib/local/supabase/api.ts";
import { sampleFeeds } from "../../lib/local/samples.ts";
import { type Database, freshDatabase, serve } from "../support/harness.ts";

export type Client = SupabaseClient<Types>;

export interface Project extends AsyncDisposable {
  db: Database;
  url: string;
  anonKey: string;
  /** Signs the tokens. */
  jwtSecret: string;
  anon: Client;
  /** Signed up, signed in by e-mail and password, and staff. */
  user: Client;
  /** Somebody who has signed up and signed in, no more. */
  signUp(email: string): Promise<Client>;
}

export const account = { email: "ana@partner.example", password: "correct horse battery staple" };

export async function project(): Promise<Project> {
  await using stack = new AsyncDisposableStack();
  const db = stack.use(await freshDatabase());
  await using web = serve(Object.fromEntries(Object.entries(sampleFeeds()).map(([name, text]) => [`/${name}`, text])));
  await db.pointAt(web.url);
  await db.load();
  const anonKey = "sb_publishable_of_this_test";
  const jwtSecret = crypto.randomUUID();
  const api = stack.adopt(
    await startApi({ databaseUrl: db.url, anonKey, jwtSecret }),
    (api) => api.close(),
  );
  const server = stack.adopt(
    Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, api.fetch),
    (server) => server.shutdown(),
  );
  const url = `http://127.0.0.1:${server.addr.port}`;
  const log = console.error;
  console.error = () => {};
  stack.defer(() => void (console.error = log));
  const client = () => createClient<Types>(url, anonKey, { auth: { persistSession: false, autoRefreshToken: false } });
  const signUp = async (email: string) => {
    const user = client();
    const { password } = account;
    assert.equal((await user.auth.signUp({ email, password })).error, null);
    assert.equal((await user.auth.signInWithPassword({ email, password })).error, null);
    return user;
  };
  const user = await signUp(account.email);
  await db.query("select etl.admit($1)", [account.email]);
  const end = stack.move();
  const dispose = () => end.disposeAsync();
  return { db, url, anonKey, jwtSecret, anon: client(), user, signUp, [Symbol.asyncDispose]: dispose };
}
