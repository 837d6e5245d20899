// Drafts of replies in one channel, joined from frames and from the stored replies. No network, no DOM, no clock.

/** @import { Draft, DraftStatus } from "./types.js" */

import { isNumber } from "./changes.js";

/** @typedef {{ position: number, text: string }} Piece */
/** @typedef {Draft & { waiting: Piece[], isUnread: boolean }} Held */

/** Maximum number of ids of drafts that are remembered after their end, and after their replacement. */
const REMEMBERED_DRAFTS = 100;

/** Order of the states of a draft. A late frame does not undo a state. @param {string} status */
const rank = (status) => (status === "thinking" ? 0 : status === "done" || status === "cancelled" ? 2 : 1);

/** Returns `true` if no message ends a draft with this state. @param {string} status @param {unknown} seq */
const isOver = (status, seq) => status === "failed" || (status === "cancelled" && seq === undefined);

/** @param {Set<string>} ids @param {string | null | undefined} id */
function remember(ids, id) {
  if (!id) return;
  ids.add(id);
  if (ids.size > REMEMBERED_DRAFTS) ids.delete(/** @type {string} */ (ids.values().next().value));
}

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
  /** @type {Set<string>} */
  const ended = new Set();
  /** @type {Set<string>} */
  const replaced = new Set();

  /** Returns the id of the held draft at the time of a request, for `read`. @param {number} replyTo */
  const ask = (replyTo) => byQuestion.get(replyTo)?.id ?? null;

  /** Drops the draft of the reply to a message. Returns `true` if there was one. @param {number} replyTo */
  const drop = (replyTo) => byQuestion.delete(replyTo);

  /** Returns `true` if the reply to a message must be read. @param {number} replyTo */
  function isBehind(replyTo) {
    const held = byQuestion.get(replyTo);
    return held !== undefined && (held.isUnread || held.waiting.length > 0);
  }

  /** @param {number} replyTo @param {string | null} id */
  function begin(replyTo, id) {
    remember(replaced, ask(replyTo));
    /** @type {Held} */
    const draft = { id, replyTo, status: "thinking", text: "", length: 0, waiting: [], isUnread: !id };
    byQuestion.set(replyTo, draft);
    return draft;
  }

  /** Ends a draft. A newer draft of the same reply stays. Returns `true` if the draft was held. @param {number} replyTo @param {string | null} id */
  function end(replyTo, id) {
    remember(ended, id);
    return [null, id].includes(ask(replyTo)) && drop(replyTo);
  }

  /**
   * Adds a state and a piece. Waiting frames join the text as soon as the text before them is held.
   * @param {Held} draft @param {DraftStatus} status @param {Piece[]} pieces
   */
  function advance(draft, status, ...pieces) {
    if (rank(status) >= rank(draft.status)) draft.status = status;
    draft.waiting.push(...pieces);
    draft.waiting.sort((a, b) => a.position - b.position);
    while (draft.waiting[0]?.position <= draft.length) {
      const { position, text } = /** @type {Piece} */ (draft.waiting.shift());
      const length = position + [...text].length;
      // The text of a draft only grows, so a shorter one is late.
      if (length <= draft.length) continue;
      draft.text = [...draft.text].slice(0, position).join("") + text;
      draft.length = length;
    }
  }

  return {
    ask,
    drop,
    isBehind,
    clear: () => byQuestion.clear(),

    /** Drafts as `{id, replyTo, status, text, length}`. The `id` is `null` until the first piece has arrived. @returns {Draft[]} */
    get entries() {
      return [...byQuestion.values()].map(({ waiting, isUnread, ...draft }) => draft);
    },

    /** The answered messages whose replies must be read. */
    get behind() {
      return [...byQuestion.keys()].filter(isBehind);
    },

    /** Adds empty drafts for messages whose replies are being written, until these are read. @param {number[]} questions */
    expect(questions) {
      for (const replyTo of questions) if (isNumber(replyTo) && !byQuestion.has(replyTo)) begin(replyTo, null);
    },

    /** Adds a `message.delta`. Returns `true` if the draft changed. @param {any} frame */
    accept({ draft_id: id, reply_to: replyTo, status, position, text, seq }) {
      if (!isNumber(replyTo) || typeof id !== "string" || typeof text !== "string") return false;
      if (isOver(status, seq)) return end(replyTo, id);
      if (!isNumber(position) || ended.has(id)) return false;
      const held = byQuestion.get(replyTo);
      if (held?.id !== id && replaced.has(id)) {
        // The order of the frames does not show which of the two drafts is the current one.
        if (held) held.isUnread = true;
        return false;
      }
      const draft = held?.id === id ? held : begin(replyTo, id);
      const before = draft.status + draft.length;
      advance(draft, status, { position, text });
      // The text before the frame was held, so the draft is in step with the frames.
      if (draft.waiting.length === 0) draft.isUnread = false;
      return draft !== held || before !== draft.status + draft.length;
    },

    /**
     * Takes a reply as the API has it, requested when the draft with the id `asked` was held. Returns `false` if the reply
     * must be read again.
     * @param {number} replyTo @param {string | null} asked @param {any} reply
     */
    read(replyTo, asked, { draft_id: id, status, text, seq }) {
      let draft = byQuestion.get(replyTo);
      if (!draft) return true;
      // A draft that began after the request is newer than the answer.
      if (draft.id !== asked && draft.id !== id) return false;
      if (isOver(status, seq)) {
        end(replyTo, id ?? draft.id);
        drop(replyTo);
        return true;
      }
      if (id && draft.id !== id) {
        replaced.delete(id);
        draft = begin(replyTo, id);
      }
      // A reply without a draft has its text in its message.
      advance(draft, status, ...(text !== undefined && (draft.id ?? undefined) === id ? [{ position: 0, text }] : []));
      draft.isUnread = false;
      return draft.waiting.length === 0;
    },

    /** Drops the drafts that these messages complete, and frames of them that come late. @param {any[]} messages */
    settle(messages) {
      for (const { role, reply_to: replyTo, agent } of messages) {
        if (role === "user") continue;
        remember(ended, ask(replyTo));
        remember(ended, agent?.draft_id);
        drop(replyTo);
      }
    },

    /** Marks all drafts as to be read: frames of them may have been missed. */
    doubt() {
      for (const draft of byQuestion.values()) draft.isUnread = true;
    },
  };
}
