// The page: connects the client with the view, and keeps the address in step with both.

import { channelsOf } from "../js/src/channels.js";
import { ProblemError, SwitchboardClient } from "../js/src/index.js";
import { indexedDbStore } from "../js/src/stores.js";
import { Composer } from "./composer.js";
import { reconcile } from "./dom.js";
import { titleCount } from "./format.js";
import { issueToken, loadConfig } from "./host.js";
import { avatar, isId } from "./identity.js";
import { excerpt } from "./markdown.js";
import { DraftMotion } from "./motion.js";
import { $, address, route, showToast } from "./page.js";
import { joinOrCreate } from "./rooms.js";
import { Scroller } from "./scroller.js";
import { Sidebar } from "./sidebar.js";
import { setUpTheme } from "./theme.js";
import { timeline } from "./timeline.js";
import { Traces } from "./traces.js";
import { beginning, channelDetail, connectionText, row, writeDraft } from "./view.js";
import { JourneyPanel } from "./waterfall.js";
import { welcome } from "./welcome.js";

class App {
  #client;
  #composer = new Composer({
    state: () => ({ enabled: this.#ready && !this.#isArchived, placeholder: this.#placeholder() }),
    onSend: (content, reply) => this.#send(content, reply),
  });
  #sidebar = new Sidebar((channelId, options) => this.open(channelId, options));
  #scroller = new Scroller(() => this.#markRead());
  #journey = new JourneyPanel(new Traces());
  #motion = new DraftMotion(() => this.#growDrafts());
  /** The first read of the list of channels; `null` before it, and after a failure. */
  #listed = null;
  #channelId = null;
  /** Name of the open channel, as last known. */
  #shownName = "";
  /** The end of the open channel for this user, as text; empty while it lasts. */
  #gone = "";
  #ready = false;
  #readSeq = null;
  #newCount = 0;
  #quotes = new Map();
  #drafts = new Map();

  constructor(config, userId) {
    this.#client = new SwitchboardClient({
      userId,
      rest: config.rest,
      websocket: config.websocket,
      token: () => issueToken(userId),
      store: indexedDbStore(),
    });
    $("welcome").hidden = true;
    $("chat").hidden = false;
    $("me-name").textContent = userId;
    $("me-avatar").append(avatar(userId));
    this.#listen();
    this.#showConnection();
  }

  /** The open channel. */
  get #channel() {
    return this.#client.channel(this.#channelId);
  }

  get #channels() {
    return channelsOf(this.#client);
  }

  get #userId() {
    return this.#client.userId;
  }

  /** Opens a channel; creates it and joins it if needed. */
  async open(channelId, { name = channelId, push = true } = {}) {
    if (this.#channelId === channelId && this.#ready) return this.#composer.focus();
    if (this.#channelId) this.#drafts.set(this.#channelId, this.#composer.text);
    this.#channelId = channelId;
    this.#shownName = name;
    this.#gone = "";
    this.#ready = false;
    this.#newCount = 0;
    this.#composer.setReply(null);
    this.#quotes.clear();
    this.#composer.text = this.#drafts.get(channelId) ?? "";
    $("messages").replaceChildren();
    $("messages").setAttribute("aria-busy", "true");
    $("loading").hidden = false;
    address({ user: this.#userId, channel: channelId }, push);
    this.#showHeader();
    this.#showSidebar();
    this.#showMessages();
    this.#composer.resize();

    try {
      await this.#enter(channelId, name);
      this.#client.subscribe();
      this.#showSidebar();
      if (this.#channelId !== channelId) return;
      const { log } = await this.#client.open(channelId);
      const read = this.#channels.readSeq(channelId);
      if (this.#channelId !== channelId) return;
      // The first visit of a channel shows no unread messages.
      this.#readSeq = read > 0 && read < (log.lastSeq ?? 0) ? read : null;
    } catch (error) {
      if (this.#channelId !== channelId) return;
      showToast(error);
      $("loading").hidden = true;
      if (error.status === 0) setTimeout(() => this.#channelId === channelId && !this.#ready && this.open(channelId, { name, push: false }), 2000);
      return;
    }
    this.#ready = true;
    $("loading").hidden = true;
    this.#showHeader();
    this.#showMessages();
    this.#scroller.toUnreadOrEnd();
    this.#markRead();
    this.#composer.resize();
    this.#composer.focus();
    // Messages that are already shown are not announced to screen readers, only later ones.
    requestAnimationFrame(() => $("messages").setAttribute("aria-busy", "false"));
  }

  /** Makes the user a member of a channel, unless it is in the list of the user's channels. */
  async #enter(channelId, name) {
    this.#listed ??= this.#channels.load();
    await this.#listed.catch((error) => {
      this.#listed = null;
      throw error;
    });
    if (this.#channels.get(channelId)) return;
    try {
      await joinOrCreate(this.#channels, channelId, name);
    } catch (error) {
      // Members can read an archived channel.
      if (error.code !== "channel_archived") throw error;
      await this.#channels.loadOne(channelId);
    }
  }

  #listen() {
    const client = this.#client;
    client.on("state", () => {
      this.#showConnection();
      if (client.state.name === "live" && this.#listed) this.#channels.load().catch(() => {});
    });
    client.on("channels", () => {
      this.#showSidebar();
      this.#showHeader();
    });
    client.on("removed", (detail) => this.#onRemoved(detail));
    client.on("read", ({ channelId, seq }) => {
      if (channelId !== this.#channelId || seq < (client.channel(channelId).log.lastSeq ?? 0)) return;
      this.#newCount = 0;
      this.#showNewer();
    });
    client.on("leftOut", () => this.#showSidebar());
    client.on("messages", (detail) => this.#onMessages(detail));
    client.on("revised", (detail) => this.#reviseQuotes(detail));
    client.on("change", (detail) => {
      if (detail.channelId === this.#channelId) this.#showMessages();
    });
    client.on("problem", ({ error }) => {
      if (!error.isTransient) showToast(error);
    });
    // Counts down the seconds until the next attempt.
    setInterval(() => this.#client.state.name === "waiting" && this.#showConnection(), 500);

    addEventListener("online", () => client.setOnline(true));
    addEventListener("offline", () => client.setOnline(false));
    client.setOnline(navigator.onLine);
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) return;
      client.retryNow();
      client.check();
      this.#markRead();
    });
    addEventListener("focus", () => this.#markRead());
    addEventListener("popstate", () => {
      const { user, channel } = route();
      if (user !== this.#userId) location.reload();
      else if (isId(channel)) this.open(channel, { push: false });
    });

    $("reconnect").addEventListener("click", () => client.retryNow());
    $("newer").addEventListener("click", () => this.#scroller.toEnd(true));
    $("earlier").addEventListener("click", () => this.#loadEarlier());
    $("leave").addEventListener("click", () => {
      client.close();
      location.assign(`${location.pathname}?${new URLSearchParams({ channel: this.#channelId })}`);
    });
    document.addEventListener("keydown", (event) => {
      // In a dialog, Escape closes only the dialog.
      if (event.key !== "Escape" || $("journey").open) return;
      if (this.#sidebar.isOpen) this.#sidebar.toggle(false);
      else if (this.#composer.replyTo) this.#composer.setReply(null);
    });
  }

  // --- messages

  #onMessages({ channelId, messages }) {
    if (channelId === this.#channelId && this.#ready) {
      const others = messages.filter((message) => message.sender_id !== this.#userId);
      if (!this.#isReading()) {
        if (this.#newCount === 0 && others.length > 0) this.#readSeq ??= Math.min(...others.map(({ seq }) => seq)) - 1;
        this.#newCount += others.length;
      }
    }
    this.#markRead();
  }

  /** Ends the open channel: what is shown of it stays. */
  #onRemoved({ channelId, isDeleted }) {
    if (channelId !== this.#channelId) return;
    this.#ready = false;
    this.#gone = isDeleted ? "This channel was deleted" : "You were removed from this channel";
    $("loading").hidden = true;
    $("earlier").hidden = true;
    this.#composer.setReply(null);
    this.#showSidebar();
    this.#showHeader();
    showToast({ title: this.#shownName, detail: `${this.#gone}.` });
  }

  #showMessages() {
    if (this.#gone) return;
    const channel = this.#channel;
    const { messages, outbox: pending, hasEarlier } = channel;
    const drafts = this.#shownDrafts();
    const rows = this.#ready ? timeline({ messages, drafts, pending, userId: this.#userId, readSeq: this.#readSeq }) : [];
    const context = {
      userId: this.#userId,
      quote: (seq) => this.#quote(seq),
      onReply: (message) => {
        this.#composer.setReply(message);
        this.#composer.focus();
      },
      onReact: (seq, emoji, isWanted) => channel[isWanted ? "react" : "unreact"](seq, emoji).catch((error) => showToast(error)),
      onStop: (seq) => channel.stopReply(seq).catch((error) => showToast(error)),
      onJourney: (message) => this.#journey.open(this.#channelId, message, `${message.sender_id}: ${excerpt(message, 140)}`),
      onJump: (seq) => this.#jump(seq),
      onRetry: (key) => channel.retry(key),
      onDiscard: (entry) => {
        channel.discard(entry.key);
        if (!this.#composer.text) this.#composer.text = entry.content;
        this.#composer.resize();
        this.#composer.focus();
      },
    };
    this.#scroller.keep(() => {
      reconcile($("messages"), rows.map((item) => row(item, context)));
      $("earlier").hidden = !this.#ready || !hasEarlier;
      $("beginning").hidden = !this.#ready || hasEarlier;
      if (this.#ready) $("beginning").replaceChildren(...beginning(this.#name(), rows.length === 0));
    });
    this.#showNewer();
  }

  /** Returns the drafts of the open channel, each with the part of its text that is shown. */
  #shownDrafts() {
    return this.#motion.shown(this.#channel.drafts);
  }

  /** Shows more of the drafts that grow. */
  #growDrafts() {
    if (!this.#ready || this.#gone) return;
    this.#scroller.keep(() => {
      for (const draft of this.#shownDrafts()) {
        const element = $("messages").querySelector(`[data-key="draft-${draft.replyTo}"]`);
        if (element) writeDraft(element, draft);
      }
    });
  }

  /** Takes later states of quoted messages that are not loaded. */
  #reviseQuotes({ channelId, messages }) {
    if (channelId !== this.#channelId) return;
    const quoted = messages.filter(({ seq }) => this.#quotes.has(seq));
    for (const message of quoted) this.#keepQuote(message);
    if (quoted.length > 0) this.#showMessages();
  }

  #keepQuote(message) {
    const held = this.#quotes.get(message.seq);
    if (!held || held.version < message.version) this.#quotes.set(message.seq, message);
  }

  /** Returns the message that a reply answers; fetches it if it is not loaded. */
  #quote(seq) {
    const known = this.#channel.log.get(seq) ?? this.#quotes.get(seq);
    if (known === undefined && !this.#quotes.has(seq)) {
      const channelId = this.#channelId;
      this.#quotes.set(seq, null);
      this.#channel
        .message(seq)
        .then((message) => {
          if (!message || channelId !== this.#channelId) return;
          this.#keepQuote(message);
          this.#showMessages();
        })
        .catch(() => {});
    }
    return known ?? null;
  }

  async #jump(seq) {
    let element = document.querySelector(`[data-seq="${seq}"]`);
    const { log } = this.#channel;
    while (!element && log.hasEarlier && (log.firstSeq ?? 0) > seq) {
      if (!(await this.#loadEarlier())) return;
      element = document.querySelector(`[data-seq="${seq}"]`);
    }
    if (element) this.#scroller.reveal(element);
  }

  async #loadEarlier() {
    const button = $("earlier");
    button.disabled = true;
    $("messages").setAttribute("aria-busy", "true");
    this.#scroller.atEnd = false;
    try {
      await this.#channel.loadEarlier();
      return true;
    } catch (error) {
      showToast(error);
      return false;
    } finally {
      button.disabled = false;
      requestAnimationFrame(() => $("messages").setAttribute("aria-busy", "false"));
    }
  }

  #isReading() {
    return !document.hidden && document.hasFocus() && this.#scroller.atEnd;
  }

  /** Advances the read mark of the channel while the user reads its end. */
  #markRead() {
    this.#scroller.measure();
    if (this.#ready && this.#isReading()) {
      this.#channels.markRead(this.#channelId);
      this.#newCount = 0;
      this.#showSidebar();
    }
    this.#showNewer();
  }

  #showNewer() {
    const button = $("newer");
    button.hidden = !this.#ready || this.#scroller.atEnd;
    button.dataset.new = String(this.#newCount > 0);
    $("newer-text").textContent = this.#newCount > 0 ? `${this.#newCount} new ${this.#newCount === 1 ? "message" : "messages"}` : "To the newest";
    const { entries } = this.#channels;
    const unseen = entries.reduce((sum, channel) => sum + this.#unread(channel), this.#newCount);
    document.title = `${titleCount(unseen)}${this.#name()} · Switchboard`;
  }

  #send(content, reply) {
    this.#readSeq = null;
    this.#scroller.atEnd = true;
    this.#channel.send(content, reply);
  }

  // --- around the messages

  get #isArchived() {
    return Boolean(this.#channels.get(this.#channelId)?.archived_at);
  }

  #name() {
    this.#shownName = this.#channels.get(this.#channelId)?.name || this.#shownName;
    return this.#shownName || this.#channelId || "";
  }

  #placeholder() {
    if (this.#gone) return this.#gone;
    return this.#isArchived ? `${this.#name()} is archived` : `Message ${this.#name()}`;
  }

  /** Returns the number of unread messages in another channel. Those of the open one are counted while it is open. */
  #unread(channel) {
    return channel.channel_id === this.#channelId ? 0 : this.#channels.unread(channel.channel_id);
  }

  #showSidebar() {
    const channels = this.#channels;
    const { userId, leftOut } = this.#client;
    const active = this.#channelId && !this.#gone ? { channel_id: this.#channelId, name: this.#name(), ...channels.get(this.#channelId) } : null;
    this.#sidebar.show({ channels: channels.entries, active, unread: (channel) => this.#unread(channel), leftOut, userId });
  }

  #showHeader() {
    const channel = this.#channels.get(this.#channelId);
    $("channel-name").textContent = this.#name();
    $("channel-detail").textContent = this.#gone || (channel ? channelDetail(channel) : "");
    this.#composer.refresh();
    this.#showNewer();
  }

  #showConnection() {
    const { state } = this.#client;
    $("connection").dataset.state = state.name;
    const words = connectionText(state, Date.now());
    if ($("connection-text").textContent !== words) $("connection-text").textContent = words;
    $("reconnect").hidden = state.name !== "waiting" && state.reason === undefined;
  }
}

async function start() {
  setUpTheme($("theme"));
  const config = await loadConfig();
  const asked = route();
  if (isId(asked.user) && isId(asked.channel)) new App(config, asked.user).open(asked.channel, { push: false });
  else {
    const complaint = asked.user ? "That name or channel has characters that ids do not have." : "";
    welcome(asked, complaint, (name, channelId, channelName) => new App(config, name).open(channelId, { name: channelName }));
  }
}

start().catch((error) => showToast(error instanceof ProblemError ? error : { title: "The page could not start", detail: error.message }));
