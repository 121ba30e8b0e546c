/** What a zip archive says of its members, by PKWARE's APPNOTE 6.3.10: before each, behind it, and in its directory. */

/** A member; its sizes and its checksum are null where they only stand behind it. */
export interface Member {
  /** As it stands in the archive: mostly, but not always, UTF-8. */
  name: Uint8Array;
  isEncrypted: boolean;
  /** Whether its sizes and checksum stand behind it. */
  isDescribed: boolean;
  method: number;
  sums: Sums | null;
}

export interface Sums {
  crc: number;
  packed: number;
  size: number;
}

export const localHeader = 0x04034b50, directoryHeader = 0x02014b50, localLength = 30;
const directoryEnd = 0x06054b50, bigDirectoryEnd = 0x06064b50, descriptor = 0x08074b50;
const directoryLength = 46, endLength = 22, bigEndLength = 56, locatorLength = 20;
const isBig = 0xffffffff;

/** With a signature or without, with long sizes or short ones. */
const descriptors = [
  { length: 24, isSigned: true, isLong: true },
  { length: 16, isSigned: true, isLong: false },
  { length: 20, isSigned: false, isLong: true },
  { length: 12, isSigned: false, isLong: false },
];
export const longestDescriptor = 24;

/** Whether the members are over where this stands. */
export function isDirectory(signature: number): boolean {
  return [directoryHeader, directoryEnd, bigDirectoryEnd].includes(signature);
}

export function wordAt(bytes: Uint8Array, at: number): number {
  return view(bytes).getUint32(at, true);
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function longAt(bytes: Uint8Array, at: number): number {
  return Number(view(bytes).getBigUint64(at, true));
}

/** The length of a local header, whose first 30 bytes these are. */
export function lengthOfHeader(header: Uint8Array): number {
  return localLength + view(header).getUint16(26, true) + view(header).getUint16(28, true);
}

/** A whole local header. */
export function memberAt(header: Uint8Array): Member {
  const of = view(header), flags = of.getUint16(6, true), name = localLength + of.getUint16(26, true);
  const sums = sumsAt(header, 14, header.subarray(name));
  const isDescribed = (flags & 8) !== 0;
  return {
    name: header.slice(localLength, name),
    isEncrypted: (flags & 1) !== 0,
    isDescribed,
    method: of.getUint16(8, true),
    sums: isDescribed && sums.packed === 0 ? null : sums,
  };
}

/** The checksum and the sizes, which stand among the extra fields where they are too big. */
function sumsAt(header: Uint8Array, at: number, extra: Uint8Array): Sums {
  const sums = { crc: wordAt(header, at), packed: wordAt(header, at + 4), size: wordAt(header, at + 8) };
  for (let i = 0; i + 4 <= extra.length;) {
    const id = view(extra).getUint16(i, true), end = i + 4 + view(extra).getUint16(i + 2, true);
    i += 4;
    if (id === 1 && end <= extra.length) {
      for (const field of ["size", "packed"] as const) {
        if (sums[field] !== isBig || i + 8 > end) continue;
        sums[field] = longAt(extra, i);
        i += 8;
      }
    }
    i = end;
  }
  return sums;
}

/** Where the next header of a member, or of the directory, is from `from` on; -1 where none is. */
export function nextHeader(bytes: Uint8Array, from: number): number {
  for (let at = from;; at++) {
    at = bytes.indexOf(0x50, at);
    if (at < 0 || at + 4 > bytes.length) return -1;
    if ([localHeader, directoryHeader].includes(wordAt(bytes, at))) return at;
  }
}

/** The descriptor that ends at `end`, if it is of data that begin `passed` bytes before `bytes`; null where none does. */
export function descriptorBefore(bytes: Uint8Array, end: number, passed: number): { start: number; sums: Sums } | null {
  for (const { length, isSigned, isLong } of descriptors) {
    const start = end - length, at = isSigned ? start + 4 : start;
    if (start < 0 || (isSigned && wordAt(bytes, start) !== descriptor)) continue;
    const packed = isLong ? longAt(bytes, at + 4) : wordAt(bytes, at + 4);
    if (packed !== passed + start) continue;
    const size = isLong ? longAt(bytes, at + 12) : wordAt(bytes, at + 8);
    return { start, sums: { crc: wordAt(bytes, at), packed, size } };
  }
  return null;
}

/** What an archive says at its end. */
export interface Directory {
  count: number;
  /** Null where it is too long to be at hand. */
  members: { name: Uint8Array; sums: Sums }[] | null;
}

/** Reads the directory at the end of these bytes, the archive's last; null where there is none, as in an archive cut short. */
export function directoryIn(bytes: Uint8Array): Directory | null {
  let end = bytes.length - endLength;
  const isEnd = (at: number) =>
    wordAt(bytes, at) === directoryEnd && at + endLength + view(bytes).getUint16(at + 20, true) <= bytes.length;
  while (end >= 0 && !isEnd(end)) end--;
  if (end < 0) return null;
  let count = view(bytes).getUint16(end + 10, true), size = wordAt(bytes, end + 12);
  const big = end - locatorLength - bigEndLength;
  if (big >= 0 && wordAt(bytes, big) === bigDirectoryEnd) {
    [count, size, end] = [longAt(bytes, big + 32), longAt(bytes, big + 40), big];
  }
  let at = end - size;
  if (at < 0) return { count, members: null };
  const members: Directory["members"] = [];
  while (at + directoryLength <= end && wordAt(bytes, at) === directoryHeader) {
    const of = view(bytes), name = at + directoryLength, extra = name + of.getUint16(at + 28, true);
    const next = extra + of.getUint16(at + 30, true);
    const header = bytes.subarray(at, next);
    members.push({ name: bytes.slice(name, extra), sums: sumsAt(header, 16, bytes.subarray(extra, next)) });
    at = next + of.getUint16(at + 32, true);
  }
  return at === end && members.length === count ? { count, members } : null;
}
