/** The migration: a table, and a row of etl.feeds, each choice with its evidence. */
import type { Column } from "./choose.ts";
import type { ForeignKey } from "./keys.ts";
import type { Options } from "./options.ts";
import { columnNames } from "./names.ts";
import { count, literal, quoted, records, type Value } from "./sql.ts";
import type { Staged } from "./stage.ts";

/** The target's name, its parts as SQL. */
export interface Target {
  schema: string;
  table: string;
  /** Of the table, not as SQL. */
  name: string;
}

export interface Finding {
  options: Options;
  target: Target;
  staged: Staged;
  columns: Column[];
  key: Column[];
  foreignKeys: ForeignKey[];
}

/** Where the loader marks a row that the file lacks, with absent = mark. */
export const markColumn = "absent_since";

export function migration(finding: Finding): string {
  const { target: { schema, table } } = finding;
  const target = `${schema}.${table}`;
  return [
    ...headOf(finding),
    ...(schema === "public" ? [] : [`create schema if not exists ${schema};`]),
    `create table if not exists ${target} (`,
    ...linesOf(columnsOf(finding)),
    ");",
    ...indexesOf(finding, target),
    ...commentsOf(finding, target),
    "-- Nobody sees or writes it by the API; older projects grant all on a new table to anyone.",
    `alter table ${target} enable row level security;`,
    "do $$ begin",
    `  revoke all on ${target} from anon, authenticated;`,
    "exception when undefined_object then null; -- They are Supabase's, and are not everywhere.",
    "end $$;",
    "",
    ...feedOf(finding, target),
  ].join("\n");
}

/** A line of a list, and what is told of it. Without SQL it is a comment alone. */
interface Line {
  sql: string | null;
  why: string[];
}

function linesOf(lines: Line[]): string[] {
  const last = lines.findLastIndex(({ sql }) => sql !== null);
  return lines.map(({ sql, why }, i) => {
    const comment = why.length > 0 ? `-- ${why.join("; ").replaceAll(/\s+/g, " ")}` : "";
    return `  ${sql === null ? "" : sql + (i < last ? "," : "") + (comment && " ")}${comment}`;
  });
}

function headOf({ options: { draft }, staged, columns }: Finding): string[] {
  const looked = `the ${staged.isPart ? "first " : ""}${records(staged.records)}`;
  const failed = Object.entries(staged.unread).map(([reason, number]) =>
    `-- ${count(number)} more cannot be read: ${reason}.`
  );
  const ignored = staged.names.length - columns.length;
  return [
    `-- The feed ${draft.name}, by ${looked} of its file.`.replaceAll(/\s+/g, " "),
    ...failed,
    ...(ignored > 0 ? [`-- Ignored, without a name or with that of another: ${count(ignored)} columns.`] : []),
    "-- A column has the narrowest type that takes all its values, and is not null where no record lacks one.",
  ];
}

function columnsOf({ columns, key, foreignKeys, staged, options: { said } }: Finding): Line[] {
  const lines = columns.map((column): Line => {
    const parent = foreignKeys.find((one) => one.column === column)?.parent;
    const isKey = key.length === 1 && key[0] === column;
    const isRequired = column.isRequired && !isKey && !key.includes(column);
    const parts = [
      ...[nameOf(column), typeOf(column, parent?.type), isKey && "primary key", isRequired && "not null"],
      parent && `references ${parent.table} (${parent.keySql})`,
    ];
    const unique = isKey ? [`unique in ${records(staged.records)}`] : [];
    return { sql: parts.filter(Boolean).join(" "), why: [...unique, ...column.evidence] };
  });
  if (said.get("absent") === "mark") lines.push({ sql: `${markColumn} timestamptz`, why: ["where absent is mark"] });
  const together = `unique in ${records(staged.records)}; no column is by itself`;
  if (key.length === 2) lines.push({ sql: `primary key (${key.map(nameOf).join(", ")})`, why: [together] });
  if (key.length === 0) lines.push({ sql: null, why: [`primary key (…): ${noKey(columns, staged)}`] });
  return lines;
}

function noKey(columns: Column[], staged: Staged): string {
  const [nearest] = columns.filter(({ isRequired }) => isRequired).sort((a, b) => b.distinct - a.distinct);
  const most = nearest ? `; ${nearest.name} has the most values, ${count(nearest.distinct)}` : "";
  return `what a row is known by must stand here. No column, and no two, are unique in ${
    records(staged.records)
  }${most}`;
}

/** What refers takes the type of what it refers to. */
function typeOf({ type }: Column, parent?: string): string {
  return parent && type !== "text" ? parent : type;
}

function nameOf({ nameSql }: Column): string {
  return nameSql;
}

function indexesOf({ foreignKeys, key, target: { name } }: Finding, target: string): string[] {
  return foreignKeys.filter(({ column }) => column !== key[0]).map(({ column }) => {
    const index = `${columnNames([name])[0]!.slice(0, 28)}_${column.name.slice(0, 28)}_idx`;
    return `create index if not exists ${index} on ${target} (${nameOf(column)});`;
  });
}

function commentsOf({ options: { draft, said }, columns }: Finding, target: string): string[] {
  const renamed = columns.filter(({ name, source }) => name !== source);
  return [
    `comment on table ${target} is ${quoted(`Source: the feed ${draft.name}.`)};`,
    ...renamed.map((column) =>
      `comment on column ${target}.${nameOf(column)} is ${quoted(`In the file: ${column.source}`)};`
    ),
    ...(said.get("absent") === "mark"
      ? [`comment on column ${target}.${markColumn} is 'Since when the file lacks the row.';`]
      : []),
  ];
}

function feedOf({ options: { said, draft }, staged, columns }: Finding, target: string): string[] {
  const mapping = Object.fromEntries(
    columns.filter(({ name, source }) => name !== source).map((c) => [c.source, c.name]),
  );
  const of = (column: string, value: Value | null, why?: string) => ({ column, value, why: why ? [why] : [] });
  const found = [...staged.found].map(([column, why]) => of(column, staged.draft[column as keyof typeof draft], why));
  const others = [...said].filter(([column]) => !staged.found.has(column)).map(([column, value]) => of(column, value));
  const options = [
    ...[of("name", draft.name), of("url", draft.url), of("target", target)],
    ...(Object.keys(mapping).length > 0 ? [of("columns", mapping)] : []),
    ...others,
    ...found,
  ];
  const set = options.filter(({ value }) => value !== null);
  const values = options.map(({ column, value, why }): Line => ({
    sql: value === null ? null : literal(value),
    why: [...(value === null ? [`${column} must be said`] : []), ...why],
  }));
  return [
    `insert into etl.feeds (${set.map(({ column }) => column).join(", ")})`,
    "values (",
    ...linesOf(values),
    ")",
    "on conflict (name) do nothing;",
  ];
}
