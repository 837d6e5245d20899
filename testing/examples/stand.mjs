// Starts what the tests of the examples need: programs, local runs, and a browser.
//
//   BIN_DIR          where the runner, the functions and the programs of the examples are (`target/debug`)
//   CHROMIUM_PATH    the browser (default /usr/bin/chromium)
//
// The packages are those of the folders of the examples and of clients/web/test, so they must be installed there.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { startLocalRun } from "../../clients/web/test/local-run.mjs";

const { chromium } = createRequire(new URL("../../clients/web/test/package.json", import.meta.url))("playwright-core");
const { BIN_DIR, CHROMIUM_PATH = "/usr/bin/chromium" } = process.env;
/** Timeout of each wait that is long enough for the slowest machine. */
export const PATIENCE_MS = 180_000;
/** Time between two looks. */
const LOOK_MS = 50;

/** Returns the path of a file of the repository. */
export const file = (path) => fileURLToPath(new URL(`../../${path}`, import.meta.url));

/** Returns the path of a program that Cargo has built. */
export function built(name) {
  assert.ok(BIN_DIR, "BIN_DIR must name the folder of the runner and the functions");
  return join(BIN_DIR, name);
}

/** Starts a local run, which ends after the tests of the file. Returns its addresses and its ready file. */
export async function localRun(after, { modelUrl, options = [] } = {}) {
  const run = await startLocalRun(BIN_DIR, modelUrl, {}, options);
  after(() => run.stop());
  return run;
}

/** Returns the variables by which the examples find a local run with these addresses. */
export const variables = ({ rest, websocket, page }) => ({ SWITCHBOARD_REST: rest, SWITCHBOARD_WEBSOCKET: websocket, SWITCHBOARD_PAGE: page });

/** Returns a port that no program listens on. */
export async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** A running program. */
class Program {
  #child;
  #ended;
  #listeners = new Set();
  /** All that it has printed. */
  text = "";

  constructor(command, args, { cwd, env }) {
    this.#child = spawn(command, args, { cwd, env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"] });
    this.#ended = once(this.#child, "close");
    // A program that cannot be started is reported by the first wait.
    this.#ended.catch(() => {});
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream.setEncoding("utf8").on("data", (more) => {
        this.text += more;
        for (const listener of this.#listeners) listener();
      });
    }
  }

  /** Waits until it has printed a text. Returns the match. */
  async prints(pattern) {
    let listener;
    const found = new Promise((resolve) => {
      listener = () => {
        const match = pattern.exec(this.text);
        if (match) resolve(match);
      };
      this.#listeners.add(listener);
      listener();
    });
    const ended = this.#ended.then(() => assert.fail(`it ended before it printed ${pattern}:\n${this.text}`));
    try {
      return await within(Promise.race([found, ended]), () => `it did not print ${pattern}:\n${this.text}`);
    } finally {
      this.#listeners.delete(listener);
    }
  }

  /** Waits until it has ended by itself. Returns its exit code. */
  async ends() {
    const [code] = await within(this.#ended, () => `it did not end:\n${this.text}`);
    return code;
  }

  /** Ends it, unless it has ended. */
  async stop(signal = "SIGTERM") {
    this.#child.kill(signal);
    await this.#ended.catch(() => {});
  }
}

/** Starts a program, which ends after the tests of the file or earlier. */
export function program(after, command, args, options = {}) {
  const started = new Program(command, args, options);
  after(() => started.stop());
  return started;
}

/** Waits for a promise, at most for the patience. */
async function within(promise, problem) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(problem())), PATIENCE_MS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Waits until `look` returns something, and returns it. */
export async function until(look) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const found = await look();
    if (found) return found;
    assert.ok(Date.now() < deadline, `never happened: ${look}`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}

/** Starts the development server of an example for a local run. Returns its address. */
export async function vite(after, example, addresses) {
  const folder = file(`examples/${example}`);
  const port = await freePort();
  const args = [join(folder, "node_modules/vite/bin/vite.js"), "--host", "127.0.0.1", "--port", `${port}`, "--strictPort"];
  const server = program(after, process.execPath, args, { cwd: folder, env: variables(addresses) });
  await server.prints(/ready in/);
  return `http://127.0.0.1:${port}/`;
}

/** Starts a browser. It closes after the tests of the file. */
export async function browser(after) {
  const started = await chromium.launch({
    executablePath: CHROMIUM_PATH,
    // The sandbox needs user namespaces, which a container lacks; the pages here are the test's own.
    args: process.getuid?.() === 0 ? ["--no-sandbox"] : [],
  });
  after(() => started.close());
  return started;
}

/** Opens a page with storage of its own. It closes with the test, and fails it on a script error. */
export async function visit(t, started, url) {
  const context = await started.newContext({ locale: "en-GB" });
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  const errors = [];
  page.on("pageerror", (error) => errors.push(error.message));
  t.after(async () => {
    await context.close();
    assert.deepEqual(errors, []);
  });
  // A development server may load the page again after it has found the page's packages.
  await page.goto(url, { waitUntil: "networkidle" });
  return page;
}
