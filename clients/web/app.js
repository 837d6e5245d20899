// The page: connects the client with the view, and keeps the address in step with both.

import { ProblemError, SwitchboardClient } from "../js/src/client.js";
import { reconcile } from "./dom.js";
import { avatar, isId, slug } from "./identity.js";
import { excerpt } from "./markdown.js";
import { setUpTheme, storage } from "./theme.js";
import { timeline } from "./timeline.js";
import { Traces } from "./traces.js";
import { beginning, channelRow, connectionText, row, toast } from "./view.js";
import { JourneyPanel } from "./waterfall.js";

const DEFAULT_CHANNEL = "lobby";
/** Maximum content of a message in the API, in bytes of UTF-8. */
const MAX_CONTENT_BYTES = 32_768;
/** Maximum number of channels of one connection, including the open one: the handshake's URL must stay short. */
const MAX_SUBSCRIPTIONS = 50;
/** Maximum distance from the end at which the newest message counts as read. */
const NEAR_END_PX = 80;
const TOAST_MS = 8_000;
const LAST_USER = "switchboard.user";

const $ = (id) => document.getElementById(id);
const encoder = new TextEncoder();

class App {
  #client;
  #journey = new JourneyPanel(new Traces());
  #channels = new Map();
  #channelId = null;
  #ready = false;
  #readSeq = null;
  #replyTo = null;
  #newCount = 0;
  #quotes = new Map();
  #drafts = new Map();

  constructor(config, userId) {
    this.#client = new SwitchboardClient({ userId, rest: config.rest, websocket: config.websocket, issueToken: () => issueToken(userId) });
    $("welcome").hidden = true;
    $("chat").hidden = false;
    $("me-name").textContent = userId;
    $("me-avatar").append(avatar(userId));
    this.#listen();
    this.#showConnection();
  }

  get #userId() {
    return this.#client.userId;
  }

  /** Opens a channel; creates it and joins it if needed. */
  async open(channelId, { name = channelId, push = true } = {}) {
    if (this.#channelId === channelId && this.#ready) return this.#focusComposer();
    if (this.#channelId) this.#drafts.set(this.#channelId, $("composer-input").value);
    this.#channelId = channelId;
    this.#ready = false;
    this.#newCount = 0;
    this.#setReply(null);
    this.#quotes.clear();
    $("composer-input").value = this.#drafts.get(channelId) ?? "";
    $("messages").replaceChildren();
    $("messages").setAttribute("aria-busy", "true");
    $("loading").hidden = false;
    address({ user: this.#userId, channel: channelId }, push);
    this.#showHeader();
    this.#showSidebar();
    this.#showMessages();
    this.#resizeComposer();

    try {
      await this.#client.joinOrCreate(channelId, name);
      await this.#refreshChannels();
      this.#client.subscribe([...new Set([channelId, ...this.#channels.keys()])].slice(0, MAX_SUBSCRIPTIONS));
      if (this.#channelId !== channelId) return;
      const log = await this.#client.open(channelId);
      if (this.#channelId !== channelId) return;
      const read = this.#readUpTo(channelId);
      this.#readSeq = read !== null && read < (log.lastSeq ?? 0) ? read : null;
    } catch (error) {
      if (this.#channelId !== channelId) return;
      this.#toast(error);
      $("loading").hidden = true;
      if (error.status === 0) setTimeout(() => this.#channelId === channelId && !this.#ready && this.open(channelId, { name, push: false }), 2000);
      return;
    }
    this.#ready = true;
    $("loading").hidden = true;
    this.#showHeader();
    this.#showMessages();
    this.#toUnreadOrEnd();
    this.#markRead();
    this.#resizeComposer();
    this.#focusComposer();
    // Messages that are already shown are not announced to screen readers, only later ones.
    requestAnimationFrame(() => $("messages").setAttribute("aria-busy", "false"));
  }

  #listen() {
    const client = this.#client;
    client.addEventListener("state", () => {
      this.#showConnection();
      if (client.state.name === "live") this.#refreshChannels().catch(() => {});
    });
    client.addEventListener("messages", ({ detail }) => this.#onMessages(detail));
    client.addEventListener("change", ({ detail }) => {
      if (detail.channelId === this.#channelId) this.#showMessages();
    });
    client.addEventListener("problem", ({ detail: { error } }) => {
      if (!error.isTransient) this.#toast(error);
    });
    // Counts down the seconds until the next attempt.
    setInterval(() => this.#client.state.name === "reconnecting" && this.#showConnection(), 500);

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
    $("scroller").addEventListener("scroll", () => this.#markRead(), { passive: true });
    $("newer").addEventListener("click", () => this.#scrollToEnd(true));
    $("earlier").addEventListener("click", () => this.#loadEarlier());
    $("leave").addEventListener("click", () => {
      client.close();
      location.assign(`${location.pathname}?${new URLSearchParams({ channel: this.#channelId })}`);
    });
    $("new-channel").addEventListener("submit", (event) => {
      event.preventDefault();
      const name = $("new-channel-name").value.trim();
      const id = slug(name);
      if (!id) return $("new-channel-name").focus();
      $("new-channel-name").value = "";
      this.#toggleSidebar(false);
      this.open(id, { name });
    });
    $("sidebar-open").addEventListener("click", () => this.#toggleSidebar(true));
    $("sidebar-close").addEventListener("click", () => this.#toggleSidebar(false));
    $("scrim").addEventListener("click", () => this.#toggleSidebar(false));
    narrow.addEventListener("change", () => this.#toggleSidebar(false));
    this.#toggleSidebar(false);
    document.addEventListener("keydown", (event) => {
      // In a dialog, Escape closes only the dialog.
      if (event.key !== "Escape" || $("journey").open) return;
      if ($("chat").dataset.sidebar === "open") this.#toggleSidebar(false);
      else if (this.#replyTo) this.#setReply(null);
    });

    const input = $("composer-input");
    input.addEventListener("input", () => this.#resizeComposer());
    input.addEventListener("keydown", (event) => {
      // During the composition of a character, the input method handles Enter.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#submit();
    });
    $("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    $("composer-reply-cancel").addEventListener("click", () => {
      this.#setReply(null);
      this.#focusComposer();
    });
    new ResizeObserver(() => this.#atEnd && this.#scrollToEnd()).observe($("scroller"));
  }

  // --- messages

  #atEnd = true;

  #onMessages({ channelId, messages }) {
    const newest = messages.reduce((most, { seq }) => Math.max(most, seq), 0);
    const channel = this.#channels.get(channelId);
    if (channel) channel.last_seq = Math.max(channel.last_seq ?? 0, newest);
    if (channelId === this.#channelId && this.#ready) {
      const others = messages.filter((message) => message.sender_id !== this.#userId);
      if (!this.#isReading()) {
        if (this.#newCount === 0 && others.length > 0) this.#readSeq ??= Math.min(...others.map(({ seq }) => seq)) - 1;
        this.#newCount += others.length;
      }
    }
    this.#showSidebar();
    this.#markRead();
  }

  #showMessages() {
    const { messages } = this.#client.log(this.#channelId);
    const log = this.#client.log(this.#channelId);
    const pending = this.#client.outbox(this.#channelId).entries;
    const drafts = this.#client.drafts(this.#channelId).entries;
    const rows = this.#ready ? timeline({ messages, drafts, pending, userId: this.#userId, readSeq: this.#readSeq }) : [];
    const scroller = $("scroller");
    const stay = this.#atEnd;
    // Keeps the read position while rows are inserted above it.
    const anchor = stay ? null : this.#anchor();
    const context = {
      userId: this.#userId,
      quote: (seq) => this.#quote(seq),
      onReply: (message) => {
        this.#setReply(message);
        this.#focusComposer();
      },
      onStop: (seq) => this.#client.stopReply(this.#channelId, seq).catch((error) => this.#toast(error)),
      onJourney: (message) => this.#journey.open(this.#channelId, message, `${message.sender_id}: ${excerpt(message, 140)}`),
      onJump: (seq) => this.#jump(seq),
      onRetry: (key) => this.#client.retry(this.#channelId, key),
      onDiscard: (entry) => {
        this.#client.discard(this.#channelId, entry.key);
        const input = $("composer-input");
        if (!input.value) input.value = entry.content;
        this.#resizeComposer();
        this.#focusComposer();
      },
    };
    reconcile($("messages"), rows.map((item) => row(item, context)));
    $("earlier").hidden = !this.#ready || !log.hasEarlier;
    $("beginning").hidden = !this.#ready || log.hasEarlier;
    if (this.#ready) $("beginning").replaceChildren(...beginning(this.#name(), rows.length === 0));
    if (stay) this.#scrollToEnd();
    else if (anchor?.element.isConnected) scroller.scrollTop += anchor.element.offsetTop - anchor.top;
    this.#showNewer();
  }

  #anchor() {
    const top = $("scroller").scrollTop;
    const element = [...$("messages").children].find((child) => child.offsetTop + child.offsetHeight > top);
    return element ? { element, top: element.offsetTop } : null;
  }

  /** Returns the message that a reply answers; fetches it if it is not loaded. */
  #quote(seq) {
    const known = this.#client.log(this.#channelId).get(seq) ?? this.#quotes.get(seq);
    if (known === undefined && !this.#quotes.has(seq)) {
      const channelId = this.#channelId;
      this.#quotes.set(seq, null);
      this.#client
        .message(channelId, seq)
        .then((message) => {
          if (!message || channelId !== this.#channelId) return;
          this.#quotes.set(seq, message);
          this.#showMessages();
        })
        .catch(() => {});
    }
    return known ?? null;
  }

  async #jump(seq) {
    let element = document.querySelector(`[data-seq="${seq}"]`);
    const log = this.#client.log(this.#channelId);
    while (!element && log.hasEarlier && (log.firstSeq ?? 0) > seq) {
      if (!(await this.#loadEarlier())) return;
      element = document.querySelector(`[data-seq="${seq}"]`);
    }
    if (!element) return;
    this.#atEnd = false;
    element.scrollIntoView({ block: "center", behavior: calm.matches ? "auto" : "smooth" });
    element.classList.remove("found");
    requestAnimationFrame(() => element.classList.add("found"));
    element.addEventListener("animationend", () => element.classList.remove("found"), { once: true });
  }

  async #loadEarlier() {
    const button = $("earlier");
    button.disabled = true;
    $("messages").setAttribute("aria-busy", "true");
    this.#atEnd = false;
    try {
      await this.#client.loadEarlier(this.#channelId);
      return true;
    } catch (error) {
      this.#toast(error);
      return false;
    } finally {
      button.disabled = false;
      requestAnimationFrame(() => $("messages").setAttribute("aria-busy", "false"));
    }
  }

  #isReading() {
    return !document.hidden && document.hasFocus() && this.#atEnd;
  }

  /** Advances the read mark of the channel while the user reads its end. */
  #markRead() {
    const { scrollHeight, scrollTop, clientHeight } = $("scroller");
    this.#atEnd = scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
    if (this.#ready && this.#isReading()) {
      const { lastSeq } = this.#client.log(this.#channelId);
      const read = this.#readUpTo(this.#channelId);
      if (read === null || read < (lastSeq ?? 0)) storage.set(this.#readKey(this.#channelId), String(lastSeq ?? 0));
      this.#newCount = 0;
      this.#showSidebar();
    }
    this.#showNewer();
  }

  #readKey(channelId) {
    return `switchboard.read/${this.#userId}/${channelId}`;
  }

  #readUpTo(channelId) {
    const stored = Number.parseInt(storage.get(this.#readKey(channelId)) ?? "", 10);
    return Number.isNaN(stored) ? null : stored;
  }

  #showNewer() {
    const button = $("newer");
    button.hidden = !this.#ready || this.#atEnd;
    button.dataset.new = String(this.#newCount > 0);
    $("newer-text").textContent = this.#newCount > 0 ? `${this.#newCount} new ${this.#newCount === 1 ? "message" : "messages"}` : "To the newest";
    const elsewhere = [...this.#channels.values()].reduce((sum, channel) => sum + this.#unread(channel), 0);
    const unseen = elsewhere + this.#newCount;
    document.title = `${unseen > 0 ? `(${unseen}) ` : ""}${this.#name()} · Switchboard`;
  }

  #scrollToEnd(smooth = false) {
    const scroller = $("scroller");
    scroller.scrollTo({ top: scroller.scrollHeight, behavior: smooth && !calm.matches ? "smooth" : "instant" });
  }

  #toUnreadOrEnd() {
    const mark = document.querySelector(".divider.unread");
    if (mark) mark.scrollIntoView({ block: "center" });
    else this.#scrollToEnd();
  }

  // --- writing

  #submit() {
    const input = $("composer-input");
    const content = input.value.trim();
    if (!this.#ready || !content || encoder.encode(content).length > MAX_CONTENT_BYTES) return;
    const replyTo = this.#replyTo?.seq;
    input.value = "";
    this.#readSeq = null;
    this.#setReply(null);
    this.#resizeComposer();
    this.#atEnd = true;
    this.#client.send(this.#channelId, content, { replyTo });
  }

  #setReply(message) {
    this.#replyTo = message;
    $("composer-reply").hidden = !message;
    $("composer-reply-text").textContent = message ? `Reply to ${message.sender_id}: ${excerpt(message, 80)}` : "";
  }

  #resizeComposer() {
    const input = $("composer-input");
    input.disabled = !this.#channelId || !this.#ready;
    input.placeholder = `Message ${this.#name()}`;
    input.style.height = "auto";
    input.style.height = `${Math.min(input.scrollHeight, 180)}px`;
    const bytes = encoder.encode(input.value.trim()).length;
    const over = bytes > MAX_CONTENT_BYTES;
    $("composer-size").textContent = over
      ? `Too long: ${bytes.toLocaleString()} of ${MAX_CONTENT_BYTES.toLocaleString()} bytes`
      : "";
    $("composer-send").disabled = input.disabled || bytes === 0 || over;
  }

  #focusComposer() {
    // On a phone the keyboard would cover the messages.
    if (!touch.matches) $("composer-input").focus();
  }

  // --- around the messages

  async #refreshChannels() {
    const channels = await this.#client.channels();
    this.#channels = new Map(channels.map((channel) => [channel.channel_id, channel]));
    for (const { channel_id: id, last_seq: last } of channels) {
      // The first visit of a channel in this browser shows no unread messages.
      if (this.#readUpTo(id) === null && id !== this.#channelId) storage.set(this.#readKey(id), String(last ?? 0));
    }
    this.#showSidebar();
    this.#showHeader();
  }

  #name() {
    return this.#channels.get(this.#channelId)?.name || this.#channelId || "";
  }

  #unread(channel) {
    if (channel.channel_id === this.#channelId) return 0;
    return Math.max(0, (channel.last_seq ?? 0) - (this.#readUpTo(channel.channel_id) ?? channel.last_seq ?? 0));
  }

  #showSidebar() {
    const channels = [...this.#channels.values()].sort((a, b) => (a.name || a.channel_id).localeCompare(b.name || b.channel_id));
    if (this.#channelId && !this.#channels.has(this.#channelId)) channels.unshift({ channel_id: this.#channelId, name: this.#channelId });
    const onOpen = (channelId) => {
      this.#toggleSidebar(false);
      this.open(channelId);
    };
    reconcile(
      $("channels"),
      channels.map((channel) => channelRow({ channel, active: channel.channel_id === this.#channelId, unread: this.#unread(channel), onOpen })),
    );
    $("elsewhere").hidden = !channels.some((channel) => this.#unread(channel) > 0);
  }

  #showHeader() {
    const channel = this.#channels.get(this.#channelId);
    $("channel-name").textContent = this.#name();
    const parts = [];
    if (channel) {
      parts.push(channel.visibility === "private" ? "Private" : "Public");
      if (channel.agent?.mode === "always") parts.push("the agent answers");
      if (channel.agent?.mode === "mention") parts.push("the agent answers when mentioned");
      if (channel.name && channel.name !== channel.channel_id) parts.push(channel.channel_id);
    }
    $("channel-detail").textContent = parts.join(" · ");
    this.#showNewer();
  }

  #showConnection() {
    const { state } = this.#client;
    $("connection").dataset.state = state.name;
    const words = connectionText(state, Date.now());
    if ($("connection-text").textContent !== words) $("connection-text").textContent = words;
    $("reconnect").hidden = state.name !== "reconnecting";
  }

  #toggleSidebar(open) {
    const wasOpen = $("chat").dataset.sidebar === "open";
    const shown = open && narrow.matches;
    $("chat").dataset.sidebar = shown ? "open" : "closed";
    $("sidebar").inert = narrow.matches && !shown;
    $("scrim").hidden = !shown;
    $("sidebar-open").setAttribute("aria-expanded", String(shown));
    if (shown) $("sidebar-close").focus();
    else if (wasOpen) $("sidebar-open").focus();
  }

  #toast(error) {
    showToast(error);
  }
}

const narrow = matchMedia("(max-width: 760px)");
const touch = matchMedia("(hover: none)");
const calm = matchMedia("(prefers-reduced-motion: reduce)");

function showToast(error) {
  const element = toast(error, () => element.remove());
  $("toasts").append(element);
  setTimeout(() => element.remove(), TOAST_MS);
}

function route() {
  const query = new URLSearchParams(location.search);
  return { user: query.get("user") ?? "", channel: query.get("channel") || DEFAULT_CHANNEL };
}

function address({ user, channel }, push) {
  const url = `${location.pathname}?${new URLSearchParams({ user, channel })}`;
  if (url === location.pathname + location.search) return;
  history[push ? "pushState" : "replaceState"](null, "", url);
}

async function issueToken(user) {
  const response = await fetch("token", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ user }),
  });
  if (!response.ok) throw await ProblemError.from(response);
  return response.json();
}

function welcome(config, { user, channel }, complaint = "") {
  $("welcome").hidden = false;
  $("welcome-user").value = user || storage.get(LAST_USER) || "";
  $("welcome-channel").value = channel === DEFAULT_CHANNEL ? "" : channel;
  const complain = (text, field) => {
    $("welcome-error").textContent = text;
    field.setAttribute("aria-invalid", "true");
    field.focus();
  };
  $("welcome-user").focus();
  if (complaint) complain(complaint, $("welcome-user"));
  $("welcome-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const name = $("welcome-user").value.trim();
    const channelName = $("welcome-channel").value.trim();
    const channelId = channelName ? slug(channelName) : DEFAULT_CHANNEL;
    if (!isId(name)) {
      const nearest = slug(name);
      return complain(nearest ? `A name has only letters, digits and _ . : - (how about “${nearest}”?)` : "Please enter a name.", $("welcome-user"));
    }
    if (!channelId) return complain("A channel needs a letter or a digit in its name.", $("welcome-channel"));
    storage.set(LAST_USER, name);
    new App(config, name).open(channelId, { name: channelName || DEFAULT_CHANNEL });
  });
}

async function start() {
  setUpTheme($("theme"));
  const response = await fetch("config.json");
  if (!response.ok) throw await ProblemError.from(response);
  const config = await response.json();
  const asked = route();
  if (isId(asked.user) && isId(asked.channel)) new App(config, asked.user).open(asked.channel, { push: false });
  else welcome(config, asked, asked.user ? "That name or channel has characters that ids do not have." : "");
}

start().catch((error) => showToast(error instanceof ProblemError ? error : { title: "The page could not start", detail: error.message }));
