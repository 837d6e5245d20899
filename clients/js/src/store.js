// State of one channel in a client: ordered by `seq`, without duplicates, with detection of gaps. No network, no DOM,
// no clock.

/**
 * The messages of one channel.
 *
 * `settled` is the `seq` up to which all messages of the server are held. A message pushed beyond `settled + 1`
 * leaves a gap, which only the server's history can close. A `seq` that the history does not contain either (an
 * expired message) is not a gap.
 */
export class ChannelLog {
  #bySeq = new Map();
  #order = [];
  #settled = null;
  #reachedStart = false;

  /** Messages by ascending `seq`. */
  get messages() {
    return this.#order.map((seq) => this.#bySeq.get(seq));
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

  get(seq) {
    return this.#bySeq.get(seq);
  }

  /** Adds pushed messages. Returns the new ones. */
  push(messages) {
    const added = this.#insert(messages);
    this.#advance();
    return added;
  }

  /**
   * Replaces messages that were edited or deleted, unless the held state is newer. Ignores messages that are not held,
   * because the history will contain their current state. Returns `true` if a message changed.
   */
  update(messages) {
    let changed = false;
    for (const message of messages) {
      const held = this.#bySeq.get(message?.seq);
      if (!held || revision(held) >= revision(message)) continue;
      this.#bySeq.set(message.seq, message);
      changed = true;
    }
    return changed;
  }

  /** Adds a page of history that ends at `before` (or at the newest message), in any order. */
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
   */
  addLater(messages, hasMore, seen = 0) {
    const added = this.#insert(messages);
    const last = messages.reduce((most, { seq }) => Math.max(most, seq), 0);
    this.#settled = Math.max(this.#settled ?? 0, last, hasMore ? 0 : seen);
    this.#advance();
    return added;
  }

  #insert(messages) {
    const added = [];
    for (const message of messages) {
      if (!Number.isSafeInteger(message?.seq) || message.seq < 1 || this.#bySeq.has(message.seq)) continue;
      this.#bySeq.set(message.seq, message);
      this.#order.splice(this.#position(message.seq), 0, message.seq);
      added.push(message);
    }
    return added;
  }

  // Messages usually arrive in order, so the first comparison nearly always decides.
  #position(seq) {
    let at = this.#order.length;
    while (at > 0 && this.#order[at - 1] > seq) at -= 1;
    return at;
  }

  #advance() {
    if (this.#settled === null) return;
    while (this.#bySeq.has(this.#settled + 1)) this.#settled += 1;
  }
}

/** Orders the states of one message: sent, edited by time, deleted. Times are RFC 3339 in UTC, all of one length. */
export const revision = ({ edited_at, deleted_at }) => (deleted_at ? "deleted" : (edited_at ?? ""));

/** Key in a message's `metadata` by which a client recognizes its own message on the socket. */
export const CLIENT_KEY = "client_key";

/** Messages of this client without a confirmation that they are stored. */
export class Outbox {
  #entries = new Map();

  /** Entries in the order of their creation. */
  get entries() {
    return [...this.#entries.values()];
  }

  add(entry) {
    this.#entries.set(entry.key, { ...entry, state: "sending", error: null });
    return this.#entries.get(entry.key);
  }

  sending(key) {
    this.#update(key, { state: "sending", error: null });
  }

  failed(key, error) {
    this.#update(key, { state: "failed", error });
  }

  /** Drops confirmed entries, by key or by the key in a stored message. */
  settle(...keysOrMessages) {
    for (const item of keysOrMessages) {
      this.#entries.delete(typeof item === "string" ? item : item?.metadata?.[CLIENT_KEY]);
    }
  }

  get(key) {
    return this.#entries.get(key);
  }

  #update(key, change) {
    const entry = this.#entries.get(key);
    if (entry) Object.assign(entry, change);
  }
}

/**
 * Drafts of replies, one for each answered message.
 *
 * Pieces carry their position in characters. A missed piece is shown as an ellipsis; the message that ends the draft
 * has the complete text.
 */
export class Drafts {
  #byQuestion = new Map();

  get entries() {
    return [...this.#byQuestion.values()];
  }

  /** Adds a `message.delta`. Returns `true` if the draft changed. */
  accept({ draft_id: id, reply_to: replyTo, status, position, text, seq }) {
    if (!Number.isSafeInteger(replyTo) || typeof text !== "string") return false;
    // Without a `seq`, no message ends a cancelled draft.
    if (status === "failed" || (status === "cancelled" && seq === undefined)) return this.#byQuestion.delete(replyTo);
    const held = this.#byQuestion.get(replyTo);
    const draft = held?.id === id ? held : { id, replyTo, status, text: "", length: 0 };
    const pieces = [...text];
    if (position > draft.length) {
      draft.text += "…";
      draft.length = position;
    }
    // The part that overlaps the held text is a duplicate.
    draft.text += pieces.slice(draft.length - position).join("");
    draft.length = Math.max(draft.length, position + pieces.length);
    draft.status = status;
    this.#byQuestion.set(replyTo, draft);
    return true;
  }

  /** Drops the drafts that these messages complete. */
  settle(messages) {
    for (const { role, reply_to: replyTo } of messages) {
      if (role !== "user") this.#byQuestion.delete(replyTo);
    }
  }

  clear() {
    this.#byQuestion.clear();
  }
}
