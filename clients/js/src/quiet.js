// Requests that no user waits for. No DOM.

import { backoff } from "./socket.js";

/** Maximum number of attempts of one request. */
const ATTEMPTS = 3;

/** Requests that are repeated after a failure, each key one at a time. */
export class QuietRequests {
  #clock;
  #random;
  /** Keys of running requests; `true` if the same was asked for again meanwhile. */
  #running = new Map();

  constructor({ clock, random }) {
    this.#clock = clock;
    this.#random = random;
  }

  /**
   * Runs a request until it returns `true` or cannot succeed, for at most `ATTEMPTS`. A call with the same key during a
   * run causes one more run afterwards. Reports no error.
   */
  async run(key, request) {
    if (this.#running.has(key)) return void this.#running.set(key, true);
    do {
      this.#running.set(key, false);
      for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
        if (attempt > 0) await this.wait(backoff(attempt, this.#random));
        const outcome = await request().catch((error) => error);
        if (outcome === true || (outcome instanceof Error && !outcome.isTransient)) break;
      }
    } while (this.#running.get(key));
    this.#running.delete(key);
  }

  wait(delay) {
    return new Promise((resolve) => this.#clock.setTimeout(resolve, delay));
  }
}
