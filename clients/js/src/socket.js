// A live connection: reconnects with backoff and detects a dead peer. To change its channels, or before its end, it opens
// the next socket before it closes the previous one. No DOM.

/** @import { Clock, ConnectionState, ProblemError } from "./types.js" */
/** @import { RestApi } from "./rest.js" */
/** @import { Session } from "./session.js" */

import { parsed, path } from "./rest.js";
import { after, backoff } from "./time.js";

/** Interval of pings: API Gateway closes a connection after 10 idle minutes. */
const PING_EVERY_MS = 4 * 60_000;
const PONG_WITHIN_MS = 10_000;
/** Timeout of a handshake: API Gateway allows 29 s for `$connect`. */
const OPEN_WITHIN_MS = 30_000;
/** Time within which a socket ends after the server has announced it. */
const CLOSE_WITHIN_MS = 5_000;
/** Duration after which a connection counts as stable: the next failure starts with the shortest wait. */
const STABLE_AFTER_MS = 10_000;
/** Age at which a socket is replaced: API Gateway closes it after 2 hours. */
const MAX_AGE_MS = 2 * 3_600_000 - 120_000;
/** Time before the end of its token at which a socket gets a new one, and shortest time between two. */
const RENEW_BEFORE_MS = 60_000;
const RENEW_EVERY_MS = 15_000;
/** Length of names of channels above which a ticket names them: API Gateway limits the size of a handshake. */
const MAX_NAMES = 2_000;

/**
 * What a connection needs and reports.
 * @typedef {object} Surroundings
 * @property {string} url
 * @property {Session} session
 * @property {RestApi} rest
 * @property {any} WebSocket
 * @property {Clock} clock
 * @property {() => number} random
 * @property {() => void} onState
 * @property {(connection: LiveConnection) => void} onOpen
 * @property {(frame: any, connection: LiveConnection) => void} onFrame
 */

/** A subscription to channels over one WebSocket at a time. */
export class LiveConnection {
  #around;
  #online = true;
  #isRunning = false;
  #generation = 0;
  #attempt = 0;
  #openedAt = 0;
  /** @type {any} */
  #current = null;
  /** @type {any} */
  #next = null;
  /** Cancels of running timers. @type {Map<string, () => void>} */
  #timers = new Map();
  /** The `closing` frame of the current socket. @type {any} */
  #closing = null;
  #isRefused = false;
  /** @type {string[]} */
  channels = [];
  /** Id of the open connection; `null` until the server's `hello` has arrived. @type {string | null} */
  id = null;
  /** Number of the user's channels that the connection leaves out. */
  leftOut = 0;
  /** @type {ConnectionState} */
  state = { name: "closed" };

  /** @param {Surroundings} around */
  constructor(around) {
    this.#around = around;
  }

  /** Subscribes to exactly these channels, or to all channels of the user if there are none. @param {string[]} channels */
  subscribe(channels) {
    const same = channels.length === this.channels.length && channels.every((id) => this.channels.includes(id));
    this.channels = channels;
    if (this.#isRunning && same && (this.#current || this.#next)) return;
    this.#isRunning = true;
    this.#isRefused = false;
    this.#connect();
  }

  /**
   * Sets whether the machine has a network. Going online reconnects immediately. While offline, attempts continue,
   * because a stack on the same machine needs no network.
   * @param {boolean} online
   */
  setOnline(online) {
    if (this.#online === online) return;
    this.#online = online;
    if (!this.#isRunning || this.#isRefused) return;
    if (this.#current) this.check();
    else if (online) {
      this.#attempt = 0;
      this.#connect();
    } else this.#setState({ name: "offline" });
  }

  /** Reconnects immediately instead of after the wait. */
  retryNow() {
    if (!this.#isRunning || this.#current || this.#next) return;
    this.#isRefused = false;
    this.#connect();
  }

  /** Sends a ping. Without a response the connection is replaced. A socket that grew old in a sleep is replaced too. */
  check() {
    const socket = this.#current;
    if (!socket) return;
    if (this.#around.clock.now() - this.#openedAt > MAX_AGE_MS) this.#connect();
    if (socket.readyState === 1) socket.send('{"action":"ping"}');
    if (!this.#timers.has("pong")) this.#after("pong", PONG_WITHIN_MS, () => this.#lost());
  }

  close() {
    this.#isRunning = false;
    this.#generation += 1;
    for (const name of this.#timers.keys()) this.#cancel(name);
    discard(this.#current);
    discard(this.#next);
    this.#current = this.#next = null;
    this.#setState({ name: "closed" });
  }

  async #connect(isFresh = false) {
    const { session, WebSocket } = this.#around;
    this.#cancel("retry");
    const generation = (this.#generation += 1);
    discard(this.#next);
    this.#next = null;
    this.#cancel("open");
    if (!this.#current) this.#setState({ name: this.#online ? "connecting" : "offline" });

    let socket;
    try {
      // A browser shows no status of a refused handshake. The problem of a refused ticket has the reason.
      const needsTicket = this.channels.join().length > MAX_NAMES || (this.#attempt > 1 && this.#attempt % 2 === 0);
      const token = await (isFresh ? session.fresh() : session.token());
      const [query, protocols] = needsTicket ? [await this.#ticket()] : [this.#names(), ["bearer", token]];
      if (generation !== this.#generation) return;
      const { url } = this.#around;
      socket = this.#next = new WebSocket(query ? `${url}${url.includes("?") ? "&" : "?"}${query}` : url, protocols);
    } catch (/** @type {any} */ error) {
      if (generation === this.#generation) this.#failed(error);
      return;
    }
    const refused = () => {
      if (this.#next !== socket) return;
      discard(socket);
      this.#next = null;
      this.#failed({}, true);
    };
    this.#after("open", OPEN_WITHIN_MS, refused);
    socket.onopen = () => this.#opened(socket);
    socket.onmessage = (/** @type {any} */ event) => this.#receive(socket, parsed(event.data));
    socket.onclose = () => (socket === this.#current ? this.#lost() : refused());
    // A socket that never opened reports its end as an error event, which has no receiver.
    socket.onerror = () => {};
  }

  #names() {
    return this.channels.length > 0 ? `channels=${encodeURIComponent(this.channels.join())}` : "";
  }

  async #ticket() {
    const body = this.channels.length > 0 ? { channels: this.channels } : {};
    const { ticket } = await this.#around.rest.call("POST", "/connections/tickets", { body });
    return `ticket=${encodeURIComponent(ticket)}`;
  }

  /** @param {any} socket */
  #opened(socket) {
    for (const name of ["open", "retry", "closing", "pong"]) this.#cancel(name);
    const previous = this.#current;
    this.#current = socket;
    this.#next = this.#closing = this.id = null;
    this.leftOut = 0;
    this.#openedAt = this.#around.clock.now();
    discard(previous);
    this.#schedulePing();
    // `hello` may be lost.
    this.#renewBefore(this.#around.session.left);
    this.#after("stable", STABLE_AFTER_MS, () => (this.#attempt = 0));
    this.#setState({ name: "live" });
    this.#around.onOpen(this);
  }

  /** @param {any} socket @param {any} frame */
  #receive(socket, frame) {
    if (frame === null || typeof frame !== "object") return;
    if (socket === this.#current) this.#heed(frame);
    this.#around.onFrame(frame, this);
  }

  /** Follows the frames that are about the connection itself. @param {any} frame */
  #heed(frame) {
    const { type, connection_id: id, server_time: time, expires_at: end } = frame;
    // Each frame shows that the peer lives.
    this.#cancel("pong");
    if ((type === "hello" || type === "pong") && typeof id === "string") this.id = id;
    if (type === "hello") {
      const { session } = this.#around;
      session.heed(time, true);
      this.#renewBefore(Date.parse(end) - session.now);
    }
    const count = type === "hello" ? frame.channels_left_out : type === "channels.left_out" ? frame.count : null;
    if (Number.isSafeInteger(count)) this.leftOut = count;
    if (type === "closing") {
      this.#closing = frame;
      this.#after("closing", CLOSE_WITHIN_MS, () => this.#lost());
    }
  }

  #lost() {
    const closing = this.#closing;
    discard(this.#current);
    this.#current = this.#closing = this.id = null;
    this.leftOut = 0;
    const wasStable = !this.#timers.has("stable");
    for (const name of ["ping", "pong", "renew", "closing", "stable"]) this.#cancel(name);
    if (closing?.reconnect === false) this.#refuse(closing.reason);
    else if (!this.#next) {
      if (closing && wasStable) this.#connect(closing.reason === "token_expired");
      else this.#failed();
    }
  }

  /** Ends all attempts until the user wants another one. @param {string} reason */
  #refuse(reason) {
    this.#generation += 1;
    this.#isRefused = true;
    for (const name of ["retry", "open"]) this.#cancel(name);
    discard(this.#next);
    this.#next = null;
    this.#setState({ name: "closed", reason });
  }

  /** @param {Partial<ProblemError>} [error] @param {boolean} [isRefused] `true` if the server may have refused the token. */
  #failed(error = {}, isRefused = false) {
    if (error.status === 403 && !this.#current) return this.#refuse(error.code ?? "");
    // A failed change of channels: the open socket still works, so only the change is retried.
    const delay = backoff(this.#attempt, this.#around.random, error);
    this.#attempt += 1;
    if (!this.#current) {
      this.#setState(this.#online ? { name: "waiting", retryAt: this.#around.clock.now() + delay } : { name: "offline" });
    }
    this.#after("retry", delay, () => this.#connect(isRefused));
  }

  #schedulePing() {
    this.#after("ping", PING_EVERY_MS, () => {
      this.check();
      this.#schedulePing();
    });
  }

  /** Renews the token in time before an end that is `life` ms away. @param {number} life */
  #renewBefore(life) {
    const left = this.#openedAt + MAX_AGE_MS - this.#around.clock.now();
    // A life that is not known is `NaN`.
    const delay = Math.min(left, Math.max(life - RENEW_BEFORE_MS, life * 0.8, RENEW_EVERY_MS) || left);
    this.#after("renew", Math.max(0, delay), () => this.#renew());
  }

  /** Gives the socket a new token. Near its maximum age, and if that fails, opens the next socket. */
  async #renew() {
    const { session, rest, clock } = this.#around;
    const { id } = this;
    const isOld = clock.now() - this.#openedAt >= MAX_AGE_MS;
    if (id === null || isOld) return this.#connect(!isOld);
    try {
      await session.fresh();
      const { expires_at: end } = await rest.call("POST", path`/connections/${id}/token`);
      if (this.id === id) this.#renewBefore(Date.parse(end) - session.now);
    } catch {
      if (this.id === id) this.#connect();
    }
  }

  /** @param {string} name @param {number} delay @param {() => void} action */
  #after(name, delay, action) {
    this.#cancel(name);
    const cancel = after(this.#around.clock, delay, () => {
      this.#timers.delete(name);
      action();
    });
    this.#timers.set(name, cancel);
  }

  /** @param {string} name */
  #cancel(name) {
    this.#timers.get(name)?.();
    this.#timers.delete(name);
  }

  /** @param {ConnectionState} state */
  #setState(state) {
    if (this.state.name === state.name && this.state.retryAt === state.retryAt && this.state.reason === state.reason) return;
    this.state = state;
    this.#around.onState();
  }
}

/** @param {any} socket */
function discard(socket) {
  if (!socket) return;
  socket.onopen = socket.onmessage = socket.onclose = null;
  socket.close();
}
