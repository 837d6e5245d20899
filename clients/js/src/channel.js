// One channel of a client, as an application uses it. No DOM.

/** @import { Abortable, Draft, Message, OutboxEntry, Reply, SendOptions } from "./types.js" */

import { LiveChannel } from "./live-channel.js";
import { path } from "./rest.js";

const HISTORY_PAGE = 50;

/**
 * A channel in step with the server.
 *
 * `messages`, `drafts`, `outbox`, `typing` and `present` return the same array until it changes.
 */
export class Channel extends LiveChannel {
  /** Messages by ascending `seq`. @returns {Message[]} */
  get messages() {
    return (this._shown.messages ??= this.log.messages);
  }

  /** Replies that are being written. @returns {Draft[]} */
  get drafts() {
    return (this._shown.drafts ??= this._drafts.entries.map(({ id, replyTo, status, text, length }) => ({ id, replyTo, status, text, length })));
  }

  /** Messages of this client that are not yet known to be stored. @returns {OutboxEntry[]} */
  get outbox() {
    return (this._shown.outbox ??= this._sender.outbox.entries);
  }

  /** Ids of the other users that type. @returns {string[]} */
  get typing() {
    return (this._shown.typing ??= this._people.typing);
  }

  /** Ids of the users with a live connection; empty until `loadPresence`. @returns {string[]} */
  get present() {
    return (this._shown.present ??= this._people.present);
  }

  get hasEarlier() {
    return this.log.hasEarlier;
  }

  /** The channel as the list of channels has it. */
  get info() {
    return this._core.sync.list.get(this.id);
  }

  /** The `seq` up to which the user has read the channel; 0 for none of it. */
  get readSeq() {
    const own = this.messages.findLast(({ role, sender_id: sender }) => role === "user" && sender === this._core.userId);
    return Math.max(this._core.sync.list.readSeq(this.id), own?.seq ?? 0);
  }

  get unread() {
    return this._core.sync.list.unread(this.id);
  }

  /** Reads the newest history, unless it is held, and sends what an earlier page has left. @param {Abortable} [options] */
  async open({ signal } = {}) {
    if (this.isOpen) return;
    this.log.userId = await this._core.identify(signal);
    await this._sender.restore();
    const page = await this._newest(signal);
    if (!this.isOpen) this._load(page);
    this._readMissing();
  }

  /** Reads the page of history before the oldest held message. @param {Abortable} [options] */
  async loadEarlier({ signal } = {}) {
    const { firstSeq, hasEarlier } = this.log;
    if (!hasEarlier) return;
    const page = await this._get("messages", { before: firstSeq, limit: HISTORY_PAGE }, signal);
    // Meanwhile the history was loaded again, or another request has brought this page.
    if (this.log.firstSeq !== firstSeq) return;
    this.log.addEarlier(page.messages ?? [], page.has_more === true);
    this._changes.join(page.rev);
    this._readMissing();
    this._emit("change");
  }

  /** Returns all messages of the thread of a message, without the root. @param {number} seq @param {Abortable} [options] @returns {Promise<Message[]>} */
  async thread(seq, { signal } = {}) {
    const messages = await this._core.rest.list(path`/channels/${this.id}/messages/${seq}/replies`, "messages", { query: { after: seq }, signal });
    return messages.map((message) => this.log.get(message.seq) ?? message);
  }

  /** Returns one message from the log or from the server, or `undefined` if it does not exist. @param {number} seq @param {Abortable} [options] @returns {Promise<Message | undefined>} */
  async message(seq, { signal } = {}) {
    const held = this.log.get(seq);
    return held ?? this._read(seq, signal).catch((error) => {
      if (error.code !== "message_not_found") throw error;
    });
  }

  /**
   * Sends a message, which may quote the message `replyTo` and may belong to the thread of the message `threadSeq`. Its
   * outbox entry shows its state; a failed entry waits for `retry` or `discard`. Returns the stored message, or `undefined`
   * if it failed or if its event came first.
   * @param {string} content @param {SendOptions & Abortable} [options] @returns {Promise<Message | undefined>}
   */
  send(content, { signal, ...options } = {}) {
    return this._sender.send(content, options, signal);
  }

  /** Sends a failed message again, with the same key, so that it cannot be stored twice. @param {string} key */
  retry(key) {
    return this._sender.retry(key);
  }

  /** Drops a message that is not sent. @param {string} key */
  discard(key) {
    this._sender.discard(key);
  }

  /**
   * Changes the text of a message as the user sees it. Fails with `version_mismatch` if another text came meanwhile.
   * @param {number} seq @param {string} content @param {Abortable} [options] @returns {Promise<Message>}
   */
  async edit(seq, content, { signal } = {}) {
    let held = this.log.get(seq) ?? (await this._read(seq, signal));
    for (;;) {
      const headers = { "content-type": "application/merge-patch+json", "if-match": `"${held.version}"` };
      try {
        return this._answered(await this._call("PATCH", seq, { body: { content }, headers, signal }));
      } catch (/** @type {any} */ error) {
        if (error.code !== "version_mismatch") throw error;
        const current = this._answered(await this._read(seq, signal));
        // A reaction changes the version too.
        if (current.content !== held.content || current.version === held.version) throw error;
        held = current;
      }
    }
  }

  /** Deletes a message; its number stays. @param {number} seq @param {Abortable} [options] */
  async delete(seq, { signal } = {}) {
    await this._call("DELETE", seq, { signal });
    this._isUnheard(seq);
  }

  /** Adds the user's reaction. Its event updates the message. @param {number} seq @param {string} emoji @param {Abortable} [options] */
  async react(seq, emoji, { signal } = {}) {
    await this._core.rest.call("PUT", path`/channels/${this.id}/messages/${seq}/reactions/${emoji}`, { signal });
    this._isUnheard(seq);
  }

  /** Removes the user's reaction. @param {number} seq @param {string} emoji @param {Abortable} [options] */
  async unreact(seq, emoji, { signal } = {}) {
    await this._core.rest.call("DELETE", path`/channels/${this.id}/messages/${seq}/reactions/${emoji}`, { signal });
    this._isUnheard(seq);
  }

  /** Moves the user's read mark, by default to the newest held message. */
  markRead(seq = this.log.lastSeq ?? 0) {
    this._core.sync.markRead(this.id, seq);
  }

  /** Shows the user as typing to others. Call it with each key: one request every 3 seconds is made. @param {Abortable} [options] */
  sendTyping(options) {
    return this._people.sendTyping(options);
  }

  /** Reads the list of present users, and keeps it. @param {Abortable} [options] */
  loadPresence(options) {
    return this._people.load(options);
  }

  /** Returns the reply to a message as far as it is stored. @param {number} seq @param {Abortable} [options] @returns {Promise<Reply>} */
  reply(seq, { signal } = {}) {
    return this._get(`messages/${seq}/reply`, {}, signal);
  }

  /** Stops the reply to a message; the generated part is kept. @param {number} seq @param {Abortable} [options] */
  async stopReply(seq, { signal } = {}) {
    try {
      await this._core.rest.call("POST", path`/channels/${this.id}/messages/${seq}/reply/cancel`, { signal });
    } catch (/** @type {any} */ error) {
      if (error.code !== "reply_not_found") throw error;
      // It has ended, and its last frame was lost or is on the way.
      if (this._drafts.drop(seq)) this._emit("change");
    }
  }
}
