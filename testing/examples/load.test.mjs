// Test of examples/load: a thousand sockets, and a local run.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { built, localRun, program, variables } from "./stand.mjs";

const READERS = 1_000;
const MESSAGES = 5;

// Presence would push the coming of each reader to the others.
const { addresses } = await localRun(after, { options: ["--parameter", "PresenceSubscriptions=1"] });

test("each of a thousand readers receives each message", async () => {
  const load = program(after, built("example-load"), ["--readers", `${READERS}`, "--messages", `${MESSAGES}`], { env: variables(addresses) });
  await load.prints(new RegExp(`^${READERS} readers are connected`, "m"));
  assert.equal(await load.ends(), 0, load.text);
  assert.match(load.text, new RegExp(`^${READERS * MESSAGES} of ${READERS * MESSAGES} messages arrived\\.$`, "m"));
  assert.match(load.text, /^ +all within \d+ ms$/m);
});
