/**
 * What has happened before etl.health() is asked. What pg_cron and pg_net remember is written by the tests, into plain
 * tables of the same names and columns; tests/schedule/cron sees the real pg_cron write it.
 */
import assert from "node:assert/strict";
import { type Database, freshDatabase } from "../support/database.ts";

const extensions = `
  create schema cron;
  create table cron.job (
    jobid bigserial primary key, schedule text, command text, active boolean default true, jobname text, username text
  );
  create table cron.job_run_details (
    jobid bigint, runid bigserial primary key, command text, status text, return_message text, start_time timestamptz,
    end_time timestamptz
  );
  create schema net;
  create table net.http_request_queue (id bigserial, url text not null);
  create table net._http_response (
    id bigint, status_code int, content_type text, headers jsonb, content text, timed_out bool, error_msg text,
    created timestamptz not null default now()
  );
  update etl.feeds set enabled = name in ('drivers', 'trips');`;

/** What has happened, and how long ago. */
export class Past {
  constructor(private readonly db: Database) {}

  async extensions() {
    await this.db.query(extensions);
  }

  async loaded(ago: string, feeds = ["drivers", "trips"]) {
    await this.db.query(
      `insert into etl.feed_state (feed, content_hash, definition_hash, carried_columns, records)
      select unnest($1::text[]), 'x', 'x', '{}', 0 on conflict do nothing`,
      [feeds],
    );
    for (const feed of feeds) await this.ledger(ago, feed, null);
  }

  async failed(ago: string, feed: string) {
    await this.ledger(ago, feed, `Cannot load ${feed}: the server answered 404`);
  }

  private async ledger(ago: string, feed: string, error: string | null) {
    await this.db.query(
      `insert into etl.runs
      select gen_random_uuid(), $2, $3, now() - $1::interval, now() - $1::interval, 0, 0, 0, 0, 0, 0, 0, 'http_404', $4`,
      [ago, feed, error ? "failed" : "changed", error],
    );
  }

  async scheduled(ago: string, line = "*/10 * * * *", active = true) {
    await this.db.query(
      `insert into cron.job (schedule, command, active, jobname)
      values ($2, 'select etl.invoke() -- since ' || to_char(now() - $1::interval, 'YYYY-MM-DD"T"HH24:MI:SSOF'), $3, 'tdc-etl')`,
      [ago, line, active],
    );
  }

  async called(...agos: string[]) {
    for (const ago of agos) await this.call(ago, "succeeded", "1 row");
  }

  async call(ago: string, status: string, message: string) {
    await this.db.query(
      `insert into cron.job_run_details (jobid, status, return_message, start_time, end_time)
      select jobid, $2, $3, now() - $1::interval, now() - $1::interval from cron.job`,
      [ago, status, message],
    );
  }

  /** An answer that pg_net keeps; of our function where it has a body. */
  async answered(ago: string, columns: Record<string, unknown>) {
    const { body, ...others } = columns;
    const ours = body === undefined
      ? {}
      : { status_code: 200, headers: { "X-Tdc-Etl": "1" }, content: `{"progress":{}}\n${JSON.stringify(body)}\n` };
    await this.db.query(
      `insert into net._http_response
      select (jsonb_populate_record(null::net._http_response, $2 || jsonb_build_object('created', now() - $1::interval))).*`,
      [ago, { timed_out: false, ...ours, ...others }],
    );
  }

  async good(...agos: string[]) {
    for (const ago of agos) await this.answered(ago, { body: report() });
  }

  query(sql: string) {
    return this.db.query(sql);
  }
}

export function report(statuses: Record<string, string> = {}, dry_run = false) {
  const feeds = ["drivers", "trips"].map((feed) => ({ feed, status: statuses[feed] ?? "unchanged" }));
  return { run: "r", status: "unchanged", dry_run, feeds };
}

export const failure = (code: string, message?: string) => ({ error: { code, ...(message && { message }) } });

export const closed = { error_msg: "Couldn't connect to server" };

export const day = "24 hours";

export type Row = [what: string, past: (past: Past) => Promise<void>, verdict: string, message: RegExp, trips?: string];

/** A busy schedule, every ten minutes, that was well until half an hour ago. */
export async function wellUntilHalfAnHourAgo(past: Past) {
  await past.extensions();
  await past.loaded("3 days");
  await past.scheduled("4 days");
  await past.called("41 min", "31 min");
  await past.good("40 min", "30 min");
}

/** Each row is a step. */
export async function tryEach(t: Deno.TestContext, table: Row[]): Promise<void> {
  await using db = await freshDatabase();
  for (const [what, happens, verdict, message, trips = verdict] of table) {
    await t.step(`${what}: ${trips}`, async () => {
      await db.query("begin");
      try {
        await happens(new Past(db));
        const health = await db.query(
          "select feed, verdict, message from etl.health() where feed in ('drivers', 'trips')",
        );
        assert.deepEqual(health.map((row) => [row.feed, row.verdict]), [["drivers", verdict], ["trips", trips]]);
        assert.match(health[0].message, message);
        if (trips !== verdict) assert.match(health[1].message, /^Cannot load trips: the server answered 404/);
      } finally {
        await db.query("rollback");
      }
    });
  }
}
