// Tests of the texts of the page.

import assert from "node:assert/strict";
import { test } from "node:test";
import { leftOutText, reactors, repliesText, shortTime, threadText, timeOfDay, titleCount, typingText } from "../format.js";

test("channels that are left out are counted", () => {
  assert.equal(leftOutText(1), "1 more channel is not live here");
  assert.equal(leftOutText(12), "12 more channels are not live here");
});

test("a moment is short where there is little room", () => {
  const now = new Date(2026, 4, 20, 18, 0);
  const today = new Date(2026, 4, 20, 9, 5);
  assert.equal(shortTime(today, now), timeOfDay(today));
  assert.match(shortTime(new Date(2026, 4, 19, 9, 5), now), /19/);
  assert.match(shortTime(new Date(2025, 11, 31), now), /2025/);
  assert.equal(shortTime(new Date(Number.NaN), now), "");
});

test("the title counts up to ninety-nine", () => {
  assert.deepEqual([0, 1, 99, 100, 250].map(titleCount), ["", "(1) ", "(99) ", "(99+) ", "(99+) "]);
});

test("those who reacted are named, oneself first, and the rest are counted", () => {
  const named = (count, user_ids, reacted) => reactors({ count, user_ids, reacted }, "alice");
  assert.equal(named(1, ["bob"], false), "bob");
  assert.equal(named(1, ["alice"], true), "you");
  assert.equal(named(3, ["bob", "alice", "carol"], true), "you, bob and carol");
  assert.equal(named(12, ["bob", "carol"], false), "bob, carol and 10 more");
  assert.equal(named(12, ["bob", "carol"], true), "you, bob, carol and 9 more");
});

test("one reply is one, and the time of the last is named", () => {
  assert.deepEqual([0, 1, 2].map(repliesText), ["No replies yet", "1 reply", "2 replies"]);
  const now = new Date(2026, 4, 20, 18, 0);
  const last = new Date(2026, 4, 20, 9, 5);
  assert.equal(threadText({ reply_count: 2, last_reply_at: last.toISOString() }, now), `2 replies, last ${timeOfDay(last)}`);
  assert.equal(threadText({ reply_count: 1 }, now), "1 reply");
});

test("those who type are named in their order, and many are not", () => {
  assert.equal(typingText([]), "");
  assert.equal(typingText(["bob"]), "bob is typing");
  assert.equal(typingText(["bob", "carol"]), "bob and carol are typing");
  assert.equal(typingText(["bob", "carol", "dave"]), "bob, carol and dave are typing");
  assert.equal(typingText(["a", "b", "c", "d"]), "Several people are typing");
});
