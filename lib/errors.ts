import { meaningOf, raisedBy } from "./database/sqlstates.ts";

/**
 * What a person is told when something fails: what failed, why, and the way out.
 *
 * `code` is a word that docs/errors.md lists or, where Postgres refused for a reason that is not listed, its SQLSTATE.
 * `cause` keeps the original error for a developer; it is never printed by default.
 */
export class EtlError extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly hint: string | null = null,
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.name = "EtlError";
  }
}

/** How many records have the same fault, without a value of them. */
export interface RejectSummary {
  column: string | null;
  reason: string;
  count: number;
  /** The numbers of the first three. */
  first: number[];
}

/** More records break a rule than the feed's limit. */
export class TooManyRejects extends EtlError {
  /** `attempt`: for etl.keep_attempt(), a text with values. */
  constructor(message: string, hint: string, readonly rejects: RejectSummary[], readonly attempt: string) {
    super("too_many_rejects", message, hint);
  }
}

/** An error of any origin as an `EtlError`; `doing` starts the sentence, as in "Cannot load trips". */
export function asEtlError(error: unknown, doing: string): EtlError {
  if (error instanceof EtlError) {
    if (error.message.startsWith(`${doing}: `)) return error;
    return new EtlError(error.code, `${doing}: ${error.message}`, error.hint, { cause: error.cause });
  }
  const meaning = meaningOf(error) ?? { code: "internal" };
  const name = raisedBy(error);
  const { message, hint }: { message?: string; hint?: string } = name === null ? error as Error : {
    message: `${name}(), a function of the database, failed`,
    hint: meaning.hint ??
      "What it says may hold values and is not shown: look at the function, or write such a row by hand.",
  };
  return new EtlError(
    meaning.code,
    `${doing}: ${meaning.message ?? message ?? error}`,
    hint ?? meaning.hint ?? null,
    { cause: error },
  );
}
