// Tests of the client's live connection: opening, renewal, announced and unannounced ends.

import assert from "node:assert/strict";
import { test } from "node:test";
import { channelsOf } from "../src/channels.js";
import { backoff } from "../src/time.js";
import { Stack, contents, opened, problem, settle } from "./stack.mjs";

test("the first frame of a socket names the connection, without a ping", async () => {
  const stack = new Stack();
  const client = await opened(stack);
  assert.equal(client.connectionId, null);
  stack.live.receive({ type: "hello", connection_id: "c1", user_id: "alice", channels_left_out: 0 });
  assert.equal(client.connectionId, "c1");
  assert.deepEqual(stack.live.sent, []);
  stack.live.drop();
  assert.equal(client.connectionId, null);
});

test("without names a socket receives all channels of its user", async () => {
  const stack = new Stack();
  const client = stack.client();
  client.subscribe([]);
  await settle();
  assert.equal(new URL(stack.live.url).searchParams.has("channels"), false);
  client.subscribe([]);
  await settle();
  assert.equal(stack.sockets.length, 1, "nothing has changed");
});

test("an announced end is followed by the next socket at once", async () => {
  const stack = new Stack();
  const client = await opened(stack);
  await stack.clock.advance(20_000);
  const states = [];
  client.on("state", (detail) => states.push(detail.name));
  stack.live.receive({ type: "closing", reason: "removed", reconnect: true });
  assert.equal(client.state.name, "live", "it still receives");
  stack.store("missed");
  stack.live.drop();
  await settle();
  assert.deepEqual(states, ["connecting", "live"]);
  assert.deepEqual(contents(client), ["missed"]);
  assert.equal(stack.tokens, 1);
  await stack.clock.advance(60_000);
  stack.live.receive({ type: "closing", reason: "token_expired", reconnect: true });
  stack.live.drop();
  await settle();
  assert.deepEqual([client.state.name, stack.tokens], ["live", 2], "with a new token");
});

test("an announced end that does not come is not waited for", async () => {
  const stack = new Stack();
  await opened(stack);
  await stack.clock.advance(20_000);
  const first = stack.live;
  first.receive({ type: "closing", reason: "removed", reconnect: true });
  await stack.clock.advance(6_000);
  assert.equal(first.readyState, 3);
  assert.notEqual(stack.live, first);
  const { length } = stack.sockets;
  await stack.clock.advance(6_000);
  assert.equal(stack.sockets.length, length, "the next socket stays");
});

test("a socket that is closed again and again is waited for longer", async () => {
  const stack = new Stack();
  const client = await opened(stack);
  stack.live.receive({ type: "closing", reason: "removed", reconnect: true });
  stack.live.drop();
  await settle();
  assert.equal(client.state.name, "waiting");
});

test("a client that is asked not to come back comes back when its user wants", async () => {
  const stack = new Stack();
  const client = await opened(stack);
  stack.live.receive({ type: "closing", reason: "too_many_frames", reconnect: false });
  stack.live.drop();
  assert.deepEqual(client.state, { name: "closed", reason: "too_many_frames" });
  client.setOnline(false);
  client.setOnline(true);
  await stack.clock.advance(600_000);
  assert.equal(stack.sockets.length, 1);
  client.retryNow();
  await settle();
  assert.equal(client.state.name, "live");
});

test("of two announcements of an end, the later one says whether to come back", async () => {
  for (const [first, second] of [[true, false], [false, true]]) {
    const stack = new Stack();
    const client = await opened(stack);
    stack.live.receive({ type: "closing", reason: "removed", reconnect: first });
    stack.live.receive({ type: "closing", reason: "too_many_frames", reconnect: second });
    await stack.clock.advance(5_000);
    assert.equal(client.state.name, second ? "waiting" : "closed", "the socket ends, although it was not closed");
    await stack.clock.advance(60_000);
    assert.equal(client.state.name, second ? "live" : "closed");
  }
});

test("channels that the connection leaves out are counted, until it ends", async () => {
  const stack = new Stack();
  const client = await opened(stack);
  const counts = [];
  client.on("leftOut", (detail) => counts.push(detail.count));
  stack.live.receive({ type: "hello", connection_id: "c1", user_id: "alice", channels_left_out: 20 });
  for (const count of [12, 12, "13", null, 3]) stack.live.receive({ type: "channels.left_out", count });
  assert.deepEqual([client.leftOut, counts], [3, [20, 12, 3]]);
  client.subscribe(["lobby", "hall"]);
  await settle();
  assert.deepEqual([client.leftOut, counts], [0, [20, 12, 3, 0]]);
});

/** Lets time pass on a connection that lives. */
async function pass(stack, minutes) {
  for (let minute = 0; minute < minutes; minute += 1) {
    await stack.clock.advance(60_000);
    stack.live.receive({ type: "pong" });
  }
}

test("an open socket gets new tokens, and is replaced without a gap before its two hours end", async () => {
  const stack = new Stack();
  const client = await opened(stack);
  const states = [];
  client.on("state", (detail) => states.push(detail.name));
  stack.hello();
  await pass(stack, 117);
  const renewals = stack.asked().filter((one) => one === "POST /connections/c1/token");
  assert.deepEqual([stack.sockets.length, renewals.length, stack.tokens], [1, 1, 2]);
  await pass(stack, 2);
  assert.deepEqual([stack.sockets.length, stack.sockets[0].readyState, states], [2, 3, []]);
});

test("a socket whose token ends before the newest one gets that one in time", async () => {
  const stack = new Stack();
  await opened(stack);
  // The handshake had an older token.
  stack.hello({ expires_at: new Date(stack.time + 60_000).toISOString() });
  await stack.clock.advance(50_000);
  assert.deepEqual([stack.asked().filter((one) => one.startsWith("POST")), stack.sockets.length], [["POST /connections/c1/token"], 1]);
  stack.live.receive({ type: "pong" });
  stack.hello({ expires_at: new Date(stack.time + 86_400_000).toISOString() });
  await pass(stack, 59);
  assert.equal(stack.asked().filter((one) => one.startsWith("POST")).length, 2, "a later end that is told postpones nothing");
});

test("a token of thirty days is fetched once in a day", async () => {
  const stack = new Stack();
  stack.tokenLife = 30 * 86_400_000;
  await opened(stack);
  for (let hour = 0; hour < 24; hour += 1) {
    stack.hello();
    await pass(stack, 60);
  }
  assert.deepEqual([stack.tokens, stack.asked().filter((one) => one.startsWith("POST"))], [1, []]);
  assert.ok(stack.sockets.length <= 13, `${stack.sockets.length}`);
});

test("a device clock that is wrong by an hour costs no tokens and no sockets", async () => {
  for (const minutes of [-61, 61]) {
    const stack = new Stack();
    stack.ahead = minutes * 60_000;
    const client = await opened(stack);
    stack.hello();
    await pass(stack, 50);
    assert.deepEqual([client.state.name, stack.tokens, stack.sockets.length], ["live", 1, 1], `${minutes}`);
    await pass(stack, 20);
    assert.deepEqual([client.state.name, stack.tokens, stack.sockets.length], ["live", 2, 1], `${minutes}`);
  }
});

test("a refused handshake is repeated with a new token, at most one a minute, and a ticket says why", async () => {
  const stack = new Stack();
  const client = await opened(stack);
  await pass(stack, 2);
  stack.accepting = false;
  stack.live.drop();
  await stack.clock.advance(59_000);
  assert.ok(stack.sockets.length > 4);
  assert.equal(stack.tokens, 2);
  stack.intercept = (url) => (url.pathname === "/connections/tickets" ? problem(403, "missing_scope") : undefined);
  await stack.clock.advance(120_000);
  assert.deepEqual(client.state, { name: "closed", reason: "missing_scope" });
  const { length } = stack.sockets;
  await stack.clock.advance(600_000);
  assert.equal(stack.sockets.length, length, "what is forbidden is not tried again");
});

test("a ticket carries the names of many channels, and more than a hundred are divided among sockets", async () => {
  const stack = new Stack();
  const client = stack.client();
  channelsOf(client);
  const names = Array.from({ length: 250 }, (_, at) => `a-channel-with-an-identifier-of-about-fifty-signs-${at}`);
  client.subscribe(names.slice(0, 3));
  await settle();
  client.subscribe(names);
  await settle();
  const bodies = stack.requests.filter(({ path }) => path === "/connections/tickets").map(({ init }) => JSON.parse(init.body).channels);
  assert.deepEqual([bodies.map(({ length }) => length), bodies.flat().sort()], [[100, 100, 50], [...names].sort()]);
  assert.ok(stack.sockets.slice(1).every(({ url, protocols }) => url === "ws://stack?ticket=ticket-1" && protocols === undefined));
  assert.deepEqual([client.state.name, stack.sockets.filter(({ readyState }) => readyState === 1).length], ["live", 3]);
  client.subscribe(names.slice(0, 100));
  await settle();
  assert.equal(stack.sockets.filter(({ readyState }) => readyState === 1).length, 1);
});

const many = (length) => Array.from({ length }, (_, at) => `c${at}`);
/** Returns the numbers of channels that the open sockets name. */
const shares = (stack) => stack.sockets.filter(({ readyState }) => readyState === 1).map(({ url }) => new URL(url).searchParams.get("channels")?.split(",").length ?? 0);

test("without the list, more than a hundred channels are refused, and the connection stays", async () => {
  const stack = new Stack();
  const client = stack.client();
  client.subscribe(many(100));
  await settle();
  assert.throws(() => client.subscribe(many(101)), (error) => error instanceof RangeError && error.message.includes("channelsOf(client)"));
  await settle();
  assert.deepEqual([client.state.name, shares(stack), stack.sockets.length], ["live", [100], 1]);
});

test("neither the order of channels nor a repeated one needs another socket", async () => {
  const stack = new Stack();
  const client = stack.client();
  client.subscribe(["b", "a"]);
  await settle();
  client.subscribe(["a", "b", "a"]);
  await settle();
  assert.equal(stack.sockets.length, 1);
});

test("a list that comes later keeps the open socket, and adds others", async () => {
  const stack = new Stack();
  const client = stack.client();
  client.subscribe(many(100));
  await settle();
  channelsOf(client);
  client.subscribe(many(101));
  await settle();
  assert.deepEqual([client.state.name, shares(stack), stack.sockets.length], ["live", [100, 1], 2]);
});

test("several sockets act as one connection", async () => {
  const stack = new Stack();
  const client = stack.client();
  channelsOf(client);
  client.subscribe(many(101));
  await client.open("c100");
  await settle();
  const [first, second] = stack.sockets;
  const states = [];
  client.on("state", ({ name }) => states.push(name));
  first.receive({ type: "hello", connection_id: "c1", channels_left_out: 1 });
  second.receive({ type: "hello", connection_id: "c2", channels_left_out: 2 });
  assert.deepEqual([client.connectionId, client.leftOut], ["c1", 3]);
  client.check();
  assert.deepEqual([first.sent, second.sent], [[{ action: "ping" }], [{ action: "ping" }]]);
  stack.accepting = false;
  const asked = stack.requests.length;
  first.drop();
  assert.deepEqual([client.connectionId, client.leftOut, client.state.name], [null, 2, "waiting"], "the state of the worst socket");
  stack.accepting = true;
  client.retryNow();
  await settle();
  assert.deepEqual([states, shares(stack)], [["waiting", "connecting", "live"], [1, 100]]);
  assert.deepEqual(stack.asked(asked), [], "the other socket has missed nothing");
  client.setOnline(false);
  second.drop();
  assert.equal(client.state.name, "offline");
  client.setOnline(true);
  await settle();
  assert.deepEqual([client.state.name, shares(stack).length], ["live", 2]);
  assert.ok(stack.asked(asked).some((one) => one.startsWith("GET /channels/c100/messages?after")), "this socket has");
  stack.live.receive({ type: "channel.deleted", channel_id: "c100" });
  await settle();
  assert.deepEqual([client.state.name, shares(stack)], ["live", [100]], "a socket without a channel is closed");
  client.subscribe(many(150));
  await settle();
  client.close();
  client.retryNow();
  await stack.clock.advance(600_000);
  assert.deepEqual([client.state.name, shares(stack)], ["closed", []]);
});

test("a removed channel is not named in later handshakes", async () => {
  for (const isDivided of [false, true]) {
    const stack = new Stack();
    const client = stack.client();
    if (isDivided) channelsOf(client);
    client.subscribe(["lobby", "hall"]);
    await settle();
    stack.receive({ type: "member.removed", user_id: "alice" });
    stack.live.drop();
    await stack.clock.advance(2_000);
    assert.equal(new URL(stack.live.url).searchParams.get("channels"), "hall");
  }
});

test("a client that was never connected, or is closed, does not connect by itself", async () => {
  const stack = new Stack();
  const client = stack.client();
  client.retryNow();
  client.subscribe(["lobby"]);
  client.close();
  client.retryNow();
  client.setOnline(false);
  client.setOnline(true);
  await stack.clock.advance(600_000);
  assert.deepEqual([client.state.name, stack.sockets.length], ["closed", 0]);
  client.subscribe(["lobby"]);
  await settle();
  assert.equal(client.state.name, "live");
});

test("a user with more channels than one socket has room for gets more sockets", async () => {
  const stack = new Stack();
  const client = stack.client();
  const channels = Array.from({ length: 120 }, (_, at) => ({ channel_id: `c${at}`, version: 1, last_seq: 0, membership: { read_seq: 0, unread_count: 0 } }));
  stack.intercept = (url) => (url.pathname === "/channels" ? Response.json({ channels, has_more: false }) : undefined);
  const list = channelsOf(client);
  client.subscribe();
  await settle();
  stack.hello({ channels_left_out: 20 });
  assert.equal(client.leftOut, 20);
  await settle();
  await settle();
  const sockets = () => stack.sockets.filter(({ readyState }) => readyState === 1).map(({ url }) => decodeURIComponent(url).split(",").length).sort((a, b) => b - a);
  assert.deepEqual([client.state.name, client.leftOut, sockets()], ["live", 0, [100, 20]]);
  client.subscribe();
  channels.pop();
  await list.load();
  await settle();
  assert.deepEqual([client.state.name, sockets()], ["live", [99, 20]], "the channels that are left");
  client.subscribe(["c0"]);
  await settle();
  assert.deepEqual(sockets(), [1]);
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

test("offline is said, and the network's return is not waited out", async () => {
  const stack = new Stack();
  const client = await opened(stack);
  stack.accepting = false;
  client.setOnline(false);
  stack.live.drop();
  const states = [];
  client.on("state", (detail) => states.push(detail.name));
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

test("waits double up to a limit, and all of each is chance", () => {
  assert.equal(backoff(0, () => 0), 0);
  assert.equal(backoff(0, () => 1), 1_000);
  assert.equal(backoff(3, () => 1), 8_000);
  assert.equal(backoff(50, () => 1), 30_000);
  assert.equal(backoff(50, () => 0.5), 15_000);
  assert.equal(backoff(1, () => 0.5, { retryAfter: 7 }), 8_000, "after the wait that the server asked for");
});
