// A browser for tests of the page against a running stack, and requests to that stack.
//
//   READY_FILE       the file that `cargo local -- --ready-file FILE` writes
//   CHROMIUM_PATH    the browser (default /usr/bin/chromium)

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { isDeepStrictEqual } from "node:util";
import { chromium } from "playwright-core";
import { displayed, history, request } from "./api.mjs";

/** Timeout of each wait that is long enough for the slowest machine. */
export const TIMEOUT_MS = 120_000;
/** Time after which a frame that is pushed once counts as lost. */
const LOST_MS = 10_000;
const ROUNDS = 10;
export const TWO_TABS = { viewport: { width: 840, height: 720 } };
export const DESKTOP = { viewport: { width: 1080, height: 760 } };
export const WIDE = { viewport: { width: 1280, height: 1180 } };
export const PHONE = { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true };

const { READY_FILE, CHROMIUM_PATH = "/usr/bin/chromium" } = process.env;
/** Addresses of the stack, after `start`. */
export let stack;
export let browser;

export async function start() {
  assert.ok(READY_FILE, "READY_FILE must name the file that `cargo local -- --ready-file FILE` has written");
  stack = JSON.parse(await readFile(READY_FILE, "utf8"));
  browser = await chromium.launch({
    executablePath: CHROMIUM_PATH,
    // The sandbox needs user namespaces, which a container lacks; the pages here are the test's own.
    args: process.getuid?.() === 0 ? ["--no-sandbox"] : [],
  });
}

export const stop = () => browser?.close();

export const unique = (name) => `${name}-${randomUUID().slice(0, 8)}`;

/** Opens a browser of one user, on one channel. It closes with the test, and fails it on a script error. */
export async function tab(t, user, channel, options = DESKTOP) {
  const context = await browser.newContext({ locale: "en-GB", ...options });
  context.setDefaultTimeout(TIMEOUT_MS);
  const page = await context.newPage();
  const errors = [];
  const requests = [];
  page.on("pageerror", (error) => errors.push(error.message));
  page.on("request", (request) => requests.push(request.url()));
  page.on("dialog", (dialog) => {
    errors.push(`a dialog opened: ${dialog.message()}`);
    dialog.dismiss();
  });
  const connectionIds = [];
  page.on("websocket", (socket) =>
    socket.on("framereceived", ({ payload }) => {
      const frame = JSON.parse(payload);
      if (frame.type === "hello") connectionIds.push(frame.connection_id);
    }),
  );
  t.after(async () => {
    await context.close();
    assert.deepEqual(errors, []);
  });
  await page.goto(`${stack.page}/?${new URLSearchParams({ user, channel })}`);
  await live(page);
  return { page, context, requests, connectionIds };
}

export const live = async (page) => {
  await page.locator('#connection[data-state="live"]').waitFor();
  await page.locator("#composer-input:enabled").waitFor();
};

export const say = async (page, text) => {
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.getByLabel("Message", { exact: true }).press("Enter");
};

/** Returns the stored message with this text. */
export const shown = (page, text) => page.locator(".message[data-seq]:not([data-role=agent])").filter({ has: page.locator(".body", { hasText: text }) });
export const reply = (page) => page.locator(".message[data-role=agent]");
export const seqs = (page) => page.locator(".message[data-seq]").evaluateAll((all) => all.map((one) => Number(one.dataset.seq)));
export const upTo = (count) => Array.from({ length: count }, (_, index) => index + 1);

/** Waits until the page shows exactly the messages 1 to `count`, in order and once. */
export async function showsExactly(page, count) {
  await page.waitForFunction((last) => document.querySelector(`[data-seq="${last}"]`), count);
  await page.waitForFunction((wanted) => document.querySelectorAll("[data-seq]").length === wanted, count);
  assert.deepEqual(await seqs(page), upTo(count));
}

/** Sends a request as a user. */
export const api = (user, method, path, body) => request(stack, user, method, path, body);

/** Creates a channel in which the agent replies to every message. */
export async function channelWithAgent(owner, name) {
  const channel = { channel_id: unique(name.toLowerCase()), name, visibility: "public", agent: { mode: "always" } };
  await api(owner, "POST", "/channels", channel);
  return channel.channel_id;
}

/** Creates a channel without the agent, so that all numbers belong to the test's own messages. */
export async function quietChannel(owner, name = unique("quiet")) {
  const channel = { channel_id: unique("quiet"), name, visibility: "public", agent: { mode: "off" } };
  await api(owner, "POST", "/channels", channel);
  return channel.channel_id;
}

export const post = (user, channel, message) => api(user, "POST", `/channels/${channel}/messages`, message);

export async function waitUntil(condition) {
  const deadline = Date.now() + TIMEOUT_MS;
  while (!(await condition())) {
    assert.ok(Date.now() < deadline, `never happened: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Waits until the page shows exactly the history that the API has. */
export async function showsHistory(page, user, channel) {
  const pair = async () => [await displayed(page), await history(stack, user, channel)];
  await waitUntil(async () => isDeepStrictEqual(...(await pair())));
  assert.deepEqual(...(await pair()));
}

/** Closes a connection through the management API. */
export async function disconnect(connectionId) {
  const response = await fetch(`${stack.management.replace(/\/$/, "")}/@connections/${encodeURIComponent(connectionId)}`, {
    method: "DELETE",
    // The local gateway checks no signature, only the form of AWS's.
    headers: { authorization: "AWS4-HMAC-SHA256 Credential=local/20260101/local/execute-api/aws4_request, SignedHeaders=host, Signature=00" },
  });
  assert.ok(response.ok, `${response.status}`);
}

/** Returns whether an element comes that a frame shows. The frame is pushed once, so a slow machine loses it at times. */
export async function comes(locator) {
  try {
    await locator.waitFor({ timeout: LOST_MS });
    return true;
  } catch (error) {
    if (error.name === "TimeoutError") return false;
    throw error;
  }
}

/** Repeats `round` until it returns `true`. A round that returns `false` has lost a frame. */
export async function rounds(round) {
  for (let number = 1; !(await round()); number += 1) assert.ok(number < ROUNDS, "lost in each round");
}
