// The page in headless Chromium, against a running stack.
//
//   READY_FILE       the file that `cargo local -- --ready-file FILE` writes
//   CHROMIUM_PATH    the browser (default /usr/bin/chromium)
//   SCREENSHOT_DIR   where to put pictures (default: none are taken)

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";

const TIMEOUT_MS = 15_000;
const TWO_TABS = { viewport: { width: 840, height: 720 } };
const DESKTOP = { viewport: { width: 1080, height: 760 } };
const PHONE = { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true };

const { READY_FILE, CHROMIUM_PATH = "/usr/bin/chromium", SCREENSHOT_DIR } = process.env;
let stack;
let browser;

before(async () => {
  assert.ok(READY_FILE, "READY_FILE must name the file that `cargo local -- --ready-file FILE` has written");
  stack = JSON.parse(await readFile(READY_FILE, "utf8"));
  if (SCREENSHOT_DIR) await mkdir(SCREENSHOT_DIR, { recursive: true });
  browser = await chromium.launch({
    executablePath: CHROMIUM_PATH,
    // A container has no user namespaces for the sandbox; the pages here are our own.
    args: process.getuid?.() === 0 ? ["--no-sandbox"] : [],
  });
});

after(() => browser?.close());

const unique = (name) => `${name}-${randomUUID().slice(0, 8)}`;

/** A browser of one user, on one channel. Closes with the test, and fails it for any script error. */
async function tab(t, user, channel, options = DESKTOP) {
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
      if (frame.type === "pong") connectionIds.push(frame.connection_id);
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

const live = async (page) => {
  await page.locator('#connection[data-state="live"]').waitFor();
  await page.locator("#composer-input:enabled").waitFor();
};

const say = async (page, text) => {
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.getByLabel("Message", { exact: true }).press("Enter");
};

/** The stored message with this text. */
const shown = (page, text) => page.locator(".message[data-seq]:not([data-role=assistant])").filter({ has: page.locator(".body", { hasText: text }) });
const reply = (page) => page.locator(".message[data-role=assistant]");
const seqs = (page) => page.locator(".message[data-seq]").evaluateAll((all) => all.map((one) => Number(one.dataset.seq)));
const upTo = (count) => Array.from({ length: count }, (_, index) => index + 1);

/** Waits until the page shows exactly the messages 1 to `count`, in order and once. */
async function showsExactly(page, count) {
  await page.waitForFunction((last) => document.querySelector(`[data-seq="${last}"]`), count);
  await page.waitForFunction((wanted) => document.querySelectorAll("[data-seq]").length === wanted, count);
  assert.deepEqual(await seqs(page), upTo(count));
}

async function api(user, method, path, body) {
  const issued = await fetch(`${stack.page}/token`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ user }),
  });
  const { token } = await issued.json();
  const response = await fetch(`${stack.rest.replace(/\/$/, "")}${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: body && JSON.stringify(body),
  });
  assert.ok(response.ok, `${method} ${path}: ${response.status} ${await response.clone().text()}`);
  return response.json();
}

/** A channel in which the agent answers everything. */
async function channelWithAgent(owner, name) {
  const channel = { channel_id: unique(name.toLowerCase()), name, visibility: "public", agent: { mode: "always" } };
  await api(owner, "POST", "/channels", channel);
  return channel.channel_id;
}

/** A channel in which no agent answers: the numbers are those of the test's own messages. */
async function quietChannel(owner, name = unique("quiet")) {
  const channel = { channel_id: unique("quiet"), name, visibility: "public", agent: { mode: "off" } };
  await api(owner, "POST", "/channels", channel);
  return channel.channel_id;
}

const post = (user, channel, message) => api(user, "POST", `/channels/${channel}/messages`, message);

async function picture(page, name) {
  if (SCREENSHOT_DIR) await page.screenshot({ path: join(SCREENSHOT_DIR, `${name}.png`) });
}

/** Two tabs as they stand beside each other on a screen. */
async function pictureOfTwo(left, right, name) {
  if (!SCREENSHOT_DIR) return;
  const [first, second] = await Promise.all([left.screenshot(), right.screenshot()]);
  const context = await browser.newContext({ viewport: { width: TWO_TABS.viewport.width * 2 + 60, height: TWO_TABS.viewport.height + 40 } });
  const page = await context.newPage();
  const image = (bytes) => `<img src="data:image/png;base64,${bytes.toString("base64")}">`;
  await page.setContent(
    `<style>body { margin: 0; display: flex; gap: 20px; padding: 20px; background: #cfdad6 } img { border-radius: 12px; box-shadow: 0 6px 24px #14211d33 }</style>
     ${image(first)}${image(second)}`,
    { waitUntil: "load" },
  );
  await picture(page, name);
  await context.close();
}

test("two tabs talk both ways, and the agent answers in Markdown", async (t) => {
  const channel = await channelWithAgent("alice.w", "Lobby");
  const alice = await tab(t, "alice.w", channel, TWO_TABS);
  const bob = await tab(t, "bob.k", channel, TWO_TABS);

  await say(alice.page, "Morning Bob, is the stack up on your side?");
  await shown(bob.page, "Morning Bob").waitFor();
  await reply(alice.page).nth(0).waitFor();
  await say(bob.page, "Up in seconds, and no AWS account in sight.");
  await shown(alice.page, "Up in seconds").waitFor();
  await reply(alice.page).nth(1).waitFor();
  await say(alice.page, "/help");

  for (const { page } of [alice, bob]) {
    await reply(page).nth(2).waitFor();
    await showsExactly(page, 6);
    // Markdown has become elements, and the reply hangs on what it answers.
    assert.ok((await reply(page).nth(2).locator(".body :is(strong, em, code, ul, ol, blockquote, h1, h2, h3, table)").count()) > 0);
    assert.match(await reply(page).nth(2).locator(".quote").innerText(), /\/help/);
    assert.equal(await page.locator("[data-pending]").count(), 0);
  }
  await pictureOfTwo(alice.page, bob.page, "desktop-light");
});

test("hostile content runs nothing and asks no other server for anything", async (t) => {
  const foreign = "http://attacker.invalid";
  const hostile = [
    `<img src=x onerror="alert(1)"><script>alert(2)</script><svg onload=alert(3)>`,
    `[click](javascript:alert(4)) [data](data:text/html,<script>alert(5)</script>) ![spy](${foreign}/pixel.png)`,
    `<iframe src="${foreign}"></iframe><style>@import url(${foreign}/x.css)</style><form action="${foreign}"><button id="messages">x</button></form>`,
    `<a href="java&#10;script:alert(6)">a</a> <javascript:alert(7)> [x](vbscript:alert(8)) ${"`"}<b onclick=alert(9)>${"`"}`,
    `**bold** <math><mtext><table><mglyph><style><img src=x onerror=alert(10)>`,
  ];
  const name = `"><img src=${foreign}/name.png onerror=alert(11)>`;
  const channel = await quietChannel("mallory", name);
  for (const content of hostile) {
    await post("mallory", channel, { content, content_type: "text/markdown" });
    await post("mallory", channel, { content, content_type: "text/plain", reply_to: 1 });
  }
  const { page, requests } = await tab(t, "victim", channel);
  await showsExactly(page, hostile.length * 2);

  assert.equal(await page.locator("#channel-name").textContent(), name);
  const danger = await page.locator(".message, .channels, .channel-title").evaluateAll((roots) =>
    roots.flatMap((root) =>
      [...root.querySelectorAll("*")]
        .filter((element) => !element.closest("svg.icon"))
        .filter(
          (element) =>
            ["SCRIPT", "IFRAME", "IMG", "STYLE", "FORM", "OBJECT", "EMBED", "SVG", "MATH"].includes(element.tagName.toUpperCase()) ||
            element.getAttributeNames().some((attribute) => attribute.startsWith("on")) ||
            (element.hasAttribute("href") && !/^(https?|mailto):/.test(element.href)),
        )
        .map((element) => element.outerHTML),
    ),
  );
  assert.deepEqual(danger, []);
  // Plain text stays what was typed; Markdown still is Markdown.
  assert.equal(await page.locator('[data-seq="2"] .body').textContent(), hostile[0]);
  assert.ok((await page.locator('[data-seq="9"] .body strong').count()) === 1);
  // The picture is a link that nobody has followed.
  assert.equal(await page.locator('[data-seq="3"] .body a').getAttribute("href"), `${foreign}/pixel.png`);
  const origins = new Set([stack.page, stack.rest, stack.websocket].map((url) => new URL(url).origin));
  assert.deepEqual(requests.filter((url) => !origins.has(new URL(url).origin)), []);
  await say(page, hostile[0]);
  await page.locator(`[data-seq="${hostile.length * 2 + 1}"]`).waitFor();

  const refused = await page.context().newPage();
  refused.on("dialog", () => assert.fail("a script in the address ran"));
  await refused.goto(`${stack.page}/?${new URLSearchParams({ user: "<img src=x onerror=alert(12)>", channel: name })}`);
  await refused.getByRole("alert").filter({ hasText: "characters" }).waitFor();
});

test("a reload keeps the history, and earlier pages load on demand", async (t) => {
  const channel = await quietChannel("alice");
  for (const number of upTo(60)) await post("bob", channel, { content: `message ${number}` });
  const { page } = await tab(t, "alice", channel);
  await page.locator('[data-seq="60"]').waitFor();
  assert.equal(await page.locator('[data-seq="1"]').count(), 0);
  await page.getByRole("button", { name: "Load earlier messages" }).click();
  await showsExactly(page, 60);

  await say(page, "and mine");
  await showsExactly(page, 61);
  await page.reload();
  await live(page);
  await shown(page, "and mine").waitFor();
  assert.equal(new URL(page.url()).searchParams.get("channel"), channel);
});

test("what was sent while the connection was down arrives after it, once", async (t) => {
  const channel = await quietChannel("alice");
  const alice = await tab(t, "alice", channel);
  await post("bob", channel, { content: "before" });
  await alice.page.locator('[data-seq="1"]').waitFor();

  // Back at the tab, the page asks for a sign of life; the answer names its connection.
  await alice.page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
  await waitUntil(() => alice.connectionIds.length > 0);
  // The server closes the socket while the network is away: nothing tells the page what it misses.
  await alice.context.setOffline(true);
  await disconnect(alice.connectionIds.at(-1));
  await alice.page.locator('#connection[data-state="offline"]').waitFor();

  for (const number of upTo(5)) await post("bob", channel, { content: `missed ${number}` });
  assert.deepEqual(await seqs(alice.page), [1]);
  await alice.context.setOffline(false);
  await live(alice.page);
  await showsExactly(alice.page, 6);
  await post("bob", channel, { content: "after" });
  await showsExactly(alice.page, 7);
});

test("a reply grows as it is written, and can be stopped", async (t) => {
  const channel = await quietChannel("alice");
  const alice = await tab(t, "alice", channel);
  await post("alice", channel, { content: "tell me" });
  await alice.page.locator('[data-seq="1"]').waitFor();
  await alice.page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
  await waitUntil(() => alice.connectionIds.length > 0);
  const piece = (position, text, status = "writing") =>
    push(alice.connectionIds.at(-1), { type: "message.delta", channel_id: channel, draft_id: "d", reply_to: 1, status, position, text });
  await piece(0, "", "thinking");
  const draft = alice.page.locator('[data-draft]');
  await draft.waitFor();
  await piece(0, "Once **upon**");
  await draft.locator("strong", { hasText: "upon" }).waitFor();
  await piece(13, " a time");
  await draft.getByText("a time").waitFor();
  await draft.getByRole("button", { name: "Stop" }).click();
  await waitUntil(() => alice.requests.some((url) => url.endsWith("/messages/1/reply/cancel")));
  await piece(20, "", "cancelled");
  await draft.getByRole("button", { name: "Stop" }).waitFor({ state: "detached" });
  await piece(20, "", "failed");
  await draft.waitFor({ state: "detached" });
});

test("a message that cannot be sent is kept, and goes once when sent again", async (t) => {
  const channel = await quietChannel("alice");
  const { page, context } = await tab(t, "alice", channel);
  await context.setOffline(true);
  await say(page, "through the tunnel");
  const failed = page.locator('[data-pending="failed"]');
  await failed.waitFor();
  await context.setOffline(false);
  await live(page);
  await failed.getByRole("button", { name: "Try again" }).click();
  await showsExactly(page, 1);
  assert.equal(await failed.count(), 0);
});

test("a phone shows everything, in the dark too", async (t) => {
  const channel = await channelWithAgent("ada", "Garden");
  const { page } = await tab(t, "ada", channel, { ...PHONE, colorScheme: "dark" });
  await say(page, "What can you do?");
  await reply(page).nth(0).waitFor();
  await post("bob", channel, { content: "It follows the theme of the phone." });
  await shown(page, "theme of the phone").waitFor();

  const width = await page.evaluate(() => ({ page: document.documentElement.scrollWidth, screen: innerWidth }));
  assert.deepEqual(width, { page: PHONE.viewport.width, screen: PHONE.viewport.width });
  const [red, green, blue] = await page.evaluate(() => getComputedStyle(document.body).backgroundColor.match(/\d+/g).map(Number));
  assert.ok(Math.max(red, green, blue) < 64, "the dark theme is dark");
  await picture(page, "phone-dark");

  // The channels are behind a button, and out of the way of the keyboard until then.
  const channels = page.getByRole("navigation", { name: "Channels" });
  assert.equal(await channels.isVisible(), false);
  await page.getByRole("button", { name: "Show the list of channels" }).click();
  await channels.getByRole("button", { name: "Garden" }).first().waitFor();
  await page.keyboard.press("Escape");
  await channels.waitFor({ state: "hidden" });
});

test("names are asked for, checked, and kept in the address; the theme can be changed", async (t) => {
  const context = await browser.newContext({ locale: "en-GB", ...DESKTOP, colorScheme: "light" });
  t.after(() => context.close());
  context.setDefaultTimeout(TIMEOUT_MS);
  const page = await context.newPage();
  await page.goto(stack.page);
  await page.getByLabel("Your name").fill("Zoë & co");
  const channelName = `Release ${randomUUID().slice(0, 8)}`;
  await page.getByLabel("Channel", { exact: true }).fill(channelName);
  await page.getByRole("button", { name: "Join the channel" }).click();
  await page.getByRole("alert").filter({ hasText: "Zoe-co" }).waitFor();
  await page.getByLabel("Your name").fill("zoe");
  await page.getByRole("button", { name: "Join the channel" }).click();
  await live(page);
  const address = new URL(page.url()).searchParams;
  assert.equal(address.get("user"), "zoe");
  assert.equal(address.get("channel"), channelName.replace(" ", "-"));
  await page.getByRole("heading", { level: 1, name: channelName }).waitFor();

  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const before = await ground();
  await page.getByRole("button", { name: "Use dark colours" }).click();
  assert.notEqual(await ground(), before);
  await page.reload();
  await page.getByRole("button", { name: "Use light colours" }).waitFor();
});

/** Closes a connection as a back end would, through the management API. */
const disconnect = (connectionId) => manage("DELETE", connectionId);

/** Pushes a frame as a back end would. */
const push = (connectionId, frame) => manage("POST", connectionId, JSON.stringify(frame));

async function manage(method, connectionId, body) {
  const response = await fetch(`${stack.management.replace(/\/$/, "")}/@connections/${encodeURIComponent(connectionId)}`, {
    method,
    body,
    // The local gateway checks no signature; the shape is that of AWS's.
    headers: { authorization: "AWS4-HMAC-SHA256 Credential=local/20260101/local/execute-api/aws4_request, SignedHeaders=host, Signature=00" },
  });
  assert.ok(response.ok, `${method}: ${response.status}`);
}

async function waitUntil(condition) {
  const deadline = Date.now() + TIMEOUT_MS;
  while (!condition()) {
    assert.ok(Date.now() < deadline, `never happened: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
