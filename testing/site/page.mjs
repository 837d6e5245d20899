// Serves the page of the React guide, which is in the current folder, and uses it as a reader does.
//
//   SITE_ORIGIN    the page's origin, which the local run allows
//   CHROMIUM_PATH  the browser (default /usr/bin/chromium)

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

/** Time of a start on the slowest machine. */
const TIMEOUT_MS = 60_000;
const ROOT = new URL("../../", import.meta.url);

/** Starts Vite on the port of the origin, and returns when it accepts requests. */
async function serve(origin) {
  const vite = fileURLToPath(new URL("clients/js/node_modules/vite/bin/vite.js", ROOT));
  const child = spawn(process.execPath, [vite, "--port", origin.port, "--strictPort"], { stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`Vite did not start:\n${output}`)), TIMEOUT_MS);
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding("utf8").on("data", (more) => {
        output += more;
        if (output.includes(`:${origin.port}/`)) resolve(clearTimeout(timer));
      });
    child.once("exit", (code) => reject(new Error(`Vite ended with ${code}:\n${output}`)));
  });
  return child;
}

const origin = new URL(process.env.SITE_ORIGIN);
const { chromium } = createRequire(new URL("clients/web/test/package.json", ROOT))("playwright-core");
const server = await serve(origin);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM_PATH ?? "/usr/bin/chromium",
  // The sandbox needs user namespaces, which a container lacks; the page is the guide's own.
  args: process.getuid?.() === 0 ? ["--no-sandbox"] : [],
});
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(TIMEOUT_MS);
  const errors = [];
  page.on("pageerror", (error) => errors.push(error.message));
  await page.goto(origin.href);
  const message = `Hello from the guide, ${Date.now()}`;
  try {
    await page.getByLabel("Message").fill(message);
    await page.getByRole("button", { name: "Send" }).click();
    await page.getByRole("listitem").filter({ hasText: `alice ${message}` }).waitFor();
    await page.getByRole("listitem").filter({ hasText: /^agent ./ }).last().waitFor();
  } catch (error) {
    throw new Error(`${error.message}\n${errors.join("\n")}\n${await page.locator("body").innerText()}`);
  }
  assert.deepEqual(errors, []);
  console.log("The page shows the message and the agent's reply.");
} finally {
  await browser.close();
  server.removeAllListeners("exit");
  server.kill();
}
