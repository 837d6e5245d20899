// State of one channel in a client: ordered by `seq`, without duplicates, with detection of gaps. No network, no DOM,
// no clock.

/** @import { Message, Reaction } from "./types.js" */

/** Maximum number of users that a reaction names, the first by id. */
const NAMED_REACTORS = 10;

/** @param {Message} message */
const versionOf = ({ version }) => version ?? 1;

/**
 * The messages of one channel, as the user `userId` sees them.
 *
 * `settled` is the `seq` up to which all messages of the server are held. A message pushed beyond `settled + 1`
 * leaves a gap, which only the server's history can close. A `seq` that the history does not contain either (an
 * expired message) is not a gap.
 *
 * Each state of a message has a `version`. A state with an older version than the held one is dropped.
 */
export class ChannelLog {
  /** @type {Map<number, Message>} */
  #bySeq = new Map();
  /** @type {number[]} */
  #order = [];
  /** The held replies of each thread, by the `seq` of its root. @type {Map<number, Set<number>>} */
  #replies = new Map();
  /** @type {number | null} */
  #settled = null;
  #reachedStart = false;
  /** @type {string | null} */
  userId;

  /** @param {string | null} [userId] */
  constructor(userId = null) {
    this.userId = userId;
  }

  /** Messages by ascending `seq`. */
  get messages() {
    return this.#order.map((seq) => /** @type {Message} */ (this.get(seq)));
  }

  get size() {
    return this.#order.length;
  }

  /** Lowest held `seq`, or `null`. */
  get firstSeq() {
    return this.#order[0] ?? null;
  }

  get lastSeq() {
    return this.#order.at(-1) ?? null;
  }

  /** `seq` up to which all messages are known; `null` until the first page of history has arrived. */
  get settled() {
    return this.#settled;
  }

  /** `true` if a message between `settled` and the newest message is missing. */
  get hasGap() {
    return this.#settled !== null && this.lastSeq !== null && this.lastSeq > this.#settled;
  }

  /** `true` if the server has messages before the first held one. */
  get hasEarlier() {
    return this.#settled !== null && !this.#reachedStart;
  }

  /**
   * Returns a held message. Its `thread` also counts the replies that came after the server's summary: no event
   * carries the new summary of a root.
   * @param {number} seq @returns {Message | undefined}
   */
  get(seq) {
    const message = this.#bySeq.get(seq);
    const replies = this.#replies.get(seq);
    if (!message || !replies) return message;
    const { reply_count: count, last_reply_seq: summed } = message.thread ?? { reply_count: 0, last_reply_seq: 0 };
    const later = [...replies].filter((reply) => reply > summed);
    if (later.length === 0) return message;
    const last = /** @type {Message} */ (this.#bySeq.get(Math.max(...later)));
    return { ...message, thread: { reply_count: count + later.length, last_reply_seq: last.seq, last_reply_at: last.created_at } };
  }

  /**
   * Adds pushed messages. Returns the new ones. A message up to `settled` that is not held is a late repetition of a first
   * state, which may have changed since: the history has the current one.
   * @param {Message[]} messages
   */
  push(messages) {
    /** @param {Message} message */
    const isNew = (message) => this.#settled === null || message?.seq > this.#settled || this.#bySeq.has(message?.seq);
    const added = this.#insert(messages.filter(isNew));
    this.#advance();
    return added;
  }

  /** Returns `true` if a message came after `settled` and is not held. @param {number} seq */
  lacks(seq) {
    return this.#settled !== null && seq > this.#settled && !this.#bySeq.has(seq);
  }

  /**
   * Replaces messages that were changed, unless the held state is as new. Ignores messages that are not held, because
   * the history will contain their current state. Returns `true` if a message changed.
   * @param {Message[]} messages
   */
  update(messages) {
    let changed = false;
    for (const message of messages) {
      const held = this.#bySeq.get(message?.seq);
      if (!held || versionOf(held) >= versionOf(message)) continue;
      this.#store(message);
      changed = true;
    }
    return changed;
  }

  /**
   * Applies a `reaction.added` or `reaction.removed` to a held message. Returns `"changed"`, `"unchanged"`, or
   * `"stale"` if a version between the held one and the event's is missing. Then the message must be read again.
   * @param {any} event
   */
  react({ type, seq, version, emoji, user_id: userId, count }) {
    const held = this.#bySeq.get(seq);
    if (!held || !Number.isSafeInteger(version) || version < versionOf(held)) return "unchanged";
    if (version > versionOf(held) + 1) return "stale";
    const known = held.reactions?.find((one) => one.emoji === emoji) ?? { emoji, user_ids: [], reacted: false };
    const others = known.user_ids.filter((id) => id !== userId);
    const isAdded = type === "reaction.added";
    const reaction = {
      ...known,
      count,
      user_ids: isAdded ? [...others, userId].sort().slice(0, NAMED_REACTORS) : others,
      reacted: userId === this.userId ? isAdded : known.reacted,
    };
    const rest = (held.reactions ?? []).filter((one) => one.emoji !== emoji);
    const reactions = (count > 0 ? [...rest, reaction] : rest).sort((a, b) => (a.emoji < b.emoji ? -1 : 1));
    const { reactions: _, ...message } = held;
    this.#bySeq.set(seq, { ...message, version, ...(reactions.length > 0 ? { reactions } : {}) });
    return "changed";
  }

  /** Replaces all messages by the newest page of history. @param {Message[]} messages @param {boolean} hasMore */
  restart(messages, hasMore) {
    this.#bySeq.clear();
    this.#order = [];
    this.#replies.clear();
    this.#settled = null;
    this.addEarlier(messages, hasMore);
  }

  /** Adds a page of history that ends at `before` (or at the newest message), in any order. @param {Message[]} messages @param {boolean} hasMore */
  addEarlier(messages, hasMore) {
    const added = this.#insert(messages);
    if (this.#settled === null) this.#settled = messages.reduce((most, { seq }) => Math.max(most, seq), 0);
    this.#reachedStart = !hasMore || this.firstSeq === 1;
    this.#advance();
    return added;
  }

  /**
   * Adds a page of catch-up that begins after `settled`, oldest first.
   *
   * `seen` is the newest `seq` held at the time of the request: if there is no further page, messages missing below
   * it do not exist.
   * @param {Message[]} messages @param {boolean} hasMore
   */
  addLater(messages, hasMore, seen = 0) {
    const added = this.#insert(messages);
    const last = messages.reduce((most, { seq }) => Math.max(most, seq), 0);
    this.#settled = Math.max(this.#settled ?? 0, last, hasMore ? 0 : seen);
    this.#advance();
    return added;
  }

  /** @param {Message[]} messages */
  #insert(messages) {
    /** @type {Message[]} */
    const added = [];
    for (const message of messages) {
      if (!Number.isSafeInteger(message?.seq) || message.seq < 1) continue;
      const held = this.#bySeq.get(message.seq);
      if (held) {
        // A page that is read again may hold a later state.
        if (versionOf(message) >= versionOf(held)) this.#store(message);
        continue;
      }
      this.#store(message);
      this.#order.splice(this.#position(message.seq), 0, message.seq);
      added.push(message);
    }
    return added;
  }

  /** Holds a message. Keeps the larger summary of its thread, and the user's own reactions, which no frame states. @param {Message} message */
  #store(message) {
    const held = this.#bySeq.get(message.seq);
    const stored = { ...message };
    if (message.reactions) stored.reactions = message.reactions.map((one) => ({ ...one, reacted: this.#hasReacted(one, held) }));
    const count = message.thread?.reply_count ?? 0;
    if (held?.thread && held.thread.reply_count > count) stored.thread = held.thread;
    this.#bySeq.set(message.seq, stored);
    const { thread_seq: root } = message;
    if (root) this.#replies.set(root, (this.#replies.get(root) ?? new Set()).add(message.seq));
  }

  /** @param {Reaction} reaction @param {Message} [held] */
  #hasReacted({ emoji, count, user_ids: users, reacted }, held) {
    if (typeof reacted === "boolean") return reacted;
    if (users.includes(this.userId ?? "")) return true;
    // Of more reactors than are named, the user may be one.
    return count > users.length && held?.reactions?.find((one) => one.emoji === emoji)?.reacted === true;
  }

  // Messages usually arrive in order, so the first comparison nearly always decides.
  /** @param {number} seq */
  #position(seq) {
    let at = this.#order.length;
    while (at > 0 && this.#order[at - 1] > seq) at -= 1;
    return at;
  }

  #advance() {
    if (this.#settled === null) return;
    while (this.#bySeq.has(/** @type {number} */ (this.#settled) + 1)) this.#settled += 1;
  }
}
