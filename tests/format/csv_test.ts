/** CSV as partners write it: each file loads exactly, but for the rejects, or is refused whole with the reason. */
import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import { EtlError } from "../../lib/errors.ts";
import { openRows, openText } from "../../lib/format/rows.ts";
import { type Database, freshDatabase } from "../support/database.ts";
import { serve, type Web } from "../support/web.ts";

const utf8 = (text: string) => new TextEncoder().encode(text);
const bytes = (...parts: (string | number[] | Uint8Array)[]) =>
  new Uint8Array(parts.flatMap((part) => [...(typeof part === "string" ? utf8(part) : part)]));

interface Case {
  body: string | Uint8Array<ArrayBuffer>;
  feed?: Record<string, unknown>;
  headers?: Record<string, string>;
}

const people = [["1", "Ana"], ["2", "Bo"]];

const loads: Record<string, Case & { rows: (string | null)[][] }> = {
  "commas": { body: "id,name\n1,Ana\n2,Bo\n", rows: people },
  "semicolons": { body: "id;name\n1;Ana\n2;Bo\n", rows: people },
  "tabs": { body: "id\tname\n1\tAna\n2\tBo\n", rows: people },
  "pipes": { body: "id|name\n1|Ana\n2|Bo\n", rows: people },
  "a delimiter that etl.feeds names": { body: "id;x,y\n1;Ana\n", feed: { delimiter: ";" }, rows: [["1", null]] },
  "commas in the values of a semicolon file": { body: "id;name\n1;a,b,c\n", rows: [["1", "a,b,c"]] },
  "a byte order mark": { body: "\ufeffid,name\n1,Ana\n2,Bo\n", rows: people },
  "a byte order mark before a quoted header": { body: '\ufeff"id","name"\n1,Ana\n2,Bo\n', rows: people },
  "CRLF": { body: "id,name\r\n1,Ana\r\n2,Bo\r\n", rows: people },
  "lone CR": { body: "id,name\r1,Ana\r2,Bo\r", rows: people },
  "no line end at the end": { body: "id,name\n1,Ana\n2,Bo", rows: people },
  "trailing blank lines": { body: "id,name\n1,Ana\n2,Bo\n\n\n", rows: people },
  "trailing blank lines, CRLF": { body: "id,name\r\n1,Ana\r\n2,Bo\r\n\r\n\r\n", rows: people },
  "a quoted header": { body: '"id","name"\n1,Ana\n2,Bo\n', rows: people },
  "a quoted header, semicolons": { body: '"id";"name"\n1;Ana\n2;Bo\n', rows: people },
  "a delimiter and a line end in a quoted header": { body: 'id,"a,\n;b",name\n1,,Ana\n2,,Bo\n', rows: people },
  "quotes in every field": { body: '"id","name"\n"1","Ana"\n"2","Bo"', rows: people },
  "doubled quotes": { body: 'id,name\n1,"""Ana"""\n2,""""\n', rows: [["1", '"Ana"'], ["2", '"']] },
  "a delimiter in quotes": { body: 'id,name\n1,"a,b"\n', rows: [["1", "a,b"]] },
  "line ends in quotes": { body: 'id,name\n1,"a\nb\r\n\rc"\n2,"\n"\n', rows: [["1", "a\nb\r\n\rc"], ["2", "\n"]] },
  "empty and quoted empty": { body: 'id,name\n1,\n2,""\n', rows: [["1", null], ["2", ""]] },
  "spaces are kept": { body: "id,name\n 1, Ana \n", rows: [[" 1", " Ana "]] },
  "backslashes are kept": { body: "id,name\n1,\\N\n2,a\\\n", rows: [["1", "\\N"], ["2", "a\\"]] },
  "a name that is blank": { body: "id,,name\n1,,Ana\n2,x,Bo\n", rows: people },
  "the header alone": { body: "id,name\n", rows: [] },
  "the header alone, no line end": { body: "id,name", rows: [] },
  "\\. within a line": { body: "id,name\n\\.,Ana\n2,\\.\n", rows: [["2", "\\."], ["\\.", "Ana"]] },
  "\\. on a line of its own inside quotes": { body: 'id,name\n1,"a\n\\.\nb"\n', rows: [["1", "a\n\\.\nb"]] },
  "\\. quoted, in a file of one column": { body: 'id\n1\n"\\."\n2\n', rows: [["1", null], ["2", null], ["\\.", null]] },
  "\\. in a file of one column": { body: "id\n1\n\\.\n2\n", rows: [["1", null], ["2", null], ["\\.", null]] },
  "LF, then CRLF": { body: "id,name\n1,Ana\n2,Bo\r\n3,Cy\n", rows: [...people, ["3", "Cy"]] },
  "CRLF, then LF": { body: "id,name\r\n1,Ana\n2,Bo\r\n", rows: people },
  "LF, then CRLF after a quote": { body: 'id,name\n1,"Ana"\r\n"2","Bo"\r\n', rows: people },
  "CR alone at the end": { body: "id,name\n1,Ana\n2,Bo\r", rows: people },
  "windows-1252": {
    body: bytes("id,name\n1,D", [0xed], "az ", [0x80], "\n"),
    feed: { encoding: "windows-1252" },
    rows: [["1", "Díaz €"]],
  },
  "utf-16le with a byte order mark": {
    body: new Uint8Array(Uint16Array.from("\ufeffid,name\n1,Díaz €\n", (c) => c.charCodeAt(0)).buffer),
    feed: { encoding: "utf-16le" },
    rows: [["1", "Díaz €"]],
  },
  "a .gz file": { body: bytes(gzipSync("id,name\n1,Ana\n2,Bo\n")), rows: people },
  "a .gz file of two members": { body: bytes(gzipSync("id,name\n1,Ana\n"), gzipSync("2,Bo\n")), rows: people },
  "content-encoding gzip": {
    body: bytes(gzipSync("id,name\n1,Ana\n2,Bo\n")),
    headers: { "content-encoding": "gzip" },
    rows: people,
  },
  "content-encoding gzip, two members": {
    body: bytes(gzipSync("id,name\n1,Ana\n"), gzipSync("2,Bo\n")),
    headers: { "content-encoding": "gzip" },
    rows: people,
  },
};

const gzipped = gzipSync("id,name\n" + Array.from({ length: 9999 }, (_, i) => `${i},${i * 7919 % 10007}\n`).join(""));

/** Deno 2.1 takes a content encoding off by itself, whatever was asked for. */
const unpackedByFetch = Deno.version.deno.startsWith("2.1.");

const refused: Record<string, Case & { code: string; message: string | RegExp }> = {
  "a quote within the header": { body: 'id,na"me\n1,Ana\n', code: "header", message: /^a quote in its header/ },
  "a quote not closed in the header": { body: 'id,"name\n1,Ana\n', code: "header", message: /^a quote in its header/ },
  "text after a quote in the header": {
    body: '"id"x,name\n1,Ana\n',
    code: "header",
    message: /^a quote in its header/,
  },
  "a header naming a column twice": { body: "id,name,id\n1,Ana,2\n", code: "columns", message: /a column twice: id$/ },
  "a blank header line": { body: "\nid,name\n1,Ana\n", code: "header", message: /header line is blank/ },
  "a header without the key": { body: "name\nAna\n", code: "columns", message: /lacks the key or required column id/ },
  "a NUL in the header": { body: "id,na\0me\n1,Ana\n", code: "encoding", message: /holds a NUL/ },
  "a header that is not UTF-8": { body: bytes("id,na", [0xff], "me\n1,Ana\n"), code: "encoding", message: /not UTF-8/ },
  "nothing at all": { body: "", code: "empty", message: /the body is empty/ },
  "nothing but white space": { body: "\n \r\n".repeat(999), code: "empty", message: /the body is empty/ },
  "\\. in place of the header": { body: "\\.\n1\n", code: "columns", message: /none of its 1 names is a column/ },
  "an encoding that is none": {
    body: "id\n1\n",
    feed: { encoding: "latin-9000" },
    code: "encoding",
    message: /latin-9000/,
  },
  "not in its encoding": {
    body: bytes("id,name\n1,", [0x81, 0xff], "\n"),
    feed: { encoding: "shift_jis" },
    code: "encoding",
    message: /it is not shift_jis/,
  },
  "a .gz file cut short": { body: bytes(gzipped.subarray(0, -9)), code: "gzip", message: /broken or cut short/ },
  "a .gz file with a flipped bit": { body: bytes(gzipped.with(-6, 7)), code: "gzip", message: /broken or cut short/ },
  "a .gz file with text behind it": { body: bytes(gzipped, "2,Bo\n"), code: "gzip", message: /broken or cut short/ },
  "content-encoding gzip, cut short": {
    body: bytes(gzipped.subarray(0, -9)),
    headers: { "content-encoding": "gzip" },
    code: unpackedByFetch ? "cut_short" : "gzip",
    message: /cut short/,
  },
  "a content encoding that we do not know": {
    body: "id\n1\n",
    headers: { "content-encoding": "zstd" },
    code: "content_encoding",
    message: /zstd/,
  },
};

/** Records that are rejected: record number, raw text, how the reason reads, SQLSTATE; and the rows that load. */
const rejected: Record<
  string,
  Case & { rows: (string | null)[][]; rejects: [number, string | null, string | RegExp, string][] }
> = {
  "a quote that is not closed": {
    body: 'id,name\n1,"Ana\n2,Bo\n3,Cy\n',
    rows: [["2", "Bo"], ["3", "Cy"]],
    rejects: [[1, '1,"Ana', "has a quote that is not closed", "22P04"]],
  },
  "a quote that is not closed, after a field of three lines": {
    body: 'id,name\r\n1,"A\r\nn\r\na"\r\n2,"Bo\r\n\r\n',
    rows: [["1", "A\r\nn\r\na"]],
    rejects: [[2, '2,"Bo', "has a quote that is not closed", "22P04"]],
  },
  "a quote that is not closed, and blank lines before others": {
    body: 'id,name\n1,"Ana\n\n2,Bo\n',
    rows: [["2", "Bo"]],
    rejects: [[1, '1,"Ana', "has a quote that is not closed", "22P04"], [2, "", "is a blank line", "22P04"]],
  },
  "a lone quote at the end": {
    body: 'id,name\n1,"',
    rows: [],
    rejects: [[1, '1,"', "has a quote that is not closed", "22P04"]],
  },
  "a quote within a field": {
    body: 'id,name\n1,Ana\n2,5" wide\n3,6" wide\n4,Bo\n',
    rows: [["1", "Ana"], ["4", "Bo"]],
    rejects: [
      [2, '2,5" wide', "has a quote within a field that is not quoted", "22P04"],
      [3, '3,6" wide', "has a quote within a field that is not quoted", "22P04"],
    ],
  },
  "a quote after a space": {
    body: 'id,name\n1, "Ana"\n',
    rows: [],
    rejects: [[1, '1, "Ana"', "has a quote within a field that is not quoted", "22P04"]],
  },
  "text after a closing quote, on its line or a later one": {
    body: 'id,name\n1,"Ana" Maria\n2,"Bo\nor" Bob\n3,Cy\n',
    rows: [["3", "Cy"]],
    rejects: [
      [1, '1,"Ana" Maria', "has text after a closing quote", "22P04"],
      [2, '2,"Bo', "has text after a closing quote", "22P04"],
      [3, 'or" Bob', "has a quote within a field that is not quoted", "22P04"],
    ],
  },
  "a NUL": {
    body: "id,name\n1,Ana\n2,B\0o\n",
    rows: [["1", "Ana"]],
    rejects: [[2, "2,B\ufffdo", "holds a NUL byte", "22021"]],
  },
  "bytes that are not UTF-8": {
    body: bytes("id,name\n1,Ana\n2,B", [0xff], "\n3,Díaz\n"),
    rows: [["1", "Ana"], ["3", "Díaz"]],
    rejects: [[2, "2,B\ufffd", "is not UTF-8", "22021"]],
  },
  "UTF-8 cut in the middle of a character": {
    body: bytes("id,name\n1,D", [0xc3], "\n2,", [0xa9], "\n"),
    rows: [],
    rejects: [[1, "1,D\ufffd", "is not UTF-8", "22021"], [2, "2,\ufffd", "is not UTF-8", "22021"]],
  },
  "UTF-8 as it must not be: half a surrogate pair, an overlong slash": {
    body: bytes("id,name\n1,", [0xed, 0xa0, 0x80], "\n2,", [0xc0, 0xaf], "\n"),
    rows: [],
    rejects: [[1, "1,\ufffd\ufffd\ufffd", "is not UTF-8", "22021"], [2, "2,\ufffd\ufffd", "is not UTF-8", "22021"]],
  },
  "\\. on a line of its own": {
    body: "id,name\n1,Ana\n\\.\n2,Bo\n",
    rows: people,
    rejects: [[2, "\\.", "has 1 field where the header has 2", "22P04"]],
  },
  "a blank line": {
    body: "id,name\n1,Ana\n\n2,Bo\n\n",
    rows: people,
    rejects: [[2, "", "is a blank line", "22P04"]],
  },
  "blank lines, CRLF": {
    body: "id,name\r\n\r\n1,Ana\r\n\r\n2,Bo",
    rows: people,
    rejects: [[1, "", "is a blank line", "22P04"], [3, "", "is a blank line", "22P04"]],
  },
  "a blank line in a file of one column": {
    body: "id\n1\n\n2\n",
    rows: [["1", null], ["2", null]],
    rejects: [[2, "", "is a blank line", "22P04"]],
  },
  "too few fields": {
    body: "id,name\n1,Ana\n2\n",
    rows: [["1", "Ana"]],
    rejects: [[2, "2", "has 1 field where the header has 2", "22P04"]],
  },
  "too many fields, over two lines": {
    body: 'id,name\n1,Ana,"x\ny"\n2,Bo\n',
    rows: [["2", "Bo"]],
    rejects: [[1, '1,Ana,"x\ny"', "has 3 fields where the header has 2", "22P04"]],
  },
  "half a line end": {
    body: "id,name\n1,A\rna\n2,Bo\n",
    rows: [["2", "Bo"]],
    rejects: [[1, "1,A\rna", "has half a line end within a field that is not quoted", "22P04"]],
  },
  "CR, then LF": {
    body: "id,name\r1,Ana\n2,Bo\r3,Cy\r",
    rows: [["3", "Cy"]],
    rejects: [[1, "1,Ana\n2,Bo", "has half a line end within a field that is not quoted", "22P04"]],
  },
  "a byte order mark in the middle": {
    body: "id,name\n1,Ana\n\ufeffid,name,x\n2,Bo\n",
    rows: people,
    rejects: [[2, "\ufeffid,name,x", "has 3 fields where the header has 2", "22P04"]],
  },
  "a header that repeats": {
    body: "id,name\n1,Ana\nid,name\n2,Bo\n",
    rows: people,
    rejects: [[2, null, "repeats the header line", "22P04"]],
  },
  "every record": {
    body: "id,name\n1\n2,B\0o\n",
    rows: [],
    rejects: [[1, "1", /field/, "22P04"], [2, "2,B\ufffdo", /NUL/, "22021"]],
  },
};

async function things(): Promise<Database> {
  const db = await freshDatabase();
  await db.query("create table public.things (id text primary key, name text)");
  return db;
}

/** Loads it into an empty table, whatever was there before. */
async function loadCase(db: Database, web: Web, { body, headers, feed }: Case, rejectLimit: number) {
  web.files["/things"] = () => new Response(body as BodyInit, { headers });
  await db.query("truncate public.things; delete from etl.feeds where name = 'things'");
  await db.feed("things", { url: `${web.url}/things`, format: "csv", reject_limit: rejectLimit, ...feed });
  return await db.loadOne("things");
}

const rowsIn = async (db: Database) =>
  (await db.query('select id, name from public.things order by id collate "C"')).map(({ id, name }) => [id, name]);

Deno.test("files that load, exactly", async (t) => {
  await using db = await things();
  await using web = serve({});
  for (const [name, given] of Object.entries(loads)) {
    await t.step(name, async () => {
      const report = await loadCase(db, web, given, 0);
      assert.equal(report.error, null);
      assert.deepEqual([report.read, report.inserted], [given.rows.length, given.rows.length]);
      assert.deepEqual(await rowsIn(db), given.rows);
    });
  }
});

Deno.test("records that are rejected, while the others load", async (t) => {
  await using db = await things();
  await using web = serve({});
  for (const [name, given] of Object.entries(rejected)) {
    await t.step(name, async () => {
      const report = await loadCase(db, web, given, 1);
      assert.equal(report.error, null);
      const { rows, rejects } = given;
      assert.deepEqual([report.inserted, report.rejected, report.duplicate], [rows.length, rejects.length, 0]);
      assert.equal(report.read, rows.length + rejects.length);
      assert.deepEqual(await rowsIn(db), rows);
      const found = await db.query("select * from etl.rejects order by record_number");
      assert.deepEqual(
        found.map((row) => [Number(row.record_number), row.raw, row.sqlstate]),
        rejects.map(([number, raw, , sqlState]) => [number, raw, sqlState]),
      );
      for (const [i, [, , reason]] of rejects.entries()) {
        if (typeof reason === "string") assert.equal(found[i].reason, reason);
        else assert.match(found[i].reason, reason);
      }
      assert.equal(
        (await loadCase(db, web, given, 0)).error?.code,
        "too_many_rejects",
        "above the limit nothing loads",
      );
      assert.deepEqual(await rowsIn(db), []);
    });
  }
});

Deno.test("files that are refused, with the reason and nothing of their content", async (t) => {
  await using db = await things();
  await using web = serve({});
  for (const [name, given] of Object.entries(refused)) {
    await t.step(name, async () => {
      const { status, error } = await loadCase(db, web, given, 1);
      assert.equal(status, "failed");
      assert.equal(error!.code, given.code, error!.message);
      const message = error!.message.replace("Cannot load things: ", "");
      if (typeof given.message === "string") assert.equal(message, given.message);
      else assert.match(message, given.message);
      assert.ok(error!.hint, "there is a way out");
      assert.doesNotMatch(error!.message + error!.hint, /Ana|Bo\b|wide/);
      assert.deepEqual(await rowsIn(db), []);
      assert.deepEqual(await db.query("select * from etl.rejects"), []);
    });
  }
});

/** What the loader makes of a body that arrives in chunks of this size: the bytes for COPY, or the refusal. */
async function rowsOf(body: Uint8Array, size: number, feed: Record<string, unknown> = {}): Promise<string> {
  async function* arriving() {
    for (let i = 0; i < body.length; i += size) yield body.slice(i, i + size);
  }
  try {
    const settings = { format: "csv", delimiter: null, encoding: "utf-8", ...feed } as const;
    const { header, delimiter, chunks, records } = await openRows(
      await openText(arriving(), settings.encoding),
      settings,
    );
    const sent: Uint8Array[] = [];
    for await (const chunk of chunks) sent.push(chunk.slice());
    return JSON.stringify([
      header,
      delimiter,
      new TextDecoder("latin1").decode(bytes(...sent)).replaceAll(records.sentinel, "SENTINEL"),
    ]);
  } catch (error) {
    assert.ok(error instanceof EtlError, String(error));
    return `${error.code}: ${error.message}`;
  }
}

Deno.test("how the network cuts a file does not matter", async () => {
  for (const [name, { body, feed }] of Object.entries({ ...loads, ...rejected, ...refused })) {
    const all = bytes(body);
    const whole = await rowsOf(all, Infinity, feed);
    for (const size of all.length < 5000 ? [1, 2, 3, 7] : [997]) {
      assert.equal(await rowsOf(all, size, feed), whole, name);
    }
  }
});
