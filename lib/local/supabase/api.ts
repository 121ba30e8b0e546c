/**
 * REST and auth as a Supabase project has them, for laptops and tests: @supabase/lite on the embedded Postgres. It is an
 * alpha; what is odd about it is dealt with here and nowhere else. Two oddities are left, for no report meets them: an
 * argument of type json arrives encoded twice, and a RAISE without a SQLSTATE of its own is answered with 500, not 400.
 */
import { App, getAuthSchemaSql } from "@supabase/lite";
import { createPostgresConnection, type PostgresConnection } from "@supabase/lite/postgres";
// An optional peer of @supabase/lite, which finds it only where somebody imports it.
import "postgres";
import { connect } from "../../database/connect.ts";

export interface Api {
  /** Answers /rest/v1/… and /auth/v1/…. */
  fetch(request: Request): Promise<Response>;
  close(): Promise<void>;
}

export interface ApiOptions {
  /** As the loader connects. The role `authenticator` must have the same password, as in the embedded Postgres. */
  databaseUrl: string;
  /** The key that frontends carry, `sb_publishable_…`. */
  publishableKey: string;
  /** Signs the tokens of those who sign in; 32 characters at least. */
  jwtSecret: string;
}

/** The tables are those of this moment: a new one is seen by the next start. */
export async function startApi({ databaseUrl, publishableKey, jwtSecret }: ApiOptions): Promise<Api> {
  await createAuthSchema(databaseUrl);
  // As on Supabase, a role that has nothing itself: a request that took on no role could read nothing.
  const connection = connectAs(Object.assign(new URL(databaseUrl), { username: "authenticator" }).href);
  await lookAround(connection, databaseUrl);
  switchRolesOnly(connection);
  logBriefly(connection);
  const app = new App({
    connection,
    api: { schemas: ["public"] },
    // Without a key it takes any caller; with admin, a caller without a key is service_role.
    auth: { enabled: true, jwt_secret: jwtSecret, publishable_key: publishableKey, jwt_expiry: 24 * 3600 },
    options: { server: { admin: false } },
  });
  return {
    fetch: (request) => answer(app, request),
    close: () => connection.close(),
  };
}

/** By lite's own statements, since its way to run them alters the history of migrations. */
async function createAuthSchema(databaseUrl: string): Promise<void> {
  await using client = await connect(databaseUrl);
  await client.query("set client_min_messages = warning");
  await client.query(`create schema if not exists auth; ${getAuthSchemaSql()}`);
  await client.query("grant usage on schema auth to authenticator");
  await client.query("grant all on all tables in schema auth to authenticator");
}

function connectAs(url: string): PostgresConnection {
  const as = (oid: number, parse: (text: string) => unknown) => ({ to: oid, from: [oid], serialize: String, parse });
  return createPostgresConnection({
    url,
    postgresOptions: {
      max: 4,
      onnotice: () => {},
      // It answers with Postgres' text, where a project answers with Postgres' JSON: 2021-07-01T00:00:00+00:00, 12.5.
      types: {
        timestamptz: as(1184, (text) => text.replace(" ", "T").replace(/([+-]\d\d)$/, "$1:00")),
        timestamp: as(1114, (text) => text.replace(" ", "T")),
        numeric: as(1700, (text) => Number.isFinite(Number(text)) ? Number(text) : text),
      },
    },
  });
}

/** It knows only the tables that its own role may read, and `authenticator` may read none: the owner looks for it. */
async function lookAround(connection: PostgresConnection, ownerUrl: string): Promise<void> {
  const owner = connectAs(ownerUrl);
  try {
    const tables = await owner.introspect();
    connection.introspect = () => Promise.resolve(tables);
  } finally {
    await owner.close();
  }
}

/**
 * At the first request it would look for a table with row level security: without one it switches no roles, and with
 * one it grants ALL on all tables of the schema to anon, authenticated and service_role. Told that this is done, it
 * switches roles and grants nothing.
 */
function switchRolesOnly(connection: PostgresConnection): void {
  (connection as unknown as { rlsState: "active" }).rlsState = "active";
}

/** It logs each refused request, with a stack. */
function logBriefly(connection: PostgresConnection): void {
  const inspect = Symbol.for("Deno.customInspect");
  connection.normalizeDbError = (error) =>
    Object.assign(error as Error, { [inspect]: () => `refused: ${(error as Error).message}` });
}

async function answer(app: App, request: Request): Promise<Response> {
  const { pathname } = new URL(request.url);
  // Beside these two it serves a studio and, to anyone, its configuration.
  if (!/^\/(rest|auth)\/v1\//.test(pathname)) return new Response("not here", { status: 404 });
  if (request.method !== "HEAD" || !pathname.startsWith("/rest/v1/rpc/")) return await app.fetch(request);
  // It takes the arguments of a HEAD for filters.
  const { status, headers, body } = await app.fetch(new Request(request.url, { headers: request.headers }));
  await body?.cancel();
  return new Response(null, { status, headers });
}
