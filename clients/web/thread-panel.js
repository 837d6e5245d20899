// The panel of a thread: its root, its replies, and a form for the next one. On a narrow screen it covers the channel.

import { threadsOf } from "../js/src/threads.js";
import { Composer } from "./composer.js";
import { reconcile } from "./dom.js";
import { dayKey, repliesText } from "./format.js";
import { $, narrow, showToast } from "./page.js";
import { Thread, withSummary } from "./thread.js";
import { timeline } from "./timeline.js";
import { row } from "./view.js";

/** Maximum distance from the end at which the panel follows new replies. */
const NEAR_END_PX = 80;

export class ThreadPanel {
  #channel = null;
  #thread = null;
  #context;
  #drafts;
  #roving;
  #texts;
  #onClose;
  #isEnabled;
  #composer;

  /**
   * `context` returns that of the rows, and `drafts` those of the channel. `roving` is that of the list. `texts` keeps texts
   * that are not sent, and `isEnabled` returns whether the channel accepts messages. `onClose` gets the `seq` of the root, and
   * whether the focus returns to it.
   */
  constructor({ context, drafts, roving, texts, isEnabled, onClose }) {
    this.#context = context;
    this.#drafts = drafts;
    this.#roving = roving;
    this.#texts = texts;
    this.#isEnabled = isEnabled;
    this.#onClose = onClose;
    this.#composer = new Composer({
      prefix: "thread-composer",
      state: () => ({ enabled: this.isOpen && this.#isEnabled(), placeholder: "Reply in the thread" }),
      onSend: (content, reply) => this.#channel.send(content, { threadSeq: this.#thread.seq, ...reply }),
      onText: (text) => {
        this.#texts.set(text, this.#channel.id, this.#thread.seq);
        if (text) this.#channel.sendTyping().catch(() => {});
      },
    });
    $("thread-close").addEventListener("click", () => this.close());
    narrow.addEventListener("change", () => this.#cover());
  }

  get isOpen() {
    return this.#thread !== null;
  }

  get seq() {
    return this.#thread?.seq;
  }

  /** Returns a message of the open thread, or `undefined`. */
  find(seq) {
    return this.#thread?.get(seq);
  }

  /** Opens the thread of a message. */
  open(channel, message) {
    const seq = message.thread_seq ?? message.seq;
    if (this.seq === seq && this.#channel === channel) return this.#composer.focus();
    this.#channel = channel;
    this.#thread = new Thread(seq);
    this.#thread.take([message]);
    $("thread-messages").replaceChildren();
    $("thread").hidden = false;
    $("chat").dataset.thread = "open";
    this.#composer.setReply(null);
    this.#composer.text = this.#texts.get(channel.id, seq);
    this.#composer.resize();
    this.#cover();
    this.show();
    $("thread-close").focus();
    this.#composer.focus();
    this.load(true);
  }

  /** Closes the panel. `returnsFocus` is `false` if another channel is opened. */
  close(returnsFocus = true) {
    if (!this.isOpen) return;
    const { seq } = this;
    this.#thread = null;
    $("thread").hidden = true;
    $("chat").dataset.thread = "closed";
    this.#cover();
    $("thread-messages").replaceChildren();
    this.#onClose(seq, returnsFocus);
  }

  /** Ends the reply that is being written, or closes the panel. */
  escape() {
    if (this.#composer.replyTo) this.#composer.setReply(null);
    else this.close();
  }

  /** Answers a message in the thread. */
  reply(message) {
    this.#composer.setReply(message);
    this.#composer.focus();
  }

  /** Gives a text back to the form. */
  write(text) {
    if (!this.#composer.text) this.#composer.write(text);
    this.#composer.focus();
  }

  /** Reads the whole thread. Shows its end if it `isNew` in the panel. */
  async load(isNew = false) {
    const thread = this.#thread;
    const channel = this.#channel;
    if (!thread) return;
    $("thread-messages").setAttribute("aria-busy", "true");
    try {
      const [root, replies] = await Promise.all([channel.message(thread.seq), threadsOf(channel).list(thread.seq)]);
      if (thread !== this.#thread) return;
      thread.take([...(root ? [root] : []), ...replies]);
      this.show();
      if (isNew) $("thread-scroller").scrollTop = $("thread-scroller").scrollHeight;
    } catch (error) {
      if (thread === this.#thread) showToast(error);
    }
    // Replies that are already there are not announced to screen readers, only later ones.
    requestAnimationFrame(() => $("thread-messages").setAttribute("aria-busy", "false"));
  }

  /** Reads a message again that the history of the channel lacks. */
  async refresh(seq) {
    const thread = this.#thread;
    const channel = this.#channel;
    if (!thread?.get(seq) || channel.log.get(seq)) return;
    const message = await channel.message(seq).catch(() => null);
    if (message && thread === this.#thread) this.take([message]);
  }

  /** Takes new messages, and later states of messages. */
  take(messages) {
    if (this.#thread?.take(messages)) this.show();
  }

  /** Shows the thread. */
  show(drafts = this.#drafts()) {
    const thread = this.#thread;
    if (!thread) return;
    const { messages, outbox } = this.#channel;
    thread.take(messages.filter((message) => thread.has(message)).map((message) => withSummary(this.#channel, message)));
    const context = this.#context();
    const { userId } = context;
    const { root, replies } = thread;
    const above = timeline({ messages: root ? [root] : [], pending: [], userId });
    const below = timeline({ messages: replies, drafts: thread.drafts(drafts), pending: thread.pending(outbox), userId, threadSeq: thread.seq });
    // The day of the root is named above it.
    if (below[0]?.type === "day" && above[0]?.type === "day" && dayKey(below[0].at) === dayKey(above[0].at)) below.shift();
    const rows = [...above, { type: "replies", key: "replies", count: replies.length }, ...below];
    this.#keepEnd(() => reconcile($("thread-messages"), rows.map((item) => row(item, context))));
    $("thread-detail").textContent = repliesText(replies.length);
    this.#composer.refresh();
    this.#roving.refresh();
  }

  #keepEnd(change) {
    const scroller = $("thread-scroller");
    const isAtEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_END_PX;
    change();
    if (isAtEnd) scroller.scrollTop = scroller.scrollHeight;
  }

  /** Takes the channel out of reach while the panel covers it. */
  #cover() {
    $("channel").inert = this.isOpen && narrow.matches;
  }
}
