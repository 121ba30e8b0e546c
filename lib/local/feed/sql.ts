/** Values as SQL. */
// @ts-types="@types/pg"
import pg from "pg";

export type Value = string | number | boolean | string[] | Record<string, string>;

/** A value of a column of etl.feeds: a literal that needs no type. */
export function literal(value: Value): string {
  if (value === "\t") return "e'\\t'";
  if (typeof value === "string") return quoted(value);
  if (Array.isArray(value)) return `array[${value.map(quoted).join(", ")}]`;
  return typeof value === "object" ? quoted(JSON.stringify(value)) : String(value);
}

export function quoted(text: string): string {
  return pg.escapeLiteral(text).trim();
}

export function identifier(name: string): string {
  return pg.escapeIdentifier(name);
}

/** A statement with its places in braces filled. */
export function fill(template: string, places: Record<string, string>): string {
  return template.replaceAll(/\{(\w+)\}/g, (place, name) => places[name] ?? place);
}

/** A number of things, as evidence tells it. */
export function count(number: number): string {
  return number.toLocaleString("en-US");
}

export function records(number: number): string {
  return `${count(number)} ${number === 1 ? "record" : "records"}`;
}
