/** The rows of the group "time": each brings the same trips from the same server into the same table. */
import type { Memory } from "../feeds.ts";
import type { State } from "../state.ts";
import type { Changed } from "../trips.ts";
import { has, pgloader, pgloaderByWorkTable, psql, type Target } from "./programs.ts";

export interface Case {
  name: string;
  state: State;
  file: Changed;
  /** Of measured.ts. */
  job: (to: Target) => string[];
  memory?: Memory;
  /** Of so many of the plain file's trips one is not in the table afterwards, as it stands in that file. */
  missing?: number;
}

const load = (status: string, ...options: string[]): Case["job"] => ({ databaseUrl }) => [
  "load",
  databaseUrl,
  "csv",
  status,
  ...options,
];

const first = (name: string, job: Case["job"]): Case => ({ name, state: "empty", file: "none", job });
const again = (name: string, job: Case["job"]): Case => ({ name, state: "loaded", file: "none", job });
const twice = (name: string, firstJob: Case["job"], nextJob = firstJob): Case[] => [
  first(`${name}, first load`, firstJob),
  again(`${name}, re-run`, nextJob),
];

const own: Case[] = [
  first("tdc-etl: first load", load("changed")),
  again("tdc-etl: re-run, forced: all rows compared", load("unchanged", "force")),
  {
    ...again("tdc-etl: re-run, same content, of unknown length: staged and hashed", load("unchanged")),
    memory: "hash",
  },
  { ...again("tdc-etl: re-run, same content: hashed only", load("unchanged")), memory: "length" },
  { ...again("tdc-etl: re-run, same ETag: 304", load("unchanged")), memory: "etag" },
  { ...again("tdc-etl: 1 % of the rows changed", load("changed")), file: "corrected", missing: 100 },
  { ...first("tdc-etl: first load, 1 % bad values, 1 % orphans", load("changed")), file: "bad", missing: 50 },
  { ...first("tdc-etl: first load, 1 line in 1,000 broken", load("changed")), file: "broken", missing: 1000 },
];

const hand = has("psql") && has("curl")
  ? twice("by hand: COPY, upsert (curl | psql)", psql)
  : twice("by hand: COPY, upsert (pg-copy-streams)", ({ url, databaseUrl }) => ["copy", url, databaseUrl]);

/** What the other rows are held against, by where they begin. */
export const base: Record<State, string> = { empty: hand[0].name, loaded: hand[1].name };

export const cases: Case[] = [
  ...own,
  ...hand,
  ...twice("csv-parse + pg: upsert by 1,000", ({ url, databaseUrl }) => ["insert", url, databaseUrl]),
  ...(has("pgloader") ? twice("pgloader", pgloader, pgloaderByWorkTable) : []),
];

const aboutPgloader = has("pgloader")
  ? "pgloader cannot upsert: its first load goes into the table itself, its re-run by a work table."
  : "pgloader is not installed here: its rows are left out.";

export const legend = `To by hand: to "${base.empty}", or to "${base.loaded}" where trips are there already.
WAL: from a checkpoint on. CPU and peak memory: of the client, all its processes.
${aboutPgloader}`;
