/** Zip archives of every spelling, those included that no usual tool writes. By PKWARE's APPNOTE. */
import { deflateRawSync } from "node:zlib";

export interface Entry {
  /** A character a byte. */
  name: string;
  data: string | Uint8Array;
  /** 0 stored, 8 deflated; any other is a number in the header, and the data stand as they are. */
  method?: number;
  /** What stands behind the data: with a signature or without, with long sizes or short; and sizes before them or not. */
  descriptor?: "signed" | "bare" | "long" | "long and bare" | "with sizes" | "none, though said";
  /** Sizes among the extra fields. */
  isBig?: boolean;
  isEncrypted?: boolean;
  /** In the directory: once, not at all, or with another checksum. */
  listed?: "not" | "otherwise";
  /** What is wrong with the data as they are packed. */
  spoil?: (packed: Uint8Array) => Uint8Array;
}

export interface Frame {
  before?: string;
  comment?: string;
  isBig?: boolean;
}

/** As in PNG's specification: crc32 of node:zlib fails on Deno 2.1.4. */
function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? crc >>> 1 ^ 0xedb88320 : crc >>> 1;
  }
  return ~crc >>> 0;
}

const bytesOf = (text: string) => Uint8Array.from(text, (letter) => letter.charCodeAt(0));

/** Numbers of so many bytes each. */
function fields(...all: [bytes: 2 | 4 | 8, value: number][]): Uint8Array {
  return Uint8Array.from(
    all.flatMap(([bytes, value]) =>
      Array.from({ length: bytes }, (_, i) => Number(BigInt(value) >> BigInt(8 * i) & 255n))
    ),
  );
}

export function zipped(
  entries: Entry[],
  { before = "", comment = "", isBig = false }: Frame = {},
): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [bytesOf(before)], directory: Uint8Array[] = [];
  const length = (all: Uint8Array[]) => all.reduce((sum, part) => sum + part.length, 0);
  for (const entry of entries) {
    const { method = 8, descriptor } = entry, name = bytesOf(entry.name);
    const data = typeof entry.data === "string" ? new TextEncoder().encode(entry.data) : entry.data;
    const packed = (entry.spoil ?? ((all) => all))(method === 8 ? deflateRawSync(data) : data);
    const crc = crc32(data), start = length(parts), flags = (descriptor ? 8 : 0) | (entry.isEncrypted ? 1 : 0);
    const isUnknown = descriptor !== undefined && descriptor !== "with sizes";
    const header = (crc: number, sizes: number[], isBig: boolean) => {
      const extra = isBig ? fields([2, 1], [2, 16], [8, sizes[1]], [8, sizes[0]]) : new Uint8Array();
      const small = sizes.map((size): [4, number] => [4, isBig ? 0xffffffff : size]);
      return {
        extra,
        common: fields([2, flags], [2, method], [4, 0], [4, crc], ...small, [2, name.length], [2, extra.length]),
      };
    };
    const known = header(isUnknown ? 0 : crc, isUnknown ? [0, 0] : [packed.length, data.length], entry.isBig ?? false);
    parts.push(fields([4, 0x04034b50], [2, 20]), known.common, name, known.extra, packed);
    const size = descriptor?.startsWith("long") ? 8 : 4;
    const signature: [4, number][] = descriptor && !descriptor.includes("bare") ? [[4, 0x08074b50]] : [];
    if (descriptor && descriptor !== "none, though said") {
      parts.push(fields(...signature, [4, crc], [size, packed.length], [size, data.length]));
    }
    if (entry.listed === "not") continue;
    const { common, extra } = header(entry.listed === "otherwise" ? 7 : crc, [packed.length, data.length], false);
    const rest = fields([2, 0], [2, 0], [2, 0], [4, 0], [4, start]);
    directory.push(fields([4, 0x02014b50], [2, 20], [2, 20]), common, rest, name, extra);
  }
  const count = directory.length / 5, at = length(parts), size = length(directory);
  const end = at + size;
  const bigEnd = isBig
    ? [fields([4, 0x06064b50], [8, 44], [2, 45], [2, 45], [4, 0], [4, 0], [8, count], [8, count], [8, size], [8, at])]
      .concat(fields([4, 0x07064b50], [4, 0], [8, end], [4, 1]))
    : [];
  const short = (number: number, bytes: 2 | 4): [2 | 4, number] => [bytes, isBig ? 256 ** bytes - 1 : number];
  const counts = fields(
    [4, 0x06054b50],
    [2, 0],
    [2, 0],
    short(count, 2),
    short(count, 2),
    short(size, 4),
    short(at, 4),
  );
  parts.push(...directory, ...bigEnd, counts, fields([2, comment.length]), bytesOf(comment));
  const all = new Uint8Array(length(parts));
  let to = 0;
  for (const part of parts) {
    all.set(part, to);
    to += part.length;
  }
  return all;
}
