/** Completed trips that no charge points to: how many, how much money, which ones. */
import { useContext } from "preact/hooks";
import { type Api, ask, type RowOf } from "../api.ts";
import { after, boundsOf, isDay, type Period, periods, range, startOf, type Unit } from "../days.ts";
import { amount, barName, exactMoment, moment, name, number, tick, zone } from "../format.ts";
import { useLoaded } from "../load.ts";
import { Chart } from "../parts/chart.tsx";
import { Freshness, isWell, misleads, useFreshness, whereRejected } from "../parts/freshness.tsx";
import { Icon } from "../parts/icons.tsx";
import { Listing } from "../parts/listing.tsx";
import { Shown } from "../parts/states.tsx";
import { type Column, pageOf, pageSize, type Sort, sortOf } from "../parts/table.tsx";
import { Search } from "../parts/tools.tsx";
import { Project } from "../project.ts";
import { change, link, type Route } from "../route.ts";
import { words } from "../words.ts";

const said = words.trips;
type Trip = RowOf<"trips_without_charges_listed">;
type Day = RowOf<"trips_without_charges_by_day">;

const columnsOf = (rejected: Route): Column<Trip>[] => [
  {
    key: "dropoff_timestamp",
    label: said.columns.dropoff_timestamp,
    show: ({ dropoff_timestamp: at }) => <time dateTime={at} title={exactMoment(at)}>{moment(at)}</time>,
  },
  {
    key: "last_name",
    label: said.columns.last_name,
    show: (trip) => (
      <>
        {name(trip)} <span class="id">{trip.driver_id}</span>
      </>
    ),
  },
  { key: "id", label: said.columns.id, show: ({ id }) => <span class="id">{id}</span> },
  {
    key: "charge_rejected",
    label: said.columns.charge_rejected,
    show: ({ charge_rejected }) =>
      charge_rejected
        ? <a class="tag warn" {...link(rejected)}>{said.chargeRejected}</a>
        : <span class="faint">{said.noCharge}</span>,
  },
  { key: "base_fare", label: said.columns.base_fare, numeric: true, show: ({ base_fare }) => money(base_fare) },
  { key: "gratuity", label: said.columns.gratuity, numeric: true, show: ({ gratuity }) => money(gratuity) },
];
const sortable = columnsOf({ view: "feeds" }).map(({ key }) => key);
const money = (value: number | null) => value === null ? "" : amount(value);

export function Trips({ route }: { route: Route }) {
  const api = useContext(Project)!;
  const period = periods.find((one) => one === route.period) ?? api.config.period ?? "last-month";
  const sort = sortOf(route.sort, sortable, { key: "dropoff_timestamp", descending: true });
  const { search = "" } = route;
  const bounds = boundsOf(period, route);
  const isBackwards = bounds.from !== null && bounds.before !== null && bounds.from >= bounds.before;
  const of: Question = { ...bounds, search };
  const key = JSON.stringify(of);
  const freshness = useFreshness("trips", "charges");
  const days = useLoaded(
    key,
    (signal) => ask(api.rest.rpc("trips_without_charges_by_day", { ...argsOf(of), zone }).abortSignal(signal)),
  );
  const page = pageOf(route);
  const trips = useLoaded(
    JSON.stringify([of, sort, page]),
    (signal) => ask(pageOfTrips(api, of, sort, page).abortSignal(signal)),
  );
  const count = sum(days.data, "trips");
  const rejected = whereRejected(freshness.data);

  return (
    <>
      <div class="heading">
        <h1>{said.heading}</h1>
        <p>{said.lead}</p>
      </div>
      <Shown of={freshness} lines={1}>{(feeds) => <Freshness feeds={feeds} />}</Shown>
      <div class="tools">
        <PeriodChoice period={period} route={route} />
        <Search value={search} />
      </div>
      <Shown of={days} lines={6}>
        {(days) => (
          <>
            <Figures days={days} mark={misleads(freshness.data)} where={rejected} />
            {days.length > 0 && <TripChart days={days} />}
          </>
        )}
      </Shown>
      <Listing
        heading={said.heading}
        rows={trips}
        columns={columnsOf(rejected)}
        sort={sort}
        empty={
          <>
            <p>{isBackwards ? said.backwards : search ? said.emptySearch : said.empty}</p>
            {period !== "all" && <a class="button" {...link({ ...route, period: "all", page: "" })}>{said.showAll}</a>}
          </>
        }
        isWell={isBackwards ? undefined : isWell(freshness.data)}
        count={days.data && count}
        isCounted={days.isCurrent}
        route={route}
        file={{ file: said.file, columns: exported, pages: (signal) => allTrips(api, of, signal) }}
      />
      <p class="faint">{said.zone(zone)}</p>
    </>
  );
}

const exported = [
  ...["id", "dropoff_timestamp", "request_timestamp", "pickup_timestamp", "driver_id", "first_name", "last_name"],
  ...["base_fare", "gratuity", "charge_rejected"],
];

interface Question {
  from: string | null;
  before: string | null;
  search: string;
}

function argsOf({ from, before, search }: Question) {
  return {
    ...(from && { completed_from: startOf(from).toISOString() }),
    ...(before && { completed_before: startOf(before).toISOString() }),
    ...(search && { search }),
  };
}

function pageOfTrips(api: Api, of: Question, { key, descending }: Sort, page: number) {
  const rows = api.rest.rpc("trips_without_charges_listed", argsOf(of)).order(key, { ascending: !descending });
  if (key === "last_name") rows.order("first_name", { ascending: !descending });
  return rows.order("id").range((page - 1) * pageSize, page * pageSize - 1);
}

/** An answer has 1,000 rows at most. So it is asked for the trips of as many days as have no more; each once. */
async function* allTrips(api: Api, of: Question, signal: AbortSignal) {
  const most = 1000;
  const days = await ask(api.rest.rpc("trips_without_charges_by_day", { ...argsOf(of), zone }).abortSignal(signal));
  for (let first = 0; first < days.length;) {
    let next = first + 1, trips = days[first].trips;
    while (next < days.length && trips + days[next].trips <= most) trips += days[next++].trips;
    const part = {
      ...of,
      from: first === 0 ? of.from : days[first].day,
      before: next === days.length ? of.before : days[next].day,
    };
    for (let from = 0; from === 0 || from < trips; from += most) {
      yield await ask(
        api.rest.rpc("trips_without_charges_listed", argsOf(part)).select(exported.join()).order("dropoff_timestamp")
          .order("id").range(from, from + most - 1).abortSignal(signal),
      ) as unknown as Record<string, unknown>[];
    }
    first = next;
  }
}

const sum = (days: Day[] | undefined, key: "trips" | "fares" | "gratuities" | "charges_rejected") =>
  (days ?? []).reduce((sum, day) => sum + Number(day[key]), 0);

function PeriodChoice({ period, route }: { period: Period; route: Route }) {
  const { from } = boundsOf(period, route);
  const choose = (period: Period) =>
    change({
      ...{ view: "trips", period, page: "" },
      from: period === "own" ? route.from ?? from ?? "" : "",
      to: period === "own" ? route.to ?? "" : "",
    });
  return (
    <fieldset class="period">
      <legend class="unseen">{said.period}</legend>
      <div class="choices">
        {periods.map((one) => (
          <label key={one} class={one === period ? "chosen" : undefined}>
            <input type="radio" name="period" checked={one === period} onChange={() => choose(one)} />
            {said.periods[one]}
          </label>
        ))}
      </div>
      {period === "own" && (
        <div class="dates">
          {(["from", "to"] as const).map((name) => (
            <label key={name}>
              {said[name]}{" "}
              <input
                type="date"
                value={isDay(route[name]) ? route[name] : ""}
                onChange={(event) => change({ [name]: event.currentTarget.value, page: "" })}
              />
            </label>
          ))}
        </div>
      )}
    </fieldset>
  );
}

function Figures({ days, mark, where }: { days: Day[]; mark: boolean; where: Route }) {
  const fares = sum(days, "fares"), gratuities = sum(days, "gratuities"), rejected = sum(days, "charges_rejected");
  const marked = mark && (
    <span class="tag warn">
      <Icon name="warn" />
      {words.freshness.mark}
    </span>
  );
  return (
    <dl class="figures">
      <div>
        <dt>{said.count}</dt>
        <dd>{number(sum(days, "trips"))}</dd>
        <dd class="part">{marked}</dd>
      </div>
      <div>
        <dt>{said.money}</dt>
        <dd>{amount(fares + gratuities)}</dd>
        <dd class="part">{said.moneyParts(amount(fares), amount(gratuities))} {marked}</dd>
      </div>
      {rejected > 0 && (
        <div>
          <dt>{said.rejected}</dt>
          <dd>{number(rejected)}</dd>
          <dd class="part">
            <a {...link(where)}>{said.rejectedPart}</a>
          </dd>
        </div>
      )}
    </dl>
  );
}

function TripChart({ days }: { days: Day[] }) {
  const unit = days[0].unit as Unit;
  const known = new Map(days.map((day) => [day.day, day]));
  const bars = range(days[0].day, days.at(-1)!.day, unit).map((day) => {
    const { trips = 0, fares = 0, gratuities = 0 } = known.get(day) ?? {};
    const when = unit === "week" ? `${barName(day, unit)} – ${barName(after(day, 6), unit)}` : barName(day, unit);
    return { tick: tick(day, unit), title: said.bar(when, trips, amount(fares + gratuities)), parts: [trips] };
  });
  return (
    <section class="card">
      <Chart caption={said.chart[unit]} bars={bars} />
    </section>
  );
}
