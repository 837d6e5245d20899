// Drafts of replies in one channel, joined from frames and from the stored replies. No network, no DOM, no clock.

/** @import { Draft, DraftStatus } from "./types.js" */
/** @typedef {Draft & { waiting: { position: number, text: string }[], isUnread: boolean }} Held */

/** Maximum number of ids of drafts that are remembered after their end, and after their replacement. */
const REMEMBERED_DRAFTS = 100;

/** Order of the states of a draft. A late frame does not undo a state. */
/** @type {Record<string, number>} */
const RANKS = { thinking: 0, writing: 1, done: 2, cancelled: 2 };
/** @param {string} status */
const rank = (status) => RANKS[status] ?? RANKS.writing;

/** Returns `true` if no message ends a draft with this state. @param {string} status @param {unknown} seq */
const isOver = (status, seq) => status === "failed" || (status === "cancelled" && seq === undefined);

/** @param {Set<string>} ids @param {unknown} id */
function remember(ids, id) {
  if (typeof id !== "string") return;
  ids.add(id);
  if (ids.size > REMEMBERED_DRAFTS) ids.delete(/** @type {string} */ (ids.values().next().value));
}

/**
 * Drafts of replies, one for each answered message.
 *
 * A frame has its position in characters. If the text before it is not held, a frame was missed. Then the frame waits
 * until the reply was read (`GET …/messages/{seq}/reply`), which is also how a draft begins that a history names. The text
 * of one draft only grows. A draft with another id replaces the held one. The message that ends a draft is the reply.
 */
export class Drafts {
  /** @type {Map<number, Held>} */
  #byQuestion = new Map();
  /** @type {Set<string>} */
  #ended = new Set();
  /** @type {Set<string>} */
  #replaced = new Set();

  /** Drafts as `{id, replyTo, status, text, length}`. The `id` is `null` until the first piece has arrived. */
  get entries() {
    return [...this.#byQuestion.values()];
  }

  /** The answered messages whose replies must be read. */
  get behind() {
    return [...this.#byQuestion.keys()].filter((replyTo) => this.isBehind(replyTo));
  }

  /** Returns `true` if the reply to a message must be read. @param {number} replyTo */
  isBehind(replyTo) {
    const held = this.#byQuestion.get(replyTo);
    return held !== undefined && (held.isUnread || held.waiting.length > 0);
  }

  /** Adds empty drafts for messages whose replies are being written, until these are read. @param {number[]} questions */
  expect(questions) {
    for (const replyTo of questions) {
      if (!Number.isSafeInteger(replyTo) || this.#byQuestion.has(replyTo)) continue;
      this.#begin(replyTo, null).isUnread = true;
    }
  }

  /** Adds a `message.delta`. Returns `true` if the draft changed. @param {any} frame */
  accept({ draft_id: id, reply_to: replyTo, status, position, text, seq }) {
    if (!Number.isSafeInteger(replyTo) || typeof id !== "string" || typeof text !== "string") return false;
    if (isOver(status, seq)) return this.#end(replyTo, id);
    if (!Number.isSafeInteger(position) || position < 0 || this.#ended.has(id)) return false;
    const held = this.#byQuestion.get(replyTo);
    if (held?.id !== id && this.#replaced.has(id)) {
      // The order of the frames does not show which of the two drafts is the current one.
      if (held) held.isUnread = true;
      return false;
    }
    const draft = held?.id === id ? held : this.#begin(replyTo, id);
    const before = `${draft.status} ${draft.length}`;
    this.#advance(draft, status, { position, text });
    // The text before the frame was held, so the draft is in step with the frames.
    if (draft.waiting.length === 0) draft.isUnread = false;
    return draft !== held || before !== `${draft.status} ${draft.length}`;
  }

  /** Returns the id of the held draft at the time of a request, for `read`. @param {number} replyTo */
  ask(replyTo) {
    return this.#byQuestion.get(replyTo)?.id ?? null;
  }

  /**
   * Takes a reply as the API has it, requested when the draft with the id `asked` was held. Returns `false` if the reply
   * must be read again.
   * @param {number} replyTo @param {string | null} asked @param {any} reply
   */
  read(replyTo, asked, { draft_id: id, status, text, seq }) {
    const held = this.#byQuestion.get(replyTo);
    if (!held) return true;
    // A draft that began after the request is newer than the answer.
    if (held.id !== asked && held.id !== id) return false;
    if (isOver(status, seq)) {
      this.#end(replyTo, id ?? held.id);
      this.#byQuestion.delete(replyTo);
      return true;
    }
    let draft = held;
    if (typeof id === "string" && held.id !== id) {
      this.#replaced.delete(id);
      draft = this.#begin(replyTo, id);
    }
    // A reply without a draft has its text in its message.
    const piece = typeof text === "string" && (draft.id ?? undefined) === id ? { position: 0, text } : undefined;
    this.#advance(draft, status, piece);
    draft.isUnread = false;
    return draft.waiting.length === 0;
  }

  /** Drops the drafts that these messages complete, and frames of them that come late. @param {any[]} messages */
  settle(messages) {
    for (const { role, reply_to: replyTo, agent } of messages) {
      if (role === "user") continue;
      remember(this.#ended, this.ask(replyTo));
      remember(this.#ended, agent?.draft_id);
      this.drop(replyTo);
    }
  }

  /** Marks all drafts as to be read: frames of them may have been missed. */
  doubt() {
    for (const draft of this.#byQuestion.values()) draft.isUnread = true;
  }

  /** Drops the draft of the reply to a message. Returns `true` if there was one. @param {number} replyTo */
  drop(replyTo) {
    return this.#byQuestion.delete(replyTo);
  }

  clear() {
    this.#byQuestion.clear();
  }

  /** @param {number} replyTo @param {string | null} id */
  #begin(replyTo, id) {
    remember(this.#replaced, this.ask(replyTo));
    /** @type {Held} */
    const draft = { id, replyTo, status: "thinking", text: "", length: 0, waiting: [], isUnread: false };
    this.#byQuestion.set(replyTo, draft);
    return draft;
  }

  /** Ends a draft. A newer draft of the same reply stays. Returns `true` if the draft was held. @param {number} replyTo @param {string | null} id */
  #end(replyTo, id) {
    remember(this.#ended, id);
    const held = this.ask(replyTo);
    return (held === null || held === id) && this.drop(replyTo);
  }

  /**
   * Adds a state and a piece. Waiting frames join the text as soon as the text before them is held.
   * @param {Held} draft @param {DraftStatus} status @param {{ position: number, text: string }} [piece]
   */
  #advance(draft, status, piece) {
    if (rank(status) >= rank(draft.status)) draft.status = status;
    if (piece) draft.waiting.push(piece);
    draft.waiting.sort((a, b) => a.position - b.position);
    while (draft.waiting.length > 0 && draft.waiting[0].position <= draft.length) {
      const { position, text } = /** @type {{ position: number, text: string }} */ (draft.waiting.shift());
      const end = position + [...text].length;
      // The text of a draft only grows, so a shorter one is late.
      if (end <= draft.length) continue;
      draft.text = [...draft.text].slice(0, position).join("") + text;
      draft.length = end;
    }
  }
}
