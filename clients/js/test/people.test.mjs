// Tests of typing, presence, members, and of errors.

import assert from "node:assert/strict";
import { test } from "node:test";
import { channelsOf } from "../src/channels.js";
import { NetworkError, ProblemError, SwitchboardClient } from "../src/index.js";
import { ChannelNotFoundError, RateLimitedError } from "../src/problems.js";
import { Stack, contents, gap, opened, problem, settle } from "./stack.mjs";

const lobby = (client) => client.channel("lobby");

test("a user that types is shown for 5 seconds, or until a message comes", async () => {
  const stack = new Stack();
  const client = await opened(stack);
  let told = 0;
  client.on("typing", () => (told += 1));
  stack.receive({ type: "typing", user_id: "bob" });
  stack.receive({ type: "typing", user_id: "carol" });
  const shown = lobby(client).typing;
  assert.deepEqual(shown, ["bob", "carol"]);
  assert.equal(lobby(client).typing, shown, "the same array until it changes");
  await stack.clock.advance(3_000);
  stack.receive({ type: "typing", user_id: "bob" });
  await stack.clock.advance(3_000);
  assert.deepEqual(lobby(client).typing, ["bob"]);
  stack.push(stack.store("hi"));
  assert.deepEqual([lobby(client).typing, told], [[], 4]);
  stack.receive({ type: "typing", user_id: 7 });
  assert.deepEqual(lobby(client).typing, []);
});

test("typing is said every 3 seconds at most", async () => {
  const stack = new Stack();
  const client = await opened(stack);
  stack.intercept = (url) => (url.pathname.endsWith("/typing") ? new Response(null, { status: 202 }) : undefined);
  for (let key = 0; key < 50; key += 1) {
    await lobby(client).sendTyping();
    await stack.clock.advance(100);
  }
  assert.deepEqual(stack.asked().filter((one) => one === "POST /channels/lobby/typing").length, 2);
});

test("present users are read once, and follow the frames, also those that come during the request", async () => {
  const stack = new Stack();
  const client = await opened(stack);
  let reads = 0;
  stack.intercept = (url) => {
    if (!url.pathname.endsWith("/presence")) return undefined;
    reads += 1;
    stack.receive({ type: "presence.left", user_id: "bob" });
    stack.receive({ type: "presence.joined", user_id: "dora" });
    return Response.json({ users: [{ user_id: "alice" }, { user_id: "bob" }], has_more: false });
  };
  await lobby(client).loadPresence();
  assert.deepEqual(lobby(client).present, ["alice", "dora"]);
  stack.receive({ type: "presence.left", user_id: "dora" });
  assert.deepEqual(lobby(client).present, ["alice"]);
  stack.live.drop();
  await stack.clock.advance(2_000);
  assert.equal(reads, 2, "frames may have been missed");
});

test("two frames that were swapped cost no request", async () => {
  const stack = new Stack();
  stack.store("one");
  const client = await opened(stack);
  const before = stack.requests.length;
  const [two, three] = [stack.store("two"), stack.store("three")];
  stack.push(three);
  await stack.clock.advance(200);
  stack.push(two);
  const [first, second] = [stack.edit(1, "uno"), stack.edit(2, "dos")];
  stack.receive({ type: "events", events: [second] });
  await stack.clock.advance(200);
  stack.receive({ type: "events", events: [first] });
  await gap(stack);
  await gap(stack);
  assert.deepEqual([contents(client), stack.asked(before)], [["uno", "dos", "three"], []]);
});

test("members are read page by page", async () => {
  const stack = new Stack();
  const client = await opened(stack);
  const pages = [
    { members: [{ user_id: "bob" }], has_more: true, next: { cursor: "c" } },
    { members: [{ user_id: "carol" }], has_more: false },
  ];
  stack.intercept = (url) => (url.pathname.endsWith("/members") ? Response.json(pages.shift()) : undefined);
  const before = stack.requests.length;
  assert.deepEqual(await channelsOf(client).members("lobby"), [{ user_id: "bob" }, { user_id: "carol" }]);
  assert.deepEqual(stack.asked(before).map((one) => one.split("?")[1]), ["limit=100", "limit=100&cursor=c"]);
});

test("a channel that the user leaves goes at once", async () => {
  const stack = new Stack();
  const client = await opened(stack);
  await channelsOf(client).load();
  stack.intercept = (url, init) => (init.method === "DELETE" ? new Response(null, { status: 204 }) : undefined);
  const removed = [];
  client.on("removed", (detail) => removed.push(detail));
  await channelsOf(client).leave("lobby");
  assert.deepEqual([channelsOf(client).entries, removed], [[], [{ channelId: "lobby", isDeleted: false }]]);
  assert.equal(stack.requests.at(-1).path, "/channels/lobby/members/alice");
});

test("each problem has a class", async () => {
  const stack = new Stack();
  const fails = async (answer, check) => {
    stack.intercept = answer;
    await assert.rejects(stack.client().open("lobby"), check);
  };
  await fails(() => problem(404, "channel_not_found"), (error) => error instanceof ChannelNotFoundError && error instanceof ProblemError && error.name === "channel_not_found" && !error.isTransient);
  await fails(() => Response.json({ code: "rate_limited" }, { status: 429, headers: { "retry-after": "3" } }), (error) => error instanceof RateLimitedError && error.retryAfter === 3 && error.isTransient);
  await fails(() => problem(400, "of_a_later_version"), (error) => !(error instanceof ChannelNotFoundError) && error.name === "of_a_later_version");
  await fails(() => new Response("<html>", { status: 502 }), (error) => error.constructor === ProblemError && error.status === 502);
  await fails(() => { throw new TypeError("fetch failed"); }, (error) => error instanceof NetworkError && error.status === 0 && error.cause.message === "fetch failed");
  await fails(() => new Response('{"messages":[{"seq":1', { status: 200 }), (error) => error instanceof NetworkError);
  const abort = new AbortController();
  abort.abort();
  stack.intercept = null;
  await assert.rejects(stack.client().open("lobby", { signal: abort.signal }), { name: "AbortError" });
});

test("no request is repeated before the server wants it, whatever happens meanwhile", async () => {
  const stack = new Stack();
  const client = await opened(stack);
  let failures = 1;
  stack.intercept = (url) => (url.searchParams.has("after") && failures-- > 0 ? Response.json({ code: "throttled" }, { status: 429, headers: { "retry-after": "9" } }) : undefined);
  const before = stack.requests.length;
  stack.store("missed");
  stack.live.drop();
  await stack.clock.advance(1_000);
  const reads = () => stack.asked(before).filter((one) => one.startsWith("GET")).length;
  assert.equal(reads(), 1);
  stack.live.drop();
  await stack.clock.advance(7_500);
  assert.equal(reads(), 1, "although a socket has opened");
  await stack.clock.advance(3_000);
  assert.deepEqual(contents(client), ["missed"]);
});

test("of two refusals of a request, the one that wants the longer wait is heeded", async () => {
  const stack = new Stack();
  const client = await opened(stack);
  const waits = ["30", "2"];
  stack.intercept = (url) => (url.pathname.endsWith("/presence") && waits.length > 0 ? Response.json({ code: "throttled" }, { status: 429, headers: { "retry-after": waits.shift() } }) : undefined);
  const before = stack.requests.length;
  const ask = () => client.request("GET", "/channels/lobby/presence").catch((error) => error.retryAfter);
  assert.deepEqual(await Promise.all([ask(), ask()]), [30, 2]);
  const third = ask();
  await stack.clock.advance(29_000);
  assert.equal(stack.asked(before).length, 2);
  await stack.clock.advance(2_000);
  await third;
  assert.equal(stack.asked(before).length, 3);
});

test("without an id the user is asked for, once", async () => {
  const stack = new Stack();
  const client = stack.client({ userId: undefined });
  await Promise.all([client.open("lobby"), channelsOf(client).load()]);
  assert.equal(client.userId, "alice");
  assert.deepEqual(stack.asked().filter((one) => one === "GET /me").length, 1);
});

test("the abort of one caller does not end the request for the user that others wait for", async () => {
  const stack = new Stack();
  const client = stack.client({ userId: undefined });
  const abort = new AbortController();
  const [aborted, loaded] = [channelsOf(client).load({ signal: abort.signal }), channelsOf(client).load()];
  abort.abort();
  await assert.rejects(aborted, { name: "AbortError" });
  assert.ok(Array.isArray(await loaded));
  assert.deepEqual(stack.asked().filter((one) => one === "GET /me").length, 1);
});

test("an error of a listener does not stop the client", async () => {
  const stack = new Stack();
  const client = await opened(stack);
  const reported = [];
  globalThis.reportError = ({ message }) => reported.push(message);
  client.on("messages", () => {
    throw new Error("of the application");
  });
  stack.push(stack.store("one"));
  delete globalThis.reportError;
  assert.deepEqual(reported, ["of the application"]);
  assert.deepEqual(contents(client), ["one"]);
  assert.ok(client instanceof SwitchboardClient);
  await settle();
});
