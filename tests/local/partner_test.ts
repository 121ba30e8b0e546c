/** What a partner is told of his rejects: a sheet, a letter, and nothing that moves a terminal or runs in a spreadsheet. */
import assert from "node:assert/strict";
import { parse } from "csv-parse/sync";
import { main, run } from "../support/command.ts";
import { databaseAndWeb, type Given } from "../support/given.ts";
import type { Answer } from "../support/web.ts";

const tables = `
  create table public.drivers_of_ours (id int primary key);
  insert into public.drivers_of_ours values (1);
  create table public.payouts (
    id int primary key, amount numeric(6, 2) not null, paid_at date, driver int references public.drivers_of_ours,
    note text, is_final boolean, constraint amount_is_positive check (amount > 0)
  );`;

async function given(file: string, columns: Record<string, unknown> = {}): Promise<Given> {
  const at = await databaseAndWeb(tables, { "/payouts.csv": file });
  const mapping = {
    "Payout No": "id",
    "Amount": "amount",
    "Paid on": "paid_at",
    "Driver": "driver",
    "Final?": "is_final",
  };
  await at.db.feed("payouts", { url: `${at.web.url}/payouts.csv`, columns: mapping, reject_limit: 1, ...columns });
  return at;
}

const rejects = (at: Given, ...args: string[]) => run(["rejects", ...args], { env: { DATABASE_URL: at.db.url } });
const letterOf = async (at: Given) => (await at.db.query("select etl.letter('payouts') as letter"))[0].letter as string;

// Two lines to skip, and a line break in quotes: the third record is on line 7, and in row 6 of a spreadsheet.
const file = `Payouts of July
for Chaps
Payout No,Amount,Paid on,Driver,note,Final?
1,many,soon,1,"a
b",true
2,10.00,2021-07-01,1,fine,true
3,-5,2021-02-30,1,,maybe
4,1.00,,99,,
5,,,1,,
`;

Deno.test("the letter is in the partner's words: his columns, rows of a spreadsheet, plain types, what to mend", async () => {
  await using at = await given(file, { skip: 2 });
  assert.equal((await at.db.loadOne("payouts")).error, null);
  const { code, out, err } = await rejects(at, "payouts", "--letter");
  assert.deepEqual([code, err], [0, ""]);
  assert.equal(
    out,
    `Subject: payouts.csv: 4 records to mend

Hello,

4 records in payouts.csv could not be loaded. All else was.

What is wrong, the most frequent first:

* Column "Amount" is not a number (1 record)
    record 1 (row 4): many
  Send a number, as 12.50.

* Column "Paid on" is not a date (1 record)
    record 1 (row 4): soon
  Send a date, as 2021-07-31.

* Column "Amount" breaks a rule (1 record)
    record 3 (row 6): -5
  Send what holds: Amount > 0

* Column "Final?" is not true or false (1 record)
    record 3 (row 6): maybe
  Send true or false.

* Column "Paid on" is not a date that exists (1 record)
    record 3 (row 6): 2021-02-30
  Send a date, as 2021-07-31.

* Column "Driver" is not known: there is no such record in "drivers_of_ours" (1 record)
    record 4 (row 7): 99
  Correct it, or send the record that it refers to first.

* Column "Amount" is missing (1 record)
    record 5 (row 8)
  Send a value: it must not be empty.

Records are counted from 1 in the order of the file, its header not counted. The row is
the one that a spreadsheet shows.
Once your file has them right, they are loaded by themselves.
`,
  );
});

Deno.test("the letter on a file of which nothing was loaded; three examples, and how many more", async () => {
  const rows = Array.from({ length: 9 }, (_, i) => `${i},x${i},,,,`);
  await using at = await given(["Payout No,Amount,Paid on,Driver,note,Final?", ...rows, ""].join("\n"), {
    reject_limit: 0.1,
  });
  assert.equal((await at.db.loadOne("payouts")).error?.code, "too_many_rejects");
  const letter = await letterOf(at);
  assert.match(
    letter,
    /^Subject: payouts\.csv: 9 records to mend\n\nHello,\n\nnothing of payouts\.csv was loaded\. 9 of its 9 records cannot be used,\nwhich is more than we let pass \(\d{4}-\d\d-\d\d \d\d:\d\d UTC\)\.\n/,
  );
  assert.match(
    letter,
    /\* Column "Amount" is not a number \(9 records\)\n {4}record 1 \(row 2\): x0\n {4}record 2 \(row 3\): x1\n {4}record 3 \(row 4\): x2\n {4}and 6 more\n/,
  );
  const { out } = await rejects(at);
  assert.match(out, /^\nOf files of which nothing was loaded, .*\n.*\npayouts +1 .* amount +x0 +is no numeric\(6,2\)/);
  assert.equal(JSON.parse((await rejects(at, "--json")).out)[8].attempted, true);
});

Deno.test("where nothing is rejected the letter says since when, and what it does not know", async () => {
  await using at = await given("Payout No,Amount\n1,1\n");
  assert.equal(await letterOf(at), "payouts.csv: nothing has been loaded yet.\n");
  await at.db.loadOne("payouts");
  const [{ at: loaded }] = await at.db.query(
    "select to_char(finished_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI') as at from etl.runs",
  );
  assert.equal(await letterOf(at), `payouts.csv: nothing to mend. Clean since ${loaded} UTC.\n`);
  at.web.files["/payouts.csv"] = "Payout No,Amount\n1,x\n";
  await at.db.loadOne("payouts");
  assert.match(await letterOf(at), /^Subject/);
  await at.db.query(
    "update etl.runs set finished_at = finished_at - interval '2 days', started_at = started_at - interval '2 days'",
  );
  at.web.files["/payouts.csv"] = "Payout No,Amount\n1,2\n";
  await at.db.loadOne("payouts");
  assert.equal((await letterOf(at)).includes(`Clean since ${loaded}`.slice(0, -6)), true, "not from before it was bad");
  assert.match(await letterOf(at), /^payouts\.csv: nothing to mend\. Clean since [-\d]+ [\d:]+ UTC\.\n$/);
  // Back to what is loaded already, which changes nothing.
  at.web.files["/payouts.csv"] = "Payout No,Amount\n1,x\n";
  await at.db.query("update etl.feeds set reject_limit = 0 where name = 'payouts'");
  await at.db.loadOne("payouts");
  at.web.files["/payouts.csv"] = "Payout No,Amount\n1,2\n";
  assert.equal((await at.db.loadOne("payouts")).status, "unchanged");
  assert.match(await letterOf(at), /^payouts\.csv: nothing to mend\. Clean since [-\d]+ [\d:]+ UTC\.\n$/);
});

/** What comes of the latest file, the error's code, and what its partner is told of it; null: that the fault may be ours. */
const refusals: Record<
  string,
  { answer?: Answer; columns?: Record<string, unknown>; code: string; told: string | null }
> = {
  "a required column is gone": {
    answer: "Amount,note\n1,x\n",
    code: "columns",
    told: "it lacks what we need: Payout No.\nSend it with the names of columns as before.",
  },
  "no name is known": {
    answer: "x,y\n1,2\n",
    code: "columns",
    told: "it has no column of a name that we know.\nSend it with the names of columns as before.",
  },
  "a column is spelled otherwise": {
    answer: "Payout No,Note\n1,2\n",
    code: "columns",
    told: 'it spells a column otherwise than before: "Note" for note.\nSend it with the names of columns as before.',
  },
  "a column comes twice": {
    answer: "Payout No,Amount,amount\n1,2,3\n",
    code: "columns",
    told: "it has more than one column for Amount.\nSend it with the names of columns as before.",
  },
  "a blank header": {
    answer: "  \n1,2\n",
    code: "header",
    told: "its header line is blank.\nSend it with one header line, as before.",
    columns: { format: "csv", header: null, skip: 0 },
  },
  "an empty body": { answer: "", code: "empty", told: "it is empty.\nSend it with its records." },
  "a web page": {
    answer: "<html>please log in</html>",
    code: "html",
    told: "it is a web page, not data.\nMake sure that its address leads to the file, and to no login.",
  },
  "another encoding": {
    answer: new Uint8Array([...new TextEncoder().encode("Payout No,Amount\n1,2\n")].flatMap((byte) => [byte, 0])),
    columns: { format: "ndjson" },
    code: "encoding",
    told: "it holds NULs.\nSend it as text in UTF-8.",
  },
  "JSON that ends in the midst": {
    answer: '[{"Payout No": 1, "Amount": 2},',
    code: "json",
    told: "the array is not closed: the file may be cut short.\nSend it as valid JSON, in the shape of before.",
  },
  "a PDF": {
    answer: "%PDF-1.7 …",
    code: "file_type",
    told: "it is a PDF document.\nSend it as text: CSV or JSON.",
  },
  "no file": {
    answer: () => new Response("no such thing", { status: 404 }),
    code: "http_404",
    told: "your server has no file at its address.\nPut it there, or tell us where it has moved.",
  },
  "another key": {
    answer: () => new Response("no", { status: 403 }),
    code: "http_403",
    told: "your server refuses us.\nTell us whether we need another key.",
  },
  "a server that fails": {
    answer: () => new Response("no", { status: 500 }),
    code: "http_500",
    told: "your server fails.\nHave it looked at.",
  },
  "no server": {
    columns: { url: "http://127.0.0.1:1/payouts.csv?key=s3cret" },
    code: "port_refused",
    told: null,
  },
  "a secret of ours that is missing": {
    columns: { headers: { "x-key": "{secret:OURS}" } },
    code: "secret",
    told: null,
  },
  "a table of ours that is missing": { columns: { target: "public.gone" }, code: "undefined_table", told: null },
  "an encoding that we misspell": { columns: { encoding: "utf-9" }, code: "encoding", told: null },
  "settings of ours that do not fit each other": {
    answer: '[{"Payout No": 1}]',
    columns: { records: "/data", format: "ndjson" },
    code: "records",
    told: null,
  },
};

for (const before of ["clean", "with a reject"]) {
  Deno.test(`where the latest file could not be loaded the letter says so, since when and why: ${before}`, async (t) => {
    for (const [name, { answer, columns = {}, code, told }] of Object.entries(refusals)) {
      await t.step(name, async () => {
        const rejected = before !== "clean";
        await using at = await given(`Payout No,Amount\n1,${rejected ? "x" : "1"}\n2,2\n`);
        await at.db.query("update etl.feeds set url = url || '?key=s3cret' where name = 'payouts'");
        assert.equal((await at.db.loadOne("payouts")).error, null);
        const good = await letterOf(at);
        if (answer !== undefined) at.web.files["/payouts.csv"] = answer;
        const [{ url }] = await at.db.query("select url from etl.feeds where name = 'payouts'");
        const mapping = { "Payout No": "id", "Amount": "amount" };
        await at.db.feed("payouts", { url, columns: mapping, reject_limit: 1, ...columns });
        assert.equal((await at.db.loadOne("payouts")).error?.code, code);
        // It has lasted for two days by now.
        await at.db.query("update etl.runs set finished_at = finished_at - interval '2 days' where status = 'failed'");
        await at.db.query("update etl.runs set finished_at = finished_at - interval '3 days' where status <> 'failed'");
        assert.equal((await at.db.loadOne("payouts")).error?.code, code);
        const [{ since }] = await at.db.query(
          `select to_char(min(finished_at) at time zone 'UTC', 'YYYY-MM-DD HH24:MI "UTC"') as since
          from etl.runs where status = 'failed'`,
        );
        const letter = await letterOf(at);
        assert.doesNotMatch(letter, /s3cret|public\.|etl\.|127\.0\.0\.1|OURS|Clean since|All else was\.$/);
        const wrong = told && `the latest payouts.csv could not be loaded, since ${since}: ${told}\n`;
        if (rejected) {
          const [subject, , , , ...rest] = good.split("\n");
          assert.deepEqual(subject, "Subject: payouts.csv: 1 record to mend");
          assert.ok(
            letter.startsWith(
              wrong
                ? `Subject: payouts.csv: could not be loaded; 1 record to mend\n\nHello,\n\n${wrong}\n`
                : `${subject}\n\nHello,\n\nwe could not load the latest payouts.csv, since ${since}`,
            ),
            letter,
          );
          assert.ok(
            letter.endsWith(
              `\n\nOf what came before, 1 record could not be loaded. All else was.\n${rest.slice(1).join("\n")}`,
            ),
            letter,
          );
        } else if (wrong) {
          assert.equal(letter, `Subject: payouts.csv: could not be loaded\n\nHello,\n\n${wrong}`);
        } else {
          assert.ok(letter.startsWith(`payouts.csv: we could not load your latest file, since ${since}`), letter);
        }
        if (!told) assert.match(letter, /The fault may be ours\./);
        // The sheet says the same, in a row of no record.
        const { out } = await rejects(at, "--csv");
        const [row, ...others] = parse(out, { columns: true, bom: true }) as Record<string, string>[];
        assert.equal(others.length, rejected ? 1 : 0);
        assert.deepEqual([row.feed, row.record_number, row.since], ["payouts", "", since]);
        assert.ok(row.problem.startsWith("the latest file could not be loaded"), row.problem);
        if (told) assert.equal(`${row.problem}.\n${row.mend}`, `the latest file could not be loaded: ${told}`);
        assert.doesNotMatch(out, /s3cret|OURS|etl\.|public\./);

        at.web.files["/payouts.csv"] = "Payout No,Amount\n1,1\n2,2\n";
        await at.db.feed("payouts", {
          ...{ url, columns: mapping, format: null, records: null, encoding: "utf-8", headers: {} },
          ...{ target: "public.payouts" },
        });
        assert.equal((await at.db.loadOne("payouts")).error, null);
        assert.match(await letterOf(at), /^payouts\.csv: nothing to mend\. Clean since [-\d]+ [\d:]+ UTC\.\n$/);
      });
    }
  });
}

Deno.test("a file above the limit, and after it none that can be read: the letter says both", async () => {
  await using at = await given("Payout No,Amount\n1,x\n", { reject_limit: 0 });
  await at.db.loadOne("payouts");
  at.web.files["/payouts.csv"] = "";
  await at.db.loadOne("payouts");
  assert.match(
    await letterOf(at),
    /^Subject: payouts\.csv: could not be loaded; 1 record to mend\n\nHello,\n\nthe latest payouts\.csv could not be loaded, since [-\d]+ [\d:]+ UTC: it is empty\.\nSend it with its records\.\n\nOf the file before it: nothing of payouts\.csv was loaded\. 1 of its 1 record cannot be used,\n/,
  );
});

Deno.test("each error of docs/errors.md is told as its section has it: the file's, the server's, or ours", async () => {
  await using at = await given("Payout No\n1\n");
  const sections = (await Deno.readTextFile(new URL("../../docs/errors.md", import.meta.url))).split(/^## /m);
  const codesOf = (title: string) => {
    const section = sections.find((text) => text.startsWith(`${title}\n`))!;
    return [...section.matchAll(/^\| (`\w+`(?:, `\w+`)*)/gm)].flatMap(([, codes]) =>
      codes.replaceAll("`", "").split(", ")
    );
  };
  const whose = async (code: string) => {
    const [told] = await at.db.query(
      `select w.* from etl.feeds f, etl.refusal(f, $1, 'Cannot load payouts: it is wrong') w where f.name = 'payouts'`,
      [code],
    );
    assert.ok(told.mend, code);
    assert.equal(told.whose === "us" || told.problem !== null, true, code);
    return told.whose;
  };
  for (const code of codesOf("The file")) assert.equal(await whose(code), "file", code);
  const others = ["The feed's table", "The database", "The run", "The schedule and the function"].flatMap(codesOf);
  assert.ok(others.length > 30);
  for (const code of [...others, "42883", "nobody_knows"]) assert.equal(await whose(code), "us", code);
  const ours = ["url", "headers", "secret", "no_such_host", "port_refused", "unreachable", "too_slow"];
  for (const code of codesOf("The partner's server")) {
    const expected = ours.includes(code) ? "us" : code === "too_big" ? "file" : "server";
    assert.equal(await whose(code), expected, code);
  }
});

Deno.test("rows are told where they are known: not of JSON, of pages, or behind a quote that is not closed", async () => {
  const rowsOf = async (at: Given) =>
    (await at.db.query("select record_number::int as n, row_number::int as row from etl.faults('payouts') order by n"))
      .map(({ n, row }) => [n, row]);
  const header = "Payout No,Amount,note";
  for (
    const [file, columns, rows] of [
      [`${header}\n1,x,\n2,y,\n`, {}, [[1, 2], [2, 3]]],
      [`sep=,\n${header}\n1,x,\n`, {}, [[1, 2]]],
      ["1,x,\n2,1,\n3,y,\n", { header: ["id", "amount", "note"] }, [[1, 1], [3, 3]]],
      [`${header}\n1,x,\n2,"a\n3,y,\n`, {}, [[1, 2], [2, 3], [3, null]]],
      ['[{"Payout No": 1, "Amount": "x"}]', {}, [[1, null]]],
      [`${header}\n1,x,\n`, { next: "link" }, [[1, null]]],
    ] as const
  ) {
    await using at = await given(file, columns);
    assert.equal((await at.db.loadOne("payouts")).error, null, file);
    assert.deepEqual(await rowsOf(at), rows, file);
  }
});

/** What OWASP names, and what must stay a number: as it came, and as it is in a sheet. */
const cells: [given: string, safe: string][] = [
  ["=1+1", "'=1+1"],
  ["+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"],
  ["-2+3", "'-2+3"],
  ["@SUM(1)", "'@SUM(1)"],
  ["\t=1", "'\t=1"],
  ["\r=1", "'␍=1"],
  ["\n=1", "'\n=1"],
  [" =1+1", "' =1+1"],
  ["＝1", "'＝1"],
  ["-5.5", "-5.5"],
  ["+1.234,50", "+1.234,50"],
  ["-1e5", "-1e5"],
  ['plain, "quoted"', 'plain, "quoted"'],
  ["\x1b[31mred\x07\x9b2J\x7f", "␛[31mred␇�2J␡"],
  ["a\u202eb", "a�b"],
];

Deno.test("--csv is safe in a spreadsheet and on a terminal, has a mark for UTF-8, and the date", async () => {
  const quoted = (cell: string) => `"${cell.replaceAll('"', '""')}"`;
  await using at = await given(
    ["Payout No,Amount,=note\x1b]0;x\x07", ...cells.map(([cell], i) => `${i},x,${quoted(cell)}`), ""].join("\n"),
    {
      columns: { "Payout No": "id", "Amount": "amount" },
    },
  );
  await at.db.query("alter table public.payouts add column word int");
  await at.db.query("update etl.feeds set columns = columns || $1", [JSON.stringify({ "=note\x1b]0;x\x07": "word" })]);
  assert.equal((await at.db.loadOne("payouts")).error, null);
  const child = main(["rejects", "payouts", "--csv"], { env: { DATABASE_URL: at.db.url } });
  const bytes = new Uint8Array(await new Response(child.stdout).arrayBuffer());
  assert.equal((await child.status).code, 0);
  assert.deepEqual([...bytes.subarray(0, 3)], [0xef, 0xbb, 0xbf]);
  const text = new TextDecoder().decode(bytes);
  // deno-lint-ignore no-control-regex
  assert.doesNotMatch(text, /[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]/);
  const rows = parse(text, { columns: true, bom: true }) as Record<string, string>[];
  const words = rows.filter(({ column }) => column !== "Amount");
  assert.deepEqual(words.map(({ value }) => value), cells.map(([, safe]) => safe));
  assert.equal(words[0].column, "'=note␛]0;x␇");
  assert.deepEqual([words[0].problem, words[0].mend], ["is not a whole number", "Send a whole number, as 42."]);
  assert.ok(
    rows.every(({ listed_at, since }) => [listed_at, since].every((at) => /^\d{4}-\d\d-\d\d \d\d:\d\d UTC$/.test(at))),
  );
  assert.equal(rows.filter(({ record }) => record !== "").length, cells.length, "the record stands in its first row");
  const [{ sheet }] = await at.db.query("select etl.sheet_csv('payouts', 1000) as sheet");
  assert.deepEqual(
    (parse(sheet, { columns: true, bom: true }) as Record<string, string>[]).map(({ listed_at: _, ...row }) => row),
    rows.map(({ listed_at: _, ...row }) => row),
    "the link gives the same",
  );
});

Deno.test("no value and no name of a column moves the terminal, whatever the command", async () => {
  // deno-lint-ignore no-control-regex
  const moves = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/;
  await using at = await given("Payout No,Amount,evil\x1b[2J\x9bname\n1,\x1b]0;owned\x07,\n", { reject_limit: 1 });
  const env = { DATABASE_URL: at.db.url };
  for (
    const args of [["etl", "payouts"], ["etl", "payouts", "--json", "--force"], [
      "etl",
      "payouts",
      "--dry-run",
      "--force",
    ]]
  ) {
    const { out, err } = await run(args, { env });
    assert.match(out, /evil(␛|\\u001b)\[2J/, args.join(" "));
    assert.doesNotMatch(out + err, moves, args.join(" "));
  }
  for (const args of [[], ["--json"], ["--csv"], ["payouts", "--letter"]]) {
    const { out, err } = await run(["rejects", ...args], { env });
    assert.match(out, /owned/, args.join(" "));
    assert.doesNotMatch(out.replace("\ufeff", "") + err, moves, args.join(" "));
  }
  const [reject] = JSON.parse((await rejects(at, "--json")).out);
  assert.equal(reject.value, "\x1b]0;owned\x07", "JSON loses nothing");
  at.web.files["/payouts.csv"] = "nothing\x1b[2J,at all\x9b\n1,2\n";
  const failed = await run(["etl", "payouts"], { env });
  assert.equal(failed.code, 1);
  assert.doesNotMatch(failed.out + failed.err, moves);
});

/** A reason as etl.rejects has it, and what its partner is told. */
const words: [reason: string, problem: string, mend: string][] = [
  ["is no integer", "is not a whole number", "Send a whole number, as 42."],
  ["is no double precision", "is not a number", "Send a number, as 12.50."],
  ["is no timestamp with time zone", "is not a date and time", "Send a date and time, as 2021-07-31T14:05:00Z."],
  ["is no boolean", "is not true or false", "Send true or false."],
  ["is no public.shape", 'is not one of "round", "flat"', 'Send one of "round", "flat".'],
  ["is no integer[]", "is not a list", "Send a list."],
  ["is no nowhere.gone", "is not a value of the type nowhere.gone", "Send a value of the type nowhere.gone."],
  [
    "is out of the range of integer",
    "is too large or too small",
    "Send a whole number from -2147483648 to 2147483647.",
  ],
  [
    "is out of the range of numeric(6,2)",
    "is too large or too small",
    "Send a number with at most 4 digits before the point.",
  ],
  ["is too long for character varying(3)", "is too long", "Send at most 3 characters."],
  ["breaks a rule of public.percent", "is not allowed", "Send what holds: VALUE >= 0"],
  [
    "is a date in an order that etl.feeds.date_order must name",
    "is a date of which day and month cannot be told apart",
    "Tell us which comes first, or send dates as 2021-07-31.",
  ],
  ["breaks the rule CHECK ((n > 0))", "breaks a rule", "Send what holds: No. > 0"],
  [
    "breaks the rule CHECK (((n >= (0)::numeric) AND (kind = ANY (ARRAY['a'::text, 'b'::character varying(3)]))))",
    "breaks a rule",
    "Send what holds: ((No. >= 0) AND (kind = ANY (ARRAY['a', 'b'])))",
  ],
  ["is another row's already", "is taken: another record has it already", "Correct whichever of the two is wrong."],
  ["is refused by a trigger: secret of another", "cannot be stored", "Ask us: we know more."],
  ["cannot be written: row of another", "cannot be stored", "Ask us: we know more."],
  ["fits no partition of public.x", "cannot be stored", "Ask us: we know more."],
  [
    "is not UTF-8: it looks like windows-1252, which etl.feeds.encoding must say",
    "is not UTF-8: it looks like windows-1252",
    "Send the file as text in UTF-8.",
  ],
  [
    "has 3 fields where the header has 2",
    "has 3 fields where the header has 2",
    "Quote the field that holds a delimiter.",
  ],
];

Deno.test("each reason has plain words, which name nothing of ours that he cannot know", async (t) => {
  await using at = await given("Payout No\n1\n");
  await at.db.query(
    "create type public.shape as enum ('round', 'flat'); create domain public.percent as int check (value >= 0)",
  );
  for (const [reason, problem, mend] of words) {
    await t.step(reason, async () => {
      const [told] = await at.db.query(
        "select w.* from etl.feeds f, etl.in_plain_words(f, $1, 'n', 'No.') w where f.name = 'payouts'",
        [reason],
      );
      assert.deepEqual(told, { problem, mend });
    });
  }
});

/** A column as Postgres spells it, its CHECK and a value that breaks it, and the rule as its partner is told it. */
const rules: [column: string, check: string, value: string, told: string][] = [
  ['"c++"', '"c++" > 0', "-1", "c++ > 0"],
  ['"*rate"', '"*rate" > 0', "-1", "*rate > 0"],
  ['"a(b"', '"a(b" > 0', "-1", "a(b > 0"],
  ['"[x"', '"[x" > 0', "-1", "[x > 0"],
  ['"50?"', '"50?" > 0', "-1", "50? > 0"],
  ['"(5)"', '"(5)" > 5', "-1", "(5) > 5"],
  [String.raw`"a\1&b"`, String.raw`"a\1&b" > 0`, "-1", String.raw`a\1&b > 0`],
  ['"q""d"', '"q""d" > 0', "-1", 'q"d > 0'],
  ['"a::int"', '"a::int" > 0', "-1", "a::int > 0"],
  [`"has it's"`, `"has it's" > 0`, "-1", "has it's > 0"],
  ["abs", "abs(abs) > 5", "-1", "(abs(abs) > 5)"],
  ["kind", "kind::text <> 'kind (5)::int'", "kind (5)::int", "((kind) <> 'kind (5)::int')"],
  ["mapped", "mapped > 0", "-1", String.raw`Map\1 & co. > 0`],
];

Deno.test("a CHECK is told under the partner's names, whatever signs a name or a text in it has", async () => {
  const quoted = (cell: string) => `"${cell.replaceAll('"', '""')}"`;
  const nameOf = (column: string) => column.startsWith('"') ? column.slice(1, -1).replaceAll('""', '"') : column;
  const sources = rules.map(([column]) => column === "mapped" ? String.raw`Map\1 & co.` : nameOf(column));
  const records = rules.map(([, , value], i) =>
    [i + 1, ...rules.map((_, j) => i === j ? quoted(value) : "")].join(",")
  );
  await using at = await databaseAndWeb(
    `create table public.payouts (
      id int primary key,
      ${
      rules.map(([column, check]) => `${column} ${column === "kind" ? "varchar" : "int"} check (${check})`).join(", ")
    }
    )`,
    {
      "/payouts.csv": [["id", ...sources.map(quoted)].join(","), ...records, "99" + ",".repeat(rules.length), ""].join(
        "\n",
      ),
    },
  );
  await at.db.feed("payouts", {
    url: `${at.web.url}/payouts.csv`,
    reject_limit: 1,
    columns: { [String.raw`Map\1 & co.`]: "mapped" },
  });
  const report = await at.db.loadOne("payouts");
  assert.deepEqual([report.error, report.rejected, report.inserted], [null, rules.length, 1]);
  const letter = await rejects(at, "payouts", "--letter");
  assert.deepEqual([letter.code, letter.err], [0, ""]);
  const sheet = await rejects(at, "--csv");
  assert.deepEqual([sheet.code, sheet.err], [0, ""]);
  const rows = parse(sheet.out, { columns: true, bom: true }) as Record<string, string>[];
  const counts = await at.db.query("select * from etl.page_reject_counts('payouts')");
  assert.equal(counts.length, rules.length);
  for (const [i, [column, , , told]] of rules.entries()) {
    assert.equal(rows[i].mend, `Send what holds: ${told}`, column);
    assert.ok(letter.out.includes(`* Column "${sources[i]}" breaks a rule (1 record)\n`), column);
    assert.ok(letter.out.includes(`\n  Send what holds: ${told}\n`), column);
  }
});

Deno.test("a rule of several columns is told under his names; so is a table of an unusual one", async () => {
  await using at = await databaseAndWeb(
    `create table public."of ours, since: ""21""" (id int primary key);
    create table public.payouts (
      id int primary key, low int, high int, ours int references public."of ours, since: ""21""", check (low <= high)
    )`,
    { "/payouts.csv": "id,Lowest,Highest,ours\n1,2,1,\n2,,,7\n3,1,2,\n" },
  );
  await at.db.feed("payouts", {
    ...{ url: `${at.web.url}/payouts.csv`, reject_limit: 1, columns: { Lowest: "low", Highest: "high" } },
  });
  assert.equal((await at.db.loadOne("payouts")).error, null);
  const letter = await letterOf(at);
  assert.match(letter, /\n\* breaks a rule \(1 record\)\n.*\n {2}Send what holds: Lowest <= Highest\n/);
  assert.match(
    letter,
    /\* Column "ours" is not known: there is no such record in "of ours, since: "21"" \(1 record\)\n/,
  );
});

/** A URL, and what its partner calls the file; null: as the feed is called. */
const calledFiles: [url: string, called: string | null][] = [
  ["https://p.example/export/payouts.csv", "payouts.csv"],
  ["https://p.example/payouts.csv?key=s3cret&file=/other.csv", "payouts.csv"],
  ["https://p.example/payouts.csv;jsessionid=s3cret.1", "payouts.csv"],
  ["https://p.example/July%20payouts%C3%A4.csv", "July payoutsä.csv"],
  ["https://p.example/100%.csv", "100%.csv"],
  ["https://p.example/a%FF%00.csv", "a%FF%00.csv"],
  ["https://p.example/a%0ASubject:%20b.csv", "a Subject: b.csv"],
  ["https://p.example/a%1B%5B2J.csv", "a␛[2J.csv"],
  ["https://p.example/gtfs.zip#stops.txt", "stops.txt in gtfs.zip"],
  ["https://p.example/gtfs.zip?key=s3cret#day%201/stops.txt", "day 1/stops.txt in gtfs.zip"],
  ["https://p.example/download?id=7#stops.txt", "stops.txt"],
  ["https://p.example/{day}.zip#stops.txt", "stops.txt"],
  ["https://p.example/all.zip#{day}.csv", "all.zip"],
  ["https://u:s3cret@partner.example", null],
  ["https://u:s3cret@partner.example/", null],
  ["https://u:s3cret@partner.example/payouts.csv", "payouts.csv"],
  ["https:///u:s3cret@partner.example", null],
  ["https:/u:s3cret@partner.example", null],
  [String.raw`https:\\u:s3cret@partner.example`, null],
  [String.raw`https://u:s3cret@partner.example\x.csv`, null],
  ["https://p.example?x=1", null],
  ["https://p.example?x=/s3cret.csv", null],
  ["https://p.example", null],
  ["https://p.example:8080", null],
  ["https://p.example/v1/payouts", null],
  ["https://p.example/v1.0/payouts", null],
  ["https://p.example/payouts.csv/", null],
  ["https://p.example/payouts-{day}.csv", null],
  ["https://p.example/{secret:KEY}.csv", null],
];

Deno.test("a file is called by the last name of its URL's path, and no part of the host, the query or a secret", async (t) => {
  await using at = await given("Payout No\n1\n");
  for (const [url, called] of calledFiles) {
    await t.step(url, async () => {
      await at.db.query("update etl.feeds set url = $1 where name = 'payouts'", [url]);
      assert.equal(await letterOf(at), `${called ?? "payouts"}: nothing has been loaded yet.\n`);
    });
  }
});

Deno.test("files of changes: each record is told with when it came, and all the numbers fit", async () => {
  await using at = await given("Payout No,Amount\n1,bad\n2,2\n", { contents: "changes" });
  const day = async (days: number) => {
    for (const table of ["etl.rejects", "etl.attempts"]) {
      await at.db.query(`update ${table} set since = since - $1 * interval '1 day'`, [days]);
    }
  };
  const ago = async (days: number) =>
    (await at.db.query(
      `select to_char((now() - $1 * interval '1 day') at time zone 'UTC', 'YYYY-MM-DD') as day`,
      [days],
    ))[0].day as string;
  await at.db.loadOne("payouts");
  await day(1);
  at.web.files["/payouts.csv"] = "Payout No,Amount\n3,worse\n4,4\n";
  await at.db.loadOne("payouts");
  await day(1);
  const two = (await letterOf(at)).replaceAll(/\d\d:\d\d UTC/g, "T");
  assert.equal(
    two,
    `Subject: payouts.csv: 2 records to mend

Hello,

2 records in payouts.csv could not be loaded. All else was.

What is wrong, the most frequent first:

* Column "Amount" is not a number (2 records)
    record 1 (row 2), came ${await ago(2)} T: bad
    record 1 (row 2), came ${await ago(1)} T: worse
  Send a number, as 12.50.

Records are counted from 1 in the order of the file, its header not counted. The row is
the one that a spreadsheet shows.
Send these records once more, mended, in one of your next files.
`,
  );
  await at.db.query("update etl.feeds set reject_limit = 0.1 where name = 'payouts'");
  at.web.files["/payouts.csv"] = "Payout No,Amount\n5,a\n6,b\n7,c\n8,8\n";
  assert.equal((await at.db.loadOne("payouts")).error?.code, "too_many_rejects");
  const all = (await letterOf(at)).replaceAll(/\d\d:\d\d UTC/g, "T");
  assert.equal(
    all,
    `Subject: payouts.csv: 5 records to mend

Hello,

nothing of payouts.csv was loaded. 3 of its 4 records cannot be used,
which is more than we let pass (${await ago(0)} T).
2 records of files before it could not be loaded either.

What is wrong, the most frequent first:

* Column "Amount" is not a number (5 records)
    record 1 (row 2), came ${await ago(2)} T: bad
    record 1 (row 2), came ${await ago(1)} T: worse
    record 1 (row 2), came ${await ago(0)} T: a
    and 2 more
  Send a number, as 12.50.

Records are counted from 1 in the order of the file, its header not counted. The row is
the one that a spreadsheet shows.
Once the file of ${await ago(0)} T has them right, it is loaded by itself.
Send the records of files before it once more, mended, in one of your next files.
`,
  );
});

Deno.test("times are in UTC and say so, whatever the database's zone: in the table as in the CSV", async () => {
  await using at = await given("Payout No,Amount\n1,x\n");
  await at.db.admin(`alter database ${at.db.name} set timezone = 'Asia/Tokyo'`);
  assert.equal((await at.db.loadOne("payouts")).error, null);
  const [{ since }] = await at.db.query(
    `select to_char(since at time zone 'UTC', 'YYYY-MM-DD HH24:MI') as since from etl.rejects`,
  );
  const [row] = parse((await rejects(at, "--csv")).out, { columns: true, bom: true }) as Record<string, string>[];
  assert.equal(row.since, `${since} UTC`);
  assert.match((await rejects(at)).out, new RegExp(`\npayouts +1 +${since} UTC +amount +x `));
});

Deno.test("a dry run says that it keeps nothing, and advises nothing that rests on what it would have kept", async () => {
  await using at = await given("Payout No,Amount\n1,x\n2,2\n");
  const env = { DATABASE_URL: at.db.url };
  for (const limit of [1, 0]) {
    await at.db.query("update etl.feeds set reject_limit = $1", [limit]);
    const dry = await run(["etl", "payouts", "--dry-run", "--force"], { env });
    assert.match(
      dry.out,
      /\nWould be rejected \(a dry run keeps none: run without --dry-run, .*\):\n.*\npayouts +1 +1 +amount /,
    );
    assert.doesNotMatch(dry.out + dry.err, /Rejected until|Nothing of this feed was loaded/);
    if (limit === 0) assert.match(dry.err, /a dry run keeps none of its rejects\. After a run that is none, /);
    assert.equal((await rejects(at)).out, "There are no rejects.\n");
    const wet = await run(["etl", "payouts", "--force"], { env });
    assert.match(wet.out, /\nRejected until mended \(deno task rejects shows each, and with --letter writes/);
    if (limit === 0) {
      assert.match(wet.err, /Nothing of this feed was loaded\. deno task rejects payouts --letter writes what /);
    }
    assert.match((await rejects(at, "payouts", "--letter")).out, /^Subject: payouts\.csv: 1 record to mend\n/);
    await at.db.query("delete from etl.rejects");
    await at.db.query("delete from public.payouts");
  }
});

Deno.test("a dry run that withholds rows does not say to approve of it, for there is nothing to approve", async () => {
  await using at = await given("Payout No,Amount\n1,1\n2,2\n3,3\n", { absent: "delete" });
  const env = { DATABASE_URL: at.db.url };
  await at.db.loadOne("payouts");
  at.web.files["/payouts.csv"] = "Payout No,Amount\n1,1\n";
  const dry = await run(["etl", "payouts", "--dry-run"], { env });
  assert.match(dry.out, /\npayouts: 2 rows that the file lacks stay, for /);
  assert.doesNotMatch(dry.out, /etl\.approve/);
  assert.match((await run(["etl", "payouts"], { env })).out, /select etl\.approve\('payouts'\)/);
});

Deno.test("a letter is of one feed, and of one that there is", async () => {
  await using at = await given("Payout No\n1\n");
  for (const args of [["--letter"], ["payouts", "--letter", "--csv"], ["nope", "--letter"]]) {
    const { code, out } = await rejects(at, ...args);
    assert.deepEqual([code, out], [2, ""], args.join(" "));
  }
});
