/** Three small feeds of partners: two drivers, two trips, one charge. */

export const drivers = [
  { id: "d1", tlc_number: "007", first_name: "Ana", last_name: "Díaz" },
  { id: "d2", tlc_number: "5000002", first_name: "Bo", last_name: null },
];

const trips = `id,driver_id,request_timestamp,pickup_timestamp,dropoff_timestamp,base_fare,gratuity
t1,d1,2021-07-01T10:00:00Z,2021-07-01T10:05:00Z,2021-07-01T10:20:00Z,12.50,3.00
t2,d2,2021-07-01T11:00:00Z,,,,
`;

const charges = "id,trip_id,amount_cents\nc1,t1,1550\n";

export function files(): Record<string, string> {
  return { "/drivers.json": JSON.stringify(drivers), "/trips.csv": trips, "/charges.csv": charges };
}
