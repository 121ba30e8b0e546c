/** Rows -> the staging table. */
// @ts-types="@types/pg-copy-streams"
import { from as copyFrom } from "pg-copy-streams";
import type { Client } from "./connect.ts";
import { connectionLost } from "./failures.ts";

/** Runs a COPY … FROM STDIN with these chunks, and returns its rows. Pulls a chunk only when Postgres has taken the last. */
export async function copyRows(
  client: Client,
  statement: string,
  chunks: AsyncIterable<Uint8Array>,
): Promise<number> {
  const copy = client.query(copyFrom(statement));
  let refusal: unknown;
  const ended = new Promise<void>((resolve) => {
    copy.once("finish", resolve).on("error", (error) => {
      refusal ??= error;
      resolve();
    });
  });
  try {
    for await (const chunk of chunks) {
      if (refusal) break;
      await write(copy, chunk);
    }
  } catch (error) {
    if (!refusal) {
      copy.destroy(new Error("the feed broke off"));
      await ended;
      throw error;
    }
  }
  if (!refusal) copy.end();
  await ended;
  if (refusal) throw connectionLost(refusal) ?? refusal;
  return copy.rowCount;
}

/** Resolves when the chunk is taken, or never will be. */
function write(copy: ReturnType<typeof copyFrom>, chunk: Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    const settle = () => {
      copy.off("error", settle);
      resolve();
    };
    copy.once("error", settle);
    // A chunk below the socket's high-water mark (64 KB) counts as taken before it is sent, and the next may overwrite it.
    copy.write(chunk.length < 1 << 17 ? chunk.slice() : chunk, settle);
  });
}
