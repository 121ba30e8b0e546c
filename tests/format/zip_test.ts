/** Zip archives: the file that is wanted arrives exact, whoever made the archive; what cannot be read says why. */
import assert from "node:assert/strict";
import { Uint8ArrayReader, Uint8ArrayWriter, ZipWriter } from "@zip.js/zip.js";
import type { ZipWriterAddDataOptions } from "@zip.js/zip.js";
import { Buffer } from "node:buffer";
import { gzipSync } from "node:zlib";
import { EtlError } from "../../lib/errors.ts";
import { openText } from "../../lib/format/rows.ts";
import { databaseAndWeb } from "../support/given.ts";
import { sampleGtfsFeed } from "../support/packages.ts";
import { type Entry, type Frame, zipped } from "../support/zip.ts";

const csv = "id,name\n1,Ana\n2,Bo\n";
const other = "x".repeat(3000) + "PK\x03\x04 PK\x01\x02 PK\x07\x08";
/** What packs badly: its packed form looks like headers and descriptors. */
const noise = Uint8Array.from(
  { length: 200_000 },
  (_, i) => "PK\x03\x04PK\x01\x02PK\x07\x08"[(i * i) % 12].charCodeAt(0),
);

/** Runs a body through the loader in chunks of this size, in a buffer that is used again. */
async function textOf(body: Uint8Array, member: string | null = null, size = 1 << 19): Promise<Uint8Array> {
  const buffer = new Uint8Array(size);
  async function* arriving() {
    for (let i = 0; i < body.length; i += size) {
      const part = body.subarray(i, i + size);
      buffer.fill(0x50).set(part);
      yield buffer.subarray(0, part.length);
    }
  }
  return new Uint8Array(
    await new Response(ReadableStream.from(copied(await openText(arriving(), "utf-8", undefined, { member }))))
      .arrayBuffer(),
  );
}

async function* copied(chunks: AsyncIterable<Uint8Array>) {
  for await (const chunk of chunks) yield chunk.slice();
}

const utf8 = (text: string) => new TextEncoder().encode(text);

/** Archives of another writer, each with three files and a folder. */
const writers: Record<string, ZipWriterAddDataOptions> = {
  "deflated": { dataDescriptor: false },
  "deflated, with descriptors": { dataDescriptor: true, dataDescriptorSignature: true },
  "deflated, with descriptors without a signature": { dataDescriptor: true, dataDescriptorSignature: false },
  "stored": { level: 0, dataDescriptor: false },
  "stored, with descriptors": { level: 0, dataDescriptor: true, dataDescriptorSignature: true },
  "stored, with descriptors without a signature": { level: 0, dataDescriptor: true, dataDescriptorSignature: false },
  "zip64": { zip64: true, dataDescriptor: false },
  "zip64, with descriptors": { zip64: true, dataDescriptor: true },
  "zip64, stored, with descriptors": { zip64: true, level: 0, dataDescriptor: true },
};

Deno.test("archives by zip.js: each member arrives exact, however the archive is cut", async (t) => {
  const files: Record<string, Uint8Array> = {
    "first.bin": noise,
    "nested.zip": zipped([{ name: "x.csv", data: other, descriptor: "signed" }]),
    "gtfs/stops é.txt": utf8(csv),
    "empty.csv": new Uint8Array(),
    "last.csv": utf8(other),
  };
  for (const [name, options] of Object.entries(writers)) {
    await t.step(name, async () => {
      const writer = new ZipWriter(new Uint8ArrayWriter(), { useWebWorkers: false });
      await writer.add("gtfs/", undefined, { directory: true });
      for (const [name, data] of Object.entries(files)) await writer.add(name, new Uint8ArrayReader(data), options);
      const archive = await writer.close(utf8("a comment"));
      for (const [name, data] of Object.entries(files)) {
        if (name === "nested.zip") continue;
        const member = new URL(`http://x/#${name}`).hash.slice(1);
        for (const size of [1 << 19, 997, ...data.length < 1000 ? [31] : []]) {
          assert.equal(Buffer.compare(await textOf(archive, member, size), data), 0, `${name} by ${size}`);
        }
      }
    });
  }
});

const one: Entry = { name: "a.csv", data: csv };

/** Archives that load: what is in them, and which is wanted. */
const loads: Record<string, { entries: Entry[]; frame?: Frame; member?: string; data?: string }> = {
  "one file": { entries: [one] },
  "one file beside folders, and what macOS adds": {
    entries: [
      { name: "data/", data: "", method: 0 },
      { name: "data\\more\\", data: "", method: 0 },
      { name: "data/a.csv", data: csv },
      { name: "__MACOSX/data/._a.csv", data: other },
    ],
  },
  "one file among what macOS and Windows add": {
    entries: [
      { name: ".DS_Store", data: other },
      { name: "data/.DS_Store", data: other },
      { name: "data\\Thumbs.db", data: other },
      { name: "data/a.csv", data: csv },
      { name: "data/._a.csv", data: other },
      { name: "Desktop.ini", data: other },
    ],
  },
  "what Windows adds, where it is wanted": {
    entries: [{ name: "desktop.ini", data: csv }, one],
    member: "desktop.ini",
  },
  "a name in code page 437": {
    entries: [{ name: "caf\x82.csv", data: csv }, { ...one, data: other }],
    member: "caf%82.csv",
  },
  "a name with a backslash": { entries: [{ name: "data\\a.csv", data: csv }, one], member: "data\\a.csv" },
  "a name with # and %": { entries: [{ name: "a#1%.csv", data: csv }, one], member: "a%231%25.csv" },
  "a comment that looks like an end": { entries: [one], frame: { comment: "PK\x05\x06".repeat(9) } },
  "an end in 64 bits": { entries: [one, { name: "b", data: other }], frame: { isBig: true }, member: "a.csv" },
  "sizes in 64 bits": { entries: [{ name: "b", data: other, isBig: true }, { ...one, isBig: true }], member: "a.csv" },
  "long descriptors": {
    entries: [{ name: "b", data: other, descriptor: "long" }, { ...one, descriptor: "long" }],
    member: "a.csv",
  },
  "long descriptors without a signature": {
    entries: [{ name: "b", data: other, descriptor: "long and bare" }, { ...one, descriptor: "long and bare" }],
    member: "a.csv",
  },
  "descriptors and sizes before them": {
    entries: [{ name: "b", data: other, descriptor: "with sizes" }, { ...one, descriptor: "with sizes" }],
    member: "a.csv",
  },
  "a folder that is said to have a descriptor, and has none": {
    entries: [{ name: "f/", data: "", method: 0, descriptor: "none, though said" }, one],
  },
  "others that are packed in ways that are not known, or encrypted": {
    entries: [{ name: "b", data: other, method: 14 }, { name: "c", data: other, isEncrypted: true }, one],
    member: "a.csv",
  },
  "a file of 3 MB of noise, stored": {
    entries: [{ name: "a.csv", data: "x,y\n" + "0123456789\n".repeat(300_000), method: 0 }],
    data: "x,y\n" + "0123456789\n".repeat(300_000),
  },
};

/** Bodies that are refused: the error's code, its message, and its hint. */
const refused: Record<
  string,
  { body: Uint8Array; member?: string; code: string; message: RegExp; hint?: RegExp }
> = {
  "several files, and none is named": {
    body: zipped(Array.from({ length: 12 }, (_, i) => ({ name: `f ${i}.csv`, data: csv }))),
    code: "zip_member",
    message: /^its zip archive has 12 files$/,
    hint: /as in #f%200\.csv\. It has f%200\.csv, (f%20\d\.csv, ){8}f%209\.csv, and 2 more\.$/,
  },
  "a file that is not there": {
    body: zipped([{ name: "b#.csv", data: csv }]),
    member: "a.csv",
    code: "zip_member",
    message: /^its zip archive has no file a\.csv$/,
    hint: /It has b%23\.csv\.$/,
  },
  "a file there twice": {
    body: zipped([one, { ...one, data: other }]),
    member: "a.csv",
    code: "zip_member",
    message: /^its zip archive has the file a\.csv twice$/,
  },
  "no file": { body: zipped([]), code: "zip_member", message: /has no file in it$/ },
  "what macOS adds alone": {
    body: zipped([{ name: ".DS_Store", data: csv }]),
    code: "zip_member",
    message: /has no file in it$/,
  },
  "a file beside one whose name is much like that of what macOS adds": {
    body: zipped([one, { name: "a.DS_Store", data: csv }]),
    code: "zip_member",
    message: /has 2 files$/,
  },
  "a folder alone": { body: zipped([{ name: "a/", data: "" }]), code: "zip_member", message: /has no file in it$/ },
  "a file that the directory does not have": {
    body: zipped([{ ...one, listed: "not" }, { name: "b.csv", data: other }]),
    member: "a.csv",
    code: "zip_member",
    message: /has no file a\.csv$/,
  },
  "a file that the directory has otherwise": {
    body: zipped([{ ...one, listed: "otherwise" }]),
    code: "zip",
    message: /says another thing of a\.csv in its directory$/,
  },
  "an encrypted file": {
    body: zipped([{ ...one, isEncrypted: true }]),
    code: "zip",
    message: /a\.csv .* is encrypted$/,
  },
  "a file packed by deflate64": {
    body: zipped([{ ...one, method: 9 }]),
    code: "zip",
    message: /is packed by deflate64$/,
  },
  "a file packed by a method that nobody knows": {
    body: zipped([{ ...one, method: 77 }]),
    code: "zip",
    message: /is packed by method 77$/,
  },
  "a wrong checksum": {
    body: zipped([{ ...one, method: 0, spoil: () => utf8(csv.replace("Ana", "Eva")) }]),
    code: "zip",
    message: /^a\.csv in its zip archive is damaged$/,
  },
  "a wrong checksum, in a descriptor": {
    body: zipped([{ ...one, method: 0, descriptor: "signed", spoil: () => utf8(csv.replace("Ana", "Eva")) }]),
    code: "zip",
    message: /^a\.csv in its zip archive is damaged$/,
  },
  "a wrong length": {
    body: zipped([{ ...one, method: 0, spoil: () => utf8(csv + "3") }]),
    code: "zip",
    message: /^a\.csv in its zip archive is damaged$/,
  },
  "no deflate": {
    body: zipped([{ ...one, spoil: (packed) => packed.map((byte) => byte ^ 0xff) }]),
    code: "zip",
    message: /^a\.csv in its zip archive is damaged$/,
  },
  "deflate that ends early": {
    body: zipped([{ ...one, spoil: (packed) => Uint8Array.of(...packed, 1, 2, 3) }]),
    code: "zip",
    message: /^a\.csv in its zip archive is damaged$/,
  },
  "deflate that does not end": {
    body: zipped([{ ...one, spoil: (packed) => packed.subarray(0, -3) }]),
    code: "zip",
    message: /^a\.csv in its zip archive is damaged$/,
  },
  "no header where one should be": {
    body: zipped([one, { name: "b", data: csv }]).map((byte, i) =>
      i === 1 + zipped([one]).indexOf(0x50, 40) ? 0 : byte
    ),
    member: "b",
    code: "zip",
    message: /cannot be read at byte \d+$/,
  },
  "a bomb": {
    body: zipped([{ name: "a.csv", data: "\n".repeat(80 << 20) }]),
    code: "zip_bomb",
    message: /^a\.csv in its zip archive unpacks to more than 250 times its size$/,
  },
  "an Excel workbook": {
    body: zipped([{ name: "[Content_Types].xml", data: "<a/>" }, { name: "xl/workbook.xml", data: "<b/>" }]),
    code: "file_type",
    message: /^it is an Excel workbook \(\.xlsx\)$/,
    hint: /CSV/,
  },
  "an Excel workbook of other order": {
    body: zipped([{ name: "xl/workbook.xml", data: "<b/>" }, { name: "[Content_Types].xml", data: "<a/>" }]),
    code: "file_type",
    message: /^it is an Excel workbook \(\.xlsx\)$/,
  },
  "a spreadsheet of OpenDocument": {
    body: zipped([{ name: "mimetype", data: "application/vnd.oasis.opendocument.spreadsheet", method: 0 }]),
    code: "file_type",
    message: /\(\.ods\)$/,
  },
  "gzip in zip": {
    body: zipped([{ name: "a.csv.gz", data: gzipSync(csv) }]),
    code: "packing",
    message: /^it is packed twice, as gzip within zip$/,
    hint: /as gzip, or in a zip archive/,
  },
  "zip in gzip": {
    body: gzipSync(zipped([one])),
    code: "packing",
    message: /^it is packed twice, as zip within gzip$/,
  },
  "Parquet in zip": {
    body: zipped([{ name: "a.parquet", data: "PAR1\x15\x04" }]),
    code: "file_type",
    message: /^it is a Parquet file$/,
  },
  ...Object.fromEntries(
    ([
      ["\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0\0", "file_type", /an Excel workbook \(\.xls\)$/],
      ["PAR1\x15\x00\x15", "file_type", /a Parquet file$/],
      ["%PDF-1.7\n", "file_type", /a PDF document$/],
      ["ARROW1\0\0", "file_type", /an Arrow file$/],
      ["Obj\x01\x04", "file_type", /an Avro file$/],
      ["SQLite format 3\0\x10", "file_type", /an SQLite database$/],
      ["7z\xbc\xaf\x27\x1c\0\x04", "packing", /packed as 7z$/],
      ["Rar!\x1a\x07\x01\0", "packing", /packed as rar$/],
      ["\xfd7zXZ\0\0\x04", "packing", /packed as xz$/],
      ["BZh91AY&SYxyz", "packing", /packed as bzip2$/],
      ["\x28\xb5\x2f\xfd\x24", "packing", /packed as zstd$/],
      ["PK\x07\x08PK\x03\x04", "packing", /packed as a part of a split zip$/],
      ["a.csv" + "\0".repeat(252) + "ustar\x0000", "packing", /packed as tar$/],
    ] as [string, string, RegExp][]).map(([text, code, message]) => [
      `what begins with ${JSON.stringify(text.slice(0, 8))}`,
      { body: Uint8Array.from(text, (letter) => letter.charCodeAt(0)), code, message },
    ]),
  ),
  "tar in gzip": {
    body: gzipSync("a.csv" + "\0".repeat(252) + "ustar\x0000"),
    code: "packing",
    message: /^it is packed twice, as tar within gzip$/,
  },
};

const failure = async (body: Uint8Array, member: string | null = null, size?: number) => {
  try {
    await textOf(body, member, size);
  } catch (error) {
    assert.ok(error instanceof EtlError, String(error));
    return error;
  }
  assert.fail("it was read");
};

Deno.test("archives of odd spelling load", async (t) => {
  for (const [name, { entries, frame, member = null, data = csv }] of Object.entries(loads)) {
    await t.step(name, async () => {
      for (const size of [1 << 19, ...data.length < 1000 ? [1, 13] : [4099]]) {
        const text = await textOf(zipped(entries, frame), member, size);
        assert.equal(new TextDecoder().decode(text), data, `by ${size}`);
      }
    });
  }
});

Deno.test("what cannot be read is refused in words", async (t) => {
  for (const [name, { body, member, code, message, hint = /\.$/ }] of Object.entries(refused)) {
    await t.step(name, async () => {
      for (const size of [1 << 19, ...body.length < 5000 ? [7] : []]) {
        const error = await failure(body, member, size);
        assert.equal(error.code, code, error.message);
        assert.match(error.message, message);
        assert.match(error.hint!, hint);
      }
    });
  }
});

Deno.test("an archive that is cut short is never taken for a whole one", async () => {
  const archives = [
    zipped([{ name: "b", data: other }, one]),
    zipped([{ name: "b", data: other, descriptor: "signed" }, { ...one, descriptor: "bare" }]),
  ];
  for (const archive of archives) {
    for (let length = 4; length < archive.length; length++) {
      const { code, message } = await failure(archive.subarray(0, length), "a.csv");
      assert.equal(code, "zip", `${length} of ${archive.length}`);
      assert.match(message, /is cut short|is damaged|cannot be read/);
    }
  }
});

Deno.test("CSV that begins like something else is CSV", async () => {
  for (const text of ["PK,a\n1,2\n", "PAR1,PAR2\n1,2\n", "BZh,1\n", "%PDF,a\n", "7z,a\n", "Rar!,a\n", "Obj,a\n"]) {
    assert.equal(new TextDecoder().decode(await textOf(utf8(text))), text);
  }
});

Deno.test("a transit feed comes as one archive, a feed for each file", async () => {
  await using given = await databaseAndWeb(`
    create table public.stops (stop_id text primary key, stop_name text, stop_lat numeric, stop_lon numeric);
    create table public.frequencies (trip_id text, start_time interval, end_time interval, headway_secs int, primary key (trip_id, start_time));
  `);
  const { db, web } = given;
  const files: Record<string, string> = {};
  for await (const { name } of Deno.readDir(new URL("gtfs/", sampleGtfsFeed))) {
    if (name.endsWith(".txt")) files[name] = await Deno.readTextFile(new URL(`gtfs/${name}`, sampleGtfsFeed));
  }
  assert.ok(Object.keys(files).length > 8);
  const archive = (files: Record<string, string>) =>
    zipped(Object.entries(files).map(([name, data]) => ({ name, data, descriptor: "signed" })));
  web.files["/gtfs.zip"] = archive(files);
  for (const name of ["stops", "frequencies"]) await db.feed(name, { url: `${web.url}/gtfs.zip#${name}.txt` });
  const both = { feeds: ["stops", "frequencies"] };
  const { feeds } = await db.load(both);
  const lines = (name: string) => files[`${name}.txt`].trim().split("\n").length - 1;
  assert.deepEqual(feeds.map(({ feed, inserted, error }) => [feed, inserted, error]), [
    ["frequencies", lines("frequencies"), null],
    ["stops", lines("stops"), null],
  ]);
  files["agency.txt"] += "\n";
  web.files["/gtfs.zip"] = archive(files);
  assert.equal((await db.load(both)).status, "unchanged", "another member has changed");
  await db.feed("stops", { url: `${web.url}/gtfs.zip` });
  const { error } = await db.loadOne("stops");
  assert.match(error!.message, /^Cannot load stops: its zip archive has \d+ files$/);
});
