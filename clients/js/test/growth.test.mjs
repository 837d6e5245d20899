// Tests of texts that grow on the screen between two pieces.

import assert from "node:assert/strict";
import { test } from "node:test";
import { DraftGrowth, Growth } from "../src/growth.js";
import { seeded } from "./stack.mjs";

test("the text at the beginning is shown at once, and a piece in the time since the one before", () => {
  const growth = new Growth(40, 0);
  assert.deepEqual([growth.at(0), growth.isGrowing(0)], [40, false]);
  growth.grow(60, 500);
  assert.deepEqual([500, 625, 750, 1_000, 9_000].map((now) => growth.at(now)), [40, 45, 50, 60, 60]);
  assert.deepEqual([growth.isGrowing(999), growth.isGrowing(1_000)], [true, false]);
  growth.grow(60, 2_000);
  assert.equal(growth.at(2_000), 60, "no piece came");
  growth.grow(160, 20_500);
  assert.deepEqual([growth.at(21_000), growth.at(21_500)], [110, 160], "no longer than one second");
});

test("the first words do not wait for a second", () => {
  const growth = new Growth(0, 0);
  growth.grow(10, 5_000);
  assert.deepEqual([growth.at(5_125), growth.at(5_250)], [5, 10]);
});

test("a piece that comes early continues from the part that is shown", () => {
  const growth = new Growth(10, 0);
  growth.grow(110, 1_000);
  growth.grow(120, 1_500);
  assert.deepEqual([1_500, 1_750, 2_000].map((now) => growth.at(now)), [60, 90, 120]);
});

test("a text never shrinks and is always shown within a second, in any rhythm", () => {
  for (let seed = 1; seed <= 200; seed += 1) {
    const random = seeded(seed * 7907);
    const growth = new Growth(random(3) * 10, 0);
    let [now, length, before] = [0, growth.at(0), growth.at(0)];
    for (let step = 0; step < 50; step += 1) {
      now += random(1_500);
      const early = growth.at(now);
      if (random(2) === 0) growth.grow((length += random(50)), now);
      const shown = growth.at(now);
      assert.ok(before <= early && early <= shown && shown <= length, `seed ${seed}`);
      before = shown;
    }
    assert.equal(growth.at(now + 1_000), length, `seed ${seed}`);
    assert.equal(growth.isGrowing(now + 1_000), false);
  }
});

const draft = (text, { id = "d1", replyTo = 1 } = {}) => ({ id, replyTo, status: "writing", text, length: [...text].length });

test("drafts are cut at whole characters, and others are forgotten", () => {
  const growth = new DraftGrowth();
  const texts = (drafts, now) => growth.shown(drafts, now).map(({ text }) => text);
  assert.deepEqual(texts([draft("Hé"), draft("Once", { replyTo: 2, id: "d2" })], 0), ["Hé", "Once"], "a reader that joins sees all at once");
  assert.deepEqual(texts([draft("Hé👍👍")], 1_000), ["Hé"]);
  assert.deepEqual(texts([draft("Hé👍👍")], 1_500), ["Hé👍"]);
  assert.equal(growth.isGrowing(1_500), true);
  assert.deepEqual(texts([draft("Hé👍👍")], 2_000), ["Hé👍👍"]);
  assert.equal(growth.isGrowing(2_000), false);
  assert.deepEqual(texts([draft("Another", { id: "d3" })], 2_100), ["Another"], "another draft has other words");
  assert.deepEqual(texts([], 2_200), []);
  assert.equal(growth.isGrowing(2_200), false);
});

test("with reduced motion nothing grows", () => {
  let isCalm = true;
  const growth = new DraftGrowth({ isCalm: () => isCalm });
  growth.shown([draft("")], 0);
  assert.deepEqual(growth.shown([draft("Once upon")], 10).map(({ text }) => text), ["Once upon"]);
  assert.equal(growth.isGrowing(10), false);
  isCalm = false;
  growth.shown([draft("Once upon a time")], 1_000);
  assert.equal(growth.isGrowing(1_000), true, "the setting may change at any time");
});
