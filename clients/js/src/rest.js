// The REST API. No DOM: runs in a browser and in Node.

/** @import { RequestOptions } from "./types.js" */
/** @import { Session } from "./session.js" */

import { NetworkError, problem } from "./errors.js";
import { PAGE, REQUEST_TIMEOUT_MS } from "./limits.js";

/** Makes a request. Returns the body of its response. @typedef {(method: string, path: string, options?: RequestOptions) => Promise<any>} Request */

/**
 * Returns a function that makes requests with a token of the session. After a `401` it retries once with a new token.
 * @param {{ rest: string, fetch: typeof fetch, now: () => number, after: (delay: number, action: () => void) => () => void, pause: (delay: number) => Promise<void> }} options
 * @param {Session} session
 * @returns {Request}
 */
export function createRest({ after, now, pause, rest, fetch }, session) {
  /** Time until which the server wants no repetition of a request. @type {Map<string, number>} */
  const busy = new Map();

  return async (method, path, { query, body, headers, signal } = {}) => {
    /** @param {string} token @returns {Promise<[Response, any]>} */
    async function attempt(token) {
      const abort = new AbortController();
      const stop = () => abort.abort();
      const cancel = after(REQUEST_TIMEOUT_MS, stop);
      try {
        signal?.throwIfAborted();
        signal?.addEventListener("abort", stop);
        const response = await fetch(withQuery(rest.replace(/\/+$/, "") + path, query), {
          method,
          headers: { authorization: `Bearer ${token}`, .../** @type {any} */ (body && { "content-type": "application/json" }), ...headers },
          body: /** @type {any} */ (body && JSON.stringify(body)),
          signal: abort.signal,
        });
        session.heed(Date.parse(`${response.headers.get("date")}`), true);
        const text = await response.text();
        // A body that was cut is no response. That of a refusal may have any form.
        return [response, response.ok ? JSON.parse(text || "{}") : parsed(text)];
      } catch (cause) {
        signal?.throwIfAborted();
        throw new NetworkError(cause);
      } finally {
        cancel();
        signal?.removeEventListener("abort", stop);
      }
    }

    const name = method + path;
    const wait = /** @type {number} */ (busy.get(name)) - now();
    if (wait > 0) await pause(wait);
    busy.delete(name);
    const token = await session.token();
    let [response, answer] = await attempt(token);
    if (response.status === 401) {
      const next = await session.refused(token);
      if (next !== token) [response, answer] = await attempt(next);
    }
    if (response.ok) return answer;
    const error = problem(response, answer);
    if (error.retryAfter) busy.set(name, now() + error.retryAfter * 1_000);
    throw error;
  };
}

/** Returns an address with the parameters that have a value. @param {string} url @param {RequestOptions["query"]} [query] */
export function withQuery(url, query = {}) {
  for (const [name, value] of Object.entries(query)) if (value != null) url += `${url.includes("?") ? "&" : "?"}${name}=${encodeURIComponent(value)}`;
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

/** @param {string} text */
export const parsed = (text) => tried(() => JSON.parse(text));
