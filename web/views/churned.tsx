/** Drivers who drove before, and not in the window up to a day. */
import { useContext, useState } from "preact/hooks";
import { type Api, ask, type RowOf } from "../api.ts";
import { after, isDay, range, startOf } from "../days.ts";
import { ago, day, exactMoment, moment, name, number, tick, zone } from "../format.ts";
import { useLoaded } from "../load.ts";
import { Chart } from "../parts/chart.tsx";
import { Freshness, isWell, misleads, useFreshness } from "../parts/freshness.tsx";
import { Icon } from "../parts/icons.tsx";
import { Listing } from "../parts/listing.tsx";
import { Shown } from "../parts/states.tsx";
import { type Column, pageOf, pageSize, sortOf } from "../parts/table.tsx";
import { Search } from "../parts/tools.tsx";
import { Project } from "../project.ts";
import { change, type Route } from "../route.ts";
import { words } from "../words.ts";

const said = words.churned;
type Driver = RowOf<"churned_drivers_listed">;

const columns: Column<Driver>[] = [
  { key: "last_name", label: said.columns.last_name, show: name },
  {
    key: "last_dropoff_timestamp",
    label: said.columns.last_dropoff_timestamp,
    show: ({ last_dropoff_timestamp: at }) => (
      <>
        <time dateTime={at} title={exactMoment(at)}>{moment(at)}</time> <span class="faint">{ago(at)}</span>
      </>
    ),
  },
  { key: "tlc_number", label: said.columns.tlc_number, show: ({ tlc_number }) => tlc_number },
  { key: "id", label: said.columns.id, show: ({ id }) => <span class="id">{id}</span> },
];
const sortable = columns.map(({ key }) => key);
const windows = [7, 14, 30, 60, 90];

export function ChurnedDrivers({ route }: { route: Route }) {
  const api = useContext(Project)!;
  // All that this view asks is asked of one moment.
  const [now] = useState(() => new Date().toISOString());
  const { search = "" } = route;
  const asOf = isDay(route.as_of) ? startOf(route.as_of).toISOString() : now;
  const window = Math.min(3650, Math.max(1, Math.floor(Number(route.window)) || 14));
  const of = { as_of: asOf, inactive_for: `${window} days`, ...(search && { search }) };
  const sort = sortOf(route.sort, sortable, { key: "last_dropoff_timestamp", descending: true });
  const page = pageOf(route);
  const freshness = useFreshness("drivers", "trips");
  const weeks = useLoaded(
    JSON.stringify(of),
    (signal) => ask(api.rest.rpc("churned_drivers_by_week", { ...of, zone }).abortSignal(signal)),
  );
  const drivers = useLoaded(JSON.stringify([of, sort, page]), (signal) => {
    const rows = api.rest.rpc("churned_drivers_listed", of).order(sort.key, { ascending: !sort.descending });
    if (sort.key === "last_name") rows.order("first_name", { ascending: !sort.descending });
    return ask(rows.order("id").range((page - 1) * pageSize, page * pageSize - 1).abortSignal(signal));
  });
  const count = (weeks.data ?? []).reduce((sum, { drivers }) => sum + drivers, 0);
  return (
    <>
      <div class="heading">
        <h1>{said.heading}</h1>
        <p>{said.lead}</p>
      </div>
      <Shown of={freshness} lines={1}>{(feeds) => <Freshness feeds={feeds} />}</Shown>
      <div class="tools">
        <div class="dates">
          <label>
            {said.asOf}{" "}
            <input
              type="date"
              value={isDay(route.as_of) ? route.as_of : ""}
              onChange={(event) => change({ as_of: event.currentTarget.value, page: "" })}
            />
          </label>
          {route.as_of
            ? <button type="button" onClick={() => change({ as_of: "", page: "" })}>{said.now}</button>
            : <span class="tag">{said.now}</span>}
          <label>
            {said.window}{" "}
            <select value={`${window}`} onChange={(event) => change({ window: event.currentTarget.value, page: "" })}>
              {[...new Set([...windows, window])].sort((a, b) => a - b).map((days) => (
                <option key={days} value={`${days}`}>{said.days(days)}</option>
              ))}
            </select>
          </label>
        </div>
        <Search value={search} />
      </div>
      <Shown of={weeks} lines={6}>
        {(weeks) => (
          <>
            <dl class="figures">
              <div>
                <dt>{said.count}</dt>
                <dd>{number(count)}</dd>
                <dd class="part">
                  {misleads(freshness.data) && (
                    <span class="tag warn">
                      <Icon name="warn" />
                      {words.freshness.mark}
                    </span>
                  )}
                </dd>
              </div>
            </dl>
            {weeks.length > 0 && <WeekChart weeks={weeks} />}
          </>
        )}
      </Shown>
      <Listing
        heading={said.heading}
        rows={drivers}
        columns={columns}
        sort={sort}
        empty={<p>{search ? said.emptySearch : said.empty}</p>}
        isWell={isWell(freshness.data)}
        count={weeks.data && count}
        isCounted={weeks.isCurrent}
        route={route}
        file={{ file: said.file, columns: exported, pages: (signal) => allDrivers(api, of, count, signal) }}
      />
      <p class="faint">{words.trips.zone(zone)}</p>
    </>
  );
}

const exported = ["id", "tlc_number", "first_name", "last_name", "last_dropoff_timestamp"];

async function* allDrivers(api: Api, of: { as_of: string; inactive_for: string }, count: number, signal: AbortSignal) {
  const most = 1000;
  for (let from = 0; from < count; from += most) {
    yield await ask(
      api.rest.rpc("churned_drivers_listed", of).order("last_dropoff_timestamp").order("id")
        .range(from, from + most - 1).abortSignal(signal),
    );
  }
}

function WeekChart({ weeks }: { weeks: RowOf<"churned_drivers_by_week">[] }) {
  const known = new Map(weeks.map(({ week, drivers }) => [week, drivers]));
  // A few weeks before tell that it was quiet then.
  const bars = range(after(weeks[0].week, -8, "week"), weeks.at(-1)!.week, "week").map((week) => {
    const drivers = known.get(week) ?? 0;
    return { tick: tick(week, "week"), title: said.bar(day(week), drivers), parts: [drivers] };
  });
  return (
    <section class="card">
      <Chart caption={said.chart} bars={bars} />
    </section>
  );
}
