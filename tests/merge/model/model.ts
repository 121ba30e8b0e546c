/**
 * What a load should do, slow and simple: one record at a time, in plain JavaScript, as docs/design.md says it. The
 * values of a row are what Postgres prints for them, or null.
 */
import { defaultOf, type ForeignKey, isRequired, meaning, type Table, truth, valueOf } from "./tables.ts";

export type Row = Record<string, string | null>;

/** A record of a feed: column -> text; or one that cannot be read, and its SQLSTATE. */
export type FeedRecord = Row | Unread;
export type Unread = [text: string, sqlstate: string];

export interface File {
  /** The columns of a CSV file; null for JSON, where the records have them. */
  header: string[] | null;
  records: FeedRecord[];
}

/** Record number, column, SQLSTATE, constraint. */
export type Reject = [number, string | null, string, string | null];

export interface Outcome {
  /** Of each table: what changes may cascade. */
  rows: Record<string, Row[]>;
  rejects: Reject[];
  /** read, inserted, updated, unchanged, duplicate, rejected; null where the feed is refused whole. */
  counts: number[] | null;
  /** The keys of the rows that it wrote. */
  written: string[];
}

interface Candidate {
  number: number;
  row: Row;
  /** The row of the table with the same key. */
  old?: Row;
}

export type Fault = [column: string | null, sqlstate: string, constraint: string | null];

/** Loads a file into one of the tables; `tables` are their rows. A row whose key is marked is written in any case. */
export function load(
  table: Table,
  all: Table[],
  file: File,
  tables: Record<string, Row[]>,
  limit: number,
  marked: ReadonlySet<string> = new Set(),
): Outcome {
  const before = tables[table.name];
  const rejects: Reject[] = [];
  const put = (number: number, [column, sqlstate, constraint]: Fault) =>
    rejects.push([number, column, sqlstate, constraint]);
  const read = file.records.filter((record): record is Row => !Array.isArray(record));
  const header = file.header ?? [...new Set(read.flatMap(Object.keys))];
  const lacking = table.columns.filter((c) => isRequired(c) && defaultOf(c) === null && !header.includes(c.name));
  if (read.length > 0 || file.header) {
    // Rows that are there can be corrected without it.
    const isRefused = table.key.some((name) => !header.includes(name)) || (before.length === 0 && lacking.length > 0);
    if (isRefused) return refused(tables);
  }
  const carried = table.columns.map((column) => column.name).filter((name) => header.includes(name));

  const good: Candidate[] = [];
  file.records.forEach((record, i) => {
    const row: Row = {};
    const fault: Fault | undefined = Array.isArray(record)
      ? [null, record[1], null]
      : ownFault(table, carried, record, row);
    if (fault) put(i + 1, fault);
    else good.push({ number: i + 1, row });
  });

  const stored = new Map(before.map((row) => [keyOf(table, row), row]));
  const differs = ({ row }: Candidate, old = stored.get(keyOf(table, row))) =>
    !old || marked.has(keyOf(table, old)) ||
    carried.some((name) => !table.key.includes(name) && row[name] !== old[name]);
  const last = new Map(good.map((candidate) => [keyOf(table, candidate.row), candidate]));
  let open: Candidate[] = [];
  for (const [key, candidate] of last) {
    const { number, row } = candidate, old = stored.get(key);
    if (!differs(candidate)) continue;
    open.push({ number, row: { ...(old ?? defaults(table)), ...row, ...keyColumns(table, old) }, old });
  }
  open.sort((a, b) => a.number - b.number);
  const same = good.filter((candidate) => !differs(candidate)).length;
  const duplicate = good.length - same - open.length;

  const validate = (faultOf: (candidate: Candidate) => Fault | undefined) => {
    const faults = open.map(faultOf);
    open.forEach((candidate, i) => faults[i] && put(candidate.number, faults[i]));
    open = open.filter((_, i) => !faults[i]);
    return faults.some(Boolean);
  };
  for (const { name } of lacking) validate(({ row }) => row[name] === null ? [name, "23502", null] : undefined);
  for (const check of byName(table.checks)) {
    if (check.condition.columns.every((name) => carried.includes(name))) continue;
    validate(({ row }) =>
      truth(check.condition, row) === false ? [only(check.condition.columns), "23514", check.name] : undefined
    );
  }
  const references = all.flatMap(({ name, foreignKeys }) =>
    foreignKeys.filter(({ parent }) => parent === table).map((fk) => ({ ...fk, child: name }))
  );
  // Rows that the file says are as they were.
  const confirmed = new Set(
    good.filter((candidate) => !differs(candidate)).map(({ row }) => stored.get(keyOf(table, row))!),
  );
  const refuseGivenUp = () =>
    byName(references)
      .map((fk) => validate((row) => givesUp(table, fk, carried, row, open, tables, confirmed)))
      .some(Boolean);
  do {
    do {
      while (
        byName(table.foreignKeys).map((fk) => validate((child) => orphan(table, fk, carried, child, open, tables)))
          .some(Boolean)
      );
    } while (
      byName(table.uniques).map((unique) =>
        validate((row) => uniqueViolation(table, unique, references, row, open, before))
      ).some(Boolean)
    );
  } while (refuseGivenUp());

  const inserted = open.filter((candidate) => !candidate.old).length;
  if (rejects.length > limit * file.records.length) return refused(tables);
  const written = new Map(open.map(({ row }) => [keyOf(table, row), row]));
  const rows = { ...tables, [table.name]: [...new Map([...stored, ...written]).values()] };
  for (const fk of references) {
    rows[fk.child] = open.reduce((children, parent) => cascade(table, fk, parent, children), rows[fk.child]);
  }
  return {
    rows,
    rejects: rejects.sort((a, b) => a[0] - b[0]),
    counts: [file.records.length, inserted, open.length - inserted, same, duplicate, rejects.length],
    written: [...written.keys()],
  };
}

/** The key of a record, as its index compares; null where it cannot be read. */
export function keyOfRecord(table: Table, record: FeedRecord): string | null {
  if (Array.isArray(record)) return null;
  const row: Row = {};
  for (const column of table.columns.filter(({ name }) => table.key.includes(name))) {
    const value = valueOf(table, column, record[column.name] ?? null);
    if (value === null || typeof value === "object") return null;
    row[column.name] = value;
  }
  return keyOf(table, row);
}

const refused = (rows: Record<string, Row[]>): Outcome => ({ rows, rejects: [], counts: null, written: [] });
export const only = (columns: string[]) => columns.length === 1 ? columns[0] : null;
export const byName = <T extends { name: string }>(all: T[]) => all.toSorted((a, b) => a.name < b.name ? -1 : 1);
const defaults = (table: Table): Row =>
  Object.fromEntries(table.columns.map((column) => [column.name, defaultOf(column)]));
const keyColumns = (table: Table, old?: Row): Row =>
  old ? Object.fromEntries(table.key.map((name) => [name, old[name]])) : {};

/** What a record breaks by itself; fills `row`. */
function ownFault(table: Table, carried: string[], record: Row, row: Row): Fault | undefined {
  const columns = table.columns.filter((column) => carried.includes(column.name));
  for (const column of columns) {
    const { name } = column;
    const value = valueOf(table, column, record[name] ?? null);
    if (typeof value === "object" && value) return [name, value.error, null];
    if (value === null && column.type === "given") return [name, "23502", null];
    row[name] = value;
  }
  const missing = columns.find((column) =>
    (column.required || table.key.includes(column.name)) && row[column.name] === null
  );
  if (missing) return [missing.name, "23502", null];
  for (const { name, condition } of byName(table.checks)) {
    const known = condition.columns.every((column) => carried.includes(column));
    if (known && truth(condition, row) === false) return [only(condition.columns), "23514", name];
  }
}

/** The rows that the feed leaves as they are. */
function staying(rows: Row[], open: Candidate[]): Row[] {
  const changing = new Set(open.map(({ old }) => old));
  return rows.filter((row) => !changing.has(row));
}

export function keyOf(table: Table, row: Row): string {
  return JSON.stringify(meanings(table, table.key, row));
}

export function meanings(table: Table, columns: string[], row: Row): (string | null)[] {
  return columns.map((name) => meaning(table.columns.find((column) => column.name === name)!.type, row[name]));
}

/** Whether the feed says what a row refers to. */
const changes = ({ columns }: ForeignKey, carried: string[]) => columns.some((name) => carried.includes(name));

function orphan(
  table: Table,
  fk: ForeignKey,
  carried: string[],
  child: Candidate,
  open: Candidate[],
  tables: Record<string, Row[]>,
): Fault | undefined {
  const value = meanings(table, fk.columns, child.row);
  if (child.old && !changes(fk, carried)) return;
  if (fk.isFull ? value.every((part) => part === null) : value.includes(null)) return;
  const parents = [
    ...staying(tables[fk.parent.name], open),
    ...(fk.parent === table ? open.map(({ row }) => row) : []),
  ];
  const found = parents.some((parent) =>
    JSON.stringify(meanings(fk.parent, fk.parentColumns, parent)) === JSON.stringify(value)
  );
  if (!found) return [only(fk.columns), "23503", fk.name];
}

type Reference = ForeignKey & { child: string };

/** Whether a row refers to what its parent was. */
const refersTo = ({ columns: [column], parentColumns: [parentColumn] }: Reference, table: Table, old: Row) => {
  const [value] = meanings(table, [parentColumn], old);
  const { type } = table.columns.find(({ name }) => name === parentColumn)!;
  return (child: Row) => value !== null && meaning(type, child[column]) === value;
};

/** What a row refers to cannot change where the key does not follow, or the file has it that the row does not. */
function givesUp(
  table: Table,
  fk: Reference,
  carried: string[],
  { row, old }: Candidate,
  open: Candidate[],
  tables: Record<string, Row[]>,
  confirmed: Set<Row>,
): Fault | undefined {
  const { parentColumns, onUpdate, child } = fk;
  if (!old || parentColumns.some((name) => table.key.includes(name))) return;
  const value = (of: Row) =>
    JSON.stringify(
      onUpdate === "no action" ? meanings(table, parentColumns, of) : parentColumns.map((name) => of[name]),
    );
  if (value(row) === value(old)) return;
  const isOwn = child === table.name && changes(fk, carried), follows = !["no action", "restrict"].includes(onUpdate);
  if (follows && !isOwn) return;
  const children = follows
    ? tables[child].filter((row) => confirmed.has(row))
    : isOwn
    ? staying(tables[child], open)
    : tables[child];
  if (children.some(refersTo(fk, table, old))) return [only(parentColumns), "23503", fk.name];
}

/** The children's rows, once one of their parents has changed. */
function cascade(table: Table, fk: Reference, { row, old }: Candidate, children: Row[]): Row[] {
  const { columns: [column], parentColumns: [parentColumn], onUpdate } = fk;
  if (!old || row[parentColumn] === old[parentColumn] || !["cascade", "set null"].includes(onUpdate)) return children;
  const follows = refersTo(fk, table, old);
  const value = onUpdate === "cascade" ? row[parentColumn] : null;
  return children.map((child) => follows(child) ? { ...child, [column]: value } : child);
}

/** Its value is another's: of the row that has it and keeps it, else of the earlier record. */
function uniqueViolation(
  table: Table,
  unique: Table["uniques"][number],
  references: ForeignKey[],
  { number, row, old }: Candidate,
  open: Candidate[],
  before: Row[],
): Fault | undefined {
  const entry = (row: Row): string | null => {
    if (unique.condition && truth(unique.condition, row) !== true) return null;
    const value = meanings(table, unique.columns, row);
    return value.includes(null) && !unique.nullsEqual ? null : JSON.stringify(value);
  };
  const mine = entry(row);
  if (mine === null || (old && entry(old) === mine)) return;
  // What keys refer to does not move: on its way it would be nobody's.
  const stays = unique.name === `${table.name}_u` &&
    references.some(({ parentColumns }) => parentColumns[0] === "u");
  const kept = staying(before, stays ? [] : open).some((other) => entry(other) === mine) ||
    open.some((other) => other.old && entry(other.old) === mine && entry(other.row) === mine);
  const earlier = open.some((other) => other.number < number && entry(other.row) === mine);
  if (kept || earlier) return [only(unique.columns), "23505", unique.name];
}
