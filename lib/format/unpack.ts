/** A body as it came -> what is packed in it. */
import { EtlError } from "../errors.ts";
import { gunzip } from "./gunzip.ts";
import { packingOf } from "./kinds.ts";
import { Peekable } from "./peekable.ts";
import { unzip } from "./zip.ts";

/** `member`: the file wanted of a zip archive, as the fragment of a URL names it; null: its only one. */
export async function unpack(bytes: Peekable, ratio: number, member: string | null): Promise<Peekable> {
  const packing = await packingOf(bytes);
  if (packing === null) return bytes;
  const inner = packing === "gzip"
    ? gunzip(bytes, ratio)
    : packing === "zip"
    ? new Peekable(unzip(bytes, ratio, member), true)
    : null;
  const within = inner && await packingOf(inner);
  if (inner && !within) return inner;
  const message = within ? `it is packed twice, as ${within} within ${packing}` : `it is packed as ${packing}`;
  throw new EtlError("packing", message, "Ask the partner for the file plain, as gzip, or in a zip archive.");
}
