/** Rows -> the staging table. */
// @ts-types="@types/pg-copy-streams"
import { from as copyFrom } from "pg-copy-streams";
import type { Client } from "./database.ts";
import { EtlError } from "./errors.ts";

/** Runs a COPY … FROM STDIN with these chunks. Pulls the next chunk only when Postgres has taken the last. */
export async function copyRows(client: Client, statement: string, chunks: AsyncIterable<Uint8Array>): Promise<void> {
  const copy = client.query(copyFrom(statement));
  const ended = new Promise<void>((resolve, reject) => copy.once("finish", resolve).on("error", reject));
  ended.catch(() => {});
  let failed = false;
  copy.once("error", () => failed = true);
  try {
    for await (const chunk of chunks) {
      if (failed) break;
      await write(copy, chunk);
    }
  } catch (error) {
    if (failed) throw atLine(error);
    copy.destroy(new Error("the feed broke off"));
    await ended.catch((refusal) => {
      throw error instanceof EtlError && error.code === "quote" ? atLine(refusal, error) : error;
    });
  }
  copy.end();
  await ended.catch((error) => {
    throw atLine(error);
  });
}

function write(copy: ReturnType<typeof copyFrom>, chunk: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    copy.once("error", reject);
    copy.write(chunk, () => {
      copy.off("error", reject);
      resolve();
    });
  });
}

const reasons: Record<string, string> = {
  "22P04": "has more or fewer fields than the header",
  "22021": "is not UTF-8, or holds a NUL",
  "22P05": "holds a character that the database cannot store",
};

/** Postgres knows the line it had come to. Its words may quote the line, so ours stand in for them. */
function atLine(refusal: unknown, error?: EtlError): EtlError {
  const { code = "connection", message, where } = refusal as { code?: string; message: string; where?: string };
  const line = /, line (\d+)/.exec(where ?? "")?.[1];
  if (error) return new EtlError(error.code, `line ${line}: ${error.message}`, error.hint, { cause: error });
  if (!line) return new EtlError(code, message, null, { cause: refusal });
  const reason = reasons[code] ?? message;
  return new EtlError(code, `line ${line} ${reason}`, "Ask the partner to mend the file.", { cause: refusal });
}
