// Tests of examples/react-chat: its page in a browser, and a local run.

import assert from "node:assert/strict";
import { after, test } from "node:test";
import { request } from "../../clients/web/test/api.mjs";
import { browser, localRun, visit, vite } from "./stand.mjs";

const { addresses } = await localRun(after);
const url = await vite(after, "react-chat", addresses);
const started = await browser(after);

/** Opens the page of a user, who is in the lobby then. */
async function enter(t, name) {
  const page = await visit(t, started, url);
  await page.getByLabel("Your name").fill(name);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.locator('.connection[data-state="live"]').waitFor();
  await page.getByRole("button", { name: "# Lobby" }).waitFor();
  return page;
}

const box = (page) => page.getByRole("textbox", { name: "Message to Lobby" });
const message = (page, text) => page.locator("li.message").filter({ has: page.locator(".text", { hasText: text }) });

test("two users chat in the lobby, and the agent replies", async (t) => {
  const alice = await enter(t, "alice");
  const bob = await enter(t, "bob");
  await box(alice).fill("Hello from React");
  await box(alice).press("Enter");
  for (const page of [alice, bob]) await message(page, /^Hello from React$/).waitFor();
  await alice.locator("li.message.own", { hasText: "Hello from React" }).waitFor();

  await bob.getByRole("group", { name: "Reactions to message 1" }).getByRole("button", { name: "👍" }).click();
  await message(alice, /^Hello from React$/).getByRole("button", { name: "👍 1" }).waitFor();

  const { messages } = await request(addresses, "bob", "GET", "/channels/lobby/messages?after=0");
  const [{ content, sender_id: sender, reactions }] = messages;
  assert.deepEqual([content, sender, reactions[0].user_ids], ["Hello from React", "alice", ["bob"]]);
  await alice.locator("li.message").filter({ has: alice.locator("b", { hasText: /^agent$/ }) }).first().waitFor();
});

test("a channel is created by its name, and others join it", async (t) => {
  const carol = await enter(t, "carol");
  await carol.getByLabel("Name of a channel to join or create").fill("Plans");
  await carol.getByRole("button", { name: "Join or create" }).click();
  const plans = (page) => page.getByRole("textbox", { name: "Message to Plans" });
  await plans(carol).fill("Shall we?");
  await plans(carol).press("Enter");
  await message(carol, /^Shall we\?$/).waitFor();

  const dan = await enter(t, "dan");
  await dan.getByLabel("Name of a channel to join or create").fill("plans");
  await dan.getByRole("button", { name: "Join or create" }).click();
  await message(dan, /^Shall we\?$/).waitFor();
});
