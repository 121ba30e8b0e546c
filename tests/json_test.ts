/** JSON and NDJSON: every value arrives exact; a bad record is put aside, a bad file refused. */
import assert from "node:assert/strict";
import { EtlError } from "../lib/errors.ts";
import { openRows } from "../lib/rows.ts";
import { type Database, freshDatabase, serve, type Web } from "./harness.ts";

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
  "500 levels": { body: `[${deep(500)}]`, rows: [{ id: "1", doc: "[".repeat(500) + "]".repeat(500) }] },
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
  "10,000 levels, an object a line": {
    body: deep(10_000),
    rows: [{ id: "1", doc: "[".repeat(10_000) + "]".repeat(10_000) }],
  },
  "an object a line": { body: '{"id":"1"}\n{"id":"2"}', rows: [{ id: "1" }, { id: "2" }] },
  "blank lines between objects": { body: '\n{"id":"1"}\n\n  \n{"id":"2"}\n\n', rows: [{ id: "1" }, { id: "2" }] },
  "an object a line, CRLF": { body: '{"id":"1"}\r\n{"id":"2"}\r\n', rows: [{ id: "1" }, { id: "2" }] },
};

/** Whole files that are refused, with the error's code. */
const refused: Record<string, { body: string; code: string; message: RegExp; format?: string }> = {
  "trailing garbage": { body: '[{"id":"1"}] x', code: "json", message: /something follows the end of the array/ },
  "two arrays": { body: '[{"id":"1"}]\n[{"id":"2"}]', code: "json", message: /something follows the end of the array/ },
  "an object in place of an array": { body: '{"id":"1"}', format: "json", code: "json", message: /not an array/ },
  "an array that is not closed": { body: '[{"id":"1"},', code: "json", message: /the array is not closed/ },
  "an object that is not closed": { body: '[{"id":"1"', code: "json", message: /the array is not closed/ },
  "a string that is not closed": { body: '[{"id":"1', code: "json", message: /the array is not closed/ },
  "no element between commas": { body: '[{"id":"1"},,{"id":"2"}]', code: "json", message: /record 2: .*missing/ },
  "a comma after the last": { body: '[{"id":"1"},]', code: "json", message: /record 2: .*missing/ },
  "a comma before the first": { body: '[,{"id":"1"}]', code: "json", message: /record 1: .*missing/ },
  "a bracket too many": { body: '[{"id":"1"}}]', code: "json", message: /record 1: a bracket closes/ },
  "a control character in a string": { body: '[{"id":"a\x02b"}]', code: "json", message: /record 1: a string holds/ },
  "a line end in a string": { body: '[{},{"id":"a\nb"}]', code: "json", message: /record 2: a string holds/ },
  "a control character between": { body: '[{"id":"1"},\x01{"id":"2"}]', code: "json", message: /control character/ },
  "a NUL": { body: '[{"id":"1"},\0{"id":"2"}]', code: "json", message: /control character/ },
  "10,000 levels": { body: `[{},${deep(10_000)}]`, code: "json", message: /record 2: .*deeper than 512/ },
  "a million levels, an object a line": { body: deep(1_000_000), code: "54001", message: /stack depth limit exceeded/ },
  "the quote of COPY, an object a line": { body: '{"id":"\x01"}', code: "json", message: /U\+0001/ },
  "the delimiter of COPY, an object a line": {
    body: '{"id":"1"}\n{"id":"\x02"}',
    code: "22P04",
    message: /record 2 holds a/,
  },
  "LF, then CRLF, an object a line": {
    body: '{"id":"1"}\n{"id":"2"}\r\n{}',
    code: "22P04",
    message: /record 2 has another line end/,
  },
  "\\. on a line of its own": { body: '{"id":"1"}\n\\.\n{"id":"2"}', code: "ETL04", message: /holds only \\\./ },
  "\\. as an element": { body: '[{"id":"1"},\\.,{"id":"2"}]', code: "ETL04", message: /holds only \\\./ },
};

/** Records that are put aside, alone. */
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

async function things(): Promise<{ db: Database; web: Web; [Symbol.asyncDispose](): Promise<void> }> {
  const db = await freshDatabase();
  const web = serve({});
  await db.query(`create table public.things (id text primary key, name text, number numeric, doc json, "km/h" text)`);
  await db.feed("things", { url: `${web.url}/things` });
  return {
    db,
    web,
    [Symbol.asyncDispose]: async () => {
      await web[Symbol.asyncDispose]();
      await db[Symbol.asyncDispose]();
    },
  };
}

Deno.test("files that load, exactly", async (t) => {
  await using given = await things();
  for (const [name, { body, rows }] of Object.entries(loads)) {
    await t.step(name, async () => {
      given.web.files["/things"] = body;
      await given.db.query("truncate public.things");
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
      await given.db.feed("things", { url: `${given.web.url}/things`, format: format ?? null, reject_limit: 1 });
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

Deno.test("a bad record is put aside while the rest load; above the limit all are refused", async (t) => {
  await using given = await things();
  const good = Array.from({ length: 9 }, (_, i) => `{"id":"${i}"}`);
  for (const [name, { record, reason, lines }] of Object.entries(bad)) {
    await t.step(name, async () => {
      const records = lines
        ? [...good, ...good.map((line) => line.replace("{", '{"number":1,')), record]
        : [...good, record];
      given.web.files["/things"] = lines ? records.join("\n") : `[${records}]`;
      await given.db.query("truncate public.things");
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
      assert.equal(over.error?.code, "ETL06");
      assert.deepEqual(await given.db.query("select xmin, ctid, * from public.things"), before);
    });
  }
});

/** What the loader makes of a body in chunks of this size. */
async function rowsOf(text: string, size: number, format: "json" | null): Promise<string> {
  const body = new TextEncoder().encode(text);
  async function* arriving() {
    for (let i = 0; i < body.length; i += size) yield body.slice(i, i + size);
  }
  try {
    const { chunks } = await openRows(arriving(), { format, delimiter: null, encoding: "utf-8" }, () => {});
    let sent = "";
    for await (const chunk of chunks) sent += new TextDecoder("latin1").decode(chunk);
    return sent;
  } catch (error) {
    assert.ok(error instanceof EtlError, String(error));
    return `${error.code}: ${error.message}`;
  }
}

Deno.test("how the network cuts a file does not matter", async () => {
  for (const [name, { body, format }] of Object.entries<{ body: string; format?: string }>({ ...loads, ...refused })) {
    const whole = await rowsOf(body, Infinity, (format ?? null) as "json" | null);
    for (const size of body.length < 2000 ? [1, 2, 3, 7] : [997]) {
      assert.equal(await rowsOf(body, size, (format ?? null) as "json" | null), whole, `${name}, ${size}`);
    }
  }
});
