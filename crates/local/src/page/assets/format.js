// Times, in the reader's language.

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
const withYear = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "long", year: "numeric" });

const valid = (date) => !Number.isNaN(date.getTime());

export const timeOfDay = (date) => (valid(date) ? clock.format(date) : "");
export const fullTime = (date) => (valid(date) ? full.format(date) : "");

/** The same for all moments of one local day. */
export const dayKey = (date) => (valid(date) ? `${date.getFullYear()}-${date.getMonth() + 1}-${date.getDate()}` : "");

export function dayName(date, now = new Date()) {
  const yesterday = new Date(now.getFullYear(), now.getMonth(), now.getDate() - 1);
  if (dayKey(date) === dayKey(now)) return "Today";
  if (dayKey(date) === dayKey(yesterday)) return "Yesterday";
  return date.getFullYear() === now.getFullYear() ? weekday.format(date) : withYear.format(date);
}
