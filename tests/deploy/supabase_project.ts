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
  anonKey: string;
  anon: Client;
  /** Signed up and signed in by e-mail and password. */
  user: Client;
}

export const account = { email: "ana@partner.example", password: "correct horse battery staple" };

export async function project(): Promise<Project> {
  await using stack = new AsyncDisposableStack();
  const db = stack.use(await sampleDatabase());
  const anonKey = "sb_publishable_of_this_test";
  const api = stack.adopt(
    await startApi({ databaseUrl: db.url, anonKey, jwtSecret: crypto.randomUUID() }),
    (api) => api.close(),
  );
  const { url } = stack.use(onLoopback(api.fetch));
  stack.use(hush());
  const client = () => createClient<Types>(url, anonKey, { auth: { persistSession: false, autoRefreshToken: false } });
  const [anon, user] = [client(), client()];
  assert.equal((await user.auth.signUp(account)).error, null);
  assert.equal((await user.auth.signInWithPassword(account)).error, null);
  const end = stack.move();
  return { db, url, anonKey, anon, user, [Symbol.asyncDispose]: () => end.disposeAsync() };
}
