// Tests of the client's recovery, against a channel in memory and a clock that the test advances.

import assert from "node:assert/strict";
import { test } from "node:test";
import { SwitchboardClient, backoff } from "../../js/src/client.js";

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

/** Runs all code that waits only for promises. */
const settle = async () => {
  for (let turn = 0; turn < 5; turn += 1) await new Promise(setImmediate);
};

/** A stack with one channel: the REST responses and the sockets of one client. */
class Stack {
  clock = new Clock();
  messages = [];
  requests = [];
  sockets = [];
  tokens = 0;
  tokenLife = 3_600_000;
  accepting = true;
  /** Response to the next request, if set: `(url, init) => Response | undefined`; may throw. */
  intercept = null;
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

  client() {
    return new SwitchboardClient({
      userId: "alice",
      rest: "http://stack/",
      websocket: "ws://stack",
      issueToken: async () => ({
        token: `token-${(this.tokens += 1)}`,
        expires_at: new Date(this.clock.now() + this.tokenLife).toISOString(),
      }),
      fetch: (url, init) => this.#fetch(new URL(url), init),
      WebSocket: this.WebSocket,
      clock: this.clock,
      random: () => 0.5,
    });
  }

  store(content, rest = {}) {
    const message = { channel_id: "lobby", seq: this.messages.length + 1, sender_id: "bob", role: "user", content, ...rest };
    this.messages.push(message);
    return message;
  }

  push(...messages) {
    const events = messages.map((message) => ({ type: "message.created", seq: message.seq, message }));
    this.live.receive({ type: "events", channel_id: "lobby", events });
  }

  get live() {
    return this.sockets.findLast(({ readyState }) => readyState === 1);
  }

  async #fetch(url, init) {
    this.requests.push({ method: init.method, path: url.pathname + url.search, init });
    const answer = this.intercept?.(url, init);
    if (answer) return answer;
    if (init.method === "POST") {
      const key = init.headers["idempotency-key"];
      const replayed = this.byKey.has(key);
      if (!replayed) this.byKey.set(key, this.store(JSON.parse(init.body).content, { ...JSON.parse(init.body), sender_id: "alice" }));
      return Response.json(this.byKey.get(key), { status: replayed ? 200 : 201 });
    }
    const { before, after, limit } = Object.fromEntries(url.searchParams);
    const fitting =
      after === undefined
        ? this.messages.filter(({ seq }) => before === undefined || seq < Number(before)).reverse()
        : this.messages.filter(({ seq }) => seq > Number(after));
    return Response.json({ messages: fitting.slice(0, Number(limit)), has_more: fitting.length > Number(limit) });
  }
}

async function opened(stack) {
  const client = stack.client();
  client.subscribe(["lobby"]);
  await client.open("lobby");
  await settle();
  return client;
}

const contents = (client) => client.log("lobby").messages.map(({ content }) => content);

test("history and pushes make one log; unknown frames, events and fields change nothing", async () => {
  const stack = new Stack();
  stack.store("one");
  const client = await opened(stack);
  assert.equal(client.state.name, "live");
  assert.deepEqual(stack.live.protocols, ["bearer", "token-1"]);
  assert.equal(new URL(stack.live.url).searchParams.get("channels"), "lobby");
  stack.push(stack.store("two", { of_a_later_version: true }));
  for (const frame of ["not json", "null", "[]", { type: "message.delta" }, { type: "events" }, { type: "events", channel_id: "lobby", events: [null, { type: "later" }] }]) {
    stack.live.receive(frame);
  }
  assert.deepEqual(contents(client), ["one", "two"]);
});

test("channels that the connection leaves out are counted, until it ends", async () => {
  const stack = new Stack();
  const client = await opened(stack);
  const counts = [];
  client.addEventListener("leftOut", ({ detail }) => counts.push(detail.count));
  for (const count of [12, 12, "13", null, 3]) stack.live.receive({ type: "channels.left_out", count });
  assert.deepEqual([client.leftOut, counts], [3, [12, 3]]);
  client.subscribe(["lobby", "hall"]);
  await settle();
  assert.deepEqual([client.leftOut, counts], [0, [12, 3, 0]]);
});

test("edits and deletions arrive as events of messages that are held", async () => {
  const stack = new Stack();
  stack.store("one");
  stack.store("two");
  const client = await opened(stack);
  const [one, two] = stack.messages;
  const events = [
    { type: "message.updated", seq: 1, message: { ...one, content: "better", edited_at: "2026-11-24T00:00:01.000Z" } },
    { type: "message.deleted", seq: 2, message: { ...two, content: "", deleted_at: "2026-11-24T00:00:02.000Z" } },
  ];
  stack.live.receive({ type: "events", channel_id: "lobby", events });
  assert.deepEqual(contents(client), ["better", ""]);
});

test("a reply grows as its pieces come, and ends as its message", async () => {
  const stack = new Stack();
  stack.store("question");
  const client = await opened(stack);
  const piece = (position, text, status = "writing", draft = "d1") =>
    stack.live.receive({ type: "message.delta", channel_id: "lobby", draft_id: draft, reply_to: 1, status, position, text });
  const texts = () => client.drafts("lobby").entries.map(({ text, status }) => `${status}:${text}`);
  piece(0, "", "thinking");
  assert.deepEqual(texts(), ["thinking:"]);
  piece(0, "Hé 👍");
  piece(4, " there");
  piece(4, " there");
  assert.deepEqual(texts(), ["writing:Hé 👍 there"], "a repeated piece adds nothing");
  piece(12, "!");
  assert.deepEqual(texts(), ["writing:Hé 👍 there…!"], "a lost piece is seen");
  piece(0, "", "failed");
  assert.deepEqual(texts(), []);
  piece(0, "Unasked", "writing", "d0");
  piece(7, "", "cancelled", "d0");
  assert.deepEqual(texts(), [], "a cancelled draft without a message is over");
  piece(0, "Again", "writing", "d2");
  stack.store("Again and whole");
  stack.push({ ...stack.messages.at(-1), role: "assistant", reply_to: 1 });
  await settle();
  assert.deepEqual(texts(), [], "the message takes the draft's place");
  stack.live.receive({ type: "message.delta", channel_id: "lobby", draft_id: "d2", reply_to: 1, status: "done", position: 5, text: "", seq: 2 });
  assert.deepEqual(texts(), [], "an end that comes late is over");
  for (const nonsense of [{}, { reply_to: "1" }, { reply_to: 1, text: 7 }]) {
    stack.live.receive({ type: "message.delta", channel_id: "lobby", ...nonsense });
  }
});

test("a push that skips numbers brings the missing ones from history", async () => {
  const stack = new Stack();
  const client = await opened(stack);
  const before = stack.requests.length;
  for (let number = 1; number <= 250; number += 1) stack.store(`m${number}`);
  stack.push(stack.messages.at(-1));
  await settle();
  assert.equal(client.log("lobby").size, 250);
  assert.equal(client.log("lobby").hasGap, false);
  assert.deepEqual(
    stack.requests.slice(before).map(({ path }) => new URLSearchParams(path.split("?")[1]).get("after")),
    ["0", "100", "200"],
  );
});

test("after a lost connection the client reconnects and reads what it missed, once", async () => {
  const stack = new Stack();
  const client = await opened(stack);
  stack.push(stack.store("one"));
  stack.accepting = false;
  stack.live.drop();
  stack.store("two");
  stack.store("three");
  assert.equal(client.state.name, "reconnecting");
  assert.ok(client.state.retryAt > stack.clock.now());
  await stack.clock.advance(5_000);
  assert.equal(client.state.name, "reconnecting");
  stack.accepting = true;
  await stack.clock.advance(30_000);
  assert.equal(client.state.name, "live");
  stack.push(...stack.messages);
  assert.deepEqual(contents(client), ["one", "two", "three"]);
});

test("a catch-up that fails is tried again", async () => {
  const stack = new Stack();
  const client = await opened(stack);
  let failures = 2;
  stack.intercept = () => (failures-- > 0 ? new Response("{}", { status: 503 }) : undefined);
  stack.store("one");
  stack.push(stack.store("two"));
  await settle();
  assert.deepEqual(contents(client), ["two"]);
  await stack.clock.advance(5_000);
  assert.deepEqual(contents(client), ["one", "two"]);
});

test("a push that comes while history is being read is not lost", async () => {
  const stack = new Stack();
  const client = stack.client();
  client.subscribe(["lobby"]);
  await settle();
  const opening = client.open("lobby");
  stack.intercept = (url) => {
    if (url.searchParams.has("after")) return undefined;
    stack.push(stack.store("late"));
    return Response.json({ messages: [], has_more: false });
  };
  await opening;
  await settle();
  assert.deepEqual(contents(client), ["late"]);
});

test("a send whose answer is lost is repeated under the same key and stored once", async () => {
  const stack = new Stack();
  const client = await opened(stack);
  const keys = [];
  stack.intercept = (url, init) => {
    if (init.method !== "POST") return undefined;
    keys.push(init.headers["idempotency-key"]);
    if (keys.length > 1) return undefined;
    stack.byKey.set(keys[0], stack.store("hello", JSON.parse(init.body)));
    throw new TypeError("connection reset");
  };
  const sent = client.send("lobby", "hello");
  await settle();
  assert.equal(client.outbox("lobby").entries[0].state, "sending");
  await stack.clock.advance(5_000);
  await sent;
  assert.equal(keys.length, 2);
  assert.equal(keys[0], keys[1]);
  assert.deepEqual(contents(client), ["hello"]);
  assert.deepEqual(client.outbox("lobby").entries, []);
});

test("a refused send stays as failed, says why, and can be retried under its key", async () => {
  const stack = new Stack();
  const client = await opened(stack);
  stack.intercept = (url, init) =>
    init.method === "POST"
      ? Response.json({ title: "Forbidden", status: 403, detail: "Not a member." }, { status: 403 })
      : undefined;
  await client.send("lobby", "hello");
  const [entry] = client.outbox("lobby").entries;
  assert.equal(entry.state, "failed");
  assert.equal(entry.error.detail, "Not a member.");
  stack.intercept = null;
  await client.retry("lobby", entry.key);
  const posts = stack.requests.filter(({ method }) => method === "POST").map(({ init }) => init.headers["idempotency-key"]);
  assert.deepEqual(posts, [entry.key, entry.key]);
  assert.deepEqual(contents(client), ["hello"]);
});

test("the push of an own message that overtakes its answer is shown once", async () => {
  const stack = new Stack();
  const client = await opened(stack);
  stack.intercept = (url, init) => {
    if (init.method !== "POST") return undefined;
    const body = JSON.parse(init.body);
    const message = stack.store(body.content, { ...body, sender_id: "alice" });
    stack.push(message);
    assert.deepEqual(client.outbox("lobby").entries, []);
    return Response.json(message, { status: 201 });
  };
  await client.send("lobby", "hello");
  assert.deepEqual(contents(client), ["hello"]);
});

test("the token is replaced before its end without closing the live socket first", async () => {
  const stack = new Stack();
  const client = await opened(stack);
  const states = [];
  client.addEventListener("state", ({ detail }) => states.push(detail.name));
  const first = stack.live;
  // Pongs prevent that the client regards the connection as dead.
  for (let minute = 0; minute < 60; minute += 1) {
    await stack.clock.advance(59_000);
    stack.live.receive({ type: "pong" });
    await stack.clock.advance(1_000);
    stack.live.receive({ type: "pong" });
  }
  assert.notEqual(stack.live, first);
  assert.deepEqual(stack.live.protocols, ["bearer", `token-${stack.tokens}`]);
  assert.ok(stack.tokens >= 2);
  assert.deepEqual(states, []);
});

test("a connection that answers no ping is replaced", async () => {
  const stack = new Stack();
  const client = await opened(stack);
  const first = stack.live;
  await stack.clock.advance(4 * 60_000);
  assert.deepEqual(first.sent, [{ action: "ping" }]);
  await stack.clock.advance(20_000);
  assert.notEqual(stack.live, first);
  assert.equal(client.state.name, "live");
});

test("a 401 is answered with a fresh token, once", async () => {
  const stack = new Stack();
  const client = await opened(stack);
  stack.intercept = (url, init) =>
    init.headers.authorization === "Bearer token-1" ? new Response("{}", { status: 401 }) : undefined;
  await client.send("lobby", "hello");
  assert.deepEqual(contents(client), ["hello"]);
  stack.intercept = () => new Response("{}", { status: 401 });
  const before = stack.requests.length;
  await client.send("lobby", "again");
  assert.equal(stack.requests.length - before, 2);
  assert.equal(client.outbox("lobby").entries[0].state, "failed");
});

test("offline is said, and the network's return is not waited out", async () => {
  const stack = new Stack();
  const client = await opened(stack);
  stack.accepting = false;
  client.setOnline(false);
  stack.live.drop();
  const states = [];
  client.addEventListener("state", ({ detail }) => states.push(detail.name));
  await stack.clock.advance(120_000);
  assert.equal(client.state.name, "offline");
  assert.deepEqual(states, []);
  stack.store("missed");
  stack.accepting = true;
  client.setOnline(true);
  await settle();
  assert.equal(client.state.name, "live");
  assert.deepEqual(contents(client), ["missed"]);
});

test("a stack on this machine is found again without a network", async () => {
  const stack = new Stack();
  const client = await opened(stack);
  client.setOnline(false);
  stack.live.drop();
  assert.equal(client.state.name, "offline");
  await stack.clock.advance(1_000);
  assert.equal(client.state.name, "live");
});

test("waits double up to a limit, and half of each is chance", () => {
  assert.equal(backoff(0, () => 0), 250);
  assert.equal(backoff(0, () => 1), 500);
  assert.equal(backoff(3, () => 1), 4_000);
  assert.equal(backoff(50, () => 1), 30_000);
  assert.equal(backoff(50, () => 0), 15_000);
});
