// A Switchboard client: REST, live connection, and recovery. No DOM: runs in a browser and in Node.

import { ChannelSync } from "./channel-sync.js";
import { QuietRequests } from "./quiet.js";
import { ProblemError, RestApi, Session } from "./rest.js";
import { LiveConnection, backoff } from "./socket.js";
import { CLIENT_KEY, ChannelLog, Drafts, Outbox } from "./store.js";

export { CLIENT_KEY, ChannelLog, LiveConnection, Outbox, ProblemError, backoff };

const HISTORY_PAGE = 50;
const CATCH_UP_PAGE = 100;
/** Maximum number of attempts of a send without a response, all with its key, before it is shown as failed. */
const SEND_ATTEMPTS = 3;

const systemClock = {
  now: () => Date.now(),
  setTimeout: (action, delay) => setTimeout(action, delay),
  clearTimeout: (timer) => clearTimeout(timer),
};

/**
 * Client of one user of a Switchboard.
 *
 * Events: `state` (of the live connection), `leftOut` (`{count}`: see `leftOut`), `channels` (the list changed),
 * `removed` (`{channelId, isDeleted}`: a channel was deleted, or the user was removed from it), `read` (`{channelId,
 * seq}`: the user has read the channel on another device), `messages` (`{channelId, messages}`: new in an opened channel,
 * or pushed to another subscribed one), `change` (`{channelId}`: log or outbox changed), `problem` (`{error, channelId}`:
 * a failed recovery, which is retried).
 *
 * The API numbers the messages of every channel without a gap. After a gap or a reconnect, the client therefore
 * reads the history `after` the last settled `seq`.
 */
export class SwitchboardClient extends EventTarget {
  #userId;
  #rest;
  #live;
  #clock;
  #random;
  #uuid;
  #quiet;
  #sync;
  #channels = new Map();
  #leftOut = 0;
  /** `true` after a socket was opened. */
  #hasOpened = false;

  /** `issueToken` resolves to `{token, expires_at}`. The other options replace the platform in tests. */
  constructor({
    userId,
    rest,
    websocket,
    issueToken,
    fetch = globalThis.fetch,
    WebSocket = globalThis.WebSocket,
    clock = systemClock,
    random = Math.random,
    uuid = () => crypto.randomUUID(),
  }) {
    super();
    this.#userId = userId;
    this.#clock = clock;
    this.#random = random;
    this.#uuid = uuid;
    const session = new Session({ issue: issueToken, clock });
    this.#rest = new RestApi({ url: rest, session, fetch });
    this.#quiet = new QuietRequests({ clock, random });
    this.#sync = new ChannelSync({ userId, rest: this.#rest, quiet: this.#quiet, random, emit: (...event) => this.#synced(...event) });
    this.#live = new LiveConnection({ url: websocket, session, WebSocket, clock, random });
    this.#live.addEventListener("state", ({ detail }) => this.#emit("state", detail));
    this.#live.addEventListener("frame", ({ detail }) => this.#frame(detail));
    this.#live.addEventListener("open", () => {
      this.#setLeftOut(0);
      this.#recover();
    });
  }

  get userId() {
    return this.#userId;
  }

  get state() {
    return this.#live.state;
  }

  /** Returns the number of the user's channels that the live connection leaves out. */
  get leftOut() {
    return this.#leftOut;
  }

  /** Id of the open connection; `null` until the server has named it. */
  get connectionId() {
    return this.#live.connectionId;
  }

  /** Channels of the user, empty until `loadChannels`. */
  get channels() {
    return this.#sync.list;
  }

  /** Reads the list of channels. Returns them, newest activity first. */
  async loadChannels() {
    await this.#sync.load();
    return this.channels.entries;
  }

  /** Reads one channel into the list. */
  loadChannel(channelId) {
    return this.#sync.loadOne(channelId);
  }

  /** Joins a public channel, and creates it if it does not exist. */
  async joinOrCreate(channelId, name = channelId) {
    try {
      return await this.#rest.join(channelId, this.#userId);
    } catch (error) {
      if (error.code !== "channel_not_found") throw error;
    }
    try {
      return await this.#rest.createChannel({
        channel_id: channelId,
        name,
        visibility: "public",
        agent: { mode: "always" },
      });
    } catch (error) {
      // Another user created it meanwhile.
      if (error.code !== "channel_id_taken") throw error;
      return this.#rest.join(channelId, this.#userId);
    }
  }

  /** Reads the newest history of a channel, and keeps its log complete afterwards. */
  async open(channelId) {
    const channel = this.#channel(channelId);
    if (channel.log.settled === null) {
      const page = await this.#rest.messages(channelId, { limit: HISTORY_PAGE });
      if (channel.log.settled === null) channel.log.addEarlier(page.messages ?? [], page.has_more === true);
      channel.drafts.settle(channel.log.messages);
      this.#expectReplies(channel, page);
      this.#sync.created(channelId, page.messages ?? []);
      if (channel.pushed > channel.log.settled) this.#catchUp(channelId);
      this.#emit("change", { channelId });
    }
    return channel.log;
  }

  /** Returns the log of an opened channel. */
  log(channelId) {
    return this.#channel(channelId).log;
  }

  outbox(channelId) {
    return this.#channel(channelId).outbox;
  }

  /** Returns the drafts of replies in an opened channel. */
  drafts(channelId) {
    return this.#channel(channelId).drafts;
  }

  /** Stops the reply to a message; the generated part is kept. */
  async stopReply(channelId, seq) {
    try {
      await this.#rest.stopReply(channelId, seq);
    } catch (error) {
      if (error.code !== "reply_not_found") throw error;
      // It has ended, and its last frame was lost or is on the way.
      if (this.#channel(channelId).drafts.drop(seq)) this.#emit("change", { channelId });
    }
  }

  /** Changes the text of a message as the user sees it. Fails with `version_mismatch` if it has changed meanwhile. */
  async edit(channelId, seq, content) {
    const { log } = this.#channel(channelId);
    const held = log.get(seq) ?? (await this.#rest.message(channelId, seq));
    try {
      const message = await this.#rest.updateMessage(channelId, seq, { content }, held.version);
      if (log.update([message])) this.#emit("change", { channelId });
      return message;
    } catch (error) {
      if (error.code === "version_mismatch") this.#reread(channelId, seq);
      throw error;
    }
  }

  /** Adds or removes the user's reaction. Its event updates the message. */
  async react(channelId, seq, emoji, isWanted) {
    if (isWanted) await this.#rest.addReaction(channelId, seq, emoji);
    else await this.#rest.removeReaction(channelId, seq, emoji);
    if (this.state.name !== "live") this.#reread(channelId, seq);
  }

  /** Returns the `seq` up to which the user has read an opened channel; 0 for none of it. */
  readSeq(channelId) {
    const own = this.log(channelId).messages.findLast(({ role, sender_id: sender }) => role === "user" && sender === this.#userId);
    return Math.max(this.channels.readSeq(channelId), own?.seq ?? 0);
  }

  /** Moves the user's read mark in a channel. */
  markRead(channelId, seq) {
    this.#sync.markRead(channelId, seq);
  }

  /** Returns `true` while a catch-up of this channel is running. */
  isCatchingUp(channelId) {
    return this.#channel(channelId).catchUp !== null;
  }

  /** Subscribes to exactly these channels, or to all channels of the user if there are none. */
  subscribe(channelIds) {
    this.#live.subscribe(channelIds);
  }

  /** Loads the page of history before the oldest loaded message. */
  async loadEarlier(channelId) {
    const { log } = this.#channel(channelId);
    if (!log.hasEarlier) return;
    const page = await this.#rest.messages(channelId, { before: log.firstSeq ?? undefined, limit: HISTORY_PAGE });
    log.addEarlier(page.messages ?? [], page.has_more === true);
    this.#emit("change", { channelId });
  }

  /** Returns one message from the log or from the server, or `undefined` if it does not exist. */
  async message(channelId, seq) {
    const known = this.#channel(channelId).log.get(seq);
    if (known) return known;
    try {
      return await this.#rest.message(channelId, seq);
    } catch (error) {
      if (error.code !== "message_not_found") throw error;
      return undefined;
    }
  }

  /**
   * Sends a message, which may quote the message `replyTo` and may belong to the thread of the message `threadSeq`. Its
   * outbox entry shows its state; a failed entry waits for `retry` or `discard`.
   */
  send(channelId, content, { replyTo = null, threadSeq = null } = {}) {
    const key = this.#uuid();
    this.#channel(channelId).outbox.add({ key, content, replyTo, threadSeq, createdAt: this.#clock.now() });
    return this.#deliver(channelId, key);
  }

  /** Sends a failed message again, with the same key, so that it cannot be stored twice. */
  retry(channelId, key) {
    const { outbox } = this.#channel(channelId);
    if (outbox.get(key)?.state !== "failed") return undefined;
    outbox.sending(key);
    return this.#deliver(channelId, key);
  }

  discard(channelId, key) {
    this.#channel(channelId).outbox.settle(key);
    this.#emit("change", { channelId });
  }

  setOnline(online) {
    this.#live.setOnline(online);
  }

  retryNow() {
    this.#live.retryNow();
  }

  /** Checks a connection that may have failed without an event, for example while the machine was suspended. */
  check() {
    this.#live.check();
  }

  close() {
    this.#live.close();
    for (const channel of this.#channels.values()) this.#clock.clearTimeout(channel.retry);
  }

  async #deliver(channelId, key) {
    const { outbox } = this.#channel(channelId);
    this.#emit("change", { channelId });
    const { content, replyTo, threadSeq } = outbox.get(key);
    const body = { content, metadata: { [CLIENT_KEY]: key } };
    if (replyTo !== null) body.reply_to = replyTo;
    if (threadSeq !== null) body.thread_seq = threadSeq;
    for (let attempt = 0; ; attempt += 1) {
      try {
        const message = await this.#rest.send(channelId, body, key);
        this.#arrived(channelId, [message]);
        return message;
      } catch (error) {
        // The push may have delivered it although the response was lost.
        if (!outbox.get(key)) return undefined;
        const again = error.isTransient && attempt + 1 < SEND_ATTEMPTS && this.state.name !== "offline";
        if (!again) {
          outbox.failed(key, error);
          this.#emit("change", { channelId });
          return undefined;
        }
        await this.#quiet.wait(Math.max(backoff(attempt, this.#random), (error.retryAfter ?? 0) * 1000));
      }
    }
  }

  #frame(frame) {
    if (frame.type === "hello") this.#setLeftOut(frame.channels_left_out);
    if (frame.type === "channels.left_out") this.#setLeftOut(frame.count);
    const { channel_id: channelId } = frame;
    if (typeof channelId !== "string") return;
    if (frame.type === "events" && Array.isArray(frame.events)) this.#events(channelId, frame.events);
    if (frame.type === "message.delta") this.#delta(channelId, frame);
    // Other types belong to a later version of the API, or are responses that need no action.
    this.#sync.follow(frame);
  }

  #events(channelId, events) {
    const of = (...types) =>
      events.filter((event) => types.includes(event?.type) && event.message).map((event) => event.message);
    const messages = of("message.created");
    if (messages.length > 0) this.#arrived(channelId, messages);
    const { log } = this.#channel(channelId);
    const revised = of("message.updated", "message.deleted");
    let isChanged = log.update(revised);
    this.#sync.revised(channelId, revised);
    for (const event of events.filter((one) => one?.type === "reaction.added" || one?.type === "reaction.removed")) {
      const outcome = log.react(event);
      if (outcome === "stale") this.#reread(channelId, event.seq, event.version);
      isChanged ||= outcome === "changed";
    }
    if (isChanged) this.#emit("change", { channelId });
  }

  #delta(channelId, frame) {
    const { drafts, log } = this.#channel(channelId);
    // A piece is late if its message has arrived.
    const isOver = frame.status === "done" && log.get(frame.seq) !== undefined;
    if (!isOver && drafts.accept(frame)) this.#emit("change", { channelId });
  }

  #synced(type, detail) {
    if (type === "removed") {
      // The id may belong to another channel later.
      this.#live.leave(detail.channelId);
      this.#clock.clearTimeout(this.#channels.get(detail.channelId)?.retry);
      this.#channels.delete(detail.channelId);
    }
    this.#emit(type, detail);
  }

  /** Reads a message again, until it has a version. */
  #reread(channelId, seq, version = 0) {
    this.#quiet.run(`message ${channelId} ${seq}`, async () => {
      const { log } = this.#channel(channelId);
      if (log.update([await this.#rest.message(channelId, seq)])) this.#emit("change", { channelId });
      return (log.get(seq)?.version ?? version) >= version;
    });
  }

  #expectReplies({ drafts, log }, page) {
    const answered = new Set(log.messages.filter(({ role }) => role !== "user").map(({ reply_to: replyTo }) => replyTo));
    drafts.expect((page.replying_to ?? []).filter((seq) => !answered.has(seq)));
  }

  #setLeftOut(count) {
    if (!Number.isSafeInteger(count) || count === this.#leftOut) return;
    this.#leftOut = count;
    this.#emit("leftOut", { count });
  }

  #arrived(channelId, messages) {
    const channel = this.#channel(channelId);
    channel.outbox.settle(...messages);
    channel.drafts.settle(messages);
    this.#sync.created(channelId, messages);
    if (channel.log.settled === null) {
      // The channel is not open, so its history will contain the messages. Only the highest `seq` matters, because a
      // running request may return older history.
      channel.pushed = messages.reduce((most, { seq }) => Math.max(most, seq), channel.pushed);
      this.#emit("messages", { channelId, messages });
      return;
    }
    const added = channel.log.push(messages);
    if (channel.log.hasGap) this.#catchUp(channelId);
    if (added.length > 0) this.#emit("messages", { channelId, messages: added });
    this.#emit("change", { channelId });
  }

  #recover() {
    for (const [channelId, { drafts, log }] of this.#channels) {
      // The pieces meanwhile went to a lost connection. Before the first one, a history may have named replies.
      if (this.#hasOpened) drafts.clear();
      if (log.settled !== null) this.#catchUp(channelId);
    }
    this.#hasOpened = true;
  }

  /** Reads all messages after the last settled `seq`. A call during a run causes one more run afterwards. */
  #catchUp(channelId) {
    const channel = this.#channel(channelId);
    if (channel.catchUp) {
      channel.again = true;
      return;
    }
    this.#clock.clearTimeout(channel.retry);
    channel.again = false;
    channel.catchUp = this.#readAfter(channelId)
      .then(() => {
        channel.failures = 0;
      })
      .catch((error) => {
        const delay = Math.max(backoff(channel.failures, this.#random), (error.retryAfter ?? 0) * 1000);
        channel.failures += 1;
        // Without a network, the next connection catches up.
        if (error.status !== 0 || this.state.name === "live") {
          channel.retry = this.#clock.setTimeout(() => this.#catchUp(channelId), delay);
        }
        this.#emit("problem", { error, channelId });
        channel.again = false;
      })
      .finally(() => {
        channel.catchUp = null;
        // A gap that still exists came after the request for the last page.
        if (channel.again) this.#catchUp(channelId);
        this.#emit("change", { channelId });
      });
  }

  async #readAfter(channelId) {
    const channel = this.#channel(channelId);
    const { drafts, log, outbox } = channel;
    for (;;) {
      const seen = log.lastSeq ?? 0;
      const page = await this.#rest.messages(channelId, { after: log.settled ?? 0, limit: CATCH_UP_PAGE });
      const messages = page.messages ?? [];
      const more = page.has_more === true && messages.length > 0;
      const added = log.addLater(messages, more, seen);
      outbox.settle(...messages);
      drafts.settle(messages);
      this.#expectReplies(channel, page);
      this.#sync.created(channelId, messages);
      if (added.length > 0) this.#emit("messages", { channelId, messages: added });
      this.#emit("change", { channelId });
      if (!more) return;
    }
  }

  #channel(channelId) {
    let channel = this.#channels.get(channelId);
    if (!channel) {
      channel = {
        log: new ChannelLog(this.#userId),
        outbox: new Outbox(),
        drafts: new Drafts(),
        pushed: 0,
        catchUp: null,
        again: false,
        retry: undefined,
        failures: 0,
      };
      this.#channels.set(channelId, channel);
    }
    return channel;
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
