// State of one channel in a client: ordered by `seq`, without duplicates, with detection of gaps. No network, no DOM,
// no clock.

/** @import { Message, Reaction } from "./types.js" */

import { isNumber } from "./changes.js";

/** Maximum number of users that a reaction names, the first by id. */
const NAMED_REACTORS = 10;

/** @param {Message} message */
const versionOf = ({ version }) => version ?? 1;

/** @param {Message[]} messages */
const newest = (messages) => Math.max(0, ...messages.map(({ seq }) => seq));

/** @typedef {ReturnType<typeof createLog>} ChannelLog */

/**
 * Holds the messages of one channel, as a user sees them.
 *
 * `settled` is the `seq` up to which all messages of the server are held. A message pushed beyond `settled + 1`
 * leaves a gap, which only the server's history can close. A `seq` that the history does not contain either (an
 * expired message) is not a gap.
 *
 * Each state of a message has a `version`. A state with an older version than the held one is dropped.
 * @param {{ userId: string | null }} user
 */
export function createLog(user) {
  /** @type {Map<number, Message>} */
  const bySeq = new Map();
  /** The held replies of each thread, by the `seq` of its root. @type {Map<number, Set<number>>} */
  const replies = new Map();
  /** The held numbers in order, until one is added. @type {number[] | null} */
  let order = null;
  /** @type {number | null} */
  let settled = null;
  let reachedStart = false;

  const seqs = () => (order ??= [...bySeq.keys()].sort((a, b) => a - b));

  /**
   * Returns a held message. Its `thread` also counts the replies that came after the server's summary: no event
   * carries the new summary of a root.
   * @param {number} seq @returns {Message | undefined}
   */
  function get(seq) {
    const message = bySeq.get(seq);
    const { reply_count: count, last_reply_seq: summed } = message?.thread ?? { reply_count: 0, last_reply_seq: 0 };
    const later = [...(replies.get(seq) ?? [])].filter((reply) => reply > summed);
    if (!message || later.length === 0) return message;
    const last = /** @type {Message} */ (bySeq.get(Math.max(...later)));
    return { ...message, thread: { reply_count: count + later.length, last_reply_seq: last.seq, last_reply_at: last.created_at } };
  }

  /** @param {Reaction} reaction @param {Message} [held] */
  function hasReacted({ emoji, count, user_ids: users, reacted }, held) {
    // Of more reactors than are named, the user may be one.
    const wasOne = () => count > users.length && held?.reactions?.some((one) => one.emoji === emoji && one.reacted);
    return reacted ?? (users.includes(user.userId ?? "") || wasOne() === true);
  }

  /** Holds a message. Keeps the larger summary of its thread, and the user's own reactions, which no frame states. @param {Message} message */
  function hold(message) {
    const { seq, thread_seq: root, reactions, thread } = message;
    const held = bySeq.get(seq);
    const stored = { ...message };
    if (reactions) stored.reactions = reactions.map((one) => ({ ...one, reacted: hasReacted(one, held) }));
    if (held?.thread && held.thread.reply_count > (thread?.reply_count ?? 0)) stored.thread = held.thread;
    bySeq.set(seq, stored);
    if (root) replies.set(root, (replies.get(root) ?? new Set()).add(seq));
  }

  /** Adds messages, and returns the new ones. @param {Message[]} messages */
  function insert(messages) {
    const added = messages.filter((message) => {
      if (!isNumber(message?.seq) || message.seq < 1) return false;
      const held = bySeq.get(message.seq);
      // A page that is read again may hold a later state.
      if (!held || versionOf(message) >= versionOf(held)) hold(message);
      return !held;
    });
    if (added.length > 0) order = null;
    return added;
  }

  /** @param {number} from */
  function settle(from) {
    settled = from;
    while (bySeq.has(settled + 1)) settled += 1;
  }

  /** Adds a page of history that ends at `before` (or at the newest message), in any order. @param {Message[]} messages @param {boolean} hasMore */
  function addEarlier(messages, hasMore) {
    const added = insert(messages);
    settle(settled ?? newest(messages));
    reachedStart = !hasMore || seqs()[0] === 1;
    return added;
  }

  /**
   * Replaces messages that were changed, unless the held state is as new. Ignores messages that are not held, because
   * the history will contain their current state. Returns `true` if a message changed.
   * @param {Message[]} messages
   */
  function update(messages) {
    let isChanged = false;
    for (const message of messages) {
      const held = bySeq.get(message.seq);
      if (!held || versionOf(message) <= versionOf(held)) continue;
      hold(message);
      isChanged = true;
    }
    return isChanged;
  }

  return {
    get,
    addEarlier,
    update,

    /** Messages by ascending `seq`. */
    get messages() {
      return seqs().map((seq) => /** @type {Message} */ (get(seq)));
    },

    /** Lowest held `seq`, or `null`. */
    get firstSeq() {
      return seqs()[0] ?? null;
    },

    get lastSeq() {
      return seqs().at(-1) ?? null;
    },

    /** `seq` up to which all messages are known; `null` until the first page of history has arrived. */
    get settled() {
      return settled;
    },

    /** `true` if the server has messages before the first held one. */
    get hasEarlier() {
      return settled !== null && !reachedStart;
    },

    /**
     * Adds pushed messages. Returns the new ones. A message up to `settled` that is not held is a late repetition of a first
     * state, which may have changed since: the history has the current one.
     * @param {Message[]} messages
     */
    push(messages) {
      const added = insert(messages.filter((message) => settled === null || message?.seq > settled || bySeq.has(message?.seq)));
      if (settled !== null) settle(settled);
      return added;
    },

    /** Returns `true` if a message came after `settled` and is not held. @param {number} seq */
    lacks: (seq) => settled !== null && seq > settled && !bySeq.has(seq),

    /**
     * Applies a `reaction.added` or `reaction.removed` to a held message. Returns `"changed"`, `"unchanged"`, or
     * `"stale"` if a version between the held one and the event's is missing. Then the message must be read again.
     * @param {any} event
     */
    react({ type, seq, version, emoji, user_id: userId, count }) {
      const held = bySeq.get(seq);
      if (!held || !isNumber(version) || version < versionOf(held)) return "unchanged";
      if (version > versionOf(held) + 1) return "stale";
      const { reactions = [], ...message } = held;
      const known = reactions.find((one) => one.emoji === emoji) ?? { emoji, user_ids: [], reacted: false };
      const isAdded = type === "reaction.added";
      const users = known.user_ids.filter((id) => id !== userId);
      if (isAdded) users.push(userId);
      const reacted = userId === user.userId ? isAdded : known.reacted;
      const all = reactions.filter((one) => one.emoji !== emoji);
      if (count > 0) all.push({ ...known, count, user_ids: users.sort().slice(0, NAMED_REACTORS), reacted });
      all.sort((a, b) => (a.emoji < b.emoji ? -1 : 1));
      bySeq.set(seq, { ...message, version, ...(all.length > 0 ? { reactions: all } : {}) });
      return "changed";
    },

    /**
     * Replaces all messages by the newest page of history. A held state stays if it is newer than that of the page: its event
     * came while the page was read. The `message_id` tells whether both are the same message.
     * @param {Message[]} messages @param {boolean} hasMore
     */
    restart(messages, hasMore) {
      const before = [...bySeq.values()];
      bySeq.clear();
      replies.clear();
      settled = order = null;
      addEarlier(messages, hasMore);
      update(before.filter(({ seq, message_id: id }) => bySeq.get(seq)?.message_id === id));
    },

    /**
     * Adds a page of catch-up that begins after `settled`, oldest first.
     *
     * `seen` is the newest `seq` held at the time of the request: if there is no further page, messages missing below
     * it do not exist.
     * @param {Message[]} messages @param {boolean} hasMore
     */
    addLater(messages, hasMore, seen = 0) {
      const added = insert(messages);
      settle(Math.max(settled ?? 0, newest(messages), hasMore ? 0 : seen));
      return added;
    },
  };
}
