// A Switchboard client: REST, live connection, and recovery. No DOM: runs in a browser, in React Native and in Node.

/** @import { Abortable, ChannelInfo, ClientEvents, ClientOptions, Clock, ConnectionState, Invitation, Me, Member, RequestOptions, Role, Store } from "./types.js" */
/** @import { LiveConnection } from "./socket.js" */

import { ChannelSync } from "./channel-sync.js";
import { Channel } from "./channel.js";
import { Connections } from "./connections.js";
import { Emitter } from "./emitter.js";
import { QuietRequests } from "./quiet.js";
import { RestApi, path } from "./rest.js";
import { Session } from "./session.js";
import { after, systemClock } from "./time.js";

/**
 * Parts of a client that its channels share.
 * @typedef {object} Core
 * @property {string | null} userId
 * @property {(signal?: AbortSignal) => Promise<string>} identify Returns the id of the user.
 * @property {RestApi} rest
 * @property {QuietRequests} quiet
 * @property {ChannelSync} sync
 * @property {Clock} clock
 * @property {(delay: number, action: () => void) => () => void} after Runs an action later. Returns its cancel.
 * @property {() => number} random
 * @property {() => string} uuid
 * @property {Store | undefined} store
 * @property {() => boolean} isLive
 * @property {<Type extends keyof ClientEvents>(type: Type, detail: ClientEvents[Type]) => void} emit
 */

/**
 * Client of one user of a Switchboard. `on` has its events.
 *
 * The API numbers the messages of every channel without a gap, and the changes of these messages too. `Channel` has the
 * rules by which an opened channel misses none of them, and no text of a reply.
 * @extends {Emitter<ClientEvents>}
 */
export class SwitchboardClient extends Emitter {
  /** @type {Core} */
  #core;
  #connections;
  /** @type {Map<string, Channel>} */
  #channels = new Map();
  /** @type {Promise<Me> | null} */
  #me = null;
  #leftOut = 0;
  /** `true` if the sockets shall receive all channels of the user. */
  #wantsAll = false;
  /** `true` if all channels of the user are named, because one socket has no room for them. */
  #isSplit = false;

  /** @param {ClientOptions} options */
  constructor({
    rest: url,
    websocket,
    token,
    userId,
    store,
    fetch = (...args) => globalThis.fetch(...args),
    WebSocket = globalThis.WebSocket,
    clock = systemClock,
    random = Math.random,
    uuid = () => globalThis.crypto?.randomUUID?.() ?? [1, 2, 3].map(() => random().toString(36).slice(2)).join("-"),
  }) {
    super();
    const session = new Session(token, clock);
    const rest = new RestApi({ url, session, fetch, clock });
    const quiet = new QuietRequests({ clock, random });
    const sync = new ChannelSync({ rest, quiet, emit: (type, detail) => this.#synced(type, detail) });
    this.#core = {
      userId: null,
      identify: async (signal) => this.userId ?? this.#named((await this.me({ signal })).user_id),
      rest,
      quiet,
      sync,
      clock,
      after: (delay, action) => after(clock, delay, action),
      random,
      uuid,
      store,
      isLive: () => this.state.name === "live",
      emit: (type, detail) => this.emit(type, detail),
    };
    if (userId) this.#named(userId);
    this.#connections = new Connections({
      url: websocket,
      session,
      rest,
      WebSocket,
      clock,
      random,
      onState: () => {
        this.emit("state", this.state);
        this.#countLeftOut();
      },
      onOpen: (connection) => this.#opened(connection),
      onFrame: (frame) => this.#frame(frame),
    });
  }

  /** Id of the user; `null` until it is known. */
  get userId() {
    return this.#core.userId;
  }

  /** State of the live connection. */
  get state() {
    return this.#connections.state;
  }

  /** Number of the user's channels that the live connection leaves out. */
  get leftOut() {
    return this.#leftOut;
  }

  /** Id of the first open connection; `null` until the server has named it. */
  get connectionId() {
    return this.#connections.all[0]?.id ?? null;
  }

  /** Channels of the user, empty until `loadChannels`. */
  get channels() {
    return this.#core.sync.list;
  }

  /** Makes a request of the API that has no method here. Returns the body of its response. @param {string} method @param {string} path @param {RequestOptions} [options] */
  request(method, path, options) {
    return this.#core.rest.call(method, path, options);
  }

  /** Returns the user, the scopes of the token, and the agent's name. @param {Abortable} [options] @returns {Promise<Me>} */
  me(options) {
    const asked = (this.#me ??= this.request("GET", "/me", options));
    asked.catch(() => (this.#me = null));
    return asked;
  }

  // --- connection

  /** Subscribes to exactly these channels, or to all channels of the user if there are none. @param {string[]} [channelIds] */
  subscribe(channelIds = []) {
    this.#wantsAll = channelIds.length === 0;
    if (!this.#wantsAll || !this.#isSplit) {
      this.#isSplit = false;
      this.#connections.subscribe(channelIds);
    }
  }

  /** Says whether the machine has a network. @param {boolean} isOnline */
  setOnline(isOnline) {
    this.#connections.setOnline(isOnline);
  }

  /** Connects immediately instead of after the wait. */
  retryNow() {
    for (const one of this.#connections.all) one.retryNow();
  }

  /** Checks a connection that may have failed without an event, for example while the machine was suspended. */
  check() {
    for (const one of this.#connections.all) one.check();
  }

  close() {
    for (const one of this.#connections.all) one.close();
    for (const channel of this.#channels.values()) channel.close();
  }

  // --- channels

  /** Returns a channel, whether or not it is open. @param {string} id */
  channel(id) {
    const channel = this.#channels.get(id) ?? new Channel(this.#core, id);
    this.#channels.set(id, channel);
    return channel;
  }

  /** Reads the newest history of a channel, and keeps it complete afterwards. @param {string} id @param {Abortable} [options] */
  async open(id, options) {
    const channel = this.channel(id);
    await channel.open(options);
    return channel;
  }

  /** Reads the list of channels. Returns them, newest activity first. @param {Abortable} [options] */
  async loadChannels(options) {
    await this.#core.identify(options?.signal);
    await this.#core.sync.load(options);
    return this.channels.entries;
  }

  /** Reads one channel into the list. @param {string} id @param {Abortable} [options] */
  loadChannel(id, options) {
    return this.#core.sync.loadOne(id, options);
  }

  /** Returns channels that are not in the list, for example public ones by the beginning of their names. @param {RequestOptions["query"]} query @param {Abortable} [options] @returns {Promise<ChannelInfo[]>} */
  findChannels(query, options) {
    return this.#core.rest.list("/channels", "channels", { query, ...options });
  }

  /** @param {{ name: string, visibility: "public" | "private", channel_id?: string, [field: string]: unknown }} channel @param {Abortable} [options] @returns {Promise<ChannelInfo>} */
  async createChannel(channel, options) {
    const created = await this.request("POST", "/channels", { body: channel, ...options });
    await this.loadChannel(created.channel_id, options);
    return created;
  }

  /** Joins a public channel, or accepts an invitation. @param {string} id @param {Abortable} [options] @returns {Promise<Member>} */
  async joinChannel(id, options) {
    const member = await this.addMember(id, await this.#core.identify(options?.signal), options);
    await this.loadChannel(id, options);
    return member;
  }

  /** Leaves a channel, or declines an invitation. @param {string} id @param {Abortable} [options] */
  async leaveChannel(id, options) {
    await this.removeMember(id, await this.#core.identify(options?.signal), options);
    this.#core.sync.remove(id, false);
  }

  /** Changes settings: omitted ones stay, and `null` removes one. @param {string} id @param {object} changes @param {Abortable} [options] @returns {Promise<ChannelInfo>} */
  async updateChannel(id, changes, options) {
    const channel = await this.request("PATCH", path`/channels/${id}`, { body: changes, ...options });
    await this.loadChannel(id, options);
    return channel;
  }

  /** @param {string} id @param {Abortable} [options] */
  async deleteChannel(id, options) {
    await this.request("DELETE", path`/channels/${id}`, options);
    this.#core.sync.remove(id, true);
  }

  /** @param {string} id @param {Abortable} [options] @returns {Promise<Member[]>} */
  members(id, options) {
    return this.#core.rest.list(path`/channels/${id}/members`, "members", options);
  }

  /** Adds or invites a user, or assigns a role. @param {string} id @param {string} userId @param {{ role?: Role } & Abortable} [options] @returns {Promise<any>} */
  addMember(id, userId, { role, ...options } = {}) {
    return this.request("PUT", path`/channels/${id}/members/${userId}`, { body: role && { role }, ...options });
  }

  /** Removes a member, or ends an invitation. @param {string} id @param {string} userId @param {Abortable} [options] */
  removeMember(id, userId, options) {
    return this.request("DELETE", path`/channels/${id}/members/${userId}`, options);
  }

  /** Returns the user's invitations. Accept one with `joinChannel`, decline it with `leaveChannel`. @param {Abortable} [options] @returns {Promise<Invitation[]>} */
  invitations(options) {
    return this.#core.rest.list("/invitations", "invitations", options);
  }

  // --- frames

  /** @param {string} userId */
  #named(userId) {
    return (this.#core.sync.list.userId = this.#core.userId = userId);
  }

  /** Reads what was missed before a socket opened. @param {LiveConnection} connection */
  #opened(connection) {
    this.#countLeftOut();
    for (const [id, channel] of this.#channels) {
      const isElsewhere = this.#connections.all.some((other) => other !== connection && other.channels.includes(id));
      if (!isElsewhere) channel.recover();
    }
  }

  /** @param {any} frame */
  #frame(frame) {
    const { type, channel_id: id, user_id: userId } = frame;
    if (type === "hello" && typeof userId === "string" && !this.userId) this.#named(userId);
    this.#countLeftOut();
    // Other types belong to a later version of the API, or are responses that need no action.
    if (typeof id !== "string") return;
    this.channel(id).take(frame);
    this.#core.sync.follow(frame);
  }

  /** @param {any} type @param {any} detail */
  #synced(type, detail) {
    if (type === "removed") {
      // The id may belong to another channel later.
      this.#connections.leave(detail.channelId);
      this.#channels.get(detail.channelId)?.close();
      this.#channels.delete(detail.channelId);
    }
    if (type === "channels" && this.#isSplit) this.#split();
    this.emit(type, detail);
  }

  #countLeftOut() {
    const { leftOut: count } = this.#connections;
    if (count === this.#leftOut) return;
    this.#leftOut = count;
    this.emit("leftOut", { count });
    if (count > 0 && this.#wantsAll && !this.#isSplit) {
      this.#core.quiet.run("split", async () => {
        await this.loadChannels();
        this.#isSplit = this.#wantsAll;
        this.#split();
        return true;
      });
    }
  }

  /** Divides the user's channels among sockets. */
  #split() {
    const ids = this.channels.entries.map(({ channel_id: id }) => id);
    if (this.#isSplit && ids.length > 0) this.#connections.subscribe(ids);
  }
}
