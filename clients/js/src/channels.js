// The channels of a user, in step with the server: the list, read marks, members, invitations. No DOM.

/** @import { SwitchboardClient } from "./client.js" */
/** @import { Abortable, ChannelInfo, Invitation, Member, Message, RequestOptions, Role } from "./types.js" */

import { ChannelList } from "./channel-list.js";
import { createConnections } from "./connections.js";
import { listAll } from "./rest.js";

/** Minimum time between two read marks of one channel. */
const READ_EVERY_MS = 2_000;

/** @param {string} id */
const pathOf = (id) => `/channels/${encodeURIComponent(id)}`;
/** @param {string} id @param {string} userId */
const memberOf = (id, userId) => `${pathOf(id)}/members/${encodeURIComponent(userId)}`;

/** @type {WeakMap<SwitchboardClient, Channels>} */
const known = new WeakMap();

/**
 * Returns the channels of a client, always the same object. From the first call on, they follow the client's frames, and divide more
 * than 100 channels among sockets.
 * @param {SwitchboardClient} client
 */
export function channelsOf(client) {
  const channels = known.get(client) ?? new Channels(client);
  known.set(client, channels);
  return channels;
}

/**
 * The channels of the user of a client. The client emits their events.
 *
 * More channels than fit on one socket are divided among several. If the client subscribes to all channels and the server
 * leaves some out, their names are read for this.
 */
export class Channels {
  #client;
  #core;
  #list;
  #isLoaded = false;
  /** The last read mark of each channel. @type {Map<string, number>} */
  #marks = new Map();

  /** @param {SwitchboardClient} client */
  constructor(client) {
    this.#client = client;
    this.#core = client.core;
    this.#core.connection = createConnections(client);
    this.#list = new ChannelList(this.#core);
    client.on("frame", (frame) => this.#follow(frame));
    for (const type of /** @type {const} */ (["messages", "history"])) client.on(type, ({ channelId, messages }) => this.#created(channelId, messages));
    client.on("revised", ({ channelId, messages }) => this.#revised(channelId, messages));
    client.on("leftOut", () => this.#divide());
    this.#divide();
  }

  /** Channels that are not archived, newest activity first. Empty until `load`, and the same array until it changes. */
  get entries() {
    return this.#list.entries;
  }

  /** Returns a channel of the user, also an archived one. @param {string} id */
  get(id) {
    return this.#list.get(id);
  }

  /** Returns the number of unread messages in a channel, at most 100. @param {string} id */
  unread(id) {
    return this.#list.unread(id);
  }

  /** Returns the `seq` up to which the user has read a channel; 0 for none of it. @param {string} id */
  readSeq(id) {
    return this.#list.readSeq(id);
  }

  /** Reads the list. Returns `entries`. @param {Abortable} [options] */
  async load(options) {
    await this.#core.identify();
    const since = this.#list.changes;
    this.#list.replace(await listAll(this.#core.request, "/channels", "channels", options), since);
    this.#isLoaded = true;
    this.#changed();
    return this.entries;
  }

  /** Reads one channel into the list. Returns `false` if its counts are older than the held ones. @param {string} id @param {Abortable} [options] */
  async loadOne(id, options) {
    const isCurrent = this.#list.put(await this.#core.request("GET", pathOf(id), options));
    this.#changed();
    return isCurrent;
  }

  /** Returns channels that are not in the list, for example public ones by the beginning of their names. @param {RequestOptions["query"]} query @param {Abortable} [options] @returns {Promise<ChannelInfo[]>} */
  find(query, options) {
    return listAll(this.#core.request, "/channels", "channels", { query, ...options });
  }

  /** @param {{ name: string, visibility: "public" | "private", channel_id?: string, [field: string]: unknown }} channel @param {Abortable} [options] @returns {Promise<ChannelInfo>} */
  async create(channel, options) {
    const created = await this.#core.request("POST", "/channels", { body: channel, ...options });
    await this.loadOne(created.channel_id, options);
    return created;
  }

  /** Joins a public channel, or accepts an invitation. @param {string} id @param {Abortable} [options] @returns {Promise<Member>} */
  async join(id, options) {
    const member = await this.addMember(id, await this.#core.identify(), options);
    await this.loadOne(id, options);
    return member;
  }

  /** Leaves a channel, or declines an invitation. @param {string} id @param {Abortable} [options] */
  async leave(id, options) {
    await this.removeMember(id, await this.#core.identify(), options);
    this.#gone(id, false);
  }

  /** Changes settings: omitted ones stay, and `null` removes one. @param {string} id @param {object} changes @param {Abortable} [options] @returns {Promise<ChannelInfo>} */
  async update(id, changes, options) {
    const channel = await this.#core.request("PATCH", pathOf(id), { body: changes, ...options });
    await this.loadOne(id, options);
    return channel;
  }

  /** Deletes a channel. @param {string} id @param {Abortable} [options] */
  async remove(id, options) {
    await this.#core.request("DELETE", pathOf(id), options);
    this.#gone(id, true);
  }

  /** @param {string} id @param {Abortable} [options] @returns {Promise<Member[]>} */
  members(id, options) {
    return listAll(this.#core.request, `${pathOf(id)}/members`, "members", options);
  }

  /** Adds or invites a user, or assigns a role. @param {string} id @param {string} userId @param {{ role?: Role } & Abortable} [options] @returns {Promise<any>} */
  addMember(id, userId, { role, ...options } = {}) {
    return this.#core.request("PUT", memberOf(id, userId), { body: role && { role }, ...options });
  }

  /** Removes a member, or ends an invitation. @param {string} id @param {string} userId @param {Abortable} [options] @returns {Promise<void>} */
  async removeMember(id, userId, options) {
    await this.#core.request("DELETE", memberOf(id, userId), options);
  }

  /** Returns the user's invitations. Accept one with `join`, decline it with `leave`. @param {Abortable} [options] @returns {Promise<Invitation[]>} */
  invitations(options) {
    return listAll(this.#core.request, "/invitations", "invitations", options);
  }

  /**
   * Moves the read mark, by default to the newest held message of the opened channel. The list changes at once; requests
   * are limited to one each `READ_EVERY_MS`.
   * @param {string} id @param {number} [seq]
   */
  markRead(id, seq = this.#client.channel(id).log.lastSeq ?? 0) {
    const { pause, quietly, request } = this.#core;
    // Sending has the same effect, without a request.
    if (seq <= Math.max(this.readSeq(id), this.#marks.get(id) ?? 0)) return;
    this.#marks.set(id, seq);
    this.#list.read(id, seq);
    this.#changed();
    quietly(`read ${id}`, async () => {
      const mark = this.#marks.get(id) ?? 0;
      await request("PUT", `${pathOf(id)}/read`, { body: { seq: mark } });
      if (mark < (this.get(id)?.last_seq ?? 0)) this.#recount(id);
      await pause(READ_EVERY_MS);
      return true;
    });
  }

  /** Follows a frame about a channel, a member or a read mark. @param {any} frame */
  #follow(frame) {
    const { channel_id: id, type } = frame;
    if (typeof id !== "string") return;
    const isMine = (frame.member?.user_id ?? frame.user_id) === this.#core.userId;
    if (type === "channel.created" || (type === "member.joined" && isMine)) this.#recount(id);
    if (type === "channel.updated" && this.#list.describe(frame.channel ?? {})) this.#changed();
    if (type === "member.updated" && isMine) {
      this.#list.giveRole(id, frame.member?.role);
      this.#changed();
    }
    if (type === "read.updated" && isMine) this.#readElsewhere(id, frame.read_seq);
    if (/^(member\.|read\.)/.test(type)) this.#core.emit("members", { channelId: id });
    // The client itself tells of the end of the channel.
    if (type === "channel.deleted" || (type === "member.removed" && isMine)) this.#forget(id);
  }

  /** @param {string} id @param {boolean} isDeleted */
  #gone(id, isDeleted) {
    this.#forget(id);
    this.#core.remove(id, isDeleted);
  }

  /** @param {string} id */
  #forget(id) {
    this.#marks.delete(id);
    this.#list.delete(id);
    this.#changed();
  }

  /** Counts new messages. @param {string} id @param {Message[]} messages */
  #created(id, messages) {
    if (messages.length === 0) return;
    if (!this.#list.created(id, messages)) this.#recount(id);
    this.#changed();
  }

  /** Takes later states of messages. @param {string} id @param {Message[]} messages */
  #revised(id, messages) {
    for (const message of messages) if (!this.#list.revised(id, message)) this.#recount(id);
    this.#changed();
  }

  /** @param {string} id @param {number} seq */
  #readElsewhere(id, seq) {
    if (!Number.isSafeInteger(seq)) return;
    if (!this.#list.read(id, seq)) this.#recount(id);
    this.#changed();
    this.#core.emit("read", { channelId: id, seq });
  }

  /** Reads a channel again because a frame did not suffice for its counts. Does nothing before the list is loaded. @param {string} id */
  #recount(id) {
    if (!this.#isLoaded) return;
    this.#core.quietly(`channel ${id}`, async () => {
      try {
        return await this.loadOne(id);
      } catch (/** @type {any} */ error) {
        if (error.code === "channel_not_found" && this.#list.delete(id)) this.#changed();
        throw error;
      }
    });
  }

  /** Tells of a change of the list. */
  #changed() {
    if (this.#core.all?.length) this.#name();
    this.#core.emit("channels", {});
  }

  /** Divides the user's channels among sockets if one socket leaves some out. */
  #divide() {
    const { quietly, all } = this.#core;
    if (this.#client.leftOut === 0 || all?.length !== 0) return;
    quietly("divide", async () => {
      await this.load();
      this.#name();
      return true;
    });
  }

  /** Names all channels of the user to the sockets. */
  #name() {
    const core = this.#core;
    const ids = this.entries.map(({ channel_id: id }) => id);
    if (!core.all || ids.length === 0) return;
    core.all = ids;
    this.#client.subscribe();
  }
}
