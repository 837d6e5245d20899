// One channel of a client, as an application uses it. No DOM.

/** @import { Abortable, Draft, Message, OutboxEntry, Reply, SendOptions } from "./types.js" */
/** @import { Live } from "./live.js" */

import { listAll } from "./rest.js";

/**
 * A channel in step with the server.
 *
 * `messages`, `drafts`, `outbox`, `typing` and `present` return the same array until it changes.
 */
export class Channel {
  #live;

  /** @param {Live} live */
  constructor(live) {
    this.#live = live;
  }

  get id() {
    return this.#live.id;
  }

  /** The held messages by their numbers. */
  get log() {
    return this.#live.log;
  }

  /** Messages by ascending `seq`. @returns {Message[]} */
  get messages() {
    return this.#live.cached("messages", () => this.log.messages);
  }

  /** Replies that are being written. @returns {Draft[]} */
  get drafts() {
    return this.#live.cached("drafts", () => this.#live.drafts.entries);
  }

  /** Messages of this client that are not yet known to be stored. @returns {OutboxEntry[]} */
  get outbox() {
    return this.#live.cached("outbox", () => this.#live.sender.entries);
  }

  /** Ids of the other users that type. @returns {string[]} */
  get typing() {
    return this.#live.cached("typing", () => this.#live.people.typing);
  }

  /** Ids of the users with a live connection; empty until `loadPresence`. @returns {string[]} */
  get present() {
    return this.#live.cached("present", () => this.#live.people.present);
  }

  get hasEarlier() {
    return this.log.hasEarlier;
  }

  /** `true` once the history is loaded. */
  get isOpen() {
    return this.#live.isOpen();
  }

  /** `true` while missing messages or changes are being read. */
  get isCatchingUp() {
    return this.#live.isCatchingUp();
  }

  /** Number of the last change up to which the log has all changes; `null` before `open`. */
  get rev() {
    return this.#live.cursor.known;
  }

  /** Reads the newest history, unless it is held, and sends what an earlier page has left. @param {Abortable} [options] */
  open({ signal } = {}) {
    return this.#live.open(signal);
  }

  /** Reads the page of history before the oldest held message. @param {Abortable} [options] */
  loadEarlier({ signal } = {}) {
    return this.#live.loadEarlier(signal);
  }

  /** Returns all messages of the thread of a message, without the root. @param {number} seq @param {Abortable} [options] @returns {Promise<Message[]>} */
  async thread(seq, { signal } = {}) {
    const messages = await listAll(this.#live.request, `/messages/${seq}/replies`, "messages", { query: { after: seq }, signal });
    return messages.map((message) => this.log.get(message.seq) ?? message);
  }

  /** Returns one message from the log or from the server, or `undefined` if it does not exist. @param {number} seq @param {Abortable} [options] @returns {Promise<Message | undefined>} */
  async message(seq, { signal } = {}) {
    try {
      return this.log.get(seq) ?? (await this.#live.get(`/messages/${seq}`, {}, signal));
    } catch (/** @type {any} */ error) {
      if (error.code !== "message_not_found") throw error;
    }
  }

  /**
   * Sends a message, which may quote the message `replyTo` and may belong to the thread of the message `threadSeq`. Its
   * outbox entry shows its state; a failed entry waits for `retry` or `discard`. Returns the stored message, or `undefined`
   * if it failed or if its event came first.
   * @param {string} content @param {SendOptions & Abortable} [options] @returns {Promise<Message | undefined>}
   */
  send(content, { signal, ...options } = {}) {
    return this.#live.sender.send(content, options, signal);
  }

  /** Sends a failed message again, with the same key, so that it cannot be stored twice. @param {string} key */
  retry(key) {
    return this.#live.sender.retry(key);
  }

  /** Drops a message that is not sent. @param {string} key */
  discard(key) {
    this.#live.sender.discard(key);
  }

  /**
   * Changes the text of a message as the user sees it. Fails with `version_mismatch` if another text came meanwhile.
   * @param {number} seq @param {string} content @param {Abortable} [options] @returns {Promise<Message>}
   */
  async edit(seq, content, { signal } = {}) {
    const { answered, get, request } = this.#live;
    const path = `/messages/${seq}`;
    let held = this.log.get(seq) ?? (await get(path, {}, signal));
    for (;;) {
      const headers = { "content-type": "application/merge-patch+json", "if-match": `"${held.version}"` };
      try {
        return answered(await request("PATCH", path, { body: { content }, headers, signal }));
      } catch (/** @type {any} */ error) {
        if (error.code !== "version_mismatch") throw error;
        const current = answered(await get(path, {}, signal));
        // A reaction changes the version too.
        if (current.content !== held.content || current.version === held.version) throw error;
        held = current;
      }
    }
  }

  /** Deletes a message; its number stays. @param {number} seq @param {Abortable} [options] */
  delete(seq, options) {
    return this.#change("DELETE", seq, "", options);
  }

  /** Adds the user's reaction. Its event updates the message. @param {number} seq @param {string} emoji @param {Abortable} [options] */
  react(seq, emoji, options) {
    return this.#change("PUT", seq, `/reactions/${encodeURIComponent(emoji)}`, options);
  }

  /** Removes the user's reaction. @param {number} seq @param {string} emoji @param {Abortable} [options] */
  unreact(seq, emoji, options) {
    return this.#change("DELETE", seq, `/reactions/${encodeURIComponent(emoji)}`, options);
  }

  /** Shows the user as typing to others. Call it with each key: one request every 3 seconds is made. @param {Abortable} [options] */
  sendTyping(options) {
    return this.#live.people.sendTyping(options);
  }

  /** Reads the list of present users, and keeps it. @param {Abortable} [options] @returns {Promise<unknown>} */
  loadPresence(options) {
    return this.#live.people.load(options);
  }

  /** Returns the reply to a message as far as it is stored. @param {number} seq @param {Abortable} [options] @returns {Promise<Reply>} */
  reply(seq, { signal } = {}) {
    return this.#live.get(`/messages/${seq}/reply`, {}, signal);
  }

  /** Stops the reply to a message; the generated part is kept. @param {number} seq @param {Abortable} [options] */
  async stopReply(seq, options) {
    const { changed, drafts, request } = this.#live;
    try {
      await request("POST", `/messages/${seq}/reply/cancel`, options);
    } catch (/** @type {any} */ error) {
      if (error.code !== "reply_not_found") throw error;
      // It has ended, and its last frame was lost or is on the way.
      changed(drafts.drop(seq));
    }
  }

  /** Makes a request whose response has no message. @param {string} method @param {number} seq @param {string} path @param {Abortable} [options] */
  async #change(method, seq, path, options) {
    await this.#live.request(method, `/messages/${seq}${path}`, options);
    this.#live.unheard(seq);
  }
}
