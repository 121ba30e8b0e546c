/** What most tests are given: a fresh database and a partner's server. */
import { type Database, freshDatabase } from "./database.ts";
import { type Answer, serve, type Web } from "./web.ts";

export interface Given extends AsyncDisposable {
  db: Database;
  web: Web;
}

/** Both with `sql` run, and gone at the end. */
export async function databaseAndWeb(
  sql = "",
  files: Record<string, Answer> = {},
  etags = false,
): Promise<Given> {
  await using stack = new AsyncDisposableStack();
  const db = stack.use(await freshDatabase());
  const web = stack.use(serve(files, etags));
  await db.query(sql);
  const all = stack.move();
  return { db, web, [Symbol.asyncDispose]: () => all.disposeAsync() };
}
