// What a client knows of one channel: ordered by `seq`, without duplicates, and aware of its own gaps.
// No network, no DOM, no clock.

/**
 * The messages of one channel.
 *
 * `settled` is the `seq` up to which everything that the server has is here. A message pushed beyond
 * `settled + 1` leaves a gap, which only the server's history can close; a number that the history does not
 * hold either (an expired message) is no gap.
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

  /** The lowest and highest `seq` held, or `null`. */
  get firstSeq() {
    return this.#order[0] ?? null;
  }

  get lastSeq() {
    return this.#order.at(-1) ?? null;
  }

  /** Everything up to this `seq` is known; `null` until the first page of history has come. */
  get settled() {
    return this.#settled;
  }

  /** Whether something between `settled` and the newest message is missing. */
  get hasGap() {
    return this.#settled !== null && this.lastSeq !== null && this.lastSeq > this.#settled;
  }

  /** Whether the server has messages before the first one here. */
  get hasEarlier() {
    return this.#settled !== null && !this.#reachedStart;
  }

  get(seq) {
    return this.#bySeq.get(seq);
  }

  /** Adds what a push brought. Returns the messages that are new. */
  push(messages) {
    const added = this.#insert(messages);
    this.#advance();
    return added;
  }

  /**
   * Replaces messages that were edited or deleted, unless what is here is newer. One that is not here is left out: the
   * history brings it as it is by then. Returns whether anything changed.
   */
  revise(messages) {
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
   * `seen` is the newest `seq` held when the page was asked for: when there is no further page, whatever is
   * missing below it does not exist.
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

  // Newest messages come last: nearly always the first comparison decides.
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

/** Orders the states of one message: as sent, edited ever later, deleted. Times are RFC 3339 in UTC, all of one length. */
export const revision = ({ edited_at, deleted_at }) => (deleted_at ? "deleted" : (edited_at ?? ""));

/** Key in a message's `metadata` by which a client knows its own message again when it comes back on the socket. */
export const CLIENT_KEY = "client_key";

/** Messages that were written here and are not known to be stored yet. */
export class Outbox {
  #entries = new Map();

  /** In the order they were written. */
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

  /** Drops what has arrived: by key, or by the key that a stored message carries. */
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
 * Replies that are being written, one for each message that is answered.
 *
 * Pieces carry the position at which they belong, in characters. One that was missed shows as an ellipsis; the message
 * that ends the draft has the whole text.
 */
export class Drafts {
  #byQuestion = new Map();

  get entries() {
    return [...this.#byQuestion.values()];
  }

  /** Takes a `message.delta`. Returns whether anything is to be shown anew. */
  accept({ draft_id: id, reply_to: replyTo, status, position, text }) {
    if (!Number.isSafeInteger(replyTo) || typeof text !== "string") return false;
    if (status === "failed") return this.#byQuestion.delete(replyTo);
    const held = this.#byQuestion.get(replyTo);
    const draft = held?.id === id ? held : { id, replyTo, status, text: "", length: 0 };
    const pieces = [...text];
    if (position > draft.length) {
      draft.text += "…";
      draft.length = position;
    }
    // What is here already came twice.
    draft.text += pieces.slice(draft.length - position).join("");
    draft.length = Math.max(draft.length, position + pieces.length);
    draft.status = status;
    this.#byQuestion.set(replyTo, draft);
    return true;
  }

  /** Drops the drafts that these messages have become. */
  settle(messages) {
    for (const { role, reply_to: replyTo } of messages) {
      if (role !== "user") this.#byQuestion.delete(replyTo);
    }
  }

  clear() {
    this.#byQuestion.clear();
  }
}
