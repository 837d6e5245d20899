// Tests of the page in headless Chromium, against a running stack.
//
//   READY_FILE       the file that `cargo local -- --ready-file FILE` writes
//   CHROMIUM_PATH    the browser (default /usr/bin/chromium)
//   SCREENSHOT_DIR   folder for screenshots (default: none are taken)

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import {
  DESKTOP, PHONE, TIMEOUT_MS, TWO_TABS, WIDE, api, browser, channelWithAgent, disconnect, live, post, quietChannel, reply, say, seqs, shown, showsExactly,
  showsHistory, stack, start, stop, tab, upTo, waitUntil,
} from "./browser.mjs";
import { exampleExports, exported } from "./spans.mjs";

const { SCREENSHOT_DIR } = process.env;

before(async () => {
  await start();
  if (SCREENSHOT_DIR) await mkdir(SCREENSHOT_DIR, { recursive: true });
});

after(stop);

async function picture(page, name) {
  if (SCREENSHOT_DIR) await page.screenshot({ path: join(SCREENSHOT_DIR, `${name}.png`) });
}

/** Takes a screenshot of two tabs side by side. */
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
    // Markdown is rendered as elements, and the reply shows the message that it replies to.
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
  // Plain text is unchanged; Markdown is still rendered.
  assert.equal(await page.locator('[data-seq="2"] .body').textContent(), hostile[0]);
  assert.ok((await page.locator('[data-seq="9"] .body strong').count()) === 1);
  // The picture is a link that the browser has not requested.
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

  // The first frame of the socket names the connection.
  await waitUntil(() => alice.connectionIds.length > 0);
  // The server closes the socket while the network is down, so the page gets no notification.
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

test("what was edited, deleted and reacted to while the connection was down shows as the API has it", async (t) => {
  const channel = await quietChannel("alice");
  const path = (seq, rest = "") => `/channels/${channel}/messages/${seq}${rest}`;
  const reaction = (emoji) => `/reactions/${encodeURIComponent(emoji)}`;
  for (const number of upTo(60)) await post("bob", channel, { content: `message ${number}`, ...(number === 60 ? { reply_to: 2 } : {}) });
  await api("bob", "PUT", path(57, reaction("🎉")));
  const alice = await tab(t, "alice", channel);
  await alice.page.locator('[data-seq="57"] .reaction').waitFor();
  const quote = alice.page.locator('[data-seq="60"] .quote');
  await quote.filter({ hasText: "message 2" }).waitFor();
  await waitUntil(() => alice.connectionIds.length > 0);
  await alice.context.setOffline(true);
  await disconnect(alice.connectionIds.at(-1));
  await alice.page.locator('#connection[data-state="offline"]').waitFor();

  // Messages 2 and 3 are not loaded.
  for (const seq of [2, 3, 55, 58]) await api("bob", "PATCH", path(seq), { content: `message ${seq}, edited` });
  await api("bob", "PATCH", path(55), { content: "message 55, edited twice" });
  await api("bob", "DELETE", path(56));
  await api("bob", "DELETE", path(57, reaction("🎉")));
  for (const user of ["alice", "bob", "carol"]) await api(user, "PUT", path(58, reaction("👍")));
  await api("carol", "PUT", path(59, reaction("❤️")));
  await post("bob", channel, { content: "missed" });
  await api("bob", "PATCH", path(61), { content: "missed, edited" });
  assert.equal(await alice.page.locator('[data-seq="56"] .body').textContent(), "message 56");
  assert.equal(await alice.page.locator('[data-seq="57"] .reaction').count(), 1);

  await alice.context.setOffline(false);
  await live(alice.page);
  await quote.filter({ hasText: "message 2, edited" }).waitFor();
  await alice.page.getByRole("button", { name: "Load earlier messages" }).click();
  await showsHistory(alice.page, "alice", channel);
  assert.equal(await alice.page.locator('[data-seq="55"] .body').textContent(), "message 55, edited twice");
  assert.equal(await alice.page.locator('[data-seq="58"] .reaction').getAttribute("aria-label"), "👍 3, you, bob and carol");

  // Later changes come as frames again, and none is missing between them.
  await api("bob", "DELETE", path(60));
  await api("bob", "PATCH", path(1), { content: "message 1, edited" });
  await showsHistory(alice.page, "alice", channel);
  await alice.page.reload();
  await live(alice.page);
  await alice.page.getByRole("button", { name: "Load earlier messages" }).click();
  await showsHistory(alice.page, "alice", channel);
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

  // The channels are behind a button, and unreachable by keyboard until it is pressed.
  const channels = page.getByRole("navigation", { name: "Channels" });
  assert.equal(await channels.isVisible(), false);
  await page.getByRole("button", { name: "Show the list of channels" }).click();
  await channels.getByRole("button", { name: "Garden" }).first().waitFor();
  await page.keyboard.press("Escape");
  await channels.waitFor({ state: "hidden" });
});

test("the journey of a message is drawn, and grows with the spans that come in late", async (t) => {
  const channel = await quietChannel("alice");
  const { page } = await tab(t, "alice", channel);
  await say(page, "Where is it?");
  await page.locator('[data-seq="1"]').waitFor();
  // Earlier than the functions' own export of this message: the page shows the oldest trace first.
  const trace = randomUUID().replaceAll("-", "");
  const exports = exampleExports({ trace, channelId: channel, seq: 1, start: Date.now() - 60_000 });
  const late = exports.pop();
  for (const one of exports) await receive(one);

  const opener = page.getByRole("button", { name: "Show the journey of message 1" });
  await opener.focus();
  await page.keyboard.press("Enter");
  const dialog = page.getByRole("dialog", { name: "Journey of message 1" });
  const spans = dialog.getByRole("treeitem");
  await dialog.getByRole("status").filter({ hasText: "10 spans of 3 functions in 193 ms, 1 failed" }).waitFor();
  await dialog.getByText("alice: Where is it?").waitFor();
  const outline = await spans.evaluateAll((all) => all.map((one) => `${one.getAttribute("aria-level")} ${one.querySelector(".span-name").textContent}`));
  assert.deepEqual(outline, [
    "1 POST /channels/{channel_id}/messages", "2 DynamoDB.TransactWriteItems", "2 process chat_events", "3 DynamoDB.Query", "3 deliver", "4 push",
    "2 process chat_events", "3 DynamoDB.Query", "3 chat llama3.2", "3 DynamoDB.TransactWriteItems", "1 switchboard-chat-delivery-worker",
  ]);

  // The failed span is selected initially, and described in words.
  const chosen = dialog.locator("[aria-selected=true]");
  assert.match(await chosen.getAttribute("aria-label"), /^push, chat-delivery-worker, begins at 44\.3 ms, takes 14\.6 ms, failed$/);
  await dialog.getByText("1 of 3 connections could not be reached").waitFor();
  await dialog.getByText("JZ8fOcdWIAMCLRg=").waitFor();

  // The bars are at the positions of their times.
  const boxes = await spans.evaluateAll((all) =>
    all.map((one) => {
      const track = one.querySelector(".span-track").getBoundingClientRect();
      const part = (element) => {
        const box = element.getBoundingClientRect();
        return element.hidden ? null : [(box.left - track.left) / track.width, box.width / track.width];
      };
      return { bar: part(one.querySelector(".bar")), wait: part(one.querySelector(".wait")) };
    }),
  );
  const near = (actual, expected) => actual.forEach((value, index) => assert.ok(Math.abs(value - expected[index]) < 0.01, `${actual} is not ${expected}`));
  near(boxes[2].bar, [38.4 / 192.6, 21.3 / 192.6]);
  near(boxes[2].wait, [12.4 / 192.6, 26 / 192.6]);
  assert.equal(boxes[0].wait, null);

  // By keyboard only: into the list, through it, into a span and back.
  await chosen.focus();
  await page.keyboard.press("ArrowUp");
  assert.match(await chosen.textContent(), /deliver/);
  await page.keyboard.press("ArrowLeft");
  assert.match(await chosen.getAttribute("aria-label"), /process chat_events, chat-delivery-worker, waited 26 ms in the stream/);
  const width = () => chosen.locator(".bar").evaluate((bar) => bar.getBoundingClientRect().width / bar.parentElement.getBoundingClientRect().width);
  const before = await width();
  await page.keyboard.press("Enter");
  assert.ok((await width()) > 2 * before);
  await dialog.getByRole("button", { name: "Show all" }).click();
  near([await width()], [before]);

  // A late span is inserted at its position, and the selection stays.
  await spans.nth(8).click();
  await receive(late);
  await dialog.getByRole("status").filter({ hasText: "14 spans of 3 functions in 232 ms" }).waitFor();
  assert.equal(await spans.count(), 15);
  assert.match(await chosen.textContent(), /chat llama3\.2/);
  assert.ok(await chosen.evaluate((element) => element === document.activeElement));
  await dialog.locator("[data-figure=reply]").filter({ hasText: "231 ms" }).waitFor();

  // An edit has its own trace, which one click opens.
  const edit = { id: "e1", name: "PATCH /channels/{channel_id}/messages/{seq}", kind: "server", at: 0, ms: 9, attributes: { "switchboard.channel_id": channel, "switchboard.seq": 1 } };
  await receive(exported({ service: "switchboard-send-channel-messages", trace: randomUUID().replaceAll("-", ""), start: Date.now() + 60_000, spans: [edit] }));
  await dialog.getByRole("button", { name: /^PATCH/ }).click();
  await dialog.getByRole("status").filter({ hasText: "1 span of 1 function in 9 ms" }).waitFor();
  assert.equal(await spans.count(), 1);

  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "hidden" });
  assert.ok(await opener.evaluate((element) => element === document.activeElement));
});

test("a message that was really sent shows its way through every function", async (t) => {
  const channel = await channelWithAgent("alice.w", "Lobby");
  const { page } = await tab(t, "alice.w", channel, WIDE);
  await say(page, "Morning! Where do my messages go?");
  await reply(page).nth(0).waitFor();
  await page.getByRole("button", { name: "Show the journey of message 1" }).click();
  const dialog = page.getByRole("dialog");
  for (const figure of ["answered", "lag", "pushed", "reply"]) await dialog.locator(`[data-figure=${figure}]`).waitFor();
  const exactly = [
    [1, "POST /channels/{channel_id}/messages", "SendChannelMessagesFunction"],
    [1, "DynamoDB.TransactWriteItems", "SendChannelMessagesFunction"],
    [1, "DynamoDB.TransactWriteItems", "ChatAgentWorkerFunction"],
    // The question goes to both workers, and the reply to one.
    [2, "process chat_events", "ChatDeliveryWorkerFunction", "in the stream"],
    [1, "process chat_events", "ChatAgentWorkerFunction", "in the stream"],
  ];
  const atLeast = [[2, "deliver, "], [2, "push, "], [1, "chat ", "ChatAgentWorkerFunction"], [2, "linked"]];
  let rows = [];
  const rowsWith = (...parts) => rows.filter((row) => parts.every((part) => row.includes(part))).length;
  // Functions export after they have responded, in any order.
  await waitUntil(async () => {
    rows = await dialog.getByRole("treeitem").evaluateAll((all) => all.map((one) => one.getAttribute("aria-label")));
    const isWhole = [...exactly, ...atLeast].every(([count, ...parts]) => rowsWith(...parts) >= count);
    return isWhole && (await dialog.locator("[data-orphan]").count()) === 0;
  });
  for (const [count, ...parts] of exactly) assert.equal(rowsWith(...parts), count, `${parts}\n${rows.join("\n")}`);
  assert.equal(rowsWith("failed"), 0);
  await page.mouse.move(0, 0);
  await picture(page, "journey");
  await dialog.getByRole("button", { name: "Close the journey" }).click();

  // The reply's only trace is the message's own.
  await page.getByRole("button", { name: "Show the journey of message 2" }).click();
  await dialog.locator("[data-figure=pushed]").waitFor();
  assert.equal(await dialog.locator("[data-figure=reply]").count(), 0);
});

test("the journey fits a phone, in the dark", async (t) => {
  const channel = await quietChannel("ada");
  await post("ada", channel, { content: "hello" });
  const { page } = await tab(t, "ada", channel, { ...PHONE, colorScheme: "dark" });
  for (const one of exampleExports({ trace: randomUUID().replaceAll("-", ""), channelId: channel, seq: 1, start: Date.now() - 60_000 })) await receive(one);
  await page.getByRole("button", { name: "Show the journey of message 1" }).tap();
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("treeitem").nth(14).waitFor();
  const sides = await dialog.evaluate((element) => [...element.querySelectorAll("*")].map((one) => one.getBoundingClientRect()).filter(({ width }) => width > 0).flatMap(({ left, right }) => [left, right]));
  assert.ok(Math.min(...sides) >= 0 && Math.max(...sides) <= PHONE.viewport.width, `${Math.min(...sides)} to ${Math.max(...sides)}`);
  const [red, green, blue] = await dialog.evaluate((element) => getComputedStyle(element).backgroundColor.match(/\d+/g).map(Number));
  assert.ok(Math.max(red, green, blue) < 64, "the dark theme is dark");
  await dialog.getByRole("button", { name: "Close the journey" }).tap();
  await dialog.waitFor({ state: "hidden" });
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

/** Sends spans to the run's receiver, like a function. */
async function receive(request) {
  const response = await fetch(`${stack.otlp}/v1/traces`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(request) });
  assert.equal(response.status, 200);
}
