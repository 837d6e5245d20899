// Tests of the emoji that the page offers.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { EMOJI, EmojiUse, OFTEN_USED, emojiName, findEmoji } from "../emoji.js";

const names = (query) => findEmoji(query).map(({ name }) => name);

/** A store as `localStorage` is. */
function memory(content = null) {
  let value = content;
  return { get: () => value, set: (_, text) => (value = text) };
}

test("each emoji and each name is there once, and the API accepts each", async () => {
  const contract = await readFile(new URL("../../../contracts/openapi.yaml", import.meta.url), "utf8");
  const [, pattern] = /^ {4}NewEmoji:[\s\S]*?^ {6}pattern: '(.*)'$/m.exec(contract);
  const accepted = new RegExp(pattern, "u");
  assert.ok(!accepted.test("a"));
  assert.deepEqual(EMOJI.filter(({ emoji }) => !accepted.test(emoji)), []);
  assert.equal(new Set(EMOJI.map(({ emoji }) => emoji)).size, EMOJI.length);
  assert.equal(new Set(EMOJI.map(({ name }) => name)).size, EMOJI.length);
  assert.ok(EMOJI.every(({ name, words }) => name && words.length > 0));
  assert.ok(EMOJI.length >= 110);
});

test("each emoji has the form in which the API returns it", () => {
  // A character with a text form needs U+FE0F to be an emoji.
  const isQualified = ({ emoji }) => /^\p{RGI_Emoji}$/v.test(emoji);
  assert.deepEqual(EMOJI.filter((one) => !isQualified(one)), []);
});

test("the beginnings of words find an emoji, in any order; its name comes first", () => {
  assert.equal(findEmoji(" ").length, EMOJI.length);
  assert.deepEqual(names("rock"), ["rocket"]);
  assert.deepEqual(names("Heart broken"), ["broken heart"]);
  assert.deepEqual(names("bug").slice(0, 2), ["bug", "ladybird"]);
  assert.deepEqual(names("heart bug"), []);
  assert.deepEqual(names("upside-down"), ["upside-down face"]);
  assert.deepEqual(names("🚀"), ["rocket"]);
  // The end of a word finds nothing.
  assert.deepEqual(names("ocket"), []);
});

test("the most used come first, and common ones fill the row", () => {
  const storage = memory();
  const use = new EmojiUse(storage);
  assert.equal(use.most.length, OFTEN_USED);
  assert.equal(use.most[0], "👍");
  for (const emoji of ["🚀", "🐛", "🚀"]) use.add(emoji);
  assert.deepEqual(use.most.slice(0, 3), ["🚀", "🐛", "👍"]);
  assert.equal(new Set(use.most).size, OFTEN_USED);
  assert.deepEqual(new EmojiUse(storage).most, use.most);
});

test("a store with other content is as good as an empty one", () => {
  const fresh = new EmojiUse(memory()).most;
  for (const content of ["", "null", "[1]", "{", '{"<b>":4,"👍":"many"}', '"text"']) assert.deepEqual(new EmojiUse(memory(content)).most, fresh, content);
});

test("an emoji that is not in the list is its own name", () => {
  assert.equal(emojiName("🚀"), "rocket");
  assert.equal(emojiName("🦩"), "🦩");
});
