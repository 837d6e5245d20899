// The start of the README, as written but for its addresses and its token, in Node, in bundles and in Chromium.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFile, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";
import * as esbuild from "esbuild";
import * as vite from "vite";

/** Time of a start on the slowest machine. */
const TIMEOUT_MS = 60_000;
/** Lines that show the connection, the stored message and the agent's reply. */
const EXPECTED = [/^connection: live$/m, /^user: Hello$/m, /^agent: ./m];
/** Texts of the README that differ from one run to another, and the variables with their values. */
const REPLACED = {
  "http://127.0.0.1:3000": "SWITCHBOARD_REST",
  "ws://127.0.0.1:3001": "SWITCHBOARD_WEBSOCKET",
  "the printed token": "SWITCHBOARD_TOKEN",
};

/** Returns the value of a variable that `--local` requires. */
function variable(name) {
  const value = process.env[name];
  assert.ok(value || !process.argv.includes("--local"), `${name} is not set`);
  return value;
}

/** Returns the program of the README's first section. */
export async function readStart(readme) {
  const section = (await readFile(readme, "utf8")).split(/^## /m).find((text) => text.startsWith("Start\n")) ?? "";
  let code = /^```js\n(.*?)^```$/ms.exec(section)?.[1];
  assert.ok(code, "the README has a program under Start");
  for (const [text, name] of Object.entries(REPLACED)) {
    const written = JSON.stringify(text);
    assert.equal(code.split(written).length, 2, `the README has ${written} once`);
    code = code.replace(written, JSON.stringify(variable(name) ?? text));
  }
  return { code, path: "start.js" };
}

/** Writes the program, and its bundles by esbuild and Vite. Returns these. */
export async function bundles(project, { code, path }) {
  await writeFile(join(project, path), code);
  const options = { absWorkingDir: project, entryPoints: [path], outfile: "esbuild.js", bundle: true, minify: true, format: "esm", platform: "browser", target: "es2022", logLevel: "silent" };
  await esbuild.build(options);
  const lib = { entry: join(project, path), formats: ["es"], fileName: () => "start.js" };
  await vite.build({ root: project, configFile: false, logLevel: "silent", build: { lib, outDir: "vite", target: "es2022", minify: "esbuild" } });
  const all = [["esbuild", "esbuild.js"], ["Vite", "vite/start.js"]];
  return Promise.all(all.map(async ([name, file]) => ({ name, path: join(project, file), size: (await stat(join(project, file))).size })));
}

/** Waits until the printed lines are the expected ones. `begin` gets a function for printed text, and one for an error. */
async function expectLines(begin) {
  let text = "";
  let timer;
  let end;
  try {
    await new Promise((resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`the lines did not come:\n${text}`)), TIMEOUT_MS);
      end = begin((more) => {
        text += more;
        if (EXPECTED.every((line) => line.test(text))) resolve();
      }, (error) => reject(new Error(`${error}\n${text}`)));
      end?.catch?.(reject);
    });
  } finally {
    clearTimeout(timer);
    await (await end)?.();
  }
}

/** Runs a file in Node until it has printed the expected lines. */
export const startInNode = (project, path) =>
  expectLines((print, fail) => {
    const options = globalThis.WebSocket ? [] : ["--experimental-websocket", "--no-warnings"];
    const child = spawn(process.execPath, [...options, path], { cwd: project });
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", print);
    child.on("exit", (code) => fail(`it ended with ${code}`));
    return () => child.kill();
  });

/** Runs a bundle in a page of the allowed origin until it has printed the expected lines. */
export async function startInChromium(path) {
  const { chromium } = createRequire(new URL("../../../web/test/package.json", import.meta.url))("playwright-core");
  const origin = new URL(variable("SWITCHBOARD_ORIGIN"));
  const script = await readFile(path);
  const server = createServer(({ url }, response) => {
    const isScript = url === "/start.js";
    response.setHeader("content-type", isScript ? "text/javascript" : "text/html");
    response.end(isScript ? script : '<!doctype html><link rel="icon" href="data:,"><script type="module" src="/start.js"></script>');
  });
  await new Promise((resolve, reject) => server.once("error", reject).listen(Number(origin.port), origin.hostname, resolve));
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM_PATH ?? "/usr/bin/chromium",
    // The sandbox needs user namespaces, which a container lacks; the page is the test's own.
    args: process.getuid?.() === 0 ? ["--no-sandbox"] : [],
  });
  try {
    await expectLines(async (print, fail) => {
      const page = await browser.newPage();
      page.on("console", (message) => print(`${message.text()}\n`));
      page.on("pageerror", (error) => fail(error.message));
      await page.goto(origin.href);
    });
  } finally {
    await browser.close();
    server.closeAllConnections();
    server.close();
  }
}
