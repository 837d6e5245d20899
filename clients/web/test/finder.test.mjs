// Tests of the search for channels.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Finder, SEARCH_DELAY_MS, folded, resultText } from "../finder.js";

const mine = (id, name) => ({ channel_id: id, name, membership: { role: "member" } });
const open = (id, name, more = {}) => ({ channel_id: id, name, ...more });

/** Returns a finder with a timer that the test runs, and requests that the test answers. */
function setUp(own = []) {
  const timers = new Set();
  const asked = [];
  let changes = 0;
  const finder = new Finder({
    own: () => own,
    search: (text, { signal }) => new Promise((answer, refuse) => asked.push({ text, signal, answer, refuse })),
    onChange: () => (changes += 1),
    after: (delay, action) => {
      const timer = { delay, action };
      timers.add(timer);
      return () => timers.delete(timer);
    },
  });
  return {
    finder,
    asked,
    own,
    delays: () => [...timers].map(({ delay }) => delay),
    /** Runs the timers that wait. */
    pass: () => {
      const due = [...timers];
      timers.clear();
      for (const { action } of due) action();
    },
    /** Answers a request, and lets the finder take the answer. */
    answer: async (number, ...channels) => {
      asked[number].answer({ channels, hasMore: false });
      await settle();
    },
    names: () => finder.result.rows.map(({ channel }) => channel.name),
    changes: () => changes,
  };
}

const settle = () => new Promise((resolve) => setImmediate(resolve));

test("the server is asked once for a text that is typed without a pause", async () => {
  const { finder, asked, pass, delays } = setUp();
  for (const text of ["d", "de", "des", "des "]) finder.type(text);
  assert.deepEqual(delays(), [SEARCH_DELAY_MS]);
  assert.equal(asked.length, 0);
  pass();
  assert.deepEqual(asked.map(({ text }) => text), ["des"]);
});

test("own channels are found at once, by any part of their names", () => {
  const { finder, names, own } = setUp([mine("1", "The design"), mine("2", "Design"), mine("3", "Sales"), mine("4", "ＤＥＳign 2")]);
  finder.type("DES");
  assert.deepEqual(names(), ["Design", "ＤＥＳign 2", "The design"]);
  assert.equal(resultText(finder.result), "", "nothing is announced before the server has answered");
  // The list of the user's channels may grow meanwhile.
  own.push(mine("5", "Desert"));
  assert.deepEqual(names(), ["Design", "ＤＥＳign 2", "Desert", "The design"]);
});

test("public channels follow the own ones, each once, and archived ones only for their members", async () => {
  const { finder, pass, answer } = setUp([mine("1", "Design")]);
  finder.type("des");
  pass();
  await answer(0, open("1", "Design"), open("2", "Desk"), open("3", "Desert", { archived_at: "2026-05-01" }), { ...mine("4", "Desolate"), archived_at: "2026-05-01" });
  assert.deepEqual(finder.result.rows.map(({ channel, isOwn }) => [channel.channel_id, isOwn]), [["1", true], ["4", true], ["2", false]]);
  assert.equal(resultText(finder.result), "3 channels");
});

test("an older answer never replaces a newer one", async () => {
  const { finder, asked, pass, answer, names } = setUp();
  finder.type("a");
  pass();
  finder.type("ab");
  pass();
  assert.equal(asked[0].signal.aborted, true);
  assert.equal(asked[1].signal.aborted, false);
  await answer(1, open("2", "about"));
  await answer(0, open("1", "air"));
  assert.deepEqual(names(), ["about"]);
  // The same text, typed again, is a new search.
  finder.type("a");
  pass();
  assert.deepEqual(asked.map(({ text }) => text), ["a", "ab", "a"]);
});

test("a refusal of an older search is not shown, and one of the newest is", async () => {
  const { finder, asked, pass } = setUp([mine("1", "Design")]);
  finder.type("d");
  pass();
  finder.type("de");
  asked[0].refuse(new Error("too often"));
  await settle();
  assert.equal(finder.result.error, null);
  assert.equal(finder.result.isSearching, true);
  pass();
  asked[1].refuse(new Error("Too many requests."));
  await settle();
  assert.equal(finder.result.rows.length, 1, "own channels are still found");
  assert.equal(resultText(finder.result), "The public channels could not be searched. Too many requests.");
  finder.type("des");
  assert.equal(finder.result.error, null);
});

test("found channels stay while more of their names is typed", async () => {
  const { finder, pass, answer, names } = setUp();
  finder.type("des");
  pass();
  await answer(0, open("1", "Design"), open("2", "Desk"));
  finder.type("desi");
  assert.deepEqual(names(), ["Design"]);
  finder.type("x");
  assert.deepEqual(names(), []);
});

test("an empty field ends the search", async () => {
  const { finder, asked, pass, answer, delays, changes } = setUp([mine("1", "Design")]);
  finder.type("des");
  pass();
  finder.type("  ");
  assert.equal(asked[0].signal.aborted, true);
  assert.deepEqual(finder.result, { text: "", rows: [], hasMore: false, isSearching: false, error: null });
  await answer(0, open("2", "Desk"));
  assert.deepEqual(finder.result.rows, []);
  assert.deepEqual(delays(), []);
  assert.equal(changes(), 2);
  // A timer that has not run asks nothing.
  finder.type("des");
  finder.type("");
  pass();
  assert.equal(asked.length, 1);
});

test("results are told in words", () => {
  const result = (more) => ({ text: "x", rows: [], hasMore: false, isSearching: false, error: null, ...more });
  assert.equal(resultText(result()), "No channel begins with “x”");
  assert.equal(resultText(result({ rows: [{}] })), "1 channel");
  assert.equal(resultText(result({ rows: [{}, {}], hasMore: true })), "2 channels, and more: type more of the name");
  assert.equal(resultText(result({ text: "" })), "");
});

test("names are compared without case, width and composition", () => {
  assert.equal(folded(" ＡＢＣ"), "abc");
  assert.equal(folded("E\u0301quipe"), folded("équipe"));
  assert.notEqual(folded("مرحبا"), folded("مرحب"));
});
