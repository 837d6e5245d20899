// A consumer test of Switchboard with Pact: REST requests and frames of the socket. It writes
// contracts/target/pacts/switchboard-example-web-switchboard.json, which `cargo contracts verify` verifies.

import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { MatchersV3, PactV4 } from "@pact-foundation/pact";
import { Client, Problem, Room, type Frame } from "../src/client.js";

const { eachLike, integer, like, regex } = MatchersV3;

const pact = new PactV4({
  consumer: "switchboard-example-web",
  provider: "switchboard",
  dir: process.env["PACT_OUTPUT_DIR"] ?? fileURLToPath(new URL("../../../../contracts/target/pacts", import.meta.url)),
  logLevel: "warn",
});

const TIME = String.raw`^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$`;
const bearer = regex("^Bearer .+$", "Bearer token");

const message = (seq: number, content: string) => ({
  channel_id: "general",
  seq,
  version: integer(1),
  sender_id: like("alice"),
  content,
  created_at: regex(TIME, "2026-05-01T12:00:00.000Z"),
});

test("a message is sent", async () => {
  await pact
    .addInteraction()
    .given("a channel exists", { channel_id: "general" })
    .uponReceiving("a message")
    .withRequest("POST", "/channels/general/messages", (request) =>
      request.headers({ Authorization: bearer, "Idempotency-Key": "key-1" }).jsonBody({ content: "hi" }),
    )
    .willRespondWith(201, (response) => response.jsonBody(message(1, "hi")))
    .executeTest(async (mock) => {
      const sent = await new Client(mock.url, "token").send("general", "hi", "key-1");
      assert.equal(sent.seq, 1);
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
    .willRespondWith(200, (response) => response.jsonBody({ messages: eachLike(message(3, "news 3")) }))
    .executeTest(async (mock) => {
      const missed = await new Client(mock.url, "token").missed("general", 2);
      assert.deepEqual(missed.map(({ seq }) => seq), [3]);
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
