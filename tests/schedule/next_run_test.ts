/** etl.next_run(): when a cron line is due. */
import assert from "node:assert/strict";
import { chance } from "../support/chance.ts";
import { freshDatabase } from "../support/database.ts";

const day = 86_400_000;

/** What a field stands for, the slow and simple way: each number is tried. */
function listed(field: string, low: number, high: number): (value: number) => boolean {
  return (value) =>
    field.split(",").some((part) => {
      const [range, step = "1"] = part.split("/");
      const [first, last = first] = range === "*" ? [low, high] : range.split("-").map(Number);
      return value >= first && value <= last && (value - first) % Number(step) === 0;
    });
}

/** The next moment, in UTC, that fits the line; null where there is none within eight years. */
function due(line: string, after: Date): Date | null {
  const [minute, hour, date, month, weekday] = line.split(" ");
  const fits = {
    minute: listed(minute, 0, 59),
    hour: listed(hour, 0, 23),
    date: listed(date, 1, 31),
    month: listed(month, 1, 12),
    weekday: listed(weekday, 0, 7),
  };
  const midnight = Math.floor(after.getTime() / day) * day;
  for (let today = midnight; today <= midnight + 8 * 366 * day; today += day) {
    const at = new Date(today);
    if (!fits.month(at.getUTCMonth() + 1)) continue;
    const byDate = date === "$" ? new Date(today + day).getUTCMonth() !== at.getUTCMonth() : fits.date(at.getUTCDate());
    const byWeekday = fits.weekday(at.getUTCDay()) || (at.getUTCDay() === 0 && fits.weekday(7));
    const either = !date.startsWith("*") && !weekday.startsWith("*");
    if (either ? !byDate && !byWeekday : !byDate || !byWeekday) continue;
    for (let time = today; time < today + day; time += 60_000) {
      const moment = new Date(time);
      if (time > after.getTime() && fits.hour(moment.getUTCHours()) && fits.minute(moment.getUTCMinutes())) {
        return moment;
      }
    }
  }
  return null;
}

function randomLine(random: (below: number) => number): string {
  const part = (low: number, high: number): string => {
    const first = low + random(high - low + 1);
    const last = first + random(high - first + 1);
    const step = 1 + random(high);
    return ["*", "*", `*/${step}`, `${first}`, `${first}`, `${first}-${last}`, `${first}-${last}/${step}`][random(7)];
  };
  const field = (low: number, high: number) =>
    random(4) > 0 ? part(low, high) : `${part(low, high)},${part(low, high)}`;
  const date = random(12) === 0 ? "$" : field(1, 31);
  return [field(0, 59), field(0, 23), date, field(1, 12), field(0, 7)].join(" ");
}

Deno.test("etl.next_run() agrees with a slow and simple reckoning, for hundreds of lines and moments", async () => {
  await using db = await freshDatabase();
  const numbers = chance(20_261_122);
  const random = (below: number) => Math.floor(numbers() * below);
  const cases = Array.from({ length: 400 }, () => {
    const after = new Date(Date.UTC(2024 + random(5), random(12), 1 + random(31), random(24), random(60), random(60)));
    return { line: randomLine(random), after };
  });
  const rows = await db.query(
    `select etl.next_run(line, after) as due
    from rows from (json_to_recordset($1) as (line text, after timestamptz)) with ordinality as c (line, after, n)
    order by n`,
    [JSON.stringify(cases)],
  );
  const wrong = cases
    .map((one, n) => ({ ...one, due: rows[n].due as Date | null, expected: due(one.line, one.after) }))
    .filter((one) => one.due?.getTime() !== one.expected?.getTime());
  assert.deepEqual(wrong, []);
});

Deno.test("etl.next_run() in words, seconds, and where the clocks change", async () => {
  await using db = await freshDatabase();
  const after = async (at: string, line: string, zone = "") => {
    await db.query("select set_config('cron.timezone', $1, false)", [zone]);
    return (await db.query("select etl.next_run($1, $2) as due", [line, at]))[0].due?.toISOString() ?? null;
  };
  assert.equal(await after("2026-11-22T10:00:00Z", "0 9 * JAN,feb Mon-fri"), "2027-01-01T09:00:00.000Z");
  assert.equal(await after("2026-11-22T10:00:00Z", " 0  9\t* * sun "), "2026-11-29T09:00:00.000Z");
  assert.equal(await after("2026-11-22T10:00:00Z", "30 seconds"), "2026-11-22T10:00:30.000Z");
  assert.equal(await after("2026-11-22T10:00:00Z", "1 second"), "2026-11-22T10:00:01.000Z");
  assert.equal(await after("2026-11-22T10:00:00Z", "0 0 30 2 *"), null);
  assert.equal(await after("2026-11-22T10:00:00Z", "0 0 29 2 *"), "2028-02-29T00:00:00.000Z");
  assert.equal(await after("2026-11-22T10:00:00Z", "0 9 * * *", "America/New_York"), "2026-11-22T14:00:00.000Z");
  assert.equal(await after("2026-07-04T10:00:00Z", "0 9 * * *", "America/New_York"), "2026-07-04T13:00:00.000Z");
  assert.equal(await after("2026-07-04T10:00:00Z", "0 9 * * *", "CET"), "2026-07-05T07:00:00.000Z");
  // 01:30 comes twice on this night; after the first one, never a moment that is over.
  assert.equal(await after("2026-11-01T05:45:00Z", "30 1 * * *", "America/New_York"), "2026-11-01T06:30:00.000Z");
  assert.equal(await after("2026-11-01T06:30:00Z", "30 1 * * *", "America/New_York"), "2026-11-02T06:30:00.000Z");
});
