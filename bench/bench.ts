/** What a run costs, and how long it takes, beside other means to the same end. See docs/performance.md. */
import { parseArgs } from "node:util";
import { EtlError } from "../lib/errors.ts";
import { explain, interruption } from "../lib/local/session.ts";
import { cpu } from "./cpu/measure.ts";
import type { Group, Sizes } from "./group.ts";
import { openPlace, type Place } from "./place.ts";
import { reports } from "./reports/measure.ts";
import { time } from "./time/measure.ts";

/** Measured in this order. */
const groups: Record<string, Group> = { cpu, time, reports };

/** A group with those of its cases that are wanted. */
interface Chosen {
  name: string;
  group: Group;
  cases: { name: string }[];
}

const usage =
  `deno task bench [--group cpu|time|reports] [--megabytes N] [--rows N] [--rounds N] [--only PATTERN] [--deno PATH] [--json FILE]

  --group      one group alone (all)
               cpu: CPU of the loader's process by megabyte, for each format;
               time: wall time and WAL of whole jobs, beside COPY by hand and other tools;
               reports: the two reports by RPC, beside SQL by hand, with its plans
  --megabytes  cpu: size of each file before compression, in 10^6 bytes (200)
  --rows       time, reports: trips in each file (200000)
  --rounds     times that everything is measured; the order turns with each (3)
  --only       only the cases whose name matches this regular expression
  --deno       the Deno that is measured (this one)
  --json       where to write samples and medians; bench/plot.ts draws them

Starts a Postgres and a web server of its own, and removes everything it made. curl, psql and pgloader are used
where they are installed.`;

async function main(): Promise<void> {
  const text = { type: "string" } as const;
  const numbers = { megabytes: text, rows: text, rounds: text };
  const { values } = parseArgs({
    options: { ...numbers, group: text, only: text, deno: text, json: text, help: { type: "boolean" } },
  });
  if (values.help) return console.log(usage);
  if (values.group !== undefined && !Object.hasOwn(groups, values.group)) {
    throw new EtlError("usage", `there is no group ${values.group}`, "deno task bench --help tells the groups.");
  }
  const sizes = {
    rounds: Number(values.rounds ?? 3),
    bytes: Number(values.megabytes ?? 200) * 1e6,
    rows: Number(values.rows ?? 200_000),
  };
  const only = new RegExp(values.only ?? "");
  const chosen = Object.entries(groups)
    .filter(([name]) => name === (values.group ?? name))
    .map(([name, group]) => ({ name, group, cases: group.cases(sizes).filter((one) => only.test(one.name)) }))
    .filter(({ cases }) => cases.length > 0);
  if (chosen.length === 0) {
    throw new EtlError("usage", `no case's name matches ${only.source}`, "Without --only all are measured, by name.");
  }
  const interrupted = interruption();
  interrupted.catch(() => {});
  await using place = await openPlace(values.deno ?? Deno.execPath());
  const measured = await Promise.race([interrupted, measure(chosen, sizes, place)]);
  if (!values.json) return;
  const { os, arch } = Deno.build;
  await Deno.writeTextFile(values.json, JSON.stringify({ os, arch, ...measured }, null, 2) + "\n");
}

/** Measures cases of these groups, and prints a table of each group as it ends. */
async function measure(chosen: Chosen[], sizes: Sizes, place: Place) {
  const measured: Record<string, { results: unknown[]; samples: unknown[] }> = {};
  for (const { name, group, cases } of chosen) {
    const samples = await group.measure(cases, sizes, place);
    const results = group.results(samples);
    measured[name] = { results, samples };
    console.log(`${group.table(results)}\n${group.legend}`);
  }
  return measured;
}

Deno.exit(await main().then(() => 0, (error) => explain(error, false)));
