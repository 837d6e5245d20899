// Tests of the client's live connection: opening, renewal, announced and unannounced ends.

import assert from "node:assert/strict";
import { test } from "node:test";
import { backoff } from "../src/time.js";
import { Stack, contents, opened, settle, tokenNumber } from "./stack.mjs";

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

test("the token is replaced before its end without closing the live socket first", async () => {
  const stack = new Stack();
  const client = await opened(stack);
  const states = [];
  client.on("state", (detail) => states.push(detail.name));
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
