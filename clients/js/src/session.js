// Tokens, and the server's clock. No DOM.

/** @import { Clock, TokenProvider } from "./types.js" */

import { NetworkError } from "./errors.js";

/** Time before a token's end at which it is renewed. A short-lived token is renewed at 80 % of its lifetime. */
const RENEW_BEFORE_MS = 60_000;
/** Shortest time between two fetches of a token. */
const FETCH_EVERY_MS = 60_000;

/**
 * Returns `iat` and `exp` of a token in ms, without a check of its signature.
 * @param {string} token
 * @returns {{ iat?: number, exp?: number }}
 */
function claims(token) {
  try {
    const { iat, exp } = JSON.parse(atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/")));
    return { iat: iat * 1_000 || undefined, exp: exp * 1_000 || undefined };
  } catch {
    return {};
  }
}

/**
 * Provider of one valid token, which it renews in time.
 *
 * The device's clock may be wrong. So lifetimes come from the token itself and from the server's clock; the device's clock
 * only measures the time that passes.
 */
export class Session {
  #provide;
  #clock;
  /** @type {{ token: string, exp: number, life: number, at: number, isForced: boolean } | null} */
  #held = null;
  /** @type {Promise<string> | null} */
  #pending = null;
  /** Time of the server's clock ahead of the device's, in ms; `null` before the first response. */
  #ahead = /** @type {number | null} */ (null);

  /** @param {TokenProvider} provide @param {Clock} clock */
  constructor(provide, clock) {
    this.#provide = provide;
    this.#clock = clock;
  }

  /** Time of the server's clock, in ms since the epoch. */
  get now() {
    return this.#clock.now() + (this.#ahead ?? 0);
  }

  /** Takes a time of the server's clock. A frame may be late, so its time counts only as the first one. @param {unknown} time @param {boolean} [isLate] */
  heed(time, isLate) {
    const now = Date.parse(`${time}`);
    if (now && !(isLate && this.#ahead !== null)) this.#ahead = now - this.#clock.now();
  }

  /** Time until the end of the held token, in ms. */
  get left() {
    const { at, exp, life } = this.#held ?? { at: 0, exp: 0, life: 0 };
    return this.#ahead === null ? at + life - this.#clock.now() : exp - this.now;
  }

  /** Returns a valid token. */
  async token() {
    const held = this.#held;
    if (!held) return this.#renew();
    return this.left > Math.min(RENEW_BEFORE_MS, held.life / 5) ? held.token : this.fresh();
  }

  /** Returns a new token. The held one is returned if it is new, or if there is no other. */
  async fresh() {
    const held = this.#held;
    if (held && Math.abs(this.#clock.now() - held.at) < FETCH_EVERY_MS) return held.token;
    return this.#renew().catch((error) => {
      if (held) return held.token;
      throw error;
    });
  }

  /** Returns a token after a `401` for another one. @param {string} token */
  async refused(token) {
    const held = this.#held;
    if (held && held.token !== token) return held.token;
    // A second refusal in a row says that new tokens are refused too.
    return held?.isForced ? this.fresh() : this.#renew(true);
  }

  /** Fetches a token. Concurrent callers share one request. */
  #renew(isForced = false) {
    this.#pending ??= this.#fetch(isForced).finally(() => {
      this.#pending = null;
    });
    return this.#pending;
  }

  /** @param {boolean} isForced */
  async #fetch(isForced) {
    /** @type {any} */
    let given;
    try {
      given = await this.#provide();
    } catch (/** @type {any} */ cause) {
      throw cause?.isTransient === undefined ? new NetworkError(cause) : cause;
    }
    const token = given.token ?? given;
    const { iat = NaN, exp = new Date(given.expiresAt).getTime() || Infinity } = claims(token);
    this.#held = { token, exp, life: exp - iat || Infinity, at: this.#clock.now(), isForced };
    return token;
  }
}
