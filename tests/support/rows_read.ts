/** What a query costs in rows, by Postgres' own count. */
import type { Database } from "./database.ts";

/** How many rows of a table a query reads, one by one or by an index. */
export async function rowsRead(db: Database, table: string, query: string): Promise<number> {
  const seen = async () => {
    await db.query("select pg_stat_force_next_flush()");
    const [row] = await db.query(
      `select seq_tup_read::int + coalesce(idx_tup_fetch, 0)::int as read from pg_stat_user_tables
      where relid = $1::regclass`,
      [table],
    );
    return row.read;
  };
  await seen();
  const before = await seen();
  await db.query(query);
  await seen();
  return await seen() - before;
}
