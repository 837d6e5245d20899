// A conversation with the types of openapi-typescript over REST, and those of Modelina on the socket.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";

import createClient from "openapi-fetch";

import type { paths } from "../generated/rest.js";
import { rest, tokens } from "../src/deployment.js";
import { open } from "../src/socket.js";

function client(token: string) {
  return createClient<paths>({ baseUrl: rest, headers: { authorization: `Bearer ${token}` } });
}

test("two users talk, with the types of openapi-typescript and Modelina", async () => {
  const [alice, bob] = [client(tokens[0]), client(tokens[1])];
  const me = (await bob.GET("/me")).data;
  assert.ok(me);
  const channel_id = `generated-${randomUUID()}`;
  const path = { channel_id };
  const created = await alice.POST("/channels", {
    params: {},
    body: { channel_id, name: "Generated", visibility: "private", agent: { mode: "off" } },
  });
  assert.equal(created.response.status, 201);
  assert.equal(created.data?.membership?.role, "owner");
  const added = await alice.PUT("/channels/{channel_id}/members/{user_id}", {
    params: { path: { ...path, user_id: me.user_id } },
    body: { role: "member" },
  });
  assert.ok(added.data);

  const ticket = (await bob.POST("/connections/tickets", { body: { channels: [channel_id] } })).data;
  assert.ok(ticket);
  const socket = await open(ticket.ticket);
  const hello = await socket.next((frame) => (frame.type === "hello" ? frame : undefined));
  assert.equal(hello.user_id, me.user_id);

  const sent = await alice.POST("/channels/{channel_id}/messages", {
    params: { path, header: { "Idempotency-Key": randomUUID() } },
    body: { content: "hi", metadata: { list: [1, { deep: true }] } },
  });
  assert.equal(sent.data?.seq, 1);
  // Pushes come at least once, so an earlier event may be repeated.
  const event = await socket.next((frame) => (frame.type === "events" ? frame.events.find((one) => "message" in one) : undefined));
  assert.ok("message" in event);
  assert.deepEqual([event.type, event.message.content, event.message.version], ["message.created", "hi", 1]);

  const message = { ...path, seq: 1 };
  const reacted = await bob.PUT("/channels/{channel_id}/messages/{seq}/reactions/{emoji}", {
    params: { path: { ...message, emoji: "👍" } },
  });
  assert.equal(reacted.response.status, 204);
  const reaction = await socket.next((frame) => (frame.type === "events" ? frame.events.find((one) => "emoji" in one) : undefined));
  assert.ok("emoji" in reaction);
  assert.deepEqual([reaction.type, reaction.emoji, reaction.count, reaction.version], ["reaction.added", "👍", 1, 2]);

  const edit = { params: { path: message, header: { "If-Match": '"1"' } }, body: { content: "hi all" } };
  const refused = await alice.PATCH("/channels/{channel_id}/messages/{seq}", edit);
  assert.deepEqual([refused.response.status, refused.error?.code], [412, "version_mismatch"]);
  edit.params.header["If-Match"] = '"2"';
  const edited = await alice.PATCH("/channels/{channel_id}/messages/{seq}", edit);
  assert.deepEqual([edited.data?.content, edited.data?.version], ["hi all", 3]);
  assert.equal(edited.response.headers.get("etag"), '"3"');

  await bob.POST("/channels/{channel_id}/messages", { params: { path }, body: { content: "in the thread", thread_seq: 1 } });
  const page = (await bob.GET("/channels/{channel_id}/messages", { params: { path, query: { replies: false } } })).data;
  assert.deepEqual(page?.messages.map(({ seq, thread }) => [seq, thread?.reply_count]), [[1, 1]]);
  assert.equal(page?.messages[0]?.reactions?.[0]?.reacted, true);

  const list = (await alice.GET("/channels", { params: { query: { name_prefix: "gen", limit: 10 } } })).data;
  const mine = list?.channels.find((one) => one.channel_id === channel_id);
  assert.deepEqual([mine?.membership?.unread_count, mine?.last_message?.content], [1, "in the thread"]);
  const unknown = await bob.GET("/channels/{channel_id}", { params: { path: { channel_id: "no-such-channel" } } });
  assert.deepEqual([unknown.response.status, unknown.error?.code], [404, "channel_not_found"]);
  socket.close();
});
