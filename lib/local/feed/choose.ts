/** From what the values are to what the table and the feed should be, each choice with its evidence. */
import type { Facts } from "./profile.ts";
import type { Staged } from "./stage.ts";
import { count } from "./sql.ts";

export interface Column extends Facts {
  /** In the file. */
  source: string;
  /** In the table; and as SQL. */
  name: string;
  nameSql: string;
  type: string;
  isRequired: boolean;
  evidence: string[];
}

/** A column's name; null where it is to have none. */
export interface Name {
  name: string | null;
  sql: string;
}

/** Types with the classes that their values may be of; of those that take all values of a column the first is its type. */
const ladder: [type: string, classes: RegExp][] = [
  ["boolean", /^boolean$/],
  ["integer", /^(integer|compact)$/],
  ["bigint", /^(integer|compact|bigint)$/],
  ["numeric", /^(integer|compact|bigint|decimal|grouped|exponent)$/],
  ["date", /^day/],
  ["timestamptz", /^(day|time)/],
  ["uuid", /^uuid$/],
  ["jsonb", /^json$/],
];
/** With a decimal comma, a point stands between thousands. */
const withComma: typeof ladder = ladder.map(([type, classes]) =>
  type === "numeric" ? [type, /^(integer|compact|bigint|grouped|thousands|comma)$/] : [type, classes]
);
const orders = ["dmy", "mdy"];

/** Decides what the feed's options are, then the columns' types. */
export function choose(staged: Staged, facts: Facts[], names: Name[]): Column[] {
  const { draft, found, asJson } = staged;
  const isSaid = draft.decimal_comma !== null;
  draft.decimal_comma ??= !asJson && findComma(facts, found);
  const numbers: Numbers = { comma: draft.decimal_comma, isSaid, asJson };
  const columns = facts.flatMap((fact, i) => {
    const { name, sql } = names[i];
    return name === null ? [] : [typed({ ...fact, source: staged.names[i], name, nameSql: sql }, numbers)];
  });
  findNulls(columns, staged);
  findOrder(columns, staged);
  for (const column of columns) {
    const missing = staged.records - present(column, draft.nulls);
    column.isRequired = missing === 0;
    if (missing === staged.records) column.evidence.unshift("empty in every record, so that its type cannot be known");
    else if (missing > 0) column.evidence.unshift(`empty in ${count(missing)} of ${count(staged.records)}`);
  }
  return columns;
}

/** Records that have a value. */
function present({ classes, words }: Facts, nulls: string[]): number {
  const values = [...words].filter(([word]) => !nulls.includes(word));
  return sum([...classes.values(), ...values.map(([, records]) => records)]);
}

function sum(numbers: number[]): number {
  return numbers.reduce((sum, number) => sum + number, 0);
}

function fits({ classes }: Facts, pattern: RegExp): boolean {
  return classes.size > 0 && [...classes.keys()].every((name) => pattern.test(name));
}

function findComma(facts: Facts[], found: Staged["found"]): boolean {
  const [, numbers] = withComma.find(([type]) => type === "numeric")!;
  const withOne = facts.filter((fact) => fact.classes.has("comma") && fits(fact, numbers));
  const hasPoint = ({ classes }: Facts) => classes.has("decimal") || classes.has("exponent");
  const withPoint = facts.filter((fact) => hasPoint(fact) && fits(fact, /^(?!day|time|text|code|short)/));
  if (withOne.length === 0 || withPoint.length > 0) return false;
  found.set(
    "decimal_comma",
    `so are ${count(sum(withOne.map(({ classes }) => classes.get("comma")!)))} numbers written`,
  );
  return true;
}

type Named = Omit<Column, "type" | "isRequired" | "evidence">;

/** How the file's numbers are read, and whether somebody has said so. */
interface Numbers {
  comma: boolean;
  isSaid: boolean;
  asJson: boolean;
}

/** Three digits may be a fraction or thousands. Each column must tell for itself: exports mix the two. */
const ofTwoMeanings = /^(grouped|thousands)$/;

function typed(named: Named, numbers: Numbers): Column {
  const { comma, isSaid, asJson } = numbers;
  const of = (type: string, ...evidence: string[]) => ({ ...named, type, isRequired: false, evidence });
  const { classes, name } = named;
  if (asJson && classes.has("json")) return of("jsonb");
  if (fits(named, /^compact$/) && /date|day/i.test(name)) return of("date", "eight digits, and each of them a day");
  const [type] = (comma ? withComma : ladder).find(([, pattern]) => fits(named, pattern)) ?? ["text"];
  const unclear = recordsOf(classes, (name) => ofTwoMeanings.test(name));
  if (type === "numeric" && unclear > 0) {
    const read = comma ? "a comma as the fraction's, a point as that of thousands" : "a point as the fraction's";
    if (isSaid) return of(type, `three digits behind a point or comma in ${count(unclear)}; as said, ${read}`);
    const proof = comma ? /^comma$/ : /^(decimal|exponent)$/;
    if (recordsOf(classes, (name) => proof.test(name)) === 0) return of("text", twoMeanings(named, numbers));
  }
  if (type !== "text") return of(type);
  if (fits(named, /^(integer|compact|bigint|decimal|grouped|thousands|comma)$/)) {
    return of(type, twoMeanings(named, numbers));
  }
  const short = classes.get("short year") ?? 0;
  if (short > 0) return of(type, `like days whose year has two digits: ${count(short)}`);
  const codes = classes.get("code") ?? 0;
  const why = asJson ? "digits in quotes" : "digits behind a zero or a plus, or too many for a number";
  return codes > 0 ? of(type, `${why}: ${count(codes)}`) : of(type);
}

function twoMeanings({ classes }: Facts, { isSaid, asJson }: Numbers): string {
  const isPoint = !classes.has("comma") && !classes.has("thousands");
  const way = isPoint
    ? ": --decimal-comma or --no-decimal-comma says which"
    : ": --decimal-comma says that it is the fraction's";
  const what = `numbers with a ${isPoint ? "point" : "comma"}, for thousands or for the fraction`;
  return isSaid || asJson ? what : what + way;
}

/** Words mean null where all else is a number, a day or the like. */
function findNulls(columns: Column[], { draft, found, asJson }: Staged): void {
  const words = new Map<string, number>();
  for (const { type, words: mine } of columns) {
    if (["text", "boolean", "jsonb"].includes(type)) continue;
    for (const [word, records] of mine) words.set(word, (words.get(word) ?? 0) + records);
  }
  const more = [...words].filter(([word]) => !draft.nulls.includes(word));
  if (more.length > 0) {
    draft.nulls = [...draft.nulls, ...more.map(([word]) => word)];
    const told = more.map(([word, records]) => `${word} in ${count(records)}`).join(", ");
    found.set("nulls", `${told} cells of columns whose other values are of one type`);
  }
  for (const column of columns) {
    const other = sum([...column.words].filter(([word]) => !draft.nulls.includes(word)).map(([, records]) => records));
    if (other > 0 && !(asJson && column.type === "jsonb")) column.type = "text";
  }
}

/** What 03/04/2024 is, by the days that make sense in one order alone. */
function findOrder(columns: Column[], { draft, found }: Staged): void {
  const dated = columns.filter(({ type, classes }) => isDay(type) && [...classes.keys()].some(hasOrder))
    .map((column) => ({ column, possible: orders.filter((order) => allFit(column, order)) }));
  draft.date_order ??= dated.find(({ possible }) => possible.length === 1)?.possible[0] ?? null;
  const order = draft.date_order;
  for (const { column, possible } of dated) {
    if (order ? possible.includes(order) : possible.length > 0) continue;
    column.type = "text";
    const which = possible.length > 0 ? `all ${possible.join(" or ")}` : "in no one order";
    column.evidence.push(`days, ${which}, ${order ? `where others are ${order}` : "and so no dates"}`);
  }
  const read = dated.filter(({ column }) => isDay(column.type)).map(({ column }) => column);
  if (read.length === 0) return;
  const names = read.map(({ name }) => name).join(", ");
  const days = sum(read.map(({ classes }) => recordsOf(classes, hasOrder)));
  const sure = sum(
    read.map(({ classes }) => recordsOf(classes, (name) => name.split(" ")[1] === order && !name.split(" ")[2])),
  );
  found.set(
    "date_order",
    order
      ? `the days in ${names}: ${count(sure)} of ${count(days)} make sense in no other order`
      : `the days in ${names}, ${count(days)}, make sense as ${dated[0].possible.join(" and as ")}`,
  );
}

function isDay(type: string): boolean {
  return type === "date" || type === "timestamptz";
}

/** "day dmy mdy" has; "day", which begins with its year, has not. */
function hasOrder(name: string): boolean {
  return name.includes(" ");
}

function allFit({ classes }: Facts, order: string): boolean {
  return [...classes.keys()].every((name) => !hasOrder(name) || name.includes(order));
}

function recordsOf(classes: Map<string, number>, wanted: (name: string) => boolean): number {
  return sum([...classes].filter(([name]) => wanted(name)).map(([, records]) => records));
}
