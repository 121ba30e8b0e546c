/**
 * A process that connects as it is told: it reads a list of attempts from standard input, and writes what became of
 * each. To it every host is this machine, whatever its name.
 */
import { Socket } from "node:net";
import { connect } from "../../lib/database/connect.ts";
import { load } from "../../lib/load.ts";
import { environment } from "./environment.ts";

export interface Attempt {
  url: string;
  /** The loader's environment for this attempt. */
  env?: Record<string, string>;
  /** A statement, whose first row is the outcome; or `load`, for a run. */
  sql?: string;
}

export interface Outcome {
  encrypted?: boolean;
  status?: string;
  code?: string;
  message?: string;
  hint?: string;
}

if (import.meta.main) {
  const connectTo = Socket.prototype.connect as (this: Socket, ...to: unknown[]) => Socket;
  Object.defineProperty(Socket.prototype, "connect", {
    value(this: Socket, port: number) {
      return connectTo.call(this, port, "127.0.0.1");
    },
  });
  const attempt = async ({ url, env = {}, sql = encrypted }: Attempt): Promise<Outcome> => {
    using _settings = environment(env);
    try {
      if (sql === "load") return { status: (await load({ databaseUrl: url, force: true })).status };
      const client = await connect(url);
      return (await client.query(sql).finally(() => client.end())).rows[0];
    } catch (error) {
      const { code, message, hint } = error as Outcome;
      return { code, message, hint };
    }
  };
  const encrypted = "select ssl as encrypted from pg_stat_ssl where pid = pg_backend_pid()";
  const outcomes: Outcome[] = [];
  for (const one of await new Response(Deno.stdin.readable).json()) outcomes.push(await attempt(one));
  console.log(JSON.stringify(outcomes));
}
