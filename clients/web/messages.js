// The messages of the open channel: their rows, their history, and what the user does with them.

import { ask } from "./dialogs.js";
import { reconcile } from "./dom.js";
import { Editor } from "./edit.js";
import { typingText } from "./format.js";
import { excerpt } from "./markdown.js";
import { actionOf, actionsFor, lastOwn } from "./message-actions.js";
import { openMenu } from "./message-menu.js";
import { DraftMotion } from "./motion.js";
import { $, narrow, showToast } from "./page.js";
import { openPicker } from "./picker.js";
import { Quotes } from "./quotes.js";
import { Roving } from "./roving.js";
import { reveal } from "./scroller.js";
import { ThreadPanel } from "./thread-panel.js";
import { withSummary } from "./thread.js";
import { timeline } from "./timeline.js";
import { Traces } from "./traces.js";
import { beginning, row, writeDraft } from "./view.js";
import { JourneyPanel } from "./waterfall.js";

/** The lists of messages: the element of each, and the attribute that has the number of a message in it. */
const PLACES = {
  channel: { list: "messages", attribute: "data-seq" },
  thread: { list: "thread-messages", attribute: "data-reply" },
};

export class Messages {
  #state;
  #scroller;
  #composer;
  #journey = new JourneyPanel(new Traces());
  #motion = new DraftMotion(() => this.#growDrafts());
  #quotes = new Quotes(() => this.show());
  #editor = new Editor({ onSaved: (message) => this.#threads.take([message]), onChange: () => this.show() });
  #threads;
  #roving;

  /**
   * `state` returns the open `channel` (`null` for none), whether it `isReady` and `isArchived`, its `name`, the `userId`
   * and the `role` of the user, and the `readSeq` for the mark of unread messages. `texts` keeps texts that are not sent.
   */
  constructor({ state, scroller, composer, texts }) {
    this.#state = state;
    this.#scroller = scroller;
    this.#composer = composer;
    this.#roving = {
      channel: new Roving($("messages"), (event, element) => this.#key(event, element, "channel")),
      thread: new Roving($("thread-messages"), (event, element) => this.#key(event, element, "thread")),
    };
    this.#threads = new ThreadPanel({
      context: () => this.#context("thread"),
      drafts: () => this.#shownDrafts(),
      roving: this.#roving.thread,
      texts,
      isEnabled: () => this.#state().isReady && !this.#state().isArchived,
      onClose: (seq, returnsFocus) => {
        this.#editor.closeIn("thread");
        if (returnsFocus) this.#focus(seq, "channel");
      },
    });
    $("earlier").addEventListener("click", () => this.#loadEarlier());
  }

  /** Shows another channel, which is empty until it is ready. */
  open(channel) {
    this.#editor.close(false);
    this.#threads.close(false);
    this.#quotes.open(channel);
    $("messages").replaceChildren();
    $("messages").setAttribute("aria-busy", "true");
    this.showTyping();
  }

  /** Ends what the user does with the open channel. What is shown of it stays. */
  end() {
    this.#editor.close(false);
    this.#threads.close(false);
    $("earlier").hidden = true;
    $("typing").textContent = "";
  }

  show() {
    const { channel, isReady, name, userId, readSeq } = this.#state();
    if (!channel) return;
    const { outbox: pending, hasEarlier } = channel;
    const messages = channel.messages.map((message) => withSummary(channel, message));
    const drafts = this.#shownDrafts();
    const rows = isReady ? timeline({ messages, drafts, pending, userId, readSeq }) : [];
    const context = this.#context("channel");
    this.#scroller.keep(() => {
      reconcile($("messages"), rows.map((item) => row(item, context)));
      $("earlier").hidden = !isReady || !hasEarlier;
      $("beginning").hidden = !isReady || hasEarlier;
      if (isReady) $("beginning").replaceChildren(...beginning(name, rows.length === 0));
    });
    this.#threads.show(drafts);
    this.#roving.channel.refresh();
  }

  /** Shows the users that type. */
  showTyping() {
    const { channel, isReady, userId } = this.#state();
    $("typing").textContent = isReady ? typingText(channel.typing.filter((user) => user !== userId)) : "";
  }

  /** Takes new messages. */
  take(messages) {
    this.#threads.take(messages);
  }

  /** Takes later states of messages, also of those that are not loaded. */
  revise(messages) {
    this.#threads.take(messages);
    if (this.#quotes.take(messages)) this.show();
  }

  /** Reads again what was missed without a connection. */
  recover() {
    this.#threads.load();
  }

  /** Edits the user's last message. Returns `false` if there is none. */
  editLast() {
    const { channel, isReady, isArchived, userId } = this.#state();
    const message = isReady && !isArchived && lastOwn(channel.messages, userId);
    if (message) this.#editor.open(channel, message, "channel", () => this.#composer.focus());
    return Boolean(message);
  }

  /** Does what Escape means at an element. Returns `false` if it means nothing. */
  escape(element) {
    if (!this.#threads.isOpen) return false;
    if (!narrow.matches && this.#composer.replyTo && !$("thread").contains(element)) return false;
    this.#threads.escape();
    return true;
  }

  #context(place) {
    const { channel, userId } = this.#state();
    const run = (done) => done.catch((error) => showToast(error));
    return {
      place,
      attribute: PLACES[place].attribute,
      userId,
      quote: (seq) => (place === "thread" ? this.#threads.find(seq) : undefined) ?? this.#quotes.get(seq),
      edit: (element, message) => this.#editor.attach(element, message, place),
      onReply: (message) => this.#act("reply", message, place),
      onReact: (message, emoji) => this.#react(message, emoji),
      onPick: (message) => this.#pick(message, place, ".react"),
      onMenu: (message) => this.#menu(message, place),
      onThread: (message) => this.#act("thread", message, place),
      onJourney: (message) => this.#act("journey", message, place),
      onStop: (seq) => run(channel.stopReply(seq)),
      onJump: (seq) => this.#jump(seq, place),
      onRetry: (key) => run(channel.retry(key)),
      onDiscard: (entry) => {
        channel.discard(entry.key);
        if (place === "thread") return this.#threads.write(entry.content);
        if (!this.#composer.text) this.#composer.write(entry.content);
        this.#composer.focus();
      },
    };
  }

  // --- actions

  #act(action, message, place) {
    const { channel } = this.#state();
    if (!channel) return undefined;
    switch (action) {
      case "react":
        return this.#pick(message, place, ".more");
      case "reply":
        if (place === "thread") return this.#threads.reply(message);
        this.#composer.setReply(message);
        return this.#composer.focus();
      case "thread":
        return this.#threads.open(channel, message);
      case "copy":
        return navigator.clipboard?.writeText(message.content).catch((error) => showToast({ title: "The text was not copied", detail: error.message }));
      case "edit":
        return this.#editor.open(channel, message, place, () => this.#focus(message.seq, place));
      case "delete":
        return this.#delete(message, place);
      case "journey":
        return this.#journey.open(channel.id, message, `${message.sender_id}: ${excerpt(message, 140)}`);
      default:
        return undefined;
    }
  }

  #key(event, element, place) {
    const { key } = event;
    if (key === "Escape") {
      event.stopPropagation();
      if (place === "channel") this.#composer.focus();
      else this.#threads.escape();
      return;
    }
    const message = this.#message(Number(element.getAttribute(PLACES[place].attribute)));
    if (!message) return;
    const action = actionOf(event);
    if (key === "Enter") this.#menu(message, place);
    else if (actionsFor(message, this.#state()).includes(action)) this.#act(action, message, place);
    else return;
    event.preventDefault();
  }

  #menu(message, place) {
    const { seq } = message;
    openMenu({
      anchor: () => this.#element(seq, place)?.querySelector(".more"),
      label: `Actions for message ${seq}`,
      names: actionsFor(message, this.#state()),
      onChoose: (name) => this.#act(name, this.#message(seq) ?? message, place),
    });
  }

  /** Opens the choice of a reaction at a button of the message. The button may be hidden on a narrow screen. */
  #pick(message, place, button) {
    const { seq } = message;
    openPicker({
      anchor: () => this.#element(seq, place)?.querySelector(button),
      label: `Choose a reaction to message ${seq}`,
      own: ((this.#message(seq) ?? message).reactions ?? []).filter(({ reacted }) => reacted).map(({ emoji }) => emoji),
      onChoose: (emoji) => this.#react(message, emoji),
    });
  }

  /** Adds the user's reaction, or takes it back. */
  async #react({ seq }, emoji) {
    const { channel } = this.#state();
    if (!channel) return;
    const isMine = this.#message(seq)?.reactions?.some((one) => one.emoji === emoji && one.reacted);
    try {
      await channel[isMine ? "unreact" : "react"](seq, emoji);
      this.#threads.refresh(seq);
    } catch (error) {
      showToast(error);
    }
  }

  async #delete(message, place) {
    const { channel, userId } = this.#state();
    const isMine = message.sender_id === userId;
    const isSure = await ask({
      title: isMine ? "Delete your message?" : `Delete the message of ${message.sender_id}?`,
      detail: "Its text is removed for everybody, and cannot be brought back.",
      quote: excerpt(message, 200),
      action: "Delete",
    });
    if (!isSure) return;
    try {
      await channel.delete(message.seq);
      this.#threads.refresh(message.seq);
    } catch (error) {
      showToast(error);
    }
    if (document.activeElement === document.body) this.#focus(message.seq, place);
  }

  // --- places

  #message(seq) {
    const { channel } = this.#state();
    const held = channel?.log.get(seq);
    return held ? withSummary(channel, held) : this.#threads.find(seq);
  }

  #element(seq, place) {
    const { list, attribute } = PLACES[place];
    return $(list).querySelector(`[${attribute}="${seq}"]`);
  }

  #focus(seq, place) {
    const element = this.#element(seq, place);
    if (element) this.#roving[place].focus(element);
    else this.#composer.focus();
  }

  async #jump(seq, place) {
    const inThread = place === "thread" && this.#element(seq, "thread");
    const { channel } = this.#state();
    if (inThread || !channel) return inThread && reveal(inThread);
    if (place === "thread" && narrow.matches) this.#threads.close(false);
    const { log } = channel;
    let element = this.#element(seq, "channel");
    while (!element && log.hasEarlier && (log.firstSeq ?? 0) > seq) {
      if (!(await this.#loadEarlier()) || this.#state().channel !== channel) return;
      element = this.#element(seq, "channel");
    }
    if (!element) return;
    this.#scroller.atEnd = false;
    reveal(element);
  }

  async #loadEarlier() {
    const button = $("earlier");
    button.disabled = true;
    $("messages").setAttribute("aria-busy", "true");
    this.#scroller.atEnd = false;
    try {
      await this.#state().channel.loadEarlier();
      return true;
    } catch (error) {
      showToast(error);
      return false;
    } finally {
      button.disabled = false;
      requestAnimationFrame(() => $("messages").setAttribute("aria-busy", "false"));
    }
  }

  // --- drafts

  /** Returns the drafts of the open channel, each with the part of its text that is shown. */
  #shownDrafts() {
    return this.#motion.shown(this.#state().channel.drafts);
  }

  /** Shows more of the drafts that grow. */
  #growDrafts() {
    if (!this.#state().isReady) return;
    this.#scroller.keep(() => {
      for (const draft of this.#shownDrafts()) {
        for (const { list } of Object.values(PLACES)) {
          const element = $(list).querySelector(`[data-key="draft-${draft.replyTo}"]`);
          if (element) writeDraft(element, draft);
        }
      }
    });
  }
}
