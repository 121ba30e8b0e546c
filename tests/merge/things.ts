/** A feed of things whose table refuses some of them by a trigger. */
import type { Database } from "../support/database.ts";
import { databaseAndWeb } from "../support/given.ts";

export const refusing = (when: string, timing = "before insert or update", raise = "raise exception 'no %', new.x") =>
  `create function public.refuse() returns trigger language plpgsql as $$
    begin if ${when} then ${raise}; end if; return new; end $$;
  create ${/constraint/.test(timing) ? "constraint trigger" : "trigger"} refuse ${timing.replace("constraint ", "")} on
    public.things ${
    /constraint/.test(timing) ? "deferrable initially deferred" : ""
  } for each row execute function public.refuse();`;

export const table = "create table public.things (id int primary key, x int);";

export async function prepare(sql: string) {
  const given = await databaseAndWeb(sql, {}, true);
  const { db, web } = given;
  await db.feed("things", { url: `${web.url}/things`, reject_limit: 1 });
  return {
    ...given,
    put: (columns: string, rows: string) => web.files["/things"] = `${columns}\n${rows.replaceAll(" ", "\n")}\n`,
  };
}

export const ids = async (db: Database) =>
  (await db.query("select id from public.things order by id")).map(({ id }) => id);
