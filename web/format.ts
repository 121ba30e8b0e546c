/** Numbers, money and times as the reader writes them. */
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

const units: [Intl.RelativeTimeFormatUnit, number][] = [
  ["day", 86_400],
  ["hour", 3600],
  ["minute", 60],
];

/** "3 hours ago", "in 5 minutes" */
export function ago(iso: string, now = Date.now()): string {
  const seconds = (new Date(iso).getTime() - now) / 1000;
  for (const [unit, length] of units) {
    if (Math.abs(seconds) >= length) return relative.format(Math.trunc(seconds / length), unit);
  }
  return words.justNow;
}

export const name = (person: { first_name: string | null; last_name: string | null }) =>
  [person.first_name, person.last_name].filter(Boolean).join(" ");
