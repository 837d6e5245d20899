// Tests of the numbers of changes: gaps, reconnects, pages of history that are joined, expired changes.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createCursor } from "../src/changes.js";
import { Stack, contents, gap, opened, problem, seeded, settle } from "./stack.mjs";

const ROUNDS = 150;
const STEPS = 40;

/** Returns a cursor of a channel whose first page had this number. */
function at(rev) {
  const cursor = createCursor();
  cursor.join(rev);
  return cursor;
}

const state = ({ known, isBehind }) => [known, isBehind];

test("events in order move the number, and a gap must be read", () => {
  const cursor = at(4);
  cursor.take({ rev: 5 });
  cursor.take({ rev: 5 });
  cursor.take({ rev: 2 });
  assert.deepEqual(state(cursor), [5, false], "an event that comes twice or late changes nothing");
  cursor.take({ rev: 9, rev_from: 6 });
  assert.deepEqual(state(cursor), [9, false], "a merged event covers all its numbers");
  cursor.take({ rev: 12, rev_from: 4 });
  assert.deepEqual(state(cursor), [12, false], "it may begin earlier");
  cursor.take({ rev: 14 });
  assert.deepEqual(state(cursor), [12, true]);
  const take = cursor.ask();
  cursor.take({ rev: 16 });
  take({ has_more: true, next: { after: 13 }, rev: 16 });
  assert.deepEqual(state(cursor), [14, true], "change 14 was applied early");
  cursor.take({ rev: 15 });
  assert.deepEqual(state(cursor), [16, false]);
  cursor.take({ rev: 18 });
  cursor.join(16);
  cursor.take({ rev: 17 });
  assert.deepEqual(state(cursor), [17, true], "the page may lack change 18");
  cursor.ask()({ has_more: false, rev: 18 });
  assert.deepEqual(state(cursor), [18, false]);
});

test("before the first page no number is known, and what came before it is read if the page is older", () => {
  const cursor = createCursor();
  cursor.take({ rev: 7 });
  assert.deepEqual(state(cursor), [null, false]);
  cursor.join(6);
  assert.deepEqual(state(cursor), [6, true]);
  const other = createCursor();
  other.take({ rev: 7 });
  other.join(7);
  assert.deepEqual(state(other), [7, false]);
});

test("a page that joins moves the number back to its own, and never forward", () => {
  const cursor = at(4);
  cursor.take({ rev: 5 });
  cursor.join(4);
  assert.deepEqual(state(cursor), [4, true], "change 5 may be one of the page's messages");
  cursor.ask()({ has_more: false, rev: 5 });
  cursor.join(8);
  assert.deepEqual(state(cursor), [5, true], "changes 6 to 8 may be of other messages");
});

test("an answer to an earlier request does not cover the messages of a page that came meanwhile", () => {
  const cursor = at(9);
  cursor.take({ rev: 11 });
  const take = cursor.ask();
  cursor.join(6);
  take({ has_more: false, rev: 11 });
  assert.deepEqual(state(cursor), [6, true]);
});

test("an event that comes during the last request is read by the next one", () => {
  const cursor = at(1);
  cursor.tell(3);
  const take = cursor.ask();
  cursor.take({ rev: 6 });
  take({ has_more: false, rev: 3 });
  assert.deepEqual(state(cursor), [3, true]);
  const takeNext = cursor.ask();
  cursor.take({ rev: 4 });
  takeNext({ has_more: false, rev: 6 });
  assert.deepEqual(state(cursor), [6, false]);
});

test("a number that the server does not have is not asked for again and again", () => {
  const cursor = at(1);
  cursor.tell(30);
  cursor.ask()({ has_more: false, rev: 2 });
  assert.deepEqual(state(cursor), [2, false]);
  cursor.tell(4);
  cursor.ask()({ has_more: true, rev: 4 });
  assert.deepEqual(state(cursor), [2, false], "nor is a page without an end");
});

test("after expiry a new history has the number, also a smaller one", () => {
  const cursor = at(30);
  cursor.tell(40);
  cursor.take({ rev: 41 });
  cursor.restart(40);
  assert.deepEqual(state(cursor), [40, true], "event 41 came meanwhile");
  cursor.restart(3);
  cursor.ask()({ has_more: false, rev: 3 });
  assert.deepEqual(state(cursor), [3, false], "the id belongs to another channel");
});

test("numbers that are none change nothing", () => {
  const cursor = at(3);
  for (const rev of [undefined, null, "9", 1.5, -1, Number.NaN]) {
    cursor.take({ rev });
    cursor.tell(rev);
    cursor.join(rev);
  }
  cursor.take({ rev: 4, rev_from: "4" });
  cursor.take({});
  assert.deepEqual(state(cursor), [3, true], "4 is told, and not applied");
  const old = createCursor();
  old.join(undefined);
  old.take({ rev: 5 });
  assert.deepEqual(state(old), [null, false], "a server without numbers");
});

const received = (stack, ...events) => stack.receive({ type: "events", events });
const paths = (stack, from) => stack.asked(from).map((one) => one.replace("GET /channels/lobby", ""));

test("changes in order ask for nothing, and a gap is read page by page", async () => {
  const stack = new Stack();
  for (const number of [1, 2, 3]) stack.store(`m${number}`);
  const client = await opened(stack);
  const before = stack.requests.length;
  received(stack, stack.edit(1, "one"), stack.react(2, "👍", "bob"));
  received(stack, stack.delete(3));
  await settle();
  assert.deepEqual([contents(client), paths(stack, before), client.channel("lobby").rev], [["one", "m2", ""], [], 3]);
  for (let number = 1; number <= 150; number += 1) stack.edit(2, `two ${number}`);
  stack.edit(1, "uno");
  received(stack, stack.react(1, "🎉", "bob"));
  await settle();
  assert.deepEqual(paths(stack, before), [], "the missing events may only be late");
  await gap(stack);
  assert.deepEqual(contents(client), ["uno", "two 150", ""]);
  assert.deepEqual(client.channel("lobby").log.get(1).reactions.map(({ count }) => count), [1]);
  assert.deepEqual(paths(stack, before), ["/changes?after=3&limit=100", "/changes?after=103&limit=100"]);
  assert.equal(client.channel("lobby").rev, 155);
});

test("after a lost connection the page shows what was edited, deleted and reacted to meanwhile", async () => {
  const stack = new Stack();
  for (let number = 1; number <= 60; number += 1) stack.store(`m${number}`);
  stack.react(60, "👍", "bob");
  const client = await opened(stack);
  const revised = [];
  client.on("revised", (detail) => revised.push(...detail.messages.map(({ seq }) => seq)));
  stack.accepting = false;
  stack.live.drop();
  stack.edit(2, "not loaded");
  stack.edit(58, "edited");
  stack.delete(59);
  stack.react(60, "👍", "bob");
  stack.react(60, "🎉", "alice");
  const before = stack.requests.length;
  stack.accepting = true;
  await stack.clock.advance(60_000);
  assert.deepEqual(paths(stack, before), ["/messages?after=60&limit=100", "/changes?after=1&limit=100"]);
  assert.deepEqual(contents(client).slice(-3), ["edited", "", "m60"]);
  assert.deepEqual(client.channel("lobby").log.get(60).reactions, [{ emoji: "🎉", count: 1, user_ids: ["alice"], reacted: true }]);
  assert.deepEqual([client.channel("lobby").log.get(2), client.channel("lobby").log.messages.length], [undefined, 50]);
  assert.deepEqual(revised, [2, 58, 59, 60], "quotes of messages that are not loaded are corrected too");
});

test("a connection that is lost without a change asks for no changes", async () => {
  const stack = new Stack();
  stack.store("one");
  stack.edit(1, "uno");
  await opened(stack);
  const before = stack.requests.length;
  stack.live.drop();
  await stack.clock.advance(60_000);
  assert.deepEqual(paths(stack, before), ["/messages?after=1&limit=100"]);
});

test("a change between the number of an earlier page and its messages is not lost", async () => {
  const stack = new Stack();
  for (let number = 1; number <= 60; number += 1) stack.store(`m${number}`);
  const client = await opened(stack);
  // The page was read before the change, whose event arrives first.
  const stale = Response.json({ messages: stack.messages.slice(0, 10).reverse(), has_more: false, rev: stack.rev });
  stack.intercept = (url) => {
    if (!url.searchParams.has("before")) return undefined;
    received(stack, stack.edit(3, "three"));
    return stale;
  };
  await client.channel("lobby").loadEarlier();
  await settle();
  assert.deepEqual([client.channel("lobby").log.get(3).content, client.channel("lobby").rev], ["three", 1]);
});

test("the first state of a message that arrives after its change does not stay", async () => {
  const stack = new Stack();
  const client = await opened(stack);
  for (const change of [() => stack.edit(1, "new"), () => stack.react(2, "👍", "bob")]) {
    const first = stack.store("old");
    const event = change();
    received(stack, event);
    stack.push(first);
    await gap(stack);
  }
  assert.deepEqual(contents(client), ["new", "old"]);
  assert.deepEqual(client.channel("lobby").log.messages.map(({ version }) => version), [2, 2]);
});

test("changes that are no longer stored bring the history again", async () => {
  const stack = new Stack();
  for (let number = 1; number <= 80; number += 1) stack.store(`m${number}`);
  const client = await opened(stack);
  await client.channel("lobby").loadEarlier();
  assert.equal(client.channel("lobby").log.messages.length, 80);
  stack.accepting = false;
  stack.live.drop();
  for (let number = 0; number < 20; number += 1) stack.edit(80 - number, `new ${number}`);
  stack.edit(1, "first");
  stack.expired = 5;
  stack.accepting = true;
  // A message is pushed while the history is read, and is not in it.
  let isFirst = true;
  stack.intercept = (url) => {
    if (url.search !== "?limit=50" || !isFirst) return undefined;
    isFirst = false;
    const page = Response.json({ messages: stack.seen(stack.messages).reverse().slice(0, 50), has_more: true, rev: stack.rev });
    stack.push(stack.store("m81"));
    received(stack, stack.edit(80, "newest"));
    return page;
  };
  await stack.clock.advance(60_000);
  assert.deepEqual(client.channel("lobby").log.messages, stack.messages.slice(30));
  assert.equal(client.channel("lobby").rev, stack.rev);
  assert.equal(client.channel("lobby").log.hasEarlier, true);
  while (client.channel("lobby").log.hasEarlier) await client.channel("lobby").loadEarlier();
  assert.deepEqual(client.channel("lobby").log.messages, stack.messages);
});

test("an earlier page that was requested before the history was loaded again leaves no hole", async () => {
  const stack = new Stack();
  for (let number = 1; number <= 200; number += 1) stack.store(`m${number}`);
  const client = await opened(stack);
  await client.channel("lobby").loadEarlier();
  let release;
  stack.lag = () => new Promise((resolve) => (release = resolve));
  const earlier = client.channel("lobby").loadEarlier();
  await settle();
  const held = release;
  stack.lag = async () => {};
  stack.expired = 1;
  stack.edit(200, "newest");
  stack.edit(199, "newer");
  received(stack, stack.edit(198, "new"));
  await gap(stack);
  assert.equal(client.channel("lobby").log.firstSeq, 151);
  held();
  await earlier;
  assert.deepEqual([client.channel("lobby").log.firstSeq, client.channel("lobby").log.messages.length], [151, 50]);
});

test("changes that cannot be read are tried again after a wait, however many events come", async () => {
  const stack = new Stack();
  stack.store("one");
  const client = await opened(stack);
  stack.intercept = (url) => (url.pathname.endsWith("/changes") ? problem(503, "store_unavailable") : undefined);
  const before = stack.requests.length;
  stack.edit(1, "two");
  for (let number = 3; number < 20; number += 1) {
    received(stack, stack.edit(1, `${number}`));
    await settle();
    if (number === 3) await gap(stack);
  }
  assert.equal(paths(stack, before).length, 1);
  stack.intercept = null;
  await stack.clock.advance(5_000);
  assert.deepEqual([contents(client), client.channel("lobby").rev], [["19"], 18]);
});

test("the answer to a send shows that changes were missed, and its number is no part of the message", async () => {
  const stack = new Stack();
  stack.store("one");
  const client = await opened(stack);
  stack.edit(1, "uno");
  const message = await client.channel("lobby").send("mine");
  await settle();
  assert.deepEqual([contents(client), message.rev, client.channel("lobby").log.get(2).rev], [["uno", "mine"], undefined, undefined]);
});

/** Makes the stack do something at random. Returns the frame about it. */
function act(stack, random) {
  const events = [];
  const seq = 1 + random(stack.messages.length);
  const { deleted_at: isDeleted } = stack.messages[seq - 1];
  const kind = random(8);
  if (kind === 0) {
    const message = stack.store(`m${stack.messages.length + 1}`);
    events.push({ type: "message.created", seq: message.seq, version: 1, message });
    // Changed at once, so that the change may overtake it.
    if (random(2) === 0) events.push(stack.edit(message.seq, "at once"));
  } else if (isDeleted) return null;
  else if (kind === 1) events.push(stack.delete(seq));
  else if (kind < 5) events.push(stack.react(seq, ["👍", "🎉"][random(2)], ["alice", "bob", "carol"][random(3)]));
  else {
    const first = stack.edit(seq, `edit ${stack.rev}`);
    // Two changes of one message in one event.
    events.push(random(3) === 0 ? { ...stack.edit(seq, `edit ${stack.rev}`), rev_from: first.rev } : first);
  }
  return { type: "events", channel_id: "lobby", events };
}

test("whatever is lost, late or doubled, the log ends as the history that it has loaded", async () => {
  for (let seed = 1; seed <= ROUNDS; seed += 1) {
    const random = seeded(seed * 7919);
    const stack = new Stack();
    for (let number = 1; number <= 1 + random(120); number += 1) stack.store(`m${number}`);
    stack.lag = async () => {
      for (let turns = random(12); turns > 0; turns -= 1) await new Promise(setImmediate);
    };
    stack.intercept = (url) => (url.pathname.startsWith("/channels/lobby/") && random(15) === 0 ? problem(503, "store_unavailable") : undefined);
    const client = stack.client();
    client.subscribe(["lobby"]);
    let frames = [];
    const deliver = () => {
      const [frame] = frames.splice(random(Math.min(2, frames.length)), 1);
      if (!frame || random(6) === 0) return;
      for (let times = random(5) === 0 ? 2 : 1; times > 0; times -= 1) stack.live?.receive(frame);
    };
    const opening = client.open("lobby").catch(() => {});
    for (let step = 0; step < STEPS; step += 1) {
      const kind = random(12);
      if (kind < 6) frames.push(act(stack, random));
      else if (kind < 10) deliver();
      else if (kind === 10) for (let times = random(3); times > 0; times -= 1) client.channel("lobby").loadEarlier().catch(() => {});
      else if (random(4) === 0) {
        stack.live?.drop();
        frames = [];
      } else if (random(6) === 0) {
        stack.expired = stack.rev - random(3);
        if (stack.expired < 0) stack.expired = 0;
      } else await stack.clock.advance(random(2_000));
      if (random(3) === 0) await new Promise(setImmediate);
      frames = frames.filter(Boolean);
    }
    await opening;
    stack.intercept = null;
    await client.open("lobby");
    if (random(2) === 0) stack.live?.drop();
    else {
      // The last frames come, and show what was missed before.
      do await stack.clock.advance(60_000);
      while (!stack.live);
      const message = stack.store("last");
      stack.push(message);
      stack.receive({ type: "events", events: [stack.edit(message.seq, "the end")] });
    }
    for (let turn = 0; turn < 50 && (turn < 3 || client.channel("lobby").isCatchingUp); turn += 1) await stack.clock.advance(60_000);
    const { firstSeq, messages } = client.channel("lobby").log;
    assert.deepEqual(JSON.parse(JSON.stringify(messages)), JSON.parse(JSON.stringify(stack.seen(stack.messages.slice(firstSeq - 1)))), `seed ${seed}`);
    assert.deepEqual([client.channel("lobby").rev, client.state.name], [stack.rev, "live"], `seed ${seed}`);
    client.close();
  }
});

test("a number that the server no longer has is forgotten, and one that comes later is not", () => {
  const cursor = at(4);
  cursor.tell(9);
  cursor.clear();
  cursor.restart(6);
  assert.deepEqual(state(cursor), [6, false]);
  cursor.clear();
  cursor.tell(10);
  cursor.restart(9);
  assert.deepEqual(state(cursor), [9, true]);
});
