/** What comes between us and the database as a whole, in words. What comes between a feed and its table: ../errors.ts. */
import { asEtlError, EtlError } from "../errors.ts";
import { meaningOf, refusals } from "./sqlstates.ts";
import type { Way } from "./tls.ts";
import { type Failure, tlsFault } from "./tls_faults.ts";

/** Why there is no connection by this way. Neither the URL nor its password reaches the message. */
export function notConnected(cause: Failure, way: Way = "plain"): EtlError {
  const { code = "", message } = cause;
  const meaning = meaningOf(cause) ?? tlsFault(cause, way) ?? refusals[code] ?? { code: "connection_failed" };
  const hint = meaning.hint ?? "Check DATABASE_URL: postgres://user:password@host:5432/database";
  return new EtlError(meaning.code, meaning.message ?? message, hint, { cause });
}

/** The error of a connection that broke, in words; null where it is another error. */
export function connectionLost(cause: unknown): EtlError | null {
  const { code: raw = "", message, syscall } = cause as Failure & { syscall?: string };
  const lost = syscall || /^(57P0.|EPIPE)$/.test(raw) || /^Connection terminated|connection error/.test(message);
  if (!lost) return null;
  const { code } = meaningOf(cause) ?? { code: "connection_lost" };
  // It may have been lost after the commit was sent: whether the run was kept is then known to the database alone.
  const hint = "A run is kept whole or not at all. Run again once the database is up.";
  return new EtlError(code, `the connection to the database was lost: ${message}`, hint, { cause });
}

/** Why a run as a whole could not be. */
export function runFailed(cause: unknown): EtlError {
  if (cause instanceof EtlError) return cause;
  const lacksSchema = /^(42P01|42883|3F000)$/.test((cause as Failure).code ?? "");
  if (!lacksSchema) return connectionLost(cause) ?? asEtlError(cause, "Cannot run");
  return new EtlError(
    "not_migrated",
    "Cannot run: the database lacks the schema etl",
    "Apply supabase/migrations: supabase db push, or deno task etl with this DATABASE_URL.",
    { cause },
  );
}
