// The REST API. No DOM: runs in a browser and in Node.

/** Timeout of a request; API Gateway's own timeout is 29 s. */
const REQUEST_TIMEOUT_MS = 30_000;
/** Media types of bodies. */
const JSON_TYPE = "application/json";
const MERGE_PATCH_TYPE = "application/merge-patch+json";
/** Maximum number of channels in a page of the list. */
const CHANNELS_PAGE = 100;

/** Error of a failed request: an RFC 9457 problem, or no response (`status` 0). */
export class ProblemError extends Error {
  constructor({ status = 0, code = "", title = "", detail = "", errors = [], instance, retryAfter = null } = {}) {
    super(detail || title || `The server answered ${status}.`);
    this.name = "ProblemError";
    this.status = status;
    /** Stable name of the problem, such as `channel_archived`; empty if there was no response. */
    this.code = code;
    this.title = title;
    this.detail = detail;
    this.errors = errors;
    this.instance = instance;
    /** Requested wait in seconds (`Retry-After`), or `null`. */
    this.retryAfter = retryAfter;
  }

  /** `true` if the same request may succeed later. */
  get isTransient() {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }

  static async from(response) {
    const body = await response.json().catch(() => null);
    const fields = Array.isArray(body?.errors) ? body.errors.filter((error) => typeof error?.message === "string") : [];
    const retryAfter = Number.parseInt(response.headers.get("retry-after") ?? "", 10);
    return new ProblemError({
      status: response.status,
      code: text(body?.code),
      title: text(body?.title) || response.statusText,
      detail: text(body?.detail) || text(body?.message),
      errors: fields,
      instance: text(body?.instance),
      retryAfter: Number.isNaN(retryAfter) ? null : retryAfter,
    });
  }
}

const text = (value) => (typeof value === "string" ? value : "");

const channelPath = (channelId) => `/channels/${encodeURIComponent(channelId)}`;
const messagePath = (channelId, seq) => `${channelPath(channelId)}/messages/${seq}`;
const reactionPath = (channelId, seq, emoji) => `${messagePath(channelId, seq)}/reactions/${encodeURIComponent(emoji)}`;

/** Client of the REST API with a token from `session`. After a `401` it retries once with a new token. */
export class RestApi {
  #base;
  #session;
  #fetch;

  constructor({ url, session, fetch = globalThis.fetch }) {
    this.#base = url.replace(/\/+$/, "");
    this.#session = session;
    this.#fetch = (...args) => fetch(...args);
  }

  /** Returns all channels of which the user is a member, newest activity first, without the archived ones. */
  async channels() {
    const channels = [];
    let next = {};
    for (;;) {
      const page = await this.#call("GET", "/channels", { query: { limit: CHANNELS_PAGE, ...next } });
      channels.push(...(page.channels ?? []));
      if (!page.has_more || !page.next) return channels;
      next = page.next;
    }
  }

  channel(channelId) {
    return this.#call("GET", channelPath(channelId));
  }

  createChannel(channel) {
    return this.#call("POST", "/channels", { body: channel });
  }

  join(channelId, userId) {
    return this.#call("PUT", `${channelPath(channelId)}/members/${encodeURIComponent(userId)}`);
  }

  /** Moves the caller's read mark. It never moves back. */
  markRead(channelId, seq) {
    return this.#call("PUT", `${channelPath(channelId)}/read`, { body: { seq } });
  }

  /** Returns one page of history: newest first, or with `after` oldest first. */
  messages(channelId, { before, after, limit } = {}) {
    return this.#call("GET", `${channelPath(channelId)}/messages`, { query: { before, after, limit } });
  }

  /** Returns one page of the changes after the number `after`, oldest first. */
  changes(channelId, { after, limit }) {
    return this.#call("GET", `${channelPath(channelId)}/changes`, { query: { after, limit } });
  }

  message(channelId, seq) {
    return this.#call("GET", messagePath(channelId, seq));
  }

  send(channelId, message, idempotencyKey) {
    return this.#call("POST", `${channelPath(channelId)}/messages`, {
      body: message,
      headers: { "idempotency-key": idempotencyKey },
    });
  }

  /** Changes a message of this `version`: omitted fields stay, and `null` removes one. */
  updateMessage(channelId, seq, changes, version) {
    return this.#call("PATCH", messagePath(channelId, seq), {
      body: changes,
      headers: { "content-type": MERGE_PATCH_TYPE, "if-match": `"${version}"` },
    });
  }

  addReaction(channelId, seq, emoji) {
    return this.#call("PUT", reactionPath(channelId, seq, emoji));
  }

  removeReaction(channelId, seq, emoji) {
    return this.#call("DELETE", reactionPath(channelId, seq, emoji));
  }

  /** Returns the reply to a message, with its text so far. */
  reply(channelId, seq) {
    return this.#call("GET", `${messagePath(channelId, seq)}/reply`);
  }

  stopReply(channelId, seq) {
    return this.#call("POST", `${messagePath(channelId, seq)}/reply/cancel`);
  }

  async #call(method, path, options = {}) {
    const first = await this.#request(method, path, options, await this.#session.token());
    const response = first.status === 401 ? await this.#request(method, path, options, await this.#session.renew()) : first;
    if (!response.ok) throw await ProblemError.from(response);
    return response.json().catch(() => ({}));
  }

  async #request(method, path, { query = {}, body, headers = {} }, token) {
    const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null);
    const search = given.length > 0 ? `?${new URLSearchParams(given)}` : "";
    try {
      return await this.#fetch(`${this.#base}${path}${search}`, {
        method,
        headers: {
          authorization: `Bearer ${token}`,
          ...(body === undefined ? {} : { "content-type": JSON_TYPE }),
          ...headers,
        },
        body: body === undefined ? undefined : JSON.stringify(body),
        credentials: "omit",
        referrerPolicy: "no-referrer",
        signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
      });
    } catch (cause) {
      throw new ProblemError({ title: "No answer", detail: "The server cannot be reached.", cause });
    }
  }
}

/** Provider of one valid token, which it renews in time. */
export class Session {
  /** Time before a token's end at which it is renewed. A short-lived token is renewed at 80 % of its lifetime. */
  static RENEW_BEFORE_MS = 60_000;

  #issue;
  #clock;
  #current = null;
  #pending = null;

  /** `issue` resolves to `{token, expires_at}`. */
  constructor({ issue, clock }) {
    this.#issue = issue;
    this.#clock = clock;
  }

  /** Time at which to renew the current token, in ms since the epoch; `null` without one. */
  get renewAt() {
    return this.#current?.renewAt ?? null;
  }

  async token() {
    if (this.#current && this.#clock.now() < this.#current.renewAt) return this.#current.token;
    return this.renew();
  }

  /** Returns a new token. Concurrent callers share one request. */
  renew() {
    this.#pending ??= this.#fetchToken().finally(() => {
      this.#pending = null;
    });
    return this.#pending;
  }

  async #fetchToken() {
    const { token, expires_at: expiresAt } = await this.#issue();
    const now = this.#clock.now();
    const life = Math.max(0, Date.parse(expiresAt) - now) || 0;
    this.#current = { token, renewAt: now + Math.max(life * 0.8, life - Session.RENEW_BEFORE_MS) };
    return token;
  }
}
