/** What becomes of the rows that a file of all lacks. Slow and simple, as docs/feeds.md says it. */
import { byName, type File, keyOf, keyOfRecord, meanings, type Outcome, type Row } from "./model.ts";
import type { ForeignKey, Table } from "./tables.ts";

/** Of one feed, from run to run. */
export interface Absences {
  /** Keys of marked rows. */
  marked: ReadonlySet<string>;
  /** Rows that stay, for others refer to them: key -> constraint. */
  kept: ReadonlyMap<string, string>;
  /** How many are withheld, of how many. */
  withheld: { rows: number; of: number } | null;
  approved: number | null;
}

export const none: Absences = { marked: new Set(), kept: new Map(), withheld: null, approved: null };

export interface Removal extends Absences {
  rows: Record<string, Row[]>;
  deleted: number;
}

/** After the load of a file: `rows` are those of all tables. */
export function removeAbsent(table: Table, all: Table[], file: File, loaded: Outcome, before: Absences): Removal {
  const { rows, rejects, written, counts } = loaded;
  const marked = new Set([...before.marked].filter((key) => !written.includes(key)));
  if (table.absent === "keep") return { ...before, rows, deleted: 0 };
  const keys = file.records.map((record) => keyOfRecord(table, record));
  const isUnreadable = rejects.some(([number]) => keys[number - 1] === null);
  const present = new Set(keys);
  const live = rows[table.name].filter((row) => !marked.has(keyOf(table, row)));
  const absent = live.filter((row) => !present.has(keyOf(table, row)));
  const fresh = absent.filter((row) => !before.kept.has(keyOf(table, row))).length;
  const of = Math.min(live.length - counts![1], before.withheld?.of ?? Infinity);
  const stands = isUnreadable || fresh > table.absentLimit * of;
  if (stands && !(before.approved !== null && before.approved >= fresh)) {
    const isAbsent = new Set(absent.map((row) => keyOf(table, row)));
    const kept = new Map([...before.kept].filter(([key]) => isAbsent.has(key)));
    return { ...before, marked, kept, withheld: fresh > 0 ? { rows: fresh, of } : null, rows, deleted: 0 };
  }
  const done = { withheld: null, approved: null };
  if (table.absent === "mark") {
    const all = new Set([...marked, ...absent.map((row) => keyOf(table, row))]);
    return { ...done, marked: all, kept: new Map(), rows, deleted: absent.length };
  }
  const { going, kept } = unreferenced(table, all, rows, absent);
  const left = rows[table.name].filter((row) => !going.includes(row));
  return { ...done, marked, kept, rows: { ...rows, [table.name]: left }, deleted: going.length };
}

/** Rows that nothing refers to but rows that go, too; and of the others the key that refers to them. */
function unreferenced(table: Table, all: Table[], rows: Record<string, Row[]>, absent: Row[]) {
  const references = all.toSorted((a, b) => a.name < b.name ? -1 : 1).flatMap((child) =>
    byName(child.foreignKeys.filter(({ parent }) => parent === table)).map((fk) => ({ child, fk }))
  );
  const kept = new Map<string, string>();
  let going = absent;
  for (let again = true; again;) {
    again = false;
    for (const { child, fk } of references) {
      const children = rows[child.name].filter((row) => child !== table || !going.includes(row));
      const stays = (row: Row) => children.some((other) => refersTo(other, row, fk));
      for (const row of going.filter(stays)) {
        kept.set(keyOf(table, row), fk.name);
        again = true;
      }
      going = going.filter((row) => !stays(row));
    }
  }
  return { going, kept };
}

function refersTo(child: Row, parent: Row, fk: ForeignKey): boolean {
  const value = meanings(fk.parent, fk.parentColumns, parent);
  // By the parent's types: the child's column may be of another.
  const asParent = Object.fromEntries(fk.parentColumns.map((name, i) => [name, child[fk.columns[i]]]));
  const refers = meanings(fk.parent, fk.parentColumns, asParent);
  return !refers.includes(null) && JSON.stringify(refers) === JSON.stringify(value);
}
