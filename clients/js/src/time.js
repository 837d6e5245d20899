// Waits and timers of the client. No DOM.

/** @import { Clock } from "./types.js" */

/** Longest delay of a timer of the platform, in ms. A longer one fires at once. */
const LONGEST_MS = 2 ** 31 - 1;
const BACKOFF_BASE_MS = 1_000;
const BACKOFF_CAP_MS = 30_000;

/** @type {Clock} */
export const systemClock = {
  now: () => Date.now(),
  setTimeout: (action, delay) => setTimeout(action, delay),
  clearTimeout: (timer) => clearTimeout(timer),
};

/**
 * Returns the wait before attempt `attempt` (from 0) in ms. All of it is random, after the wait that the server asked for.
 * @param {number} attempt
 * @param {() => number} [random]
 * @param {{ retryAfter?: number | null }} [error]
 */
export function backoff(attempt, random = Math.random, error) {
  return (error?.retryAfter ?? 0) * 1_000 + Math.round(Math.min(BACKOFF_CAP_MS, BACKOFF_BASE_MS * 2 ** Math.min(attempt, 16)) * random());
}

/**
 * Runs an action after a delay of any length. Returns a function that cancels it.
 * @param {Clock} clock
 * @param {number} delay
 * @param {() => void} action
 */
export function after(clock, delay, action) {
  /** @type {unknown} */
  let timer;
  const wait = (/** @type {number} */ left) => {
    timer = clock.setTimeout(() => (left > LONGEST_MS ? wait(left - LONGEST_MS) : action()), Math.min(left, LONGEST_MS));
  };
  wait(delay);
  return () => clock.clearTimeout(timer);
}
