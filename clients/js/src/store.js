// State of one channel in a client: ordered by `seq`, without duplicates, with detection of gaps. No network, no DOM,
// no clock.

/** @import { Message, Reaction } from "./types.js" */

import { isNumber } from "./changes.js";
import { NAMED_REACTORS } from "./limits.js";

/** Returns the reaction of a message with an emoji. @param {Message | undefined} message @param {string} emoji */
const reactionOf = (message, emoji) => message?.reactions?.find((one) => one.emoji === emoji);

/** Returns the largest `seq` of messages, or a larger number. @param {Message[]} messages @param {number} most */
export function newest(messages, most) {
  for (const { seq } of messages) if (seq > most) most = seq;
  return most;
}

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
  /** `undefined` until the first page of history has arrived: no number is larger or smaller. @type {any} */
  let settled;
  let hasEarlier = false;

  const seqs = () => [...bySeq.keys()].sort((a, b) => a - b);

  /** Returns a held message. @param {number} seq */
  const get = (seq) => bySeq.get(seq);

  /** Holds a message. Keeps the larger summary of its thread, and the user's own reactions, which no frame states. @param {any} message */
  function hold(message) {
    const { seq, reactions, thread } = message;
    /** @type {any} */
    const held = bySeq.get(seq);
    const stored = { ...message };
    if (reactions)
      stored.reactions = reactions.map((/** @type {any} */ one) => ({
        // Of more reactors than are named, the user may be one.
        reacted: one.user_ids.includes(user.userId) || (one.count > one.user_ids.length && !!reactionOf(held, one.emoji)?.reacted),
        ...one,
      }));
    if (held?.thread?.reply_count > (thread?.reply_count ?? 0)) stored.thread = held.thread;
    bySeq.set(seq, stored);
  }

  /** Adds messages, and returns the new ones. A page that is read again may hold a later state. @param {Message[]} messages */
  const insert = (messages) =>
    messages.filter((message) => {
      if (!isNumber(message?.seq)) return false;
      const held = bySeq.get(message.seq);
      if (!(message.version < /** @type {any} */ (held?.version))) hold(message);
      return !held;
    });

  /** @param {number} from */
  function settle(from) {
    settled = from;
    while (bySeq.has(settled + 1)) settled += 1;
  }

  /** Adds a page of history that ends at `before` (or at the newest message), in any order. @param {Message[]} messages @param {boolean} hasMore */
  function addEarlier(messages, hasMore) {
    insert(messages);
    const all = seqs();
    settle(settled ?? all.at(-1) ?? 0);
    hasEarlier = hasMore && all[0] > 1;
  }

  /**
   * Replaces messages that were changed, unless the held state is as new. Ignores messages that are not held, because
   * the history will contain their current state. Returns `true` if a message changed.
   * @param {Message[]} messages
   */
  function update(messages) {
    const later = messages.filter(({ seq, version }) => version > /** @type {any} */ (bySeq.get(seq))?.version);
    later.forEach(hold);
    return later.length > 0;
  }

  /** Returns `true` if a message came after `settled` and is not held. @param {number} seq */
  const lacks = (seq) => seq > settled && !bySeq.has(seq);

  return {
    get,
    addEarlier,
    update,
    lacks,

    /** Messages by ascending `seq`. */
    get messages() {
      return /** @type {Message[]} */ (seqs().map(get));
    },

    /** Lowest held `seq`, or `null`. */
    get firstSeq() {
      return seqs()[0] ?? null;
    },

    get lastSeq() {
      return seqs().at(-1) ?? null;
    },

    /** `seq` up to which all messages are known; `null` until the first page of history has arrived. @returns {number | null} */
    get settled() {
      return settled ?? null;
    },

    /** `true` if the server has messages before the first held one. */
    get hasEarlier() {
      return hasEarlier;
    },

    /**
     * Adds messages that were pushed, or those of the history up to `end`. Returns the new ones. Messages missing below `end`
     * do not exist. A message up to `settled` that is not held is a late repetition of a first state, which may have changed
     * since: the history has the current one.
     * @param {Message[]} messages
     */
    push(messages, end = 0) {
      const added = insert(messages.filter((message) => message?.seq > settled || bySeq.has(message?.seq)));
      settle(Math.max(settled, end));
      return added;
    },

    /**
     * Applies a `reaction.added` or `reaction.removed` to a held message. Returns `true` if it changed, and `null` if the
     * message must be read again: the message, or a version between the held one and the event's, is missing.
     * @param {any} event
     */
    react({ type, seq, version, emoji, user_id: userId, count }) {
      /** @type {any} */
      const held = bySeq.get(seq);
      if (lacks(seq) || version > held?.version + 1) return null;
      if (!isNumber(version) || !(version >= held?.version)) return false;
      const { reactions = [], ...message } = held;
      /** @type {any} */
      const known = reactionOf(held, emoji) ?? { emoji, user_ids: [] };
      const isAdded = type === "reaction.added";
      const users = new Set(known.user_ids);
      users[isAdded ? "add" : "delete"](userId);
      const reacted = userId === user.userId ? isAdded : !!known.reacted;
      const all = reactions.filter((/** @type {Reaction} */ one) => one.emoji !== emoji);
      if (count > 0) all.push({ ...known, count, user_ids: [...users].sort().slice(0, NAMED_REACTORS), reacted });
      all.sort((/** @type {Reaction} */ a, /** @type {Reaction} */ b) => (a.emoji < b.emoji ? -1 : 1));
      bySeq.set(seq, { ...message, version, ...(all[0] && { reactions: all }) });
      return true;
    },

    /**
     * Replaces all messages by the newest page of history. A held state stays if it is newer than that of the page: its event
     * came while the page was read. The `message_id` tells whether both are the same message.
     * @param {Message[]} messages @param {boolean} hasMore
     */
    restart(messages, hasMore) {
      const before = [...bySeq.values()];
      bySeq.clear();
      settled = undefined;
      addEarlier(messages, hasMore);
      update(before.filter(({ seq, message_id: id }) => bySeq.get(seq)?.message_id === id));
    },
  };
}
