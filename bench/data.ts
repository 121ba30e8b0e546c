/** Trips as a partner might send them, in each format: any size, the same at every run. */
import xxhash from "xxhash-wasm";

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

export const drivers = 10_000;

const names = "id,driver_id,request_timestamp,pickup_timestamp,dropoff_timestamp,base_fare,gratuity".split(",");
const start = Date.UTC(2021, 0, 1);

/** The n-th trip, counted from 1: about 100 bytes as a line of CSV. */
function trip(n: number): string[] {
  const requested = start + n * 7_000, pickedUp = requested + (3 + n % 12) * 60_000;
  const stamps = [requested, pickedUp, pickedUp + (6 + n % 45) * 60_000].map((time) => new Date(time).toISOString());
  const money = [700 + (n * 131) % 5_200, n % 3 === 0 ? 0 : 100 + (n * 17) % 900];
  return [`trip-${n}`, `driver-${(n * 7_919) % drivers + 1}`, ...stamps]
    .concat(money.map((cents) => (cents / 100).toFixed(2)));
}

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

/** Writes whole records up to `size` bytes before compression, at least one, into a file named for the format. */
export async function makeFile(directory: string, format: DataFormat, size: number): Promise<DataFile> {
  const hash = (await xxhash()).create64();
  const path = `${directory}/${format}`;
  const made = { format, path, rows: 0, unpacked: 0 };
  const blocks = ReadableStream.from((function* () {
    for (const block of textBlocks(styles[format], size, made)) {
      hash.update(block);
      yield block;
    }
  })());
  const packed = format === "gzip" ? blocks.pipeThrough(new CompressionStream("gzip")) : blocks;
  await Deno.writeFile(path, packed);
  const { size: bytes } = await Deno.stat(path);
  return { ...made, bytes, hash: hash.digest().toString(16).padStart(16, "0") };
}

function* textBlocks(style: Style, size: number, made: { rows: number; unpacked: number }) {
  const encoder = new TextEncoder();
  let text = style.head;
  while (made.rows === 0 || made.unpacked + text.length < size) {
    text += (made.rows++ > 0 ? style.between : "") + style.row(trip(made.rows));
    if (text.length < 1 << 20) continue;
    made.unpacked += text.length;
    yield encoder.encode(text);
    text = "";
  }
  made.unpacked += text.length + style.tail.length;
  yield encoder.encode(text + style.tail);
}
