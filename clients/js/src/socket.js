// A live connection: reconnects with backoff and detects a dead peer. To change its channels, or before its end, it opens
// the next socket before it closes the previous one. No DOM.

/** @import { ConnectionState, ProblemError } from "./types.js" */
/** @import { Request } from "./rest.js" */
/** @import { Session } from "./session.js" */

import { isNumber } from "./changes.js";
import { parsed } from "./rest.js";
import { backoff } from "./time.js";

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
 * @property {string} websocket
 * @property {Session} session
 * @property {Request} request
 * @property {any} WebSocket
 * @property {() => number} now
 * @property {(delay: number, action: () => void) => () => void} after
 * @property {() => number} random
 * @property {() => boolean} isOnline
 * @property {() => void} onState
 * @property {(connection: Connection) => void} onOpen
 * @property {(frame: any) => void} onFrame
 */
/** @typedef {ReturnType<typeof createConnection>} Connection */

/** Creates a subscription to channels over one WebSocket at a time. @param {Surroundings} around */
export function createConnection({ websocket: url, session, request, WebSocket, now, after, random, isOnline, onState, onOpen, onFrame }) {
  let isRunning = false;
  let generation = 0;
  let attempt = 0;
  let openedAt = 0;
  /** @type {any} */
  let current = null;
  /** @type {any} */
  let next = null;
  /** The `closing` frame of the current socket. @type {any} */
  let closing = null;
  /** Cancels of running timers. @type {Map<string, () => void>} */
  const timers = new Map();

  const one = {
    channels: /** @type {string[]} */ ([]),
    /** Id of the open connection; `null` until the server's `hello` has arrived. */
    id: /** @type {string | null} */ (null),
    /** Number of the user's channels that the connection leaves out. */
    leftOut: 0,
    state: /** @type {ConnectionState} */ ({ name: "closed" }),

    /** Subscribes to exactly these channels, or to all channels of the user if there are none. @param {string[]} channels */
    subscribe(channels) {
      const isSame = channels.length === one.channels.length && channels.every((id) => one.channels.includes(id));
      one.channels = channels;
      if (isSame && (current || next)) return;
      isRunning = true;
      connect();
    },

    /**
     * Follows the network. Its return reconnects immediately. While offline, attempts continue, because a stack on the
     * same machine needs no network.
     */
    moved() {
      if (one.state.name === "closed") return;
      if (current) check();
      else if (isOnline()) {
        attempt = 0;
        connect();
      } else setState({ name: "offline" });
    },

    /** Reconnects immediately instead of after the wait. */
    retryNow() {
      if (isRunning && !current && !next) connect();
    },

    check,

    close() {
      isRunning = false;
      end();
      drop();
      cancel(...timers.keys());
      setState({ name: "closed" });
    },
  };

  /** Runs an action later, in place of an earlier one of the same name. @param {string} name @param {number} delay @param {() => void} action */
  function later(name, delay, action) {
    cancel(name);
    timers.set(
      name,
      after(delay, () => {
        timers.delete(name);
        action();
      }),
    );
  }

  /** @param {string[]} names */
  function cancel(...names) {
    for (const name of names) {
      timers.get(name)?.();
      timers.delete(name);
    }
  }

  /** @param {ConnectionState} state */
  function setState(state) {
    if (JSON.stringify(state) === JSON.stringify(one.state)) return;
    one.state = state;
    onState();
  }

  /** Ends the attempt to open the next socket. */
  function end() {
    generation += 1;
    cancel("open", "retry");
    next?.close();
    next = null;
  }

  const isStable = () => current && now() - openedAt > STABLE_AFTER_MS;

  /** Ends the open socket. */
  function drop() {
    if (isStable()) attempt = 0;
    current?.close();
    current = closing = one.id = null;
    one.leftOut = 0;
  }

  /** Sends a ping. Without a response the connection is replaced. A socket that grew old in a sleep is replaced too. */
  function check() {
    if (!current) return;
    current.send('{"action":"ping"}');
    later("ping", PING_EVERY_MS, check);
    if (now() - openedAt > MAX_AGE_MS) connect();
    if (!timers.has("pong")) later("pong", PONG_WITHIN_MS, lost);
  }

  /** @param {boolean} [isFresh] `true` if a new token is needed. */
  async function connect(isFresh) {
    end();
    const mine = generation;
    if (!current) setState({ name: isOnline() ? "connecting" : "offline" });
    /** @type {any} */
    let socket;
    try {
      const { channels } = one;
      const names = channels.join();
      // A browser shows no status of a refused handshake. The problem of a refused ticket has the reason.
      const needsTicket = names.length > MAX_NAMES || (attempt > 1 && attempt % 2 === 0);
      const token = await (isFresh ? session.fresh() : session.token());
      const query = needsTicket
        ? `ticket=${encodeURIComponent((await request("POST", "/connections/tickets", { body: names ? { channels } : {} })).ticket)}`
        : names && `channels=${encodeURIComponent(names)}`;
      if (mine !== generation) return;
      socket = next = new WebSocket(query ? `${url}${url.includes("?") ? "&" : "?"}${query}` : url, needsTicket ? undefined : ["bearer", token]);
    } catch (/** @type {any} */ error) {
      if (mine === generation) failed(error);
      return;
    }
    const refused = () => {
      if (next !== socket) return;
      end();
      failed({}, true);
    };
    later("open", OPEN_WITHIN_MS, refused);
    // A socket that was closed may still report something.
    socket.onopen = () => socket === next && opened();
    socket.onmessage = (/** @type {any} */ event) => {
      const frame = parsed(event.data);
      if (socket !== current || !frame?.type) return;
      heed(frame);
      onFrame(frame);
    };
    socket.onclose = () => (socket === current ? lost() : refused());
    // A socket that never opened reports its end as an error event, which has no receiver.
    socket.onerror = () => {};
  }

  function opened() {
    cancel("open", "retry", "closing", "pong");
    drop();
    current = next;
    next = null;
    openedAt = now();
    later("ping", PING_EVERY_MS, check);
    // `hello` may be lost.
    renewBefore(session.left());
    setState({ name: "live" });
    onOpen(one);
  }

  /** Follows the frames that are about the connection itself. @param {any} frame */
  function heed({ type, connection_id: id, server_time: time, channels_left_out: leftOut, count = leftOut, reason, reconnect }) {
    // Each frame shows that the peer lives.
    cancel("pong");
    const isHello = type === "hello";
    if ((isHello || type === "pong") && id) one.id = id;
    if (isHello) {
      session.heed(Date.parse(time));
      renewBefore(session.left());
    }
    if ((isHello || type === "channels.left_out") && isNumber(count)) one.leftOut = count;
    if (type === "closing") {
      closing = { reason, reconnect };
      later("closing", CLOSE_WITHIN_MS, lost);
    }
  }

  function lost() {
    const { reason, reconnect } = closing ?? {};
    const isExpected = closing && isStable();
    drop();
    cancel("ping", "pong", "renew", "closing");
    if (reconnect === false) refuse(reason);
    else if (!next) {
      if (isExpected) connect(reason === "token_expired");
      else failed({});
    }
  }

  /** Ends all attempts until the user wants another one. @param {string} [reason] */
  function refuse(reason) {
    end();
    setState({ name: "closed", reason });
  }

  /** @param {Partial<ProblemError>} error @param {boolean} [isRefused] `true` if the server may have refused the token. */
  function failed(error, isRefused) {
    if (error.status === 403 && !current) return refuse(error.code);
    // A failed change of channels: the open socket still works, so only the change is retried.
    const delay = backoff(attempt, random, error);
    attempt += 1;
    if (!current) setState(isOnline() ? { name: "waiting", retryAt: now() + delay } : { name: "offline" });
    later("retry", delay, () => connect(isRefused));
  }

  /** Renews the token in time before an end that is `life` ms away. @param {number} life */
  function renewBefore(life) {
    const left = openedAt + MAX_AGE_MS - now();
    // A life that is not known is `NaN`.
    const delay = Math.min(left, Math.max(life - RENEW_BEFORE_MS, life * 0.8, RENEW_EVERY_MS) || left);
    later("renew", Math.max(0, delay), renew);
  }

  /** Gives the socket a new token. Near its maximum age, and if that fails, opens the next socket. */
  async function renew() {
    const { id } = one;
    const isOld = now() - openedAt >= MAX_AGE_MS;
    if (!id || isOld) return connect(!isOld);
    try {
      await session.fresh();
      await request("POST", `/connections/${encodeURIComponent(id)}/token`);
      if (one.id === id) renewBefore(session.left());
    } catch {
      if (one.id === id) connect();
    }
  }

  return one;
}
