// The REST API, its tokens, and the server's clock. No DOM: runs in a browser and in Node.

/** @import { RequestOptions, TokenProvider } from "./types.js" */

import { NetworkError, problem } from "./errors.js";
import { FETCH_EVERY_MS, PAGE, RENEW_BEFORE_MS, REQUEST_TIMEOUT_MS } from "./limits.js";

/** Makes a request. Returns the body of its response. @typedef {(method: string, path: string, options?: RequestOptions) => Promise<any>} Request */

/** @typedef {ReturnType<typeof createRest>} Rest */

/**
 * Returns a function that makes requests with a valid token, and what a socket needs of the tokens. A token is renewed in
 * time. After a `401`, a request is repeated once with a new one.
 *
 * The device's clock may be wrong. So the end of a token is compared with the server's clock; the device's clock only
 * measures the time that passes.
 * @param {{ rest: string, token: TokenProvider, fetch: typeof fetch, now: () => number, after: (delay: number, action: () => void) => () => void, pause: (delay: number) => Promise<void> }} options
 */
export function createRest({ after, now, pause, rest, token: provide, fetch }) {
  /** The last token, with its end, its life, and the time at which it came. @type {any} */
  let held;
  /** @type {Promise<string> | null | undefined} */
  let pending;
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
    const value = given.token ?? given;
    const claims = tried(() => JSON.parse(atob(value.split(".")[1].replace(/-/g, "+").replace(/_/g, "/"))));
    heed(claims.iat * 1_000);
    const end = claims.exp * 1_000 || +new Date(given.expiresAt) || Infinity;
    held = { token: value, end, life: end - now() - ahead, at: now(), isForced };
    return value;
  }

  /** Time until the end of the held token, in ms. */
  const left = () => (held ? held.end - now() - ahead : 0);

  /** Returns a new token. The held one is returned if it is new, or if there is no other. */
  async function fresh() {
    const before = held;
    if (!before) return renew();
    return Math.abs(now() - before.at) < FETCH_EVERY_MS ? before.token : renew().catch(() => before.token);
  }

  /** Returns a valid token. */
  const token = async () => (held && left() > Math.min(RENEW_BEFORE_MS, held.life / 5) ? held.token : fresh());

  /** Time until which the server wants no repetition of a request. @type {Record<string, number>} */
  const busy = {};

  /** @type {Request} */
  async function request(method, path, { query, body, headers, signal } = {}) {
    /** @param {string} used @returns {Promise<[Response, any]>} */
    async function attempt(used) {
      const abort = new AbortController();
      const stop = () => abort.abort();
      const cancel = after(REQUEST_TIMEOUT_MS, stop);
      try {
        signal?.throwIfAborted();
        signal?.addEventListener("abort", stop);
        const response = await fetch(withQuery(rest.replace(/\/+$/, "") + path, query), {
          method,
          credentials: "omit",
          headers: { authorization: `Bearer ${used}`, .../** @type {any} */ (body && { "content-type": "application/json" }), ...headers },
          body: /** @type {any} */ (body && JSON.stringify(body)),
          signal: abort.signal,
        });
        heed(Date.parse(/** @type {any} */ (response.headers.get("date"))), true);
        const text = await response.text();
        // A body that was cut is no response. That of a refusal may have any form.
        return [response, response.ok ? JSON.parse(text || "{}") : tried(() => JSON.parse(text))];
      } catch (cause) {
        signal?.throwIfAborted();
        throw new NetworkError(cause);
      } finally {
        cancel();
        signal?.removeEventListener("abort", stop);
      }
    }

    const name = method + path;
    const wait = busy[name] - now();
    if (wait > 0) await pause(wait);
    const used = await token();
    let [response, answer] = await attempt(used);
    if (response.status === 401) {
      // A second refusal in a row says that new tokens are refused too.
      const next = held.token !== used ? held.token : await (held.isForced ? fresh() : renew(true));
      if (next !== used) [response, answer] = await attempt(next);
    }
    if (response.ok) return answer;
    const error = problem(response, answer);
    // Of two refusals, the one that came last may want less.
    busy[name] = Math.max(busy[name] || 0, now() + (error.retryAfter ?? 0) * 1_000);
    throw error;
  }

  return { heed, left, fresh, token, request };
}

/** Returns an address with the parameters that have a value. @param {string} url @param {RequestOptions["query"]} [query] */
export function withQuery(url, query = {}) {
  for (const [name, value] of Object.entries(query)) if (value != null) url += (url.includes("?") ? "&" : "?") + name + "=" + encodeURIComponent(value);
  return url;
}

/**
 * Returns all entries of a list.
 * @param {Request} request @param {string} path @param {string} field @param {RequestOptions} [options]
 * @returns {Promise<any[]>}
 */
export async function listAll(request, path, field, { query, signal } = {}) {
  const entries = [];
  let page;
  do {
    page = await request("GET", path, { query: { limit: PAGE, ...query, ...page?.next }, signal });
    entries.push(...(page[field] ?? []));
  } while (page.has_more && page.next);
  return entries;
}

/** Returns a handler of errors that swallows those with a code. @param {string[]} codes */
export const except = (...codes) => (/** @type {any} */ error) => {
  if (!codes.includes(error.code)) throw error;
};

/** Returns what a function returns, or an empty object if it fails. @param {() => any} action */
export function tried(action) {
  try {
    return action() ?? {};
  } catch {
    return {};
  }
}

