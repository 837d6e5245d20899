// Sends the messages of one channel, one after the other. No DOM.

/** @import { Message, OutboxEntry, ProblemError, SendOptions } from "./types.js" */
/** @import { Core } from "./client.js" */

import { CLIENT_KEY, Outbox } from "./outbox.js";
import { path } from "./rest.js";
import { backoff } from "./time.js";

/** Maximum number of attempts of a send while the connection is live, all with its key, before it is shown as failed. */
const SEND_ATTEMPTS = 4;
/** Time in which the server knows the key of a send. A later repetition could store the message twice. */
const KEY_MS = 24 * 3_600_000;

export class Sender {
  #core;
  #id;
  #taken;
  #changed;
  /** The last send: one ends before the next one begins. @type {Promise<any>} */
  #last = Promise.resolve();
  /** @type {Promise<void> | null} */
  #restored = null;
  #isClosed = false;
  /** Ends the wait for the next attempt, after a socket has opened. */
  wake = () => {};
  outbox;

  /**
   * @param {Core} core @param {string} id Of the channel.
   * @param {(message: Message, rev: unknown) => void} taken Takes a stored message. @param {() => void} changed
   */
  constructor(core, id, taken, changed) {
    this.#core = core;
    this.#id = id;
    this.#taken = taken;
    this.#changed = changed;
    this.outbox = new Outbox(core.store, async () => `switchboard/${await core.identify()}/${id}/`);
  }

  /** Sends what an earlier page has left. */
  restore() {
    return (this.#restored ??= this.outbox.load().then((entries) => {
      for (const { key, state, createdAt } of entries) {
        if (state === "failed" || this.#core.clock.now() - createdAt > KEY_MS) this.outbox.failed(key, null);
        else this.#deliver(key);
      }
    }));
  }

  /** @param {string} content @param {SendOptions} options @param {AbortSignal} [signal] */
  send(content, options, signal) {
    const key = this.#core.uuid();
    this.outbox.put({ replyTo: null, threadSeq: null, ...options, key, content, createdAt: this.#core.clock.now(), state: "sending", error: null });
    this.#changed();
    return this.#deliver(key, signal);
  }

  /** @param {string} key */
  async retry(key) {
    if (this.outbox.get(key)?.state !== "failed") return undefined;
    this.outbox.sending(key);
    this.#changed();
    return this.#deliver(key);
  }

  /** @param {string} key */
  discard(key) {
    this.outbox.settle(key);
    this.#changed();
  }

  close() {
    this.#isClosed = true;
    this.wake();
  }

  /** @param {string} key @param {AbortSignal} [signal] @returns {Promise<Message | undefined>} */
  #deliver(key, signal) {
    const sent = this.#last.then(() => this.#post(key, signal));
    this.#last = sent.catch(() => {});
    return sent;
  }

  /** @param {string} key @param {AbortSignal} [signal] @returns {Promise<Message | undefined>} */
  async #post(key, signal) {
    const { rest, random, isLive } = this.#core;
    for (let attempt = 0, counted = 0; ; attempt += 1) {
      const entry = this.outbox.get(key);
      // The push has delivered it although the response was lost, it is discarded, or an earlier one failed.
      if (entry?.state !== "sending" || this.#isClosed) return undefined;
      const { content, contentType, replyTo, threadSeq, metadata } = entry;
      const body = { content, content_type: contentType, metadata: { ...metadata, [CLIENT_KEY]: key }, reply_to: replyTo ?? undefined, thread_seq: threadSeq ?? undefined };
      try {
        // The response has the channel's change number beside the message.
        const { rev, ...message } = await rest.call("POST", path`/channels/${this.#id}/messages`, { body, headers: { "idempotency-key": key }, signal });
        this.outbox.settle(key);
        this.#taken(message, rev);
        return message;
      } catch (/** @type {any} */ error) {
        if (signal?.aborted) {
          this.discard(key);
          throw error;
        }
        if (isLive()) counted += 1;
        if (!error.isTransient || counted >= SEND_ATTEMPTS) return this.#failed(key, error);
        await this.#pause(backoff(attempt, random, error));
      }
    }
  }

  /**
   * Marks an entry as failed, and after a failure that may pass, all later ones: so they can be sent in their order.
   * @param {string} key @param {ProblemError} error @returns {undefined}
   */
  #failed(key, error) {
    const { entries } = this.outbox;
    const from = entries.findIndex((entry) => entry.key === key);
    for (const entry of from < 0 ? [] : entries.slice(from, error.isTransient ? undefined : from + 1)) this.outbox.failed(entry.key, error);
    this.#changed();
  }

  /** @param {number} delay */
  #pause(delay) {
    return new Promise((/** @type {(value?: unknown) => void} */ resolve) => {
      const cancel = this.#core.after(delay, () => resolve());
      this.wake = () => (cancel(), resolve());
    });
  }
}
