/** gzip data -> what is in it, checked by zlib itself: the checksum, the length, the end. */
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { EtlError } from "../errors.ts";
import { unpackedFreely } from "../limits.ts";
import { concat, named, type Peekable } from "./peekable.ts";

const ask = "Try again; if it lasts, the partner's file is damaged.";
const noBomb = "No table packs that well. Ask the partner whether the file is damaged, or meant to do harm.";

/** Bytes of zeros in a row that are taken for data: more of them would unpack to a bomb. */
const mostZeros = 1 << 20;

/** What each member of gzip data begins with. */
const firstByte = 0x1f;

/** `ratio`: how many times its size the data may unpack to. */
export function gunzip(packed: AsyncIterable<Uint8Array>, ratio: number): Peekable {
  const bomb = new EtlError("gzip_bomb", `its gzip data unpacks to more than ${ratio} times its size`, noBomb);
  return named(checked(packed, ratio, bomb), "gzip", "its gzip data is broken or cut short", ask, true);
}

/** The same for a file in a zip archive, whose data is handed over as gzip. */
export function gunzipMember(packed: AsyncIterable<Uint8Array>, ratio: number, name: string): Peekable {
  const bomb = new EtlError(
    "zip_bomb",
    `${name} in its zip archive unpacks to more than ${ratio} times its size`,
    noBomb,
  );
  return named(checked(packed, ratio, bomb), "zip", `${name} in its zip archive is damaged`, ask, true);
}

async function* checked(chunks: AsyncIterable<Uint8Array>, ratio: number, bomb: EtlError): AsyncGenerator<Uint8Array> {
  // Not DecompressionStream: it refuses a file of several gzip members, which is legal, and takes twice the time.
  const gunzip = createGunzip({ chunkSize: 1 << 18 });
  let packed = 0, unpacked = 0;
  const counted = async function* () {
    for await (const chunk of chunks) {
      packed += chunk.length;
      yield chunk;
    }
  };
  const fed = pipeline(Readable.from(cutForZlib(counted())), gunzip);
  fed.catch(() => {});
  try {
    for await (const chunk of gunzip.iterator({ destroyOnReturn: false })) {
      unpacked += chunk.length;
      if (unpacked >= unpackedFreely && unpacked > packed * ratio) throw bomb;
      yield chunk;
    }
    // Deno 2.9 ends the text where zeros follow the data, and says later what is wrong with the rest.
    await fed;
  } finally {
    gunzip.destroy();
  }
}

/**
 * Copies of the chunks, cut anew. Behind its data zlib stops at a zero, and takes no notice of what follows in the same chunk;
 * but what the next one begins with must be data again. So the last byte of all that is no zero begins a chunk of its own: if
 * zlib has stopped before it, it says so. No other begins as a member does, for that would be read or not as the network cuts.
 */
async function* cutForZlib(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let held: Uint8Array = new Uint8Array();
  for await (const chunk of chunks) {
    if (held.length > mostZeros) {
      if (chunk.some((byte) => byte !== 0)) throw new Error("something follows the zeros behind the data");
      continue;
    }
    const bytes = concat([held, chunk]);
    const cut = bytes.findLastIndex((byte) => byte !== 0 && byte !== firstByte);
    if (cut > 0) yield bytes.subarray(0, cut);
    held = bytes.subarray(Math.max(cut, 0));
  }
  const last = Math.max(held.findLastIndex((byte) => byte !== 0), 0);
  if (last > 0) yield held.subarray(0, last);
  if (held.length > 0) yield held.subarray(last);
}
