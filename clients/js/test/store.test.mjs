// Tests of the log of one channel: order, duplicates, gaps.

import assert from "node:assert/strict";
import { test } from "node:test";
import { createLog } from "../src/store.js";

const message = (seq) => ({ seq, version: 1, message_id: `m${seq}` });
const messages = (...seqs) => seqs.map(message);
const seqs = (log) => log.messages.map(({ seq }) => seq);
/** Returns `true` if a message between the settled ones and the newest is missing. */
const hasGap = ({ settled, lastSeq }) => settled !== null && (lastSeq ?? 0) > settled;

test("history newest first and pushes in any order end up in order, once", () => {
  const log = createLog({ userId: null });
  log.addEarlier(messages(5, 4, 3), true);
  assert.deepEqual(log.push(messages(7, 6)).length, 2);
  assert.deepEqual(log.push(messages(6, 7, 5)), []);
  assert.deepEqual(seqs(log), [3, 4, 5, 6, 7]);
  assert.equal(log.settled, 7);
  assert.equal(hasGap(log), false);
});

test("a push beyond the next number is a gap, until the history closes it", () => {
  const log = createLog({ userId: null });
  log.addEarlier(messages(2, 1), false);
  log.push(messages(5));
  assert.equal(hasGap(log), true);
  assert.equal(log.settled, 2);
  log.push(messages(3, 4, 5), 5);
  assert.equal(hasGap(log), false);
  assert.equal(log.settled, 5);
  assert.deepEqual(seqs(log), [1, 2, 3, 4, 5]);
});

test("a page that is not the last leaves the rest of the gap open", () => {
  const log = createLog({ userId: null });
  log.addEarlier(messages(1), false);
  log.push(messages(9));
  log.push(messages(2, 3), 3);
  assert.equal(log.settled, 3);
  assert.equal(hasGap(log), true);
});

test("numbers that the history does not hold either are no gap", () => {
  const log = createLog({ userId: null });
  log.addEarlier(messages(1), false);
  log.push(messages(4));
  log.push(messages(4), 4);
  assert.equal(log.settled, 4);
  assert.equal(hasGap(log), false);
});

test("what was pushed after the page had been asked for stays a gap", () => {
  const log = createLog({ userId: null });
  log.addEarlier(messages(1), false);
  log.push(messages(3));
  const seen = log.lastSeq;
  log.push(messages(7));
  log.push(messages(2, 3), seen);
  assert.equal(log.settled, 3);
  assert.equal(hasGap(log), true);
});

test("a first state that is repeated late is not taken for a message that is not loaded", () => {
  const log = createLog({ userId: null });
  log.addEarlier(messages(5, 4, 3), true);
  assert.deepEqual(log.push(messages(2, 4, 6)).map(({ seq }) => seq), [6]);
  assert.deepEqual(seqs(log), [3, 4, 5, 6]);
});

test("earlier history is asked for until the first message", () => {
  const log = createLog({ userId: null });
  assert.equal(log.hasEarlier, false);
  log.addEarlier(messages(4, 3), true);
  assert.equal(log.hasEarlier, true);
  log.addEarlier(messages(2, 1), false);
  assert.equal(log.hasEarlier, false);
  assert.deepEqual(seqs(log), [1, 2, 3, 4]);
});

test("an empty channel is settled at nothing", () => {
  const log = createLog({ userId: null });
  log.addEarlier([], false);
  assert.equal(log.settled, 0);
  log.push(messages(1));
  assert.equal(hasGap(log), false);
});

test("what is no message is left out", () => {
  const log = createLog({ userId: null });
  log.addEarlier([], false);
  log.push([null, {}, { seq: "1" }, { seq: 1.5 }, message(1)]);
  assert.deepEqual(seqs(log), [1]);
});

test("any order of delivery gives the same log", () => {
  // A seeded generator, so that a failure can be reproduced.
  let state = 7;
  const random = (below) => (state = (state * 48271) % 2147483647) % below;
  for (let round = 0; round < 200; round += 1) {
    const log = createLog({ userId: null });
    log.addEarlier([], false);
    const all = messages(...Array.from({ length: 30 }, (_, index) => index + 1));
    const lost = new Set(all.filter(() => random(4) === 0));
    const arriving = all.filter((one) => !lost.has(one)).flatMap((one) => (random(3) === 0 ? [one, one] : [one]));
    for (let at = arriving.length - 1; at > 0; at -= 1) {
      const other = random(at + 1);
      [arriving[at], arriving[other]] = [arriving[other], arriving[at]];
    }
    for (const one of arriving) log.push([one]);
    const from = log.settled;
    log.push(all.filter(({ seq }) => seq > from), log.lastSeq ?? 0);
    assert.deepEqual(log.messages, all, `round ${round}`);
    assert.equal(hasGap(log), false);
  }
});

test("the later version of a message wins, in whatever order the two come", () => {
  const log = createLog({ userId: null });
  log.addEarlier(messages(2, 1), false);
  const state = (version, rest = {}) => ({ ...message(2), version, content: `v${version}`, ...rest });
  assert.equal(log.update([state(3)]), true);
  assert.equal(log.update([state(2), state(3), message(2)]), false);
  assert.equal(log.get(2).content, "v3");
  assert.equal(log.update([state(4, { deleted_at: "2026-11-24T00:00:03.000Z" })]), true);
  assert.equal(log.update([state(3)]), false);
  assert.equal(log.update([{ ...message(7), version: 9 }]), false, "history will bring it");
  log.push([state(5)]);
  assert.equal(log.get(2).content, "v5", "a page that is read again is not older");
  log.addEarlier([state(1)], false);
  assert.equal(log.get(2).content, "v5");
  assert.deepEqual(seqs(log), [1, 2]);
});

const reaction = (version, type, user_id, count, emoji = "👍") => ({ type: `reaction.${type}`, seq: 1, version, emoji, user_id, count });
const reacted = (log) => (log.get(1).reactions ?? []).map(({ emoji, count, user_ids: users, reacted: mine }) => `${emoji}${count} ${users} ${mine}`);

test("reactions come one by one, and know which are the user's own", () => {
  const log = createLog({ userId: "alice" });
  log.addEarlier([{ ...message(1), version: 1 }], false);
  assert.equal(log.react(reaction(2, "added", "bob", 1)), true);
  assert.equal(log.react(reaction(3, "added", "alice", 2)), true);
  assert.equal(log.react(reaction(4, "added", "carol", 1, "🎉")), true);
  assert.deepEqual(reacted(log), ["🎉1 carol false", "👍2 alice,bob true"]);
  assert.equal(log.react(reaction(3, "added", "alice", 2)), false, "it came twice");
  assert.equal(log.react(reaction(5, "removed", "alice", 1)), true);
  assert.equal(log.react(reaction(6, "removed", "carol", 0, "🎉")), true);
  assert.deepEqual(reacted(log), ["👍1 bob false"]);
  assert.equal(log.react(reaction(7, "removed", "bob", 0)), true);
  assert.equal("reactions" in log.get(1), false);
  assert.equal(log.get(1).version, 7);
  assert.equal(log.react({ ...reaction(8, "added", "bob", 1), seq: 5 }), null, "it is not held");
});

test("a missing version is noticed, and what it would have said is not guessed", () => {
  const log = createLog({ userId: "alice" });
  log.addEarlier([{ ...message(1), version: 1 }], false);
  assert.equal(log.react(reaction(3, "added", "bob", 1)), null);
  assert.equal(log.get(1).version, 1);
  assert.deepEqual(reacted(log), []);
  assert.equal(log.react({ ...reaction(2, "added", "bob", 1), version: undefined }), false);
});

test("whether the user reacted is kept where a frame cannot say it", () => {
  const users = Array.from({ length: 10 }, (_, index) => `user-${index}`);
  const log = createLog({ userId: "zoe" });
  log.addEarlier([{ ...message(1), version: 1, reactions: [{ emoji: "👍", count: 12, user_ids: users, reacted: true }] }], false);
  const edited = (version, count, user_ids) => ({ ...message(1), version, reactions: [{ emoji: "👍", count, user_ids }] });
  log.update([edited(2, 12, users)]);
  assert.deepEqual(reacted(log), [`👍12 ${users} true`], "she may be one of those who are not named");
  log.update([edited(3, 10, users)]);
  assert.deepEqual(reacted(log), [`👍10 ${users} false`], "all are named");
  assert.equal(log.react(reaction(4, "added", "zoe", 11)), true);
  assert.deepEqual(reacted(log), [`👍11 ${users} true`], "no more than ten are named");
});

test("the larger summary of a thread stays", () => {
  const log = createLog({ userId: null });
  const state = (version, count) => ({ ...message(1), version, ...(count && { thread: { reply_count: count } }) });
  log.addEarlier([state(1, 2)], false);
  const counts = [state(2, 3), state(3, 2), state(4)].map((later) => log.update([later]) && log.get(1).thread.reply_count);
  assert.deepEqual(counts, [3, 3, 3]);
});

test("a message that came after the settled ones and is not held is known to be lacking", () => {
  const log = createLog({ userId: null });
  assert.equal(log.lacks(3), false, "the history is not open");
  log.addEarlier(messages(3, 2), true);
  log.push(messages(6));
  assert.deepEqual([1, 3, 4, 6, 7].map((seq) => log.lacks(seq)), [false, false, true, false, true]);
});

test("a history that is loaded again replaces all that was held", () => {
  const log = createLog({ userId: null });
  log.addEarlier(messages(2, 1), false);
  log.push(messages(5));
  log.restart(messages(9, 8), true);
  assert.deepEqual([seqs(log), log.settled, hasGap(log), log.hasEarlier], [[8, 9], 9, false, true]);
});

test("a history that is loaded again keeps the newer states that came while it was read", () => {
  const log = createLog({ userId: null });
  const state = (seq, version, id = `m${seq}`) => ({ seq, version, message_id: id, content: `${id} v${version}` });
  log.addEarlier([state(3, 1), state(2, 1), state(1, 1)], false);
  log.update([state(1, 3), state(2, 3), state(3, 3)]);
  log.restart([state(4, 1), state(3, 2), state(2, 2, "other")], true);
  assert.deepEqual(log.messages.map(({ content }) => content), ["other v2", "m3 v3", "m4 v1"]);
  assert.deepEqual([log.firstSeq, log.settled], [2, 4]);
});
