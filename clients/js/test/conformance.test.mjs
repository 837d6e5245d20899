// A short dialogue with the client under the conformance kit.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { test } from "node:test";

const NOW = Date.parse("2026-05-01T12:00:00Z");

test("the client speaks the protocol of the kit", async (t) => {
  const child = spawn(process.execPath, [new URL("../conformance.mjs", import.meta.url).pathname], { stdio: ["pipe", "pipe", "inherit"] });
  t.after(() => child.kill());
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  /** Passes a line to the client. Returns its lines without the last one. */
  const tell = async (line) => {
    child.stdin.write(`${JSON.stringify({ now: NOW, ...line })}\n`);
    const answers = [];
    for (;;) {
      const answer = JSON.parse((await lines.next()).value);
      if (answer.do === "idle") return answers;
      answers.push(answer);
    }
  };
  const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const token = `${part({})}.${part({ iat: NOW / 1_000, exp: NOW / 1_000 + 3_600 })}.signature`;
  const start = { seed: 1, user_id: "me", rest: "https://kit.test", websocket: "wss://kit.test", channels: ["a", "b"], open: ["a"], now: NOW };

  for (let round = 0; round < 2; round += 1) {
    const asked = await tell({ start });
    assert.deepEqual(asked.map(({ do: what }) => what), ["token"], "one for the socket and the request");
    const orders = await tell({ token: asked[0].id, value: token });
    const socket = orders.find(({ do: what }) => what === "socket");
    const fetch = orders.find(({ do: what }) => what === "fetch");
    assert.deepEqual([socket.url, socket.protocols], ["wss://kit.test?channels=a%2Cb", ["bearer", token]]);
    assert.deepEqual([fetch.method, fetch.path, fetch.query, fetch.headers.authorization], ["GET", "/channels/a/messages", { limit: "50" }, `Bearer ${token}`]);
    await tell({ opened: socket.id });
    const message = { seq: 1, version: 1, content: "hi", role: "user", sender_id: "alice" };
    const body = JSON.stringify({ messages: [message], has_more: false, rev: 0 });
    const shown = (await tell({ answer: fetch.id, status: 200, headers: { date: new Date(NOW).toUTCString() }, body })).find(({ do: what }) => what === "show");
    assert.deepEqual([shown.channel, shown.messages, shown.rev], ["a", [{ seq: 1, version: 1, content: "hi", reactions: [] }], 0]);
    const sent = await tell({ act: { send: { channel: "a", content: "hello" } } });
    const post = sent.find(({ do: what }) => what === "fetch");
    assert.equal(JSON.parse(post.body).content, "hello");
    assert.deepEqual(sent.find(({ do: what }) => what === "show").outbox, [{ key: post.headers["idempotency-key"], content: "hello", state: "sending" }]);
    assert.deepEqual((await tell({ fail: post.id })).filter(({ do: what }) => what === "timer").length, 1, "it is repeated later");
    const text = JSON.stringify({ type: "events", channel_id: "a", events: [{ type: "message.created", seq: 2, version: 1, message: { ...message, seq: 2, content: "there" } }] });
    const pushed = await tell({ frame: { socket: socket.id, text } });
    assert.deepEqual(pushed.at(-1).messages.map(({ content }) => content), ["hi", "there"]);
    const lost = await tell({ closed: { socket: socket.id, code: 1006 } });
    assert.ok(lost.some(({ do: what }) => what === "timer"));
    await tell({ end: true });
  }
  child.stdin.end();
  await once(child, "exit");
});
