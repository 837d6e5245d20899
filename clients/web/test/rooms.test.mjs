// Tests of channels that are created by their first visit.

import assert from "node:assert/strict";
import { test } from "node:test";
import { joinOrCreate } from "../rooms.js";

/** Returns channels whose requests have these outcomes, codes of problems or values, and the names of its requests. */
function channels(...outcomes) {
  const asked = [];
  const request = (name) => async () => {
    asked.push(name);
    const outcome = outcomes.shift();
    if (typeof outcome === "string") throw Object.assign(new Error(outcome), { code: outcome });
    return outcome;
  };
  return { asked, join: request("join"), create: request("create") };
}

test("a channel is created only where there is none", async () => {
  const fresh = channels("channel_not_found", "channel_id_taken", { role: "member" });
  assert.equal((await joinOrCreate(fresh, "lobby")).role, "member");
  assert.deepEqual(fresh.asked, ["join", "create", "join"]);
  await assert.rejects(joinOrCreate(channels("no_such_route"), "lobby"), { code: "no_such_route" });
  await assert.rejects(joinOrCreate(channels("channel_not_found", "too_many_channels"), "lobby"), { code: "too_many_channels" });
});
