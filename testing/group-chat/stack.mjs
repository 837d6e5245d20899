// Starts a local run whose agent writes slowly, for the tests of drafts.
//
//   BIN_DIR    where the runner and the functions are (`target/debug`)

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { startModel } from "../../clients/web/test/model.mjs";

const { BIN_DIR } = process.env;
/** Words of a reply, and the time between two of them. */
const WORDS = 60;
const WORD_MS = 100;

/** Writes a reply word by word, until it is whole or its reader leaves. */
function write(reply) {
  let number = 0;
  const timer = setInterval(() => {
    if (number < WORDS) return reply.say(`word${number++} `);
    clearInterval(timer);
    reply.end();
  }, WORD_MS);
  reply.closed.then(() => clearInterval(timer));
}

async function writeAll(model) {
  for (;;) write(await model.next());
}

/** Starts the local run, and returns its addresses, a token of each user, and a function that ends it. */
export async function start(users) {
  assert.ok(BIN_DIR, "BIN_DIR must name the folder of the runner and the functions");
  const model = await startModel();
  void writeAll(model);
  const files = await mkdtemp(join(tmpdir(), "switchboard-"));
  const readyFile = join(files, "ready.json");
  const program = join(BIN_DIR, "local");
  const ports = ["rest", "websocket", "dynamodb", "page"].flatMap((name) => [`--${name}-port`, "0"]);
  const options = ["--in-memory", "--bin-dir", BIN_DIR, "--ready-file", readyFile, "--model-url", model.url, "--model", "slow"];
  const runner = spawn(program, [...ports, ...options], { stdio: ["ignore", "pipe", "inherit"] });
  await new Promise((resolve, reject) => {
    runner.once("exit", () => reject(new Error("the local run did not start")));
    // Reads the remaining output, so that the runner never waits for a full pipe.
    runner.stdout.on("data", (text) => String(text).includes("Switchboard is up") && resolve());
  });
  const { rest, websocket } = JSON.parse(await readFile(readyFile, "utf8"));
  const token = async (user) => {
    const { stdout } = await promisify(execFile)(program, ["token", "--ready-file", readyFile, "--user", user]);
    return stdout.trim().split("\n").at(-1);
  };
  const tokens = await Promise.all(users.map(token));
  const stop = async () => {
    model.close();
    if (runner.exitCode === null) {
      runner.kill();
      await once(runner, "exit");
    }
    await rm(files, { recursive: true });
  };
  return { rest, websocket, tokens, stop };
}
