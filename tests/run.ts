/** `deno task test [deno test's arguments]`: the suite on an embedded Postgres, or on the server of DATABASE_URL. */
import { migrate } from "../lib/local/migrate.ts";
import { changedSources } from "../lib/local/migration.ts";
import { type LocalPostgres, startPostgres } from "../lib/local/postgres/start.ts";
import { locked } from "./support/command.ts";
import { database, template } from "./support/database.ts";

/** A function that is being changed is tested before its migration is written. */
async function applySources(name: string): Promise<void> {
  await using db = await database(name);
  await db.query("set check_function_bodies = off");
  for (const text of (await changedSources()).values()) await db.query(text);
}

const ours = !Deno.env.get("DATABASE_URL");
const home = await Deno.makeTempDir({ prefix: "tdc-etl-tests-" });
let postgres: LocalPostgres | undefined;
let code = 1;
const end = async () => {
  await postgres?.stop();
  await Deno.remove(home, { recursive: true });
};
Deno.addSignalListener("SIGINT", () => {});
Deno.addSignalListener("SIGTERM", () => {});
try {
  if (ours) {
    postgres = await startPostgres(home, [
      "fsync=off",
      "max_connections=200",
      "plpgsql.extra_warnings=all",
      "plpgsql.extra_errors=all",
    ]);
    Deno.env.set("DATABASE_URL", postgres.url);
    Deno.env.set("ADMIN_DATABASE_URL", postgres.adminUrl);
  }
  await using server = await database("postgres");
  await server.query(`drop database if exists ${template} with (force)`);
  await server.query(`create database ${template}`);
  await migrate(server.urlOf(template));
  await applySources(template);
  const args = Deno.args.length > 0 ? Deno.args : ["tests/"];
  const test = new Deno.Command(Deno.execPath(), {
    args: ["test", ...locked, "-A", "--no-check", ...args],
    stdin: "null",
  }).spawn();
  code = (await test.status).code;
  await server.query(`drop database ${template} with (force)`);
} finally {
  await end();
}
Deno.exit(code);
