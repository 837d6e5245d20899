// Tests of the log of one channel: order, duplicates, gaps.

import assert from "node:assert/strict";
import { test } from "node:test";
import { CLIENT_KEY, ChannelLog, Outbox } from "../../js/src/store.js";

const message = (seq) => ({ seq, message_id: `m${seq}` });
const messages = (...seqs) => seqs.map(message);
const seqs = (log) => log.messages.map(({ seq }) => seq);

test("history newest first and pushes in any order end up in order, once", () => {
  const log = new ChannelLog();
  log.addEarlier(messages(5, 4, 3), true);
  assert.deepEqual(log.push(messages(7, 6)).length, 2);
  assert.deepEqual(log.push(messages(6, 7, 5)), []);
  assert.deepEqual(seqs(log), [3, 4, 5, 6, 7]);
  assert.equal(log.settled, 7);
  assert.equal(log.hasGap, false);
});

test("a push beyond the next number is a gap, until the history closes it", () => {
  const log = new ChannelLog();
  log.addEarlier(messages(2, 1), false);
  log.push(messages(5));
  assert.equal(log.hasGap, true);
  assert.equal(log.settled, 2);
  log.addLater(messages(3, 4, 5), false, 5);
  assert.equal(log.hasGap, false);
  assert.equal(log.settled, 5);
  assert.deepEqual(seqs(log), [1, 2, 3, 4, 5]);
});

test("a page that is not the last leaves the rest of the gap open", () => {
  const log = new ChannelLog();
  log.addEarlier(messages(1), false);
  log.push(messages(9));
  log.addLater(messages(2, 3), true, 9);
  assert.equal(log.settled, 3);
  assert.equal(log.hasGap, true);
});

test("numbers that the history does not hold either are no gap", () => {
  const log = new ChannelLog();
  log.addEarlier(messages(1), false);
  log.push(messages(4));
  log.addLater(messages(4), false, 4);
  assert.equal(log.settled, 4);
  assert.equal(log.hasGap, false);
});

test("what was pushed after the page had been asked for stays a gap", () => {
  const log = new ChannelLog();
  log.addEarlier(messages(1), false);
  log.push(messages(3));
  const seen = log.lastSeq;
  log.push(messages(7));
  log.addLater(messages(2, 3), false, seen);
  assert.equal(log.settled, 3);
  assert.equal(log.hasGap, true);
});

test("earlier history is asked for until the first message", () => {
  const log = new ChannelLog();
  assert.equal(log.hasEarlier, false);
  log.addEarlier(messages(4, 3), true);
  assert.equal(log.hasEarlier, true);
  log.addEarlier(messages(2, 1), false);
  assert.equal(log.hasEarlier, false);
  assert.deepEqual(seqs(log), [1, 2, 3, 4]);
});

test("an empty channel is settled at nothing", () => {
  const log = new ChannelLog();
  log.addEarlier([], false);
  assert.equal(log.settled, 0);
  log.push(messages(1));
  assert.equal(log.hasGap, false);
});

test("what is no message is left out", () => {
  const log = new ChannelLog();
  log.addEarlier([], false);
  log.push([null, {}, { seq: "1" }, { seq: 0 }, { seq: 1.5 }, message(1)]);
  assert.deepEqual(seqs(log), [1]);
});

test("any order of delivery gives the same log", () => {
  // A seeded generator, so that a failure can be reproduced.
  let state = 7;
  const random = (below) => (state = (state * 48271) % 2147483647) % below;
  for (let round = 0; round < 200; round += 1) {
    const log = new ChannelLog();
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
    log.addLater(all.filter(({ seq }) => seq > from), false, log.lastSeq ?? 0);
    assert.deepEqual(log.messages, all, `round ${round}`);
    assert.equal(log.hasGap, false);
  }
});

test("the outbox lets go of what came back under its key", () => {
  const outbox = new Outbox();
  outbox.add({ key: "a", content: "same" });
  outbox.add({ key: "b", content: "same" });
  outbox.settle({ seq: 1, content: "same", metadata: { [CLIENT_KEY]: "b" } }, { seq: 2, content: "same" });
  assert.deepEqual(outbox.entries.map(({ key }) => key), ["a"]);
  outbox.failed("a", new Error("no"));
  assert.equal(outbox.get("a").state, "failed");
});

test("an edit replaces what is held, a deletion ends it, and neither is undone by what is older", () => {
  const log = new ChannelLog();
  log.addEarlier(messages(2, 1), false);
  const edited = (at) => ({ ...message(2), content: at, edited_at: `2026-11-24T00:00:0${at}.000Z` });
  assert.equal(log.update([edited(2)]), true);
  assert.equal(log.update([edited(1), message(2)]), false);
  assert.equal(log.get(2).content, 2);
  assert.equal(log.update([{ ...edited(1), deleted_at: "2026-11-24T00:00:03.000Z" }]), true);
  assert.equal(log.update([edited(9)]), false);
  assert.equal(log.update([{ ...message(7), edited_at: "2026-11-24T00:00:00.000Z" }]), false, "history will bring it");
  assert.deepEqual(seqs(log), [1, 2]);
});
