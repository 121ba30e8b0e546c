/** Stands in for Supabase's management API, as far as the CLI's commands in the README need it. */
import { connect } from "../../lib/database/connect.ts";
import type { Database } from "../support/database.ts";
import { onLoopback } from "../support/web.ts";

/** The address that the README gives as an example. */
export const ref = "abcdefghijklmnopqrst";

export interface ManagementApi extends AsyncDisposable {
  url: string;
  /** What `functions deploy` sent: metadata, and path -> content. */
  metadata: Record<string, unknown>;
  uploaded: Record<string, string>;
  /** What `secrets set` sent. */
  secrets: Record<string, string>;
  /** What `db query` sent. */
  queries: string[];
}

/** SQL that the CLI sends runs in `db`, after `localize`. */
export function managementApi(db: Database, localize: (sql: string) => string): ManagementApi {
  const api: Omit<ManagementApi, "url"> = {
    metadata: {},
    uploaded: {},
    secrets: {},
    queries: [],
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
  const actions: Record<string, (request: Request) => unknown> = {
    "GET ": () => project,
    // Of a project that never had the old ones, anon and service_role.
    "GET /api-keys": () =>
      ["publishable", "secret"].map((type) => ({ name: "default", api_key: `sb_${type}_key`, type, id: type })),
    "POST /secrets": async (request) => {
      for (const { name, value } of await request.json()) api.secrets[name] = value;
    },
    "POST /functions/deploy": async (request) => await receive(await request.formData(), api),
    "POST /database/query": async (request) => {
      const { query, read_only } = await request.json();
      api.queries.push(query);
      const client = await connect(db.url);
      try {
        // As the hosted one: a role that reads everything, and may execute nothing of ours.
        if (read_only) await client.query("set role supabase_read_only_user");
        // As the hosted one: of several statements the last one's rows.
        return [await client.query(localize(query))].flat().at(-1)?.rows;
      } finally {
        await client.end();
      }
    },
  };
  const server = onLoopback(async (request) => {
    const path = new URL(request.url).pathname.replace(`/v1/projects/${ref}`, "");
    try {
      const answer = await actions[`${request.method} ${path}`]?.(request);
      return Response.json(answer ?? {}, { status: request.method === "POST" ? 201 : 200 });
    } catch (error) {
      return Response.json({ message: (error as Error).message }, { status: 400 });
    }
  });
  return Object.assign(api, { url: server.url });
}

const project = {
  ...{ id: ref, ref, organization_id: "one", organization_slug: "one", name: "tdc-etl", region: "eu-central-1" },
  ...{ created_at: "2026-01-01T00:00:00Z", status: "ACTIVE_HEALTHY" },
  database: { host: `db.${ref}.supabase.co`, version: "17.6.1", postgres_engine: "17", release_channel: "ga" },
};

async function receive(form: FormData, api: Omit<ManagementApi, "url">): Promise<Record<string, unknown>> {
  api.metadata = JSON.parse(form.get("metadata") as string);
  api.uploaded = {};
  for (const file of form.getAll("file") as File[]) api.uploaded[file.name] = await file.text();
  // As the hosted one: https://github.com/supabase/supabase/issues/41290. The CLI itself only warns.
  const entry = api.metadata.entrypoint_path as string;
  if (!Object.hasOwn(api.uploaded, entry)) throw new Error(`Entrypoint path does not exist - ${entry}`);
  return { id: "1", slug: "etl", name: "etl", status: "ACTIVE", version: 1 };
}
