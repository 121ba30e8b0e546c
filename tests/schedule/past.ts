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

/** What tests/schedule/cron/net_worker.ts says of the versions, as far as health sees it. */
export type PgNet = "0.14" | "0.19.6" | "0.20";

/** What has happened, and how long ago. */
export class Past {
  constructor(private readonly db: Database, private readonly pgNet: PgNet = "0.19.6") {}

  async extensions() {
    await this.db.query(extensions);
    await this.workerIsUp("true");
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

  /** The first run of the feed without a fault, and nothing was new. */
  async recovered(ago: string, feed: string) {
    await this.ledger(ago, feed, null, "unchanged");
  }

  private async ledger(ago: string, feed: string, error: string | null, status = error ? "failed" : "changed") {
    await this.db.query(
      `insert into etl.runs
      select gen_random_uuid(), $2, $3, now() - $1::interval, now() - $1::interval, 0, 0, 0, 0, 0, 0, 0,
        case when $4 <> '' then 'http_404' end, $4`,
      [ago, feed, status, error],
    );
  }

  async scheduled(ago: string, line = "*/10 * * * *", active = true) {
    await this.db.query(
      `insert into cron.job (schedule, command, active, jobname)
      values ($2, 'select etl.invoke() -- since ' || to_char(now() - $1::interval, 'YYYY-MM-DD"T"HH24:MI:SSOF'), $3, 'tdc-etl'),
        ('2-57/5 * * * *', 'select from etl.look()', true, 'tdc-etl look')`,
      [ago, line, active],
    );
  }

  /** The schedule is of a version that knew of no looks. */
  async hasNoLook() {
    await this.db.query("delete from cron.job where jobname = 'tdc-etl look'");
  }

  async called(...agos: string[]) {
    for (const ago of agos) await this.call(ago, "succeeded", "1 row");
  }

  async call(ago: string, status: string, message: string, job = "tdc-etl") {
    await this.db.query(
      `insert into cron.job_run_details (jobid, command, status, return_message, start_time, end_time)
      select jobid, command, $2, $3, now() - $1::interval, now() - $1::interval from cron.job where jobname = $4`,
      [ago, status, message, job],
    );
  }

  /** A look at this moment, and what pg_cron keeps of it; tests/schedule/cron sees pg_cron keep it. */
  async look() {
    await this.db.query("savepoint look");
    const [status, message] = await this.db.query("select from etl.look()").then(
      ({ length }) => ["succeeded", length === 1 ? "1 row" : `${length} rows`],
      (error) => ["failed", `ERROR:  ${error.message}\nCONTEXT:  PL/pgSQL function etl.look() line 5 at RAISE\n`],
    );
    await this.db.query("rollback to savepoint look");
    await this.call("0", status, message, "tdc-etl look");
    return message;
  }

  /** A call, and its answer some seconds later; from 0.20 on pg_net dates an answer by the start of its batch. */
  async tick(ago: string, columns: Record<string, unknown>, seconds = 5) {
    await this.called(ago);
    const answered = this.pgNet === "0.20" ? 0 : seconds;
    const [row] = await this.db.query("select ($1::interval - make_interval(secs => $2))::text as ago", [
      ago,
      answered,
    ]);
    await this.answered(row.ago, columns);
  }

  /** Everything that has happened was so much earlier, and pg_net has forgotten what it forgets in that time. */
  async passes(time: string, kept = "6 hours") {
    const moved = (column: string) => `${column} = ${column} - $1::interval`;
    await this.db.query(`update etl.runs set ${moved("started_at")}, ${moved("finished_at")}`, [time]);
    await this.db.query(`update net._http_response set ${moved("created")}`, [time]);
    await this.db.query("delete from net._http_response where created < now() - $1::interval", [kept]);
    await this.db.query(
      `update cron.job_run_details set ${moved("start_time")}, ${moved("end_time")},
        return_message = coalesce((
          select replace(return_message, at, to_char(at::timestamptz at time zone 'UTC' - $1::interval, $2))
          from substring(return_message from '\\d{4}-\\d\\d-\\d\\dT[\\d:.]+Z') at
          where at is not null
        ), return_message)`,
      [time, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'],
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
      [ago, {
        timed_out: false,
        ...ours,
        ...others,
        ...(others.timed_out && this.pgNet === "0.14" ? { timed_out: null } : {}),
      }],
    );
  }

  async good(...agos: string[]) {
    for (const ago of agos) await this.answered(ago, { body: report() });
  }

  async waiting(requests: number) {
    await this.db.query("insert into net.http_request_queue (url) select 'x' from generate_series(1, $1)", [requests]);
  }

  async workerIsUp(up: "true" | "false" | "null") {
    await this.db.query(
      `create or replace function etl.net_worker_is_up() returns boolean language sql as 'select ${up}::boolean'`,
    );
  }

  query(sql: string, values?: unknown[]) {
    return this.db.query(sql, values);
  }
}

export function report(statuses: Record<string, string> = {}, dry_run = false) {
  const feeds = ["drivers", "trips"].map((feed) => ({ feed, status: statuses[feed] ?? "unchanged" }));
  return { run: "r", status: "unchanged", dry_run, feeds };
}

export const failure = (code: string, message?: string) => ({ error: { code, ...(message && { message }) } });

export const closed = { error_msg: "Couldn't connect to server" };

export const slow = { timed_out: true, error_msg: "Timeout of 390000 ms reached" };

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

/** A job that was due some minutes ago and is once a day, or a week; loaded long ago, and scheduled before that. */
export async function rare(past: Past, every: "day" | "week" = "day") {
  await past.extensions();
  await past.loaded("30 days");
  const [{ line }] = await past.query(
    `select to_char(at, 'FMMI FMHH24 * * ') || case $1 when 'day' then '*' else extract(dow from at)::text end as line
    from (select now() at time zone 'UTC' - interval '9 min' as at) t`,
    [every],
  );
  await past.scheduled("40 days", line);
}

export const daily = (past: Past) => rare(past);

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
        if (trips === "failing" && trips !== verdict) {
          assert.match(health[1].message, /^Cannot load trips: the server answered 404/);
        }
      } finally {
        await db.query("rollback");
      }
    });
  }
}
