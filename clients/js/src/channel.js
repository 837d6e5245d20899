// One channel of a client: its log, its drafts and its outbox, kept complete by frames and requests. No DOM.

import { ChangeCursor } from "./changes.js";
import { Drafts } from "./drafts.js";
import { backoff } from "./socket.js";
import { ChannelLog, Outbox } from "./store.js";

const HISTORY_PAGE = 50;
const CATCH_UP_PAGE = 100;

/** Types of events that change a message. */
const REACTIONS = new Set(["reaction.added", "reaction.removed"]);
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
 * `emit` gets the events `messages`, `revised`, `change` and `problem` of the client. `isLive` returns whether a socket is
 * open. `sync` follows the channel's entry in the list.
 */
export class Channel {
  #id;
  #rest;
  #quiet;
  #clock;
  #random;
  #sync;
  #isLive;
  #emitTo;
  #changes = new ChangeCursor();
  /** The largest `seq` that was pushed and is not in the log. */
  #pushed = 0;
  /** The running recovery, or `null`. */
  #recovery = null;
  /** The timer of the next attempt after a failed recovery, or `null`. */
  #retry = null;
  #failures = 0;
  /** `true` if messages after the last settled `seq` may be missing. */
  #isUnsure = false;
  #isClosed = false;
  log;
  outbox = new Outbox();
  drafts = new Drafts();

  constructor({ channelId, userId, rest, quiet, clock, random, sync, isLive, emit }) {
    this.#id = channelId;
    this.#rest = rest;
    this.#quiet = quiet;
    this.#clock = clock;
    this.#random = random;
    this.#sync = sync;
    this.#isLive = isLive;
    this.#emitTo = emit;
    this.log = new ChannelLog(userId);
  }

  /** `true` while missing messages or changes are being read. */
  get isCatchingUp() {
    return this.#recovery !== null;
  }

  /** Number of the last change up to which the log has all changes; `null` before `open`. */
  get rev() {
    return this.#changes.known;
  }

  /** Reads the newest history, unless it is held. */
  async open() {
    if (this.log.settled !== null) return;
    const page = await this.#newest();
    if (this.log.settled === null) this.#load(page);
    this.#readMissing();
  }

  /** Reads the page of history before the oldest held message. */
  async loadEarlier() {
    const { firstSeq, hasEarlier } = this.log;
    if (!hasEarlier) return;
    const page = await this.#rest.messages(this.#id, { before: firstSeq ?? undefined, limit: HISTORY_PAGE });
    // Meanwhile the history was loaded again, or another request has brought this page.
    if (this.log.firstSeq !== firstSeq) return;
    this.log.addEarlier(page.messages ?? [], page.has_more === true);
    this.#changes.join(page.rev);
    this.#readMissing();
    this.#emit("change");
  }

  /** Reads what frames may have missed before a socket opened. */
  recover() {
    if (this.log.settled === null) return this.drafts.clear();
    this.drafts.doubt();
    this.#endRetry();
    this.#catchUp();
    this.#readReplies();
  }

  /** Takes the events of a frame. */
  events(events) {
    const known = events.filter((event) => event !== null && typeof event === "object");
    const of = (...types) => known.filter(({ type, message }) => types.includes(type) && message).map(({ message }) => message);
    this.arrived(of("message.created"));
    for (const event of known) if (CHANGES.has(event.type)) this.#changes.follow(event);
    let isChanged = this.#revised(of("message.updated", "message.deleted"));
    for (const event of known) if (REACTIONS.has(event.type)) isChanged = this.#reacted(event) || isChanged;
    this.#readMissing();
    if (isChanged) this.#emit("change");
  }

  /** Takes a frame of a draft. */
  delta(frame) {
    // A frame is late if its message has arrived.
    const isOver = frame.status === "done" && this.log.get(frame.seq) !== undefined;
    if (!isOver && this.drafts.accept(frame)) this.#emit("change");
    this.#readReplies();
  }

  /** Takes the answer to a send: the message, and beside its fields the number of the channel's last change. */
  sent({ rev, ...message }) {
    this.#changes.tell(rev);
    this.arrived([message]);
    this.#readMissing();
    return message;
  }

  /** Takes new messages. */
  arrived(messages) {
    if (messages.length === 0) return;
    this.outbox.settle(...messages);
    this.drafts.settle(messages);
    this.#sync.created(this.#id, messages);
    if (this.log.settled === null) {
      // The channel is not open, so its history will contain the messages. Only the highest `seq` matters, because a
      // running request may return older history.
      this.#pushed = messages.reduce((most, { seq }) => Math.max(most, seq), this.#pushed);
      this.#emit("messages", { messages });
      return;
    }
    const added = this.log.push(messages);
    if (this.log.hasGap) this.#catchUp();
    if (added.length > 0) this.#emit("messages", { messages: added });
    this.#emit("change");
  }

  /** Reads a message again, until it has a version. */
  reread(seq, version = 0) {
    this.#quiet.run(`message ${this.#id} ${seq}`, async () => {
      if (this.#revised([await this.#rest.message(this.#id, seq)])) this.#emit("change");
      return (this.log.get(seq)?.version ?? version) >= version;
    });
  }

  /** Ends all recovery. */
  close() {
    this.#isClosed = true;
    this.#endRetry();
  }

  /** Takes later states of messages. Returns `true` if a held message changed. */
  #revised(messages) {
    if (messages.length === 0) return false;
    const isChanged = this.log.update(messages);
    // The first state of such a message may arrive later, and then as the only one.
    if (messages.some(({ seq }) => this.log.lacks(seq))) this.#catchUp();
    this.#sync.revised(this.#id, messages);
    this.#emit("revised", { messages });
    return isChanged;
  }

  /** Takes a reaction. Returns `true` if a held message changed. */
  #reacted(event) {
    const outcome = this.log.react(event);
    // The changes that will be read include the missing version.
    if (outcome === "stale" && !this.#changes.isBehind) this.reread(event.seq, event.version);
    if (this.log.lacks(event.seq)) this.#catchUp();
    return outcome === "changed";
  }

  #newest() {
    return this.#rest.messages(this.#id, { limit: HISTORY_PAGE });
  }

  /** Takes the newest page of history in place of all held messages. */
  #load(page) {
    const messages = page.messages ?? [];
    const pushed = Math.max(this.#pushed, this.log.lastSeq ?? 0);
    this.#pushed = 0;
    this.log.restart(messages, page.has_more === true);
    this.#changes.restart(page.rev);
    this.#joined(page, messages);
    // Messages were pushed while the page was read.
    if (pushed > this.log.settled) this.#catchUp();
    this.#emit("change");
  }

  /** Takes from a page of history all that is not in the log. */
  #joined(page, messages) {
    this.outbox.settle(...messages);
    this.drafts.settle(messages);
    this.#expectReplies(page);
    this.#sync.created(this.#id, messages);
  }

  /** Begins the drafts that a page of history names, and reads their texts so far. */
  #expectReplies({ replying_to: questions }) {
    if (!Array.isArray(questions)) return;
    const answered = new Set(this.log.messages.filter(({ role }) => role !== "user").map(({ reply_to: replyTo }) => replyTo));
    this.drafts.expect(questions.filter((seq) => !answered.has(seq)));
    this.#readReplies();
  }

  /** Reads the replies of which frames are missing. The history of a channel that is not open will name its replies. */
  #readReplies() {
    if (this.log.settled === null) return;
    for (const seq of this.drafts.behind) this.#quiet.run(`reply ${this.#id} ${seq}`, () => this.#readReply(seq));
  }

  async #readReply(seq) {
    const { drafts, log } = this;
    if (!drafts.isBehind(seq) || this.#isClosed) return true;
    const asked = drafts.ask(seq);
    try {
      const reply = await this.#rest.reply(this.#id, seq);
      const isRead = drafts.read(seq, asked, reply);
      // The reply has ended as a message. Without its event, only the history brings it.
      if (reply.seq > log.settled) this.#catchUp();
      else if (Number.isSafeInteger(reply.seq)) drafts.drop(seq);
      this.#emit("change");
      return isRead;
    } catch (error) {
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
    return this.#isUnsure || this.#changes.isBehind || this.#changes.isExpired;
  }

  /** Reads the missing messages and changes, if there are any. A running recovery also reads those that are added to it. */
  #readMissing() {
    if (this.#recovery || this.#retry !== null || this.#isClosed || !this.#isMissing) return;
    this.#recovery = this.#readAll()
      .then(
        () => {
          this.#failures = 0;
        },
        (error) => this.#failed(error),
      )
      .then(() => {
        this.#recovery = null;
        // Without a network, the next socket or frame starts the next recovery.
        if (this.#failures === 0) this.#readMissing();
        this.#emit("change");
      });
  }

  #failed(error) {
    const delay = Math.max(backoff(this.#failures, this.#random), (error.retryAfter ?? 0) * 1000);
    this.#failures += 1;
    this.#isUnsure = true;
    if (!this.#isClosed && (error.status !== 0 || this.#isLive())) {
      this.#retry = this.#clock.setTimeout(() => {
        this.#retry = null;
        this.#readMissing();
      }, delay);
    }
    this.#emit("problem", { error });
  }

  #endRetry() {
    if (this.#retry !== null) this.#clock.clearTimeout(this.#retry);
    this.#retry = null;
  }

  async #readAll() {
    while (this.#isMissing && !this.#isClosed) {
      if (this.#changes.isExpired) this.#load(await this.#newest());
      else if (this.#isUnsure) await this.#readAfter();
      else await this.#readChanges();
    }
  }

  async #readAfter() {
    this.#isUnsure = false;
    const { log } = this;
    for (;;) {
      const seen = log.lastSeq ?? 0;
      const page = await this.#rest.messages(this.#id, { after: log.settled ?? 0, limit: CATCH_UP_PAGE });
      const messages = page.messages ?? [];
      const more = page.has_more === true && messages.length > 0;
      const added = log.addLater(messages, more, seen);
      if (added.length > 0) this.#changes.join(page.rev);
      else this.#changes.tell(page.rev);
      this.#joined(page, messages);
      if (added.length > 0) this.#emit("messages", { messages: added });
      this.#emit("change");
      if (!more) return;
    }
  }

  /** Reads one page of changes. */
  async #readChanges() {
    const asked = this.#changes.ask();
    let page;
    try {
      page = await this.#rest.changes(this.#id, { after: asked.after, limit: CATCH_UP_PAGE });
    } catch (error) {
      if (error.code !== "changes_expired") throw error;
      this.#changes.expire();
      return;
    }
    const messages = (page.changes ?? []).map((change) => change?.message).filter(Boolean);
    const isChanged = this.#revised(messages);
    this.#changes.read(asked, page);
    if (isChanged) this.#emit("change");
  }

  #emit(type, detail = {}) {
    if (!this.#isClosed) this.#emitTo(type, { channelId: this.#id, ...detail });
  }
}
