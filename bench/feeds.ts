/** What etl.feeds remembers of an earlier load, and so by what the next run may tell that nothing changed. */
import type { Client } from "../lib/database/connect.ts";
import type { DataFile } from "./data.ts";

/**
 * hash: the body is staged, and its hash found to be the same at the end; length: it is read for its hash alone;
 * etag: the server is asked, and answers 304; nothing: all rows are compared.
 */
export type Memory = "nothing" | "hash" | "length" | "etag";

export async function remember(client: Client, file: DataFile, memory: Memory): Promise<void> {
  await client.query(
    `update etl.feeds f
    set content_hash = $2, content_length = $3, etag = $4, last_modified = null,
      definition_hash = etl.definition_hash(f)
    where name = $1`,
    [
      file.format,
      memory === "nothing" ? null : file.hash,
      memory === "length" ? file.bytes : null,
      memory === "etag" ? `"${file.bytes}"` : null,
    ],
  );
}
