/**
 * The failure table of etl.health(). What pg_cron and pg_net remember is written by the tests, into plain tables of the
 * same names and columns; tests/schedule/cron sees the real pg_cron write it.
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
class Past {
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

function report(statuses: Record<string, string> = {}, dry_run = false) {
  const feeds = ["drivers", "trips"].map((feed) => ({ feed, status: statuses[feed] ?? "unchanged" }));
  return { run: "r", status: "unchanged", dry_run, feeds };
}

const failure = (code: string, message?: string) => ({ error: { code, ...(message && { message }) } });
const closed = { error_msg: "Couldn't connect to server" };
const day = "24 hours";

type Row = [what: string, past: (past: Past) => Promise<void>, verdict: string, message: RegExp, trips?: string];

/** A busy schedule, every ten minutes, that was well until half an hour ago. */
async function wellUntilHalfAnHourAgo(past: Past) {
  await past.extensions();
  await past.loaded("3 days");
  await past.scheduled("4 days");
  await past.called("41 min", "31 min");
  await past.good("40 min", "30 min");
}

const table: Row[] = [
  [
    "a good answer a moment ago",
    async (past) => {
      await wellUntilHalfAnHourAgo(past);
      await past.called("21 min", "11 min", "1 min");
      await past.good("20 min", "10 min", "30 s");
    },
    "ok",
    /^$/,
  ],
  [
    "nothing changed for months, and the ledger says nothing",
    async (past) => {
      await wellUntilHalfAnHourAgo(past);
      await past.query("delete from etl.runs");
      await past.called("11 min", "1 min");
      await past.good("10 min", "30 s");
    },
    "ok",
    /^$/,
  ],
  [
    "the latest call is not answered yet",
    async (past) => {
      await wellUntilHalfAnHourAgo(past);
      await past.called("21 min", "11 min", "1 min");
      await past.good("20 min", "10 min");
    },
    "ok",
    /^$/,
  ],
  [
    "one answer was lost",
    async (past) => {
      await wellUntilHalfAnHourAgo(past);
      await past.called("21 min", "11 min", "1 min");
      await past.good("20 min");
    },
    "ok",
    /^$/,
  ],
  [
    "nothing was ever loaded, nothing is scheduled",
    async (past) => {
      await past.extensions();
    },
    "never ran",
    /^Nothing was ever loaded\. No schedule: see etl\.schedule\(\)$/,
  ],
  [
    "scheduled a moment ago, nothing loaded yet",
    async (past) => {
      await past.extensions();
      await past.scheduled("1 min");
    },
    "never ran",
    /^Nothing was ever loaded$/,
  ],
  [
    "never loaded, because the function is down",
    async (past) => {
      await past.extensions();
      await past.scheduled("1 hour");
      await past.called("21 min", "11 min", "1 min");
      await past.answered("1 min", closed);
    },
    "never ran",
    /^Nothing was ever loaded\. The function was called .*: Couldn't connect to server$/,
  ],
  [
    "loaded by hand, scheduled a moment ago",
    async (past) => {
      await past.extensions();
      await past.loaded("3 days");
      await past.scheduled("1 min");
    },
    "ok",
    /^$/,
  ],
  [
    "loaded by hand, scheduled two hours ago, never started",
    async (past) => {
      await past.extensions();
      await past.loaded("3 days");
      await past.scheduled("2 hours");
    },
    "late",
    /^pg_cron has never started the job$/,
  ],
  [
    "a job that somebody made by hand, and that never started",
    async (past) => {
      await past.extensions();
      await past.loaded("3 days");
      await past.query(
        "insert into cron.job (schedule, command, jobname) values ('* * * * *', 'select etl.invoke()', 'tdc-etl')",
      );
    },
    "late",
    /^pg_cron has never started the job$/,
  ],
  ["cron has stopped", wellUntilHalfAnHourAgo, "late", /^pg_cron has not started the job since \d{4}-/],
  [
    "the job is switched off",
    async (past) => {
      await wellUntilHalfAnHourAgo(past);
      await past.query("update cron.job set active = false");
    },
    "late",
    /^The job of pg_cron is switched off/,
  ],
  [
    "the call cannot be made",
    async (past) => {
      await wellUntilHalfAnHourAgo(past);
      await past.good("30 s");
      await past.call("1 s", "failed", "ERROR:  the vault lacks etl_trigger_secret\nHINT:  select …\n");
    },
    "late",
    /^The function could not be called: the vault lacks etl_trigger_secret$/,
  ],
  [
    "the function is down",
    async (past) => {
      await wellUntilHalfAnHourAgo(past);
      await past.called("21 min", "11 min", "1 min");
      await past.answered("20 min", closed);
      await past.answered("10 min", closed);
    },
    "late",
    /^The function was called and has not answered well since .*\. The latest bad answer .*: Couldn't connect to server$/,
  ],
  [
    "the function is slow",
    async (past) => {
      await wellUntilHalfAnHourAgo(past);
      await past.called("21 min", "11 min", "1 min");
      await past.answered("3 min", { timed_out: true, error_msg: "Timeout of 390000 ms reached" });
    },
    "late",
    /: timed out$/,
  ],
  [
    "the function is cut off at its wall clock",
    async (past) => {
      await wellUntilHalfAnHourAgo(past);
      await past.called("21 min", "11 min", "1 min");
      await past.answered("3 min", { body: { progress: { feed: "trips" } } });
    },
    "late",
    /: ended without a report$/,
  ],
  [
    "something else stands in its place",
    async (past) => {
      await wellUntilHalfAnHourAgo(past);
      await past.called("21 min", "11 min", "1 min");
      await past.answered("3 min", {
        status_code: 401,
        headers: {},
        content: '{"feeds":[{"feed":"drivers","status":"x"}]}',
      });
    },
    "late",
    /: answered 401$/,
  ],
  [
    "pg_net has lost its queue and its answers",
    async (past) => {
      await wellUntilHalfAnHourAgo(past);
      await past.query("truncate net._http_response");
      await past.called("21 min", "11 min", "1 min");
    },
    "late",
    /^The function was called and has not answered well since [^.]*\.?[^.]*$/,
  ],
  [
    "pg_net's worker is down",
    async (past) => {
      await wellUntilHalfAnHourAgo(past);
      await past.called("21 min", "11 min", "1 min");
      await past.query("insert into net.http_request_queue (url) values ('x'), ('y'), ('z')");
    },
    "late",
    /3 requests wait in pg_net: is its background worker up\?$/,
  ],
  [
    "pg_net has lost its answers, but the ledger shows a change since",
    async (past) => {
      await wellUntilHalfAnHourAgo(past);
      await past.query("truncate net._http_response");
      await past.called("21 min", "11 min", "1 min");
      await past.loaded("10 min");
    },
    "ok",
    /^$/,
  ],
  [
    "the secret is refused",
    async (past) => {
      await wellUntilHalfAnHourAgo(past);
      await past.called("1 min");
      await past.answered("50 s", { status_code: 401, body: failure("secret_refused") });
    },
    "secret refused",
    /^etl_trigger_secret in the vault is not among/,
  ],
  [
    "the secret was refused from the very first call",
    async (past) => {
      await past.extensions();
      await past.scheduled("1 hour");
      await past.called("1 min");
      await past.answered("50 s", { status_code: 401, body: failure("secret_refused") });
    },
    "secret refused",
    /^etl_trigger_secret/,
  ],
  [
    "the secret was refused, and then let in",
    async (past) => {
      await wellUntilHalfAnHourAgo(past);
      await past.called("21 min", "11 min", "1 min");
      await past.answered("11 min", { status_code: 401, body: failure("secret_refused") });
      await past.good("50 s");
    },
    "ok",
    /^$/,
  ],
  [
    "let in, but there is no database",
    async (past) => {
      await wellUntilHalfAnHourAgo(past);
      await past.called("11 min", "1 min");
      await past.answered("11 min", { status_code: 401, body: failure("secret_refused") });
      await past.answered("50 s", { status_code: 503, body: failure("invalid_password", "the password is wrong") });
    },
    "failing",
    /^The function answered: the password is wrong$/,
  ],
  [
    "the function has an error of its own",
    async (past) => {
      await wellUntilHalfAnHourAgo(past);
      await past.answered("50 s", { status_code: 500, body: failure("internal", "x is not a function") });
    },
    "failing",
    /^The function answered: x is not a function$/,
  ],
  [
    "the function has no secret",
    async (past) => {
      await wellUntilHalfAnHourAgo(past);
      await past.answered("50 s", { status_code: 503, body: failure("not_configured") });
    },
    "failing",
    /^The function answered: not_configured$/,
  ],
  [
    "the function had an error, and has recovered",
    async (past) => {
      await wellUntilHalfAnHourAgo(past);
      await past.called("11 min", "1 min");
      await past.answered("10 min", { status_code: 500, body: failure("internal", "x") });
      await past.good("50 s");
    },
    "ok",
    /^$/,
  ],
  [
    "another run was under way",
    async (past) => {
      await wellUntilHalfAnHourAgo(past);
      await past.called("11 min", "1 min");
      await past.good("10 min");
      await past.answered("50 s", { status_code: 409, body: failure("busy", "another run is under way") });
    },
    "ok",
    /^$/,
  ],
  [
    "another run is under way for ever",
    async (past) => {
      await wellUntilHalfAnHourAgo(past);
      await past.called("21 min", "11 min", "1 min");
      await past.answered("20 min", { body: failure("busy", "another run is under way") });
      await past.answered("10 min", { body: failure("busy", "another run is under way") });
    },
    "late",
    /: answered: another run is under way$/,
  ],
  [
    "a feed fails",
    async (past) => {
      await wellUntilHalfAnHourAgo(past);
      await past.called("1 min");
      await past.failed("55 s", "trips");
      await past.answered("50 s", { body: report({ trips: "failed" }) });
    },
    "ok",
    /^$/,
    "failing",
  ],
  [
    "a feed failed, and the next answer was unchanged",
    async (past) => {
      await wellUntilHalfAnHourAgo(past);
      await past.called("11 min", "1 min");
      await past.failed("10 min", "trips");
      await past.answered("10 min", { body: report({ trips: "failed" }) });
      await past.good("50 s");
    },
    "ok",
    /^$/,
  ],
  [
    "a feed failed, and a dry run would have gone well",
    async (past) => {
      await wellUntilHalfAnHourAgo(past);
      await past.called("11 min", "1 min");
      await past.failed("10 min", "trips");
      await past.answered("50 s", { body: report({}, true) });
    },
    "ok",
    /^$/,
    "failing",
  ],
  [
    "once a day, and pg_net has dropped the answer",
    async (past) => {
      await past.extensions();
      await past.loaded("30 days");
      await past.scheduled("40 days", "0 0 * * *");
      await past.called("32 hours", "8 hours");
    },
    "ok",
    /^$/,
  ],
  [
    "once a day, and the answer of an hour ago was good",
    async (past) => {
      await past.extensions();
      await past.loaded("30 days");
      await past.scheduled("40 days", "0 0 * * *");
      await past.called("25 hours", "1 hour");
      await past.good("1 hour");
    },
    "ok",
    /^$/,
  ],
  [
    "once a day, and the call of an hour ago was not answered",
    async (past) => {
      await past.extensions();
      await past.loaded("30 days");
      await past.scheduled("40 days", "0 0 * * *");
      await past.called("25 hours", "1 hour");
      await past.answered("1 hour", closed);
    },
    "late",
    /Couldn't connect/,
  ],
  [
    "once a day, failed the day before, and pg_net has dropped the good answer since",
    async (past) => {
      await past.extensions();
      await past.loaded("30 days");
      await past.scheduled("40 days", "0 0 * * *");
      await past.called("32 hours", "8 hours");
      await past.failed("32 hours", "trips");
    },
    "ok",
    /^$/,
  ],
  [
    "once a day, failed the last time",
    async (past) => {
      await past.extensions();
      await past.loaded("30 days");
      await past.scheduled("40 days", "0 0 * * *");
      await past.called("32 hours", "8 hours");
      await past.failed("479 min", "trips");
    },
    "ok",
    /^$/,
    "failing",
  ],
  [
    "on Mondays only, and the week has gone by",
    async (past) => {
      await past.extensions();
      await past.loaded("30 days");
      await past.scheduled("40 days", "0 0 * * mon");
      await past.called("9 days", "2 days");
    },
    "ok",
    /^$/,
  ],
  [
    "once a day, and cron has stopped three days ago",
    async (past) => {
      await past.extensions();
      await past.loaded("30 days");
      await past.scheduled("40 days", "0 0 * * *");
      await past.called("72 hours");
    },
    "late",
    /^pg_cron has not started the job since/,
  ],
  ["no extension: loaded", (past) => past.loaded(day), "ok", /^No schedule: see etl\.schedule\(\)$/],
  [
    "no extension: a feed fails",
    async (past) => {
      await past.loaded(day);
      await past.failed("1 hour", "trips");
    },
    "ok",
    /^No schedule/,
    "failing",
  ],
  [
    "no extension: a feed has recovered by a change",
    async (past) => {
      await past.failed(day, "trips");
      await past.loaded("1 hour");
    },
    "ok",
    /^No schedule/,
  ],
  [
    "a line that pg_cron reads and we do not",
    async (past) => {
      await wellUntilHalfAnHourAgo(past);
      await past.query("update cron.job set schedule = '@hourly'");
    },
    "ok",
    /^$/,
  ],
  [
    "other users of pg_net have troubles of their own",
    async (past) => {
      await wellUntilHalfAnHourAgo(past);
      await past.called("11 min", "1 min");
      await past.good("10 min", "50 s");
      await past.answered("40 s", closed);
      await past.answered("30 s", { status_code: 500, headers: null, content: null });
      await past.answered("20 s", {
        status_code: 200,
        headers: { "x-tdc-etl-not": "1" },
        content: '{"error":{"code":"x"}}',
      });
    },
    "ok",
    /^$/,
  ],
  [
    "an answer that no database can hold as JSON",
    async (past) => {
      await wellUntilHalfAnHourAgo(past);
      await past.called("1 min");
      await past.good("50 s");
      await past.answered("40 s", { status_code: 200, headers: { "x-tdc-etl": "1" }, content: '{"feeds":"\\u0000"}' });
    },
    "ok",
    /^$/,
  ],
];

Deno.test("etl.health(): each row of the failure table", async (t) => {
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
});

Deno.test("etl.health(): the columns beside the verdict", async () => {
  await using db = await freshDatabase();
  const past = new Past(db);
  await wellUntilHalfAnHourAgo(past);
  await past.failed("1 hour", "trips");
  await db.query(
    `insert into etl.rejects (feed, record_number, reason, sqlstate, first_run, last_run)
    select 'trips', n, 'r', '23502', gen_random_uuid(), gen_random_uuid() from generate_series(1, 3) n`,
  );
  const rows = await db.query(`
    select feed, round(extract(epoch from now() - last_change) / 3600)::int as changed_hours,
      round(extract(epoch from now() - last_failure) / 60)::int as failed_minutes, last_error, open_rejects::int,
      round(extract(epoch from now() - last_good_answer) / 60)::int as good_minutes,
      next_run > now() and next_run <= now() + interval '10 min' as next_run_is_near
    from etl.health()`);
  assert.deepEqual(rows, [
    {
      ...{ feed: "drivers", changed_hours: 72, failed_minutes: null, last_error: null, open_rejects: 0 },
      ...{ good_minutes: 30, next_run_is_near: true },
    },
    {
      ...{ feed: "trips", changed_hours: 72, failed_minutes: 60, open_rejects: 3 },
      ...{ last_error: "Cannot load trips: the server answered 404", good_minutes: 30, next_run_is_near: true },
    },
  ]);
});
