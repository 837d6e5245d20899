// Errors of requests. No DOM.

/** @import { FieldError, Problem } from "./types.js" */

/** Error of a failed request: a problem of RFC 9457. Each `code` has a class of its own. */
export class ProblemError extends Error {
  /** Status of the response; 0 without one. */
  status = 0;
  /** Stable name of the problem, such as `channel_archived`; empty if there was no response. */
  code = "";
  title = "";
  detail = "";
  /** @type {FieldError[]} */
  errors = [];
  /** Id of the request, for the operator. */
  instance = "";
  /** Requested wait in seconds (`Retry-After`), or `null`. @type {number | null} */
  retryAfter = null;

  /** @param {Problem & ErrorOptions} [problem] */
  constructor({ cause, ...fields } = {}) {
    super(fields.detail || fields.title, { cause });
    Object.assign(this, fields);
    this.name = this.code || "ProblemError";
    /** `true` if the same request may succeed later. */
    this.isTransient = /^0|408|429|5../.test(/** @type {any} */ (this.status));
  }
}

/** Error of a request without a response. */
export class NetworkError extends ProblemError {
  name = "NetworkError";

  /** @param {unknown} [cause] */
  constructor(cause) {
    super({ title: "No response", cause });
  }
}

/** @type {Map<string, typeof ProblemError>} */
const classes = new Map();

/**
 * Returns the class of the problems with a code: `channel_not_found` has `ChannelNotFoundError`.
 * @param {string} code
 */
export function problemClass(code) {
  const found = code ? (classes.get(code) ?? class extends ProblemError {}) : ProblemError;
  classes.set(code, found);
  return found;
}

/** Returns the error of a response. @param {Response} response @param {any} body */
export function problem(response, body) {
  return new (problemClass(body.code))({ title: response.statusText, detail: body.message, ...body, status: response.status, retryAfter: +(/** @type {any} */ (response.headers.get("retry-after"))) || null });
}
