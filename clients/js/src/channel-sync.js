// Keeps the list of channels as the server has it: reads it, follows the frames, and moves read marks. No DOM.

/** @import { Abortable, Message } from "./types.js" */
/** @import { QuietRequests } from "./quiet.js" */
/** @import { RestApi } from "./rest.js" */

import { ChannelList } from "./channels.js";
import { path } from "./rest.js";

/** Minimum time between two read marks of one channel. */
const READ_EVERY_MS = 2_000;

/**
 * The list of channels of one user, in step with the server.
 *
 * `emit` gets the events `channels`, `read` and `removed` of the client. `quiet` runs requests that the user does not
 * wait for.
 */
export class ChannelSync {
  #rest;
  #quiet;
  #emit;
  #isLoaded = false;
  /** The last read mark of each channel. @type {Map<string, number>} */
  #marks = new Map();
  list = new ChannelList();

  /** @param {{ rest: RestApi, quiet: QuietRequests, emit: (type: string, detail: object) => void }} options */
  constructor({ rest, quiet, emit }) {
    this.#rest = rest;
    this.#quiet = quiet;
    this.#emit = emit;
  }

  /** Reads the whole list. @param {Abortable} [options] */
  async load(options) {
    const since = this.list.changes;
    this.list.replace(await this.#rest.list("/channels", "channels", options), since);
    this.#isLoaded = true;
    this.#emit("channels", {});
  }

  /** Reads one channel. Returns `false` if its counts are older than the held ones. @param {string} channelId @param {Abortable} [options] */
  async loadOne(channelId, options) {
    const channel = await this.#rest.call("GET", path`/channels/${channelId}`, options);
    const isCurrent = this.list.put(channel);
    this.#emit("channels", {});
    return isCurrent;
  }

  /** Takes a channel out of the list. @param {string} channelId @param {boolean} isDeleted */
  remove(channelId, isDeleted) {
    this.#marks.delete(channelId);
    this.list.delete(channelId);
    this.#emit("channels", {});
    this.#emit("removed", { channelId, isDeleted });
  }

  /** Follows a frame about a channel, a member or a read mark. @param {any} frame */
  follow(frame) {
    const { channel_id: channelId, type } = frame;
    const isMine = (frame.member?.user_id ?? frame.user_id) === this.list.userId;
    if (type === "channel.created" || (type === "member.joined" && isMine)) this.#recount(channelId);
    if (type === "channel.updated" && this.list.describe(frame.channel ?? {})) this.#emit("channels", {});
    if (type === "member.updated" && isMine) {
      this.list.giveRole(channelId, frame.member?.role);
      this.#emit("channels", {});
    }
    if (type === "read.updated" && isMine) this.#readElsewhere(channelId, frame.read_seq);
    if (/^(member\.|read\.)/.test(type)) this.#emit("members", { channelId });
    if (type === "channel.deleted" || (type === "member.removed" && isMine)) this.remove(channelId, type === "channel.deleted");
  }

  /** Counts new messages. @param {string} channelId @param {Message[]} messages */
  created(channelId, messages) {
    if (messages.length === 0) return;
    if (!this.list.created(channelId, messages)) this.#recount(channelId);
    this.#emit("channels", {});
  }

  /** Takes later states of messages. @param {string} channelId @param {Message[]} messages */
  revised(channelId, messages) {
    if (messages.length === 0) return;
    for (const message of messages) {
      if (!this.list.revised(channelId, message)) this.#recount(channelId);
    }
    this.#emit("channels", {});
  }

  /** Moves the read mark. The list changes at once; requests are limited to one each `READ_EVERY_MS`. @param {string} channelId @param {number} seq */
  markRead(channelId, seq) {
    // Sending has the same effect, without a request.
    if (seq <= Math.max(this.list.readSeq(channelId), this.#marks.get(channelId) ?? 0)) return;
    this.#marks.set(channelId, seq);
    this.list.read(channelId, seq);
    this.#emit("channels", {});
    this.#quiet.run(`read ${channelId}`, async () => {
      const mark = this.#marks.get(channelId) ?? 0;
      await this.#rest.call("PUT", path`/channels/${channelId}/read`, { body: { seq: mark } });
      if (mark < (this.list.get(channelId)?.last_seq ?? 0)) this.#recount(channelId);
      await this.#quiet.wait(READ_EVERY_MS);
      return true;
    });
  }

  /** @param {string} channelId @param {number} seq */
  #readElsewhere(channelId, seq) {
    if (!Number.isSafeInteger(seq)) return;
    if (!this.list.read(channelId, seq)) this.#recount(channelId);
    this.#emit("channels", {});
    this.#emit("read", { channelId, seq });
  }

  /** Reads a channel again because a frame did not suffice for its counts. Does nothing before the list is loaded. @param {string} channelId */
  #recount(channelId) {
    if (!this.#isLoaded) return;
    this.#quiet.run(`channel ${channelId}`, async () => {
      try {
        return await this.loadOne(channelId);
      } catch (/** @type {any} */ error) {
        if (error.code === "channel_not_found" && this.list.delete(channelId)) this.#emit("channels", {});
        throw error;
      }
    });
  }
}
