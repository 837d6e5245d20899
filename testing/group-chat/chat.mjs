// A client of group chat, written from the documents of the contract alone.
//
// `Chat` holds the channels of one user, and follows them over a socket. It emits each difference as `change`, an object
// with `kind` and the fields of that kind.

import { randomUUID } from "node:crypto";
import { EventEmitter } from "node:events";
import WebSocket from "ws";

/** Statuses of problems after which the same request may succeed. */
const PASSING = new Set([429, 500, 502, 503, 504]);
const ATTEMPTS = 10;
const PING_MS = 4 * 60_000;
/** Users of a reaction that a message names. */
const NAMED = 10;

const delay = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const backoff = (attempt) => Math.random() * Math.min(30_000, 500 * 2 ** attempt);

/** A refused request. */
export class Problem extends Error {
  constructor(status, { code, detail, errors = [] }) {
    super(`${status} ${code}: ${detail}`);
    Object.assign(this, { status, code, errors });
  }
}

/**
 * Returns the newer of two states of a message. A thread only grows, whichever state is newer. Frames have no `reacted`:
 * beyond the users that they name, the state before is the best knowledge.
 */
export function newer(held, state, me) {
  const base = state.version >= held.version ? state : held;
  const thread = (state.thread?.reply_count ?? 0) > (held.thread?.reply_count ?? 0) ? state.thread : held.thread;
  const before = (emoji) => held.reactions?.find((one) => one.emoji === emoji)?.reacted ?? false;
  const reacted = (one) => one.reacted ?? (one.user_ids.includes(me) || (one.count > NAMED && before(one.emoji)));
  return { ...base, thread, reactions: base.reactions?.map((one) => ({ ...one, reacted: reacted(one) })) };
}

/** Returns the message after a reaction event, or nothing if it has to be read again. */
export function withReaction(held, { type, version, emoji, user_id, count }, me) {
  if (version !== held.version + 1) return undefined;
  const added = type === "reaction.added";
  const before = held.reactions?.find((one) => one.emoji === emoji) ?? { user_ids: [], reacted: false };
  const others = before.user_ids.filter((id) => id !== user_id);
  const user_ids = (added ? [...others, user_id].sort() : others).slice(0, NAMED);
  if (user_ids.length < Math.min(count, NAMED)) return undefined;
  const reactions = (held.reactions ?? []).filter((one) => one.emoji !== emoji);
  if (count) reactions.push({ emoji, count, user_ids, reacted: user_id === me ? added : before.reacted });
  reactions.sort((a, b) => (a.emoji < b.emoji ? -1 : 1));
  return { ...held, version, reactions: reactions.length ? reactions : undefined };
}

/** Adds a `message.delta` to a draft. `whole` is false while a piece is missing. */
export function addDelta(draft, { status, seq, position, text }) {
  const characters = [...text];
  Object.assign(draft, { status, seq });
  if (position === 0 && characters.length >= draft.length) Object.assign(draft, { text, length: characters.length, whole: true });
  else if (position > draft.length) draft.whole = false;
  else {
    const rest = characters.slice(draft.length - position);
    draft.text += rest.join("");
    draft.length += rest.length;
  }
}

/** The channels of one user. */
export class Chat extends EventEmitter {
  /** By id of the channel: `channel`, `messages` by seq, and once they were read, `members` and `present`. */
  rooms = new Map();
  /** Replies of the agent by id of the draft. A draft may come before its channel. */
  drafts = new Map();
  #ended = new Set();
  #socket;
  #opened;
  #stopped = true;
  #failures = 0;
  #timers = [];

  /** @param {{rest: string, websocket: string, token: string | (() => string | Promise<string>)}} options */
  constructor({ rest, websocket, token }) {
    super();
    this.rest = rest.replace(/\/$/, "");
    this.websocket = websocket;
    this.token = token;
  }

  #changed = (kind, fields) => this.emit("change", { kind, ...fields });
  #report = (error) => this.#changed("error", { error });

  async #headers() {
    return { authorization: `Bearer ${typeof this.token === "function" ? await this.token() : this.token}` };
  }

  /**
   * Sends a request until the response is a result or a lasting problem. `version` is for `If-Match`.
   * @param {string} method @param {(string | number)[]} path Segments, not encoded.
   * @param {{query?: object, body?: object, version?: number, key?: string}} [options]
   */
  async request(method, path, { query = {}, body, version, key } = {}) {
    const parameters = Object.entries(query).filter(([, value]) => value !== undefined);
    const search = parameters.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&");
    const url = `${this.rest}/${path.map(encodeURIComponent).join("/")}${search && `?${search}`}`;
    for (let attempt = 1; ; attempt++) {
      const headers = await this.#headers();
      if (body !== undefined) headers["content-type"] = "application/json";
      if (version !== undefined) headers["if-match"] = `"${version}"`;
      if (key !== undefined) headers["idempotency-key"] = key;
      try {
        const response = await fetch(url, { method, headers, body: body && JSON.stringify(body) });
        const text = await response.text();
        if (response.ok) return text ? JSON.parse(text) : undefined;
        const problem = new Problem(response.status, JSON.parse(text || "{}"));
        throw Object.assign(problem, { seconds: Number(response.headers.get("retry-after")) });
      } catch (error) {
        if (attempt === ATTEMPTS || (error instanceof Problem && !PASSING.has(error.status))) throw error;
        await delay(error.seconds ? error.seconds * 1000 : 1000 + backoff(attempt));
      }
    }
  }

  /** Reads all pages of a list. */
  async #all(path, field, query) {
    const items = [];
    for (let next = {}; next; ) {
      const page = await this.request("GET", path, { query: { limit: 100, ...query, ...next } });
      items.push(...page[field]);
      next = page.has_more && page.next;
    }
    return items;
  }

  /** Opens a socket, and keeps one open. Resolves when all channels are current. */
  open() {
    this.#stopped = false;
    this.#connect();
    return new Promise((resolve, reject) => (this.#opened = { resolve, reject }));
  }

  /** Closes the socket until `open` is called. The channels stay as they are. */
  close() {
    this.#stopped = true;
    this.#timers.splice(0).forEach(clearTimeout);
    this.#socket?.close();
    this.#socket = undefined;
  }

  /** Cuts the connection as a lost network does. The client connects again by itself. */
  cut = () => this.#socket?.terminate();
  ping = () => this.#socket?.send('{"action":"ping"}');

  #connect = async () => {
    const headers = await this.#headers().catch(this.#report);
    if (this.#stopped) return;
    if (!headers) return this.#again();
    const socket = (this.#socket = new WebSocket(this.websocket, { headers }));
    let status, closing;
    socket.on("unexpected-response", (_, { statusCode }) => {
      status = statusCode;
      socket.terminate();
    });
    socket.on("error", () => {});
    socket.on("message", (data) => {
      if (socket !== this.#socket) return;
      const frame = JSON.parse(data);
      if (frame.type === "hello") this.#hello(frame);
      if (frame.type === "closing") closing = frame;
      this.#frame(frame);
    });
    socket.on("close", () => {
      if (socket !== this.#socket) return;
      this.#changed("closed", { status, closing });
      if ([400, 401, 403].includes(status) || closing?.reconnect === false) this.#opened.reject(new Problem(status, {}));
      else this.#again();
    });
  };

  #again() {
    this.#timers.splice(0).forEach(clearTimeout);
    this.#timers.push(setTimeout(this.#connect, this.#failures ? backoff(this.#failures) : 0));
    this.#failures += 1;
  }

  #hello(hello) {
    Object.assign(this, { hello, me: hello.user_id });
    // A socket that opens during a draft receives the whole text.
    this.drafts.clear();
    this.#timers.push(setInterval(this.ping, PING_MS));
    const current = () => {
      this.#failures = 0;
      this.#changed("current");
      this.#opened.resolve();
    };
    this.#sync().then(current, this.cut);
  }

  /** Reads what the time without a socket may have changed. */
  async #sync() {
    const listed = await this.#all(["channels"], "channels", { archived: true });
    const ids = new Set(listed.map((channel) => this.#adopt(channel).channel.channel_id));
    // A channel that received a message meanwhile may be missing in the list.
    for (const id of this.rooms.keys()) if (!ids.has(id)) await this.#look(id);
    await Promise.all([...this.rooms].map(([id, room]) => this.#reread(id, room)));
  }

  async #reread(id, room) {
    await room.busy;
    const seqs = [...room.messages.keys()].sort((a, b) => a - b);
    for (let index = 0; index < seqs.length; ) {
      const page = await this.history(id, { after: seqs[index] - 1, limit: 100 });
      while (seqs[index] <= (page.has_more ? page.next.after : Infinity)) index++;
    }
    if (room.members) await this.members(id);
    if (room.present) await this.presence(id);
  }

  /** Reads one channel, also one that the client does not know. It is gone if the user is not its member. */
  async #look(id) {
    try {
      const channel = await this.request("GET", ["channels", id]);
      if (channel.membership) this.#adopt(channel);
      else this.#gone(id, "hidden");
    } catch (problem) {
      if (problem.status === 404) this.#gone(id, "hidden");
      else this.#report(problem);
    }
  }

  #gone(id, reason) {
    if (this.rooms.delete(id)) this.#changed("gone", { channel_id: id, reason });
  }

  /** Takes a channel of a response or a frame: settings by `version`, the rest by `last_seq`. */
  #adopt(channel) {
    const { channel_id, last_seq, membership } = channel;
    const maps = { messages: new Map(), pending: [] };
    const room = this.rooms.get(channel_id) ?? { channel, complete: last_seq, counted: last_seq, readers: 0, ...maps };
    this.rooms.set(channel_id, room);
    const held = room.channel;
    const fresh = membership && last_seq >= room.counted && membership.read_seq >= (held.membership?.read_seq ?? 0);
    if (fresh) room.counted = last_seq;
    room.channel = { ...(channel.version >= held.version ? channel : held), last_seq: Math.max(held.last_seq, last_seq) };
    room.channel.membership = fresh ? membership : held.membership;
    room.channel.last_message = (fresh && channel.last_message) || held.last_message;
    if (last_seq > room.complete) this.#catchUp(room);
    this.#changed("channel", { channel_id });
    return room;
  }

  /** Reads the messages after the last one up to which the client has all. Events wait meanwhile. */
  #catchUp(room) {
    const { channel_id } = room.channel;
    const read = async () => {
      const beyond = room.pending.map(({ seq, type }) => (type === "message.created" ? seq - 1 : 0));
      const missed = await this.#all(["channels", channel_id, "messages"], "messages", { after: room.complete });
      for (const message of missed) this.#created(room, message);
      // What the history does not have has expired.
      room.complete = Math.max(room.complete, ...beyond);
    };
    const replay = () => {
      room.busy = undefined;
      room.pending.splice(0).forEach((event) => this.#event(channel_id, event));
    };
    const failed = (error) => {
      room.busy = undefined;
      this.#report(error);
    };
    room.busy ??= read().then(replay, failed);
  }

  #event(id, event) {
    const { type, seq, message, emoji } = event;
    const room = this.rooms.get(id);
    if (!message && !emoji) return undefined;
    if (!room) return this.#look(id);
    if (room.busy) return void room.pending.push(event);
    const held = room.messages.get(seq);
    if (type === "message.created" && seq > room.complete) {
      if (seq === room.complete + 1) return this.#created(room, message);
      room.pending.push(event);
      return this.#catchUp(room);
    }
    if (type !== "message.created" && message && room.channel.last_message?.seq === seq) room.channel.last_message = message;
    if (type === "message.deleted" && seq > room.channel.membership.read_seq) this.#look(id);
    // The response to a read under way may be older than the event.
    if ((!held && !room.readers) || event.version <= held?.version) return undefined;
    const after = message ?? (held && withReaction(held, event, this.me));
    if (after) this.#put(room, after);
    else this.message(id, seq).catch(this.#report);
  }

  #created(room, message) {
    const { seq, sender_id, thread_seq, created_at, deleted_at } = message;
    const { channel } = room;
    room.complete = seq;
    this.#put(room, message);
    const root = room.messages.get(thread_seq);
    const { last_reply_seq = 0, reply_count = 0 } = root?.thread ?? {};
    const thread = { reply_count: reply_count + 1, last_reply_seq: seq, last_reply_at: created_at };
    // A root that was read after the reply counts it already.
    if (root && seq > last_reply_seq) this.#put(room, { ...root, thread });
    if (seq > room.counted) {
      const unread_count = Math.min(100, channel.membership.unread_count + (deleted_at ? 0 : 1));
      channel.membership = { ...channel.membership, unread_count: sender_id === this.me ? 0 : unread_count };
      room.counted = seq;
    }
    if (seq > (channel.last_message?.seq ?? 0)) channel.last_message = message;
    if (seq >= channel.last_seq) Object.assign(channel, { last_seq: seq, last_message_at: created_at });
    const draft = this.drafts.get(message.agent?.draft_id);
    if (draft) this.#settle(Object.assign(draft, { message: seq }));
    this.#changed("message", { channel_id: channel.channel_id, message: room.messages.get(seq) });
  }

  #put(room, message) {
    room.messages.set(message.seq, newer(room.messages.get(message.seq) ?? message, message, this.me));
    this.#changed("state", { channel_id: message.channel_id, seq: message.seq });
  }

  /** Forgets a draft whose message has arrived, or that becomes none. */
  #settle({ draft_id, status, seq, message }) {
    if (!["done", "cancelled", "failed"].includes(status) || (seq && !message)) return;
    this.drafts.delete(draft_id);
    this.#ended.add(draft_id);
  }

  #delta({ draft_id, reply_to, channel_id, ...delta }) {
    if (this.#ended.has(draft_id)) return;
    const draft = this.drafts.get(draft_id) ?? { draft_id, channel_id, reply_to, text: "", length: 0, whole: true };
    this.drafts.set(draft_id, draft);
    addDelta(draft, delta);
    this.#settle(draft);
    this.#changed("draft", { channel_id, draft });
  }

  #frame(frame) {
    const { type, channel_id: id, member, user_id = member?.user_id } = frame;
    const room = this.rooms.get(id);
    const own = user_id === this.me;
    if (type === "events") frame.events.forEach((event) => this.#event(id, event));
    else if (type === "channel.deleted" || (type === "member.removed" && own)) this.#gone(id, type);
    else if (!room && (type === "channel.created" || (type === "member.joined" && own))) this.#look(id);
    else if (type === "message.delta") this.#delta(frame);
    else if (room && type === "channel.updated") this.#adopt(frame.channel);
    else if (room && type === "read.updated") this.#read(room, user_id, frame.read_seq);
    else if (room && type === "member.removed") room.members?.delete(user_id);
    else if (room && type === "presence.joined") room.present?.add(user_id);
    else if (room && type === "presence.left") room.present?.delete(user_id);
    else if (room && member) {
      room.members?.set(user_id, { ...room.members.get(user_id), ...member });
      if (own) room.channel.membership = { ...room.channel.membership, role: member.role };
    }
    this.#changed("frame", { frame });
  }

  #read(room, user_id, read_seq) {
    const { membership, channel_id } = room.channel;
    Object.assign(room.members?.get(user_id) ?? {}, { read_seq });
    if (user_id !== this.me || read_seq <= membership.read_seq) return;
    if (read_seq < room.complete) this.#look(channel_id);
    else room.channel.membership = { ...membership, read_seq, unread_count: 0 };
  }

  async #load(id, path, query) {
    const room = this.rooms.get(id);
    room.readers += 1;
    const page = await this.request("GET", ["channels", id, ...path], { query }).finally(() => (room.readers -= 1));
    for (const message of page.messages ?? page.threads ?? [page]) this.#put(room, message);
    return page;
  }

  channels = (query) => this.request("GET", ["channels"], { query });
  invitations = () => this.#all(["invitations"], "invitations");
  history = (id, query) => this.#load(id, ["messages"], query);
  replies = (id, seq, query) => this.#load(id, ["messages", seq, "replies"], query);
  threads = (id, query) => this.#load(id, ["threads"], query);
  message = (id, seq) => this.#load(id, ["messages", seq]);
  reactors = (id, seq, emoji) => this.#all(["channels", id, "messages", seq, "reactions"], "reactions", { emoji });
  react = (id, seq, emoji) => this.request("PUT", ["channels", id, "messages", seq, "reactions", emoji]);
  unreact = (id, seq, emoji) => this.request("DELETE", ["channels", id, "messages", seq, "reactions", emoji]);
  erase = (id, seq) => this.request("DELETE", ["channels", id, "messages", seq]);
  stopReply = (id, seq) => this.request("POST", ["channels", id, "messages", seq, "reply", "cancel"]);
  typing = (id) => this.request("POST", ["channels", id, "typing"]);
  /** Joins or accepts with the own id, else adds or invites: the result is a member, or an invitation. */
  addMember = (id, user, role) => this.request("PUT", ["channels", id, "members", user], { body: { role } });
  removeMember = (id, user) => this.request("DELETE", ["channels", id, "members", user]);
  deleteChannel = (id) => this.request("DELETE", ["channels", id]);
  create = async (body) => this.#adopt(await this.request("POST", ["channels"], { body, key: randomUUID() })).channel;
  update = async (id, body, version = this.rooms.get(id).channel.version) =>
    this.#adopt(await this.request("PATCH", ["channels", id], { body, version })).channel;

  async members(id) {
    const members = await this.#all(["channels", id, "members"], "members");
    this.rooms.get(id).members = new Map(members.map((member) => [member.user_id, member]));
    return members;
  }

  async presence(id) {
    const users = await this.#all(["channels", id, "presence"], "users");
    this.rooms.get(id).present = new Set(users.map(({ user_id }) => user_id));
    return users;
  }

  /** @param {{reply_to?: number, thread_seq?: number, metadata?: object, content_type?: string}} [options] */
  async send(id, content, options) {
    const sent = { body: { content, ...options }, key: randomUUID() };
    const message = await this.request("POST", ["channels", id, "messages"], sent);
    this.#event(id, { type: "message.created", seq: message.seq, version: message.version, message });
    return message;
  }

  /** Edits the message that the user has seen. Reactions since then do not matter, other edits refuse it. */
  async edit(id, seq, content, seen = this.rooms.get(id).messages.get(seq)) {
    for (let { version } = seen; ; ) {
      try {
        const message = await this.request("PATCH", ["channels", id, "messages", seq], { body: { content }, version });
        this.#put(this.rooms.get(id), message);
        return message;
      } catch (problem) {
        if (problem.code !== "version_mismatch") throw problem;
        const now = await this.message(id, seq);
        if (now.edited_at !== seen.edited_at || now.deleted_at) throw problem;
        version = now.version;
      }
    }
  }

  async markRead(id, seq = this.rooms.get(id).complete) {
    const mark = await this.request("PUT", ["channels", id, "read"], { body: { seq } });
    this.#read(this.rooms.get(id), this.me, mark.read_seq);
    return mark;
  }

  /** Replaces the token of the open socket and of further requests. */
  renew(token) {
    this.token = token;
    return this.request("POST", ["connections", this.hello.connection_id, "token"]);
  }
}
