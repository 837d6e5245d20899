// Requests that no user waits for. No DOM.

/** @import { Clock } from "./types.js" */

import { after, backoff } from "./time.js";

/** Maximum number of attempts of one request. */
const ATTEMPTS = 3;

/** Requests that are repeated after a failure, each key one at a time. */
export class QuietRequests {
  #clock;
  #random;
  /** Keys of running requests; `true` if the same was asked for again meanwhile. @type {Map<string, boolean>} */
  #running = new Map();

  /** @param {{ clock: Clock, random: () => number }} options */
  constructor({ clock, random }) {
    this.#clock = clock;
    this.#random = random;
  }

  /**
   * Runs a request until it returns `true` or cannot succeed, for at most `ATTEMPTS`. A call with the same key during a
   * run causes one more run afterwards. Reports no error.
   * @param {string} key @param {() => Promise<unknown>} request
   */
  async run(key, request) {
    if (this.#running.has(key)) return void this.#running.set(key, true);
    do {
      let error = {};
      this.#running.set(key, false);
      for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
        if (attempt > 0) await this.wait(backoff(attempt, this.#random, error));
        const outcome = await request().catch((problem) => problem);
        if (outcome === true || (outcome instanceof Error && !(/** @type {any} */ (outcome).isTransient))) break;
        error = outcome || {};
      }
    } while (this.#running.get(key));
    this.#running.delete(key);
  }

  /** @param {number} delay @returns {Promise<void>} */
  wait(delay) {
    return new Promise((resolve) => void after(this.#clock, delay, resolve));
  }
}
