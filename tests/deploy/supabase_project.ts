/** A Supabase project for the tests: the sample feeds loaded, REST and auth on loopback, one client for each kind of caller. */
import assert from "node:assert/strict";
import { createClient, type SupabaseClient } from "@supabase/supabase-js";
import type { Database as Types } from "../../supabase/database.types.ts";
import { startApi } from "../../lib/local/supabase/api.ts";
import type { Database } from "../support/database.ts";
import { hush } from "../support/hush.ts";
import { sampleDatabase } from "../support/samples.ts";
import { onLoopback } from "../support/web.ts";

export type Client = SupabaseClient<Types>;

export interface Project extends AsyncDisposable {
  db: Database;
  url: string;
  publishableKey: string;
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
  const db = stack.use(await sampleDatabase());
  const publishableKey = "sb_publishable_of_this_test";
  const jwtSecret = crypto.randomUUID();
  const api = stack.adopt(
    await startApi({ databaseUrl: db.url, publishableKey, jwtSecret }),
    (api) => api.close(),
  );
  const { url } = stack.use(onLoopback(api.fetch));
  stack.use(hush());
  const client = () =>
    createClient<Types>(url, publishableKey, { auth: { persistSession: false, autoRefreshToken: false } });
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
  return { db, url, publishableKey, jwtSecret, anon: client(), user, signUp, [Symbol.asyncDispose]: dispose };
}
