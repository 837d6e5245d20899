// A local run for tests, with a model or with parameters of the test.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * Starts the runner in `folder`, the folder of the built programs, with the model at `modelUrl`, if there is one, with
 * parameters of the template, and with further options. Returns its addresses, the path of its ready file, and a function
 * that ends it.
 */
export async function startLocalRun(folder, modelUrl, parameters = {}, further = []) {
  assert.ok(folder, "BIN_DIR must name the folder of the runner and the functions");
  const files = await mkdtemp(join(tmpdir(), "switchboard-"));
  const readyFile = join(files, "ready.json");
  const ports = ["rest", "websocket", "dynamodb", "page"].flatMap((name) => [`--${name}-port`, "0"]);
  const options = ["--in-memory", "--bin-dir", folder, "--ready-file", readyFile, ...further];
  if (modelUrl) options.push("--model-url", modelUrl, "--model", "scripted");
  for (const [name, value] of Object.entries(parameters)) options.push("--parameter", `${name}=${value}`);
  const runner = spawn(join(folder, "local"), [...ports, ...options], { stdio: ["ignore", "pipe", "inherit"] });
  const stop = async () => {
    if (runner.exitCode === null) {
      runner.kill();
      await once(runner, "exit");
    }
    await rm(files, { recursive: true });
  };
  await new Promise((resolve, reject) => {
    runner.once("exit", () => reject(new Error("the local run did not start")));
    // Reads the remaining output, so that the runner never waits for a full pipe.
    runner.stdout.on("data", (text) => String(text).includes("Switchboard is up") && resolve());
  });
  return { addresses: JSON.parse(await readFile(readyFile, "utf8")), readyFile, stop };
}
