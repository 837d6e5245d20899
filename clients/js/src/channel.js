// One channel of a client: its log, its drafts and its outbox, kept complete by frames and requests. No DOM.

/** @import { Abortable, Draft, Message, OutboxEntry, ProblemError, Reply, RequestOptions, SendOptions } from "./types.js" */
/** @import { Core } from "./client.js" */

import { ChangeCursor } from "./changes.js";
import { Drafts } from "./drafts.js";
import { People } from "./people.js";
import { path } from "./rest.js";
import { Sender } from "./sender.js";
import { ChannelLog } from "./store.js";
import { backoff } from "./time.js";

const HISTORY_PAGE = 50;
const CATCH_UP_PAGE = 100;
/** Shortest wait for the frame that a later one has overtaken; up to twice as much more is random. */
const GAP_MS = 250;

const REACTIONS = new Set(["reaction.added", "reaction.removed"]);
/** Types of events that change a message. */
const CHANGES = new Set(["message.updated", "message.deleted", ...REACTIONS]);
/** Codes of problems that mean that no reply to a message is being written. */
const REPLY_IS_MISSING = new Set(["reply_not_found", "message_not_found"]);

/**
 * A channel in step with the server.
 *
 * After a gap in the `seq` of messages, and after a reconnect, it reads the history `after` the last settled `seq`. After a
 * gap in the numbers of changes (`rev`), it reads the changes `after` the last known number. It reads a reply of which it
 * has missed frames. Before `open`, it only takes frames.
 *
 * `messages`, `drafts`, `outbox`, `typing` and `present` return the same array until it changes.
 */
export class Channel {
  #core;
  #changes = new ChangeCursor();
  #drafts = new Drafts();
  #sender;
  /** Users that type, and present users. */
  #people;
  /** Arrays that were given out since the last change. @type {Record<string, any>} */
  #shown = {};
  /** The largest `seq` of which a frame or a response told. */
  #heard = 0;
  /** The running recovery. @type {Promise<void> | null} */
  #recovery = null;
  /** Cancels the next attempt after a failed recovery, and the wait after a gap. @type {(() => void) | null} */
  #retry = null;
  /** @type {(() => void) | null} */
  #gap = null;
  #failures = 0;
  /** `true` if messages after the last settled `seq` may be missing. */
  #isUnsure = false;
  #isClosed = false;
  id;
  log;

  /** @param {Core} core @param {string} id */
  constructor(core, id) {
    this.#core = core;
    this.id = id;
    this.log = new ChannelLog(core.userId);
    this.#sender = new Sender(core, id, (message, rev) => this.#sent(message, rev), () => this.#emit("change"));
    this.#people = new People(core, id, (type) => this.#emit(type));
  }

  /** Messages by ascending `seq`. @returns {Message[]} */
  get messages() {
    return (this.#shown.messages ??= this.log.messages);
  }

  /** Replies that are being written. @returns {Draft[]} */
  get drafts() {
    return (this.#shown.drafts ??= this.#drafts.entries.map(({ id, replyTo, status, text, length }) => ({ id, replyTo, status, text, length })));
  }

  /** Messages of this client that are not yet known to be stored. @returns {OutboxEntry[]} */
  get outbox() {
    return (this.#shown.outbox ??= this.#sender.outbox.entries);
  }

  /** Ids of the other users that type. @returns {string[]} */
  get typing() {
    return (this.#shown.typing ??= this.#people.typing);
  }

  /** Ids of the users with a live connection; empty until `loadPresence`. @returns {string[]} */
  get present() {
    return (this.#shown.present ??= this.#people.present);
  }

  get hasEarlier() {
    return this.log.hasEarlier;
  }

  /** The channel as the list of channels has it. */
  get info() {
    return this.#core.sync.list.get(this.id);
  }

  /** `true` once the history is loaded. */
  get isOpen() {
    return this.log.settled !== null;
  }

  /** `true` while missing messages or changes are being read. */
  get isCatchingUp() {
    return this.#recovery !== null || this.#gap !== null;
  }

  /** Number of the last change up to which the log has all changes; `null` before `open`. */
  get rev() {
    return this.#changes.known;
  }

  /** The `seq` up to which the user has read the channel; 0 for none of it. */
  get readSeq() {
    const own = this.messages.findLast(({ role, sender_id: sender }) => role === "user" && sender === this.#core.userId);
    return Math.max(this.#core.sync.list.readSeq(this.id), own?.seq ?? 0);
  }

  get unread() {
    return this.#core.sync.list.unread(this.id);
  }

  /** Reads the newest history, unless it is held, and sends what an earlier page has left. @param {Abortable} [options] */
  async open({ signal } = {}) {
    if (this.isOpen) return;
    this.log.userId = await this.#core.identify(signal);
    await this.#sender.restore();
    const page = await this.#newest(signal);
    if (!this.isOpen) this.#load(page);
    this.#readMissing();
  }

  /** Reads the page of history before the oldest held message. @param {Abortable} [options] */
  async loadEarlier({ signal } = {}) {
    const { firstSeq, hasEarlier } = this.log;
    if (!hasEarlier) return;
    const page = await this.#get("messages", { before: firstSeq, limit: HISTORY_PAGE }, signal);
    // Meanwhile the history was loaded again, or another request has brought this page.
    if (this.log.firstSeq !== firstSeq) return;
    this.log.addEarlier(page.messages ?? [], page.has_more === true);
    this.#changes.join(page.rev);
    this.#readMissing();
    this.#emit("change");
  }

  /** Returns all messages of the thread of a message, without the root. @param {number} seq @param {Abortable} [options] @returns {Promise<Message[]>} */
  async thread(seq, { signal } = {}) {
    const messages = await this.#core.rest.list(path`/channels/${this.id}/messages/${seq}/replies`, "messages", { query: { after: seq }, signal });
    return messages.map((message) => this.log.get(message.seq) ?? message);
  }

  /** Returns one message from the log or from the server, or `undefined` if it does not exist. @param {number} seq @param {Abortable} [options] @returns {Promise<Message | undefined>} */
  async message(seq, { signal } = {}) {
    const held = this.log.get(seq);
    return held ?? this.#read(seq, signal).catch((error) => {
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
    return this.#sender.send(content, options, signal);
  }

  /** Sends a failed message again, with the same key, so that it cannot be stored twice. @param {string} key */
  retry(key) {
    return this.#sender.retry(key);
  }

  /** Drops a message that is not sent. @param {string} key */
  discard(key) {
    this.#sender.discard(key);
  }

  /**
   * Changes the text of a message as the user sees it. Fails with `version_mismatch` if another text came meanwhile.
   * @param {number} seq @param {string} content @param {Abortable} [options] @returns {Promise<Message>}
   */
  async edit(seq, content, { signal } = {}) {
    let held = this.log.get(seq) ?? (await this.#read(seq, signal));
    for (;;) {
      const headers = { "content-type": "application/merge-patch+json", "if-match": `"${held.version}"` };
      try {
        return this.#answered(await this.#call("PATCH", seq, { body: { content }, headers, signal }));
      } catch (/** @type {any} */ error) {
        if (error.code !== "version_mismatch") throw error;
        const current = this.#answered(await this.#read(seq, signal));
        // A reaction changes the version too.
        if (current.content !== held.content || current.version === held.version) throw error;
        held = current;
      }
    }
  }

  /** Deletes a message; its number stays. @param {number} seq @param {Abortable} [options] */
  async delete(seq, { signal } = {}) {
    await this.#call("DELETE", seq, { signal });
    this.#isUnheard(seq);
  }

  /** Adds the user's reaction. Its event updates the message. @param {number} seq @param {string} emoji @param {Abortable} [options] */
  async react(seq, emoji, { signal } = {}) {
    await this.#core.rest.call("PUT", path`/channels/${this.id}/messages/${seq}/reactions/${emoji}`, { signal });
    this.#isUnheard(seq);
  }

  /** Removes the user's reaction. @param {number} seq @param {string} emoji @param {Abortable} [options] */
  async unreact(seq, emoji, { signal } = {}) {
    await this.#core.rest.call("DELETE", path`/channels/${this.id}/messages/${seq}/reactions/${emoji}`, { signal });
    this.#isUnheard(seq);
  }

  /** Moves the user's read mark, by default to the newest held message. */
  markRead(seq = this.log.lastSeq ?? 0) {
    this.#core.sync.markRead(this.id, seq);
  }

  /** Shows the user as typing to others. Call it with each key: one request every 3 seconds is made. @param {Abortable} [options] */
  sendTyping(options) {
    return this.#people.sendTyping(options);
  }

  /** Reads the list of present users, and keeps it. @param {Abortable} [options] */
  loadPresence(options) {
    return this.#people.load(options);
  }

  /** Returns the reply to a message as far as it is stored. @param {number} seq @param {Abortable} [options] @returns {Promise<Reply>} */
  reply(seq, { signal } = {}) {
    return this.#get(`messages/${seq}/reply`, {}, signal);
  }

  /** Stops the reply to a message; the generated part is kept. @param {number} seq @param {Abortable} [options] */
  async stopReply(seq, { signal } = {}) {
    try {
      await this.#core.rest.call("POST", path`/channels/${this.id}/messages/${seq}/reply/cancel`, { signal });
    } catch (/** @type {any} */ error) {
      if (error.code !== "reply_not_found") throw error;
      // It has ended, and its last frame was lost or is on the way.
      if (this.#drafts.drop(seq)) this.#emit("change");
    }
  }

  // --- frames, by the client

  /** Reads what frames may have missed before a socket opened. */
  recover() {
    this.#sender.wake();
    this.#people.recover();
    if (!this.isOpen) return this.#drafts.clear();
    this.#drafts.doubt();
    this.#endWaits();
    this.#catchUp();
    this.#readReplies();
  }

  /** Takes a frame of the channel. @param {any} frame */
  take(frame) {
    if (frame.type === "events" && Array.isArray(frame.events)) this.#events(frame.events);
    if (frame.type === "message.delta") this.#delta(frame);
    this.#people.take(frame);
  }

  /** Ends all recovery. */
  close() {
    this.#isClosed = true;
    this.#endWaits();
    this.#people.close();
    this.#sender.close();
  }

  /** @param {any[]} events */
  #events(events) {
    const known = events.filter((event) => event !== null && typeof event === "object");
    const of = (/** @type {string[]} */ ...types) => known.filter(({ type, message }) => types.includes(type) && message).map(({ message }) => message);
    this.#arrived(of("message.created"));
    let isChanged = this.#revised(of("message.updated", "message.deleted"));
    for (const event of known) {
      // A message that is not held yet may come in its state before the reaction.
      const outcome = !REACTIONS.has(event.type) ? "" : this.log.lacks(event.seq) ? "stale" : this.log.react(event);
      if (outcome === "changed") isChanged = true;
      if (outcome !== "stale") {
        if (CHANGES.has(event.type)) this.#changes.follow(event);
        continue;
      }
      // The changes that will be read include the missing version.
      this.#changes.tell(event.rev);
      if (!this.#changes.isBehind) this.#reread(event.seq, event.version);
    }
    this.#waitForGap();
    if (isChanged) this.#emit("change");
  }

  /** Takes a frame of a draft. @param {any} frame */
  #delta(frame) {
    // A frame is late if its message has arrived.
    const isOver = frame.status === "done" && this.log.get(frame.seq) !== undefined;
    if (!isOver && this.#drafts.accept(frame)) this.#emit("change");
    this.#waitForGap();
  }

  /** Takes new messages. @param {Message[]} messages */
  #arrived(messages) {
    if (messages.length === 0) return;
    this.#sender.outbox.settle(...messages);
    this.#drafts.settle(messages);
    this.#people.arrived(messages);
    this.#core.sync.created(this.id, messages);
    this.#hear(messages);
    // Before the channel is open, its history will contain the messages.
    const added = this.isOpen ? this.log.push(messages) : messages;
    if (added.length > 0) this.#emit("messages", { messages: added });
    this.#emit("change");
  }

  /** Takes later states of messages. Returns `true` if a held message changed. @param {Message[]} messages */
  #revised(messages) {
    if (messages.length === 0) return false;
    const isChanged = this.log.update(messages);
    // Such a message has overtaken its first state.
    this.#arrived(messages.filter(({ seq }) => this.log.lacks(seq)));
    this.#core.sync.revised(this.id, messages);
    this.#emit("revised", { messages });
    return isChanged;
  }

  /** @param {{ seq: number }[]} told */
  #hear(told) {
    for (const { seq } of told) if (Number.isSafeInteger(seq)) this.#heard = Math.max(this.#heard, seq);
  }

  // --- requests

  /** @param {string} resource @param {Record<string, any>} query @param {AbortSignal} [signal] @returns {Promise<any>} */
  #get(resource, query, signal) {
    return this.#core.rest.call("GET", `${path`/channels/${this.id}/`}${resource}`, { query, signal });
  }

  /** @param {string} method @param {number} seq @param {RequestOptions} options @returns {Promise<any>} */
  #call(method, seq, options) {
    return this.#core.rest.call(method, path`/channels/${this.id}/messages/${seq}`, options);
  }

  /** @param {number} seq @param {AbortSignal} [signal] */
  #read(seq, signal) {
    return this.#call("GET", seq, { signal });
  }

  /** @param {AbortSignal} [signal] */
  #newest(signal) {
    return this.#get("messages", { limit: HISTORY_PAGE }, signal);
  }

  /** Takes a message of a response. @param {Message} message */
  #answered(message) {
    if (this.log.update([message])) this.#emit("change");
    return message;
  }

  /** Reads a message whose change no frame will tell. @param {number} seq */
  #isUnheard(seq) {
    if (!this.#core.isLive()) this.#reread(seq);
  }

  /** Reads a message again, until it has a version. @param {number} seq @param {number} [version] */
  #reread(seq, version = 0) {
    this.#core.quiet.run(`message ${this.id} ${seq}`, async () => {
      if (this.#revised([await this.#read(seq)])) this.#emit("change");
      this.#readMissing();
      return (this.log.get(seq)?.version ?? version) >= version;
    });
  }

  /** Takes a message that was sent. @param {Message} message @param {unknown} rev The channel's change number. */
  #sent(message, rev) {
    this.#arrived([message]);
    this.#changes.tell(rev);
    this.#readMissing();
  }

  // --- recovery

  /** Takes the newest page of history in place of all held messages. @param {any} page */
  #load(page) {
    const messages = page.messages ?? [];
    this.log.restart(messages, page.has_more === true);
    this.#changes.restart(page.rev);
    this.#joined(page, messages);
    this.#emit("change");
  }

  /** Takes from a page of history all that is not in the log. @param {any} page @param {Message[]} messages */
  #joined(page, messages) {
    this.#sender.outbox.settle(...messages);
    this.#drafts.settle(messages);
    this.#expectReplies(page);
    this.#core.sync.created(this.id, messages);
  }

  /** Begins the drafts that a page of history names, and reads their texts so far. @param {any} page */
  #expectReplies({ replying_to: questions }) {
    if (!Array.isArray(questions)) return;
    const answered = new Set(this.log.messages.filter(({ role }) => role !== "user").map(({ reply_to: replyTo }) => replyTo));
    this.#drafts.expect(questions.filter((seq) => !answered.has(seq)));
    this.#readReplies();
  }

  /** Reads the replies of which frames are missing. The history of a channel that is not open will name its replies. */
  #readReplies() {
    if (!this.isOpen) return;
    for (const seq of this.#drafts.behind) this.#core.quiet.run(`reply ${this.id} ${seq}`, () => this.#readReply(seq));
  }

  /** @param {number} seq */
  async #readReply(seq) {
    const drafts = this.#drafts;
    if (!drafts.isBehind(seq) || this.#isClosed) return true;
    const asked = drafts.ask(seq);
    try {
      const reply = await this.reply(seq);
      const isRead = drafts.read(seq, asked, reply);
      // The reply has ended as a message. Without its event, only the history brings it.
      if ((reply.seq ?? 0) > (this.log.settled ?? 0)) this.#catchUp();
      else if (Number.isSafeInteger(reply.seq)) drafts.drop(seq);
      this.#emit("change");
      return isRead;
    } catch (/** @type {any} */ error) {
      if (!REPLY_IS_MISSING.has(error.code)) throw error;
      // A draft that began after the request stays.
      if (drafts.ask(seq) === asked && drafts.drop(seq)) this.#emit("change");
      return true;
    }
  }

  /** Reads all messages after the last settled `seq`, and then the missing changes. */
  #catchUp() {
    this.#isUnsure = true;
    this.#readMissing();
  }

  get #isMissing() {
    const isBehind = this.#isUnsure || this.#heard > (this.log.settled ?? 0) || this.#changes.isBehind;
    return this.isOpen && (isBehind || this.#changes.isExpired);
  }

  /** Waits for the frame that a later one may have overtaken, so that a swap in a crowd causes no requests. */
  #waitForGap() {
    if (this.#gap || this.#isClosed || !(this.#isMissing || (this.isOpen && this.#drafts.behind.length > 0))) return;
    this.#gap = this.#core.after(GAP_MS + this.#core.random() * 2 * GAP_MS, () => {
      this.#gap = null;
      this.#readMissing();
      this.#readReplies();
    });
  }

  /** Reads the missing messages and changes, if there are any. A running recovery also reads those that are added to it. */
  #readMissing() {
    if (this.#recovery || this.#retry || this.#isClosed || !this.#isMissing) return;
    this.#recovery = this.#readAll()
      .then(
        () => void (this.#failures = 0),
        (error) => this.#failed(error),
      )
      .then(() => {
        this.#recovery = null;
        // Without a network, the next socket or frame starts the next recovery.
        if (this.#failures === 0) this.#readMissing();
        this.#emit("change");
      });
  }

  /** @param {ProblemError} error */
  #failed(error) {
    const { after, random, isLive } = this.#core;
    const delay = backoff(this.#failures, random, error);
    this.#failures += 1;
    this.#isUnsure = true;
    if (!this.#isClosed && (error.status !== 0 || isLive())) {
      this.#retry = after(delay, () => {
        this.#retry = null;
        this.#readMissing();
      });
    }
    this.#emit("problem", { error });
  }

  #endWaits() {
    this.#retry?.();
    this.#gap?.();
    this.#retry = this.#gap = null;
  }

  async #readAll() {
    while (this.#isMissing && !this.#isClosed) {
      if (this.#changes.isExpired) this.#load(await this.#newest());
      else if (this.#isUnsure || this.#heard > (this.log.settled ?? 0)) await this.#readAfter();
      else await this.#readChanges();
    }
  }

  async #readAfter() {
    this.#isUnsure = false;
    const { log } = this;
    for (let more = true; more; ) {
      const seen = Math.max(this.#heard, log.lastSeq ?? 0);
      const page = await this.#get("messages", { after: log.settled ?? 0, limit: CATCH_UP_PAGE });
      const messages = page.messages ?? [];
      more = page.has_more === true && messages.length > 0;
      const added = log.addLater(messages, more, seen);
      if (added.length > 0) this.#changes.join(page.rev);
      else this.#changes.tell(page.rev);
      this.#joined(page, messages);
      if (added.length > 0) this.#emit("messages", { messages: added });
      this.#emit("change");
    }
  }

  /** Reads one page of changes. */
  async #readChanges() {
    const asked = this.#changes.ask();
    let page;
    try {
      page = await this.#get("changes", { after: asked.after, limit: CATCH_UP_PAGE });
    } catch (/** @type {any} */ error) {
      if (error.code !== "changes_expired") throw error;
      this.#changes.expire();
      return;
    }
    const messages = (page.changes ?? []).map((/** @type {any} */ change) => change?.message).filter(Boolean);
    const isChanged = this.#revised(messages);
    this.#changes.read(asked, page);
    if (isChanged) this.#emit("change");
  }

  /** @param {any} type @param {object} [detail] */
  #emit(type, detail) {
    this.#shown = {};
    if (!this.#isClosed) this.#core.emit(type, { channelId: this.id, ...detail });
  }
}
