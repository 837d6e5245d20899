// A Switchboard client: REST, live connection, and recovery. No DOM: runs in a browser, in React Native and in Node.

/** @import { Abortable, ClientEvents, ClientOptions, ConnectionState, Me, RequestOptions, Store } from "./types.js" */
/** @import { Channel, Live } from "./channel.js" */
/** @import { Connection, Surroundings } from "./socket.js" */

import { createChannel } from "./channel.js";
import { createRest } from "./rest.js";
import { createConnection } from "./socket.js";
import { createTimers } from "./time.js";

/**
 * Parts of a client that its channels share.
 * @typedef {Surroundings & Shared} Core
 */
/**
 * @typedef {object} Shared
 * @property {string | null} userId
 * @property {Connection} connection The client's one socket, until another module puts several in its place.
 * @property {() => Connection} connect Creates a socket of the client.
 * @property {string[] | null} all The names that stand for all channels of the user; empty if one socket has room for them,
 * `null` if the application has named the channels.
 * @property {() => Promise<string>} identify Returns the id of the user.
 * @property {(delay: number) => Promise<void>} pause
 * @property {(key: string, request: () => Promise<unknown>) => void} quietly
 * @property {() => string} uuid
 * @property {Store} [store]
 * @property {() => boolean} isLive
 * @property {(id: string, isDeleted: boolean) => void} remove Ends a channel.
 * @property {<Type extends keyof ClientEvents>(type: Type, detail: ClientEvents[Type]) => void} emit
 */

/**
 * Client of one user of a Switchboard. `on` has its events.
 *
 * The API numbers the messages of every channel without a gap, and the changes of these messages too. `Channel` has the
 * rules by which an opened channel misses none of them, and no text of a reply.
 */
export class SwitchboardClient {
  /** @type {{ [Type in keyof ClientEvents]?: Set<(detail: any) => void> }} */
  #listeners = {};
  /** State of the live connection. @type {ConnectionState} */
  state = { name: "closed" };
  /** Number of the user's channels that the live connection leaves out. */
  leftOut = 0;
  /** For the other modules of the package. @type {Core} @internal */
  core;
  /** @type {Map<string, readonly [Channel, Live]>} */
  #channels = new Map();

  /** @param {ClientOptions} options */
  constructor(options) {
    const given = {
      fetch,
      WebSocket: globalThis.WebSocket,
      clock: { now: Date.now, setTimeout, clearTimeout },
      random: Math.random,
      // A key that no other message of the user has. A page without TLS has no `randomUUID`; the key is no secret.
      uuid: () => globalThis.crypto?.randomUUID?.() ?? `${Math.random()}`,
      ...options,
    };
    const timed = { ...given, ...createTimers(given) };
    const report = () => {
      const { leftOut, state } = core.connection;
      if (state !== this.state) this.emit("state", (this.state = state));
      if (leftOut !== this.leftOut) this.emit("leftOut", { count: (this.leftOut = leftOut) });
    };
    /** @type {Promise<Me> | null | undefined} */
    let asked;
    /** @type {Core} */
    const core = (this.core = /** @type {any} */ (/** @satisfies {Omit<Core, "connection">} */ ({
      ...timed,
      ...createRest(timed),
      isOnline: true,
      userId: options.userId ?? null,
      all: null,
      // Callers share one request, so that it has no signal of one of them.
      identify: async () => (core.userId ??= (await (asked ??= this.me().finally(() => (asked = null)))).user_id),
      isLive: () => this.state.name === "live",
      remove: (channelId, isDeleted) => {
        core.connection.leave(channelId);
        // The id may belong to another channel later.
        this.#channels.get(channelId)?.[1].close();
        this.#channels.delete(channelId);
        this.emit("removed", { channelId, isDeleted });
      },
      emit: (type, detail) => this.emit(type, detail),
      connect: () =>
        createConnection(
          core,
          report,
          (opened) => {
            // Another socket than the opened one has missed nothing.
            for (const [id, [, live]] of this.#channels) if (opened.channels.includes(id) || !core.connection.channels.includes(id)) live.recover();
          },
          (frame) => {
            const { type, channel_id: id } = frame;
            report();
            if (type === "hello") core.userId ??= frame.user_id;
            // Other types belong to a later version of the API, or are responses that need no action.
            if (typeof id === "string") this.#hold(id)[1].take(frame);
            this.emit("frame", frame);
            const isDeleted = type === "channel.deleted";
            if (isDeleted || (type === "member.removed" && (frame.member ?? frame).user_id === core.userId)) core.remove(id, isDeleted);
          },
        ),
    })));
    core.connection = core.connect();
  }

  /**
   * Calls `listener` with the detail of each event of a type. Returns a function that ends this.
   * @template {keyof ClientEvents} Type
   * @param {Type} type @param {(detail: ClientEvents[Type]) => void} listener
   */
  on(type, listener) {
    const all = (this.#listeners[type] ??= new Set());
    all.add(listener);
    return () => all.delete(listener);
  }

  /**
   * Calls the listeners of an event.
   * @template {keyof ClientEvents} Type
   * @param {Type} type @param {ClientEvents[Type]} detail
   */
  emit(type, detail) {
    for (const listener of new Set(this.#listeners[type])) {
      try {
        listener(detail);
      } catch (error) {
        // An error of a listener must not stop the client.
        (globalThis.reportError ?? console.error)(error);
      }
    }
  }

  /** Id of the first open connection; `null` until the server has named it. */
  get connectionId() {
    return this.core.connection.id;
  }

  /** Id of the user; `null` until it is known. */
  get userId() {
    return this.core.userId;
  }

  /** Makes a request of the API that has no method here. Returns the body of its response. @param {string} method @param {string} path @param {RequestOptions} [options] @returns {Promise<any>} */
  request(method, path, options) {
    return this.core.request(method, path, options);
  }

  /** Returns the user, the scopes of the token, and the agent's name. @param {Abortable} [options] @returns {Promise<Me>} */
  me(options) {
    return this.request("GET", "/me", options);
  }

  /**
   * Subscribes to exactly these channels, or to all channels of the user if there are none. Fails with a `RangeError` for
   * more than 100 channels, unless `channelsOf(client)` divides them among sockets.
   * @param {string[]} [channelIds]
   */
  subscribe(channelIds = []) {
    const core = this.core;
    const all = channelIds[0] ? null : (core.all ?? []);
    core.connection.subscribe(all ?? channelIds);
    core.all = all;
  }

  /** Says whether the machine has a network. @param {boolean} isOnline */
  setOnline(isOnline) {
    if (this.core.isOnline === isOnline) return;
    this.core.isOnline = isOnline;
    this.core.connection.moved();
  }

  /** Connects immediately instead of after the wait. */
  retryNow() {
    this.core.connection.retryNow();
  }

  /** Checks a connection that may have failed without an event, for example while the machine was suspended. */
  check() {
    this.core.connection.check();
  }

  close() {
    this.core.connection.close();
    for (const [, live] of this.#channels.values()) live.close();
  }

  /** Returns a channel, whether or not it is open. @param {string} id */
  channel(id) {
    return this.#hold(id)[0];
  }

  /** Reads the newest history of a channel, and keeps it complete afterwards. @param {string} id @param {Abortable} [options] */
  async open(id, options) {
    const channel = this.channel(id);
    await channel.open(options);
    return channel;
  }

  /** @param {string} id */
  #hold(id) {
    const held = this.#channels.get(id) ?? createChannel(this.core, id);
    this.#channels.set(id, held);
    return held;
  }
}
