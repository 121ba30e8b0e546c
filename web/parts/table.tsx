/** A table that is sorted and paged by the database. On a phone each row is a card. */
import { change, link, type Route } from "../route.ts";
import { words } from "../words.ts";
import { Icon } from "./icons.tsx";

export interface Column<Row> {
  key: string;
  label: string;
  numeric?: boolean;
  show: (row: Row) => preact.ComponentChildren;
}

export interface Sort {
  key: string;
  descending: boolean;
}

/** As in the URL: -base_fare is the dearest first. */
export function sortOf(text: string | undefined, columns: string[], otherwise: Sort): Sort {
  const key = text?.replace(/^-/, "");
  return key && columns.includes(key) ? { key, descending: text!.startsWith("-") } : otherwise;
}

export function Table<Row>({ caption, columns, rows, sort, sortable, idOf }: {
  caption: string;
  columns: Column<Row>[];
  rows: Row[];
  sort?: Sort;
  sortable?: string[];
  idOf: (row: Row) => string;
}) {
  const sortBy = (key: string, descending: boolean) => change({ sort: `${descending ? "-" : ""}${key}`, page: "" });
  return (
    <>
      {sort && (
        <label class="sort-by">
          {words.table.sortBy}{" "}
          <select
            value={`${sort.descending ? "-" : ""}${sort.key}`}
            onChange={(event) => change({ sort: event.currentTarget.value, page: "" })}
          >
            {columns.filter(({ key }) => sortable!.includes(key)).flatMap(({ key, label }) =>
              [false, true].map((descending) => (
                <option key={`${key} ${descending}`} value={`${descending ? "-" : ""}${key}`}>
                  {label}, {descending ? words.table.descending : words.table.ascending}
                </option>
              ))
            )}
          </select>
        </label>
      )}
      {/* The roles are named, for a table that is laid out as cards loses its own. */}
      <table role="table">
        <caption class="unseen">{caption}</caption>
        <thead role="rowgroup">
          <tr role="row">
            {columns.map(({ key, label, numeric }) => {
              const sorted = sort?.key === key ? sort : undefined;
              const order = sorted && (sorted.descending ? "descending" : "ascending");
              return (
                <th key={key} role="columnheader" scope="col" class={numeric ? "numeric" : undefined} aria-sort={order}>
                  {sortable?.includes(key)
                    ? (
                      <button
                        type="button"
                        class="plain"
                        onClick={() => sortBy(key, sorted ? !sorted.descending : false)}
                      >
                        {label}
                        <span class={sorted ? "arrow" : "arrow off"} aria-hidden="true">
                          {sorted && !sorted.descending ? "↑" : "↓"}
                        </span>
                      </button>
                    )
                    : label}
                </th>
              );
            })}
          </tr>
        </thead>
        <tbody role="rowgroup">
          {rows.map((row) => (
            <tr key={idOf(row)} role="row">
              {columns.map(({ key, label, numeric, show }) => (
                <td key={key} role="cell" class={numeric ? "numeric" : undefined} data-label={label}>
                  <span>{show(row)}</span>
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </>
  );
}

export const pageSize = 50;
export const pageOf = (route: Route) => Math.min(1e9, Math.max(1, Math.floor(Number(route.page)) || 1));
export const lastPage = (count: number) => Math.max(1, Math.ceil(count / pageSize));

export function Pager({ route, count }: { route: Route; count: number }) {
  const page = pageOf(route), last = lastPage(count);
  if (count === 0) return null;
  const to = (page: number) => ({ ...route, page: page === 1 ? "" : `${page}` });
  return (
    <nav class="pager" aria-label={words.table.pages}>
      {page > 1
        ? (
          <a class="button" {...link(to(page - 1))} rel="prev">
            <Icon name="back" />
            {words.table.previous}
          </a>
        )
        : (
          <button type="button" disabled>
            <Icon name="back" />
            {words.table.previous}
          </button>
        )}
      <span>
        {words.table.shown(Math.min(count, (page - 1) * pageSize + 1), Math.min(count, page * pageSize), count)}
      </span>
      {page < last
        ? (
          <a class="button" {...link(to(page + 1))} rel="next">
            {words.table.next}
            <Icon name="forward" />
          </a>
        )
        : (
          <button type="button" disabled>
            {words.table.next}
            <Icon name="forward" />
          </button>
        )}
    </nav>
  );
}
