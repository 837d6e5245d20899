// A live connection: reconnects with backoff and detects a dead peer. To change its channels, or before its end, it opens
// the next socket before it closes the previous one. No DOM.

/** @import { ConnectionState, ProblemError } from "./types.js" */
/** @import { Rest } from "./rest.js" */

import { isNumber } from "./changes.js";
import { CLOSE_WITHIN_MS, MAX_AGE_MS, MAX_CHANNELS, MAX_NAMES, OPEN_WITHIN_MS, PING_EVERY_MS, PONG_WITHIN_MS, RENEW_BEFORE_MS, RENEW_EVERY_MS, STABLE_AFTER_MS } from "./limits.js";
import { tried, withQuery } from "./rest.js";
import { backoff } from "./time.js";

/**
 * What a connection needs.
 * @typedef {Rest & Around} Surroundings
 */
/**
 * The rest of it.
 * @typedef {object} Around
 * @property {string} websocket
 * @property {any} WebSocket
 * @property {() => number} now
 * @property {(delay: number, action: () => void) => () => void} after
 * @property {() => number} random
 * @property {boolean} isOnline
 */
/**
 * What a client and its further modules use of its sockets.
 * @typedef {object} Connection
 * @property {string[]} channels
 * @property {string | null} id Id of the open connection; `null` until the server's `hello` has arrived.
 * @property {number} leftOut Number of the user's channels that the connection leaves out.
 * @property {ConnectionState} state
 * @property {(channels: string[]) => void} subscribe Subscribes to exactly these channels, or to all channels of the user if
 * there are none.
 * @property {(id: string) => void} leave Leaves a channel out of later handshakes: one that names a channel of which the user
 * is no member fails.
 * @property {() => void} moved Follows the network. Its return reconnects immediately. While offline, attempts continue,
 * because a stack on the same machine needs no network.
 * @property {() => void} retryNow Reconnects immediately instead of after the wait.
 * @property {() => void} check Checks a connection that may have failed without an event.
 * @property {() => void} close Ends the connection until it subscribes again.
 */
/** @typedef {(() => void) | null | undefined} Cancel */

/**
 * Creates a subscription to channels over one WebSocket at a time.
 * @param {Surroundings} around @param {() => void} onChange Tells that the state may have changed, or the number of channels
 * that are left out. @param {(connection: Connection) => void} onOpen @param {(frame: any) => void} onFrame
 */
export function createConnection(around, onChange, onOpen, onFrame) {
  const { after, now, random, heed, left, fresh, token, request, websocket, WebSocket } = around;
  /** `true` from `subscribe` until the application closes the connection. */
  let isWanted = false;
  let attempt = 0;
  let openedAt = 0;
  let renewAt = 0;
  /** @type {any} */
  let current;
  /** The socket that opens, or what stands for it until its handshake. @type {any} */
  let next;
  /** The `closing` frame of the current socket. @type {any} */
  let closing;
  /** Of the timeout of the attempt to open the next socket, or of the wait before it. @type {Cancel} */
  let cancelOpen;
  /** @type {Cancel} */
  let cancelPing;
  /** Of the time within which the current socket must give a sign of life, or end. @type {Cancel} */
  let cancelLost;

  /** @type {Connection} */
  const one = {
    channels: [],
    id: null,
    leftOut: 0,
    state: { name: "closed" },

    subscribe(names) {
      if (names.length > MAX_CHANNELS) throw RangeError("over 100 channels need channelsOf(client)");
      // Neither their order nor a repetition makes a difference.
      const before = `${one.channels}`;
      one.channels = [...new Set(names)].sort();
      isWanted = true;
      if (`${one.channels}` !== before || !(current || next)) connect();
    },

    leave(id) {
      one.channels = one.channels.filter((name) => name !== id);
    },

    moved() {
      if (one.state.name === "closed") return;
      if (current) return check();
      attempt = 0;
      connect();
    },

    retryNow() {
      if (isWanted && !current && !next) connect();
    },

    check,

    close() {
      isWanted = false;
      close();
    },
  };

  /** @param {ConnectionState} state */
  function setState(state) {
    if (state.name !== one.state.name) one.state = state;
    onChange();
  }

  /** Sets the state of a connection without an open socket. @param {ConnectionState} state */
  function seek(state) {
    if (!current) setState(around.isOnline ? state : { name: "offline" });
  }

  /** Ends the attempt to open the next socket. */
  function end() {
    cancelOpen?.();
    next?.close();
    next = null;
  }

  const isStable = () => now() - openedAt > STABLE_AFTER_MS;

  /** Ends the open socket. */
  function drop() {
    if (current && isStable()) attempt = 0;
    cancelPing?.();
    cancelLost?.();
    current?.close();
    current = closing = cancelLost = one.id = null;
    one.leftOut = 0;
  }

  /** Ends all attempts until the user wants another one. @param {{ reason?: string }} [more] */
  function close(more) {
    end();
    drop();
    setState({ name: "closed", ...more });
  }

  /** Sends a ping. Without a response the connection is replaced. A token that grew old in a sleep is replaced too. */
  function check() {
    if (!current) return;
    current.send('{"action":"ping"}');
    cancelLost ??= after(PONG_WITHIN_MS, lost);
    if (now() >= renewAt) {
      renewAt = Infinity;
      renew();
    }
    checkLater();
  }

  function checkLater() {
    cancelPing?.();
    cancelPing = after(Math.min(PING_EVERY_MS, renewAt - now()), check);
  }

  /** @param {boolean} [isFresh] `true` if a new token is needed. */
  async function connect(isFresh) {
    end();
    /** @type {any} */
    let socket = (next = { close() {} });
    seek({ name: "connecting" });
    /** @type {(error?: any, isRefused?: boolean) => unknown} */
    const refused = (error, isRefused = true) => socket === next && failed(error, isRefused);
    try {
      const { channels } = one;
      const names = `${channels}`;
      // A browser shows no status of a refused handshake. The problem of a refused ticket has the reason.
      const needsTicket = names.length > MAX_NAMES || (attempt && attempt % 2 < 1);
      const used = await (isFresh ? fresh() : token());
      const ticket = needsTicket && (await request("POST", "/connections/tickets", { body: names ? { channels } : {} })).ticket;
      if (socket !== next) return;
      socket = next = ticket ? new WebSocket(withQuery(websocket, { ticket })) : new WebSocket(withQuery(websocket, { channels: names || null }), ["bearer", used]);
    } catch (error) {
      return refused(error, false);
    }
    cancelOpen = after(OPEN_WITHIN_MS, refused);
    // A socket that was closed may still report something.
    socket.onopen = () => socket === next && opened();
    socket.onmessage = (/** @type {any} */ event) => {
      const frame = tried(() => JSON.parse(event.data));
      if (socket !== current || !frame.type) return;
      follow(frame);
      onFrame(frame);
    };
    socket.onclose = () => (socket === current ? lost() : refused());
    // A socket that never opened reports its end as an error event, which has no receiver.
    socket.onerror = () => {};
  }

  function opened() {
    cancelOpen?.();
    drop();
    current = next;
    next = null;
    openedAt = now();
    // `hello` may be lost.
    renewLater(Infinity);
    setState({ name: "live" });
    onOpen(one);
  }

  /** Follows the frames that are about the connection itself. @param {any} frame */
  function follow(frame) {
    // Each frame shows that the peer lives, but its announced end stays.
    if (!closing) cancelLost = void cancelLost?.();
    one.id = frame.connection_id ?? one.id;
    if (frame.type === "hello") {
      heed(Date.parse(frame.server_time));
      // The token of the socket, not a newer one that was fetched meanwhile.
      renewLater(renewAt, Date.parse(frame.expires_at) - Date.parse(frame.server_time) || undefined);
    }
    // Of the frames that are no event of a channel, only `channels.left_out` has a `count`.
    one.leftOut = /** @type {number} */ ([frame.channels_left_out, frame.count, one.leftOut].find(isNumber));
    if (frame.type === "closing") {
      closing = frame;
      cancelLost ??= after(CLOSE_WITHIN_MS, lost);
    }
  }

  function lost() {
    const told = closing;
    const isExpected = told && isStable();
    drop();
    if (told?.reconnect === false) close({ reason: told.reason });
    else if (next) seek({ name: "connecting" });
    else if (isExpected) connect(told.reason === "token_expired");
    else failed();
  }

  /** @param {Partial<ProblemError>} [error] @param {boolean} [isRefused] `true` if the server may have refused the token. */
  function failed(error, isRefused) {
    end();
    if (error?.status === 403 && !current) return close({ reason: error.code });
    // A failed change of channels: the open socket still works, so only the change is retried.
    const delay = backoff(attempt, random, error);
    attempt += 1;
    seek({ name: "waiting", retryAt: now() + delay });
    cancelOpen = after(delay, () => connect(isRefused));
  }

  /** Renews the token of the socket in time before its end, at the latest before that time. @param {number} latest */
  function renewLater(latest, life = left()) {
    renewAt = Math.min(latest, openedAt + MAX_AGE_MS, now() + Math.max(life - RENEW_BEFORE_MS, life * 0.8, RENEW_EVERY_MS));
    checkLater();
  }

  /** Gives the socket a new token. Near its maximum age, and if that fails, opens the next socket. */
  async function renew() {
    const { id } = one;
    const isOld = now() - openedAt >= MAX_AGE_MS;
    if (!id || isOld) return connect(!isOld);
    try {
      await fresh();
      await request("POST", `/connections/${encodeURIComponent(id)}/token`);
      if (one.id === id) renewLater(Infinity);
    } catch {
      if (one.id === id) connect();
    }
  }

  return one;
}
