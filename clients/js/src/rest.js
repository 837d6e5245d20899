// The REST API. No DOM: runs in a browser and in Node.

/** @import { Clock, RequestOptions } from "./types.js" */
/** @import { Session } from "./session.js" */

import { NetworkError, ProblemError } from "./errors.js";
import { after } from "./time.js";

/** Timeout of a request; API Gateway's own timeout is 29 s. */
const REQUEST_TIMEOUT_MS = 30_000;
/** Maximum number of entries in a page of a list. */
const PAGE = 100;

/**
 * Returns a path with encoded ids.
 * @param {TemplateStringsArray} parts @param {(string | number)[]} ids
 */
export const path = (parts, ...ids) => parts.reduce((all, part, at) => all + encodeURIComponent(ids[at - 1]) + part);

/** Client of the REST API with a token from `session`. After a `401` it retries once with a new token. */
export class RestApi {
  #base;
  #session;
  #fetch;
  #clock;
  /** Time until which the server wants no repetition of a request. @type {Map<string, number>} */
  #busy = new Map();

  /** @param {{ url: string, session: Session, fetch: typeof fetch, clock: Clock }} options */
  constructor({ url, session, fetch, clock }) {
    this.#base = url.replace(/\/+$/, "");
    this.#session = session;
    this.#fetch = fetch;
    this.#clock = clock;
  }

  /**
   * Makes a request. Returns the body of its response.
   * @param {string} method @param {string} path @param {RequestOptions} [options]
   * @returns {Promise<any>}
   */
  async call(method, path, options = {}) {
    const name = `${method} ${path}`;
    const wait = (this.#busy.get(name) ?? 0) - this.#clock.now();
    if (wait > 0) await new Promise((/** @type {(value?: unknown) => void} */ resolve) => void after(this.#clock, wait, resolve));
    this.#busy.delete(name);
    const token = await this.#session.token();
    let answer = await this.#request(method, path, options, token);
    if (answer.response.status === 401) {
      const next = await this.#session.refused(token);
      if (next !== token) answer = await this.#request(method, path, options, next);
    }
    const { response, body } = answer;
    if (response.ok) return body || {};
    const error = await ProblemError.from(response, body || {});
    if (error.retryAfter) this.#busy.set(name, this.#clock.now() + error.retryAfter * 1_000);
    throw error;
  }

  /**
   * Returns all entries of a list.
   * @param {string} path @param {string} field @param {RequestOptions} [options]
   * @returns {Promise<any[]>}
   */
  async list(path, field, { query, signal } = {}) {
    const entries = [];
    let next = {};
    for (;;) {
      const page = await this.call("GET", path, { query: { limit: PAGE, ...query, ...next }, signal });
      entries.push(...(page[field] ?? []));
      if (!page.has_more || !page.next) return entries;
      next = page.next;
    }
  }

  /** @param {string} method @param {string} path @param {RequestOptions} options @param {string} token */
  async #request(method, path, { query = {}, body, headers, signal }, token) {
    signal?.throwIfAborted();
    const search = Object.entries(query)
      .filter(([, value]) => value !== undefined && value !== null)
      .map(([name, value]) => `${name}=${encodeURIComponent(/** @type {string} */ (value))}`)
      .join("&");
    const abort = new AbortController();
    const stop = () => abort.abort();
    const cancel = after(this.#clock, REQUEST_TIMEOUT_MS, stop);
    signal?.addEventListener("abort", stop);
    try {
      // A method of the platform must not be called on another object.
      const fetch = this.#fetch;
      const response = await fetch(this.#base + path + (search && `?${search}`), {
        method,
        headers: { authorization: `Bearer ${token}`, ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
        body: body === undefined ? undefined : JSON.stringify(body),
        credentials: "omit",
        referrerPolicy: "no-referrer",
        signal: abort.signal,
      });
      this.#session.heed(response.headers.get("date"));
      const text = await response.text();
      // A body that was cut is no response. That of a refusal may have any form.
      return { response, body: text && (response.ok ? JSON.parse(text) : parsed(text)) };
    } catch (cause) {
      if (signal?.aborted) throw signal.reason;
      throw new NetworkError(cause);
    } finally {
      cancel();
      signal?.removeEventListener("abort", stop);
    }
  }
}

/** @param {string} text */
export function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
