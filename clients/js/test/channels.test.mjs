// Tests of the list of channels: order, previews, unread counts.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ChannelList, UNREAD_COUNTED } from "../src/channel-list.js";

const time = (minute) => `2026-05-01T12:${String(minute).padStart(2, "0")}:00.000Z`;

const channel = (id, { seq = 0, read = 0, unread = 0, ...rest } = {}) => ({
  channel_id: id,
  name: id,
  created_at: time(0),
  last_seq: seq,
  last_message_at: seq > 0 ? time(seq) : undefined,
  version: 1,
  membership: { role: "member", joined_at: time(0), read_seq: read, unread_count: unread },
  ...rest,
});

const message = (seq, sender_id = "bob", rest = {}) => ({ seq, sender_id, role: "user", content: `m${seq}`, created_at: time(seq), version: 1, ...rest });

function listOf(...channels) {
  const list = new ChannelList({ userId: "alice" });
  list.replace(channels);
  return list;
}

const ids = (list) => list.entries.map(({ channel_id: id }) => id);

test("the newest activity comes first, and archived channels do not come", () => {
  const list = listOf(channel("b", { seq: 2 }), channel("a", { seq: 2 }), channel("old"), channel("done", { seq: 9, archived_at: time(10) }), channel("c", { seq: 3 }));
  assert.deepEqual(ids(list), ["c", "a", "b", "old"]);
  list.created("old", [message(1, "bob", { created_at: time(30) })]);
  assert.deepEqual(ids(list), ["old", "c", "a", "b"]);
  assert.equal(list.get("done").archived_at, time(10), "it is known all the same");
});

test("others' messages are counted, once each, and the newest is the preview", () => {
  const list = listOf(channel("a", { seq: 1, read: 1 }));
  assert.equal(list.created("a", [message(3), message(2)]), true);
  assert.equal(list.created("a", [message(3)]), true);
  assert.equal(list.unread("a"), 2);
  assert.deepEqual([list.get("a").last_seq, list.get("a").last_message.content, list.get("a").last_message_at], [3, "m3", time(3)]);
  list.created("a", [message(4, "bob", { deleted_at: time(5) })]);
  assert.equal(list.unread("a"), 2, "a deleted one is not unread");
  list.created("a", [message(5, "bob", { content: "👍".repeat(300) })]);
  assert.equal([...list.get("a").last_message.content].length, 201, "200 characters and an ellipsis");
});

test("an own message moves what counts as read", () => {
  const list = listOf(channel("a", { seq: 4, read: 1, unread: 3 }));
  list.created("a", [message(5, "alice"), message(6)]);
  assert.deepEqual([list.unread("a"), list.readSeq("a")], [1, 5]);
  const other = listOf(channel("a", { seq: 4, read: 1, last_message: message(4, "alice") }));
  assert.equal(other.readSeq("a"), 4, "also one that the list came with");
  other.created("a", [message(5, "alice", { role: "agent" })]);
  assert.equal(other.unread("a"), 1, "a message of the agent counts, also for a user with its id");
});

test("no more are counted than the server counts", () => {
  const list = listOf(channel("a", { seq: 100, unread: UNREAD_COUNTED - 1 }));
  list.created("a", [message(101), message(102), message(103)]);
  assert.equal(list.unread("a"), UNREAD_COUNTED);
});

test("the channel is to be read again where a frame does not suffice", () => {
  const list = listOf(channel("a", { seq: 4, read: 1, unread: 3 }));
  assert.equal(list.created("b", [message(1)]), false, "the channel is not known");
  assert.equal(list.created("a", [message(6)]), false, "5 is missing");
  assert.equal(list.revised("a", message(3, "bob", { deleted_at: time(9) })), false, "it may have been counted");
  assert.equal(list.revised("a", message(1, "bob", { deleted_at: time(9) })), true, "it was read before");
  assert.equal(list.revised("a", message(4, "alice", { deleted_at: time(9) })), true, "it was never counted");
  assert.equal(list.revised("a", message(3, "bob", { edited_at: time(9) })), true);
  assert.equal(list.read("a", 3), false, "some remain, and how many is not known");
});

test("the read mark goes forward, here or on another device", () => {
  const list = listOf(channel("a", { seq: 4, read: 1, unread: 3 }));
  assert.equal(list.read("a", 4), true);
  assert.deepEqual([list.unread("a"), list.readSeq("a")], [0, 4]);
  assert.equal(list.read("a", 2), true);
  assert.equal(list.readSeq("a"), 4);
  assert.equal(list.read("nowhere", 2), true);
});

test("a message that changes changes its preview", () => {
  const list = listOf(channel("a", { seq: 4, read: 4, last_message: message(4) }));
  list.revised("a", message(3, "bob", { content: "older" }));
  assert.equal(list.get("a").last_message.content, "m4");
  list.revised("a", message(4, "bob", { content: "", deleted_at: time(9) }));
  assert.equal(list.get("a").last_message.deleted_at, time(9));
  list.put(channel("a", { seq: 4, read: 4, last_message: message(4, "bob", { content: "newest", version: 3 }) }));
  list.revised("a", message(4, "bob", { content: "late", version: 2 }));
  assert.equal(list.get("a").last_message.content, "newest", "an event that an answer overtook");
});

test("an answer that was overtaken by frames does not undo them", () => {
  const list = listOf(channel("a", { seq: 4, read: 1, unread: 3 }));
  list.created("a", [message(5)]);
  list.describe({ ...channel("a"), version: 3, name: "Renamed", membership: undefined });
  assert.equal(list.put(channel("a", { seq: 4, read: 1, unread: 3, version: 2 })), false);
  assert.deepEqual([list.get("a").last_seq, list.unread("a"), list.get("a").name], [5, 4, "Renamed"]);
  list.read("a", 5);
  assert.equal(list.put(channel("a", { seq: 5, read: 1, unread: 4, version: 3 })), false, "it was read meanwhile");
  assert.equal(list.unread("a"), 0);
  assert.equal(list.put(channel("a", { seq: 6, read: 5, unread: 1, version: 3 })), true);
  assert.equal(list.unread("a"), 1);
});

test("a frame about a channel leaves what is only the user's", () => {
  const list = listOf(channel("a", { seq: 4, read: 1, unread: 3, last_message: message(4) }));
  const renamed = { ...channel("a", { seq: 2 }), version: 2, name: "Renamed", membership: undefined };
  assert.equal(list.describe(renamed), true);
  const held = list.get("a");
  assert.deepEqual([held.name, held.last_seq, held.membership.unread_count, held.last_message.seq], ["Renamed", 4, 3, 4]);
  assert.equal(list.describe({ ...renamed, version: 1, name: "Before" }), false);
  assert.equal(list.describe({ ...renamed, channel_id: "b" }), false, "the user may not be a member");
  list.describe({ ...renamed, version: 3, archived_at: time(9) });
  assert.deepEqual(ids(list), []);
  list.giveRole("a", "owner");
  assert.equal(list.get("a").membership.role, "owner");
});

test("a whole list replaces what was there, but not what came after it was asked for", () => {
  const list = listOf(channel("left"), channel("stays"));
  const since = list.changes;
  list.put(channel("joined"));
  list.replace([channel("stays"), channel("new")], since);
  assert.deepEqual(ids(list).sort(), ["joined", "new", "stays"]);
  list.put({ ...channel("joined"), membership: undefined });
  assert.deepEqual(ids(list).sort(), ["new", "stays"], "a channel without a membership is not the user's");
});
