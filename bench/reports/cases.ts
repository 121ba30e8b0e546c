/** The rows of the group "reports": each report by RPC, and the same asked by hand. */
import { timeOf } from "../trips.ts";

export interface Case {
  name: string;
  /** The function by which a frontend asks. */
  report: string;
  /** In more than one way, of which the fastest counts. */
  byHand: string[];
}

const noCharge = "not exists (select from charges c where c.trip_id = t.id)";

/** When the last of so many trips is requested. */
export function endOf(trips: number): string {
  return literal(timeOf(trips));
}

export function casesFor(trips: number): Case[] {
  const midnight = timeOf(trips / 2) - timeOf(trips / 2) % 86_400_000;
  const from = literal(midnight), before = literal(midnight + 86_400_000), asOf = endOf(trips);
  const twoWeeksEarlier = `${asOf} - interval '14 days'`;
  return [
    {
      name: "trips_without_charges(), all",
      report: "select * from trips_without_charges()",
      byHand: [
        `select * from trips t where dropoff_timestamp is not null and ${noCharge}`,
        "select t.* from trips t left join charges c on c.trip_id = t.id where t.dropoff_timestamp is not null and c.id is null",
      ],
    },
    {
      name: "trips_without_charges(…), one day",
      report: `select * from trips_without_charges(${from}, ${before})`,
      byHand: [
        `select * from trips t where dropoff_timestamp >= ${from} and dropoff_timestamp < ${before} and ${noCharge}`,
      ],
    },
    {
      name: "churned_drivers(…)",
      report: `select * from churned_drivers(${asOf})`,
      byHand: [
        `select d.id, d.tlc_number, d.first_name, d.last_name, t.latest
        from drivers d
        join (
          select driver_id, max(dropoff_timestamp) as latest from trips where dropoff_timestamp <= ${asOf} group by driver_id
        ) t on t.driver_id = d.id
        where t.latest < ${twoWeeksEarlier}`,
        `select d.id, d.tlc_number, d.first_name, d.last_name, t.dropoff_timestamp
        from drivers d
        cross join lateral (
          select dropoff_timestamp from trips
          where driver_id = d.id and dropoff_timestamp <= ${asOf}
          order by dropoff_timestamp desc
          limit 1
        ) t
        where t.dropoff_timestamp < ${twoWeeksEarlier}`,
      ],
    },
  ];
}

function literal(milliseconds: number): string {
  return `timestamptz '${new Date(milliseconds).toISOString()}'`;
}
