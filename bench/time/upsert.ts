/** What a person writes by hand, and the peers with it: all columns of every row, changed or not. */
import { names } from "../data.ts";

const rest = names.slice(1);

export const columns = names.join(", ");
export const onConflict = `on conflict (id) do update set (${rest.join(", ")}) = (${
  rest.map((name) => `excluded.${name}`).join(", ")
})`;

/** From a table of the same columns and types. */
export function upsertFrom(table: string): string {
  return `insert into public.trips (${columns}) select ${columns} from ${table} ${onConflict}`;
}

export const byHand = {
  table: "create temp table incoming (like public.trips)",
  copy: `copy incoming (${columns}) from stdin (format csv, header)`,
  merge: upsertFrom("incoming"),
};
