/**
 * Sample feeds: what the three partners might send, the same at every start. A stand-in for their servers.
 *
 * In them is what the two reports ask about: charges that the card processor dropped, and drivers who, as of
 * 2021-07-11, have not driven for two weeks.
 */
import { createHash } from "node:crypto";
import { listen } from "./listen.ts";

const drivers = 300, trips = 4000;
/** Every 25th driver stopped driving on June 20; the last three have never driven. */
const churned = (driver: number) => driver % 25 === 0;
const driving = drivers - 3;
/** Every 60th charge was dropped; every 40th trip was cancelled before the pickup. */
const dropped = (trip: number) => trip % 60 === 0;
const cancelled = (trip: number) => trip % 40 === 7;

const firstNames = ["Ana", "Bo", "Chidi", "Dana", "Elif", "Farid", "Grace", "Hiro", "Ines", "José"];
const lastNames = ["Abara", "Brown", "Chen", "Díaz", "Eriksen", "Farouk", "García", "Haddad", "O'Neil", "Singh"];
const start = Date.UTC(2021, 4, 1), stop = Date.UTC(2021, 5, 20), end = Date.UTC(2021, 6, 11);

/** File name -> content. */
export function sampleFeeds(): Record<string, string> {
  const numbers = (count: number) => Array.from({ length: count }, (_, i) => i + 1);
  const driverList = numbers(drivers).map((n) => ({
    id: `driver-${n}`,
    tlc_number: `${5_000_000 + n * 37}`,
    first_name: firstNames[n % 10],
    last_name: lastNames[Math.floor(n / 10) % 10],
  }));
  const tripLines = numbers(trips).map(tripLine);
  const chargeLines = numbers(trips)
    .filter((n) => !cancelled(n) && !dropped(n))
    .map((n) => `charge-${n},trip-${n},${fare(n) + gratuity(n)}`);
  return {
    "drivers.json": JSON.stringify(driverList, null, 2) + "\n",
    "trips.csv": lines(
      "id,driver_id,request_timestamp,pickup_timestamp,dropoff_timestamp,base_fare,gratuity",
      tripLines,
    ),
    "charges.csv": lines("id,trip_id,amount_cents", chargeLines),
  };
}

/** Serves the sample feeds on loopback with ETags, on `port` if it is free, else on another. */
export function serveSamples(port: number): { url: string; stop(): Promise<void> } {
  const feeds = sampleFeeds();
  const etags: Record<string, string> = {};
  for (const [name, text] of Object.entries(feeds)) etags[name] = etagOf(text);
  const answer = (request: Request) => {
    const name = new URL(request.url).pathname.slice(1);
    if (!Object.hasOwn(feeds, name)) return new Response("no such sample", { status: 404 });
    const headers = { etag: etags[name], "content-type": name.endsWith("json") ? "application/json" : "text/csv" };
    if (request.headers.get("if-none-match") === etags[name]) return new Response(null, { status: 304, headers });
    return new Response(feeds[name], { headers });
  };
  return listen(port, answer);
}

function tripLine(n: number): string {
  // 7919 is prime: the drivers take turns in an order that looks like none.
  const driver = (n * 7919) % driving + 1;
  const until = churned(driver) ? stop : end;
  const requested = start + Math.floor((until - start) * (n / (trips + 1)));
  const pickedUp = requested + (3 + n % 12) * 60_000;
  const droppedOff = pickedUp + (6 + n % 45) * 60_000;
  const times = cancelled(n) ? [requested] : [requested, pickedUp, droppedOff];
  const stamps = [0, 1, 2].map((i) => times[i] === undefined ? "" : new Date(times[i]).toISOString());
  const money = cancelled(n) ? ["", ""] : [fare(n), gratuity(n)].map((cents) => (cents / 100).toFixed(2));
  return [`trip-${n}`, `driver-${driver}`, ...stamps, ...money].join(",");
}

function fare(trip: number): number {
  return 700 + (trip * 131) % 5200;
}

function gratuity(trip: number): number {
  return trip % 3 === 0 ? 0 : 100 + (trip * 17) % 900;
}

function lines(header: string, rows: string[]): string {
  return [header, ...rows, ""].join("\n");
}

function etagOf(text: string): string {
  return `"${createHash("sha256").update(text).digest("hex").slice(0, 16)}"`;
}
