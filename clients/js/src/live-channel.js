// The part of a channel that frames and requests keep complete. No DOM.

/** @import { Message, ProblemError, RequestOptions } from "./types.js" */
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
 * The messages and drafts of a channel, in step with the server.
 *
 * After a gap in the `seq` of messages, and after a reconnect, it reads the history `after` the last settled `seq`. After a
 * gap in the numbers of changes (`rev`), it reads the changes `after` the last known number. It reads a reply of which it
 * has missed frames. Before `open`, it only takes frames.
 */
export class LiveChannel {
  /** @protected */
  _core;
  /** @protected */
  _changes = new ChangeCursor();
  /** @protected */
  _drafts = new Drafts();
  /** @protected */
  _sender;
  /** Users that type, and present users. @protected */
  _people;
  /** Arrays that were given out since the last change. @type {Record<string, any>} @protected */
  _shown = {};
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
    this._core = core;
    this.id = id;
    this.log = new ChannelLog(core.userId);
    this._sender = new Sender(core, id, (message, rev) => this.#sent(message, rev), () => this._emit("change"));
    this._people = new People(core, id, (type) => this._emit(type));
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
    return this._changes.known;
  }

  /** Reads what frames may have missed before a socket opened. */
  recover() {
    this._sender.wake();
    this._people.recover();
    if (!this.isOpen) return this._drafts.clear();
    this._drafts.doubt();
    this.#endWaits();
    this.#catchUp();
    this.#readReplies();
  }

  /** Takes a frame of the channel. @param {any} frame */
  take(frame) {
    if (frame.type === "events" && Array.isArray(frame.events)) this.#events(frame.events);
    if (frame.type === "message.delta") this.#delta(frame);
    this._people.take(frame);
  }

  /** Ends all recovery. */
  close() {
    this.#isClosed = true;
    this.#endWaits();
    this._people.close();
    this._sender.close();
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
        if (CHANGES.has(event.type)) this._changes.follow(event);
        continue;
      }
      // The changes that will be read include the missing version.
      this._changes.tell(event.rev);
      if (!this._changes.isBehind) this.#reread(event.seq, event.version);
    }
    this.#waitForGap();
    if (isChanged) this._emit("change");
  }

  /** Takes a frame of a draft. @param {any} frame */
  #delta(frame) {
    // A frame is late if its message has arrived.
    const isOver = frame.status === "done" && this.log.get(frame.seq) !== undefined;
    if (!isOver && this._drafts.accept(frame)) this._emit("change");
    this.#waitForGap();
  }

  /** Takes new messages. @param {Message[]} messages */
  #arrived(messages) {
    if (messages.length === 0) return;
    this._sender.outbox.settle(...messages);
    this._drafts.settle(messages);
    this._people.arrived(messages);
    this._core.sync.created(this.id, messages);
    this.#hear(messages);
    // Before the channel is open, its history will contain the messages.
    const added = this.isOpen ? this.log.push(messages) : messages;
    if (added.length > 0) this._emit("messages", { messages: added });
    this._emit("change");
  }

  /** Takes later states of messages. Returns `true` if a held message changed. @param {Message[]} messages */
  #revised(messages) {
    if (messages.length === 0) return false;
    const isChanged = this.log.update(messages);
    // Such a message has overtaken its first state.
    this.#arrived(messages.filter(({ seq }) => this.log.lacks(seq)));
    this._core.sync.revised(this.id, messages);
    this._emit("revised", { messages });
    return isChanged;
  }

  /** @param {{ seq: number }[]} told */
  #hear(told) {
    for (const { seq } of told) if (Number.isSafeInteger(seq)) this.#heard = Math.max(this.#heard, seq);
  }

  /** @param {string} resource @param {Record<string, any>} query @param {AbortSignal} [signal] @returns {Promise<any>} @protected */
  _get(resource, query, signal) {
    return this._core.rest.call("GET", `${path`/channels/${this.id}/`}${resource}`, { query, signal });
  }

  /** @param {string} method @param {number} seq @param {RequestOptions} options @returns {Promise<any>} @protected */
  _call(method, seq, options) {
    return this._core.rest.call(method, path`/channels/${this.id}/messages/${seq}`, options);
  }

  /** @param {number} seq @param {AbortSignal} [signal] @protected */
  _read(seq, signal) {
    return this._call("GET", seq, { signal });
  }

  /** @param {AbortSignal} [signal] @protected */
  _newest(signal) {
    return this._get("messages", { limit: HISTORY_PAGE }, signal);
  }

  /** Takes a message of a response. @param {Message} message @protected */
  _answered(message) {
    if (this.log.update([message])) this._emit("change");
    return message;
  }

  /** Reads a message whose change no frame will tell. @param {number} seq @protected */
  _isUnheard(seq) {
    if (!this._core.isLive()) this.#reread(seq);
  }

  /** Reads a message again, until it has a version. @param {number} seq @param {number} [version] */
  #reread(seq, version = 0) {
    this._core.quiet.run(`message ${this.id} ${seq}`, async () => {
      if (this.#revised([await this._read(seq)])) this._emit("change");
      this._readMissing();
      return (this.log.get(seq)?.version ?? version) >= version;
    });
  }

  /** Takes a message that was sent. @param {Message} message @param {unknown} rev The channel's change number. */
  #sent(message, rev) {
    this.#arrived([message]);
    this._changes.tell(rev);
    this._readMissing();
  }

  /** Takes the newest page of history in place of all held messages. @param {any} page @protected */
  _load(page) {
    const messages = page.messages ?? [];
    this.log.restart(messages, page.has_more === true);
    this._changes.restart(page.rev);
    this.#joined(page, messages);
    this._emit("change");
  }

  /** Takes from a page of history all that is not in the log. @param {any} page @param {Message[]} messages */
  #joined(page, messages) {
    this._sender.outbox.settle(...messages);
    this._drafts.settle(messages);
    this.#expectReplies(page);
    this._core.sync.created(this.id, messages);
  }

  /** Begins the drafts that a page of history names, and reads their texts so far. @param {any} page */
  #expectReplies({ replying_to: questions }) {
    if (!Array.isArray(questions)) return;
    const answered = new Set(this.log.messages.filter(({ role }) => role !== "user").map(({ reply_to: replyTo }) => replyTo));
    this._drafts.expect(questions.filter((seq) => !answered.has(seq)));
    this.#readReplies();
  }

  /** Reads the replies of which frames are missing. The history of a channel that is not open will name its replies. */
  #readReplies() {
    if (!this.isOpen) return;
    for (const seq of this._drafts.behind) this._core.quiet.run(`reply ${this.id} ${seq}`, () => this.#readReply(seq));
  }

  /** @param {number} seq */
  async #readReply(seq) {
    const drafts = this._drafts;
    if (!drafts.isBehind(seq) || this.#isClosed) return true;
    const asked = drafts.ask(seq);
    try {
      const reply = await this._get(`messages/${seq}/reply`, {});
      const isRead = drafts.read(seq, asked, reply);
      // The reply has ended as a message. Without its event, only the history brings it.
      if ((reply.seq ?? 0) > (this.log.settled ?? 0)) this.#catchUp();
      else if (Number.isSafeInteger(reply.seq)) drafts.drop(seq);
      this._emit("change");
      return isRead;
    } catch (/** @type {any} */ error) {
      if (!REPLY_IS_MISSING.has(error.code)) throw error;
      // A draft that began after the request stays.
      if (drafts.ask(seq) === asked && drafts.drop(seq)) this._emit("change");
      return true;
    }
  }

  /** Reads all messages after the last settled `seq`, and then the missing changes. */
  #catchUp() {
    this.#isUnsure = true;
    this._readMissing();
  }

  get #isMissing() {
    const isBehind = this.#isUnsure || this.#heard > (this.log.settled ?? 0) || this._changes.isBehind;
    return this.isOpen && (isBehind || this._changes.isExpired);
  }

  /** Waits for the frame that a later one may have overtaken, so that a swap in a crowd causes no requests. */
  #waitForGap() {
    if (this.#gap || this.#isClosed || !(this.#isMissing || (this.isOpen && this._drafts.behind.length > 0))) return;
    this.#gap = this._core.after(GAP_MS + this._core.random() * 2 * GAP_MS, () => {
      this.#gap = null;
      this._readMissing();
      this.#readReplies();
    });
  }

  /** Reads the missing messages and changes, if there are any. A running recovery also reads those that are added to it. @protected */
  _readMissing() {
    if (this.#recovery || this.#retry || this.#isClosed || !this.#isMissing) return;
    this.#recovery = this.#readAll()
      .then(
        () => void (this.#failures = 0),
        (error) => this.#failed(error),
      )
      .then(() => {
        this.#recovery = null;
        // Without a network, the next socket or frame starts the next recovery.
        if (this.#failures === 0) this._readMissing();
        this._emit("change");
      });
  }

  /** @param {ProblemError} error */
  #failed(error) {
    const { after, random, isLive } = this._core;
    const delay = backoff(this.#failures, random, error);
    this.#failures += 1;
    this.#isUnsure = true;
    if (!this.#isClosed && (error.status !== 0 || isLive())) {
      this.#retry = after(delay, () => {
        this.#retry = null;
        this._readMissing();
      });
    }
    this._emit("problem", { error });
  }

  #endWaits() {
    this.#retry?.();
    this.#gap?.();
    this.#retry = this.#gap = null;
  }

  async #readAll() {
    while (this.#isMissing && !this.#isClosed) {
      if (this._changes.isExpired) this._load(await this._newest());
      else if (this.#isUnsure || this.#heard > (this.log.settled ?? 0)) await this.#readAfter();
      else await this.#readChanges();
    }
  }

  async #readAfter() {
    this.#isUnsure = false;
    const { log } = this;
    for (let more = true; more; ) {
      const seen = Math.max(this.#heard, log.lastSeq ?? 0);
      const page = await this._get("messages", { after: log.settled ?? 0, limit: CATCH_UP_PAGE });
      const messages = page.messages ?? [];
      more = page.has_more === true && messages.length > 0;
      const added = log.addLater(messages, more, seen);
      if (added.length > 0) this._changes.join(page.rev);
      else this._changes.tell(page.rev);
      this.#joined(page, messages);
      if (added.length > 0) this._emit("messages", { messages: added });
      this._emit("change");
    }
  }

  /** Reads one page of changes. */
  async #readChanges() {
    const asked = this._changes.ask();
    let page;
    try {
      page = await this._get("changes", { after: asked.after, limit: CATCH_UP_PAGE });
    } catch (/** @type {any} */ error) {
      if (error.code !== "changes_expired") throw error;
      this._changes.expire();
      return;
    }
    const messages = (page.changes ?? []).map((/** @type {any} */ change) => change?.message).filter(Boolean);
    const isChanged = this.#revised(messages);
    this._changes.read(asked, page);
    if (isChanged) this._emit("change");
  }

  /** @param {any} type @param {object} [detail] @protected */
  _emit(type, detail) {
    this._shown = {};
    if (!this.#isClosed) this._core.emit(type, { channelId: this.id, ...detail });
  }
}
