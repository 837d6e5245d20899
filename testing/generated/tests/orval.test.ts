// A conversation with orval's functions.

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";

import {
  addMember,
  createChannel,
  getMe,
  getMessage,
  listChannels,
  listMessages,
  markRead,
  removeMember,
  sendMessage,
  updateChannel,
  updateMessage,
} from "../generated/orval.js";
import { tokens } from "../src/deployment.js";
import { as } from "../src/fetch.js";

test("two users talk, with the functions of orval", async () => {
  as(tokens[1]);
  const me = await getMe();
  assert.equal(me.status, 200);
  const bob = me.data.user_id;

  as(tokens[0]);
  const channel = `generated-${randomUUID()}`;
  const created = await createChannel({ channel_id: channel, name: "Generated", visibility: "private", agent: { mode: "off" } });
  assert.equal(created.status, 201);
  const instructed = await updateChannel(channel, { agent: { instructions: "Be brief." } });
  assert.equal(instructed.status, 200);
  assert.deepEqual(instructed.data.agent, { mode: "off", instructions: "Be brief." });
  assert.equal((await addMember(channel, bob, { role: "member" })).status, 201);
  const sent = await sendMessage(channel, { content: "hi", metadata: { a: { b: 1, c: 2 } } });
  assert.equal(sent.status, 201);
  const merged = await updateMessage(channel, sent.data.seq, { metadata: { a: { b: null } } });
  assert.equal(merged.status, 200);
  assert.deepEqual([merged.data.metadata, merged.data.version], [{ a: { c: 2 } }, 2]);

  as(tokens[1]);
  const page = await listMessages(channel, { limit: 10 });
  assert.equal(page.status, 200);
  assert.deepEqual(page.data.messages.map(({ content }) => content), ["hi"]);
  const unread = await listChannels({ name_prefix: "Generated" });
  assert.equal(unread.status, 200);
  assert.equal(unread.data.channels.find(({ channel_id }) => channel_id === channel)?.membership?.unread_count, 1);
  const read = await markRead(channel, { seq: 1 });
  assert.equal(read.status, 200);
  assert.equal(read.data.read_seq, 1);
  const unknown = await getMessage(channel, 99);
  assert.equal(unknown.status, 404);
  assert.equal(unknown.data.code, "message_not_found");
  assert.equal((await removeMember(channel, bob)).status, 204);
});
