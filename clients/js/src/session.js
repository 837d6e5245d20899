// Tokens, and the server's clock. No DOM.

/** @import { TokenProvider } from "./types.js" */

import { NetworkError } from "./errors.js";
import { FETCH_EVERY_MS, RENEW_BEFORE_MS } from "./limits.js";
import { tried } from "./rest.js";

/** @typedef {ReturnType<typeof createSession>} Session */

/**
 * Creates a provider of one valid token, which it renews in time.
 *
 * The device's clock may be wrong. So the end of a token is compared with the server's clock; the device's clock only
 * measures the time that passes.
 * @param {{ token: TokenProvider, now: () => number }} options
 */
export function createSession({ token: provide, now }) {
  /** The last token, with its end, its life, and the time at which it came. @type {any} */
  let held;
  /** @type {Promise<string> | null} */
  let pending = null;
  /** Time of the server's clock ahead of the device's, in ms. */
  let ahead = -Infinity;

  /** Takes a time of the server's clock in ms. One that may be late only says that the server's clock is not behind it. @param {number} told @param {boolean} [isExact] */
  function heed(told, isExact) {
    if (isExact ? told : told - now() > ahead) ahead = told - now();
  }

  /** Fetches a token. Concurrent callers share one request. @param {boolean} [isForced] */
  const renew = (isForced) =>
    (pending ??= fetchToken(isForced).finally(() => {
      pending = null;
    }));

  /** @param {boolean} [isForced] */
  async function fetchToken(isForced) {
    /** @type {any} */
    let given;
    try {
      given = await provide();
    } catch (/** @type {any} */ cause) {
      throw cause?.isTransient == null ? new NetworkError(cause) : cause;
    }
    const token = given.token ?? given;
    const { iat, exp } = tried(() => JSON.parse(atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/"))));
    heed(iat * 1_000);
    const end = exp * 1_000 || +new Date(given.expiresAt) || Infinity;
    held = { token, end, life: end - now() - ahead, at: now(), isForced };
    return token;
  }

  /** Time until the end of the held token, in ms. */
  const left = () => (held ? held.end - now() - ahead : 0);

  /** Returns a new token. The held one is returned if it is new, or if there is no other. */
  async function fresh() {
    const before = held;
    if (!before) return renew();
    return Math.abs(now() - before.at) < FETCH_EVERY_MS ? before.token : renew().catch(() => before.token);
  }

  return {
    heed,
    left,
    fresh,

    /** Returns a valid token. */
    token: async () => (held && left() > Math.min(RENEW_BEFORE_MS, held.life / 5) ? held.token : fresh()),

    /** Returns a token after a `401` for another one. @param {string} token */
    async refused(token) {
      if (held.token !== token) return held.token;
      // A second refusal in a row says that new tokens are refused too.
      return held.isForced ? fresh() : renew(true);
    },
  };
}
