/** CSV at a URL -> its records without the header, read by csv-parse, so many at a time. */
import { Readable } from "node:stream";
import { parse } from "csv-parse";

export async function* batches(url: string, size: number): AsyncGenerator<string[][]> {
  const { body } = await fetch(url);
  const parser = parse({ from: 2 });
  Readable.from(body!).pipe(parser);
  let batch: string[][] = [];
  for await (const record of parser) {
    if (batch.push(record) < size) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}
