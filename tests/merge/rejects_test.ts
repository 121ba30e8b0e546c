/** Every reason for which a record is rejected: the input, the reject, and the rows that load all the same. */
import assert from "node:assert/strict";
import { databaseAndWeb } from "../support/given.ts";
import { snapshot } from "../support/snapshot.ts";

const tables = `
  create table public.parents (id int primary key, name varchar(5));
  insert into public.parents values (1, 'one');
  create domain public.percent as int check (value between 0 and 100);
  create table public.children (
    id int primary key,
    parent_id int references public.parents,
    sibling_id int references public.children,
    born date,
    size numeric(4, 1),
    share public.percent,
    code varchar(3),
    kind text not null default 'plain',
    badge text unique,
    constraint size_is_positive check (size > 0)
  );`;

interface Case {
  name: string;
  body: string | Uint8Array<ArrayBuffer>;
  /** record number, column, value, sqlstate, constraint, how the reason begins, and the text where it cannot be split. */
  rejects: [number, string | null, string | null, string, string | null, RegExp, raw?: string][];
  loaded: number[];
  duplicate?: number;
  /** The file without its faults; the rows that it brings. */
  mended?: { body: string; loaded: number[] };
}

/** A record without columns. */
const unread = (number: number, sqlState: string, reason: RegExp, raw: string): Case["rejects"][number] => [
  number,
  null,
  null,
  sqlState,
  null,
  reason,
  raw,
];

const latin1 = (text: string) => Uint8Array.from(text, (letter) => letter.charCodeAt(0));
const csv = (columns: string, ...lines: string[]) => [columns, ...lines, ""].join("\n");

const cases: Case[] = [
  {
    name: "no value of its type",
    body: csv("id,born", "1,2021-02-30", "2,2021-02-28", "x,", "4,soon"),
    rejects: [
      [1, "born", "2021-02-30", "22008", null, /^is out of the range of date$/],
      [3, "id", "x", "22P02", null, /^is no integer$/],
      [4, "born", "soon", "22007", null, /^is no date$/],
    ],
    loaded: [2],
  },
  {
    name: "out of range, too long, or against the rule of its domain",
    body: csv("id,size,code,share", "1,99999,,", "2,,abcd,", "3,,,101", "4,999.9,abc,100", "99999999999,,,"),
    rejects: [
      [1, "size", "99999", "22003", null, /^is out of the range of numeric\(4,1\)$/],
      [2, "code", "abcd", "22001", null, /^is too long for character varying\(3\)$/],
      [3, "share", "101", "23514", null, /^breaks a rule of public\.percent$/],
      [5, "id", "99999999999", "22003", null, /^is out of the range of integer$/],
    ],
    loaded: [4],
  },
  {
    name: "missing where it is required",
    body: csv("id,kind", "1,round", ",round", "3,"),
    rejects: [[2, "id", null, "23502", null, /^is missing$/], [3, "kind", null, "23502", null, /^is missing$/]],
    loaded: [1],
  },
  {
    name: "against a CHECK, by its name",
    body: csv("id,size", "1,0", "2,0.1", "3,-5", "4,"),
    rejects: [
      [1, "size", "0.0", "23514", "size_is_positive", /^breaks the rule CHECK/],
      [3, "size", "-5.0", "23514", "size_is_positive", /^breaks the rule CHECK/],
    ],
    loaded: [2, 4],
  },
  {
    name: "without its parent, in another table or in its own",
    body: csv("id,parent_id,sibling_id", "1,1,", "2,7,", "3,,1", "4,,9", "5,,4"),
    rejects: [
      [2, "parent_id", "7", "23503", "children_parent_id_fkey", /^is in no row of public\.parents$/],
      [4, "sibling_id", "9", "23503", "children_sibling_id_fkey", /^is in no row of public\.children$/],
      [5, "sibling_id", "4", "23503", "children_sibling_id_fkey", /^is in no row of public\.children$/],
    ],
    loaded: [1, 3],
  },
  {
    name: "with what another row has already",
    body: csv("id,badge", "1,A", "2,B", "3,A", "4,"),
    rejects: [[3, "badge", "A", "23505", "children_badge_key", /^is another row's already$/]],
    loaded: [1, 2, 4],
  },
  {
    name: "the header once more",
    body: csv("id,kind", "1,round", "id,kind", "2,round"),
    rejects: [[2, "id", "id", "22P02", null, /^is no integer$/]],
    loaded: [1, 2],
  },
  {
    name: "the same key again: the last good record wins",
    body: csv("id,size", "1,1", "2,2", "1,3", "1,0", "2,2"),
    rejects: [[4, "size", "0.0", "23514", "size_is_positive", /^breaks the rule/]],
    loaded: [1, 2],
    duplicate: 2,
  },
  {
    name: "JSON that is no object, not valid, or says a thing twice",
    body:
      '[{"id": 1}, 2, {"id": 3, "id": 4}, {"id": 5, "kind": "\\u0000"}, {"id": 6 "kind": "x"}, {"id": 7, "kind": "x"}]',
    rejects: [
      [1, "kind", null, "23502", null, /^is missing$/],
      [2, null, null, "22032", null, /^is not a JSON object$/],
      [3, null, null, "22032", null, /^has a key twice$/],
      [4, null, null, "22032", null, /^has a string that holds \\u0000/],
      [5, null, null, "22032", null, /^is not valid JSON$/],
    ],
    loaded: [7],
  },
  {
    name: "CSV with too few or too many fields, or a blank line",
    body: csv("id,kind", "1,round", "2", "3,a,b", "", "4,flat", "5"),
    rejects: [
      unread(2, "22P04", /^has 1 field where the header has 2$/, "2"),
      unread(3, "22P04", /^has 3 fields where the header has 2$/, "3,a,b"),
      unread(4, "22P04", /^is a blank line$/, ""),
      unread(6, "22P04", /^has 1 field where the header has 2$/, "5"),
    ],
    loaded: [1, 4],
    mended: { body: csv("id,kind", "1,round", "2,x", '3,"a,b"', "4,flat", "5,x"), loaded: [1, 2, 3, 4, 5] },
  },
  {
    name: "CSV with a quote where none may be",
    body: csv("id,kind", "1,round", '2,5"', '3,"a"b', '4,"a\nb"', '5,"x', "6,flat"),
    rejects: [
      unread(2, "22P04", /^has a quote within a field that is not quoted$/, '2,5"'),
      unread(3, "22P04", /^has text after a closing quote$/, '3,"a"b'),
      unread(5, "22P04", /^has a quote that is not closed$/, '5,"x'),
    ],
    loaded: [1, 4, 6],
    mended: { body: csv("id,kind", '2,"5"""', "3,ab", "5,x"), loaded: [1, 2, 3, 4, 5, 6] },
  },
  {
    name: "CSV that is no text, or has half a line end",
    body: latin1(csv("id,kind", "1,round", "2,\xff", "3,a\0b", "4,a\rb", "5,\xc3\xa9")),
    rejects: [
      unread(2, "22021", /^is not UTF-8: it looks like windows-1252, which etl\.feeds\.encoding must say$/, "2,\ufffd"),
      unread(3, "22021", /^holds a NUL byte$/, "3,a\ufffdb"),
      unread(4, "22P04", /^has half a line end within a field that is not quoted$/, "4,a\rb"),
    ],
    loaded: [1, 5],
    mended: { body: csv("id,kind", "2,x", "3,x", "4,x"), loaded: [1, 2, 3, 4, 5] },
  },
  {
    name: "CSV that cannot be read, beside what breaks a rule and what repeats a key",
    body: csv("id,size", "1,1", "2", "3,0", "1,2", "4,x"),
    rejects: [
      unread(2, "22P04", /^has 1 field/, "2"),
      [3, "size", "0.0", "23514", "size_is_positive", /^breaks the rule/],
      [5, "size", "x", "22P02", null, /^is no numeric\(4,1\)$/],
    ],
    loaded: [1],
    duplicate: 1,
    mended: { body: csv("id,size", "1,2", "2,2", "3,1", "4,4"), loaded: [1, 2, 3, 4] },
  },
  {
    name: "JSON elements that are empty, too deep, no text, or hold control characters",
    body: latin1(
      `[{"id": 1, "kind": "a"},,{"id": 2, "kind": "\x02"},{"id": 3, "kind": "\xff"},{"id": 4, "kind": ${
        "[".repeat(512)
      }${"]".repeat(512)}},\\.,{"id": 5}},{"id": 6, "kind": "f"}]`,
    ),
    rejects: [
      unread(2, "22032", /^is empty: there is a comma too many$/, ""),
      unread(3, "22032", /^is not valid JSON: it holds a control character/, '{"id": 2, "kind": "\x02"}'),
      unread(
        4,
        "22021",
        /^is not UTF-8: it looks like windows-1252, which etl\.feeds\.encoding must say$/,
        '{"id": 3, "kind": "\ufffd"}',
      ),
      unread(
        5,
        "22032",
        /^is nested deeper than 512 levels$/,
        `{"id": 4, "kind": ${"[".repeat(512)}${"]".repeat(512)}}`,
      ),
      unread(6, "22032", /^is not valid JSON$/, "\\."),
      unread(7, "22032", /^is not valid JSON$/, '{"id": 5}}'),
    ],
    loaded: [1, 6],
    mended: { body: '[{"id": 2, "kind": "b"}, {"id": 3, "kind": "c"}]', loaded: [1, 2, 3, 6] },
  },
  {
    name: "JSON lines that are cut, or hold a NUL",
    body: '{"id": 1, "kind": "a"}\n{"id": 2, "kind": "b\n"}\r\n{"id": 3, "kind": "\0"}\n{"id": 4, "kind": "d"}',
    rejects: [
      unread(2, "22032", /^is not valid JSON: .* not closed on its line$/, '{"id": 2, "kind": "b'),
      unread(3, "22032", /^is not valid JSON: .* not closed on its line$/, '"}'),
      unread(4, "22032", /^is not valid JSON: it holds a control character/, '{"id": 3, "kind": "\ufffd"}'),
    ],
    loaded: [1, 4],
    mended: { body: '{"id": 2, "kind": "b"}', loaded: [1, 2, 4] },
  },
];

async function prepare() {
  const given = await databaseAndWeb(tables);
  const { db, web } = given;
  await db.feed("children", { url: `${web.url}/children`, reject_limit: 1 });
  return {
    ...given,
    load: (body: string | Uint8Array<ArrayBuffer>) => {
      web.files["/children"] = body;
      return db.loadOne("children");
    },
  };
}

for (const { name, body, rejects, loaded, duplicate = 0, mended } of cases) {
  Deno.test(`a record is rejected: ${name}`, async () => {
    await using at = await prepare();
    const report = await at.load(body);
    assert.equal(report.error, null);
    const found = await at.db.query("select * from etl.rejects order by record_number");
    assert.deepEqual(
      found.map((row) => [Number(row.record_number), row.column_name, row.value, row.sqlstate, row.constraint_name]),
      rejects.map((reject) => reject.slice(0, 5)),
    );
    for (const [i, [, , , , , reason, raw]] of rejects.entries()) {
      assert.match(found[i].reason, reason);
      if (raw !== undefined) assert.deepEqual([found[i].raw, found[i].record], [raw, null]);
    }
    const ids = async () => (await at.db.query("select id from public.children order by id")).map((row) => row.id);
    assert.deepEqual(await ids(), loaded);
    assert.deepEqual([report.inserted, report.duplicate, report.rejected], [loaded.length, duplicate, rejects.length]);
    assert.equal(report.read, loaded.length + duplicate + rejects.length);

    const before = await snapshot(at.db);
    const again = await at.db.loadOne("children", { force: true });
    assert.equal(again.status, "unchanged", "what stays wrong is not written again");
    assert.deepEqual(await snapshot(at.db), before);

    if (!mended) return;
    const healing = await at.load(mended.body);
    assert.deepEqual([healing.error, healing.status, healing.rejected], [null, "changed", 0]);
    assert.deepEqual(await at.db.query("select * from etl.rejects"), []);
    assert.deepEqual(await ids(), mended.loaded);
  });
}

Deno.test("a reject leaves when its record is mended, or vanishes; the run that wrote it is kept", async () => {
  await using at = await prepare();
  const { db, load } = at;
  await load(csv("id,size", "1,0", "2,x", "3,1"));
  const [first] = await db.query("select first_run, last_run from etl.rejects where record_number = 1");
  assert.equal(first.first_run, first.last_run);
  await load(csv("id,size", "1,0", "2,2", "3,1", "4,1"));
  assert.deepEqual(await db.query("select record_number::int, first_run, last_run from etl.rejects"), [{
    record_number: 1,
    ...first,
  }]);
  await load(csv("id,size", "1,-1", "2,2"));
  const [other] = await db.query("select value, first_run, last_run from etl.rejects");
  assert.equal(other.value, "-1.0");
  assert.equal(other.first_run, first.first_run);
  assert.notEqual(other.last_run, first.last_run);
  const healing = await load(csv("id,size", "2,2"));
  assert.equal(healing.status, "changed", "a reject that leaves is a change");
  assert.deepEqual(await db.query("select * from etl.rejects"), []);
});

Deno.test("above the limit the feed is rolled back whole, rejects too, and the error names the first record", async () => {
  await using at = await prepare();
  const { db, load } = at;
  await db.query("update etl.feeds set reject_limit = 0.5 where name = 'children'");
  assert.equal((await load(csv("id,size", "1,0", "2,1"))).rejected, 1, "half is not more than half");
  const before = await snapshot(db);
  const report = await load(csv("id,size", "9,1", "1,0", "3,-7"));
  assert.equal(report.error?.code, "too_many_rejects");
  assert.match(
    report.error!.message,
    /^Cannot load children: 2 of 3 records .* 50 %; the first is record 2, column size: breaks the rule .* \(size_is_positive\)$/,
  );
  assert.doesNotMatch(JSON.stringify(report), /-7/, "no value of the feed");
  const of = (all: Record<string, unknown>) =>
    Object.entries(all).filter(([table]) => !["etl.runs", "etl.attempts", "etl.attempt_rejects"].includes(table));
  assert.deepEqual(of(await snapshot(db)), of(before));
});
