// The threads of a channel: their messages, and their summaries with the replies that came later. No DOM.

/** @import { Abortable, Channel, Message, Thread } from "./types.js" */

import { listAll } from "./rest.js";

/** @type {WeakMap<Channel, Threads>} */
const known = new WeakMap();

/** Returns the threads of a channel, always the same object. @param {Channel} channel */
export function threadsOf(channel) {
  const threads = known.get(channel) ?? new Threads(channel);
  known.set(channel, threads);
  return threads;
}

/** The threads of a channel. */
export class Threads {
  #channel;
  /** The messages that `#replies` was made of. @type {readonly Message[] | undefined} */
  #messages;
  /** The held replies of each thread by ascending `seq`, by the `seq` of its root. @type {Map<number, Message[]>} */
  #replies = new Map();

  /** @param {Channel} channel */
  constructor(channel) {
    this.#channel = channel;
  }

  /**
   * Returns all messages of the thread of a message, without the root. Held ones are returned as the channel has them.
   * @param {number} seq @param {Abortable} [options] @returns {Promise<Message[]>}
   */
  async list(seq, options) {
    const { log, request } = this.#channel;
    const messages = await listAll(request, `/messages/${seq}/replies`, "messages", { query: { after: seq }, ...options });
    return messages.map((message) => log.get(message.seq) ?? message);
  }

  /**
   * Returns the summary of the thread of a message; `undefined` if it has none. It also counts the held replies that came
   * after the server's summary, because no event carries the new summary of a root.
   * @param {Message} message @returns {Thread | undefined}
   */
  summary({ seq, thread }) {
    const { reply_count: count = 0, last_reply_seq: summed = 0 } = thread ?? {};
    const later = this.#held(seq).filter((reply) => reply.seq > summed);
    const last = later.at(-1);
    return last ? { reply_count: count + later.length, last_reply_seq: last.seq, last_reply_at: last.created_at } : thread;
  }

  /** Returns the held replies of a thread. @param {number} root */
  #held(root) {
    const { messages } = this.#channel;
    // The array is the same until a message changes.
    if (messages !== this.#messages) {
      this.#messages = messages;
      this.#replies = new Map();
      for (const message of messages) {
        const { thread_seq: seq } = message;
        if (seq) this.#replies.set(seq, [...(this.#replies.get(seq) ?? []), message]);
      }
    }
    return this.#replies.get(root) ?? [];
  }
}
