/** The trips themselves, and what may be other or wrong in a later file of them. */
export const drivers = 10_000;

const start = Date.UTC(2021, 0, 1);

/** When the n-th trip is requested. */
export function timeOf(n: number): number {
  return start + n * 7_000;
}

/** The n-th trip, counted from 1, in the order of the table's columns: about 100 bytes as a line of CSV. */
export function trip(n: number): string[] {
  const requested = timeOf(n), pickedUp = requested + (3 + n % 12) * 60_000;
  const stamps = [requested, pickedUp, pickedUp + (6 + n % 45) * 60_000].map((time) => new Date(time).toISOString());
  const money = [700 + (n * 131) % 5_200, n % 3 === 0 ? 0 : 100 + (n * 17) % 900];
  return [`trip-${n}`, `driver-${(n * 7_919) % drivers + 1}`, ...stamps]
    .concat(money.map((cents) => (cents / 100).toFixed(2)));
}

export type Change = (fields: string[], n: number) => string[];

/** Files by what sets them apart from the plain one. */
export const changes = {
  none: (fields) => fields,
  /** One row in a hundred has another gratuity. */
  corrected: (fields, n) => n % 100 === 50 ? fields.with(6, `1${fields[6]}`) : fields,
  /** One row in a hundred has a fare that is no number, and one a driver that there is not. */
  bad: (fields, n) => n % 100 === 25 ? fields.with(5, "n/a") : n % 100 === 75 ? fields.with(1, `nobody-${n}`) : fields,
  /** One line in a thousand lacks a field. */
  broken: (fields, n) => n % 1000 === 500 ? fields.slice(0, -1) : fields,
} satisfies Record<string, Change>;

export type Changed = keyof typeof changes;
