/** The tables of the model: their types, with what Postgres makes of a text, and the conditions of their rules. */

export type Type =
  | "int"
  | "given"
  | "filled"
  | "text"
  | "numeric"
  | "money"
  | "code"
  | "short"
  | "folded"
  | "loose"
  | "stamp"
  | "flag"
  | "day";

export interface Column {
  name: string;
  type: Type;
  required: boolean;
  default: string | null;
}

export interface Condition {
  sql: string;
  columns: string[];
  /** Of values that are not null. */
  holds(...values: string[]): boolean;
}

export interface ForeignKey {
  name: string;
  columns: string[];
  parent: Table;
  parentColumns: string[];
  isFull: boolean;
  onUpdate: OnUpdate;
  /** Nothing is ever deleted by it. */
  onDelete: "no action" | "restrict" | "cascade" | "set null";
}

export type OnUpdate = "no action" | "restrict" | "cascade" | "set null";

export interface Table {
  name: string;
  columns: Column[];
  key: string[];
  checks: { name: string; condition: Condition }[];
  uniques: { name: string; columns: string[]; nullsEqual: boolean; condition: Condition | null }[];
  foreignKeys: ForeignKey[];
  /** What the loader must not mind: beside the model's columns, an identity; in the key's index, another column. */
  hasIdentity: boolean;
  included: string | null;
  isPartitioned: boolean;
  /** How its feed's file is written: words that mean null, and how 03/04/2021 is meant. */
  nulls: string[];
  dateOrder: DateOrder | null;
  /** What it means that a file lacks a record. */
  contents: "all" | "changes";
  absent: "keep" | "delete" | "mark";
  absentLimit: number;
}

export type DateOrder = "dmy" | "mdy" | "ymd";

/** What the types below need; the extension is the superuser's to make. */
export const extension = "create extension citext schema public";
export const types = `
  create domain public.short_code as varchar(3);
  create domain public.short as public.short_code;
  create domain public.given as int not null;
  create domain public.filled as int default 7;
  create collation public.loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false);`;

type Value = string | null | { error: string };

export const sqlOf: Record<Type, string> = {
  int: "int",
  given: "public.given",
  filled: "public.filled",
  text: "text",
  numeric: "numeric",
  money: "numeric(10,2)",
  code: "varchar(3)",
  short: "public.short",
  folded: "public.citext",
  loose: "text collate public.loose",
  stamp: "timestamptz",
  flag: "boolean",
  day: "date",
};

const bad = (...texts: string[]) => (error: string) => Object.fromEntries(texts.map((text) => [text, { error }]));

/** Texts of a type that is not textual, and what they become. Beside these there is null, and '' which is null too. */
export const spellings: Record<
  Exclude<Type, "given" | "filled" | "text" | "code" | "short" | "folded" | "loose">,
  Record<string, Exclude<Value, null>>
> = {
  int: {
    ...Object.fromEntries(["1", "2", "3", "4", "5", "6", "7", "8"].map((n) => [n, n])),
    " 3 ": "3",
    "+2": "2",
    "007": "7",
    "-1": "-1",
    "2.0": "2",
    "3.000": "3",
    ...bad("x", "1.5", " ", "1e1", "1,000", "0x3", "0_3")("22P02"),
    ...bad("2147483648", "-99999999999999999999")("22003"),
  },
  numeric: {
    ...Object.fromEntries(["1", "1.0", "1.00", "2", "2.5", "2.50", "-3", "10000000000000000999"].map((n) => [n, n])),
    "1e1": "10",
    NaN: "NaN",
    ...bad("x", "1,5", "--1", "€ 5", "1_0", "0x2")("22P02"),
  },
  money: {
    "1": "1.00",
    "1.005": "1.01",
    "-0.5": "-0.50",
    "1e2": "100.00",
    "0": "0.00",
    "-0": "0.00",
    "99999999.99": "99999999.99",
    ...bad("$5", "1,5", "five")("22P02"),
    ...bad("100000000", "99999999.995", "Infinity")("22003"),
  },
  stamp: {
    "2021-07-01T10:00:00Z": "2021-07-01 10:00:00+00",
    "2021-07-01 12:00:00+02": "2021-07-01 10:00:00+00",
    "2021-07-01 10:00": "2021-07-01 10:00:00+00",
    "2021-07-02": "2021-07-02 00:00:00+00",
    "2021-07-03T00:00:00.123456Z": "2021-07-03 00:00:00.123456+00",
    ...bad("2021-02-30", "2021-07-01 25:00")("22008"),
    "2021-07-01T10:00:00-02:00": "2021-07-01 12:00:00+00",
    ...bad("soon", "12", "infinity", "now", "2021-07-01 10:00 UTC+2", "2021-07-01 09:00 - 12:00")("22007"),
  },
  flag: {
    ...Object.fromEntries(["true", "t", "YES", "on", "1"].map((text) => [text, "true"])),
    ...Object.fromEntries(["false", "f", "no", "off", "0"].map((text) => [text, "false"])),
    ...bad("maybe", "2", "-")("22P02"),
  },
  day: {
    "2021-07-01": "2021-07-01",
    "20210702": "2021-07-02",
    "2021-07-04T10:00:00Z": "2021-07-04",
    "3 July 2021": "2021-07-03",
    ...bad("2021-13-01")("22008"),
    ...bad("tomorrowish", "today", "1625140101")("22007"),
  },
};

/** Dates in an order that the feed must name. */
const ordered: Record<DateOrder | "none", Record<string, Exclude<Value, null>>> = {
  none: bad("07/03/2021", "31/01/2021", "3/7/21", "04-Jul-21", "Jul 4 '21", "210703")("22007"),
  dmy: {
    "07/03/2021": "2021-03-07",
    "31/01/2021": "2021-01-31",
    "3/7/21": "2021-07-03",
    "04-Jul-21": "2021-07-04",
    "Jul 4 '21": "2021-07-04",
    ...bad("210703")("22007"),
  },
  mdy: {
    "07/03/2021": "2021-07-03",
    ...bad("31/01/2021")("22008"),
    "3/7/21": "2021-03-07",
    "04-Jul-21": "2021-07-04",
    "Jul 4 '21": "2021-07-04",
    ...bad("210703")("22007"),
  },
  ymd: {
    ...bad("07/03/2021", "31/01/2021", "3/7/21", "Jul 4 '21")("22007"),
    "04-Jul-21": "2004-07-21",
    "210703": "2021-07-03",
  },
};
export const orderedDates = Object.keys(ordered.none);

/** What Postgres would read, and a load does not, in any order of dates or in one; or the other way round. */
export const ours = [
  ...["infinity", "now", "today", "2.0", "3.000", "0x3", "0_3", "1_0", "0x2", "1625140101"],
  ...["2021-07-01 10:00 UTC+2", "2021-07-01 09:00 - 12:00"],
  ...["ymd 07/03/2021", "ymd 31/01/2021", "ymd 3/7/21", "ymd Jul 4 '21", "dmy 210703", "mdy 210703"],
];

const lookUp = (type: keyof typeof spellings) => (text: string | null): Value =>
  text === null || text === "" ? null : spellings[type][text] ?? { error: "22P02" };

/** Blanks beyond the length are cut, as the SQL standard wants it. */
const upTo3 = (text: string | null): Value => {
  const characters = [...text ?? ""];
  if (characters.slice(3).some((character) => character !== " ")) return { error: "22001" };
  return text === null ? null : characters.slice(0, 3).join("");
};

/** What becomes of a text: a value, or an SQLSTATE. */
export const values: Record<Type, (text: string | null, dateOrder?: DateOrder | null) => Value> = {
  int: lookUp("int"),
  given: lookUp("int"),
  filled: lookUp("int"),
  numeric: lookUp("numeric"),
  money: lookUp("money"),
  stamp: lookUp("stamp"),
  flag: lookUp("flag"),
  day: (text, dateOrder) => ordered[dateOrder ?? "none"][text ?? ""] ?? lookUp("day")(text),
  text: (text) => text,
  folded: (text) => text,
  loose: (text) => text,
  code: upTo3,
  short: upTo3,
};

/** Whether a null is refused: by the column, or by its domain. */
export const isRequired = ({ required, type }: Column) => required || type === "given";
/** That of the column, or of its domain. */
export const defaultOf = ({ default: own, type }: Column) => own ?? (type === "filled" ? "7" : null);

const textual: Type[] = ["text", "code", "short", "folded", "loose"];

/** What a table's feed means by a cell. */
export function valueOf(table: Table, { name, type, required }: Column, text: string | null): Value {
  if (text !== null && table.nulls.includes(text)) return null;
  const isCompared = [...table.foreignKeys, ...table.uniques].some(({ columns }) => columns.includes(name));
  const isNull = text === "" && textual.includes(type) && !required && !table.key.includes(name) && isCompared;
  return isNull ? null : values[type](text, table.dateOrder);
}

/** Two values are equal when their meanings are: 1.0 and 1.00, or a and A where case is nothing. */
export function meaning(type: Type, value: string | null): string | null {
  if (type === "folded" || type === "loose") return value?.toLowerCase() ?? null;
  return type === "numeric" && value?.includes(".") ? value.replace(/\.?0+$/, "") : value;
}

/** Null where a value is, as in SQL. */
export function truth(condition: Condition, row: Record<string, string | null>): boolean | null {
  const values = condition.columns.map((column) => row[column]);
  return values.some((value) => value === null) ? null : condition.holds(...values as string[]);
}
