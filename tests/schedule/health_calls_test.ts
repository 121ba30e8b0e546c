/** etl.health(): the verdicts by whether the function is called at all; the schedule, pg_cron, pg_net, the ledger. */
import { closed, daily, day, type Row, tryEach, wellUntilHalfAnHourAgo } from "./past.ts";

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
    "late",
    /^Nothing was ever loaded\. The function was called .*: The function could not be reached: Couldn't connect to server$/,
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
    "requests wait, and pg_net's worker runs",
    async (past) => {
      await wellUntilHalfAnHourAgo(past);
      await past.called("21 min", "11 min", "1 min");
      await past.waiting(3);
    },
    "late",
    /since [^.]*\.?[^.]*\. Requests that wait while pg_net sends others, one batch at a time: 3$/,
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
    "once a day, and the answer of an hour ago was good",
    async (past) => {
      await daily(past);
      await past.called("25 hours", "1 hour");
      await past.good("1 hour");
    },
    "ok",
    /^$/,
  ],
  [
    "once a day, and the call of an hour ago was not answered",
    async (past) => {
      await daily(past);
      await past.called("25 hours", "1 hour");
      await past.answered("1 hour", closed);
    },
    "late",
    /Couldn't connect/,
  ],
  [
    "once a day, failed the last time",
    async (past) => {
      await daily(past);
      await past.called("32 hours", "8 hours");
      await past.failed("479 min", "trips");
    },
    "ok",
    /^$/,
    "failing",
  ],
  [
    "once a day, and cron has stopped three days ago",
    async (past) => {
      await daily(past);
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
    "no extension: a feed has recovered, and nothing had changed",
    async (past) => {
      await past.loaded("3 days");
      await past.failed(day, "trips");
      await past.recovered("23 hours", "trips");
    },
    "ok",
    /^No schedule/,
  ],
  [
    "no extension: it recovered, and has failed since",
    async (past) => {
      await past.loaded("3 days");
      await past.recovered("23 hours", "trips");
      await past.failed("1 hour", "trips");
    },
    "ok",
    /^No schedule/,
    "failing",
  ],
  ["no extension: loaded two days ago, all but an hour", (past) => past.loaded("47 hours"), "ok", /^No schedule/],
  [
    "no extension: nothing is heard of any feed for longer",
    (past) => past.loaded("49 hours"),
    "unknown",
    /^No run is known of since 20\d\d-\S+ \S+, and one that changes nothing leaves no trace .*\. Look whether your own scheduler still does\. No schedule/,
  ],
  [
    "no extension: one feed is never new, and another one was",
    async (past) => {
      await past.loaded("60 days", ["drivers"]);
      await past.loaded("47 hours", ["trips"]);
    },
    "ok",
    /^No schedule/,
  ],
  [
    "no extension: one feed is never new, and another one failed",
    async (past) => {
      await past.loaded("60 days");
      await past.failed("47 hours", "trips");
    },
    "ok",
    /^No schedule/,
    "failing",
  ],
  [
    "no extension: nothing in the ledger, which somebody has emptied",
    async (past) => {
      await past.loaded("1 hour");
      await past.query("delete from etl.runs");
    },
    "unknown",
    /^No run is known of, and one that changes nothing/,
  ],
  [
    "no job, and pg_net has a good answer to another scheduler",
    async (past) => {
      await past.extensions();
      await past.loaded("3 days");
      await past.good("1 hour");
    },
    "ok",
    /^No schedule/,
  ],
  [
    "no job, and pg_net has forgotten",
    async (past) => {
      await past.extensions();
      await past.loaded("3 days");
    },
    "unknown",
    /^No run is known of since/,
  ],
  [
    "no extension: silence, and a verdict that is graver",
    async (past) => {
      await past.loaded("3 days");
      await past.query("update etl.feeds set fresh_within = '1 day' where name = 'drivers'");
      await past.query("update etl.feed_state set shrunk_since = now() where feed = 'trips'");
    },
    "stale",
    /^Nothing new has come since/,
    "shrunk",
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
];

Deno.test("etl.health(): each row of the failure table, where the function is or is not called", (t) =>
  tryEach(t, table));
