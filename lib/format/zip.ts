/**
 * A zip archive, as it arrives -> the one file in it that is wanted.
 *
 * Each member stands behind a header of its own, and all of them are listed in the directory at the archive's end. The
 * member is passed on when it comes; once the archive has ended, the directory says whether it is the right one.
 */
import { EtlError } from "../errors.ts";
import { gunzipMember } from "./gunzip.ts";
import { noTable } from "./kinds.ts";
import { concat } from "./peekable.ts";
import * as headers from "./zip_headers.ts";
import type { Directory, Member } from "./zip_headers.ts";

/** Bytes at the archive's end in which its directory is looked for: 10,000 members' and more. */
const longestDirectory = 1 << 20;

/** Bytes in which a second file is looked for before the first is passed on. */
const lookahead = 1 << 20;

/** Members whose names an error lists, and how much of each. */
const mostNamed = 10, longestName = 100;

const stored = 0, deflated = 8;
const methods: Record<number, string> = {
  9: "deflate64",
  12: "bzip2",
  14: "LZMA",
  93: "zstd",
  95: "xz",
  98: "PPMd",
  99: "AES",
};

/** `fragment`: of the feed's URL, with the member's name; null: it has one file alone. */
export async function* unzip(
  archive: AsyncIterable<Uint8Array>,
  ratio: number,
  fragment: string | null,
): AsyncGenerator<Uint8Array> {
  const wanted = fragment === null ? null : bytesOf(fragment);
  const reader = new Reader(archive);
  let found: Member | null = null;
  for (let member; !found && (member = await nextMember(reader));) {
    if (wanted ? isSame(member.name, wanted) : isFile(member.name)) found = member;
    else for await (const _ of dataOf(reader, member));
  }
  if (found && !wanted) refuseOffice([found.name]);
  if (found && (wanted || !await isFollowed(reader, found))) {
    refuseMethod(found);
    yield* gunzipMember(asGzip(reader, found), ratio, shown(found.name));
  }
  await reader.drain();
  const directory = headers.directoryIn(reader.end);
  if (!directory) throw damaged("is cut short: its directory is missing");
  check(directory, found, wanted);
}

/** The archive's bytes, taken off its beginning. */
class Reader {
  #source: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array();
  /** The last bytes of all that has come, the newest at the end. */
  #last = new Uint8Array(longestDirectory);
  #received = 0;

  constructor(archive: AsyncIterable<Uint8Array>) {
    this.#source = archive[Symbol.asyncIterator]();
  }

  /** Where it is. */
  get at(): number {
    return this.#received - this.#rest.length;
  }

  get end(): Uint8Array {
    return this.#last.subarray(Math.max(0, longestDirectory - this.#received));
  }

  /** What is at hand: so many bytes or more, fewer at the end. Valid until the next is asked for. */
  async peek(bytes: number): Promise<Uint8Array> {
    while (this.#rest.length < bytes && await this.#receive());
    return this.#rest;
  }

  /** Takes so many bytes off. */
  async take(bytes: number): Promise<Uint8Array> {
    const rest = await this.peek(bytes);
    if (rest.length < bytes) throw damaged("is cut short");
    this.#rest = rest.subarray(bytes);
    return rest.subarray(0, bytes);
  }

  async drain(): Promise<void> {
    do this.#rest = new Uint8Array(); while (await this.#receive());
  }

  async #receive(): Promise<boolean> {
    const kept = this.#rest.slice();
    const { done, value } = await this.#source.next();
    this.#rest = done || kept.length > 0 ? concat([kept, value ?? new Uint8Array()]) : value;
    if (done) return false;
    this.#received += value.length;
    const newest = value.subarray(-longestDirectory);
    this.#last.copyWithin(0, newest.length);
    this.#last.set(newest, longestDirectory - newest.length);
    return true;
  }
}

/** The header that comes next; null where the directory does. */
async function nextMember(reader: Reader): Promise<Member | null> {
  const { at } = reader;
  const first = await reader.peek(headers.localLength);
  const signature = first.length < 4 ? null : headers.wordAt(first, 0);
  if (signature !== null && headers.isDirectory(signature)) return null;
  if (signature === null || first.length < headers.localLength) throw damaged("is cut short");
  if (signature !== headers.localHeader) throw damaged(`cannot be read at byte ${at}`);
  return headers.memberAt(await reader.take(headers.lengthOfHeader(first)));
}

/**
 * Whether a further file can be seen behind the data that come next. The directory would tell as well, but only after a
 * file that is the wrong one has been read and refused for what is in it.
 */
async function isFollowed(reader: Reader, { sums }: Member): Promise<boolean> {
  const bytes = await reader.peek(lookahead);
  let at = headers.nextHeader(bytes, sums?.packed ?? 0);
  while (at >= 0 && !sums && !headers.descriptorBefore(bytes, at, 0)) at = headers.nextHeader(bytes, at + 1);
  const header = at < 0 ? new Uint8Array() : bytes.subarray(at);
  const isWhole = header.length >= headers.localLength && header.length >= headers.lengthOfHeader(header);
  return isWhole && headers.wordAt(header, 0) === headers.localHeader && isFile(headers.memberAt(header).name);
}

/** The member's data, packed. Once it is read, the reader stands before the next header, and the member has its sums. */
async function* dataOf(reader: Reader, member: Member): AsyncGenerator<Uint8Array> {
  if (!member.sums) return yield* dataToDescriptor(reader, member);
  for (let left = member.sums.packed; left > 0;) {
    const { length } = await reader.peek(1);
    if (length === 0) throw damaged("is cut short");
    const piece = await reader.take(Math.min(left, length));
    left -= piece.length;
    yield piece;
  }
  if (member.isDescribed) await readDescriptor(reader, member);
}

/** The data up to the next header, where a descriptor before it counts as many bytes. */
async function* dataToDescriptor(reader: Reader, member: Member): AsyncGenerator<Uint8Array> {
  let passed = 0;
  for (let bytes = await reader.peek(1);;) {
    for (let at = headers.nextHeader(bytes, 0); at >= 0; at = headers.nextHeader(bytes, at + 1)) {
      const isEmptyFolder = at === 0 && passed === 0 && !isFile(member.name);
      const found = headers.descriptorBefore(bytes, at, passed) ?? (isEmptyFolder ? noDescriptor : null);
      if (!found) continue;
      member.sums = found.sums;
      return yield (await reader.take(at)).subarray(0, found.start);
    }
    // What is left may be the beginning of a descriptor with a header behind it.
    const sure = bytes.length - headers.longestDescriptor - 3;
    if (sure > 0) {
      passed += sure;
      yield await reader.take(sure);
    }
    const { length } = bytes = await reader.peek(0);
    bytes = await reader.peek(length + 1);
    if (bytes.length === length) throw damaged("is cut short, or does not say how long a file in it is");
  }
}

const noDescriptor = { start: 0, sums: { crc: 0, packed: 0, size: 0 } };

/** Data whose length is known may have a descriptor behind them all the same, and the checksum only there. */
async function readDescriptor(reader: Reader, member: Member): Promise<void> {
  const bytes = await reader.peek(headers.longestDescriptor + 4);
  const at = headers.nextHeader(bytes, 0);
  const found = at < 0 ? null : headers.descriptorBefore(bytes, at, member.sums!.packed);
  if (found?.start !== 0 && at !== 0) throw damaged("is cut short");
  if (found) member.sums = found.sums;
  await reader.take(at);
}

/** A member is gzip but for the header and the end: with these, zlib checks the data. */
async function* asGzip(reader: Reader, member: Member): AsyncGenerator<Uint8Array> {
  yield Uint8Array.of(0x1f, 0x8b, deflated, 0, 0, 0, 0, 0, 0, 0xff);
  for await (const piece of dataOf(reader, member)) {
    if (member.method === deflated) yield piece;
    else yield* asBlocks(piece);
  }
  if (member.method === stored) yield lastBlock;
  const { crc, size } = member.sums!;
  const end = new DataView(new ArrayBuffer(8));
  end.setUint32(0, crc, true);
  end.setUint32(4, size % 2 ** 32, true);
  yield new Uint8Array(end.buffer);
}

const longestBlock = 65535;
const lastBlock = Uint8Array.of(1, 0, 0, 0xff, 0xff);

/** Bytes as deflate has them where it packs nothing. */
function* asBlocks(bytes: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += longestBlock) {
    const block = bytes.subarray(at, at + longestBlock), { length } = block;
    yield concat([Uint8Array.of(0, length, length >> 8, ~length, ~length >> 8), block]);
  }
}

/** Whether the directory agrees that this is what is wanted. */
function check({ members, count }: Directory, found: Member | null, wanted: Uint8Array | null): void {
  const files = members?.filter(({ name }) => wanted ? isSame(name, wanted) : isFile(name));
  if (!wanted) {
    if (files) refuseOffice(members!.map(({ name }) => name));
    if (files?.length === 0) throw noMember("its zip archive has no file in it", "Ask the partner.");
    const number = files?.length ?? count;
    if (number > 1) throw noMember(`its zip archive has ${number} files`, listed(members));
  } else if (files?.length === 0 || !found) {
    throw noMember(`its zip archive has no file ${shown(wanted)}`, listed(members));
  } else if (files && files.length > 1) {
    throw noMember(`its zip archive has the file ${shown(wanted)} twice`, "Ask the partner to have it mended.");
  }
  if (!files) return;
  const { crc, packed, size } = files[0].sums, sums = found?.sums;
  if (sums?.crc === crc && sums.packed === packed && sums.size === size) return;
  throw damaged(`says another thing of ${shown(files[0].name)} in its directory`);
}

function listed(members: Directory["members"]): string {
  const names = (members ?? []).map(({ name }) => name).filter(isFile).map(shown);
  const more = names.length > mostNamed ? `, and ${names.length - mostNamed} more` : "";
  const them = names.length > 0 ? ` It has ${names.slice(0, mostNamed).join(", ")}${more}.` : "";
  return `Name the file behind the URL in etl.feeds.url, as in #${names[0] ?? "stops.txt"}.${them}`;
}

function refuseOffice(names: Uint8Array[]): void {
  for (const name of names.map(shown)) {
    if (/^(%5BContent_Types%5D\.xml$|_rels\/|docProps\/|xl\/)/.test(name)) throw noTable("an Excel workbook (.xlsx)");
    if (name === "mimetype") throw noTable("an OpenDocument file, as a spreadsheet (.ods)");
  }
}

function refuseMethod({ name, method, isEncrypted }: Member): void {
  const how = isEncrypted
    ? "is encrypted"
    : method !== stored && method !== deflated
    ? `is packed by ${methods[method] ?? `method ${method}`}`
    : null;
  if (!how) return;
  const hint = "Ask the partner for an archive without a password, packed by deflate as is usual.";
  throw new EtlError("zip", `${shown(name)} in its zip archive ${how}`, hint);
}

function damaged(how: string): EtlError {
  return new EtlError("zip", `its zip archive ${how}`, "Try again; if it lasts, the partner's file is damaged.");
}

function noMember(message: string, hint: string): EtlError {
  return new EtlError("zip_member", message, hint);
}

/** Neither a folder nor what macOS and Windows add. */
const noFile = /^__MACOSX\/|[/\\]$|(^|[/\\])(\.DS_Store|\._[^/\\]*|Thumbs\.db|desktop\.ini)$/i;

function isFile(name: Uint8Array): boolean {
  return !noFile.test(new TextDecoder("latin1").decode(name));
}

function isSame(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, i) => byte === other[i]);
}

/** A name as it is written in a URL's fragment. */
function shown(name: Uint8Array): string {
  const letters = Array.from(name.subarray(0, longestName), (byte) => {
    const letter = String.fromCharCode(byte);
    return /[\w.~!$&'()*+,;=:@/-]/.test(letter) ? letter : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  });
  return letters.join("") + (name.length > longestName ? "…" : "");
}

/** The name that a fragment means. */
function bytesOf(fragment: string): Uint8Array {
  const bytes = fragment.replaceAll(
    /%([\da-f]{2})|[^]/giu,
    (letter, code) =>
      code ? String.fromCharCode(parseInt(code, 16)) : String.fromCharCode(...new TextEncoder().encode(letter)),
  );
  return Uint8Array.from(bytes, (letter) => letter.charCodeAt(0));
}
