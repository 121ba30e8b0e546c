/** What a report lists: its table in pages, and its export; or that there is nothing to list. */
import { useEffect } from "preact/hooks";
import type { Loaded } from "../load.ts";
import { change, link, type Route } from "../route.ts";
import { words } from "../words.ts";
import { Icon } from "./icons.tsx";
import { Shown, Skeleton } from "./states.tsx";
import { type Column, lastPage, pageOf, Pager, type Sort, Table } from "./table.tsx";
import { Export } from "./tools.tsx";

export function Listing<Row extends { id: string }>(
  { heading, rows, columns, sort, empty, isWell, count, isCounted, route, file }: {
    heading: string;
    rows: Loaded<Row[]>;
    columns: Column<Row>[];
    sort: Sort;
    /** What stands there instead of a table without rows. */
    empty: preact.ComponentChildren;
    /** Whether all that this rests on is loaded as it should be; undefined until it is known. */
    isWell: boolean | undefined;
    /** Of all rows; undefined until it is known. */
    count: number | undefined;
    /** Whether that is of what is shown now, and not of the one before. */
    isCounted: boolean;
    route: Route;
    /** What Export takes. */
    file: Omit<Parameters<typeof Export>[0], "all">;
  },
) {
  const page = pageOf(route);
  const last = isCounted && count !== undefined ? lastPage(count) : undefined;
  // A link from when there was more, or one of somebody's own making.
  useEffect(() => {
    if (last !== undefined && page > last) change({ page: last === 1 ? "" : `${last}` }, { replace: true });
  }, [page, last]);
  const none = () => {
    if (!rows.isCurrent) return <Skeleton lines={10} />;
    if (page > 1) {
      return (
        <div class="empty">
          <p>{words.table.beyond(page)}</p>
          <a class="button" {...link({ ...route, page: "" })}>{words.table.first}</a>
        </div>
      );
    }
    return (
      <div class={isWell === false ? "empty warn" : "empty"}>
        {isWell !== undefined && <Icon name={isWell ? "ok" : "warn"} />}
        {empty}
        {isWell === false && <p>{words.freshness.doubt}</p>}
      </div>
    );
  };
  return (
    <section class="card" aria-label={heading}>
      <Shown of={rows} lines={10}>
        {(rows) =>
          rows.length === 0 ? none() : (
            <Table
              caption={heading}
              columns={columns}
              rows={rows}
              sort={sort}
              sortable={columns.map(({ key }) => key)}
              idOf={({ id }) => id}
            />
          )}
      </Shown>
      {count !== undefined && (
        <div class="foot">
          <Pager route={route} count={count} />
          <Export {...file} all={count} />
        </div>
      )}
    </section>
  );
}
