/** JSON and NDJSON: every value arrives exact; a bad record is rejected, a bad file refused. */
import assert from "node:assert/strict";
import { EtlError } from "../../lib/errors.ts";
import { openRows, openText } from "../../lib/format/rows.ts";
import { databaseAndWeb, type Given } from "../support/given.ts";

const deep = (levels: number) => `{"id":"1","doc":${"[".repeat(levels)}${"]".repeat(levels)}}`;

const loads: Record<string, { body: string; rows: Record<string, unknown>[] }> = {
  "an empty array": { body: "[]", rows: [] },
  "an empty array, spread out": { body: "\r\n[ \n ]\n\n", rows: [] },
  "a byte order mark": { body: '\ufeff[{"id":"1"}]', rows: [{ id: "1" }] },
  "every line end and blank": {
    body: '\t[\r\n{\r"id"\n:\t"1"\r\n}\n,\r{"id" : "2"}\r]\r\n',
    rows: [{ id: "1" }, { id: "2" }],
  },
  "brackets, commas and quotes in strings": {
    body: '[{"id":"1","name":"],[{}\\"\\\\"},{"id":"2","name":"\\\\\\","}]',
    rows: [{ id: "1", name: '],[{}"\\' }, { id: "2", name: '\\",' }],
  },
  "big and exact numbers": {
    body: '[{"id":10000000000000000999,"name":1E5,"number":1.000000000000000005}]',
    rows: [{ id: "10000000000000000999", name: "1E5", number: "1.000000000000000005" }],
  },
  "escaped keys": {
    body: '[{"\\u0069d":"1","na\\u006de":"Ana","km\\/h":"5"}]',
    rows: [{ id: "1", name: "Ana", "km/h": "5" }],
  },
  "a surrogate pair": { body: '[{"id":"1","name":"\\ud83d\\ude95"}]', rows: [{ id: "1", name: "🚕" }] },
  "null and absent": { body: '[{"id":"1","name":null},{"id":"2"}]', rows: [{ id: "1" }, { id: "2" }] },
  "512 levels": { body: `[${deep(511)}]`, rows: [{ id: "1", doc: "[".repeat(511) + "]".repeat(511) }] },
  "a quote of COPY in a string, escaped": {
    body: '[{"id":"1","name":"\\u0001\\u0002"}]',
    rows: [{ id: "1", name: "\x01\x02" }],
  },
  "a key that comes late": {
    body: `[${Array.from({ length: 1500 }, (_, i) => `{"id":"${10000 + i}"},`).join("")}{"id":"2","name":"late"}]`,
    rows: [...Array.from({ length: 1500 }, (_, i) => ({ id: String(10000 + i) })), { id: "2", name: "late" }],
  },
  "a key that comes late, escaped": {
    body: Array.from({ length: 1500 }, (_, i) => `{"id":"${10000 + i}"}\n`).join("") + '{"id":"2","km\\/h":"5"}',
    rows: [...Array.from({ length: 1500 }, (_, i) => ({ id: String(10000 + i) })), { id: "2", "km/h": "5" }],
  },
  "an object a line": { body: '{"id":"1"}\n{"id":"2"}', rows: [{ id: "1" }, { id: "2" }] },
  "blank lines between objects": { body: '\n{"id":"1"}\n\n  \n{"id":"2"}\n\n', rows: [{ id: "1" }, { id: "2" }] },
  "a byte order mark between objects, and ^Z at the end": {
    body: '\ufeff\ufeff{"id":"1"}\n\ufeff{"id":"2"}\n\x1a',
    rows: [{ id: "1" }, { id: "2" }],
  },
  "NULs at the end, an object a line": { body: '{"id":"1"}\n{"id":"2"}\n\0\0\n\0', rows: [{ id: "1" }, { id: "2" }] },
  "NULs and ^Z behind an array": { body: '[{"id":"1"}]\n\0\0\x1a', rows: [{ id: "1" }] },
  "512 levels, an object a line": { body: deep(511), rows: [{ id: "1", doc: "[".repeat(511) + "]".repeat(511) }] },
  "LF, then CRLF, an object a line": {
    body: '{"id":"1"}\n{"id":"2"}\r\n{"id":"3"}',
    rows: [{ id: "1" }, { id: "2" }, { id: "3" }],
  },
  "an object a line, CRLF": { body: '{"id":"1"}\r\n{"id":"2"}\r\n', rows: [{ id: "1" }, { id: "2" }] },
};

/** Whole files that are refused, with the error's code. */
const refused: Record<string, { body: string; code: string; message: RegExp; format?: string }> = {
  "trailing garbage": { body: '[{"id":"1"}] x', code: "json", message: /something follows the end of the array/ },
  "two arrays": { body: '[{"id":"1"}]\n[{"id":"2"}]', code: "json", message: /something follows the end of the array/ },
  "an object in place of an array": { body: '{"id":"1"}', format: "json", code: "records", message: /not an array/ },
  "an array that is not closed": { body: '[{"id":"1"},', code: "json", message: /the array is not closed/ },
  "an object that is not closed": { body: '[{"id":"1"', code: "json", message: /the array is not closed/ },
  "a string that is not closed": { body: '[{"id":"1', code: "json", message: /the array is not closed/ },
  "a bracket that closes the array early": {
    body: '[{"id":"1"}],{"id":"2"}]',
    code: "json",
    message: /something follows the end of the array/,
  },
  "a line end in a string, and no other to end it": {
    body: '[{},{"id":"a\nb"}]',
    code: "json",
    message: /the array is not closed/,
  },
};

const badJson = "is not valid JSON";
const badControl = "is not valid JSON: it holds a control character, or a string that is not closed on its line";
const empty = "is empty: there is a comma too many";
const tooDeep = "is nested deeper than 512 levels";

/** Files with records that cannot be read: those that load, and the number, raw text and reason of those that do not. */
const rejected: Record<
  string,
  { body: string | Uint8Array<ArrayBuffer>; ids: string[]; rejects: [number, string, string][] }
> = {
  "no element between commas": { body: '[{"id":"1"},,{"id":"2"}]', ids: ["1", "2"], rejects: [[2, "", empty]] },
  "a comma after the last": { body: '[{"id":"1"}, ]', ids: ["1"], rejects: [[2, " ", empty]] },
  "a comma before the first": { body: '[,{"id":"1"}]', ids: ["1"], rejects: [[1, "", empty]] },
  "a bracket too many": { body: '[{"id":"1"}},{"id":"2"}]', ids: ["2"], rejects: [[1, '{"id":"1"}}', badJson]] },
  "a bracket too few": {
    body: '[{"id":"1","doc":[1},{"id":"2"}]',
    ids: ["2"],
    rejects: [[1, '{"id":"1","doc":[1}', badJson]],
  },
  "a control character in a string": {
    body: '[{"id":"a\x02b"},{"id":"2"}]',
    ids: ["2"],
    rejects: [[1, '{"id":"a\x02b"}', badControl]],
  },
  "a tab in a string": { body: '[{"id":"a\tb"},{"id":"2"}]', ids: ["2"], rejects: [[1, '{"id":"a\tb"}', badJson]] },
  "a control character between": {
    body: '[{"id":"1"},\x01{"id":"2"},{"id":"3"}]',
    ids: ["1", "3"],
    rejects: [[2, '\x01{"id":"2"}', badControl]],
  },
  "a string that ends with its line, in an object of several": {
    body: '[{\n"id":"1,\n"name":"a"\n},\n{"id":"2"}]',
    ids: ["2"],
    rejects: [[1, '{ "id":"1,\n"name":"a" }', badControl]],
  },
  "a string that is not closed, in an object on its line": {
    body: '[\n{"id":"1},\n{"id":"2"},\n{"id":"3"}\n]',
    ids: ["2", "3"],
    rejects: [[1, ' {"id":"1},', badControl]],
  },
  "a line end in a string, in an object on its line": {
    body: '[{"id":"1"},\n{"id":"a\nb"},\n{"id":"3"}]',
    ids: ["1", "3"],
    rejects: [[2, ' {"id":"a\nb"},', badControl]],
  },
  "a string that is not closed, in the last object": {
    body: '[{"id":"1"},\n{"id":"2}\n]',
    ids: ["1"],
    rejects: [[2, ' {"id":"2}\n', badControl]],
  },
  "^Z and NULs between objects, an object a line": {
    body: '{"id":"1"}\n\x1a\n\0\0\n{"id":"2"}\n\0',
    ids: ["1", "2"],
    rejects: [[2, "\x1a", badControl], [3, "\ufffd\ufffd", badControl]],
  },
  "a NUL": {
    body: '[{"id":"1"},\0{"id":"2"},{"id":"\0"}]',
    ids: ["1"],
    rejects: [[2, '\ufffd{"id":"2"}', badControl], [3, '{"id":"\ufffd"}', badControl]],
  },
  "bytes that are not UTF-8": {
    body: Uint8Array.from('[{"id":"1"},{"id":"\xff"}]', (letter) => letter.charCodeAt(0)),
    ids: ["1"],
    rejects: [[2, '{"id":"\ufffd"}', "is not UTF-8: it looks like windows-1252, which etl.feeds.encoding must say"]],
  },
  "half a surrogate pair in utf-16": {
    body: new Uint8Array(Uint16Array.from('\ufeff[{"id":"1"},{"id":"\ud800"}]', (c) => c.charCodeAt(0)).buffer),
    ids: ["1"],
    rejects: [[2, '{"id":"\ufffd"}', "is not UTF-8, nor utf-16le, which its byte order mark says"]],
  },
  "10,000 levels": { body: `[{"id":"1"},${deep(10_000)}]`, ids: ["1"], rejects: [[2, deep(10_000), tooDeep]] },
  "513 levels, an object a line": { body: `${deep(512)}\n{"id":"2"}`, ids: ["2"], rejects: [[1, deep(512), tooDeep]] },
  "a million levels, an object a line": {
    body: `{"id":"1"}\n${deep(1_000_000)}\n`,
    ids: ["1"],
    rejects: [[2, deep(1_000_000), tooDeep]],
  },
  "the quote of COPY, an object a line": {
    body: '{"id":"\x01"}\n{"id":"2"}',
    ids: ["2"],
    rejects: [[1, '{"id":"\x01"}', badControl]],
  },
  "the delimiter of COPY, an object a line": {
    body: '{"id":"1"}\n{"id":"\x02"}',
    ids: ["1"],
    rejects: [[2, '{"id":"\x02"}', badControl]],
  },
  "a string cut at a line, an object a line": {
    body: '{"id":"1\n"}\n{"id":"3"}',
    ids: ["3"],
    rejects: [[1, '{"id":"1', badControl], [2, '"}', badControl]],
  },
  "an object that is not closed, an object a line": {
    body: '{"id":"1"\n{"id":"2"}\n{"id":"3',
    ids: ["2"],
    rejects: [[1, '{"id":"1"', badJson], [3, '{"id":"3', badControl]],
  },
  "no object at all": {
    body: "[1,,2]",
    ids: [],
    rejects: [[1, "1", "is not a JSON object"], [2, "", empty], [3, "2", "is not a JSON object"]],
  },
  "\\. on a line of its own": {
    body: '{"id":"1"}\n\\.\n{"id":"2"}',
    ids: ["1", "2"],
    rejects: [[2, "\\.", badJson]],
  },
  "\\. as an element": { body: '[{"id":"1"},\\.,{"id":"2"}]', ids: ["1", "2"], rejects: [[2, "\\.", badJson]] },
};

/** Records that Postgres rejects, each alone. */
const bad: Record<string, { record: string; reason: RegExp; lines?: boolean }> = {
  "\\u0000": { record: '{"id":"x","name":"a\\u0000b"}', reason: /\\u0000/ },
  "\\u0000 in a key": { record: '{"id":"x","na\\u0000me":"a"}', reason: /\\u0000/ },
  "half a surrogate pair": { record: '{"id":"x","name":"\\ud83d!"}', reason: /half of a surrogate pair/ },
  "a key twice": { record: '{"id":"x","name":"a","name":"b"}', reason: /key twice/ },
  "a key twice, escaped": { record: '{"id":"x","name":"a","\\u006eame":"b"}', reason: /key twice/ },
  "a number": { record: "42", reason: /not a JSON object/ },
  "a string": { record: '"id"', reason: /not a JSON object/ },
  "null": { record: "null", reason: /not a JSON object/ },
  "an array": { record: '[{"id":"x"}]', reason: /not a JSON object/ },
  "a word": { record: "nonsense", reason: /not valid JSON/ },
  "two objects without a comma": { record: '{"id":"x"} {"id":"y"}', reason: /not valid JSON/ },
  "single quotes": { record: "{'id':'x'}", reason: /not valid JSON/ },
  "the wrong bracket": { record: '{"id":"x"]', reason: /not valid JSON/ },
  "NaN": { record: '{"id":NaN}', reason: /not valid JSON/ },
  "a leading zero": { record: '{"id":007}', reason: /not valid JSON/ },
  "a bad escape": { record: '{"id":"\\x41"}', reason: /not valid JSON/ },
  "no key": { record: '{"name":"x"}', reason: /missing/ },
  "an object cut at a line": { record: '{"id":\n"x"}', reason: /not valid JSON/, lines: true },
};

/** Takes away what an earlier case has left. */
async function afresh({ db, web }: Given, feed: Record<string, unknown> = {}): Promise<void> {
  await db.query("truncate public.things; delete from etl.feeds where name = 'things'");
  await db.feed("things", { url: `${web.url}/things`, ...feed });
}

async function things(): Promise<Given> {
  const given = await databaseAndWeb(
    `create table public.things (id text primary key, name text, number numeric, doc json, "km/h" text)`,
  );
  await given.db.feed("things", { url: `${given.web.url}/things` });
  return given;
}

Deno.test("files that load, exactly", async (t) => {
  await using given = await things();
  for (const [name, { body, rows }] of Object.entries(loads)) {
    await t.step(name, async () => {
      given.web.files["/things"] = body;
      await afresh(given);
      const report = await given.db.loadOne("things", { force: true });
      assert.equal(report.error, null);
      assert.equal(report.read, rows.length);
      const loaded = await given.db.query(
        `select id, name, number::text, doc::text, "km/h" from public.things order by ctid`,
      );
      const empty = { name: null, number: null, doc: null, "km/h": null };
      assert.deepEqual(loaded, rows.map((row) => ({ ...empty, ...row })));
    });
  }
});

Deno.test("files that are refused, with the reason and nothing of their content", async (t) => {
  await using given = await things();
  for (const [name, { body, code, message, format }] of Object.entries(refused)) {
    await t.step(name, async () => {
      given.web.files["/things"] = body;
      await afresh(given, { format: format ?? null, reject_limit: 1 });
      const { status, error } = await given.db.loadOne("things", { force: true });
      assert.equal(status, "failed");
      assert.equal(error!.code, code, error!.message);
      assert.match(error!.message, message);
      assert.ok(error!.hint);
      assert.deepEqual(await given.db.query("select * from public.things"), []);
      assert.deepEqual(await given.db.query("select * from etl.rejects"), []);
    });
  }
});

Deno.test("records that cannot be read are rejected, while the others load", async (t) => {
  await using given = await things();
  const { db, web } = given;
  for (const [name, { body, ids, rejects }] of Object.entries(rejected)) {
    await t.step(name, async () => {
      web.files["/things"] = body;
      await afresh(given, { reject_limit: 1 });
      const report = await db.loadOne("things");
      assert.equal(report.error, null);
      assert.deepEqual([report.read, report.inserted, report.rejected], [
        ids.length + rejects.length,
        ids.length,
        rejects.length,
      ]);
      assert.deepEqual((await db.query("select id from public.things order by id")).map(({ id }) => id), ids);
      const found = await db.query("select * from etl.rejects order by record_number");
      assert.deepEqual(
        found.map((row) => [Number(row.record_number), row.raw, row.reason, row.sqlstate]),
        rejects.map((
          [number, raw, reason],
        ) => [number, raw, reason, reason.startsWith("is not UTF-8") ? "22021" : "22032"]),
      );
      await afresh(given, { reject_limit: 0 });
      assert.equal((await db.loadOne("things")).error?.code, "too_many_rejects", "above the limit nothing loads");
      assert.deepEqual(await db.query("select * from public.things"), []);
    });
  }
});

Deno.test("a bad record is rejected while the rest load; above the limit all are refused", async (t) => {
  await using given = await things();
  const good = Array.from({ length: 9 }, (_, i) => `{"id":"${i}"}`);
  for (const [name, { record, reason, lines }] of Object.entries(bad)) {
    await t.step(name, async () => {
      const records = lines
        ? [...good, ...good.map((line) => line.replace("{", '{"number":1,')), record]
        : [...good, record];
      given.web.files["/things"] = lines ? records.join("\n") : `[${records}]`;
      await afresh(given);
      const report = await given.db.loadOne("things", { force: true });
      assert.equal(report.error, null);
      assert.equal(report.inserted, 9);
      const rejects = await given.db.query("select * from etl.rejects order by record_number");
      assert.equal(report.rejected, rejects.length);
      assert.equal(Number(rejects[0].record_number), records.length);
      assert.match(rejects[0].reason, reason);
      if (rejects[0].raw !== null) assert.equal(lines ? rejects[0].raw : rejects[0].raw.trim(), record.split("\n")[0]);

      const before = await given.db.query("select xmin, ctid, * from public.things");
      given.web.files["/things"] = `[{"id":"new"},${record.replace("\n", " 7 ")}]`;
      const over = await given.db.loadOne("things");
      assert.equal(over.error?.code, "too_many_rejects");
      assert.deepEqual(await given.db.query("select xmin, ctid, * from public.things"), before);
    });
  }
});

/** What the loader makes of a body in chunks of this size. */
async function rowsOf(body: Uint8Array, size: number, format: "json" | null): Promise<string> {
  async function* arriving() {
    for (let i = 0; i < body.length; i += size) yield body.slice(i, i + size);
  }
  try {
    const { chunks, records } = await openRows(await openText(arriving(), "utf-8"), { format, delimiter: null });
    let sent = "";
    for await (const chunk of chunks) sent += new TextDecoder("latin1").decode(chunk);
    return sent.replaceAll(records.sentinel, "SENTINEL");
  } catch (error) {
    assert.ok(error instanceof EtlError, String(error));
    return `${error.code}: ${error.message}`;
  }
}

Deno.test("how the network cuts a file does not matter", async () => {
  const all: Record<string, { body: string | Uint8Array; format?: string }> = { ...loads, ...rejected, ...refused };
  for (const [name, { body, format = null }] of Object.entries(all)) {
    const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
    const whole = await rowsOf(bytes, Infinity, format as "json" | null);
    for (const size of bytes.length < 2000 ? [1, 2, 3, 7] : bytes.length < 100_000 ? [997] : [65_537]) {
      assert.equal(await rowsOf(bytes, size, format as "json" | null), whole, `${name}, ${size}`);
    }
  }
});
