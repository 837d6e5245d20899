// Waits, timers and repetitions of the client. No DOM.

/** @import { Clock } from "./types.js" */

import { ATTEMPTS, BACKOFF_BASE_MS, BACKOFF_CAP_MS, LONGEST_MS } from "./limits.js";

/**
 * Returns the wait before attempt `attempt` (from 0) in ms. All of it is random, after the wait that the server asked for.
 * @param {number} attempt @param {() => number} random @param {{ retryAfter?: number | null }} [error]
 */
export const backoff = (attempt, random, error) =>
  (error?.retryAfter ?? 0) * 1_000 + Math.round(Math.min(BACKOFF_CAP_MS, BACKOFF_BASE_MS * 2 ** attempt) * random());

/** @param {{ clock: Clock, random: () => number }} options */
export function createTimers({ clock: { now, setTimeout, clearTimeout }, random }) {
  /** Keys of running quiet requests; `true` if the same was asked for again meanwhile. @type {Map<string, boolean>} */
  const running = new Map();

  /** Runs an action after a delay, of `LONGEST_MS` at most. Returns its cancel. @param {number} delay @param {() => void} action */
  function after(delay, action) {
    const timer = setTimeout(action, Math.min(delay, LONGEST_MS));
    return () => clearTimeout(timer);
  }

  /** @param {number} delay @returns {Promise<void>} */
  const pause = (delay) => new Promise((resolve) => after(delay, resolve));

  /**
   * Runs a request for which no user waits, until it returns `true` or cannot succeed, at most `ATTEMPTS` times. A call
   * with the same key during a run causes one more run afterwards. Reports no error.
   * @param {string} key @param {() => Promise<unknown>} request
   */
  async function quietly(key, request) {
    const isRunning = running.has(key);
    running.set(key, isRunning);
    if (isRunning) return;
    do {
      running.set(key, false);
      /** @type {any} */
      let outcome;
      for (let attempt = 0; attempt < ATTEMPTS && outcome !== true && outcome?.isTransient !== false; attempt += 1) {
        if (attempt > 0) await pause(backoff(attempt, random, outcome));
        outcome = await request().catch((error) => error);
      }
    } while (running.get(key));
    running.delete(key);
  }

  return { now, after, pause, quietly };
}
