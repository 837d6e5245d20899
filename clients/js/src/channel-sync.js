// Keeps the list of channels as the server has it: reads it, follows the frames, and moves read marks. No DOM.

import { ChannelList } from "./channels.js";
import { backoff } from "./socket.js";

/** Maximum number of attempts of a read mark. */
const READ_ATTEMPTS = 3;
/** Minimum time between two read marks of one channel. */
const READ_EVERY_MS = 2_000;

/**
 * The list of channels of one user, in step with the server.
 *
 * `emit` gets the events `channels`, `read` and `removed` of the client. `quiet` runs requests that the user does not
 * wait for.
 */
export class ChannelSync {
  #userId;
  #rest;
  #quiet;
  #random;
  #emit;
  #isLoaded = false;
  /** Read marks on their way, by channel: `{ seq }`. */
  #marks = new Map();
  list;

  constructor({ userId, rest, quiet, random, emit }) {
    this.#userId = userId;
    this.#rest = rest;
    this.#quiet = quiet;
    this.#random = random;
    this.#emit = emit;
    this.list = new ChannelList(userId);
  }

  /** Reads the whole list. */
  async load() {
    const since = this.list.changes;
    this.list.replace(await this.#rest.channels(), since);
    this.#isLoaded = true;
    this.#emit("channels", {});
  }

  /** Reads one channel. Returns `false` if its counts are older than the held ones. */
  async loadOne(channelId) {
    const channel = await this.#rest.channel(channelId);
    const isCurrent = this.list.put(channel);
    this.#emit("channels", {});
    return isCurrent;
  }

  /** Follows a frame about a channel, a member or a read mark. */
  follow(frame) {
    const { channel_id: channelId, type } = frame;
    const isMine = (frame.member?.user_id ?? frame.user_id) === this.#userId;
    if (type === "channel.created" || (type === "member.joined" && isMine)) this.#recount(channelId);
    if (type === "channel.updated" && this.list.describe(frame.channel ?? {})) this.#emit("channels", {});
    if (type === "member.updated" && isMine) {
      this.list.giveRole(channelId, frame.member?.role);
      this.#emit("channels", {});
    }
    if (type === "read.updated" && isMine) this.#readElsewhere(channelId, frame.read_seq);
    if (type === "channel.deleted" || (type === "member.removed" && isMine)) {
      this.list.delete(channelId);
      this.#emit("channels", {});
      this.#emit("removed", { channelId, isDeleted: type === "channel.deleted" });
    }
  }

  /** Counts new messages. */
  created(channelId, messages) {
    if (messages.length === 0) return;
    if (!this.list.created(channelId, messages)) this.#recount(channelId);
    this.#emit("channels", {});
  }

  /** Takes later states of messages. */
  revised(channelId, messages) {
    if (messages.length === 0) return;
    for (const message of messages) {
      if (!this.list.revised(channelId, message)) this.#recount(channelId);
    }
    this.#emit("channels", {});
  }

  /** Moves the read mark. The list changes at once; requests are limited to one each `READ_EVERY_MS`. */
  markRead(channelId, seq) {
    const mark = this.#marks.get(channelId);
    // Sending has the same effect, without a request.
    if (seq <= this.list.readSeq(channelId) || seq <= (mark?.seq ?? 0)) return;
    this.list.read(channelId, seq);
    this.#emit("channels", {});
    if (mark) mark.seq = seq;
    else this.#sendMark(channelId, { seq });
  }

  async #sendMark(channelId, mark) {
    this.#marks.set(channelId, mark);
    let sent = 0;
    let failures = 0;
    while (mark.seq > sent && failures < READ_ATTEMPTS) {
      const { seq } = mark;
      let delay = READ_EVERY_MS;
      try {
        await this.#rest.markRead(channelId, seq);
        sent = seq;
        failures = 0;
        if (seq < (this.list.get(channelId)?.last_seq ?? 0)) this.#recount(channelId);
      } catch (error) {
        if (!error.isTransient) break;
        delay = Math.max(delay, backoff(failures, this.#random), (error.retryAfter ?? 0) * 1000);
        failures += 1;
      }
      await this.#quiet.wait(delay);
    }
    this.#marks.delete(channelId);
  }

  #readElsewhere(channelId, seq) {
    if (!Number.isSafeInteger(seq)) return;
    if (!this.list.read(channelId, seq)) this.#recount(channelId);
    this.#emit("channels", {});
    this.#emit("read", { channelId, seq });
  }

  /** Reads a channel again because a frame did not suffice for its counts. Does nothing before the list is loaded. */
  #recount(channelId) {
    if (!this.#isLoaded) return;
    this.#quiet.run(`channel ${channelId}`, async () => {
      try {
        return await this.loadOne(channelId);
      } catch (error) {
        if (error.code === "channel_not_found" && this.list.delete(channelId)) this.#emit("channels", {});
        throw error;
      }
    });
  }
}
