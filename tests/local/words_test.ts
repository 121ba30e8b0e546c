/** The commands' words: in a narrow window, for a long time, where nobody reads on, as JSON, and for each mistake. */
import assert from "node:assert/strict";
import { duration, fit, table } from "../../lib/local/print.ts";
import { guardTerminal } from "../../lib/local/terminal.ts";
import { locked, main, type Options, result, run } from "../support/command.ts";
import { freshDatabase } from "../support/database.ts";
import { copyProject, temporary } from "../support/directories.ts";
import { databaseAndWeb } from "../support/given.ts";
import { project } from "../support/project.ts";
import { sampleDatabase, serveSamples } from "../support/samples.ts";

const durations: Record<string, string> = {
  0: "0 ms",
  102: "102 ms",
  999: "999 ms",
  1000: "1 s",
  12_345: "12.3 s",
  59_999: "59.9 s",
  60_000: "1 min 0 s",
  65_432: "1 min 5 s",
  3_599_999: "59 min 59 s",
  7_380_000: "2 h 3 min",
};

Deno.test("a time is told as people say it", () => {
  for (const [ms, said] of Object.entries(durations)) assert.equal(duration(Number(ms)), said);
});

Deno.test("prose is broken between words where the window is narrow, and stays under what it belongs to", () => {
  const text = "error: there is no feed payouts\n  --json      one JSON object on standard output";
  assert.equal(
    fit(text, 30),
    "error: there is no feed\n       payouts\n  --json      one JSON object\n              on standard\n              output",
  );
  for (const width of [80, 100, Infinity]) assert.equal(fit(text, width), text);
  assert.equal(fit("a-word-that-is-too-long b", 10), "a-word-that-is-too-long\n    b".replace("    ", ""));
  assert.equal(fit("", 10), "");
});

Deno.test("a table that is too wide for the window is a list", () => {
  const rows = [["trips", "changed", "4,000", ""], ["charges", "failed", "0", "is no number"]];
  const head = ["feed", "status", "read", "why"];
  assert.match(table(head, rows, 2, 60), /^feed +status +read +why\s*\ntrips +changed +4,000\s*\n/);
  assert.equal(
    table(head, rows, 2, 30),
    "trips\n  status changed, read 4,000\ncharges\n  status failed, read 0, why\n  is no number",
  );
});

/** A command in a window of so many columns. */
async function inWindow(columns: number, args: string[], env: Record<string, string>, cwd = project) {
  const words = [Deno.execPath(), "run", "-A", "--quiet", ...locked, `${cwd}/main.ts`, ...args].map((word) =>
    `'${word}'`
  );
  const command = `stty cols ${columns}; exec ${words.join(" ")}`;
  const linux = Deno.build.os === "linux";
  const script = linux ? ["-qec", command, "/dev/null"] : ["-q", "/dev/null", "sh", "-c", command];
  const all = { cwd, env: { DATABASE_URL: "", NO_COLOR: "1", TERM: "xterm", ...env } };
  const { code, out } = await result("script", script, all);
  // A bar is drawn over the one before.
  // deno-lint-ignore no-control-regex
  const plain = out.replaceAll(/\x1b\[\d*[GA]/g, "\n").replaceAll(/\x1b\[[?\d;]*[A-Za-z]/g, "").replaceAll("\r", "");
  return { code, out, lines: plain.split("\n").map((line) => line.trimEnd()) };
}

Deno.test("a window of 40 columns: no line is broken within a word", async (t) => {
  await using db = await sampleDatabase();
  await db.query(
    `insert into etl.rejects (feed, record_number, column_name, value, raw, reason, sqlstate, first_run, last_run)
    select 'trips', i, 'base_fare', 'much too much of it', 'x', 'is no numeric', '22P02', gen_random_uuid(), gen_random_uuid()
    from generate_series(1, 3) i`,
  );
  await db.query("update etl.feeds set url = 'http://nowhere.invalid/charges.csv' where name = 'charges'");
  const env = { DATABASE_URL: db.url };
  const commands = {
    health: ["health"],
    rejects: ["rejects"],
    "rejects of none": ["rejects", "drivers"],
    usage: ["etl", "-h"],
  };
  for (const [name, args] of Object.entries({ ...commands, "a failure": ["etl", "charges"], start: ["start"] })) {
    await t.step(name, async () => {
      const { lines } = await inWindow(40, args, env);
      const words = lines.filter((line) => line.includes(" "));
      assert.ok(words.length > 0);
      for (const line of words) {
        // A word that is longer stands in a line of its own.
        const isWord = line.trim().split(" ").length === 1;
        assert.ok([...line].length <= 40 || isWord, `${line.length}: ${line}`);
      }
    });
  }
  await t.step("a window of 200 has the table as ever", async () => {
    const { lines } = await inWindow(200, ["rejects"], env);
    assert.match(lines.join("\n"), /^feed +record +since +column +value +why +constraint$/m);
  });
});

Deno.test("a long step of a merge shows what it is at, and that it goes on", async () => {
  await using given = await databaseAndWeb(
    `create table public.things (id int primary key);
    create function public.wait() returns trigger language plpgsql as $$ begin perform pg_sleep(2.5); return null; end $$;
    create trigger wait after insert on public.things for each statement execute function public.wait()`,
    { "/things": "id\n1\n" },
  );
  await given.db.feed("things", { url: `${given.web.url}/things` });
  const { code, out } = await inWindow(80, ["etl", "things"], { DATABASE_URL: given.db.url });
  assert.equal(code, 0, out);
  assert.match(out, /writing rows, [12] s/);
});

Deno.test("-h is --help, of every command, and asks for no database", async () => {
  const nowhere = { env: { DATABASE_URL: "postgres://127.0.0.1:1/none" } };
  for (const name of ["start", "etl", "feed", "rejects", "health", "migrate", "dev"]) {
    const [short, long] = await Promise.all(["-h", "--help"].map((option) => run([name, option], nowhere)));
    assert.deepEqual([short.code, short.err], [0, ""]);
    assert.deepEqual(short, long, name);
    assert.match(short.out, /^deno task /);
  }
  assert.equal((await run(["-h"])).code, 0);
});

Deno.test("any error with --json is one JSON object on standard output", async () => {
  await using db = await freshDatabase();
  const there = { env: { DATABASE_URL: db.url } };
  const nowhere = { env: { DATABASE_URL: "postgres://u:s3cret@127.0.0.1:1/none" } };
  const cases: [args: string[], options: Options, exit: number, code: string][] = [
    [["rejects", "nope"], there, 2, "unknown_feed"],
    [["rejects", "trips", "charges"], there, 2, "usage"],
    [["rejects", "--csv"], there, 2, "usage"],
    [["rejects", "--no-such"], there, 2, "usage"],
    [["rejects"], nowhere, 1, "connection_refused"],
    [["health"], nowhere, 1, "connection_refused"],
    [["health", "trips"], there, 2, "usage"],
    [["etl", "nope"], there, 2, "unknown_feed"],
    [["etl", "--day"], there, 2, "usage"],
    [["etl"], { env: { DATABASE_URL: "mysql://s3cret@x/" } }, 2, "usage"],
    [["migrate"], there, 2, "usage"],
    [["no such command"], there, 2, "usage"],
  ];
  for (const [args, options, exit, expected] of cases) {
    const { code, out, err } = await run([...args, "--json"], options);
    assert.deepEqual([code, err], [exit, ""], args.join(" "));
    const { error, status } = JSON.parse(out);
    assert.deepEqual([error.code, status], [expected, "failed"], args.join(" "));
    assert.doesNotMatch(out, /s3cret/);
  }
});

/** What a user may get wrong -> what is said of it; never a stack, and no "Cannot run" twice. */
const mistakes: Record<string, [args: string[], env: Record<string, string>, said: RegExp]> = {
  "no URL": [["etl"], { DATABASE_URL: "localhost" }, /DATABASE_URL is not a Postgres URL/],
  "a URL of something else": [["health"], { DATABASE_URL: "https://x/" }, /DATABASE_URL is not a Postgres URL/],
  "a port that is shut": [["etl"], { DATABASE_URL: "postgres://127.0.0.1:1/x" }, /no server answers there/],
  "an unknown host": [["etl"], { DATABASE_URL: "postgres://nowhere.invalid/x" }, /the host is unknown/],
  "an unknown database": [["rejects"], { DATABASE_URL: "{no_such}" }, /the database does not exist/],
  "a wrong password": [["health"], { DATABASE_URL: "{password}" }, /the password is wrong/],
  "an unknown role": [["health"], { DATABASE_URL: "{role}" }, /the password is wrong|may not connect/],
  "a CA that is none": [["etl"], { DATABASE_URL: "{}", DATABASE_CA: "ca.crt" }, /DATABASE_CA/],
  "a CA's file that is missing": [
    ["etl"],
    { DATABASE_URL: "{}?sslmode=verify-full&sslrootcert=/no/such.crt" },
    /cannot be read/,
  ],
  "an sslmode that is none": [["etl"], { DATABASE_URL: "{}?sslmode=on" }, /the sslmode in its URL does not exist/],
  "TLS where there is none": [["etl"], { DATABASE_URL: "{}?sslmode=require" }, /the server offers no TLS/],
  "an unknown option": [["etl", "--frce"], {}, /Unknown option '--frce'/],
  "an option without its value": [["etl", "--deadline"], {}, /--deadline/],
  "a deadline of none": [["etl", "--deadline", "soon"], {}, /takes a number of seconds/],
  "a flag with a value": [["etl", "--force=yes"], {}, /--force/],
  "a day that is none": [["etl", "--day", "2021-02-30"], {}, /takes a day/],
  "a feed without its URL": [["feed"], {}, /it takes one URL/],
  "a feed of a file": [["feed", "./trips.csv"], {}, /begins with https/],
  "headers that are no JSON": [["feed", "https://x/y.csv", "--headers", "{"], {}, /--headers: takes JSON/],
  "a number that is none": [["feed", "https://x/y.csv", "--skip", "two"], {}, /--skip: takes a number/],
  "a target without its schema": [
    ["feed", "https://x/y.csv", "--target", "y"],
    { DATABASE_URL: "{}" },
    /y names no schema/,
  ],
  "a target that is no name": [
    ["feed", "https://x/y.csv", "--target", "a b.c"],
    { DATABASE_URL: "{}" },
    /is no name of a table/,
  ],
  "a folder for a file": [["etl", "trips", "--file", "/tmp"], { DATABASE_URL: "{}" }, /\/tmp is a folder/],
};

Deno.test("a mistake is told in plain words", async (t) => {
  await using db = await freshDatabase();
  const base = db.url.replace(/\?.*/, "");
  const urls: Record<string, string> = {
    "{no_such}": Object.assign(new URL(base), { pathname: "/no_such_database" }).href,
    "{password}": Object.assign(new URL(base), { password: "s3cret" }).href,
    "{role}": Object.assign(new URL(base), { username: "nobody_here", password: "s3cret" }).href,
  };
  for (const [name, [args, env, said]] of Object.entries(mistakes)) {
    await t.step(name, async () => {
      const { DATABASE_URL: url = "postgres://127.0.0.1:1/x" } = env;
      const { code, out, err } = await run(args, {
        env: { ...env, DATABASE_URL: urls[url] ?? url.replace("{}", base) },
      });
      assert.ok(code === 1 || code === 2, `${code}`);
      assert.equal(out, "");
      assert.match(err, said);
      assert.match(err, /^error: .+\n {7}\S.*\n$/, "one sentence, and what to do");
      assert.doesNotMatch(err, /s3cret|\n +at |\.ts:|Cannot run: Cannot run|Uncaught|undefined/);
    });
  }
});

Deno.test("a pipe that breaks is no error, where Deno makes one of it; any other is", () => {
  const { log, error, warn } = console;
  try {
    let thrown: Error = new Deno.errors.BrokenPipe("Broken pipe (os error 32)");
    console.log = console.error = () => {
      throw thrown;
    };
    guardTerminal();
    console.log("a");
    console.error("b");
    thrown = new Error("No space left on device (os error 28)");
    assert.throws(() => console.log("a"), thrown);
  } finally {
    Object.assign(console, { log, error, warn });
  }
});

Deno.test("where nobody reads on a command ends as it would, without a word", async () => {
  await using db = await sampleDatabase();
  await using web = serveSamples();
  await db.pointAt(web.url);
  for (
    const [args, exit] of [[["rejects"], 0], [["etl", "--force"], 0], [["health"], 1], [["etl", "--help"], 0]] as const
  ) {
    const child = main([...args], { env: { DATABASE_URL: db.url } });
    await child.stdout.cancel();
    const [{ code }, said] = await Promise.all([child.status, new Response(child.stderr).text()]);
    assert.equal(said, "", args.join(" "));
    assert.ok(code === exit || args[0] === "health", `${args.join(" ")}: ${code}`);
  }
});

Deno.test("looking on a new machine says that nothing was loaded yet, and makes nothing", async () => {
  await using copy = await temporary();
  await Deno.chmod(copy.path, 0o755);
  await copyProject(copy.path);
  const before = [...Deno.readDirSync(copy.path)].map(({ name }) => name).sort();
  for (
    const args of [["rejects"], ["rejects", "trips"], ["health"], ["etl", "--dry-run"], ["etl", "trips", "--dry-run"]]
  ) {
    const words = await run(args, { cwd: copy.path });
    assert.deepEqual([words.code, words.out], [1, ""], args.join(" "));
    assert.match(words.err, /^error: nothing was loaded yet: .*\n {7}.*deno task start.*\n$/);
    const json = await run([...args, "--json"], { cwd: copy.path });
    assert.deepEqual([json.code, json.err, JSON.parse(json.out).error.code], [1, "", "nothing_yet"]);
    assert.deepEqual([...Deno.readDirSync(copy.path)].map(({ name }) => name).sort(), before);
  }
  const { code, out } = await run(["start"], { cwd: copy.path });
  assert.equal(code, 0);
  assert.match(
    out,
    /\nAll this is in the Postgres of this command, .*\npostgres:\/\/postgres:\w+@127\.0\.0\.1:\d+\/postgres\?sslmode=disable\n/,
  );
  assert.equal((await run(["rejects"], { cwd: copy.path })).code, 0);
});

Deno.test("start prints no URL that was given to it: it may hold a password", async () => {
  await using db = await sampleDatabase();
  const { out, err } = await run(["start"], { env: { DATABASE_URL: db.url } });
  assert.match(out, /\nHow to go on\n/);
  assert.doesNotMatch(out + err, /postgres:\/\//);
});
