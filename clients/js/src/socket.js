// A live connection: reconnects with backoff and detects a dead peer. To change its token or its channels without a
// gap, it opens the next socket before it closes the previous one. No DOM.

/** Interval of pings: API Gateway closes a connection after 10 idle minutes. */
const PING_EVERY_MS = 4 * 60_000;
const PONG_WITHIN_MS = 10_000;
/** Timeout of a handshake: API Gateway allows 29 s for `$connect`. */
const OPEN_WITHIN_MS = 30_000;
/** Time within which a socket ends after the server has announced it. */
const CLOSE_WITHIN_MS = 5_000;
const BACKOFF_BASE_MS = 500;
const BACKOFF_CAP_MS = 30_000;
/** Duration after which a connection counts as stable: the next failure starts with the shortest wait. */
const STABLE_AFTER_MS = 10_000;

/** Returns the wait before attempt `attempt` (from 0) in ms: half of it fixed, half of it random. */
export function backoff(attempt, random = Math.random) {
  const ceiling = Math.min(BACKOFF_CAP_MS, BACKOFF_BASE_MS * 2 ** Math.min(attempt, 16));
  return Math.round(ceiling / 2 + (ceiling / 2) * random());
}

/**
 * A subscription to channels over WebSocket.
 *
 * Events: `state` (`connecting`, `live`, `reconnecting` with `retryAt`, `offline`, `closed`; with a `reason` if the
 * server asked not to reconnect), `open` (a socket was opened, so the client must catch up), `frame` (a parsed frame of
 * the server).
 */
export class LiveConnection extends EventTarget {
  #url;
  #session;
  #WebSocket;
  #clock;
  #random;
  #channels = [];
  #online = true;
  #running = false;
  #generation = 0;
  #attempt = 0;
  #current = null;
  #next = null;
  #timers = new Map();
  /** The `closing` frame of the current socket. */
  #closing = null;
  #isRefused = false;
  #connectionId = null;
  state = { name: "closed" };

  constructor({ url, session, WebSocket = globalThis.WebSocket, clock, random = Math.random }) {
    super();
    this.#url = url;
    this.#session = session;
    this.#WebSocket = WebSocket;
    this.#clock = clock;
    this.#random = random;
  }

  get channels() {
    return [...this.#channels];
  }

  /** Id of the open connection; `null` until the server's `hello` has arrived. */
  get connectionId() {
    return this.#connectionId;
  }

  /** Subscribes to exactly these channels, or to all channels of the user if there are none. */
  subscribe(channels) {
    const wanted = [...new Set(channels)];
    const same = wanted.length === this.#channels.length && wanted.every((id) => this.#channels.includes(id));
    this.#channels = wanted;
    if (this.#running && same && (this.#current || this.#next)) return;
    this.#running = true;
    this.#isRefused = false;
    this.#connect();
  }

  /** Leaves a channel out of later connections: a handshake that names a channel of which the user is no member fails. */
  leave(channelId) {
    this.#channels = this.#channels.filter((id) => id !== channelId);
  }

  /**
   * Sets whether the machine has a network. Going online reconnects immediately. While offline, attempts continue,
   * because a stack on the same machine needs no network.
   */
  setOnline(online) {
    if (this.#online === online) return;
    this.#online = online;
    if (!this.#running || this.#isRefused) return;
    if (online) {
      this.#attempt = 0;
      if (this.#current) this.check();
      else this.#connect();
    } else {
      if (this.#current) this.check();
      else this.#setState({ name: "offline" });
    }
  }

  /** Reconnects immediately instead of after the wait. */
  retryNow() {
    if (!this.#running || this.#current || this.#next) return;
    this.#isRefused = false;
    this.#connect();
  }

  /** Sends a ping. Without a response the connection is replaced. */
  check() {
    const socket = this.#current;
    if (!socket) return;
    this.#send(socket, { action: "ping" });
    this.#after("pong", PONG_WITHIN_MS, () => {
      if (this.#current === socket) this.#lost(socket);
    });
  }

  close() {
    this.#running = false;
    this.#generation += 1;
    for (const name of [...this.#timers.keys()]) this.#cancel(name);
    this.#discard(this.#current);
    this.#discard(this.#next);
    this.#current = this.#next = null;
    this.#setState({ name: "closed" });
  }

  async #connect({ fresh = false } = {}) {
    this.#cancel("retry");
    const generation = (this.#generation += 1);
    const superseded = () => generation !== this.#generation || !this.#running;
    this.#discard(this.#next);
    this.#next = null;
    if (!this.#current) this.#setState({ name: this.#online ? "connecting" : "offline" });

    let token;
    try {
      token = fresh ? await this.#session.renew() : await this.#session.token();
    } catch {
      if (!superseded()) this.#failed();
      return;
    }
    if (superseded()) return;

    const socket = new this.#WebSocket(this.#address(), ["bearer", token]);
    this.#next = socket;
    const openedAt = { time: null };
    this.#after("open", OPEN_WITHIN_MS, () => {
      if (this.#next !== socket) return;
      this.#discard(socket);
      this.#next = null;
      this.#failed();
    });
    socket.onopen = () => {
      if (this.#next !== socket) return socket.close();
      this.#cancel("open");
      this.#cancel("retry");
      this.#cancel("closing");
      openedAt.time = this.#clock.now();
      this.#closing = null;
      this.#connectionId = null;
      const previous = this.#current;
      this.#current = socket;
      this.#next = null;
      this.#discard(previous);
      this.#cancel("pong");
      this.#schedulePing();
      this.#scheduleRenewal();
      this.#after("stable", STABLE_AFTER_MS, () => (this.#attempt = 0));
      this.#setState({ name: "live" });
      this.dispatchEvent(new CustomEvent("open"));
    };
    socket.onmessage = (event) => this.#receive(socket, event.data);
    socket.onclose = () => {
      if (this.#current === socket) this.#lost(socket);
      else if (this.#next === socket) {
        this.#cancel("open");
        this.#next = null;
        this.#failed();
      }
    };
  }

  #address() {
    const url = new URL(this.#url);
    if (this.#channels.length > 0) url.searchParams.set("channels", this.#channels.join(","));
    return url.href;
  }

  #receive(socket, data) {
    let frame;
    try {
      frame = JSON.parse(data);
    } catch {
      return;
    }
    if (frame === null || typeof frame !== "object") return;
    if (socket === this.#current) this.#heed(frame);
    this.dispatchEvent(new CustomEvent("frame", { detail: frame }));
  }

  /** Follows the frames that are about the connection itself. */
  #heed(frame) {
    if (frame.type === "pong") this.#cancel("pong");
    if (frame.type === "hello" && typeof frame.connection_id === "string") this.#connectionId = frame.connection_id;
    if (frame.type === "closing") {
      const socket = this.#current;
      this.#closing = frame;
      this.#after("closing", CLOSE_WITHIN_MS, () => this.#current === socket && this.#lost(socket));
    }
  }

  #lost(socket) {
    const closing = this.#closing;
    this.#discard(socket);
    this.#current = this.#closing = this.#connectionId = null;
    for (const name of ["ping", "pong", "renew", "closing"]) this.#cancel(name);
    const wasStable = !this.#timers.has("stable");
    this.#cancel("stable");
    if (this.#next) return;
    if (closing?.reconnect === false) {
      this.#isRefused = true;
      this.#cancel("retry");
      this.#setState({ name: "closed", reason: closing.reason });
    } else if (closing && wasStable) {
      this.#connect({ fresh: closing.reason === "token_expired" });
    } else {
      this.#failed();
    }
  }

  #failed() {
    // A failed change of token or channels: the open socket still works, so only the change is retried.
    const delay = backoff(this.#attempt, this.#random);
    this.#attempt += 1;
    if (!this.#current) {
      this.#setState(this.#online ? { name: "reconnecting", retryAt: this.#clock.now() + delay } : { name: "offline" });
    }
    this.#after("retry", delay, () => this.#connect());
  }

  #schedulePing() {
    this.#after("ping", PING_EVERY_MS, () => {
      this.check();
      this.#schedulePing();
    });
  }

  #scheduleRenewal() {
    const { renewAt } = this.#session;
    if (renewAt === null) return;
    this.#after("renew", Math.max(1000, renewAt - this.#clock.now()), () => this.#connect({ fresh: true }));
  }

  #send(socket, frame) {
    if (socket.readyState === 1) socket.send(JSON.stringify(frame));
  }

  #discard(socket) {
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    // A socket that never opened reports its end as an error event, which has no receiver.
    socket.onerror = () => {};
    socket.close();
  }

  #after(name, delay, action) {
    this.#cancel(name);
    this.#timers.set(
      name,
      this.#clock.setTimeout(() => {
        this.#timers.delete(name);
        action();
      }, delay),
    );
  }

  #cancel(name) {
    this.#clock.clearTimeout(this.#timers.get(name));
    this.#timers.delete(name);
  }

  #setState(state) {
    if (this.state.name === state.name && this.state.retryAt === state.retryAt && this.state.reason === state.reason) return;
    this.state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: state }));
  }
}
