import { troubles } from "./database/sqlstates.ts";

/**
 * What a person is told when something fails: what failed, why, and the way out.
 *
 * `code` is one of ours (docs/errors.md lists them) or, where Postgres refused, its five-character SQLSTATE.
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

/** An error of any origin as an `EtlError`; `doing` starts the sentence, as in "Cannot load trips". */
export function asEtlError(error: unknown, doing: string): EtlError {
  if (error instanceof EtlError) {
    return new EtlError(error.code, `${doing}: ${error.message}`, error.hint, { cause: error.cause });
  }
  const { code, message, hint } = error as { code?: string; message?: string; hint?: string };
  const [words, wayOut] = troubles[code ?? ""] ?? [];
  return new EtlError(code ?? "internal", `${doing}: ${words || (message ?? error)}`, hint ?? wayOut ?? null, {
    cause: error,
  });
}
