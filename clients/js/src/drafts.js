// Drafts of replies in one channel, joined from frames and from the stored replies. No network, no DOM, no clock.

/** @import { Draft, DraftStatus } from "./types.js" */

import { isNumber } from "./changes.js";
import { STATES } from "./limits.js";

/** @typedef {{ position: number, text: string }} Piece */
/** @typedef {{ id: string | null, replyTo: number, status: DraftStatus, characters: string[], waiting: Piece[], isUnread: boolean }} Held */

/** Returns `true` if no message ends a draft with this state. @param {string} status @param {unknown} seq */
const isOver = (status, seq) => status === "failed" || (status === "cancelled" && !seq);

/**
 * Holds the drafts of replies, one for each answered message.
 *
 * A frame has its position in characters. If the text before it is not held, a frame was missed. Then the frame waits
 * until the reply was read (`GET …/messages/{seq}/reply`), which is also how a draft begins that a history names. The text
 * of one draft only grows. A draft with another id replaces the held one. The message that ends a draft is the reply.
 */
export function createDrafts() {
  /** @type {Map<number, Held>} */
  const byQuestion = new Map();
  /** Ids of earlier drafts: `true` after their end, `false` after their replacement. @type {Map<unknown, boolean>} */
  const past = new Map();

  /** Returns the id of the held draft at the time of a request, for `read`. @param {number} replyTo */
  const ask = (replyTo) => byQuestion.get(replyTo)?.id;

  /** Drops the draft of the reply to a message. Returns `true` if there was one. @param {number} replyTo */
  const drop = (replyTo) => byQuestion.delete(replyTo);

  /** @param {number} replyTo @param {string | null} id */
  function begin(replyTo, id) {
    past.set(ask(replyTo), false);
    /** @type {Held} */
    const draft = { id, replyTo, status: "thinking", characters: [], waiting: [], isUnread: !id };
    byQuestion.set(replyTo, draft);
    return draft;
  }

  /**
   * Adds a state and a piece. Waiting frames join the text as soon as the text before them is held.
   * @param {Held} draft @param {DraftStatus} status @param {number} position @param {string} text
   */
  function advance(draft, status, position, text) {
    const { waiting } = draft;
    if (STATES.indexOf(status) > STATES.indexOf(draft.status)) draft.status = status;
    waiting.push({ position, text });
    waiting.sort((a, b) => a.position - b.position);
    while (waiting[0]?.position <= draft.characters.length) {
      const piece = /** @type {Piece} */ (waiting.shift());
      // The text of a draft only grows, so a shorter one is late.
      draft.characters.push(...[...piece.text].slice(draft.characters.length - piece.position));
    }
    return !waiting[0];
  }

  return {
    ask,
    drop,
    clear: () => byQuestion.clear(),

    /** Drafts as `{id, replyTo, status, text, length}`. The `id` is `null` until the first piece has arrived. @returns {Draft[]} */
    get entries() {
      return [...byQuestion.values()].map(({ id, replyTo, status, characters }) => ({ id, replyTo, status, text: characters.join(""), length: characters.length }));
    },

    /** The answered messages whose replies must be read. */
    get behind() {
      return [...byQuestion.keys()].filter((replyTo) => byQuestion.get(replyTo)?.isUnread || byQuestion.get(replyTo)?.waiting[0]);
    },

    /** Adds an empty draft for a message whose reply is being written, until the reply is read. @param {number} replyTo */
    expect(replyTo) {
      if (isNumber(replyTo) && !byQuestion.has(replyTo)) begin(replyTo, null);
    },

    /** Adds a `message.delta`. Returns `true` if the draft changed. @param {any} frame */
    take({ draft_id: id, reply_to: replyTo, status, position, text, seq }) {
      if (!isNumber(replyTo) || !isNumber(position) || typeof id !== "string" || typeof text !== "string") return false;
      const held = byQuestion.get(replyTo);
      const isHeld = held?.id === id;
      if (isOver(status, seq)) {
        past.set(id, true);
        // A newer draft of the same reply stays.
        return (isHeld || held?.id === null) && drop(replyTo);
      }
      if (past.get(id)) return false;
      if (!isHeld && past.has(id)) {
        // The order of the frames does not show which of the two drafts is the current one.
        if (held) held.isUnread = true;
        return false;
      }
      const draft = isHeld ? held : begin(replyTo, id);
      const before = draft.status + draft.characters.length;
      // If the text before the frame was held, the draft is in step with the frames.
      if (advance(draft, status, position, text)) draft.isUnread = false;
      return !isHeld || before !== draft.status + draft.characters.length;
    },

    /**
     * Takes a reply as the API has it, requested when the draft with the id `asked` was held. Returns `false` if the reply
     * must be read again.
     * @param {number} replyTo @param {string | null | undefined} asked @param {any} reply
     */
    read(replyTo, asked, { draft_id: id, status, text = "", seq }) {
      let draft = byQuestion.get(replyTo);
      const held = draft?.id;
      id ??= held;
      if (!draft) return true;
      // A draft that began after the request is newer than the answer.
      if (held !== asked && held !== id) return false;
      if (isOver(status, seq)) {
        past.set(id, true);
        return drop(replyTo);
      }
      if (held !== id) {
        past.delete(id);
        draft = begin(replyTo, id);
      }
      draft.isUnread = false;
      return advance(draft, status, 0, text);
    },

    /** Drops the drafts that these messages complete, and frames of them that come late. @param {any[]} messages */
    settle(messages) {
      for (const { role, reply_to: replyTo, agent } of messages) {
        if (role === "user") continue;
        past.set(ask(replyTo), true).set(agent?.draft_id, true);
        drop(replyTo);
      }
    },

    /** Marks all drafts as to be read: frames of them may have been missed. */
    recover() {
      for (const draft of byQuestion.values()) draft.isUnread = true;
    },
  };
}
