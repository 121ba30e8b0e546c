/** Days as the reader has them: 2021-07-01, in the reader's own time zone. */

export type Unit = "day" | "week" | "month";

const pad = (n: number) => `${n}`.padStart(2, "0");
export const dayOf = (date: Date) => `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
export const isDay = (text: string | undefined): text is string =>
  /^\d{4}-\d\d-\d\d$/.test(text ?? "") && !Number.isNaN(Date.parse(text!));

/** When that day begins here. */
export function startOf(day: string): Date {
  const [year, month, date] = day.split("-").map(Number);
  return new Date(year, month - 1, date);
}

export function after(day: string, amount: number, unit: Unit = "day"): string {
  const date = startOf(day);
  if (unit === "month") date.setMonth(date.getMonth() + amount);
  else date.setDate(date.getDate() + amount * (unit === "week" ? 7 : 1));
  return dayOf(date);
}

/** How many days later the second is, whatever their hours. */
export const daysBetween = (day: string, later: string) => (Date.parse(later) - Date.parse(day)) / 86_400_000;

/** Every day, week or month from the first to the last, so that none without a row is skipped over. */
export function range(first: string, last: string, unit: Unit): string[] {
  const days = [];
  for (let day = first; day <= last && days.length < 2000; day = after(day, 1, unit)) days.push(day);
  return days;
}

export const periods = ["yesterday", "last-week", "last-month", "all", "own"] as const;
export type Period = typeof periods[number];

/** The first day of a period and the first after it; null: no bound. Weeks begin on Monday. */
export function boundsOf(
  period: Period,
  own: { from?: string; to?: string },
  today = dayOf(new Date()),
): { from: string | null; before: string | null } {
  if (period === "yesterday") return { from: after(today, -1), before: today };
  if (period === "last-week") {
    const monday = after(today, -((startOf(today).getDay() + 6) % 7));
    return { from: after(monday, -7), before: monday };
  }
  if (period === "last-month") {
    const first = `${today.slice(0, 8)}01`;
    return { from: after(first, -1, "month"), before: first };
  }
  if (period === "own") {
    return { from: isDay(own.from) ? own.from : null, before: isDay(own.to) ? after(own.to, 1) : null };
  }
  return { from: null, before: null };
}
