/** What a run costs, and how long it takes, beside other means to the same end. See docs/performance.md. */
import { parseArgs } from "node:util";
import { EtlError } from "../lib/errors.ts";
import { explain, interruption } from "../lib/local/session.ts";
import { cases as cpuCases, legend as cpuLegend } from "./cpu/cases.ts";
import { measureCpu } from "./cpu/measure.ts";
import { resultTable as cpuTable, summarize as summarizeCpu } from "./cpu/results.ts";
import { openPlace, type Place } from "./place.ts";
import { casesFor as reportCasesFor } from "./reports/cases.ts";
import { measureReports } from "./reports/measure.ts";
import { resultTable as reportTable } from "./reports/results.ts";
import { cases as timeCases, legend as timeLegend } from "./time/cases.ts";
import { measureTime } from "./time/measure.ts";
import { resultTable as timeTable, summarize as summarizeTime } from "./time/results.ts";

const usage =
  `deno task bench [--group cpu|time|reports] [--megabytes N] [--rows N] [--rounds N] [--only PATTERN] [--deno PATH] [--json FILE]

  --group      cpu: CPU of the loader's process by megabyte, for each format;
               time: wall time and WAL of whole jobs, beside COPY by hand and other tools;
               reports: the two reports by RPC, beside SQL by hand, with its plans (all)
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
  const sizes = { megabytes: text, rows: text, rounds: text };
  const { values } = parseArgs({
    options: { ...sizes, group: text, only: text, deno: text, json: text, help: { type: "boolean" } },
  });
  if (values.help) return console.log(usage);
  if (!/^(cpu|time|reports)?$/.test(values.group ?? "")) {
    throw new EtlError("usage", `there is no group ${values.group}`, "deno task bench --help tells the groups.");
  }
  const only = new RegExp(values.only ?? "");
  const interrupted = interruption();
  interrupted.catch(() => {});
  await using place = await openPlace(values.deno ?? Deno.execPath());
  await Promise.race([interrupted, measure({ ...values, only }, place)]);
}

type Options = Partial<Record<"group" | "megabytes" | "rows" | "rounds" | "json", string>> & { only: RegExp };

async function measure(options: Options, place: Place): Promise<void> {
  const chosen = <T extends { name: string }>(group: string, cases: T[]) =>
    (options.group ?? group) === group ? cases.filter(({ name }) => options.only.test(name)) : [];
  const rounds = Number(options.rounds ?? 3), rows = Number(options.rows ?? 200_000);
  const bytes = Number(options.megabytes ?? 200) * 1e6;
  const chosenCpu = chosen("cpu", cpuCases);
  const chosenTime = chosen("time", timeCases);
  const chosenReports = chosen("reports", reportCasesFor(rows));
  const cpu = chosenCpu.length > 0 ? await measureCpu(chosenCpu, rounds, bytes, place) : [];
  const time = chosenTime.length > 0 ? await measureTime(chosenTime, rounds, rows, place) : [];
  const reports = chosenReports.length > 0 ? await measureReports(chosenReports, rounds, rows, place) : [];
  const { os, arch } = Deno.build;
  const deno = [...cpu.map(({ whole }) => whole), ...time.map(({ cost }) => cost)][0]?.deno;
  const groups = {
    cpu: { results: summarizeCpu(cpu), samples: cpu },
    time: { results: summarizeTime(time), samples: time },
    reports: { results: reports },
  };
  if (deno) console.log(`Deno ${deno}`);
  if (cpu.length > 0) console.log(`${cpuTable(groups.cpu.results)}\n${cpuLegend}`);
  if (time.length > 0) console.log(`${timeTable(groups.time.results)}\n${timeLegend}`);
  if (reports.length > 0) console.log(reportTable(reports));
  if (options.json) {
    await Deno.writeTextFile(options.json, JSON.stringify({ deno, os, arch, ...groups }, null, 2) + "\n");
  }
}

Deno.exit(await main().then(() => 0, (error) => explain(error, false)));
