/** A database of its own for each test, on the server that `deno task test` has started. */
// @ts-types="@types/pg"
import pg from "pg";
import { load, type LoadOptions } from "../../lib/load.ts";
import type { FeedReport, Report } from "../../lib/report.ts";

export const template = "tdc_etl_template";

/** A request is repeated at once; a slow machine has its usual time. */
export const impatient = { retryMs: [1] };

export interface Database extends AsyncDisposable {
  name: string;
  url: string;
  /** The same database as a superuser. */
  adminUrl: string;
  urlOf(database: string): string;
  // deno-lint-ignore no-explicit-any
  query(sql: string, values?: unknown[]): Promise<any[]>;
  /** Rows as the superuser sees them. */
  // deno-lint-ignore no-explicit-any
  admin(sql: string, values?: unknown[]): Promise<any[]>;
  /** Makes or changes a row of etl.feeds. */
  feed(name: string, columns: Record<string, unknown>): Promise<void>;
  /** Has every feed come from this server, each by its file's own name. */
  pointAt(serverUrl: string): Promise<void>;
  load(options?: Partial<LoadOptions>): Promise<Report>;
  /** Loads one feed and returns its report. */
  loadOne(feed: string, options?: Partial<LoadOptions>): Promise<FeedReport>;
}

/** Where a server is, for the loader and for a superuser. */
export interface Server {
  url: string;
  adminUrl: string;
}

export function testServer(): Server {
  const url = Deno.env.get("DATABASE_URL");
  if (!url) throw new Error("Run the tests by: deno task test [FILE…]");
  return { url, adminUrl: Deno.env.get("ADMIN_DATABASE_URL") ?? url };
}

/** A connection to a database, by name, on the test server or another. */
export async function database(name: string, server = testServer()): Promise<Database> {
  const urlOf = (base: string) => (database: string) => Object.assign(new URL(base), { pathname: `/${database}` }).href;
  const url = urlOf(server.url)(name);
  const adminUrl = urlOf(server.adminUrl)(name);
  const client = new pg.Client(url);
  client.on("error", () => {});
  await client.connect();
  let admin: pg.Client | undefined;
  const self: Database = {
    name,
    url,
    adminUrl,
    urlOf: urlOf(server.url),
    query: async (sql, values) => (await client.query(sql, values)).rows,
    admin: async (sql, values) => {
      if (!admin) {
        admin = new pg.Client(adminUrl);
        admin.on("error", () => {});
        await admin.connect();
      }
      return (await admin.query(sql, values)).rows;
    },
    feed: async (name, columns) => {
      const all = { target: `public.${name}`, ...columns, name };
      const names = Object.keys(all).map((column) => pg.escapeIdentifier(column));
      await client.query(
        `insert into etl.feeds (${names}) values (${names.map((_, i) => `$${i + 1}`)})
        on conflict (name) do update set (${names}) = row (${names.map((column) => `excluded.${column}`)})`,
        Object.values(all),
      );
    },
    pointAt: async (serverUrl) => {
      await client.query("update etl.feeds set url = $1 || regexp_replace(url, '^.*/', '/')", [serverUrl]);
    },
    load: (options) => load({ databaseUrl: url, patience: impatient, ...options }),
    loadOne: async (feed, options) => (await self.load({ feeds: [feed], ...options })).feeds[0],
    [Symbol.asyncDispose]: async () => {
      await client.end();
      await admin?.end();
    },
  };
  return self;
}

/** A fresh database with the migrations applied; without them where `from` is template1. */
export async function freshDatabase(from = template, on = testServer()): Promise<Database> {
  const name = `tdc_etl_${crypto.randomUUID().replaceAll("-", "")}`;
  {
    await using server = await database("postgres", on);
    await server.query(`create database ${name} template ${from}`);
  }
  const fresh = await database(name, on);
  const close = fresh[Symbol.asyncDispose];
  fresh[Symbol.asyncDispose] = async () => {
    await close();
    await using server = await database("postgres", on);
    await server.query(`drop database ${name} with (force)`);
  };
  return fresh;
}
