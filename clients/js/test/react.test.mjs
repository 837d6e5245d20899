// Tests of what each hook shows and does, with React in a document and the stack in memory.

import { counted, deferred, historyReads, live, mount, probeOf, run, texts } from "./components.mjs";
import assert from "node:assert/strict";
import { test } from "node:test";
import { createElement, memo } from "react";
import { useChannels, useConnection, useMessages, usePresence, useReply, useSend, useTyping } from "../react/index.js";
import { Stack, problem } from "./stack.mjs";

test("useConnection follows the state, and keeps one object for it", async () => {
  const stack = new Stack();
  const client = counted(stack);
  const probe = probeOf(useConnection);
  const { is } = await mount(client, probe);
  assert.deepEqual(probe.now, { name: "closed" });
  await run(() => client.subscribe());
  assert.equal(probe.now.name, "live");
  const before = probe.now;
  await is({ again: 1 });
  assert.equal(probe.now, before);
  await run(() => stack.sockets.at(-1).drop());
  assert.equal(probe.now.name, "waiting");
  assert.equal(typeof probe.now.retryAt, "number");
  await run(() => client.close());
  assert.deepEqual(probe.now, { name: "closed" });
});

test("useChannels reads the list, counts unread messages, and reads again after each connect", async () => {
  const stack = new Stack();
  stack.store("one");
  const client = await live(stack);
  const probe = probeOf(useChannels);
  const { is } = await mount(client, probe);
  assert.deepEqual([probe.all[0].isLoading, probe.all[0].channels], [true, []]);
  assert.deepEqual(
    probe.now.channels.map(({ name }) => name),
    ["Lobby"],
  );
  assert.deepEqual([probe.now.isLoading, probe.now.error, probe.now.unread.get("lobby")], [false, null, 1]);
  const before = probe.now;
  await is({ again: 1 });
  assert.equal(probe.now, before, "the same object without a change");
  await run(() => stack.push(stack.store("two")));
  assert.equal(probe.now.unread.get("lobby"), 2);
  const reads = () => stack.asked().filter((one) => one.startsWith("GET /channels?")).length;
  assert.equal(reads(), 1);
  stack.store("missed");
  await run(() => stack.live.drop());
  await run(() => stack.clock.advance(2_000));
  assert.equal(reads(), 2);
  assert.equal(probe.now.unread.get("lobby"), 3);
});

test("a failed list has an error, and can be read again", async () => {
  const stack = new Stack();
  const client = await live(stack);
  stack.intercept = () => problem(403, "missing_scope");
  const probe = probeOf(useChannels);
  await mount(client, probe);
  assert.deepEqual([probe.now.error?.code, probe.now.isLoading], ["missing_scope", false]);
  stack.intercept = null;
  await run(() => probe.now.reload());
  assert.deepEqual([probe.now.error, probe.now.channels.length], [null, 1]);
});

test("useMessages opens the channel once for all components, and follows it", async () => {
  const stack = new Stack();
  stack.store("one");
  const client = await live(stack);
  const [first, second] = [probeOf(useMessages), probeOf(useMessages)];
  const Both = () => [createElement(() => first("lobby"), { key: 1 }), createElement(() => second("lobby"), { key: 2 })];
  await mount(client, memo(Both));
  assert.equal(first.all[0].isLoading, true);
  assert.deepEqual([texts(first.now), first.now.isLoading, first.now.error], [["one"], false, null]);
  assert.equal(first.now, second.now, "one snapshot for both");
  assert.equal(historyReads(stack), 1);
  const { edit, messages } = first.now;
  await run(() => stack.push(stack.store("two")));
  assert.deepEqual(texts(first.now), ["one", "two"]);
  assert.equal(first.now, second.now);
  assert.equal(first.now.edit, edit, "methods stay");
  assert.equal(first.now.messages[0], messages[0], "messages stay");
});

test("an array stays the same while another field changes", async () => {
  const stack = new Stack();
  stack.store("question");
  const client = await live(stack);
  const probe = probeOf(() => useMessages("lobby"));
  await mount(client, probe);
  const { messages } = probe.now;
  const piece = (position, text) => stack.receive({ type: "message.delta", draft_id: "d1", reply_to: 1, status: "writing", position, text });
  await run(() => piece(0, "Well"));
  await run(() => piece(4, ", yes"));
  assert.deepEqual(
    probe.now.drafts.map(({ text }) => text),
    ["Well, yes"],
  );
  assert.equal(probe.now.messages, messages);
  const renders = probe.all.length;
  await run(() => stack.receive({ type: "typing", user_id: "bob" }));
  assert.equal(probe.all.length, renders, "no render for an event of another hook");
});

test("changes of messages are made by useMessages, and their failures reject", async () => {
  const stack = new Stack();
  stack.store("one", { sender_id: "alice" });
  const client = await live(stack);
  const probe = probeOf(() => useMessages("lobby"));
  await mount(client, probe);
  await run(() => probe.now.edit(1, "better"));
  assert.deepEqual(texts(probe.now), ["better"]);
  await run(() => probe.now.react(1, "👍"));
  await run(() => probe.now.unreact(1, "👍"));
  await run(() => probe.now.remove(1));
  const emoji = encodeURIComponent("👍");
  assert.deepEqual(stack.asked().slice(-3), [`PUT /channels/lobby/messages/1/reactions/${emoji}`, `DELETE /channels/lobby/messages/1/reactions/${emoji}`, "DELETE /channels/lobby/messages/1"]);
  await run(() => stack.live.receive({ type: "events", channel_id: "lobby", events: [stack.react(1, "🎉", "bob")] }));
  assert.equal(probe.now.messages[0].reactions[0].count, 1);
  stack.intercept = () => problem(403, "not_permitted");
  await run(() => assert.rejects(probe.now.remove(1), { code: "not_permitted" }));
  assert.equal(probe.now.error, null, "the caller has the error");
});

test("the read mark moves", async () => {
  const stack = new Stack();
  stack.store("one");
  const client = await live(stack);
  const probe = probeOf(() => [useMessages("lobby"), useChannels()]);
  await mount(client, probe);
  assert.equal(probe.now[1].unread.get("lobby"), 1);
  await run(() => probe.now[0].markRead());
  assert.deepEqual([probe.now[1].unread.get("lobby"), stack.readSeq], [0, 1]);
});

test("earlier pages are read one at a time", async () => {
  const stack = new Stack();
  for (let number = 1; number <= 120; number += 1) stack.store(`m${number}`);
  const client = await live(stack);
  const probe = probeOf(() => useMessages("lobby"));
  await mount(client, probe);
  assert.deepEqual([probe.now.messages.length, probe.now.hasEarlier, probe.now.isLoadingEarlier], [50, true, false]);
  const [lag, go] = deferred();
  stack.lag = () => lag;
  await run(() => void probe.now.loadEarlier());
  await run(() => void probe.now.loadEarlier());
  assert.deepEqual([probe.now.isLoadingEarlier, historyReads(stack)], [true, 2]);
  await run(go);
  assert.deepEqual([probe.now.messages.length, probe.now.isLoadingEarlier], [100, false]);
  stack.intercept = () => problem(400, "invalid_request");
  await run(() => probe.now.loadEarlier());
  assert.deepEqual([probe.now.error?.code, probe.now.messages.length, probe.now.isLoading], ["invalid_request", 100, false]);
  stack.intercept = null;
  await run(() => probe.now.loadEarlier());
  assert.deepEqual([probe.now.error, probe.now.messages.length, probe.now.hasEarlier], [null, 120, false]);
});

test("a channel that the user must leave is opened again, which tells the reason", async () => {
  const stack = new Stack();
  stack.store("one");
  const client = await live(stack);
  const probe = probeOf(() => useMessages("lobby"));
  await mount(client, probe);
  stack.intercept = ({ pathname }) => (pathname.startsWith("/channels/lobby") ? problem(404, "channel_not_found") : undefined);
  await run(() => stack.receive({ type: "channel.deleted" }));
  assert.deepEqual([texts(probe.now), probe.now.error?.code], [[], "channel_not_found"]);
});

test("useSend shows a message until it is stored; a failed one can be retried or discarded", async () => {
  const stack = new Stack();
  const client = await live(stack);
  const probe = probeOf(() => [useSend("lobby"), useMessages("lobby")]);
  await mount(client, probe);
  const [lag, go] = deferred();
  stack.lag = () => lag;
  await run(() => void probe.now[0].send("hello", { metadata: { from: "test" } }));
  assert.deepEqual(
    probe.now[0].outbox.map(({ content, state }) => [content, state]),
    [["hello", "sending"]],
  );
  assert.equal(probe.now[1].outbox[0], probe.now[0].outbox[0]);
  await run(go);
  assert.deepEqual([probe.now[0].outbox, texts(probe.now[1])], [[], ["hello"]]);
  stack.intercept = (url, { method }) => (method === "POST" ? problem(403, "not_permitted") : undefined);
  await run(() => probe.now[0].send("again"));
  await run(() => probe.now[0].send("never"));
  assert.deepEqual(
    probe.now[0].outbox.map(({ state, error }) => [state, error.code]),
    [["failed", "not_permitted"], ["failed", "not_permitted"]],
  );
  stack.intercept = null;
  await run(() => probe.now[0].discard(probe.now[0].outbox[1].key));
  await run(() => probe.now[0].retry(probe.now[0].outbox[0].key));
  assert.deepEqual([probe.now[0].outbox, texts(probe.now[1])], [[], ["hello", "again"]]);
});

test("useTyping shows others, and says that the user types without a failure", async () => {
  const stack = new Stack();
  const client = await live(stack);
  const probe = probeOf(() => useTyping("lobby"));
  await mount(client, probe);
  await run(() => stack.receive({ type: "typing", user_id: "bob" }));
  assert.deepEqual(probe.now.typing, ["bob"]);
  await run(() => stack.receive({ type: "typing", user_id: "bob", channel_id: "den" }));
  await run(() => stack.clock.advance(5_000));
  assert.deepEqual(probe.now.typing, []);
  stack.intercept = () => problem(500, "internal_error");
  await run(() => probe.now.sendTyping());
  assert.equal(stack.asked().at(-1), "POST /channels/lobby/typing");
});

test("usePresence reads the present users, and follows them", async () => {
  const stack = new Stack();
  const client = await live(stack);
  stack.intercept = ({ pathname }) => (pathname.endsWith("/presence") ? Response.json({ users: [{ user_id: "bob" }], has_more: false }) : undefined);
  const probe = probeOf(() => usePresence("lobby"));
  await mount(client, probe);
  assert.deepEqual(probe.now, ["bob"]);
  await run(() => stack.receive({ type: "presence.joined", user_id: "ann" }));
  assert.deepEqual(probe.now, ["ann", "bob"]);
  const renders = probe.all.length;
  await run(() => stack.receive({ type: "presence.joined", user_id: "ann" }));
  assert.equal(probe.all.length, renders, "no render without a change");
});

test("useReply grows, stops, and ends as a message", async () => {
  const stack = new Stack();
  stack.store("question");
  stack.intercept = (url) => (url.pathname.endsWith("/cancel") ? new Response(null, { status: 202 }) : undefined);
  const client = await live(stack);
  const probe = probeOf(() => useReply("lobby", 1));
  await mount(client, probe);
  const now = () => [probe.now.status, probe.now.text];
  const piece = (position, text, status) => stack.receive({ type: "message.delta", draft_id: "d1", reply_to: 1, status, position, text });
  assert.deepEqual(now(), [null, ""]);
  await run(() => piece(0, "", "thinking"));
  assert.deepEqual(now(), ["thinking", ""]);
  await run(() => piece(0, "Once", "writing"));
  await run(() => piece(4, " upon", "writing"));
  assert.deepEqual(now(), ["writing", "Once upon"]);
  const renders = probe.all.length;
  await run(() => stack.push(stack.store("not about it")));
  assert.equal(probe.all.length, renders, "no render for other messages");
  await run(() => probe.now.stop());
  assert.equal(stack.asked().at(-1), "POST /channels/lobby/messages/1/reply/cancel");
  await run(() => stack.push(stack.store("Once upon", { role: "agent", sender_id: "agent", reply_to: 1, agent: { status: "cancelled", draft_id: "d1" } })));
  assert.deepEqual([...now(), probe.now.message.seq], ["cancelled", "Once upon", 3]);
  assert.equal(historyReads(stack), 1);
});

test("a reply that failed has its reason", async () => {
  const stack = new Stack();
  stack.store("question");
  stack.store("Out of budget.", { role: "system", sender_id: "agent", reply_to: 1, agent: { status: "over_budget" } });
  stack.store("good", { reply_to: 1 });
  const client = await live(stack);
  const [failed, other] = [probeOf(() => useReply("lobby", 1)), probeOf(() => useReply("lobby", 3))];
  await mount(client, () => [createElement(failed, { key: 1 }), createElement(other, { key: 2 })]);
  assert.deepEqual([failed.now.status, failed.now.text], ["failed", "Out of budget."]);
  assert.deepEqual([other.now.status, other.now.message], [null, undefined]);
  assert.equal(historyReads(stack), 1);
});
