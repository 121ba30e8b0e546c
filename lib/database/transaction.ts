/** The transaction of a run, and in it a savepoint for each feed. */
import type { Client } from "./connect.ts";

/** Begins the transaction of a run, which may fetch for so long. A dry run advises nothing that rests on what it did. */
export async function begin(client: Client, fetchingMs: number, dryRun = false): Promise<void> {
  // Under a stricter level, the default of some roles, what others write meanwhile would fail the run.
  await client.query("begin isolation level read committed");
  // A run may stream for long, but neither keeps a lock after its loader has gone nor waits long for one.
  await client.query(
    `set local statement_timeout = 0;
    set local idle_in_transaction_session_timeout = ${Math.round(fetchingMs) + 300_000};
    set local client_connection_check_interval = '2s';
    set local tcp_keepalives_idle = '1min';
    set local tcp_keepalives_interval = '10s';
    set local tcp_keepalives_count = 6;
    set local standard_conforming_strings = on;
    set local etl.dry_run = ${dryRun ? "on" : "off"};
    select set_config('lock_timeout', '30s', true) where current_setting('lock_timeout') = '0';
    select set_config('transaction_timeout', '0', true) where current_setting('transaction_timeout', true) is not null;
    select set_config('citus.multi_shard_modify_mode', 'sequential', true)
    where current_setting('citus.multi_shard_modify_mode', true) is not null`,
  );
}

/** Ends the run: keeps what it did, or nothing of it. */
export async function end(client: Client, keep: boolean): Promise<void> {
  await client.query(keep ? "commit" : "rollback");
}

export async function beginFeed(client: Client): Promise<void> {
  await client.query("savepoint feed");
}

/** Undoes what was done since `beginFeed`. The feed goes on: it may be entered in the ledger. */
export async function undoFeed(client: Client): Promise<void> {
  await client.query("rollback to savepoint feed");
}

export async function endFeed(client: Client): Promise<void> {
  await client.query("release savepoint feed");
}
