/** What a report lists: its table in pages, and its export; or that there is nothing to list. */
import type { Loaded } from "../load.ts";
import type { Route } from "../route.ts";
import { Icon } from "./icons.tsx";
import { Shown } from "./states.tsx";
import { type Column, Pager, type Sort, Table } from "./table.tsx";
import { Export } from "./tools.tsx";

export function Listing<Row extends { id: string }>({ heading, rows, columns, sort, empty, count, route, file }: {
  heading: string;
  rows: Loaded<Row[]>;
  columns: Column<Row>[];
  sort: Sort;
  /** What stands there instead of a table without rows. */
  empty: preact.ComponentChildren;
  /** Of all rows; undefined until it is known. */
  count: number | undefined;
  route: Route;
  /** What Export takes. */
  file: Omit<Parameters<typeof Export>[0], "all">;
}) {
  return (
    <section class="card" aria-label={heading}>
      <Shown of={rows} lines={10}>
        {(rows) =>
          rows.length === 0
            ? (
              <div class="empty">
                <Icon name="ok" />
                {empty}
              </div>
            )
            : (
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
