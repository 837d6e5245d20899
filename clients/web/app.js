// The page: connects the client with the view, and keeps the address in step with both.

import { ProblemError, SwitchboardClient } from "../js/src/index.js";
import { indexedDbStore } from "../js/src/stores.js";
import { Composer } from "./composer.js";
import { Directory } from "./directory.js";
import { titleCount } from "./format.js";
import { issueToken, loadConfig } from "./host.js";
import { avatar, isId } from "./identity.js";
import { Messages } from "./messages.js";
import { $, address, route, showToast } from "./page.js";
import { People } from "./people.js";
import { idOfName, joinOrCreate } from "./rooms.js";
import { Scroller } from "./scroller.js";
import { listenKeys } from "./shortcuts.js";
import { Sidebar } from "./sidebar.js";
import { Texts, tabStorage } from "./texts.js";
import { setUpTheme } from "./theme.js";
import { channelDetail, connectionText } from "./view.js";
import { welcome } from "./welcome.js";

class App {
  #client;
  #directory;
  #people;
  #composer = new Composer({
    state: () => ({ enabled: this.#ready && !this.#isArchived, placeholder: this.#placeholder() }),
    onSend: (content, reply) => this.#send(content, reply),
    onText: (text) => {
      this.#texts.set(text, this.#channelId);
      if (text) this.#channel.sendTyping().catch(() => {});
    },
    onArrowUp: () => this.#messages.editLast(),
  });
  #sidebar = new Sidebar((channelId) => this.open(channelId));
  #scroller = new Scroller(() => this.#markRead());
  /** Texts that are not sent. */
  #texts;
  #messages;
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

  constructor(client) {
    const { userId } = client;
    this.#client = client;
    this.#directory = new Directory(client);
    this.#texts = new Texts(tabStorage(), userId);
    this.#messages = new Messages({ state: () => this.#shownState(), scroller: this.#scroller, composer: this.#composer, texts: this.#texts });
    $("welcome").hidden = true;
    $("chat").hidden = false;
    $("me-name").textContent = userId;
    $("me-avatar").append(avatar(userId));
    this.#people = new People({
      client,
      directory: this.#directory,
      sidebar: this.#sidebar,
      open: (channelId, options) => this.open(channelId, options),
    });
    this.#listen();
    this.#showConnection();
  }

  /** The open channel. */
  get #channel() {
    return this.#client.channel(this.#channelId);
  }

  get #userId() {
    return this.#client.userId;
  }

  /** Opens a channel; creates it and joins it if needed. */
  async open(channelId, { name = channelId, push = true } = {}) {
    if (this.#channelId === channelId && this.#ready) return this.#composer.focus();
    this.#channelId = channelId;
    this.#shownName = name;
    this.#gone = "";
    this.#ready = false;
    this.#newCount = 0;
    this.#composer.setReply(null);
    this.#composer.text = this.#texts.get(channelId);
    this.#messages.open(this.#channel);
    $("loading").hidden = false;
    address({ user: this.#userId, channel: channelId }, push);
    this.#people.show(null);
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
      const read = this.#directory.readSeq(channelId);
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
    this.#people.show(channelId);
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
    this.#listed ??= this.#directory.load();
    await this.#listed.catch((error) => {
      this.#listed = null;
      throw error;
    });
    if (this.#directory.get(channelId)) return;
    try {
      await joinOrCreate(this.#directory, channelId, name);
    } catch (error) {
      // Members can read an archived channel.
      if (error.code !== "channel_archived") throw error;
      await this.#directory.loadOne(channelId);
    }
  }

  #listen() {
    const client = this.#client;
    client.on("state", () => {
      this.#showConnection();
      if (client.state.name !== "live" || !this.#listed) return;
      this.#directory.load().catch(() => {});
      this.#messages.recover();
    });
    client.on("channels", () => {
      this.#showSidebar();
      this.#showHeader();
      this.#people.refresh();
    });
    client.on("removed", (detail) => this.#onRemoved(detail));
    client.on("read", ({ channelId, seq }) => {
      if (channelId !== this.#channelId || seq < (client.channel(channelId).log.lastSeq ?? 0)) return;
      this.#newCount = 0;
      this.#showNewer();
    });
    client.on("leftOut", () => this.#showSidebar());
    client.on("messages", (detail) => this.#onMessages(detail));
    client.on("revised", ({ channelId, messages }) => {
      if (channelId === this.#channelId) this.#messages.revise(messages);
    });
    client.on("change", (detail) => {
      if (detail.channelId === this.#channelId) this.#showMessages();
    });
    client.on("typing", (detail) => {
      if (detail.channelId === this.#channelId) this.#messages.showTyping();
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
    $("leave").addEventListener("click", () => {
      client.close();
      location.assign(`${location.pathname}?${new URLSearchParams({ channel: this.#channelId })}`);
    });
    listenKeys((element) => {
      if (this.#sidebar.isOpen) this.#sidebar.toggle(false);
      else if (!this.#messages.escape(element) && this.#composer.replyTo) this.#composer.setReply(null);
    });
  }

  // --- messages

  #onMessages({ channelId, messages }) {
    if (channelId === this.#channelId && this.#ready) {
      this.#messages.take(messages);
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
    const farewell = this.#people.farewell(channelId);
    this.#gone = farewell ?? (isDeleted ? "This channel was deleted" : "You were removed from this channel");
    $("loading").hidden = true;
    this.#messages.end();
    this.#composer.setReply(null);
    this.#people.show(null);
    this.#showSidebar();
    this.#showHeader();
    const [next] = this.#directory.entries;
    if (!farewell) showToast({ title: this.#shownName, detail: `${this.#gone}.` });
    else if (next) this.open(next.channel_id, { name: next.name });
  }

  #showMessages() {
    if (this.#gone) return;
    this.#messages.show();
    this.#showNewer();
  }

  /** Returns what the messages on the screen depend on. */
  #shownState() {
    const channel = this.#channelId && !this.#gone ? this.#channel : null;
    const role = this.#directory.get(this.#channelId)?.membership?.role;
    return { channel, role, isReady: this.#ready, isArchived: this.#isArchived, name: this.#name(), userId: this.#userId, readSeq: this.#readSeq };
  }

  #isReading() {
    return !document.hidden && document.hasFocus() && this.#scroller.atEnd;
  }

  /** Advances the read mark of the channel while the user reads its end. */
  #markRead() {
    this.#scroller.measure();
    if (this.#ready && this.#isReading()) {
      this.#directory.markRead(this.#channelId);
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
    const { entries } = this.#directory;
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
    return Boolean(this.#directory.get(this.#channelId)?.archived_at);
  }

  #name() {
    this.#shownName = this.#directory.get(this.#channelId)?.name || this.#shownName;
    return this.#shownName || this.#channelId || "";
  }

  #placeholder() {
    if (this.#gone) return this.#gone;
    return this.#isArchived ? `${this.#name()} is archived` : `Message ${this.#name()}`;
  }

  /** Returns the number of unread messages in another channel. Those of the open one are counted while it is open. */
  #unread(channel) {
    return channel.channel_id === this.#channelId ? 0 : this.#directory.unread(channel.channel_id);
  }

  #showSidebar() {
    const { userId, leftOut } = this.#client;
    const active = this.#channelId && !this.#gone ? { channel_id: this.#channelId, name: this.#name(), ...this.#directory.get(this.#channelId) } : null;
    this.#sidebar.show({ channels: this.#directory.entries, active, unread: (channel) => this.#unread(channel), leftOut, userId });
  }

  #showHeader() {
    const channel = this.#directory.get(this.#channelId);
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

/** Returns the client of a user. It connects when a channel is opened. */
function clientOf({ rest, websocket }, userId) {
  return new SwitchboardClient({ userId, rest, websocket, token: () => issueToken(userId), store: indexedDbStore() });
}

async function start() {
  setUpTheme($("theme"));
  const config = await loadConfig();
  const asked = route();
  if (isId(asked.user) && isId(asked.channel)) new App(clientOf(config, asked.user)).open(asked.channel, { push: false });
  else {
    const complaint = asked.user ? "That name or channel has characters that ids do not have." : "";
    welcome(asked, complaint, async (user, channelId, name) => {
      const client = clientOf(config, user);
      const id = channelId || (await idOfName(new Directory(client), name));
      new App(client).open(id, { name });
    });
  }
}

start().catch((error) => showToast(error instanceof ProblemError ? error : { title: "The page could not start", detail: error.message }));
