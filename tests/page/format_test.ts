/** How long ago it was, as the reader's own clock and calendar have it. */
import assert from "node:assert/strict";
import { ago } from "../../web/format.ts";
import { words } from "../../web/words.ts";

/** Times by the clock on the wall there, and how many units from then to now. 1 January 2025 is a Wednesday. */
const cases: [zone: string, now: string, at: string, expected: string][] = [
  ["UTC", "2025-01-01T00:30:00", "2025-01-01T00:30:00", "0 minute"],
  ["UTC", "2025-01-01T00:30:00", "2025-01-01T00:29:01", "0 minute"],
  ["UTC", "2025-01-01T00:30:00", "2025-01-01T00:29:00", "-1 minute"],
  ["UTC", "2025-01-01T00:30:00", "2024-12-31T23:30:01", "-59 minute"],
  ["UTC", "2025-01-01T00:30:00", "2024-12-31T23:30:00", "-1 hour"],
  // Hours as long as they are fewer than 24, whatever day that was.
  ["UTC", "2025-01-01T00:30:00", "2024-12-31T00:30:01", "-23 hour"],
  ["UTC", "2025-01-01T23:30:00", "2025-01-01T00:00:00", "-23 hour"],
  ["UTC", "2025-01-01T00:30:00", "2024-12-31T00:30:00", "-1 day"],
  ["UTC", "2025-01-01T23:59:00", "2024-12-31T00:00:00", "-1 day"],
  // Monday at two is not yesterday on Wednesday, though it is no 48 hours ago.
  ["UTC", "2025-01-01T00:30:00", "2024-12-30T02:00:00", "-2 day"],
  ["UTC", "2025-01-01T00:30:00", "2024-12-30T23:59:00", "-2 day"],
  ["UTC", "2025-01-01T23:59:00", "2024-12-30T00:00:00", "-2 day"],
  ["UTC", "2025-01-01T00:30:00", "2024-12-25T23:00:00", "-7 day"],
  ["UTC", "2025-01-01T12:00:00", "2024-01-01T12:00:00", "-366 day"],
  ["UTC", "2025-01-01T12:00:00", "2021-07-01T12:00:00", "-1280 day"],
  ["UTC", "2025-01-01T12:00:00", "2025-01-01T12:00:59", "0 minute"],
  ["UTC", "2025-01-01T12:00:00", "2025-01-01T12:05:00", "5 minute"],
  ["UTC", "2025-01-01T20:00:00", "2025-01-02T19:59:00", "23 hour"],
  ["UTC", "2025-01-01T00:30:00", "2025-01-02T23:59:00", "1 day"],
  // The day after tomorrow, in 30 hours.
  ["UTC", "2025-01-01T20:00:00", "2025-01-03T02:00:00", "2 day"],
  ["UTC", "2025-01-01T20:00:00", "2025-01-08T02:00:00", "7 day"],
  // The reader's days, not those of UTC: there it is the 31st in the first, and the 2nd in the second.
  ["Asia/Tokyo", "2025-01-01T08:00:00", "2024-12-31T07:00:00", "-1 day"],
  ["America/New_York", "2025-01-01T20:00:00", "2024-12-31T18:00:00", "-1 day"],
  ["America/New_York", "2025-01-01T00:30:00", "2024-12-30T02:00:00", "-2 day"],
  // Days of 23 and of 25 hours.
  ["America/New_York", "2025-03-10T12:00:00", "2025-03-09T00:30:00", "-1 day"],
  ["America/New_York", "2025-03-11T00:30:00", "2025-03-09T00:30:00", "-2 day"],
  ["America/New_York", "2025-11-03T00:30:00", "2025-11-01T23:30:00", "-2 day"],
  ["America/New_York", "2025-11-03T00:30:00", "2025-11-02T00:20:00", "-1 day"],
  ["America/New_York", "2025-11-02T23:50:00", "2025-11-02T00:10:00", "0 day"],
];

Deno.test("ago: hours up to a day, then the days of the reader's own calendar", async (t) => {
  const zone = Deno.env.get("TZ");
  try {
    for (const [there, now, at, expected] of cases) {
      await t.step(`${there}: ${at} on ${now} is ${expected}`, () => {
        Deno.env.set("TZ", there);
        assert.equal(new Intl.DateTimeFormat().resolvedOptions().timeZone, there);
        const [count, unit] = expected.split(" ");
        const said = count === "0" && unit === "minute"
          ? words.justNow
          : new Intl.RelativeTimeFormat(undefined, { numeric: "auto" }).format(
            Number(count),
            unit as Intl.RelativeTimeFormatUnit,
          );
        assert.equal(ago(new Date(at).toISOString(), new Date(now).getTime()), said);
      });
    }
  } finally {
    if (zone === undefined) Deno.env.delete("TZ");
    else Deno.env.set("TZ", zone);
  }
});
