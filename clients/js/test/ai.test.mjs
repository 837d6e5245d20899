// Tests of the adapter for the AI SDK, with its own chat: normal, lost, replaced, failed, stopped and resumed replies.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Chat } from "@ai-sdk/react";
import { readUIMessageStream } from "ai";
import { SwitchboardChatTransport, currentParts, toUIMessages } from "../ai/index.js";
import { Stack, gap, problem, seeded, settle as settleClient } from "./stack.mjs";

const ROUNDS = 60;
const STEPS = 40;
/** Time after which the adapter reads a reply, and the number of such reads that find none. */
const [QUIET_MS, MISSES] = [10_000, 6];

/** The AI SDK runs each chunk through several streams. */
const settle = async () => void (await settleClient(), await settleClient(), await settleClient(), await settleClient());

const frame = (position, text, { id = "d1", status = "writing", ...rest } = {}) => ({ type: "message.delta", draft_id: id, reply_to: 1, status, position, text, ...rest });
const stored = (text, { id = "d1", status = "writing", ...rest } = {}) => ({ status, draft_id: id, position: [...text].length, text, ...rest });
const answer = (stack, content, { id = "d1", status = "complete", ...rest } = {}) => stack.store(content, { role: "agent", sender_id: "agent", reply_to: 1, agent: { draft_id: id, status }, ...rest });
const textOf = (message) => currentParts(message).map(({ text }) => text).join("");
const shown = (chat) => [chat.status, ...chat.messages.map((message) => `${message.role}:${textOf(message)}`)];

/** Returns the stack, its client, and a chat in the channel. Requests to stop a reply are collected in `stops`. */
function begin(stack = new Stack(), messages = []) {
  const stops = [];
  const answers = stack.intercept;
  stack.intercept = (url, init) => {
    if (!url.pathname.endsWith("/reply/cancel")) return answers?.(url, init);
    stops.push(url.pathname);
    return stack.replies.size > 0 ? new Response(null, { status: 202 }) : problem(404, "reply_not_found");
  };
  const client = stack.client();
  client.subscribe();
  const transport = new SwitchboardChatTransport({ client, clock: stack.clock });
  const finishes = [];
  const chat = new Chat({ id: "lobby", transport, messages, onError: () => {}, onFinish: (event) => finishes.push(event) });
  return { stack, client, transport, chat, stops, finishes, channel: client.channel("lobby") };
}

/** The same, with a question. */
async function asked(stack) {
  const all = begin(stack);
  all.sending = all.chat.sendMessage({ text: "Tell me" });
  await settle();
  return all;
}

test("a reply grows and ends as the stored one, and has the same id after a reload", async () => {
  const { stack, chat, finishes, channel } = await asked();
  assert.deepEqual([shown(chat), stack.messages.length], [["submitted", "user:Tell me"], 1]);
  stack.receive(frame(0, "", { status: "thinking" }));
  await settle();
  assert.deepEqual(shown(chat), ["submitted", "user:Tell me"]);
  for (const [position, text] of [[0, "Once"], [4, " upon 👍"], [4, " upon 👍"], [11, " a"]]) stack.receive(frame(position, text));
  await settle();
  assert.deepEqual(shown(chat), ["streaming", "user:Tell me", "assistant:Once upon 👍 a"]);
  stack.push(answer(stack, "Once upon 👍 a time."));
  stack.receive(frame(13, " time.", { status: "done", seq: 2 }));
  await settle();
  assert.deepEqual(shown(chat), ["ready", "user:Tell me", "assistant:Once upon 👍 a time."]);
  assert.deepEqual([chat.messages[1].parts.length, chat.messages[1].parts[0].state, finishes[0].finishReason], [1, "done", "stop"]);
  assert.deepEqual([chat.messages[1].metadata.seq, chat.messages[1].metadata.status], [2, "complete"]);
  const again = toUIMessages(channel.messages);
  assert.deepEqual(again.map(({ id }) => id), chat.messages.map(({ id }) => id));
  assert.deepEqual(again.map(textOf), chat.messages.map(textOf));
});

test("a reply without a draft comes whole, and a truncated one says so", async () => {
  const { stack, chat, finishes } = await asked();
  stack.push(answer(stack, "Yes", { status: "truncated" }));
  await settle();
  assert.deepEqual([shown(chat), finishes[0].finishReason], [["ready", "user:Tell me", "assistant:Yes"], "length"]);
});

test("a lost frame costs a read, and no text", async () => {
  const { stack, chat } = await asked();
  stack.receive(frame(0, "Once"));
  stack.replies.set(1, stored("Once upon a time"));
  stack.receive(frame(9, " a"));
  await gap(stack);
  await settle();
  assert.deepEqual(shown(chat), ["streaming", "user:Tell me", "assistant:Once upon a time"]);
});

test("without any frame the reply is read, until it is complete", async () => {
  const { stack, chat } = await asked();
  stack.replies.set(1, stored("Once"));
  await stack.clock.advance(QUIET_MS);
  await settle();
  assert.deepEqual(shown(chat), ["streaming", "user:Tell me", "assistant:Once"]);
  answer(stack, "Once upon");
  stack.replies.set(1, stored("Once upon", { status: "done", seq: 2 }));
  await stack.clock.advance(QUIET_MS);
  await settle();
  assert.deepEqual(shown(chat), ["ready", "user:Tell me", "assistant:Once upon"]);
  const before = stack.requests.length;
  await stack.clock.advance(QUIET_MS * MISSES);
  assert.deepEqual(stack.asked(before), [], "the stream has ended");
});

test("a draft that begins again replaces the text, unless it repeats it", async () => {
  const { stack, chat } = await asked();
  stack.receive(frame(0, "Once upon"));
  stack.receive(frame(0, "", { id: "d2", status: "thinking" }));
  await settle();
  assert.deepEqual(shown(chat), ["streaming", "user:Tell me", "assistant:Once upon"]);
  stack.receive(frame(0, "Once", { id: "d2" }));
  stack.receive(frame(4, " upon a", { id: "d2" }));
  await settle();
  assert.equal(chat.messages[1].parts.length, 1);
  assert.equal(textOf(chat.messages[1]), "Once upon a");
  stack.receive(frame(0, "Long", { id: "d3" }));
  stack.receive(frame(4, " ago", { id: "d3" }));
  await settle();
  assert.deepEqual(chat.messages[1].parts.map(({ text }) => text), ["Once upon a", "Long ago"]);
  assert.equal(textOf(chat.messages[1]), "Long ago");
  stack.push(answer(stack, "Long", { id: "d3" }));
  await settle();
  assert.deepEqual(shown(chat), ["ready", "user:Tell me", "assistant:Long"]);
});

test("a response that a new draft has overtaken is not shown", async () => {
  const { stack, chat } = await asked();
  stack.receive(frame(0, "Once"));
  let respond;
  stack.intercept = (url) => (url.pathname.endsWith("/reply") ? new Promise((resolve) => (respond = resolve)) : undefined);
  await stack.clock.advance(QUIET_MS);
  stack.receive(frame(0, "Long", { id: "d2" }));
  respond(Response.json(stored("Once upon")));
  await settle();
  assert.deepEqual(chat.messages[1].parts.map(({ text }) => text), ["Once", "Long"]);
});

test("a failed reply is an error with its reason, and its text is none", async () => {
  const { stack, chat, finishes } = await asked();
  stack.receive(frame(0, "Once"));
  await settle();
  stack.push(stack.store("The model failed.", { role: "system", reply_to: 1 }));
  await settle();
  assert.deepEqual([shown(chat), chat.error.message, finishes[0].isError], [["error", "user:Tell me", "assistant:"], "The model failed.", true]);
  chat.regenerate();
  await settle();
  assert.deepEqual(stack.messages.map(({ content }) => content), ["Tell me", "The model failed.", "Tell me"], "it is another question");
  stack.push(stack.store("Once.", { role: "agent", reply_to: 3, agent: { status: "complete" } }));
  await settle();
  assert.deepEqual(shown(chat), ["ready", "user:Tell me", "assistant:Once."]);
  const ids = toUIMessages(stack.messages).map(({ id }) => id);
  assert.equal(new Set(ids).size, ids.length);
});

test("a reply that another user stops keeps its text, and is an error", async () => {
  const { stack, chat } = await asked();
  stack.receive(frame(0, "Once"));
  stack.push(answer(stack, "Once upon", { status: "cancelled" }));
  await settle();
  assert.deepEqual([shown(chat), chat.error.message], [["error", "user:Tell me", "assistant:Once upon"], "The reply was stopped."]);
  assert.equal(chat.messages[1].metadata.status, "cancelled");
});

test("a reply that ends without a message is an error", async () => {
  for (const [reply, reason] of [[stored("Once", { status: "cancelled" }), /stopped/], [stored("", { status: "failed" }), /not replied/], [undefined, /not replied/]]) {
    const { stack, chat } = await asked();
    stack.receive(frame(0, "Once"));
    stack.receive(frame(4, "", { status: "failed" }));
    if (reply) stack.replies.set(1, reply);
    for (let reads = 0; reads < MISSES && chat.status !== "error"; reads += 1) {
      await stack.clock.advance(QUIET_MS);
      await settle();
    }
    assert.deepEqual(shown(chat), ["error", "user:Tell me", "assistant:"]);
    assert.match(chat.error.message, reason);
  }
  const { stack, chat } = await asked();
  stack.intercept = (url) => (url.pathname.endsWith("/reply") ? problem(404, "message_not_found") : undefined);
  await stack.clock.advance(QUIET_MS);
  await settle();
  assert.equal(chat.status, "error", "the question was deleted");
});

test("a reply waits for the replies to other questions, and for a server that is down", async () => {
  const { stack, chat } = await asked();
  stack.receive({ ...frame(0, "Other"), reply_to: 9 });
  stack.replies.set(9, stored("Other"));
  for (let reads = 0; reads < MISSES * 2; reads += 1) await stack.clock.advance(QUIET_MS);
  await settle();
  assert.equal(chat.status, "submitted");
  stack.intercept = (url) => (url.pathname.endsWith("/1/reply") ? problem(503, "store_unavailable") : undefined);
  for (let reads = 0; reads < MISSES * 2; reads += 1) await stack.clock.advance(QUIET_MS);
  await settle();
  assert.equal(chat.status, "submitted");
});

test("stop stops the reply, also one that has not begun", async () => {
  const { stack, chat, stops, sending, finishes } = await asked();
  stack.replies.set(1, stored("Once"));
  stack.receive(frame(0, "Once"));
  await settle();
  await chat.stop();
  await sending;
  await settle();
  assert.deepEqual([shown(chat), stops.length, finishes[0].isAbort], [["ready", "user:Tell me", "assistant:Once"], 1, true]);
  stack.receive(frame(4, " upon"));
  await settle();
  assert.deepEqual([textOf(chat.messages[1]), stops.length], ["Once", 1]);

  const early = await asked();
  await early.chat.stop();
  await settle();
  assert.deepEqual([early.chat.status, early.stops.length], ["ready", 1]);
  early.stack.replies.set(1, stored("Once"));
  early.stack.receive(frame(0, "Once"));
  await settle();
  assert.deepEqual([shown(early.chat), early.stops.length], [["ready", "user:Tell me"], 2]);
  early.stack.receive(frame(4, " upon"));
  await settle();
  assert.equal(early.stops.length, 2);
});

/** A stack after a reload, in the middle of a reply. */
function reloaded() {
  const stack = new Stack();
  stack.store("Tell me", { sender_id: "alice", metadata: { ui_message_id: "u1" } });
  stack.replies.set(1, stored("Once upon"));
  stack.replyingTo = [1];
  return stack;
}

test("a reload resumes the reply from its first word", async () => {
  const stack = reloaded();
  const { chat, client, stops } = begin(stack, toUIMessages(stack.messages));
  chat.resumeStream();
  await settle();
  stack.receive(frame(9, " a time"));
  await settle();
  assert.deepEqual(shown(chat), ["streaming", "user:Tell me", "assistant:Once upon a time"]);
  stack.push(answer(stack, "Once upon a time."));
  await settle();
  assert.deepEqual(shown(chat), ["ready", "user:Tell me", "assistant:Once upon a time."]);
  assert.deepEqual(toUIMessages(client.channel("lobby").messages).map(({ id }) => id), chat.messages.map(({ id }) => id));
  await chat.resumeStream();
  assert.deepEqual([shown(chat).length, chat.status, stops], [3, "ready", []]);
});

test("a second attempt to resume does not stop the reply, and stop does", async () => {
  const stack = reloaded();
  const { chat, stops } = begin(stack, toUIMessages(stack.messages));
  chat.resumeStream();
  await settle();
  chat.resumeStream();
  await settle();
  stack.receive(frame(9, " a time"));
  await settle();
  assert.deepEqual([shown(chat), stops], [["streaming", "user:Tell me", "assistant:Once upon a time"], []]);
  await chat.stop();
  await settle();
  assert.deepEqual([chat.status, stops.length], ["ready", 1]);
});

test("a reply that was not begun, or of which only the server knows", async () => {
  const none = new Stack();
  none.store("Tell me", { sender_id: "alice" });
  const { chat } = begin(none);
  await chat.resumeStream();
  assert.deepEqual(shown(chat), ["ready"]);
  const stack = reloaded();
  stack.replyingTo = null;
  const other = begin(stack);
  other.chat.resumeStream();
  await settle();
  await stack.clock.advance(QUIET_MS);
  await settle();
  assert.deepEqual(shown(other.chat), ["streaming", "assistant:Once upon"]);
});

test("a message that cannot be sent is an error, and is sent once when it is tried again", async () => {
  const stack = new Stack();
  let refusals = 1;
  stack.intercept = (url, init) => (init.method === "POST" && url.pathname.endsWith("/messages") && refusals-- > 0 ? problem(403, "not_permitted") : undefined);
  const { chat, channel } = await asked(stack);
  assert.deepEqual([chat.status, chat.error.code, channel.outbox.length], ["error", "not_permitted", 1]);
  chat.regenerate();
  await settle();
  assert.deepEqual([chat.status, channel.outbox.length, stack.messages.length], ["submitted", 0, 1]);
  const keys = stack.requests.filter(({ method, path }) => method === "POST" && path.endsWith("/messages")).map(({ init }) => init.headers["idempotency-key"]);
  assert.deepEqual([keys.length, new Set(keys).size], [2, 1]);
  await assert.rejects(() => begin().transport.sendMessages({ trigger: "submit-message", chatId: "lobby", messages: [] }), TypeError);
});

test("messages of the channel become messages of the AI SDK", () => {
  const message = (seq, role, more) => ({ seq, role, content: `text ${seq}`, sender_id: "bob", created_at: "2026-05-01T12:00:00.000Z", ...more });
  const messages = [
    message(1, "user", { metadata: { ui_message_id: "u1" } }),
    message(2, "agent", { reply_to: 1, agent: { status: "complete" } }),
    message(3, "user", { metadata: { ui_message_id: "reply-1" } }),
    message(4, "user", { deleted_at: "2026-05-01T12:00:00.000Z" }),
    message(5, "system"),
    message(6, "user", { metadata: { ui_message_id: 7 } }),
  ];
  const all = toUIMessages(messages).map(({ id, role, parts }) => `${id} ${role} ${parts[0].text}`);
  assert.deepEqual(all, ["u1 user text 1", "reply-1 assistant text 2", "message-3 user text 3", "message-5 system text 5", "message-6 user text 6"]);
});

test("with lost, late and doubled frames, a stream shows stored text only, and ends as the reply", async () => {
  for (let seed = 1; seed <= ROUNDS; seed += 1) {
    const random = seeded(seed * 104729);
    const { stack, transport } = begin();
    const messages = [{ id: "u1", role: "user", parts: [{ type: "text", text: "Tell me" }] }];
    const sending = transport.sendMessages({ trigger: "submit-message", chatId: "lobby", messages, abortSignal: undefined });
    await settle();
    let last;
    const texts = new Map([["d1", ""]]);
    const reading = (async () => {
      for await (const message of readUIMessageStream({ stream: await sending })) {
        last = message;
        const text = textOf(message);
        assert.ok([...texts.values()].some((one) => one.startsWith(text)), `seed ${seed}: ${text}`);
      }
    })();
    let [id, frames] = ["d1", []];
    for (let step = 0; step < STEPS; step += 1) {
      const kind = random(8);
      if (kind < 4) {
        const text = texts.get(id);
        const piece = ["a", "é ", "👍", "word "][random(4)];
        texts.set(id, text + piece);
        stack.replies.set(1, stored(text + piece, { id }));
        frames.push(frame([...text].length, piece, { id }));
      } else if (kind === 4 && random(3) === 0) {
        texts.set((id = `d${texts.size + 1}`), "");
        stack.replies.set(1, stored("", { id, status: "thinking" }));
      } else if (kind < 7) {
        const [next] = frames.splice(random(Math.min(3, frames.length)), 1);
        if (next && random(4) > 0) for (let times = 1 + random(2); times > 0; times -= 1) stack.receive(next);
      } else await stack.clock.advance([100, 1_000, QUIET_MS][random(3)]);
      await settleClient();
    }
    const whole = `${texts.get(id)}end`;
    texts.set(id, whole);
    stack.replies.set(1, stored(whole, { id, status: "done", seq: 2 }));
    const message = answer(stack, whole, { id });
    if (random(2) === 0) stack.push(message);
    await stack.clock.advance(QUIET_MS * 2);
    await settle();
    await reading;
    assert.equal(textOf(last), whole, `seed ${seed}`);
  }
});
