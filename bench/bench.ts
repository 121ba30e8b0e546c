/** What a run costs, beside what the same bytes cost by other means. See docs/performance.md. */
import { parseArgs } from "node:util";
import { type Client, connect } from "../lib/database.ts";
import { migrate } from "../lib/local/migrate.ts";
import { startPostgres } from "../lib/local/postgres.ts";
import { type Case, cases, legend } from "./cases.ts";
import { type DataFile, type DataFormat, drivers, formats, makeFile } from "./data.ts";
import type { Cost } from "./measured.ts";
import { resultTable, type Sample, summarize } from "./results.ts";

const usage = `deno task bench [--megabytes N] [--rounds N] [--only WORD] [--deno PATH] [--json FILE]

  --megabytes  size of each file before compression, in 10^6 bytes (200)
  --rounds     times that everything is measured; the order turns with each (1)
  --only       only the cases whose name holds WORD
  --deno       the Deno that is measured (this one)
  --json       where to write samples and medians

Starts a Postgres and a web server of its own, and removes everything it made.`;

/** What is to be done at the end, in reverse. */
type Undo = (() => Promise<void>)[];
type Files = Record<DataFormat, DataFile>;

interface Place {
  deno: string;
  client: Client;
  databaseUrl: string;
  serverUrl: string;
}

async function main(): Promise<void> {
  const flags = { megabytes: { type: "string" }, rounds: { type: "string" }, only: { type: "string" } } as const;
  const { values } = parseArgs({
    options: { ...flags, json: { type: "string" }, deno: { type: "string" }, help: { type: "boolean" } },
  });
  if (values.help) return console.log(usage);
  const chosen = cases.filter(({ name }) => name.includes(values.only ?? ""));
  const undo: Undo = [];
  // Ctrl-C ends the measured process too; its failure leads to the clearing up below.
  Deno.addSignalListener("SIGINT", () => {});
  try {
    const postgres = await startPostgres(await temporaryDirectory(undo), ["max_wal_size=4GB"]);
    undo.push(() => postgres.stop());
    const files = await temporaryDirectory(undo);
    const big = await makeFiles(`${files}/big`, Number(values.megabytes ?? 200) * 1e6, chosen);
    const small = await makeFiles(`${files}/small`, 0, chosen);
    const serverUrl = await startServer(files, undo);
    const client = await prepareDatabase(postgres.url);
    undo.push(() => client.end());
    const place = { deno: values.deno ?? Deno.execPath(), client, databaseUrl: postgres.url, serverUrl };
    const samples = await measureAll(chosen, Number(values.rounds ?? 1), big, small, place);
    report(samples, values.json);
  } finally {
    for (const step of undo.reverse()) await step();
  }
}

async function measureAll(chosen: Case[], rounds: number, big: Files, small: Files, place: Place): Promise<Sample[]> {
  const samples: Sample[] = [];
  for (let round = 1; round <= rounds; round++) {
    for (const one of round % 2 ? chosen : chosen.toReversed()) {
      const startUp = await measure(one, small[one.format], place);
      const whole = await measure(one, big[one.format], place);
      samples.push({ case: one.name, file: big[one.format], whole, startUp });
      console.error(`round ${round}: ${one.name}: ${whole.cpuMs} ms of CPU`);
    }
  }
  return samples;
}

function report(samples: Sample[], path?: string): void {
  const results = summarize(samples);
  const { os, arch } = Deno.build;
  const deno = samples[0]?.whole.deno;
  console.log(`Deno ${deno}\n${resultTable(results)}\n${legend}`);
  if (path) Deno.writeTextFileSync(path, JSON.stringify({ deno, os, arch, results, samples }, null, 2) + "\n");
}

async function temporaryDirectory(undo: Undo): Promise<string> {
  const directory = await Deno.makeTempDir({ prefix: "tdc-etl-bench-" });
  undo.push(() => Deno.remove(directory, { recursive: true }));
  return directory;
}

async function makeFiles(directory: string, size: number, chosen: Case[]): Promise<Files> {
  await Deno.mkdir(directory);
  const files: Partial<Files> = {};
  for (const format of formats) {
    if (chosen.some((one) => one.format === format)) files[format] = await makeFile(directory, format, size);
  }
  return files as Files;
}

async function startServer(directory: string, undo: Undo): Promise<string> {
  const script = decodeURIComponent(new URL("server.ts", import.meta.url).pathname);
  const process = command(Deno.execPath(), script, directory).spawn();
  const reader = process.stdout.getReader();
  const port = new TextDecoder().decode((await reader.read()).value).trim();
  undo.push(async () => {
    process.kill();
    await reader.cancel();
    await process.status;
  });
  return `http://127.0.0.1:${port}`;
}

/** The schema, the drivers that the trips point to, and a feed for each format. */
async function prepareDatabase(url: string): Promise<Client> {
  await migrate(url);
  const client = await connect(url);
  await client.query("insert into drivers (id) select 'driver-' || n from generate_series(1, $1) n", [drivers]);
  const style = (format: DataFormat) => /json/.test(format) ? format : "csv";
  for (const format of formats) {
    const feed = [format, style(format)];
    await client.query("insert into etl.feeds (name, url, target, format) values ($1, '', 'public.trips', $2)", feed);
  }
  return client;
}

async function measure(one: Case, file: DataFile, { deno, client, databaseUrl, serverUrl }: Place): Promise<Cost> {
  const url = serverUrl + file.path.slice(file.path.lastIndexOf("/", file.path.lastIndexOf("/") - 1));
  await client.query("update etl.feeds set url = $2 where name = $1", [file.format, url]);
  await one.prepare?.(client, file);
  const script = decodeURIComponent(new URL("measured.ts", import.meta.url).pathname);
  const { success, stdout } = await command(deno, script, ...one.args(url, databaseUrl)).output();
  if (!success) throw new Error(`${one.name}: the measured process failed`);
  const cost: Cost = JSON.parse(new TextDecoder().decode(stdout));
  if (cost.rows !== null && cost.rows !== file.rows) throw new Error(`${one.name}: ${cost.rows} rows of ${file.rows}`);
  return cost;
}

function command(deno: string, script: string, ...args: string[]): Deno.Command {
  return new Deno.Command(deno, {
    args: ["run", "-A", "--no-check", script, ...args],
    stdout: "piped",
    stderr: "inherit",
  });
}

await main();
