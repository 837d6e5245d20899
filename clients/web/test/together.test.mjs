// Tests of channels, reactions and threads on the page of several users, in headless Chromium, against a running stack.
//
//   READY_FILE       the file that `cargo local -- --ready-file FILE` writes
//   CHROMIUM_PATH    the browser (default /usr/bin/chromium)

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { api, comes, post, quietChannel, rounds, showsExactly, start, stop, tab, unique } from "./browser.mjs";

before(start);
after(stop);

const link = (page, name) => page.getByRole("navigation", { name: "Channels" }).getByRole("button", { name });
const title = (page, expected) => page.waitForFunction((text) => document.title === text, expected);
const message = (page, seq) => page.locator(`.message[data-seq="${seq}"]`);

test("a message elsewhere is previewed and counted, until it is read on any device", async (t) => {
  const user = unique("ada");
  const [here, there] = [unique("here"), unique("there")];
  const open = await quietChannel(user, here);
  const other = await quietChannel(user, there);
  const first = await tab(t, user, open);
  await link(first.page, here).waitFor();
  await post("bob", other, { content: "**over** here", content_type: "text/markdown" });
  const row = link(first.page, there);
  await row.getByText("bob: over here").waitFor();
  await row.locator(".count", { hasText: "1" }).waitFor();
  await title(first.page, `(1) ${here} · Switchboard`);
  // The newest activity comes first.
  assert.match(await first.page.locator(".channel-link").first().innerText(), new RegExp(there));

  const second = await tab(t, user, other);
  await message(second.page, 1).waitFor();
  await second.page.bringToFront();
  await row.locator(".count").waitFor({ state: "detached" });
  await title(first.page, `${here} · Switchboard`);

  await api("bob", "DELETE", `/channels/${other}/messages/1`);
  await row.getByText("Message deleted").waitFor();
});

test("a channel changes its name everywhere, and its end is said", async (t) => {
  const owner = unique("owner");
  await rounds(async () => {
    const channel = await quietChannel(owner, unique("before"));
    const { page } = await tab(t, unique("guest"), channel);
    const name = unique("after");
    await api(owner, "PATCH", `/channels/${channel}`, { name });
    await page.getByRole("heading", { level: 1, name }).waitFor();
    await link(page, name).waitFor();
    await title(page, `${name} · Switchboard`);
    await api(owner, "DELETE", `/channels/${channel}`);
    if (!(await comes(page.getByRole("alert").filter({ hasText: "This channel was deleted" })))) return false;
    await page.locator("#composer-input:disabled").waitFor();
    await link(page, name).waitFor({ state: "detached" });
    return true;
  });
});

test("reactions are added and taken back by keyboard, and keep the focus", async (t) => {
  const channel = await quietChannel("alice");
  await post("bob", channel, { content: "Shall we?" });
  const alice = await tab(t, "alice", channel);
  const carol = await tab(t, "carol", channel);
  const opener = alice.page.getByRole("button", { name: "React to message 1 of bob" });
  await opener.focus();
  await alice.page.keyboard.press("Enter");
  await alice.page.getByRole("dialog", { name: "Choose a reaction to message 1" }).waitFor();
  await alice.page.keyboard.press("Escape");
  assert.ok(await opener.evaluate((element) => element === document.activeElement));
  await alice.page.keyboard.press("Enter");
  await alice.page.keyboard.press("Enter");

  const chip = ({ page }, name) => message(page, 1).getByRole("button", { name, exact: true });
  await chip(alice, "👍 1, you").waitFor();
  await chip(carol, "👍 1, alice").click();
  await chip(alice, "👍 2, you and carol").waitFor();
  const mine = chip(carol, "👍 2, you and alice");
  await mine.waitFor();
  assert.equal(await mine.getAttribute("aria-pressed"), "true");
  assert.ok(await mine.evaluate((element) => element === document.activeElement), "the count changes in place");
  await carol.page.keyboard.press("Enter");
  await chip(carol, "👍 1, alice").waitFor();
  await chip(alice, "👍 1, you").click();
  await message(carol.page, 1).locator(".reaction").waitFor({ state: "detached" });
  assert.equal(await message(alice.page, 1).count(), 1);
});

test("an answer quotes, or belongs to a thread, whose root counts it", async (t) => {
  const channel = await quietChannel("alice");
  await post("bob", channel, { content: "Where do we meet?" });
  const { page } = await tab(t, "alice", channel);
  const write = async (text, inThread) => {
    const box = page.getByRole("checkbox", { name: "in its thread" });
    if ((await box.isChecked()) !== inThread) await box.click();
    await page.getByLabel("Message", { exact: true }).fill(text);
    await page.getByLabel("Message", { exact: true }).press("Enter");
  };
  await page.getByRole("button", { name: "Reply to message 1 of bob" }).click();
  await write("At noon, by the way.", false);
  await showsExactly(page, 2);
  assert.equal(await message(page, 1).locator(".thread-link").count(), 0, "a quote begins no thread");
  await page.getByRole("button", { name: "Reply to message 1 of bob" }).click();
  await write("At the station.", true);
  await showsExactly(page, 3);
  await post("bob", channel, { content: "Fine.", thread_seq: 1, reply_to: 3 });
  await showsExactly(page, 4);
  await message(page, 4).getByText("Thread").waitFor();
  // What was counted here, message by message, is what the server counts.
  const count = message(page, 1).getByRole("button", { name: /^2 replies, last .*; open the thread of message 1$/ });
  await count.waitFor();
  await page.reload();
  await count.click();
  await page.getByRole("complementary", { name: "Thread" }).locator('[data-reply="4"]').waitFor();
  // An answer to a message of a thread stays in it.
  await page.getByRole("button", { name: "Reply to message 4 of bob" }).click();
  assert.equal(await page.getByRole("checkbox", { name: "in its thread" }).isChecked(), true);
});
