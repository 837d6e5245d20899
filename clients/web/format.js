// Times in the reader's language, and durations.

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
const withYear = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "long", year: "numeric" });

const dayAndMonth = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const monthAndYear = new Intl.DateTimeFormat(undefined, { month: "short", year: "numeric" });

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

/** Returns a moment for a narrow place: the time of today, the day of this year, or the month. */
export function shortTime(date, now = new Date()) {
  if (!valid(date)) return "";
  if (dayKey(date) === dayKey(now)) return clock.format(date);
  return (date.getFullYear() === now.getFullYear() ? dayAndMonth : monthAndYear).format(date);
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

/** Returns the text of the title for a number of unread messages; empty without any. */
export const titleCount = (count) => (count > 0 ? `(${count > 99 ? "99+" : count}) ` : "");

/** Returns the names of the users of a reaction: "bob, carol and 3 more". */
export function reactors({ count, user_ids: users, reacted }, userId) {
  const others = users.filter((user) => user !== userId);
  const named = reacted ? ["you", ...others] : others;
  const more = Math.max(0, count - named.length);
  if (more > 0) return `${named.join(", ")} and ${more} more`;
  return named.length > 1 ? `${named.slice(0, -1).join(", ")} and ${named.at(-1)}` : named.join("");
}

/** Returns the number of replies in a thread as text. */
export const repliesText = (count) => (count === 0 ? "No replies yet" : count === 1 ? "1 reply" : `${count} replies`);

/** Returns the text about a thread at its root: "2 replies, last 12:04". */
export function threadText({ reply_count: count, last_reply_at: last }, now = new Date()) {
  const time = shortTime(new Date(last ?? Number.NaN), now);
  return time ? `${repliesText(count)}, last ${time}` : repliesText(count);
}

/** Returns the line about the users that type; empty without any. */
export function typingText(users) {
  if (users.length > 3) return "Several people are typing";
  const [last, ...others] = [...users].reverse();
  if (!last) return "";
  return others.length > 0 ? `${others.reverse().join(", ")} and ${last} are typing` : `${last} is typing`;
}
