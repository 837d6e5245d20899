// The messages of one thread, from the history of its channel and from a reading of the thread. No DOM.

import { threadsOf } from "../js/src/threads.js";

/** Returns a message of a channel with the current summary of its thread, if it begins one. */
export function withSummary(channel, message) {
  const thread = threadsOf(channel).summary(message);
  return thread === message.thread ? message : { ...message, thread };
}

export class Thread {
  #bySeq = new Map();
  seq;

  /** `seq` is that of the root. */
  constructor(seq) {
    this.seq = seq;
  }

  /** Takes messages that belong to the thread, each if it is no older than the held state. Returns `true` if there was one. */
  take(messages) {
    let isChanged = false;
    for (const message of messages) {
      if (!this.has(message)) continue;
      const held = this.#bySeq.get(message.seq);
      if (held && (held.version ?? 1) > (message.version ?? 1)) continue;
      this.#bySeq.set(message.seq, message);
      isChanged = true;
    }
    return isChanged;
  }

  /** Returns `true` if a message belongs to the thread. */
  has({ seq, thread_seq: root }) {
    return seq === this.seq || root === this.seq;
  }

  /** Returns a message of the thread, or `undefined`. */
  get(seq) {
    return this.#bySeq.get(seq);
  }

  /** The root; `undefined` until it is read. */
  get root() {
    return this.get(this.seq);
  }

  /** All messages without the root, in their order. */
  get replies() {
    return [...this.#bySeq.values()].filter(({ seq }) => seq !== this.seq).sort((one, other) => one.seq - other.seq);
  }

  /** Returns the drafts of replies that will belong to the thread: those to its messages, not to its root. */
  drafts(drafts) {
    return drafts.filter(({ replyTo }) => replyTo !== this.seq && this.#bySeq.has(replyTo));
  }

  /** Returns the unsent messages of the thread. */
  pending(outbox) {
    return outbox.filter(({ threadSeq }) => threadSeq === this.seq);
  }
}
