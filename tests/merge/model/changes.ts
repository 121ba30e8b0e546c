/** A file of changes: its load, and what waits of it and of earlier ones. Slow and simple, as docs/rejects.md says it. */
import { type Fault, type FeedRecord, type File, keyOfRecord, load, type Reject, type Row } from "./model.ts";
import type { Table } from "./tables.ts";

/** A reject of this file or an earlier one. */
export interface Waiting {
  number: number;
  record: FeedRecord;
  /** What is the same where the record comes again. */
  text: string;
  asJson: boolean;
  /** The columns that its file carried, by name. */
  carried: string[];
  fault: Fault;
}

export interface ChangesOutcome {
  rows: Record<string, Row[]>;
  waiting: Waiting[];
  /** read, inserted, updated, unchanged, duplicate, rejected; null where the feed is refused whole. */
  counts: number[] | null;
}

/** Of a record in the run: where the file has it, 0 for an earlier file's. */
type Tried = Waiting & { at: number };

const mayHeal = ([, sqlstate]: Fault) => !/^(22|23502|23514)/.test(sqlstate!);
const faultOf = ([, column, sqlstate, constraint]: Reject): Fault => [column, sqlstate, constraint];

/** Loads a file, or none, and tries what waits. */
export function loadChanges(
  table: Table,
  all: Table[],
  file: File | null,
  texts: string[],
  tables: Record<string, Row[]>,
  limit: number,
  before: Waiting[],
): ChangesOutcome {
  const refused = { rows: tables, waiting: before, counts: null };
  const records = file?.records ?? [];
  const loaded = file ? load(table, all, file, tables, Infinity) : null;
  if (loaded && !loaded.counts) return refused;
  let rows = loaded?.rows ?? tables;
  let [read, inserted, updated, unchanged, duplicate] = loaded?.counts ?? [0, 0, 0, 0, 0];

  const old = before.map((waiting): Tried => ({ ...waiting, at: 0 }));
  const names = file?.header ?? records.flatMap((record) => Array.isArray(record) ? [] : Object.keys(record));
  const carried = table.columns.map(({ name }) => name).filter((name) => names.includes(name)).sort();
  const fresh = (loaded?.rejects ?? []).toReversed().flatMap((reject): Tried[] => {
    const [number] = reject, text = texts[number - 1];
    // The same record once more is the same reject: the last of them first, for of a key the last is left.
    const known = old.findLast((one) => one.at === 0 && one.text === text);
    if (known) Object.assign(known, { at: number, fault: faultOf(reject) });
    if (known) return [];
    const asJson = !file!.header, record = records[number - 1];
    return [{ number, record, text, asJson, carried, fault: faultOf(reject), at: number }];
  }).reverse();
  let waiting = [...old, ...fresh];
  const isTried = ({ record }: Waiting) => !Array.isArray(record);
  read += waiting.filter((one) => one.at === 0 && isTried(one)).length;

  // A newer record of its key takes its place, as it would within a file: a good one, or one that is no worse.
  const rejected = new Set(loaded?.rejects.map(([number]) => number));
  const good = records.flatMap((record, i) =>
    rejected.has(i + 1) ? [] : { key: keyOfRecord(table, record), at: i + 1 }
  );
  const order = new Map(waiting.map((one, i) => [one, i]));
  const isNewer = (a: Tried, b: Tried) => a.at > b.at || (a.at === b.at && order.get(a)! > order.get(b)!);
  const drop = (isSuperseded: (one: Tried, key: string) => boolean) => {
    const left = waiting.filter((one) => {
      const key = keyOfRecord(table, one.record);
      return key === null || !isSuperseded(one, key);
    });
    duplicate += waiting.length - left.length;
    waiting = left;
  };
  const dropOlder = (tookItsPlace: (newer: Tried, one: Tried) => boolean, among = waiting) =>
    drop((one, key) =>
      among.some((newer) => isNewer(newer, one) && keyOfRecord(table, newer.record) === key && tookItsPlace(newer, one))
    );
  const isNoWorse = (newer: Tried, one: Tried) => mayHeal(newer.fault) || !mayHeal(one.fault);
  drop(({ at }, key) => good.some((record) => record.key === key && record.at > at));
  dropOlder(isNoWorse);
  // What comes once more waits on as it did, unless it is behind another one of its key now: then it waits anew.
  const isOld = new Set(old);
  const renewed = new Set(waiting.filter((one) => {
    const key = keyOfRecord(table, one.record);
    return isOld.has(one) && key !== null &&
      waiting.some((other) =>
        keyOfRecord(table, other.record) === key && other.at < one.at &&
        (!isOld.has(other) || order.get(other)! > order.get(one)!)
      );
  }));
  for (const one of renewed) one.number = one.at;

  for (let goesOn = waiting.some((one) => one.at === 0 && isTried(one)); goesOn;) {
    goesOn = false;
    const kinds = waiting.filter(isTried).map(({ asJson, carried }) => JSON.stringify([asJson, carried]));
    for (const kind of [...new Set(kinds)].sort(byKind)) {
      const alike = waiting.filter((one) => isTried(one) && JSON.stringify([one.asJson, one.carried]) === kind);
      const [, header] = JSON.parse(kind);
      const again = load(table, all, { header, records: alike.map(({ record }) => record) }, rows, Infinity);
      if (!again.counts) continue;
      rows = again.rows;
      inserted += again.counts[1];
      updated += again.counts[2];
      unchanged += again.counts[3];
      const faults = new Map(again.rejects.map((reject) => [alike[reject[0] - 1], faultOf(reject)]));
      for (const [one, fault] of faults) one.fault = fault;
      const gone = new Set(alike.filter((one) => !faults.has(one)));
      waiting = waiting.filter((one) => !gone.has(one));
      dropOlder(() => true, [...gone]);
      dropOlder(isNoWorse);
      goesOn ||= gone.size > 0;
    }
  }
  if (waiting.filter(({ at }) => at > 0).length > limit * records.length) return refused;
  const placeOf = (one: Tried) => isOld.has(one) && !renewed.has(one) ? 0 : one.at;
  const counted = waiting.filter((one) => one.at > 0 || isTried(one)).length;
  return {
    rows,
    waiting: waiting.toSorted((a, b) => placeOf(a) - placeOf(b) || order.get(a)! - order.get(b)!)
      .map(({ at: _, ...one }) => one),
    counts: [read, inserted, updated, unchanged, duplicate, counted],
  };
}

/** CSV first; then by the names, as Postgres orders arrays. */
function byKind(a: string, b: string): number {
  const [jsonA, namesA] = JSON.parse(a), [jsonB, namesB] = JSON.parse(b);
  if (jsonA !== jsonB) return jsonA ? 1 : -1;
  const n = namesA.findIndex((name: string, i: number) => name !== namesB[i]);
  return n < 0 ? namesA.length - namesB.length : (namesB[n] === undefined || namesA[n] > namesB[n] ? 1 : -1);
}
