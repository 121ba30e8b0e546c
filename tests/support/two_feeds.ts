/** Two feeds beside each other. */
import { databaseAndWeb } from "./given.ts";

/** Two feeds, loaded once: things, which a test spoils, and others, which must not care. */
export async function twoFeeds() {
  const given = await databaseAndWeb(
    "create table public.things (id text primary key, name text); create table public.others (id text primary key)",
    { "/things": "id,name\n1,Bo\n", "/others": "id\n0\n" },
  );
  const { db, web } = given;
  for (const name of ["things", "others"]) await db.feed(name, { url: `${web.url}/${name}` });
  await db.load({ feeds: ["things", "others"] });
  return given;
}
