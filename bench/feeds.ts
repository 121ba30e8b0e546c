/** What etl.feed_state remembers of an earlier load, and so by what the next run may tell that nothing changed. */
import type { Client } from "../lib/database/connect.ts";
import type { DataFile } from "./data.ts";

/**
 * hash: the body is staged, and its hash found to be the same at the end; length: it is read for its hash alone;
 * etag: the server is asked, and answers 304; nothing: all rows are compared.
 */
export type Memory = "nothing" | "hash" | "length" | "etag";

export async function remember(client: Client, file: DataFile, memory: Memory): Promise<void> {
  await client.query("delete from etl.feed_state where feed = $1", [file.format]);
  if (memory === "nothing") return;
  await client.query(
    `insert into etl.feed_state (feed, etag, content_hash, content_length, definition_hash, carried_columns, records)
    select name, $4, $2, $3, etl.definition_hash(f), '{}', 0 from etl.feeds f where name = $1`,
    [
      ...[file.format, file.hash],
      ...[memory === "length" ? file.bytes : null, memory === "etag" ? `"${file.bytes}"` : null],
    ],
  );
}
