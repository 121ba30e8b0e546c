/** The command line, as a shell sees it: exit codes, what is on standard output, and what is on standard error. */
import assert from "node:assert/strict";
import { parse } from "csv-parse/sync";
import { sampleFeeds } from "../../lib/local/samples.ts";
import { main, onTerminal, type Result, run } from "../support/command.ts";
import { freshDatabase } from "../support/database.ts";
import { copyProject, temporary } from "../support/directories.ts";
import { project } from "../support/project.ts";
import { serveSamples } from "../support/samples.ts";
import { snapshot } from "../support/snapshot.ts";
import { serve } from "../support/web.ts";

const reportKeys = ["run", "status", "dry_run", "feeds"];
const feedKeys = ["feed", "status", "bytes", "read", "inserted", "updated", "unchanged", "duplicate", "rejected", "ms"]
  .concat("error", "ignored_columns", "note", "deleted", "withheld", "rejects");

const charges = sampleFeeds()["charges.csv"].trim().split("\n").length - 1;

async function etl(databaseUrl: string, ...args: string[]): Promise<Result> {
  return await run(["etl", ...args], { env: { DATABASE_URL: databaseUrl } });
}

/** Lines of the table: the cells of each, by the feed's name. */
function cells(out: string): Record<string, string[]> {
  const lines = out.split("\n").map((line) => line.trim().split(/ {2,}| (?=ms$)/));
  // The run's own table is the first one.
  return Object.fromEntries(lines.reverse().map(([feed, ...rest]) => [feed, rest]));
}

Deno.test("wrong usage: exit code 2, and nothing on standard output; --help and --version: exit code 0", async () => {
  const nowhere = "postgres://127.0.0.1:1/none";
  const help = await etl(nowhere, "--help");
  assert.deepEqual([help.code, help.err], [0, ""]);
  assert.match(help.out, /^deno task etl \[FEED…\] \[--json\] \[--force\] \[--dry-run\]\n/);
  assert.deepEqual(await etl(nowhere, "--version"), { code: 0, out: "tdc-etl 0.1.0\n", err: "" });
  assert.deepEqual(await etl(nowhere, "trips", "--frce"), {
    code: 2,
    out: "",
    err: "error: Unknown option '--frce'\n       deno task etl --help\n",
  });
  for (const args of [[], ["stop"], ["start", "now"]]) {
    const { code, out, err } = await run(args);
    assert.deepEqual([code, out, err], [2, "", help.out], args.join(" "));
  }
});

Deno.test("an empty database is brought up to date first; the table holds the counts", async () => {
  await using db = await freshDatabase("template1");
  const refused = await etl(db.url, "no such", "nor this");
  assert.deepEqual([refused.code, refused.out], [2, ""]);
  assert.match(refused.err, /no feed .*no such.*\n.*charges, drivers, trips\b.*\n$/);
  await using web = serveSamples(true);
  await db.pointAt(web.url);

  const first = await etl(db.url, "drivers", "trips");
  assert.deepEqual([first.code, first.err], [0, ""], "no bar where there is no terminal");
  const table = cells(first.out);
  assert.deepEqual(table.feed.slice(0, 7), ["status", ...feedKeys.slice(3, 9)]);
  assert.deepEqual(table.drivers.slice(0, 7), ["changed", "300", "300", "0", "0", "0", "0"]);
  assert.deepEqual(table.trips.slice(0, 7), ["changed", "4,000", "4,000", "0", "0", "0", "0"]);
  assert.equal(table.charges, undefined);

  const before = await snapshot(db);
  const again = await etl(db.url, "drivers", "trips");
  assert.equal(again.code, 0);
  assert.match(again.out, /\nNothing has changed; nothing was written\.\n$/);
  assert.deepEqual(await snapshot(db), before);
});

Deno.test("--json: one object with the contract's keys; --dry-run and --force", async () => {
  await using db = await freshDatabase();
  await using web = serveSamples(true);
  await db.pointAt(web.url);
  const json = async (code: number, ...args: string[]) => {
    const result = await etl(db.url, "--json", ...args);
    assert.deepEqual([result.code, result.err], [code, ""]);
    assert.equal(result.out.trimEnd().split("\n").length, 1);
    const report = JSON.parse(result.out);
    assert.deepEqual(Object.keys(report).sort(), reportKeys.toSorted());
    for (const feed of report.feeds) assert.deepEqual(Object.keys(feed).sort(), feedKeys.toSorted());
    return report;
  };
  // deno-lint-ignore no-explicit-any
  const inserted = (report: any) => report.feeds.map((feed: any) => [feed.feed, feed.status, feed.inserted]);
  const all = [["drivers", "changed", 300], ["trips", "changed", 4000], ["charges", "changed", charges]];

  const before = await snapshot(db);
  const dry = await json(0, "--dry-run");
  assert.deepEqual([dry.status, dry.dry_run, inserted(dry)], ["changed", true, all]);
  assert.deepEqual(await snapshot(db), before);
  const wet = await json(0);
  assert.deepEqual([wet.status, wet.dry_run, inserted(wet)], ["changed", false, all]);
  const forced = await json(0, "--force", "charges");
  assert.deepEqual([forced.status, forced.feeds[0].unchanged, forced.feeds.length], ["unchanged", charges, 1]);
  assert.equal((await json(0)).feeds[2].read, 0, "304");

  delete web.files["/charges.csv"];
  const failed = await json(1);
  assert.equal(failed.status, "failed");
  assert.deepEqual(failed.feeds.map((feed: { status: string }) => feed.status), ["unchanged", "unchanged", "failed"]);
  assert.deepEqual(Object.keys(failed.feeds[2].error), ["code", "message", "hint"]);
  assert.equal(failed.feeds[2].error.code, "http_404");
  const words = await etl(db.url);
  assert.deepEqual([words.code, cells(words.out).charges[0]], [1, "failed"]);
  assert.match(words.err, /^error: Cannot load charges: .* answered 404\n {7}.*\n$/);
});

Deno.test("a run that cannot be says why, in words or JSON, without a stack and without the password", async () => {
  const wrongPassword = Object.assign(new URL(Deno.env.get("DATABASE_URL")!), { password: "s3cret" }).href;
  const cases = [
    [wrongPassword, 1, "invalid_password"],
    ["postgres://u:s3cret@127.0.0.1:1/none", 1, "connection_refused"],
    ["postgres://u:s3cret@127.0.0.1:port/none", 2, "usage"],
    ["mysql://u:s3cret@127.0.0.1/none", 2, "usage"],
  ] as const;
  for (const [url, exit, errorCode] of cases) {
    const json = await etl(url, "--json");
    assert.deepEqual([json.code, json.err], [exit, ""], url);
    const { error, ...report } = JSON.parse(json.out);
    assert.deepEqual(report, { run: null, status: "failed", dry_run: false, feeds: [] });
    assert.equal(error.code, errorCode);
    const words = await etl(url);
    assert.deepEqual([words.code, words.out], [exit, ""]);
    assert.equal(words.err, `error: ${error.message}\n       ${error.hint}\n`);
    assert.doesNotMatch(json.out + words.err, /s3cret|\n? +at |\.ts:/);
  }
});

Deno.test("a terminal shows progress on standard error, which is wiped at the end", async () => {
  await using db = await freshDatabase();
  await using web = serveSamples(true);
  await db.pointAt(web.url);
  const { out, code } = await onTerminal(project, { DATABASE_URL: db.url });
  assert.equal(code, 0, out);
  assert.match(out, / trips +\|[^|]*\| 0\.4 MB +(fetching|merging|changed)/);
  const cursor = [out.lastIndexOf("\x1b[?25l"), out.lastIndexOf("\x1b[?25h")];
  assert.ok(cursor[0] >= 0 && cursor[1] > cursor[0], "the cursor is shown again");
});

Deno.test("start, twice at once on a new machine: one loads, the other waits and finds nothing changed", async () => {
  await using copy = await temporary();
  await Deno.chmod(copy.path, 0o755);
  await copyProject(copy.path);
  const results = await Promise.all([1, 2].map(() => run(["start"], { cwd: copy.path })));
  assert.deepEqual(results.map((result) => result.code), [0, 0], JSON.stringify(results));
  assert.deepEqual(results.map(({ out }) => cells(out).trips[0]).sort(), ["changed", "unchanged"]);
  for (const { out, err } of results) {
    assert.match(out, /\n66 trips without charges; the first three:\n(.*\n)+\n11 drivers churned as of 2021-07-11;/);
    assert.match(out, /\nid +driver_id +dropoff_timestamp +base_fare +charge_rejected\n(.+ )false *\n/);
    assert.match(out, /\n3 feeds that the reports rest on:\nfeed +verdict .*\ncharges +ok +20\d\d-\S+ +0 *\n/);
    assert.match(out, /\nHow to go on\n/);
    assert.match(err, new RegExp(`^(Applied \\d+ migrations, up to \\d+\\.\\n|${waits})$`));
  }
  assert.match(results.map((result) => result.err).join(), /waiting for it to end/);
  const { code, out } = await run(["etl", "--json"], { cwd: copy.path });
  assert.deepEqual([code, JSON.parse(out).status], [0, "unchanged"]);
});

const waits = "Another command is using the embedded Postgres; waiting for it to end.\n";

Deno.test("rejects: a summary after the run, then each of them as a table, CSV or JSON", async () => {
  await using db = await freshDatabase();
  await using web = serve({
    "/trips.csv": 'id,driver_id,base_fare\nt1,d1,1\nt2,"nobody, or ""none""",2\nt3,d1,much\nt4,d1\n',
  });
  await db.query("insert into public.drivers (id) values ('d1')");
  await db.query("update etl.feeds set url = $1, reject_limit = 1 where name = 'trips'", [`${web.url}/trips.csv`]);
  const rejects = (...args: string[]) => run(["rejects", ...args], { env: { DATABASE_URL: db.url } });

  assert.equal((await rejects()).out, "There are no rejects.\n");
  const loaded = await etl(db.url, "trips");
  assert.match(
    loaded.out,
    /\nRejected until mended .*\n.*\ntrips +1 +2 +driver_id +is in no row of public\.drivers *\ntrips +1 +3 +base_fare +is no numeric *\n/,
  );
  const shown = await rejects("trips");
  assert.match(
    shown.out,
    /\ntrips +2 +\S+ \S+ UTC +driver_id +nobody, or "none" +is in no row of public\.drivers +trips_driver_id_fkey *\n(.*\n)+trips +4 +\S+ \S+ UTC +t4,d1 +has 2 fields/,
  );
  const asCsv: Record<string, string>[] = parse((await rejects("trips", "--csv")).out, { columns: true, bom: true });
  assert.deepEqual(
    asCsv.map((row) => [row.record_number, row.value]),
    [["2", 'nobody, or "none"'], ["3", "much"], ["4", ""]],
  );
  assert.deepEqual(JSON.parse(asCsv[1].record), { id: "t3", driver_id: "d1", base_fare: "much" });
  assert.equal(asCsv[2].record, "t4,d1");
  const asJson = JSON.parse((await rejects("--json")).out);
  assert.deepEqual(asJson.map((row: { sqlstate: string }) => row.sqlstate), ["23503", "22P02", "22P04"]);

  assert.match(
    (await rejects("no such")).err,
    /there is no feed no such\n +etl\.feeds has: charges, drivers, trips\b.*\n$/,
  );
  for (const args of [["no such"], ["trips", "charges"], ["--csv", "trips", "charges"], ["--force"]]) {
    const { code, out } = await rejects(...args);
    assert.deepEqual([code, out], [2, ""], args.join(" "));
  }
});

Deno.test("rejects --json is what json_agg makes of them, with an escape for what would move a terminal", async () => {
  await using db = await freshDatabase();
  const json = async (...args: string[]) => {
    const { code, out, err } = await run(["rejects", "--json", ...args], { env: { DATABASE_URL: db.url } });
    assert.deepEqual([code, err], [0, ""]);
    return out;
  };
  assert.equal(await json(), "[]\n");
  const records = [[10, null, '"a\\b",\r\n\t\x01\x02\x7f é 😀 \\.'], [9, '{"a": "\\\\.", "b": [1, null]}', null], [
    11,
    null,
    "\\.",
  ]];
  for (const feed of ["trips", "drivers"]) {
    for (const record of records) {
      await db.query(
        `insert into etl.rejects (feed, record_number, record, raw, value, reason, sqlstate, first_run, last_run)
        values ($1, $2, $3, $4, $4, 'is missing', '23502', gen_random_uuid(), gen_random_uuid())`,
        [feed, ...record],
      );
    }
  }
  for (const feed of ["trips", null]) {
    const [{ list }] = await db.query(
      `select json_agg(r)::text as list from (
        select feed, record_number, column_name, value, reason, constraint_name, sqlstate, record, raw, since, faults,
          false as attempted
        from etl.rejects where feed = $1 or $1 is null order by feed, record_number
      ) r`,
      [feed],
    );
    assert.equal(await json(...feed ? [feed] : []), `${list.replaceAll("\x7f", "\\u007f")}\n`);
  }
});

/** The most memory that a process has held, in bytes, as far as Linux tells. */
async function peakOf(pid: number): Promise<number> {
  const status = await Deno.readTextFile(`/proc/${pid}/status`).catch(() => "");
  return Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) * 1024;
}

Deno.test("rejects of 300 MB: no more than a part of them is in memory, and a pipe that breaks is no error", async () => {
  await using db = await freshDatabase();
  await db.query(`
    insert into etl.rejects (feed, record_number, raw, reason, sqlstate, first_run, last_run)
    select 'trips', i, repeat('x', 10000), 'is a blank line', '22P04', gen_random_uuid(), gen_random_uuid()
    from generate_series(1, 30000) i`);
  const rejects = (form: string[]) => main(["rejects", ...form], { env: { DATABASE_URL: db.url } });
  for (const form of ["--json", "--csv"]) {
    const child = rejects([form]);
    let bytes = 0, chunks = 0, peak = 0;
    for await (const chunk of child.stdout) {
      bytes += chunk.length;
      if (++chunks % 100 === 0) peak = Math.max(peak, await peakOf(child.pid));
    }
    assert.deepEqual([(await child.status).code, await new Response(child.stderr).text()], [0, ""], form);
    assert.ok(bytes > 300e6 && peak < 200e6, `${form}: ${bytes} bytes, of which ${peak} were in memory`);
  }
  for (const form of [["--json"], ["--csv"], []]) {
    const child = rejects(form);
    await child.stdout.cancel();
    const [{ code }, said] = await Promise.all([child.status, new Response(child.stderr).text()]);
    assert.deepEqual([code, said], [0, ""], form.join());
  }
});
