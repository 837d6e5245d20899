// Starts a local run whose agent writes slowly, for the tests of drafts.
//
//   BIN_DIR    where the runner and the functions are (`target/debug`)

import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { startLocalRun } from "../../clients/web/test/local-run.mjs";
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
  const model = await startModel();
  void writeAll(model);
  const run = await startLocalRun(BIN_DIR, model.url);
  const token = async (user) => {
    const options = ["token", "--ready-file", run.readyFile, "--user", user];
    const { stdout } = await promisify(execFile)(join(BIN_DIR, "local"), options);
    return stdout.trim().split("\n").at(-1);
  };
  const tokens = await Promise.all(users.map(token));
  const stop = async () => {
    model.close();
    await run.stop();
  };
  const { rest, websocket } = run.addresses;
  return { rest, websocket, tokens, stop };
}
