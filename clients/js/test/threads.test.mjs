// Tests of threads: their messages, and summaries that count the replies which came later.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createLog } from "../src/store.js";
import { threadsOf } from "../src/threads.js";
import { Stack, opened, settle } from "./stack.mjs";

const message = (seq) => ({ seq, version: 1, message_id: `m${seq}`, created_at: `t${seq}` });
const reply = (seq, root) => ({ ...message(seq), thread_seq: root });
const thread = (reply_count, last_reply_seq) => ({ reply_count, last_reply_seq, last_reply_at: `t${last_reply_seq}` });

/** Returns a log, and the summary of the thread of one of its messages. */
function held(...history) {
  const log = createLog({ userId: null });
  log.addEarlier(history, false);
  const threads = threadsOf(log);
  return { log, summary: (seq) => threads.summary(log.get(seq)) };
}

test("a root counts the replies that come after its summary, each once", () => {
  const { log, summary } = held(reply(3, 1), message(2), { ...message(1), thread: thread(1, 3) });
  assert.equal(summary(1), log.get(1).thread, "none came later");
  assert.equal(summary(2), undefined);
  // 5 comes before 4, which leaves a gap for a while.
  log.push([reply(5, 1)]);
  assert.deepEqual(summary(1), thread(2, 5));
  log.push([reply(4, 1), reply(4, 1)]);
  assert.deepEqual(summary(1), thread(3, 5));
  log.update([{ ...message(1), version: 2, content: "edited", thread: thread(2, 4) }]);
  assert.deepEqual(summary(1), thread(3, 5), "a summary that is later counts fewer on top");
  log.update([{ ...message(1), version: 3 }]);
  assert.deepEqual(summary(1), thread(3, 5), "the larger summary stays");
  log.push([reply(6, 2)]);
  assert.deepEqual([summary(1), summary(2)], [thread(3, 5), thread(1, 6)]);
});

test("a reply that is no longer held does not count", () => {
  const { log, summary } = held(reply(2, 1), message(1));
  assert.deepEqual(summary(1), thread(1, 2));
  log.restart([message(3)], true);
  log.addEarlier([message(1)], false);
  assert.equal(summary(1), undefined);
});

test("a message as the server returns it counts the held replies", () => {
  const { summary } = held(reply(9, 1), message(8));
  assert.equal(summary(8), undefined);
  const threads = threadsOf({ messages: [reply(9, 1)] });
  assert.deepEqual(threads.summary({ ...message(1), thread: thread(4, 7) }), thread(5, 9));
});

test("the summary follows the frames of a channel, whose messages stay as they are held", async () => {
  const stack = new Stack();
  stack.store("root");
  const channel = (await opened(stack)).channel("lobby");
  const threads = threadsOf(channel);
  assert.equal(threadsOf(channel), threads, "one object for each channel");
  assert.equal(threads.summary(channel.log.get(1)), undefined);
  stack.push(stack.store("reply", { thread_seq: 1 }));
  await settle();
  assert.equal(threads.summary(channel.messages[0]).reply_count, 1);
  stack.push(stack.store("another", { thread_seq: 1, created_at: "t3" }));
  await settle();
  const { reply_count, last_reply_seq, last_reply_at } = threads.summary(channel.messages[0]);
  assert.deepEqual([reply_count, last_reply_seq, last_reply_at], [2, 3, "t3"]);
  assert.equal(channel.log.get(1).thread, undefined);
});

test("a thread is read page by page, with the held states of its messages, until it is aborted", async () => {
  const stack = new Stack();
  stack.store("root");
  stack.store("held", { thread_seq: 1 });
  const channel = (await opened(stack)).channel("lobby");
  const pages = [
    { messages: [{ seq: 2, content: "older" }], has_more: true, next: { after: 2 } },
    { messages: [{ seq: 3, content: "far" }], has_more: false },
  ];
  stack.intercept = (url) => (url.pathname.endsWith("/replies") ? Response.json(pages.shift()) : undefined);
  const before = stack.requests.length;
  const messages = await threadsOf(channel).list(1);
  assert.deepEqual(messages.map(({ content }) => content), ["held", "far"]);
  assert.deepEqual(stack.asked(before), ["GET /channels/lobby/messages/1/replies?limit=100&after=1", "GET /channels/lobby/messages/1/replies?limit=100&after=2"]);
  const abort = new AbortController();
  abort.abort();
  await assert.rejects(threadsOf(channel).list(1, { signal: abort.signal }), { name: "AbortError" });
});
