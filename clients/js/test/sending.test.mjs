// Tests of sends: their order, the outbox that survives a reload, waits that the server asks for, aborts.

import assert from "node:assert/strict";
import { test } from "node:test";
import { asyncStorageStore, memoryStore } from "../src/stores.js";
import { Stack, contents, opened, problem, settle } from "./stack.mjs";

const isSend = (url, init) => init.method === "POST" && url.pathname.endsWith("/messages");
const sent = (stack) => stack.requests.filter(({ path, method }) => method === "POST" && path.endsWith("/messages")).map(({ init }) => [JSON.parse(init.body).content, init.headers["idempotency-key"]]);
const states = (client) => client.channel("lobby").outbox.map(({ content, state }) => `${content} ${state}`);

test("messages of one channel are sent one after the other", async () => {
  const stack = new Stack();
  const client = await opened(stack);
  let failures = 2;
  stack.intercept = (url, init) => (isSend(url, init) && failures-- > 0 ? problem(503, "channel_busy") : undefined);
  const sends = ["one", "two", "three"].map((content) => client.channel("lobby").send(content));
  await settle();
  assert.deepEqual([sent(stack).length, states(client)], [1, ["one sending", "two sending", "three sending"]]);
  await stack.clock.advance(10_000);
  assert.deepEqual((await Promise.all(sends)).map(({ seq }) => seq), [1, 2, 3]);
  assert.deepEqual(contents(client), ["one", "two", "three"]);
});

test("a failure that may pass stops the later sends, and one that will not pass does not", async () => {
  const stack = new Stack();
  const client = await opened(stack);
  stack.intercept = (url, init) => (isSend(url, init) ? problem(503, "channel_busy") : undefined);
  for (const content of ["one", "two"]) client.channel("lobby").send(content);
  await stack.clock.advance(120_000);
  assert.deepEqual(states(client), ["one failed", "two failed"]);
  stack.intercept = null;
  for (const { key } of client.channel("lobby").outbox) client.channel("lobby").retry(key);
  await settle();
  assert.deepEqual(contents(client), ["one", "two"]);
  stack.intercept = (url, init) => (isSend(url, init) && init.body.includes("three") ? problem(403, "not_a_member") : undefined);
  for (const content of ["three", "four"]) client.channel("lobby").send(content);
  await settle();
  assert.deepEqual([states(client), contents(client)], [["three failed"], ["one", "two", "four"]]);
});

test("a send waits as long as the server says", async () => {
  const stack = new Stack();
  const client = await opened(stack);
  let failures = 1;
  stack.intercept = (url, init) => (isSend(url, init) && failures-- > 0 ? Response.json({ code: "rate_limited" }, { status: 429, headers: { "retry-after": "20" } }) : undefined);
  client.channel("lobby").send("one");
  await settle();
  await stack.clock.advance(19_900);
  // A socket that opens meanwhile does not end this wait.
  stack.live.drop();
  await stack.clock.advance(90);
  assert.equal(sent(stack).length, 1);
  await stack.clock.advance(1_500);
  assert.deepEqual(contents(client), ["one"]);
});

test("without a connection a message waits for the next socket", async () => {
  const stack = new Stack();
  const client = await opened(stack);
  stack.accepting = false;
  stack.intercept = () => {
    throw new TypeError("no network");
  };
  client.setOnline(false);
  stack.live.drop();
  client.channel("lobby").send("one");
  await stack.clock.advance(600_000);
  assert.deepEqual(states(client), ["one sending"]);
  stack.accepting = true;
  stack.intercept = null;
  client.setOnline(true);
  await settle();
  await settle();
  assert.deepEqual([states(client), contents(client)], [[], ["one"]]);
});

test("a message survives a reload, under its key and in its order", async () => {
  const values = new Map();
  const storage = {
    getItem: async (key) => values.get(key) ?? null,
    setItem: async (key, value) => values.set(key, value),
    removeItem: async (key) => values.delete(key),
    getAllKeys: async () => [...values.keys()],
  };
  for (const store of [memoryStore(), asyncStorageStore(storage)]) {
    const stack = new Stack();
    stack.intercept = (url, init) => (isSend(url, init) ? new Promise(() => {}) : undefined);
    const before = stack.client({ store });
    await before.open("lobby");
    for (const content of ["one", "two"]) before.channel("lobby").send(content);
    await settle();
    before.close();
    assert.deepEqual((await store.all("switchboard/alice/")).map(({ content }) => content), ["one", "two"]);
    stack.intercept = null;
    const [[, key]] = sent(stack);
    await stack.clock.advance(1_000);

    const after = stack.client({ store });
    await after.open("lobby");
    await settle();
    assert.deepEqual(contents(after), ["one", "two"]);
    assert.deepEqual(sent(stack).map(([content]) => content), ["one", "one", "two"]);
    assert.equal(sent(stack)[1][1], key);
    assert.deepEqual([states(after), await store.all("")], [[], []]);
  }
});

test("keys are random also on a page without TLS, and no request carries cookies", async () => {
  for (const isSecure of [true, false]) {
    const stack = new Stack();
    const client = await opened(stack);
    if (!isSecure) Object.defineProperty(crypto, "randomUUID", { value: undefined, configurable: true });
    for (const content of ["one", "two"]) await client.channel("lobby").send(content);
    const [[, first], [, second]] = sent(stack);
    assert.notEqual(first, second);
    assert.match(first, isSecure ? /^[0-9a-f-]{36}$/ : /^0\.\d{8,}$/);
    assert.ok(stack.requests.every(({ init }) => init.credentials === "omit"));
  }
  delete crypto.randomUUID;
});

test("a message whose key the server has forgotten is not sent by itself, and stores may fail", async () => {
  const stack = new Stack();
  const store = memoryStore();
  await store.set("switchboard/alice/lobby/k1", { key: "k1", content: "old", createdAt: stack.clock.now() - 86_400_001, state: "sending" });
  await store.set("switchboard/bob/lobby/k2", { key: "k2", content: "another user", createdAt: stack.clock.now(), state: "sending" });
  const client = stack.client({ store });
  await client.open("lobby");
  await settle();
  assert.deepEqual([states(client), sent(stack)], [["old failed"], []]);
  client.channel("lobby").discard("k1");
  await settle();
  assert.deepEqual((await store.all("")).map(({ key }) => key), ["k2"]);
  const broken = async () => {
    throw new Error("quota");
  };
  const other = stack.client({ store: { set: broken, remove: broken, all: broken } });
  await other.open("lobby");
  await other.channel("lobby").send("one");
  assert.deepEqual(contents(other), ["one"]);
});

test("a send that its event has confirmed does not fail, and neither does the next one", async () => {
  const stack = new Stack();
  const client = await opened(stack);
  let fail;
  stack.intercept = (url, init) => (isSend(url, init) && init.body.includes("one") ? new Promise((resolve) => (fail = () => resolve(problem(403, "not_a_member")))) : undefined);
  for (const content of ["one", "two"]) client.channel("lobby").send(content);
  await settle();
  stack.push(stack.store("one", { metadata: { client_key: sent(stack)[0][1] } }));
  fail();
  await settle();
  assert.deepEqual([states(client), contents(client)], [[], ["one", "two"]]);
});

test("an aborted send is taken back, and later ones go", async () => {
  const stack = new Stack();
  const client = await opened(stack);
  stack.intercept = (url, init) => (isSend(url, init) && init.body.includes("one") ? new Promise((_, reject) => init.signal.addEventListener("abort", () => reject(init.signal.reason))) : undefined);
  const abort = new AbortController();
  const one = client.channel("lobby").send("one", { signal: abort.signal });
  const two = client.channel("lobby").send("two");
  await settle();
  abort.abort();
  await assert.rejects(one, { name: "AbortError" });
  await two;
  assert.deepEqual([states(client), contents(client)], [[], ["two"]]);
});
