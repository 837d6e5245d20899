// A consumer test of Switchboard with Pact: REST requests and frames of the socket. It writes
// contracts/target/pacts/switchboard-example-web-switchboard.json, which `cargo contracts verify` verifies.

import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { MatchersV3, PactV4 } from "@pact-foundation/pact";
import { Client, Problem, Room, type Event, type Frame, type Message } from "../src/client.js";

const { eachLike, integer, like, regex } = MatchersV3;

const pact = new PactV4({
  consumer: "switchboard-example-web",
  provider: "switchboard",
  dir: process.env["PACT_OUTPUT_DIR"] ?? fileURLToPath(new URL("../../../../contracts/target/pacts", import.meta.url)),
  logLevel: "warn",
});

const TIME = String.raw`^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$`;
const ULID = "^[0-9A-HJKMNP-TV-Z]{26}$";
const bearer = regex("^Bearer .+$", "Bearer token");

const message = (seq: number, content: string) => ({
  channel_id: "general",
  seq,
  version: integer(1),
  sender_id: like("alice"),
  content,
  created_at: regex(TIME, "2026-05-01T12:00:00.000Z"),
});

const stored = (seq: number, version: number, content: string): Message => ({
  channel_id: "general",
  seq,
  version,
  sender_id: "alice",
  content,
  created_at: "2026-05-01T12:00:00.000Z",
});

const delta = {
  type: "message.delta",
  channel_id: "general",
  draft_id: "01JTYQ4X9M8Z4QY7V6A1B2C3D4",
  reply_to: 1,
  status: "writing",
} as const;

test("a message is sent", async () => {
  await pact
    .addInteraction()
    .given("a channel exists", { channel_id: "general" })
    .uponReceiving("a message")
    .withRequest("POST", "/channels/general/messages", (request) =>
      request.headers({ Authorization: bearer, "Idempotency-Key": "key-1" }).jsonBody({ content: "hi" }),
    )
    .willRespondWith(201, (response) => response.jsonBody({ ...message(1, "hi"), rev: integer(0) }))
    .executeTest(async (mock) => {
      const sent = await new Client(mock.url, "token").send("general", "hi", "key-1");
      assert.deepEqual([sent.seq, sent.rev], [1, 0]);
    });
});

test("what was missed is read", async () => {
  await pact
    .addInteraction()
    .given("the channel has messages", { count: 3, content: "news" })
    .uponReceiving("a request for what was missed")
    .withRequest("GET", "/channels/general/messages", (request) =>
      request.headers({ Authorization: bearer }).query({ after: "2" }),
    )
    .willRespondWith(200, (response) =>
      response.jsonBody({ messages: eachLike(message(3, "news 3")), has_more: false, rev: integer(0) }),
    )
    .executeTest(async (mock) => {
      const missed = await new Client(mock.url, "token").missed("general", 2);
      assert.deepEqual(missed.messages.map(({ seq }) => seq), [3]);
      assert.equal(missed.rev, 0);
    });
});

test("changes that were missed are read", async () => {
  await pact
    .addInteraction()
    .given("the channel has messages", { count: 2, content: "news" })
    .given("the message was edited", { seq: 1, content: "better" })
    .given("the message was deleted", { seq: 2 })
    .uponReceiving("a request for missed changes")
    .withRequest("GET", "/channels/general/changes", (request) =>
      request.headers({ Authorization: bearer }).query({ after: "0" }),
    )
    .willRespondWith(200, (response) =>
      response.jsonBody({
        changes: [
          { rev: 1, message: { ...message(1, "better"), version: 2 } },
          { rev: 2, message: { ...message(2, ""), version: 2 } },
        ],
        has_more: false,
        rev: 2,
      }),
    )
    .executeTest(async (mock) => {
      const room = new Room();
      room.takePage({ messages: [stored(1, 1, "news 1"), stored(2, 1, "news 2")], has_more: false, rev: 0 });
      room.take({ type: "events", channel_id: "general", events: [{ type: "reaction.added", seq: 9, version: 2, rev: 2 }] });
      assert.equal(room.missedChanges, 0);
      assert.ok(await new Client(mock.url, "token").catchUp("general", room));
      assert.deepEqual(room.messages.map(({ content }) => content), ["better", ""]);
      assert.equal(room.missedChanges, undefined);
    });
});

test("changes that are no longer stored require another room", async () => {
  await pact
    .addInteraction()
    .given("records of changes have expired")
    .uponReceiving("a request for changes that have expired")
    .withRequest("GET", "/channels/general/changes", (request) =>
      request.headers({ Authorization: bearer }).query({ after: "0" }),
    )
    .willRespondWith(410, (response) =>
      response
        .headers({ "Content-Type": "application/problem+json" })
        .jsonBody({ status: 410, code: "changes_expired", detail: like("read the messages again") }),
    )
    .executeTest(async (mock) => {
      const room = new Room();
      room.takePage({ messages: [], has_more: false, rev: 0 });
      room.takePage({ messages: [], has_more: false, rev: 1 });
      assert.equal(await new Client(mock.url, "token").catchUp("general", room), false);
    });
});

test("a wait beyond the deployment's maximum is refused", async () => {
  await pact
    .addInteraction()
    .given("a channel exists")
    .uponReceiving("a wait that is too long")
    .withRequest("GET", "/channels/general/messages", (request) =>
      request.headers({ Authorization: bearer }).query({ after: "0", wait: "20" }),
    )
    .willRespondWith(400, (response) =>
      response
        .headers({ "Content-Type": "application/problem+json" })
        .jsonBody({ status: 400, code: "invalid_request", detail: like("wait"), errors: eachLike({ field: "wait", code: "out_of_range" }) }),
    )
    .executeTest(async (mock) => {
      const refused = new Client(mock.url, "token").missed("general", 0, 20);
      await assert.rejects(refused, (error) => error instanceof Problem && error.fields.includes("wait"));
    });
});

test("a reply that is being written is read", async () => {
  await pact
    .addInteraction()
    .given("the agent is writing", { text: "Some words" })
    .uponReceiving("a request for a reply so far")
    .withRequest("GET", "/channels/general/messages/1/reply", (request) => request.headers({ Authorization: bearer }))
    .willRespondWith(200, (response) =>
      response.jsonBody({ status: "writing", draft_id: regex(ULID, "01JTYQ4X9M8Z4QY7V6A1B2C3D4"), position: 10, text: "Some words" }),
    )
    .executeTest(async (mock) => {
      const room = new Room();
      room.takeReply(1, await new Client(mock.url, "token").reply("general", 1));
      room.take({ ...delta, position: 10, text: " more" });
      assert.deepEqual(room.drafts.get(1)?.text, "Some words more");
    });
});

test("who sends too often is told to wait", async () => {
  await pact
    .addInteraction()
    .given("a channel exists")
    .given("the caller does this too often", { action: "send" })
    .uponReceiving("one message too many")
    .withRequest("POST", "/channels/general/messages", (request) =>
      request.headers({ Authorization: bearer, "Idempotency-Key": "key-1" }).jsonBody({ content: "hi" }),
    )
    .willRespondWith(429, (response) =>
      response
        .headers({ "Content-Type": "application/problem+json", "Retry-After": regex("^[1-9][0-9]*$", "30") })
        .jsonBody({ status: 429, code: "rate_limited", detail: like("wait") }),
    )
    .executeTest(async (mock) => {
      const refused = new Client(mock.url, "token").send("general", "hi", "key-1");
      await assert.rejects(refused, (error) => error instanceof Problem && error.code === "rate_limited" && error.retryAfter === 30);
    });
});

const pushed = (description: string, state: string, frame: unknown, check: (room: Room) => void) =>
  pact
    .addAsynchronousInteraction()
    .given(state)
    .expectsToReceive(description, (builder) => {
      builder.withJSONContent(frame);
    })
    .executeTest(async ({ contents }) => {
      const room = new Room();
      room.take(contents.content as unknown as Frame);
      check(room);
    });

test("a message is pushed", async () => {
  const event = { type: "message.created", seq: integer(1), version: integer(1), message: message(1, "hi") };
  const frame = { type: "events", channel_id: "general", events: eachLike(event) };
  await pushed("a pushed message", "a message is sent", frame, (room) => {
    assert.deepEqual(room.messages.map(({ content }) => content), ["hi"]);
  });
});

test("an edit is pushed with the number of the change", async () => {
  const event = { type: "message.updated", seq: 1, version: 2, rev: 1, message: { ...message(1, "edited"), version: 2 } };
  const frame = { type: "events", channel_id: "general", events: [event] };
  await pushed("a pushed edit", "a message is edited", frame, (room) => {
    assert.equal(room.missedChanges, undefined);
    room.takePage({ messages: [stored(1, 1, "hi")], has_more: false, rev: 0 });
    assert.equal(room.missedChanges, 0);
  });
});

test("several edits are pushed in one event", async () => {
  const event = {
    type: "message.updated",
    seq: 1,
    version: integer(5),
    rev: integer(4),
    rev_from: integer(3),
    message: { ...message(1, ""), content: regex("^edited .+$", "edited 0.3"), version: integer(5) },
  };
  const frame = { type: "events", channel_id: "general", events: [event] };
  const check = (room: Room) => {
    room.takePage({ messages: [stored(1, 1, "hi")], has_more: false, rev: 2 });
    assert.equal(room.missedChanges, 2);
  };
  await pushed("a pushed event of several edits", "a message is edited several times at once", frame, check);
});

test("a draft is pushed", async () => {
  const frame = { ...delta, draft_id: regex(ULID, delta.draft_id), position: integer(0), text: like("Some words") };
  await pushed("a pushed draft", "the agent writes a reply", frame, (room) => {
    assert.deepEqual(room.drafts.get(1), { draftId: delta.draft_id, text: "Some words", status: "writing", isBehind: false });
  });
});

test("the server closes the socket", async () => {
  const frame = { type: "closing", reason: "removed", reconnect: true };
  await pushed("the end of a socket", "the server closes a socket", frame, (room) => assert.ok(room.reconnects));
});

test("the newest state stays", () => {
  const room = new Room();
  const event = (type: string, version: number, content: string) => ({
    type,
    seq: 1,
    version,
    message: { channel_id: "general", seq: 1, version, sender_id: "bob", content, created_at: "2026-05-01T12:00:00.000Z" },
  });
  const take = (...events: ReturnType<typeof event>[]) => room.take({ type: "events", channel_id: "general", events });
  take(event("message.created", 1, "hi"), event("message.updated", 3, "better"));
  take(event("message.updated", 2, "good"), event("message.created", 1, "hi"));
  assert.deepEqual(room.messages.map(({ content }) => content), ["better"]);
});

test("a missed change is noticed", () => {
  const room = new Room();
  const edited = (version: number, rev: number, rev_from?: number) => ({
    type: "message.updated",
    seq: 1,
    version,
    rev,
    ...(rev_from === undefined ? {} : { rev_from }),
    message: stored(1, version, `state ${version}`),
  });
  const take = (...events: ReturnType<typeof edited>[]) => room.take({ type: "events", channel_id: "general", events });
  room.takePage({ messages: [stored(1, 3, "state 3")], has_more: false, rev: 7 });
  take(edited(4, 8), edited(6, 10, 9), edited(6, 10, 9));
  assert.equal(room.missedChanges, undefined);
  take(edited(9, 13, 12));
  assert.equal(room.missedChanges, 10);
  const next = room.takeChanges({ changes: [{ rev: 13, message: stored(1, 9, "state 9") }], has_more: true, next: { after: 13 }, rev: 14 });
  assert.deepEqual([next, room.missedChanges], [13, 10]);
  assert.equal(room.takeChanges({ changes: [], has_more: false, rev: 14 }), undefined);
  assert.equal(room.missedChanges, undefined);
  // An older page may lack changes of its messages.
  room.takePage({ messages: [stored(2, 1, "older")], has_more: false, rev: 12 });
  assert.equal(room.missedChanges, 12);
});

test("a missed message is noticed, also by a change of it", () => {
  const room = new Room();
  const take = (event: Event) => room.take({ type: "events", channel_id: "general", events: [event] });
  const edited = (seq: number, rev: number): Event => ({ type: "message.updated", seq, version: 2, rev, message: stored(seq, 2, "edited") });
  const created = (seq: number): Event => ({ type: "message.created", seq, version: 1, message: stored(seq, 1, "first") });
  const reacted = (seq: number, rev: number): Event => ({ type: "reaction.added", seq, version: 2, rev });
  take(edited(9, 1));
  assert.equal(room.missedMessages, undefined, "the first page is still to be read");
  room.takePage({ messages: [stored(9, 2, "nine")], has_more: true, rev: 1 });
  // Message 8 is before the page. Message 11 is after a gap.
  take(edited(8, 2));
  assert.equal(room.missedMessages, undefined);
  take(created(11));
  assert.equal(room.missedMessages, 9);
  room.takeMissed({ messages: [stored(10, 1, "ten"), stored(11, 1, "first")], has_more: false, rev: 2 });
  assert.equal(room.missedMessages, undefined);
  // The push of message 12 was missed. Its first state comes after its change, and does not stay.
  take(edited(12, 3));
  assert.equal(room.missedMessages, 11);
  room.takeMissed({ messages: [stored(12, 2, "edited")], has_more: false, rev: 3 });
  take(created(12));
  assert.deepEqual([room.missedMessages, room.messages.at(-1)?.content], [undefined, "edited"]);
  // A page from before the change does not end the gap. A later one without the message does: it has expired.
  take(reacted(14, 4));
  room.takeMissed({ messages: [], has_more: false, rev: 3 });
  assert.equal(room.missedMessages, 12);
  room.takeMissed({ messages: [], has_more: false, rev: 4 });
  assert.equal(room.missedMessages, undefined);
  room.takeChanges({ changes: [{ rev: 5, message: stored(15, 2, "edited") }], has_more: false, rev: 5 });
  assert.equal(room.missedMessages, 14);
});

test("a lost frame of a draft is noticed", () => {
  const room = new Room();
  room.take({ ...delta, position: 0, text: "Grüße" });
  room.take({ ...delta, position: 9, text: "!" });
  assert.deepEqual([room.drafts.get(1)?.text, room.drafts.get(1)?.isBehind], ["Grüße", true]);
  room.takeReply(1, { status: "writing", draft_id: delta.draft_id, position: 8, text: "Grüße an" });
  room.take({ ...delta, position: 8, text: " alle" });
  assert.deepEqual([room.drafts.get(1)?.text, room.drafts.get(1)?.isBehind], ["Grüße an alle", false]);
  room.take({ ...delta, draft_id: "another", position: 0, text: "Hello" });
  assert.equal(room.drafts.get(1)?.text, "Hello");
});

test("somebody is typing", async () => {
  const frame = { type: "typing", channel_id: "general", user_id: "bob" };
  await pushed("somebody types", "a user types", frame, (room) => assert.ok(room.typing.has("bob")));
});

test("what is not known is ignored", () => {
  const room = new Room();
  room.take({ type: "weather" });
  room.take({ type: "events", channel_id: "general", events: [{ type: "poll.closed", seq: 1 }] });
  assert.deepEqual(room.messages, []);
});
