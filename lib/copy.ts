/** Rows -> the staging table. */
// @ts-types="@types/pg-copy-streams"
import { from as copyFrom } from "pg-copy-streams";
import { type Client, connectionLost } from "./database.ts";
import { EtlError, LineError } from "./errors.ts";

/**
 * Runs a COPY … FROM STDIN with these chunks. Pulls the next chunk only when Postgres has taken the last.
 * `unit` is what Postgres counts as a line: a line of the file, or a record.
 */
export async function copyRows(
  client: Client,
  statement: string,
  chunks: AsyncIterable<Uint8Array>,
  unit: "line" | "record",
): Promise<void> {
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
      const line = lineOf(refusal);
      throw error instanceof LineError && line ? error.at(line) : error;
    }
  }
  if (!refusal) copy.end();
  await ended;
  if (refusal) throw explain(refusal, unit);
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

/** Postgres knows the line it had come to; of what it says of it, only the number is taken: the rest quotes the line. */
function lineOf(refusal: unknown): number | null {
  const { where } = refusal as { where?: string };
  const line = /, line (\d+)/.exec(where ?? "")?.[1];
  return line ? Number(line) : null;
}

function explain(refusal: unknown, unit: string): unknown {
  const { code = "", message, routine } = refusal as { code?: string; message: string; routine?: string };
  const line = lineOf(refusal);
  const lost = connectionLost(refusal);
  if (lost) return lost;
  if (!line || !code.startsWith("22")) return refusal;
  const hint = "Ask the partner to mend the file.";
  const fault = code === "22021"
    ? "is not UTF-8, or holds a NUL"
    : code === "22P05"
    ? "holds a character that the database cannot store"
    : code !== "22P04"
    ? message
    : /ReadLine/.test(routine ?? "")
    ? "has another line end than the lines before"
    : unit === "line"
    ? "has more or fewer fields than the header"
    : "holds a control character";
  return new EtlError(code, `${unit} ${line} ${fault}`, hint, { cause: refusal });
}
