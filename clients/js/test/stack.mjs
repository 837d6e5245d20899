// A stack in memory for tests of the client, with a clock that the test advances.

import { SwitchboardClient } from "../src/client.js";

/** A clock that the test advances. */
class Clock {
  #now = Date.parse("2026-05-01T12:00:00Z");
  #timers = new Map();
  #last = 0;
  now = () => this.#now;
  setTimeout = (action, delay) => {
    this.#timers.set((this.#last += 1), { action, at: this.#now + delay });
    return this.#last;
  };
  clearTimeout = (timer) => this.#timers.delete(timer);
  async advance(milliseconds) {
    const until = this.#now + milliseconds;
    await settle();
    for (;;) {
      const next = [...this.#timers].filter(([, { at }]) => at <= until).sort((a, b) => a[1].at - b[1].at)[0];
      if (!next) break;
      this.#timers.delete(next[0]);
      this.#now = Math.max(this.#now, next[1].at);
      next[1].action();
      await settle();
    }
    this.#now = until;
    await settle();
  }
}

/** Waits as long as a client waits for a frame that another one has overtaken. */
export const gap = (stack) => stack.clock.advance(750);

/** Runs all code that waits only for promises. */
export const settle = async () => {
  for (let turn = 0; turn < 5; turn += 1) await new Promise(setImmediate);
};

/** Returns a seeded generator of whole numbers below its argument, so that a failure can be reproduced. */
export function seeded(seed) {
  let state = seed;
  return (below) => (state = (state * 48271) % 2147483647) % below;
}

/** A stack with the channel `lobby`: the REST responses and the sockets of one client, alice. */
export class Stack {
  clock = new Clock();
  messages = [];
  /** The `seq` of each changed message, in the order of the changes. */
  changed = [];
  /** Number up to which the changes are no longer stored. */
  expired = 0;
  /** Replies that are being written, by the `seq` of the question. */
  replies = new Map();
  readSeq = 0;
  /** Fields of the channel that differ from the usual ones. */
  channel = {};
  replyingTo = null;
  requests = [];
  sockets = [];
  tokens = 0;
  /** Time of the server's clock ahead of the client's, in ms. */
  ahead = 0;
  tokenLife = 3_600_000;
  accepting = true;
  /** Response to the next request, if set: `(url, init) => Response | undefined`; may throw. */
  intercept = null;
  /** Called before a request is read, between its two reads, and before its response. */
  lag = async () => {};
  byKey = new Map();

  constructor() {
    const stack = this;
    this.WebSocket = class {
      readyState = 0;
      sent = [];
      constructor(url, protocols) {
        Object.assign(this, { url, protocols });
        stack.sockets.push(this);
        setImmediate(() => (stack.accepting ? this.open() : this.drop()));
      }
      open() {
        if (this.readyState !== 0) return;
        this.readyState = 1;
        this.onopen?.({});
      }
      send(text) {
        this.sent.push(JSON.parse(text));
      }
      receive(frame) {
        this.onmessage?.({ data: typeof frame === "string" ? frame : JSON.stringify(frame) });
      }
      drop() {
        this.readyState = 3;
        this.onclose?.({});
      }
      close() {
        this.readyState = 3;
      }
    };
  }

  client(options = {}) {
    return new SwitchboardClient({
      userId: "alice",
      rest: "http://stack/",
      websocket: "ws://stack",
      token: async () => this.token(),
      fetch: (url, init) => this.#fetch(new URL(url), init),
      WebSocket: this.WebSocket,
      clock: this.clock,
      random: () => 0.5,
      ...options,
    });
  }

  /** Issues a token of the server's clock, with the signature `token-N`. */
  token() {
    const issued = Math.floor(this.time / 1_000);
    const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
    return `${part({ alg: "none" })}.${part({ sub: "alice", iat: issued, exp: issued + this.tokenLife / 1_000 })}.token-${(this.tokens += 1)}`;
  }

  /** Returns the end of a token, or of a socket that opened now. */
  end(token) {
    const { exp } = JSON.parse(Buffer.from(token.split(".")[1], "base64url"));
    return new Date(Math.min(exp * 1_000, this.time + 7_200_000)).toISOString();
  }

  /** Passes the first frame of the newest socket to the client. */
  hello(more = {}) {
    const socket = this.live;
    const end = socket.protocols ? this.end(socket.protocols[1]) : undefined;
    const server_time = new Date(this.time).toISOString();
    socket.receive({ type: "hello", connection_id: `c${this.sockets.length}`, user_id: "alice", expires_at: end, server_time, channels_left_out: 0, ...more });
  }

  /** Time of the server. */
  get time() {
    return this.clock.now() + this.ahead;
  }

  store(content, rest = {}) {
    const message = { channel_id: "lobby", seq: this.messages.length + 1, version: 1, sender_id: "bob", role: "user", content, ...rest };
    this.messages.push(message);
    return message;
  }

  get rev() {
    return this.changed.length;
  }

  /** Changes a message. Returns the event of the change. */
  change(seq, fields, type = "message.updated", more = {}) {
    const held = this.messages[seq - 1];
    const message = { ...held, ...fields, version: held.version + 1 };
    this.messages[seq - 1] = message;
    const rev = this.changed.push(seq);
    const event = { type, seq, version: message.version, rev, ...more };
    return type.startsWith("reaction.") ? event : { ...event, message };
  }

  edit(seq, content) {
    return this.change(seq, { content, edited_at: "2026-05-01T12:00:30.000Z" });
  }

  delete(seq) {
    return this.change(seq, { content: "", deleted_at: "2026-05-01T12:01:00.000Z", reactions: undefined }, "message.deleted");
  }

  /** Adds a reaction of a user, or removes it if there is one. */
  react(seq, emoji, userId) {
    const all = this.messages[seq - 1].reactions ?? [];
    const users = all.find((one) => one.emoji === emoji)?.user_ids ?? [];
    const isAdded = !users.includes(userId);
    const now = isAdded ? [...users, userId].sort() : users.filter((id) => id !== userId);
    const others = all.filter((one) => one.emoji !== emoji);
    const reaction = { emoji, count: now.length, user_ids: now };
    const reactions = [...others, ...(now.length > 0 ? [reaction] : [])].sort((a, b) => (a.emoji < b.emoji ? -1 : 1));
    const more = { emoji, user_id: userId, count: now.length };
    return this.change(seq, { reactions: reactions.length > 0 ? reactions : undefined }, isAdded ? "reaction.added" : "reaction.removed", more);
  }

  /** Returns the messages as alice sees them. */
  seen(messages) {
    const mine = (one) => ({ ...one, reacted: one.reacted ?? one.user_ids.includes("alice") });
    return messages.map((message) => (message.reactions ? { ...message, reactions: message.reactions.map(mine) } : message));
  }

  push(...messages) {
    const events = messages.map((message) => ({ type: "message.created", seq: message.seq, version: message.version, message }));
    this.live.receive({ type: "events", channel_id: "lobby", events });
  }

  get live() {
    return this.sockets.findLast(({ readyState }) => readyState === 1);
  }

  /** Passes a frame to the client. */
  receive(frame) {
    this.live.receive({ channel_id: "lobby", ...frame });
  }

  /** Returns the requests since `from`, as "METHOD path". */
  asked(from = 0) {
    return this.requests.slice(from).map(({ method, path }) => `${method} ${path}`);
  }

  #channel() {
    const { seq: lastSeq = 0 } = this.messages.at(-1) ?? {};
    const membership = { role: "member", read_seq: this.readSeq, unread_count: lastSeq - this.readSeq };
    return { channel_id: "lobby", name: "Lobby", version: 1, last_seq: lastSeq, created_at: "2026-05-01T12:00:00.000Z", membership, ...this.channel };
  }

  async #fetch(url, init) {
    init.signal?.throwIfAborted();
    this.requests.push({ method: init.method, path: url.pathname + url.search, init });
    await this.lag();
    const answer = this.intercept?.(url, init);
    if (answer) return answer;
    const { rev } = this;
    await this.lag();
    const response = this.#respond(url, init, rev);
    await this.lag();
    return response;
  }

  #respond(url, init, rev) {
    if (url.pathname === "/me") return Response.json({ user_id: "alice" });
    if (url.pathname === "/connections/tickets") return Response.json({ ticket: "ticket-1" }, { status: 201 });
    if (url.pathname.startsWith("/connections/")) return Response.json({ expires_at: this.end(init.headers.authorization) });
    if (url.pathname === "/channels") return Response.json({ channels: [this.#channel()], has_more: false });
    if (url.pathname === "/channels/lobby") return Response.json(this.#channel());
    if (url.pathname === "/channels/lobby/read") {
      this.readSeq = JSON.parse(init.body).seq;
      return Response.json({ channel_id: "lobby", read_seq: this.readSeq });
    }
    if (url.pathname.includes("/reactions/")) return new Response(null, { status: 204 });
    if (url.pathname === "/channels/lobby/changes") return this.#changes(Number(url.searchParams.get("after")), Number(url.searchParams.get("limit")), rev);
    const question = /\/messages\/(\d+)\/reply$/.exec(url.pathname);
    if (question) {
      const reply = this.replies.get(Number(question[1]));
      return reply ? Response.json(reply) : problem(404, "reply_not_found");
    }
    const one = /\/messages\/(\d+)$/.exec(url.pathname);
    if (one && init.method === "PATCH") {
      const held = this.messages[one[1] - 1];
      if (init.headers["if-match"] !== `"${held.version}"`) return problem(412, "version_mismatch");
      this.change(held.seq, JSON.parse(init.body));
    }
    if (one) return this.messages[one[1] - 1] ? Response.json(this.seen([this.messages[one[1] - 1]])[0]) : problem(404, "message_not_found");
    if (init.method === "POST") {
      const key = init.headers["idempotency-key"];
      const replayed = this.byKey.has(key);
      if (!replayed) this.byKey.set(key, this.store(JSON.parse(init.body).content, { ...JSON.parse(init.body), sender_id: "alice" }));
      return Response.json({ ...this.byKey.get(key), rev }, { status: replayed ? 200 : 201 });
    }
    const { before, after, limit } = Object.fromEntries(url.searchParams);
    const fitting =
      after === undefined
        ? this.messages.filter(({ seq }) => before === undefined || seq < Number(before)).reverse()
        : this.messages.filter(({ seq }) => seq > Number(after));
    const page = { messages: this.seen(fitting.slice(0, Number(limit))), has_more: fitting.length > Number(limit), rev };
    return Response.json(this.replyingTo ? { ...page, replying_to: this.replyingTo } : page);
  }

  /** Returns a page of changes after a number. Each message comes once, at its last change, with its latest state. */
  #changes(after, limit, rev) {
    if (after < this.expired || after > rev) return problem(410, "changes_expired");
    const end = Math.min(after + limit, Math.max(rev, this.rev));
    const newest = Math.max(rev, end);
    const changes = [];
    for (let number = after + 1; number <= end; number += 1) {
      const seq = this.changed[number - 1];
      const last = this.changed.lastIndexOf(seq) + 1;
      const isLater = this.changed.slice(number, end).includes(seq) || (last > number && last <= newest);
      if (!isLater) changes.push({ rev: number, message: this.seen([this.messages[seq - 1]])[0] });
    }
    return Response.json({ changes, has_more: end < newest, ...(end < newest ? { next: { after: end } } : {}), rev: newest });
  }
}

/** Returns the response of a problem. */
export const problem = (status, code) => Response.json({ title: "A problem", status, code, detail: "What is wrong." }, { status });

/** Returns a client that is live and has the channel open. */
export async function opened(stack) {
  const client = stack.client();
  client.subscribe(["lobby"]);
  await client.open("lobby");
  await settle();
  return client;
}

/** Returns the number of a token of the stack. */
export const tokenNumber = (token) => Number(/token-(\d+)$/.exec(token)[1]);

export const contents = (client) => client.channel("lobby").log.messages.map(({ content }) => content);
