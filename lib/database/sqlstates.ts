/** What an error of the database means: our word for it, and words and a way out where its own do not help. */

export interface Meaning {
  /** Postgres' own name of the condition, or ours where supabase/sql raises it (ETL…). docs/errors.md lists them. */
  code: string;
  /** In place of the error's own message. */
  message?: string;
  /** Where the error brings none. */
  hint?: string;
}

/** By SQLSTATE. Whatever failed in a run was rolled back. */
const sqlstates: Record<string, Meaning> = {
  ETL01: { code: "unknown_feed" },
  ETL02: { code: "no_primary_key" },
  ETL03: { code: "columns" },
  ETL04: { code: "not_a_table" },
  ETL05: { code: "rows_dropped" },
  ETL06: { code: "too_many_rejects" },
  ETL07: { code: "not_ready" },
  ETL08: { code: "cron_line" },
  ETL09: { code: "time_zone" },
  ETL10: { code: "unknown_user" },
  ETL11: { code: "setting" },
  ETL12: { code: "day" },
  "23503": {
    code: "foreign_key_violation",
    hint: "A row that a record refers to was deleted meanwhile. The next run finds out which records that leaves.",
  },
  "25006": {
    code: "read_only_sql_transaction",
    message: "the database is read-only",
    hint: "Is it a replica, is its disk nearly full, or has somebody set default_transaction_read_only for it or its " +
      "role? Check DATABASE_URL, the disk, and that setting.",
  },
  "28000": {
    code: "invalid_authorization_specification",
    message: "the role may not connect",
    hint: "Check the role in DATABASE_URL and the server's pg_hba.conf.",
  },
  "28P01": {
    code: "invalid_password",
    message: "the password is wrong",
    hint: "Check the password in DATABASE_URL.",
  },
  "2BP01": { code: "dependent_objects_still_exist" },
  "3D000": {
    code: "invalid_catalog_name",
    message: "the database does not exist",
    hint: "Check the database's name in DATABASE_URL, or create it.",
  },
  "40001": {
    code: "serialization_failure",
    message: "another session changed the same rows at the same time",
    hint: "Run again.",
  },
  "40P01": {
    code: "deadlock_detected",
    message: "it and another session waited for each other's locks (a deadlock), and Postgres ended this one",
    hint: "Run again; if it lasts, find out who else writes to these tables.",
  },
  "42P01": { code: "undefined_table" },
  "53100": { code: "disk_full", hint: "The database's disk is full: make room, then run again." },
  "53200": { code: "out_of_memory", hint: "The database is out of memory: wait or give it more, then run again." },
  "53300": {
    code: "too_many_connections",
    message: "it has no connection left",
    hint: "Wait, or raise max_connections.",
  },
  "53400": {
    code: "configuration_limit_exceeded",
    hint: "The database reached a limit that was set for it, as temp_file_limit: raise it, then run again.",
  },
  "54000": {
    code: "program_limit_exceeded",
    hint:
      "Postgres holds a row, and an entry of an index, in a page of 8 kB: give the table fewer or narrower columns.",
  },
  "55P03": {
    code: "lock_not_available",
    message: "another session holds a lock on its table, or on one it refers to",
    hint:
      "See who: select pid, query from pg_stat_activity where state <> 'idle'. Then wait, or end that session; run again.",
  },
  "57014": {
    code: "query_canceled",
    message: "somebody cancelled its statement in the database",
    hint: "Run again.",
  },
  "57P01": { code: "admin_shutdown" },
  "57P02": { code: "crash_shutdown" },
  "57P03": {
    code: "cannot_connect_now",
    message: "it is starting up, or shutting down",
    hint: "Wait a moment, then run again.",
  },
};

/** By the code of the operating system or of Deno, while connecting. */
export const refusals: Record<string, Meaning> = {
  ECONNREFUSED: {
    code: "connection_refused",
    message: "no server answers there",
    hint: "Is Postgres running, and are host and port in DATABASE_URL right?",
  },
  ECONNRESET: {
    code: "connection_reset",
    message: "the server broke the connection off",
    hint: "It may be starting or shutting down: run again.",
  },
  ENOTFOUND: {
    code: "unknown_host",
    message: "the host is unknown",
    hint: "Check the host in DATABASE_URL.",
  },
  ERR_INVALID_URL: { code: "database_url", message: "its URL cannot be read" },
};

/** What an error of Postgres means; a SQLSTATE that is not listed stands for itself. Null where it is no such error. */
export function meaningOf(error: unknown): Meaning | null {
  const { code, severity } = error as { code?: string; severity?: string };
  return code && severity ? sqlstates[code] ?? { code } : null;
}

/** The function, as of a trigger or a CHECK, that has raised it and is none of ours: its words may hold what it was given. */
export function raisedBy(error: unknown): string | null {
  const { where } = error as { where?: string };
  const name = /^(?:PL\/\w+|SQL) function "?(.+?)(?:"|\(| line | statement |$)/m.exec(where ?? "")?.[1];
  return name === undefined || /^(etl\.|inline_code_block$)/.test(name) ? null : name;
}
