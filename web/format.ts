/** Numbers, money and times as the reader writes them. */
import { dayOf, daysBetween } from "./days.ts";
import { words } from "./words.ts";

export const zone = new Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";

const time = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const withZone = new Intl.DateTimeFormat(undefined, {
  ...{ year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", timeZoneName: "short" },
});
const dayOnly = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeZone: "UTC" });
const shortDay = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", timeZone: "UTC" });
const month = new Intl.DateTimeFormat(undefined, { month: "short", year: "numeric", timeZone: "UTC" });
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });

export const number = (value: number) => value.toLocaleString();
/** 1 Jul 2021, 14:05 */
export const moment = (iso: string) => time.format(new Date(iso));
/** The same, and in which zone that is. */
export const exactMoment = (iso: string) => withZone.format(new Date(iso));
/** A day as 2021-07-01, which is in no zone. */
export const day = (iso: string) => dayOnly.format(new Date(`${iso}T00:00:00Z`));
/** A bar's name under the axis. */
export const tick = (iso: string, unit: string) =>
  (unit === "month" ? month : shortDay).format(new Date(`${iso}T00:00:00Z`));
export const barName = (iso: string, unit: string) => unit === "month" ? tick(iso, unit) : day(iso);

let money = new Intl.NumberFormat(undefined, { style: "currency", currency: "USD" });
export function setCurrency(currency: string): void {
  money = new Intl.NumberFormat(undefined, { style: "currency", currency });
}
export const amount = (value: number) => money.format(value);

/** "3 hours ago", "in 5 minutes"; from 24 hours on by the reader's calendar: yesterday is the day before today. */
export function ago(iso: string, now = Date.now()): string {
  const minutes = Math.trunc((new Date(iso).getTime() - now) / 60_000), hours = Math.trunc(minutes / 60);
  if (minutes === 0) return words.justNow;
  if (hours === 0) return relative.format(minutes, "minute");
  if (Math.abs(hours) < 24) return relative.format(hours, "hour");
  return relative.format(daysBetween(dayOf(new Date(now)), dayOf(new Date(iso))), "day");
}

export const name = (person: { first_name: string | null; last_name: string | null }) =>
  [person.first_name, person.last_name].filter(Boolean).join(" ");
