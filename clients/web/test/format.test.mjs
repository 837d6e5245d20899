// Tests of the texts of the page.

import assert from "node:assert/strict";
import { test } from "node:test";
import { leftOutText } from "../format.js";

test("channels that are left out are counted", () => {
  assert.equal(leftOutText(1), "1 more channel is not live here");
  assert.equal(leftOutText(12), "12 more channels are not live here");
});
