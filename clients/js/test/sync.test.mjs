// Tests of the list of channels of a client: badges, read marks, frames about channels and members.

import assert from "node:assert/strict";
import { test } from "node:test";
import { channelsOf } from "../src/channels.js";
import { Stack, opened, problem, settle } from "./stack.mjs";

/** Returns a client that is live, has the list of channels, and has read the channel up to `readSeq`. */
async function listed(stack, readSeq = 0) {
  stack.readSeq = readSeq;
  const client = await opened(stack);
  await channelsOf(client).load();
  return client;
}

const marks = (stack) => stack.requests.filter(({ path }) => path.endsWith("/read")).map(({ init }) => JSON.parse(init.body).seq);

test("the list comes in pages of a hundred, by cursor", async () => {
  const stack = new Stack();
  const client = stack.client();
  const channel = (id, at) => ({ channel_id: id, version: 1, last_seq: 1, last_message_at: at, membership: { read_seq: 0, unread_count: 1 } });
  const pages = [
    { channels: [channel("a", "2")], has_more: true, next: { cursor: "more" } },
    { channels: [channel("b", "3")], has_more: false },
  ];
  stack.intercept = () => Response.json(pages.shift());
  const found = await channelsOf(client).load();
  assert.deepEqual(found.map(({ channel_id: id }) => id), ["b", "a"]);
  assert.deepEqual(stack.asked(), ["GET /channels?limit=100", "GET /channels?limit=100&cursor=more"]);
});

test("a badge grows with pushes, and goes with the read mark, here or elsewhere", async () => {
  const stack = new Stack();
  stack.store("read");
  const client = await listed(stack, 1);
  const reads = [];
  client.on("read", (detail) => reads.push(detail.seq));
  stack.push(stack.store("new"));
  stack.push(stack.store("newer"));
  assert.equal(channelsOf(client).unread("lobby"), 2);
  channelsOf(client).markRead("lobby", 3);
  assert.equal(channelsOf(client).unread("lobby"), 0);
  stack.push(stack.store("newest"));
  assert.equal(channelsOf(client).unread("lobby"), 1);
  stack.receive({ type: "read.updated", user_id: "bob", read_seq: 4 });
  assert.equal(channelsOf(client).unread("lobby"), 1, "another user has read it");
  stack.receive({ type: "read.updated", user_id: "alice", read_seq: 4 });
  assert.deepEqual([channelsOf(client).unread("lobby"), channelsOf(client).readSeq("lobby"), reads], [0, 4, [4]]);
});

test("read marks are sent one after the other, the newest only, and none after an own message", async () => {
  const stack = new Stack();
  const client = await listed(stack);
  for (let number = 1; number <= 4; number += 1) {
    stack.push(stack.store(`m${number}`));
    channelsOf(client).markRead("lobby", number);
    channelsOf(client).markRead("lobby", number);
  }
  await settle();
  assert.deepEqual(marks(stack), [1]);
  await stack.clock.advance(10_000);
  assert.deepEqual(marks(stack), [1, 4]);
  await client.channel("lobby").send("mine");
  channelsOf(client).markRead("lobby", 5);
  await settle();
  assert.deepEqual(marks(stack), [1, 4]);
  assert.equal(channelsOf(client).readSeq("lobby"), 5);
});

test("a read mark that fails for a while is sent again, and one that is refused is not", async () => {
  const stack = new Stack();
  const client = await listed(stack);
  stack.push(stack.store("one"));
  let failures = 1;
  const isMark = (url) => url.pathname.endsWith("/read");
  stack.intercept = (url) => (isMark(url) && failures-- > 0 ? problem(503, "store_unavailable") : undefined);
  channelsOf(client).markRead("lobby", 1);
  await stack.clock.advance(60_000);
  assert.deepEqual(marks(stack), [1, 1]);
  stack.push(stack.store("two"));
  stack.intercept = (url) => (isMark(url) ? problem(403, "not_a_member") : undefined);
  channelsOf(client).markRead("lobby", 2);
  await stack.clock.advance(60_000);
  assert.deepEqual(marks(stack), [1, 1, 2]);
});

test("a deleted message that may have been counted brings the count again", async () => {
  const stack = new Stack();
  stack.store("one");
  const client = await listed(stack);
  assert.equal(channelsOf(client).unread("lobby"), 1);
  stack.channel = { membership: { role: "member", read_seq: 0, unread_count: 0 } };
  const before = stack.requests.length;
  const message = { ...stack.messages[0], version: 2, content: "", deleted_at: "2026-05-01T12:00:00.000Z" };
  stack.receive({ type: "events", events: [{ type: "message.deleted", seq: 1, version: 2, message }] });
  await settle();
  assert.deepEqual(stack.asked(before), ["GET /channels/lobby"]);
  assert.equal(channelsOf(client).unread("lobby"), 0);
});

test("a count that an older answer has is asked for again", async () => {
  const stack = new Stack();
  const client = await listed(stack);
  let late = 1;
  stack.intercept = (url) =>
    url.pathname === "/channels/lobby" && late-- > 0
      ? Response.json({ channel_id: "lobby", version: 1, last_seq: 0, membership: { read_seq: 0, unread_count: 0 } })
      : undefined;
  // The first of the two is not pushed, so how many are unread is not known.
  stack.store("one");
  stack.push(stack.store("two"));
  await settle();
  assert.equal(channelsOf(client).unread("lobby"), 1, "the answer was older");
  await stack.clock.advance(5_000);
  assert.equal(channelsOf(client).unread("lobby"), 2);
});

test("a channel changes, comes and goes with its frames", async () => {
  const stack = new Stack();
  const client = await listed(stack);
  const ids = () => channelsOf(client).entries.map(({ channel_id: id }) => id);
  stack.receive({ type: "channel.updated", channel: { channel_id: "lobby", name: "Hall", version: 2, last_seq: 0 } });
  assert.equal(channelsOf(client).get("lobby").name, "Hall");
  stack.receive({ type: "member.updated", member: { channel_id: "lobby", user_id: "bob", role: "owner" } });
  stack.receive({ type: "member.updated", member: { channel_id: "lobby", user_id: "alice", role: "moderator" } });
  assert.equal(channelsOf(client).get("lobby").membership.role, "moderator");

  stack.intercept = (url) => (url.pathname === "/channels/attic" ? Response.json({ channel_id: "attic", version: 1, last_seq: 0, membership: { read_seq: 0, unread_count: 0 } }) : undefined);
  stack.receive({ type: "member.joined", channel_id: "attic", member: { channel_id: "attic", user_id: "bob" } });
  await settle();
  assert.deepEqual(ids(), ["lobby"], "another user has joined");
  stack.receive({ type: "member.joined", channel_id: "attic", member: { channel_id: "attic", user_id: "alice" } });
  await settle();
  assert.deepEqual(ids().sort(), ["attic", "lobby"]);

  const removed = [];
  client.on("removed", (detail) => removed.push(detail));
  stack.receive({ type: "member.removed", channel_id: "attic", user_id: "bob" });
  stack.receive({ type: "member.removed", channel_id: "attic", user_id: "alice" });
  stack.receive({ type: "channel.deleted" });
  assert.deepEqual(ids(), []);
  assert.deepEqual(removed, [{ channelId: "attic", isDeleted: false }, { channelId: "lobby", isDeleted: true }]);
  assert.equal(client.channel("lobby").log.messages.length, 0, "the id may belong to another channel later");
});

test("a channel of which the user is no longer a member is not named to the next socket", async () => {
  const stack = new Stack();
  const client = await listed(stack);
  client.subscribe(["lobby", "attic"]);
  await settle();
  await stack.clock.advance(20_000);
  stack.receive({ type: "member.removed", channel_id: "attic", user_id: "alice" });
  stack.receive({ type: "closing", reason: "removed", reconnect: true });
  stack.live.drop();
  await settle();
  assert.equal(client.state.name, "live");
  assert.equal(new URL(stack.live.url).searchParams.get("channels"), "lobby");
});

test("frames about channels ask for nothing before the list was read", async () => {
  const stack = new Stack();
  const client = await opened(stack);
  const before = stack.requests.length;
  stack.push(stack.store("one"));
  stack.receive({ type: "channel.created", channel: { channel_id: "lobby" } });
  for (const nonsense of [{ type: "channel.updated" }, { type: "read.updated", user_id: "alice" }, { type: "member.updated" }]) stack.receive(nonsense);
  await settle();
  assert.deepEqual(stack.asked(before), []);
  assert.deepEqual(channelsOf(client).entries, []);
});

test("a client has one object of its channels, and it needs no frames to read and change them", async () => {
  const stack = new Stack();
  const client = stack.client();
  const channels = channelsOf(client);
  assert.equal(channelsOf(client), channels);
  assert.notEqual(channelsOf(stack.client()), channels);
  const entries = channels.entries;
  assert.deepEqual([entries, channels.entries === entries], [[], true]);
  const answers = {
    "POST /channels": { channel_id: "lobby", name: "Lobby" },
    "PATCH /channels/lobby": { channel_id: "lobby", name: "Hall" },
    "PUT /channels/lobby/members/alice": { user_id: "alice", role: "member" },
    "PUT /channels/lobby/members/b%2Fb": { user_id: "b/b", role: "owner" },
    "DELETE /channels/lobby/members/b%2Fb": {},
    "GET /invitations": { invitations: [{ channel_id: "attic" }] },
    "GET /channels": { channels: [{ channel_id: "hall" }] },
    "DELETE /channels/lobby": {},
  };
  stack.intercept = (url, init) => {
    const answer = answers[`${init.method} ${url.pathname}`];
    return answer && Response.json(answer);
  };
  assert.equal((await channels.create({ name: "Lobby", visibility: "public" })).name, "Lobby");
  assert.notEqual(channels.entries, entries, "the list has changed");
  assert.deepEqual(channels.entries.map(({ channel_id: id }) => id), ["lobby"]);
  stack.channel = { name: "Hall", version: 2 };
  await channels.update("lobby", { name: "Hall" });
  assert.equal(channels.get("lobby").name, "Hall", "it is read again");
  assert.equal((await channels.join("lobby")).role, "member");
  assert.equal((await channels.addMember("lobby", "b/b", { role: "owner" })).role, "owner");
  assert.equal(stack.requests.at(-1).init.body, '{"role":"owner"}');
  assert.equal(await channels.removeMember("lobby", "b/b"), undefined);
  assert.deepEqual(await channels.invitations(), [{ channel_id: "attic" }]);
  assert.deepEqual(await channels.find({ visibility: "public" }), [{ channel_id: "hall" }]);
  assert.equal(stack.requests.at(-1).path, "/channels?limit=100&visibility=public");
  assert.deepEqual(channels.entries.map(({ channel_id: id }) => id), ["lobby"], "what was found is not in the list");
  const removed = [];
  client.on("removed", (detail) => removed.push([detail, channels.entries.length]));
  await channels.remove("lobby");
  assert.deepEqual(removed, [[{ channelId: "lobby", isDeleted: true }, 0]]);
});

test("a request of the list can be aborted, and is refused with its problem", async () => {
  const stack = new Stack();
  const channels = channelsOf(stack.client());
  const abort = new AbortController();
  abort.abort();
  for (const asked of [channels.load(abort), channels.members("lobby", abort), channels.create({ name: "a", visibility: "public" }, abort)]) {
    await assert.rejects(asked, { name: "AbortError" });
  }
  stack.intercept = () => problem(403, "not_permitted");
  await assert.rejects(channels.update("lobby", {}), { code: "not_permitted" });
  assert.deepEqual(channels.entries, []);
});

test("without the list, the client tells how many channels are left out, and ends removed ones", async () => {
  const stack = new Stack();
  const client = await opened(stack);
  const events = [];
  for (const type of ["leftOut", "removed", "channels"]) client.on(type, () => events.push(type));
  client.subscribe();
  await settle();
  stack.hello({ channels_left_out: 3 });
  stack.receive({ type: "member.removed", user_id: "alice" });
  await settle();
  assert.deepEqual([events, client.leftOut, stack.sockets.filter(({ readyState }) => readyState === 1).length], [["leftOut", "removed"], 3, 1]);
  channelsOf(client);
  await settle();
  assert.ok(stack.asked().some((one) => one.startsWith("GET /channels?")), "a list that comes later divides them too");
});
