// Tests of examples/support-widget: its site with the widget in a browser, and a local run.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { request } from "../../clients/web/test/api.mjs";
import { browser, file, freePort, localRun, program, variables, visit } from "./stand.mjs";

const port = await freePort();
const origin = `http://localhost:${port}`;
const { addresses } = await localRun(after, { options: ["--allow-origin", origin] });
const folder = file("examples/support-widget");
const site = program(after, process.execPath, ["server.mjs"], { cwd: folder, env: { ...variables(addresses), PORT: `${port}` } });
await site.prints(/^The site is at /m);
const started = await browser(after);

/** Sends a request as the staff. */
const staff = (method, path, body) => request(addresses, "support", method, path, body);

const line = (page, side, text) => page.locator(`li.${side}`, { hasText: text });

/** Opens the widget in a browser of its own. */
async function open(t) {
  const page = await visit(t, started, origin);
  await page.getByRole("button", { name: "Ask the shop" }).click();
  await page.getByLabel("Message").waitFor();
  return page;
}

/** Writes a message, and waits until it is stored. */
async function write(page, text) {
  // The widget sends nothing before its session has begun.
  await page.locator('[role="status"]', { hasText: /^$/ }).waitFor({ state: "attached" });
  await page.getByLabel("Message").fill(text);
  await page.getByLabel("Message").press("Enter");
  await line(page, "own", text).waitFor();
  await page.locator("li.sending").waitFor({ state: "detached" });
}

/** Returns the channel whose newest message has this text, as the staff sees it. */
async function channelOf(text) {
  const { channels } = await staff("GET", "/channels");
  return channels.find(({ last_message: last }) => last?.content === text);
}

test("a visitor asks, the staff answers, and both are there after a reload", async (t) => {
  const page = await open(t);
  await write(page, "Do you have red ones?");
  const { channel_id: id, visibility } = await channelOf("Do you have red ones?");
  assert.equal(visibility, "private");
  await staff("POST", `/channels/${id}/messages`, { content: "Yes, two." });
  await line(page, "other", "Yes, two.").waitFor();

  await page.reload();
  await page.getByRole("button", { name: "Ask the shop" }).click();
  await line(page, "own", "Do you have red ones?").waitFor();
  await line(page, "other", "Yes, two.").waitFor();
  const { channels } = await staff("GET", "/channels");
  assert.equal(channels.filter(({ channel_id: one }) => one.startsWith("support-")).length, 1);
});

test("a closed widget tells of an answer", async (t) => {
  const page = await open(t);
  await write(page, "Are you there?");
  const { channel_id: id } = await channelOf("Are you there?");
  const toggle = page.getByRole("button", { name: "Ask the shop" });
  await toggle.click();
  await staff("POST", `/channels/${id}/messages`, { content: "Always." });
  await page.locator(".toggle.unread").waitFor();
  await toggle.click();
  await line(page, "other", "Always.").waitFor();
  assert.equal(await page.locator(".toggle.unread").count(), 0);
});

test("a visitor sees no other visitor's channel", async (t) => {
  const [one, other] = [await open(t), await open(t)];
  await write(one, "My secret");
  await write(other, "Hello");
  const [first, second] = [await channelOf("My secret"), await channelOf("Hello")];
  assert.notEqual(first.channel_id, second.channel_id);
  assert.equal(await line(other, "own", "My secret").count(), 0);
  const visitor = second.channel_id.replace("support-", "visitor-");
  await assert.rejects(request(addresses, visitor, "GET", `/channels/${first.channel_id}/messages`), /404/);
});

test("no id has the value of the cookie", async (t) => {
  const page = await open(t);
  await write(page, "Who am I?");
  const cookies = await page.context().cookies(`${origin}/support/session`);
  const { value, httpOnly, sameSite } = cookies.find(({ name }) => name === "visitor");
  assert.deepEqual([httpOnly, sameSite], [true, "Strict"]);
  assert.ok(!JSON.stringify(await staff("GET", "/channels")).includes(value));
});
