/** What a partner is told of his rejects: a sheet, a letter, and nothing that moves a terminal or runs in a spreadsheet. */
import assert from "node:assert/strict";
import { parse } from "csv-parse/sync";
import { main, run } from "../support/command.ts";
import { databaseAndWeb, type Given } from "../support/given.ts";

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
  delete at.web.files["/payouts.csv"];
  await at.db.loadOne("payouts");
  assert.match(await letterOf(at), /\nThe last attempt known to have failed was at .* UTC, and no record's fault\.\n$/);
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

Deno.test("a letter is of one feed, and of one that there is", async () => {
  await using at = await given("Payout No\n1\n");
  for (const args of [["--letter"], ["payouts", "--letter", "--csv"], ["nope", "--letter"]]) {
    const { code, out } = await rejects(at, ...args);
    assert.deepEqual([code, out], [2, ""], args.join(" "));
  }
});
