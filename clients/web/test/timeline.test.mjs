// Tests of the rows that the page derives from a log and an outbox.

import assert from "node:assert/strict";
import { test } from "node:test";
import { answer, timeline } from "../timeline.js";

const at = (day, minute) => new Date(2026, 4, day, 12, minute).toISOString();
const message = (seq, sender_id, created_at, rest = {}) => ({ seq, sender_id, role: "user", created_at, ...rest });
const types = (rows) => rows.map(({ type }) => type);

test("a day begins with its name, and a run of one sender stands together", () => {
  const rows = timeline({
    messages: [
      message(1, "alice", at(1, 0)),
      message(2, "alice", at(1, 1)),
      message(3, "bob", at(1, 2)),
      message(4, "bob", at(1, 30)),
      message(5, "bob", at(2, 0)),
    ],
    pending: [],
    userId: "alice",
  });
  assert.deepEqual(types(rows), ["day", "message", "message", "message", "message", "day", "message"]);
  const grouped = rows.filter(({ type }) => type === "message").map((row) => row.grouped);
  assert.deepEqual(grouped, [false, true, false, false, false]);
});

test("a reply and another role begin anew", () => {
  const rows = timeline({
    messages: [
      message(1, "bot", at(1, 0)),
      message(2, "bot", at(1, 0), { role: "agent" }),
      message(3, "bot", at(1, 0), { role: "agent", reply_to: 1 }),
    ],
    pending: [],
    userId: "alice",
  });
  assert.deepEqual(rows.slice(1).map((row) => row.grouped), [false, false, false]);
});

test("the unread mark stands before the first new message of somebody else, once", () => {
  const list = [message(1, "bob", at(1, 0)), message(2, "alice", at(1, 1)), message(3, "bob", at(1, 2)), message(4, "bob", at(1, 3))];
  const marked = timeline({ messages: list, pending: [], userId: "alice", readSeq: 1 });
  assert.deepEqual(types(marked), ["day", "message", "message", "unread", "message", "message"]);
  assert.deepEqual(types(timeline({ messages: list, pending: [], userId: "alice" })).includes("unread"), false);
});

test("what is being sent comes last, with a key of its own", () => {
  const rows = timeline({
    messages: [message(1, "alice", at(1, 0))],
    pending: [{ key: "k", createdAt: Date.parse(at(1, 0)), replyTo: null }],
    userId: "alice",
  });
  assert.deepEqual(rows.at(-1).key, "key-k");
  assert.equal(new Set(rows.map(({ key }) => key)).size, rows.length);
});

test("deleted messages and one's own are not unread", () => {
  const list = [
    message(1, "bob", at(1, 0)),
    message(2, "bob", at(1, 1), { deleted_at: at(1, 2) }),
    message(3, "alice", at(1, 2)),
    message(4, "bob", at(1, 3)),
  ];
  const rows = timeline({ messages: list, pending: [], userId: "alice", readSeq: 1 });
  assert.deepEqual(types(rows), ["day", "message", "message", "message", "unread", "message"]);
  assert.deepEqual(types(timeline({ messages: list.slice(0, 3), pending: [], userId: "alice", readSeq: 1 })).includes("unread"), false);
});

test("a run in one thread shows its root once, and a quote is always shown", () => {
  const rows = timeline({
    messages: [
      message(1, "bob", at(1, 0)),
      message(2, "bob", at(1, 0), { thread_seq: 1 }),
      message(3, "bob", at(1, 1), { thread_seq: 1 }),
      message(4, "bob", at(1, 1), { thread_seq: 1, reply_to: 3 }),
      message(5, "bob", at(1, 1)),
      message(6, "bob", at(1, 1)),
    ],
    pending: [{ key: "k", createdAt: Date.parse(at(1, 2)), replyTo: null, threadSeq: 1 }],
    userId: "alice",
  });
  assert.deepEqual(rows.slice(1).map(({ grouped }) => grouped), [false, false, true, false, false, true, false]);
  assert.deepEqual(rows.slice(1).map(({ quoted }) => quoted), [undefined, 1, undefined, 3, undefined, undefined, 1]);
});

test("in a thread, nothing quotes its root as the root", () => {
  const rows = timeline({
    messages: [message(2, "bob", at(1, 0), { thread_seq: 1 }), message(3, "carol", at(1, 1), { thread_seq: 1, reply_to: 2 })],
    pending: [{ key: "k", createdAt: Date.parse(at(1, 2)), replyTo: null, threadSeq: 1 }],
    userId: "alice",
    threadSeq: 1,
  });
  assert.deepEqual(rows.slice(1).map(({ quoted }) => quoted), [undefined, 2, undefined]);
});

test("the row of a message stays when reactions come, and that of a draft while it grows", () => {
  const rows = (version, id) =>
    timeline({ messages: [message(1, "bob", at(1, 0), { version })], drafts: [{ id, replyTo: 1 }], pending: [], userId: "alice" });
  assert.deepEqual(rows(1, "of-1").map(({ key }) => key), rows(2, "d1").map(({ key }) => key));
});

test("an answer quotes, or belongs to the thread, whose root it need not quote", () => {
  assert.deepEqual(answer({ seq: 4 }, false), { replyTo: 4 });
  assert.deepEqual(answer({ seq: 4 }, true), { threadSeq: 4 });
  assert.deepEqual(answer({ seq: 6, thread_seq: 4 }, true), { replyTo: 6, threadSeq: 4 });
  assert.deepEqual(answer({ seq: 6, thread_seq: 4 }, false), { replyTo: 6 });
});
