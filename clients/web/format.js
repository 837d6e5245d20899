// Times in the reader's language, and durations.

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
const withYear = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "long", year: "numeric" });

const valid = (date) => !Number.isNaN(date.getTime());

export const timeOfDay = (date) => (valid(date) ? clock.format(date) : "");
export const fullTime = (date) => (valid(date) ? full.format(date) : "");

/** Returns a key that is equal for all moments of one local day. */
export const dayKey = (date) => (valid(date) ? `${date.getFullYear()}-${date.getMonth() + 1}-${date.getDate()}` : "");

export function dayName(date, now = new Date()) {
  const yesterday = new Date(now.getFullYear(), now.getMonth(), now.getDate() - 1);
  if (dayKey(date) === dayKey(now)) return "Today";
  if (dayKey(date) === dayKey(yesterday)) return "Yesterday";
  return date.getFullYear() === now.getFullYear() ? weekday.format(date) : withYear.format(date);
}

/** Formats a number with up to three significant digits. */
const round = (number) => String(Number(number.toPrecision(3)));

/** Formats a duration: "0.42 ms", "84 ms", "1.24 s", "2 min 5 s". */
export function duration(ms) {
  if (ms < 0.01) return "0 ms";
  if (ms < 999.5) return `${round(ms)} ms`;
  if (ms < 59_995) return `${round(ms / 1000)} s`;
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

/** Returns the line about channels whose messages are not pushed to the page. */
export const leftOutText = (count) => (count === 1 ? "1 more channel is not live here" : `${count} more channels are not live here`);
