// Runs the conversation in Python, with the client of openapi-python-client.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";

import { rest, tokens } from "../src/deployment.js";

test("two users talk, with the client of openapi-python-client", async () => {
  const python = process.env["PYTHON"] ?? "python3";
  const env = { ...process.env, PYTHONPATH: "generated", REST: rest, TOKENS: tokens.join(",") };
  const { stdout } = await promisify(execFile)(python, ["tests/conversation.py"], { env });
  assert.match(stdout, /^the conversation ended$/m);
});
