/** etl.health(): the verdicts by what the function answered; a secret that is refused, errors, failing feeds. */
import assert from "node:assert/strict";
import { freshDatabase } from "../support/database.ts";
import { closed, failure, Past, report, type Row, slow, tryEach, wellUntilHalfAnHourAgo } from "./past.ts";

const table: Row[] = [
  [
    "the function is down",
    async (past) => {
      await wellUntilHalfAnHourAgo(past);
      await past.called("21 min", "11 min", "1 min");
      await past.answered("20 min", closed);
      await past.answered("10 min", closed);
    },
    "late",
    /^The function was called and has not answered well since .*\. The latest bad answer that is known: The function could not be reached: Couldn't connect to server$/,
  ],
  [
    "the function is slow",
    async (past) => {
      await wellUntilHalfAnHourAgo(past);
      await past.called("21 min", "11 min", "1 min");
      await past.answered("3 min", slow);
    },
    "late",
    /: The function did not answer in time: Timeout of 390000 ms reached$/,
  ],
  [
    "the function is cut off at its wall clock",
    async (past) => {
      await wellUntilHalfAnHourAgo(past);
      await past.called("21 min", "11 min", "1 min");
      await past.answered("3 min", { body: { progress: { feed: "trips" } } });
    },
    "late",
    /: The function was cut off before its report: see its logs$/,
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
    /: The gateway refused the call before it came to the function \(401\): set verify_jwt = false .*$/,
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
    "the secret is refused, and others of pg_net are answered",
    async (past) => {
      await wellUntilHalfAnHourAgo(past);
      await past.called("1 min");
      await past.answered("50 s", { status_code: 401, body: failure("secret_refused") });
      await past.answered("40 s", closed);
      await past.answered("30 s", { status_code: 200, headers: {}, content: "fine" });
    },
    "secret refused",
    /^etl_trigger_secret/,
  ],
  [
    "the secret was refused, and the function is down since",
    async (past) => {
      await wellUntilHalfAnHourAgo(past);
      await past.answered("29 min", { status_code: 401, body: failure("secret_refused") });
      await past.called("21 min", "11 min", "1 min");
      await past.answered("10 min", closed);
    },
    "late",
    /is known: The function could not be reached: Couldn't connect to server$/,
  ],
  [
    "the function is down, and others are answered well",
    async (past) => {
      await wellUntilHalfAnHourAgo(past);
      await past.called("21 min", "11 min", "1 min");
      await past.answered("10 min", closed);
      await past.answered("9 min", { status_code: 200, headers: {}, content: "fine" });
    },
    "late",
    /is known: The function could not be reached: Couldn't connect to server$/,
  ],
  [
    "an answer for which pg_net gives no reason",
    async (past) => {
      await wellUntilHalfAnHourAgo(past);
      await past.called("21 min", "11 min", "1 min");
      await past.answered("10 min", { timed_out: null });
    },
    "late",
    /is known: The function could not be reached: pg_net gives no reason$/,
  ],
  [
    "an error of the function's without a word",
    async (past) => {
      await wellUntilHalfAnHourAgo(past);
      await past.called("21 min", "11 min", "1 min");
      await past.answered("10 min", { body: { error: {} } });
    },
    "late",
    /is known: The function answered: an error without a word$/,
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
    /: The function answered: another run is under way$/,
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

Deno.test("etl.health(): each row of the failure table, where the function answers", (t) => tryEach(t, table));

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
