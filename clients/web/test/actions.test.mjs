// Tests of what a user may do with a message, of threads, of quotes, and of texts that are not sent.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ACTIONS, actionOf, actionsFor, isComposing, lastOwn } from "../message-actions.js";
import { Quotes } from "../quotes.js";
import { Texts } from "../texts.js";
import { Thread, withSummary } from "../thread.js";

const message = (seq, rest = {}) => ({ seq, version: 1, sender_id: "bob", role: "user", content: `message ${seq}`, ...rest });
const allowed = (rest, user) => actionsFor(message(1, rest), { userId: "alice", role: "member", isArchived: false, ...user });

test("only the author edits, and only the author or a moderator deletes", () => {
  const common = ["react", "reply", "thread", "copy", "journey"];
  assert.deepEqual(allowed({}), common);
  assert.deepEqual(allowed({}, { role: "moderator" }), [...common, "delete"]);
  assert.deepEqual(allowed({}, { role: "owner" }), [...common, "delete"]);
  assert.deepEqual(allowed({ sender_id: "alice" }), ["react", "reply", "thread", "copy", "edit", "journey", "delete"]);
  // An agent may have the id of a user.
  assert.deepEqual(allowed({ sender_id: "alice", role: "agent" }), common);
});

test("a deleted message has no text, and an archived channel changes no more", () => {
  const deleted = { deleted_at: "2026-05-01T12:00:00.000Z", sender_id: "alice" };
  assert.deepEqual(allowed(deleted), ["reply", "journey"]);
  assert.deepEqual(allowed({ ...deleted, thread: { reply_count: 1 } }), ["reply", "thread", "journey"]);
  assert.deepEqual(allowed({ sender_id: "alice" }, { isArchived: true, role: "owner" }), ["thread", "copy", "journey"]);
});

test("each action has a key of its own, which the browser's keys do not cause", () => {
  const keys = Object.values(ACTIONS).map(({ key }) => key);
  assert.equal(new Set(keys).size, keys.length);
  assert.equal(actionOf({ key: "e" }), "edit");
  assert.equal(actionOf({ key: "E" }), "edit");
  assert.equal(actionOf({ key: "Delete" }), "delete");
  assert.equal(actionOf({ key: "Backspace" }), "delete");
  assert.equal(actionOf({ key: "+" }), "react");
  assert.equal(actionOf({ key: "x" }), undefined);
  for (const modifier of ["ctrlKey", "metaKey", "altKey"]) assert.equal(actionOf({ key: "r", [modifier]: true }), undefined);
});

test("the last own message is no deleted one, and none of another user or role", () => {
  const own = { sender_id: "alice" };
  const list = [message(1, own), message(2, own), message(3, { ...own, deleted_at: "x" }), message(4), message(5, { ...own, role: "agent" })];
  assert.equal(lastOwn(list, "alice").seq, 2);
  assert.equal(lastOwn(list, "carol"), undefined);
});

test("an input method handles its keys, also after the end of a composition", () => {
  assert.equal(isComposing({ isComposing: true, keyCode: 13 }), true);
  assert.equal(isComposing({ isComposing: false, keyCode: 229 }), true);
  assert.equal(isComposing({ isComposing: false, keyCode: 13 }), false);
});

test("a thread has its root and its replies in their order, each in its newest state", () => {
  const thread = new Thread(3);
  assert.equal(thread.root, undefined);
  assert.equal(thread.take([message(3), message(4), message(9, { thread_seq: 3 }), message(7, { thread_seq: 3 }), message(8, { thread_seq: 4 })]), true);
  assert.deepEqual(thread.replies.map(({ seq }) => seq), [7, 9]);
  assert.equal(thread.root.seq, 3);
  assert.equal(thread.take([message(7, { thread_seq: 3, version: 3, content: "new" })]), true);
  assert.equal(thread.take([message(7, { thread_seq: 3, version: 2, content: "late" })]), false);
  assert.equal(thread.get(7).content, "new");
  // The summary of a root changes without a version.
  thread.take([message(3, { thread: { reply_count: 2 } })]);
  assert.equal(thread.root.thread.reply_count, 2);
  assert.equal(thread.take([message(5)]), false);
});

test("the root of a thread is shown with the replies that came after its summary, and other messages as they are", () => {
  const thread = { reply_count: 1, last_reply_seq: 4, last_reply_at: "t4" };
  const messages = [message(3, { thread }), message(4, { thread_seq: 3 }), message(9, { thread_seq: 3, created_at: "t9" })];
  const shown = messages.map((one) => withSummary({ messages }, one));
  assert.deepEqual(shown[0].thread, { reply_count: 2, last_reply_seq: 9, last_reply_at: "t9" });
  assert.equal(messages[0].thread, thread);
  assert.deepEqual([shown[1] === messages[1], shown[2] === messages[2]], [true, true]);
});

test("what is being written belongs to the thread of its question, but not to the thread that the question begins", () => {
  const thread = new Thread(3);
  thread.take([message(3), message(7, { thread_seq: 3 })]);
  assert.deepEqual(thread.drafts([{ replyTo: 3 }, { replyTo: 7 }, { replyTo: 8 }]), [{ replyTo: 7 }]);
  assert.deepEqual(thread.pending([{ key: "a", threadSeq: 3 }, { key: "b", threadSeq: null }]).map(({ key }) => key), ["a"]);
});

/** Returns a channel that holds message 1, and the requests for others with their answers. */
function channel() {
  const asked = [];
  const read = (seq) => new Promise((resolve, reject) => asked.push({ seq, resolve, reject }));
  return { asked, log: { get: (seq) => (seq === 1 ? message(1) : undefined) }, message: read };
}

const settled = () => new Promise((resolve) => setImmediate(resolve));

test("a quote is read once, and later states are taken", async () => {
  let shown = 0;
  const quotes = new Quotes(() => (shown += 1));
  const open = channel();
  quotes.open(open);
  assert.equal(quotes.get(1).seq, 1);
  assert.equal(quotes.get(2), null);
  assert.equal(quotes.get(2), null);
  assert.deepEqual(open.asked.map(({ seq }) => seq), [2]);
  // The event comes before the answer, which is older.
  assert.equal(quotes.take([message(2, { version: 2, content: "edited" }), message(5)]), true);
  open.asked[0].resolve(message(2));
  await settled();
  assert.equal(quotes.get(2).content, "edited");
  assert.equal(shown, 1);
  assert.equal(quotes.take([message(5)]), false);
});

test("a quote that cannot be read is not asked for again, and one of another channel is dropped", async () => {
  const quotes = new Quotes(() => assert.fail("nothing came"));
  const [first, second] = [channel(), channel()];
  quotes.open(first);
  quotes.get(2);
  quotes.get(3);
  first.asked[0].reject(new Error("no answer"));
  quotes.open(second);
  first.asked[1].resolve(message(3));
  await settled();
  quotes.get(3);
  assert.deepEqual(second.asked.map(({ seq }) => seq), [3]);
});

test("a text is kept for its user, its channel and its thread, until it is empty", () => {
  const held = new Map();
  const storage = { getItem: (key) => held.get(key) ?? null, setItem: (key, value) => held.set(key, value), removeItem: (key) => held.delete(key) };
  const texts = new Texts(storage, "alice");
  texts.set("half a thought", "lobby");
  texts.set("another", "lobby", 7);
  assert.equal(texts.get("lobby"), "half a thought");
  assert.equal(texts.get("lobby", 7), "another");
  assert.equal(texts.get("garden"), "");
  assert.equal(new Texts(storage, "bob").get("lobby"), "");
  assert.equal(new Texts(storage, "alice").get("lobby"), "half a thought");
  texts.set("", "lobby");
  assert.equal(texts.get("lobby"), "");
  assert.equal(held.size, 1);
});

test("a tab without a storage keeps no text, and fails at nothing", () => {
  const broken = { getItem: () => assert.fail("no"), setItem: () => { throw new Error("full"); }, removeItem: () => { throw new Error("no"); } };
  for (const storage of [null, { ...broken, getItem: () => { throw new Error("no"); } }]) {
    const texts = new Texts(storage, "alice");
    texts.set("text", "lobby");
    texts.set("", "lobby");
    assert.equal(texts.get("lobby"), "");
  }
});
