/** gzip data -> what is in it, checked by zlib itself: the checksum, the length, the end. */
import { pipeline, Readable } from "node:stream";
import { createGunzip } from "node:zlib";
import { EtlError } from "../errors.ts";
import { unpackedFreely } from "../limits.ts";
import { copies, named, type Peekable } from "./peekable.ts";

const ask = "Try again; if it lasts, the partner's file is damaged.";
const noBomb = "No table packs that well. Ask the partner whether the file is damaged, or meant to do harm.";

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
    for await (const chunk of copies(chunks)) {
      packed += chunk.length;
      yield chunk;
    }
  };
  pipeline(Readable.from(counted()), gunzip, () => {});
  for await (const chunk of gunzip) {
    unpacked += chunk.length;
    if (unpacked >= unpackedFreely && unpacked > packed * ratio) throw bomb;
    yield chunk;
  }
}
