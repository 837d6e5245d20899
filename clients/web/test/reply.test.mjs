// Tests of replies on the page: the whole stack, and a model that the test controls.
//
//   BIN_DIR          where the runner and the functions are (`target/debug`)
//   CHROMIUM_PATH    the browser (default /usr/bin/chromium)

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { displayed, history, request } from "./api.mjs";
import { startLocalRun } from "./local-run.mjs";
import { startModel } from "./model.mjs";

/** Timeout of each wait that is long enough for the slowest machine. */
const TIMEOUT_MS = 120_000;
/** Time after which a piece of a draft counts as lost. It is pushed once, about a second after the last, so a slow machine loses some. */
const LOST_MS = 10_000;
const ROUNDS = 10;
/** Time for one piece, and the number of pieces until a page has to show the text: see `writes`. */
const PIECE_MS = 2_000;
const PIECES = 5;
const { BIN_DIR, CHROMIUM_PATH = "/usr/bin/chromium" } = process.env;
let browser;
let model;
let run;
let stack;

before(async () => {
  model = await startModel();
  run = await startLocalRun(BIN_DIR, model.url);
  stack = run.addresses;
  browser = await chromium.launch({
    executablePath: CHROMIUM_PATH,
    // The sandbox needs user namespaces, which a container lacks; the pages here are the test's own.
    args: process.getuid?.() === 0 ? ["--no-sandbox"] : [],
  });
});

after(async () => {
  await browser?.close();
  model?.close();
  await run?.stop();
});

/** Opens a tab of one user on one channel. The first tab creates the channel. */
async function tab(t, user, channel, options = {}) {
  const context = await browser.newContext({ locale: "en-GB", ...options });
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
const written = (page, text) => draft(page).locator(".body", { hasText: text });

/** A piece of a draft that did not come. */
class Lost extends Error {}

/** Returns whether an element comes within a time. */
async function comes(locator, timeout) {
  try {
    await locator.waitFor({ timeout });
    return true;
  } catch (error) {
    if (error.name === "TimeoutError") return false;
    throw error;
  }
}

/** Waits for an element that a piece of a draft shows. */
async function shows(locator) {
  if (!(await comes(locator, LOST_MS))) throw new Lost(`it did not come: ${locator}`);
}

/**
 * Writes words after `text` until all pages show the whole text, and returns it. The worker reads the listeners once in a
 * second: a socket that was opened since then gets the text with a later piece.
 */
async function writes(reply, text, words, pages) {
  for (let piece = 1; piece <= PIECES; piece += 1) {
    const more = piece === 1 ? words : ` and ${piece}`;
    reply.say(more);
    text += more;
    const shown = await Promise.all(pages.map((page) => comes(written(page, text), PIECE_MS)));
    if (shown.every(Boolean)) return text;
  }
  throw new Lost(`it did not come: ${text}`);
}

/** Runs `round` with the name of a new channel. Repeats it if a piece of a draft was lost. */
async function rounds(name, round) {
  for (let number = 1; ; number += 1) {
    try {
      return await round(`${name}-${number}`);
    } catch (error) {
      if (!(error instanceof Lost) || number === ROUNDS) throw error;
    }
  }
}

/** Passes the next requested reply to `write`, and ends it in any case. */
async function replying(write) {
  const reply = await model.next();
  try {
    await write(reply);
  } finally {
    reply.end();
  }
}

test("a reply grows as it is written, and a tab opened in the middle ends with the same text", (t) =>
  rounds("story", async (channel) => {
    const alice = await tab(t, "alice", channel);
    await say(alice, "Tell me a story.");
    let bob;
    let text = "Once upon a time";
    await replying(async (reply) => {
      assert.equal(reply.question, '{"from":"alice","text":"Tell me a story."}');
      await shows(draft(alice).locator(".seq", { hasText: "thinking" }));
      reply.say("Once **upon**");
      await shows(draft(alice).locator("strong", { hasText: "upon" }));
      reply.say(" a time");
      await shows(written(alice, text));

      bob = await tab(t, "bob", channel);
      await stored(bob, 1).waitFor();
      // The history names the question, and the page reads the text so far: the model says nothing meanwhile.
      await written(bob, text).waitFor();
      text = await writes(reply, text, " there was a tab", [alice, bob]);
      text = await writes(reply, text, " that came late.", [bob]);
      assert.equal(await stored(alice, 2).count(), 0, "the reply is not stored before it is whole");
    });
    for (const page of [alice, bob, await tab(t, "carol", channel)]) {
      await stored(page, 2).waitFor();
      assert.equal(await words(page, 2), text);
      assert.equal(await draft(page).count(), 0);
    }
  }));

/** Waits until the page shows exactly the history that the API has. */
async function showsHistory(page, user, channel) {
  const messages = await history(stack, user, channel);
  await stored(page, messages.at(-1).seq).waitFor();
  assert.deepEqual(await displayed(page), messages);
}

test("a page that is reloaded in the middle of a reply shows the text so far, and no word is lost or doubled", (t) =>
  rounds("reload", async (channel) => {
    const alice = await tab(t, "alice", channel);
    await say(alice, "Tell me a long story.");
    const progress = () => request(stack, "alice", "GET", `/channels/${channel}/messages/1/reply`);
    const ready = async () => {
      await alice.locator("#composer-input:enabled").waitFor();
      await stored(alice, 1).waitFor();
    };
    let text = "Once upon";
    await replying(async (reply) => {
      reply.say(text);
      await shows(written(alice, text));
      const { draft_id: draftId } = await progress();
      for (const words of [" a time", " 👍 there was", " a page"]) {
        await alice.reload();
        await ready();
        // The model says nothing meanwhile, so no frame brings the text.
        await written(alice, text).waitFor();
        assert.equal(await draft(alice).locator(".body").innerText(), text);
        text = await writes(reply, text, words, [alice]);
        assert.equal(await draft(alice).locator(".body").innerText(), text);
        // What is shown is stored, under one draft.
        const stage = await progress();
        assert.deepEqual([stage.status, stage.draft_id, stage.text, stage.position], ["writing", draftId, text, [...text].length]);
      }
      assert.equal(await draft(alice).count(), 1);
      reply.say(".");
      text += ".";
    });
    await stored(alice, 2).waitFor();
    assert.equal(await words(alice, 2), text);
    assert.equal(await draft(alice).count(), 0);
    await showsHistory(alice, "alice", channel);
    await alice.reload();
    await ready();
    await showsHistory(alice, "alice", channel);
  }));

test("with reduced motion the pieces of a reply are shown at once", (t) =>
  rounds("calm", async (channel) => {
    const alice = await tab(t, "alice", channel, { reducedMotion: "reduce" });
    // Records the lengths of the texts that the page shows.
    await alice.evaluate(() => {
      window.lengths = new Set();
      const note = () => {
        const body = document.querySelector("[data-draft] .body.rich");
        if (body) window.lengths.add(body.textContent.trim().length);
      };
      new MutationObserver(note).observe(document.getElementById("messages"), { childList: true, subtree: true });
    });
    await say(alice, "Be calm.");
    await replying(async (reply) => {
      reply.say("word ".repeat(40));
      await shows(written(alice, "word ".repeat(40).trim()));
      reply.say("more ".repeat(40));
      await shows(written(alice, "more ".repeat(40).trim()));
    });
    assert.deepEqual(await alice.evaluate(() => [...window.lengths]), [199, 399]);
  }));

test("a reply is stopped by who asked for it, and what there was of it stays", (t) =>
  rounds("talk", async (channel) => {
    const alice = await tab(t, "alice", channel);
    const bob = await tab(t, "bob", channel);
    await say(alice, "Tell me everything.");
    await replying(async (reply) => {
      reply.say("In the beginning");
      await shows(written(bob, "In the beginning"));
      assert.equal(await draft(bob).getByRole("button", { name: "Stop" }).count(), 0, "it is not his");
      const stop = draft(alice).getByRole("button", { name: "Stop" });
      await shows(stop);
      await stop.click();
      // The model's connection is closed.
      await reply.closed;
    });
    for (const page of [alice, bob]) {
      await stored(page, 2).waitFor();
      assert.equal(await words(page, 2), "In the beginning");
      await stored(page, 2).getByText("stopped").waitFor();
      assert.equal(await draft(page).count(), 0);
    }
    await say(alice, "Go on.");
    await replying(async (reply) => reply.say("Later."));
    await stored(bob, 4).waitFor();
    assert.equal(await words(bob, 4), "Later.");
  }));
