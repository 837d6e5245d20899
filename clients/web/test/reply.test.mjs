// Tests of replies on the page: the whole stack, and a model that the test controls.
//
//   BIN_DIR          where the runner and the functions are (`target/debug`)
//   CHROMIUM_PATH    the browser (default /usr/bin/chromium)

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { startModel } from "./model.mjs";

const TIMEOUT_MS = 30_000;
const { BIN_DIR, CHROMIUM_PATH = "/usr/bin/chromium" } = process.env;
let browser;
let model;
let files;
let runner;
let stack;

before(async () => {
  assert.ok(BIN_DIR, "BIN_DIR must name the folder of the runner and the functions");
  model = await startModel();
  files = await mkdtemp(join(tmpdir(), "switchboard-"));
  const readyFile = join(files, "ready.json");
  const ports = ["rest", "websocket", "dynamodb", "page"].flatMap((name) => [`--${name}-port`, "0"]);
  const options = ["--in-memory", "--bin-dir", BIN_DIR, "--ready-file", readyFile, "--model-url", model.url, "--model", "held"];
  runner = spawn(join(BIN_DIR, "local"), [...ports, ...options], { stdio: ["ignore", "pipe", "inherit"] });
  await new Promise((resolve, reject) => {
    runner.once("exit", () => reject(new Error("the stack did not come up")));
    // Reads the remaining output, so that the runner never waits for a full pipe.
    runner.stdout.on("data", (text) => String(text).includes("Switchboard is up") && resolve());
  });
  stack = JSON.parse(await readFile(readyFile, "utf8"));
  browser = await chromium.launch({
    executablePath: CHROMIUM_PATH,
    // The sandbox needs user namespaces, which a container lacks; the pages here are the test's own.
    args: process.getuid?.() === 0 ? ["--no-sandbox"] : [],
  });
});

after(async () => {
  await browser?.close();
  model?.close();
  if (runner && runner.exitCode === null) {
    runner.kill();
    await once(runner, "exit");
  }
  if (files) await rm(files, { recursive: true });
});

/** Opens a tab of one user on one channel. The first tab creates the channel. */
async function tab(t, user, channel) {
  const context = await browser.newContext({ locale: "en-GB" });
  context.setDefaultTimeout(TIMEOUT_MS);
  t.after(() => context.close());
  const page = await context.newPage();
  page.on("pageerror", (error) => assert.fail(error.message));
  await page.goto(`${stack.page}/?${new URLSearchParams({ user, channel })}`);
  await page.locator('#connection[data-state="live"]').waitFor();
  await page.locator("#composer-input:enabled").waitFor();
  return page;
}

async function say(page, text) {
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.getByLabel("Message", { exact: true }).press("Enter");
}

const draft = (page) => page.locator("[data-draft]");
const stored = (page, seq) => page.locator(`.message[data-seq="${seq}"]`);
const words = (page, seq) => stored(page, seq).locator(".body").innerText();
const shows = (page, text) => draft(page).locator(".body", { hasText: text }).waitFor();

test("a reply grows as it is written, and a tab opened in the middle ends with the same text", async (t) => {
  const alice = await tab(t, "alice", "story");
  await say(alice, "Tell me a story.");
  const reply = await model.next();
  assert.equal(reply.question, '{"from":"alice","text":"Tell me a story."}');
  await draft(alice).locator(".seq", { hasText: "thinking" }).waitFor();

  reply.say("Once **upon**");
  await draft(alice).locator("strong", { hasText: "upon" }).waitFor();
  reply.say(" a time");
  await shows(alice, "Once upon a time");

  const bob = await tab(t, "bob", "story");
  await stored(bob, 1).waitFor();
  // The history names the question, before the text so far arrives.
  await draft(bob).waitFor();
  reply.say(" there was a tab");
  await shows(alice, "Once upon a time there was a tab");
  await shows(bob, "Once upon a time there was a tab");
  reply.say(" that came late.");
  await shows(bob, "Once upon a time there was a tab that came late.");
  assert.equal(await stored(alice, 2).count(), 0, "the reply is not stored before it is whole");

  reply.end();
  const text = "Once upon a time there was a tab that came late.";
  for (const page of [alice, bob, await tab(t, "carol", "story")]) {
    await stored(page, 2).waitFor();
    assert.equal(await words(page, 2), text);
    assert.equal(await draft(page).count(), 0);
  }
});

test("a reply is stopped by who asked for it, and what there was of it stays", async (t) => {
  const alice = await tab(t, "alice", "talk");
  const bob = await tab(t, "bob", "talk");
  await say(alice, "Tell me everything.");
  const reply = await model.next();
  reply.say("In the beginning");
  await shows(bob, "In the beginning");
  assert.equal(await draft(bob).getByRole("button", { name: "Stop" }).count(), 0, "it is not his");
  await draft(alice).getByRole("button", { name: "Stop" }).click();
  // The model's connection is closed.
  await reply.closed;
  for (const page of [alice, bob]) {
    await stored(page, 2).waitFor();
    assert.equal(await words(page, 2), "In the beginning");
    await stored(page, 2).getByText("stopped").waitFor();
    assert.equal(await draft(page).count(), 0);
  }
  await say(alice, "Go on.");
  const next = await model.next();
  next.say("Later.");
  next.end();
  await stored(bob, 4).waitFor();
  assert.equal(await words(bob, 4), "Later.");
});
