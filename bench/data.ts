/** Trips as a partner might send them, in each format: any size, the same at every run. */
import xxhash from "xxhash-wasm";
import { type Change, trip } from "./trips.ts";

export const formats = ["csv", "quoted", "json", "ndjson", "gzip"] as const;
export type DataFormat = typeof formats[number];

export interface DataFile {
  format: DataFormat;
  path: string;
  rows: number;
  /** Bytes as they are served. */
  bytes: number;
  /** Bytes without compression: what is loaded, and what CPU time is divided by. */
  unpacked: number;
  /** XXH64 of the unpacked bytes, as the loader keeps it in etl.feeds.content_hash. */
  hash: string;
}

/** Whichever is reached first; one row at least. */
export interface Extent {
  rows?: number;
  /** Before compression. */
  bytes?: number;
}

export const names = "id,driver_id,request_timestamp,pickup_timestamp,dropoff_timestamp,base_fare,gratuity".split(",");

interface Style {
  head: string;
  row(fields: string[]): string;
  between: string;
  tail: string;
}

const record = (fields: string[]) => Object.fromEntries(fields.map((field, i) => [names[i], field]));
const quoted = (fields: string[]) => fields.map((field) => `"${field}"`).join(",");
const plain: Style = { head: names.join() + "\n", row: (fields) => fields.join(","), between: "\n", tail: "\n" };
const styles: Record<DataFormat, Style> = {
  csv: plain,
  gzip: plain,
  quoted: { ...plain, head: quoted(names) + "\n", row: quoted },
  ndjson: { head: "", row: (fields) => JSON.stringify(record(fields)), between: "\n", tail: "\n" },
  json: {
    head: "[\n",
    row: (fields) => JSON.stringify(record(fields), null, 2).replace(/^/gm, "  "),
    between: ",\n",
    tail: "\n]\n",
  },
};

/** Writes whole records into a new file. */
export async function makeFile(path: string, format: DataFormat, extent: Extent, change?: Change): Promise<DataFile> {
  const hash = (await xxhash()).create64();
  const made = { format, path, rows: 0, unpacked: 0 };
  const blocks = ReadableStream.from((function* () {
    for (const block of textBlocks(styles[format], extent, made, change)) {
      hash.update(block);
      yield block;
    }
  })());
  const packed = format === "gzip" ? blocks.pipeThrough(new CompressionStream("gzip")) : blocks;
  await Deno.writeFile(path, packed);
  const { size: bytes } = await Deno.stat(path);
  return { ...made, bytes, hash: hash.digest().toString(16).padStart(16, "0") };
}

function* textBlocks(style: Style, extent: Extent, made: { rows: number; unpacked: number }, change?: Change) {
  const { rows = Infinity, bytes = Infinity } = extent;
  const encoder = new TextEncoder();
  let text = style.head;
  while (made.rows === 0 || (made.rows < rows && made.unpacked + text.length < bytes)) {
    const fields = trip(++made.rows);
    text += (made.rows > 1 ? style.between : "") + style.row(change?.(fields, made.rows) ?? fields);
    if (text.length < 1 << 20) continue;
    made.unpacked += text.length;
    yield encoder.encode(text);
    text = "";
  }
  made.unpacked += text.length + style.tail.length;
  yield encoder.encode(text + style.tail);
}
