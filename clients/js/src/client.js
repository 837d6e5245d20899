// A Switchboard client: REST, live connection, and recovery. No DOM: runs in a browser and in Node.

import { Channel } from "./channel.js";
import { ChannelSync } from "./channel-sync.js";
import { QuietRequests } from "./quiet.js";
import { ProblemError, RestApi, Session } from "./rest.js";
import { LiveConnection, backoff } from "./socket.js";
import { CLIENT_KEY, ChannelLog, Outbox } from "./store.js";

export { CLIENT_KEY, ChannelLog, LiveConnection, Outbox, ProblemError, backoff };

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
 * or pushed to another subscribed one), `revised` (`{channelId, messages}`: later states of messages, held or not), `change`
 * (`{channelId}`: log, drafts or outbox changed), `problem` (`{error, channelId}`: a failed recovery, which is retried).
 *
 * The API numbers the messages of every channel without a gap, and the changes of these messages too. `Channel` has the
 * rules by which an opened channel misses none of them, and no text of a reply.
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
      for (const channel of this.#channels.values()) channel.recover();
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
    await channel.open();
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
    const channel = this.#channel(channelId);
    const { log } = channel;
    const held = log.get(seq) ?? (await this.#rest.message(channelId, seq));
    try {
      const message = await this.#rest.updateMessage(channelId, seq, { content }, held.version);
      if (log.update([message])) this.#emit("change", { channelId });
      return message;
    } catch (error) {
      if (error.code === "version_mismatch") channel.reread(seq);
      throw error;
    }
  }

  /** Adds or removes the user's reaction. Its event updates the message. */
  async react(channelId, seq, emoji, isWanted) {
    if (isWanted) await this.#rest.addReaction(channelId, seq, emoji);
    else await this.#rest.removeReaction(channelId, seq, emoji);
    if (this.state.name !== "live") this.#channel(channelId).reread(seq);
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

  /** Returns the number of the last change up to which an opened channel has all changes. */
  rev(channelId) {
    return this.#channel(channelId).rev;
  }

  /** Returns `true` while a catch-up of this channel is running. */
  isCatchingUp(channelId) {
    return this.#channel(channelId).isCatchingUp;
  }

  /** Subscribes to exactly these channels, or to all channels of the user if there are none. */
  subscribe(channelIds) {
    this.#live.subscribe(channelIds);
  }

  /** Loads the page of history before the oldest loaded message. */
  loadEarlier(channelId) {
    return this.#channel(channelId).loadEarlier();
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
    for (const channel of this.#channels.values()) channel.close();
  }

  async #deliver(channelId, key) {
    const channel = this.#channel(channelId);
    const { outbox } = channel;
    this.#emit("change", { channelId });
    const { content, replyTo, threadSeq } = outbox.get(key);
    const body = { content, metadata: { [CLIENT_KEY]: key } };
    if (replyTo !== null) body.reply_to = replyTo;
    if (threadSeq !== null) body.thread_seq = threadSeq;
    for (let attempt = 0; ; attempt += 1) {
      try {
        return channel.sent(await this.#rest.send(channelId, body, key));
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
    if (frame.type === "events" && Array.isArray(frame.events)) this.#channel(channelId).events(frame.events);
    if (frame.type === "message.delta") this.#channel(channelId).delta(frame);
    // Other types belong to a later version of the API, or are responses that need no action.
    this.#sync.follow(frame);
  }

  #synced(type, detail) {
    if (type === "removed") {
      // The id may belong to another channel later.
      this.#live.leave(detail.channelId);
      this.#channels.get(detail.channelId)?.close();
      this.#channels.delete(detail.channelId);
    }
    this.#emit(type, detail);
  }

  #setLeftOut(count) {
    if (!Number.isSafeInteger(count) || count === this.#leftOut) return;
    this.#leftOut = count;
    this.#emit("leftOut", { count });
  }

  #channel(channelId) {
    let channel = this.#channels.get(channelId);
    if (!channel) {
      channel = new Channel({
        channelId,
        userId: this.#userId,
        rest: this.#rest,
        quiet: this.#quiet,
        clock: this.#clock,
        random: this.#random,
        sync: this.#sync,
        isLive: () => this.state.name === "live",
        emit: (type, detail) => this.#emit(type, detail),
      });
      this.#channels.set(channelId, channel);
    }
    return channel;
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
