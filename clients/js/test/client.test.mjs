// Tests of the client's recovery, against a channel in memory and a clock that the test advances.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Stack, contents, gap, opened, problem, settle, tokenNumber } from "./stack.mjs";

test("history and pushes make one log; unknown frames, events and fields change nothing", async () => {
  const stack = new Stack();
  stack.store("one");
  const client = await opened(stack);
  assert.equal(client.state.name, "live");
  assert.deepEqual([stack.live.protocols[0], tokenNumber(stack.live.protocols[1])], ["bearer", 1]);
  assert.equal(new URL(stack.live.url).searchParams.get("channels"), "lobby");
  stack.push(stack.store("two", { of_a_later_version: true }));
  for (const frame of ["not json", "null", "[]", { type: "message.delta" }, { type: "events" }, { type: "events", channel_id: "lobby", events: [null, { type: "later" }] }]) {
    stack.live.receive(frame);
  }
  assert.deepEqual(contents(client), ["one", "two"]);
});

test("edits and deletions arrive as events of messages that are held", async () => {
  const stack = new Stack();
  stack.store("one");
  stack.store("two");
  const client = await opened(stack);
  const [one, two] = stack.messages;
  const events = [
    { type: "message.updated", seq: 1, message: { ...one, version: 2, content: "better", edited_at: "2026-11-24T00:00:01.000Z" } },
    { type: "message.deleted", seq: 2, message: { ...two, version: 2, content: "", deleted_at: "2026-11-24T00:00:02.000Z" } },
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
  const texts = () => client.channel("lobby").drafts.map(({ text, status }) => `${status}:${text}`);
  piece(0, "", "thinking");
  assert.deepEqual(texts(), ["thinking:"]);
  piece(0, "Hé 👍");
  piece(4, " there");
  piece(4, " there");
  assert.deepEqual(texts(), ["writing:Hé 👍 there"], "a repeated piece adds nothing");
  stack.replies.set(1, { status: "writing", draft_id: "d1", position: 14, text: "Hé 👍 there we!" });
  piece(13, "!");
  assert.deepEqual(texts(), ["writing:Hé 👍 there"], "the text of a lost piece is not guessed");
  await gap(stack);
  assert.deepEqual(texts(), ["writing:Hé 👍 there we!"], "it is read");
  piece(0, "", "failed");
  assert.deepEqual(texts(), []);
  piece(0, "Unasked", "writing", "d0");
  piece(7, "", "cancelled", "d0");
  assert.deepEqual(texts(), [], "a cancelled draft without a message is over");
  piece(0, "Again", "writing", "d2");
  stack.store("Again and whole");
  stack.push({ ...stack.messages.at(-1), role: "agent", reply_to: 1 });
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
  await gap(stack);
  assert.equal(client.channel("lobby").log.messages.length, 250);
  assert.equal(client.channel("lobby").isCatchingUp, false);
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
  assert.equal(client.state.name, "waiting");
  assert.ok(client.state.retryAt > stack.clock.now());
  await stack.clock.advance(5_000);
  assert.equal(client.state.name, "waiting");
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
  const sent = client.channel("lobby").send("hello");
  await settle();
  assert.equal(client.channel("lobby").outbox[0].state, "sending");
  await stack.clock.advance(5_000);
  await sent;
  assert.equal(keys.length, 2);
  assert.equal(keys[0], keys[1]);
  assert.deepEqual(contents(client), ["hello"]);
  assert.deepEqual(client.channel("lobby").outbox, []);
});

test("a refused send stays as failed, says why, and can be retried under its key", async () => {
  const stack = new Stack();
  const client = await opened(stack);
  stack.intercept = (url, init) =>
    init.method === "POST"
      ? Response.json({ title: "Forbidden", status: 403, code: "not_a_member", detail: "Not a member." }, { status: 403 })
      : undefined;
  await client.channel("lobby").send("hello");
  const [entry] = client.channel("lobby").outbox;
  assert.equal(entry.state, "failed");
  assert.deepEqual([entry.error.code, entry.error.detail], ["not_a_member", "Not a member."]);
  stack.intercept = null;
  await client.channel("lobby").retry(entry.key);
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
    assert.deepEqual(client.channel("lobby").outbox, []);
    return Response.json(message, { status: 201 });
  };
  await client.channel("lobby").send("hello");
  assert.deepEqual(contents(client), ["hello"]);
});

test("a 401 is answered with a fresh token, once", async () => {
  const stack = new Stack();
  const client = await opened(stack);
  stack.intercept = (url, init) =>
    tokenNumber(init.headers.authorization) === 1 ? new Response("{}", { status: 401 }) : undefined;
  await client.channel("lobby").send("hello");
  assert.deepEqual(contents(client), ["hello"]);
  stack.intercept = () => new Response("{}", { status: 401 });
  const before = stack.requests.length;
  await client.channel("lobby").send("again");
  assert.equal(stack.requests.length - before, 1, "a new token is refused too");
  assert.equal(client.channel("lobby").outbox[0].state, "failed");
  await stack.clock.advance(60_000);
  await client.channel("lobby").send("later");
  assert.deepEqual([stack.requests.length - before, stack.tokens], [3, 3]);
});

const received = (stack, ...events) => stack.receive({ type: "events", events });
const reaction = (version, count, rest = {}) => ({ type: "reaction.added", seq: 1, version, emoji: "👍", user_id: "bob", count, ...rest });

test("a reaction changes its message, and a missing version brings the message again", async () => {
  const stack = new Stack();
  stack.store("one");
  const client = await opened(stack);
  const counts = () => client.channel("lobby").log.get(1).reactions?.map(({ count }) => count);
  const before = stack.requests.length;
  received(stack, reaction(2, 1), reaction(2, 1), null, reaction("3", 9));
  assert.deepEqual(counts(), [1]);
  assert.deepEqual(stack.asked(before), []);
  // Versions 3 and 4 were lost. The first answer is that of a replica that is late.
  let answers = 0;
  stack.intercept = (url) => {
    if (url.pathname !== "/channels/lobby/messages/1") return undefined;
    answers += 1;
    return Response.json({ ...stack.messages[0], version: answers === 1 ? 4 : 5, reactions: [{ emoji: "👍", count: answers + 2, user_ids: ["bob"], reacted: true }] });
  };
  received(stack, reaction(5, 4));
  await settle();
  await stack.clock.advance(5_000);
  assert.equal(answers, 2);
  assert.deepEqual(counts(), [4]);
  assert.equal(client.channel("lobby").log.get(1).reactions[0].reacted, true);
});

test("a reaction is asked for, and read back only without a connection", async () => {
  const stack = new Stack();
  stack.store("one");
  const client = await opened(stack);
  const before = stack.requests.length;
  await client.channel("lobby").react(1, "❤️");
  await client.channel("lobby").unreact(1, "❤️");
  stack.accepting = false;
  stack.live.drop();
  await client.channel("lobby").react(1, "👍");
  await settle();
  assert.deepEqual(stack.asked(before), [
    "PUT /channels/lobby/messages/1/reactions/%E2%9D%A4%EF%B8%8F",
    "DELETE /channels/lobby/messages/1/reactions/%E2%9D%A4%EF%B8%8F",
    "PUT /channels/lobby/messages/1/reactions/%F0%9F%91%8D",
    "GET /channels/lobby/messages/1",
  ]);
});

test("an edit is a merge patch of the version that the user sees", async () => {
  const stack = new Stack();
  stack.store("one");
  const client = await opened(stack);
  await client.channel("lobby").edit(1, "better");
  const { init } = stack.requests.findLast(({ method }) => method === "PATCH");
  assert.deepEqual([init.headers["content-type"], init.headers["if-match"], init.body], ["application/merge-patch+json", '"1"', '{"content":"better"}']);
  assert.deepEqual(contents(client), ["better"]);
  // Another device edits it, and the frame is lost.
  stack.messages[0] = { ...stack.messages[0], version: 9, content: "best" };
  await assert.rejects(client.channel("lobby").edit(1, "worse"), { status: 412, code: "version_mismatch" });
  await settle();
  assert.deepEqual(contents(client), ["best"]);
});

test("a quote and a thread are said apart", async () => {
  const stack = new Stack();
  stack.store("root");
  const client = await opened(stack);
  await client.channel("lobby").send("quoting", { replyTo: 1 });
  await client.channel("lobby").send("in the thread", { threadSeq: 1 });
  const bodies = stack.requests.filter(({ method }) => method === "POST").map(({ init }) => JSON.parse(init.body));
  assert.deepEqual(bodies.map(({ reply_to, thread_seq }) => [reply_to, thread_seq]), [[1, undefined], [undefined, 1]]);
  assert.deepEqual(await client.channel("lobby").message(99), undefined, "no message to quote");
});

test("a reply that is being written is seen by who opens the channel, and ends", async () => {
  const stack = new Stack();
  stack.store("question");
  stack.store("answered");
  stack.store("answer", { role: "agent", sender_id: "agent", reply_to: 2 });
  stack.replyingTo = [1, 2];
  stack.replies.set(1, { status: "thinking", position: 0, text: "" });
  const client = await opened(stack);
  const drafts = () => client.channel("lobby").drafts.map(({ replyTo, status }) => `${replyTo} ${status}`);
  assert.deepEqual(drafts(), ["1 thinking"]);
  stack.replyingTo = null;
  stack.intercept = (url) => (url.pathname.endsWith("/reply/cancel") ? problem(404, "reply_not_found") : undefined);
  await client.channel("lobby").stopReply(1);
  assert.deepEqual(drafts(), [], "it has ended without a frame");
  stack.intercept = (url) => (url.pathname.endsWith("/reply/cancel") ? problem(403, "not_permitted") : undefined);
  await assert.rejects(client.channel("lobby").stopReply(1), { code: "not_permitted" });
});

test("a reply that the history names stays when the first socket opens after it", async () => {
  const stack = new Stack();
  stack.store("question");
  stack.replyingTo = [1];
  stack.replies.set(1, { status: "thinking", position: 0, text: "" });
  const client = stack.client();
  await client.open("lobby");
  // A page without messages names none.
  stack.replyingTo = null;
  client.subscribe(["lobby"]);
  await settle();
  const drafts = () => client.channel("lobby").drafts.map(({ replyTo }) => replyTo);
  assert.deepEqual([client.state.name, drafts()], ["live", [1]]);
  stack.live.drop();
  stack.replies.delete(1);
  await stack.clock.advance(60_000);
  assert.deepEqual([client.state.name, drafts()], ["live", []], "it has ended without a message, and the frame went to a lost connection");
});
