// Tests of the page's messages in headless Chromium, against a running stack: edits, deletions, reactions, threads, texts
// that are not sent, and the keyboard.
//
//   READY_FILE       the file that `cargo local -- --ready-file FILE` writes
//   CHROMIUM_PATH    the browser (default /usr/bin/chromium)

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { EMOJI } from "../emoji.js";
import { PHONE, TWO_TABS, api, comes, live, post, quietChannel, rounds, say, showsExactly, start, stop, tab, unique, upTo, waitUntil } from "./browser.mjs";

before(start);
after(stop);

const message = (page, seq) => page.locator(`.message[data-seq="${seq}"]`);
const body = (page, seq, text) => message(page, seq).locator(".body", { hasText: text });
const field = (page) => page.getByLabel("Message", { exact: true });
const editor = (page, seq) => page.getByRole("textbox", { name: `Edit message ${seq}` });
const panel = (page) => page.getByRole("complementary", { name: "Thread" });
const inThread = (page, seq) => panel(page).locator(`.message[data-reply="${seq}"]`);
const threadField = (page) => page.getByLabel("Reply in the thread");
const actions = (place, seq, sender) => place.getByRole("button", { name: `Actions for message ${seq} of ${sender}`, exact: true });
const chip = (page, name) => message(page, 1).getByRole("button", { name, exact: true });

/** Waits until an element has the focus. */
const hasFocus = (locator) => waitUntil(() => locator.evaluate((element) => element === document.activeElement));

/** Chooses an action in the menu of a message. `place` is the page, or a part of it. */
async function choose(page, seq, sender, action, place = page) {
  await actions(place, seq, sender).click();
  await page.getByRole("menuitem", { name: action, exact: true }).click();
}

/** Returns the actions in the menu of a message. */
async function offered(page, seq, sender) {
  await actions(page, seq, sender).click();
  const names = await page.getByRole("menuitem").locator("span").allTextContents();
  await page.keyboard.press("Escape");
  await page.getByRole("menu").waitFor({ state: "detached" });
  return names;
}

const stored = (user, channel, seq) => api(user, "GET", `/channels/${channel}/messages/${seq}`);
const edit = (user, channel, seq, content) => api(user, "PATCH", `/channels/${channel}/messages/${seq}`, { content });

// --- edits and deletions

test("an own message is edited in its place, and every tab says that it was", async (t) => {
  const channel = await quietChannel("alice");
  const alice = await tab(t, "alice", channel, TWO_TABS);
  const bob = await tab(t, "bob", channel, TWO_TABS);
  await say(alice.page, "frist");
  await post("bob", channel, { content: "Hm?" });
  await showsExactly(bob.page, 2);
  await message(alice.page, 2).waitFor();

  // ArrowUp in the empty field edits the newest own message.
  await field(alice.page).press("ArrowUp");
  const input = editor(alice.page, 1);
  await hasFocus(input);
  assert.equal(await input.inputValue(), "frist");
  await input.fill("nothing of this stays");
  await input.press("Escape");
  await input.waitFor({ state: "detached" });
  await hasFocus(field(alice.page));
  await body(alice.page, 1, "frist").waitFor();
  assert.equal(await message(alice.page, 1).locator(".edited").count(), 0);

  await field(alice.page).press("ArrowUp");
  await input.fill("first");
  await input.press("Shift+Enter");
  await input.pressSequentially("of all");
  await input.press("Enter");
  for (const { page } of [alice, bob]) {
    await body(page, 1, "first").waitFor();
    assert.equal(await message(page, 1).locator(".body").textContent(), "first\nof all");
    assert.match(await message(page, 1).locator(".edited").innerText(), /^edited \d/);
  }
  await input.waitFor({ state: "detached" });
  await hasFocus(field(alice.page));

  // From its menu, the focus returns to the message. A text that is not changed is not saved.
  const { version } = await stored("alice", channel, 1);
  await choose(alice.page, 1, "alice", "Edit");
  await hasFocus(input);
  await input.press("Enter");
  await hasFocus(message(alice.page, 1));
  assert.equal((await stored("alice", channel, 1)).version, version);
  // An empty text cannot be saved.
  await choose(alice.page, 1, "alice", "Edit");
  await input.fill("  ");
  assert.equal(await alice.page.getByRole("button", { name: "Save" }).isDisabled(), true);
  await alice.page.getByRole("button", { name: "Cancel" }).click();
  await hasFocus(message(alice.page, 1));
  // A text in the field is not left.
  await field(alice.page).fill("wait");
  await field(alice.page).press("ArrowUp");
  assert.equal(await input.count(), 0);
});

test("an edit that meets another text shows it, and saves only after that", async (t) => {
  const channel = await quietChannel("alice");
  await post("alice", channel, { content: "first" });
  const { page } = await tab(t, "alice", channel);
  // Another device is faster by one request.
  let isLate = true;
  await page.route(`**/channels/${channel}/messages/1`, async (route) => {
    if (isLate && route.request().method() === "PATCH") {
      isLate = false;
      await edit("alice", channel, 1, "from the phone");
    }
    await route.continue();
  });
  await choose(page, 1, "alice", "Edit");
  const input = editor(page, 1);
  await input.fill("from the desk");
  await input.press("Enter");
  const theirs = page.getByRole("alert").filter({ hasText: "Another text was saved meanwhile" });
  await theirs.filter({ hasText: "from the phone" }).waitFor();
  assert.equal(await input.inputValue(), "from the desk");
  assert.equal((await stored("alice", channel, 1)).content, "from the phone");
  await input.press("Enter");
  await body(page, 1, "from the desk").waitFor();
  assert.equal((await stored("alice", channel, 1)).content, "from the desk");

  // A text that comes while the user writes is shown at once.
  await choose(page, 1, "alice", "Edit");
  await input.fill("from the train");
  await edit("alice", channel, 1, "from the sofa");
  await theirs.filter({ hasText: "from the sofa" }).waitFor();
  assert.equal(await input.inputValue(), "from the train");
  await hasFocus(input);
  await input.press("Escape");
  await body(page, 1, "from the sofa").waitFor();

  // A message that is deleted meanwhile cannot be saved.
  await choose(page, 1, "alice", "Edit");
  await input.fill("from nowhere");
  await api("alice", "DELETE", `/channels/${channel}/messages/1`);
  await page.getByRole("status").filter({ hasText: "This message was deleted." }).waitFor();
  assert.equal(await page.getByRole("button", { name: "Save" }).isDisabled(), true);
  await input.press("Escape");
  await message(page, 1).locator(".deleted").waitFor();
});

test("a message is deleted after a question, by its author or by a moderator", async (t) => {
  const owner = unique("olga");
  const channel = await quietChannel(owner);
  await post("bob", channel, { content: "my secret" });
  await post("bob", channel, { content: "my other secret" });
  await post(owner, channel, { content: "tell" });
  const olga = await tab(t, owner, channel, TWO_TABS);
  const bob = await tab(t, "bob", channel, TWO_TABS);
  await message(olga.page, 3).waitFor();
  assert.deepEqual(await offered(bob.page, 1, "bob"), ["Add a reaction", "Reply", "Reply in thread", "Copy the text", "Edit", "Show its journey", "Delete"]);
  assert.deepEqual(await offered(bob.page, 3, owner), ["Add a reaction", "Reply", "Reply in thread", "Copy the text", "Show its journey"]);
  assert.deepEqual(await offered(olga.page, 1, "bob"), ["Add a reaction", "Reply", "Reply in thread", "Copy the text", "Show its journey", "Delete"]);

  await message(bob.page, 1).focus();
  await bob.page.keyboard.press("Delete");
  const question = bob.page.getByRole("dialog", { name: "Delete your message?" });
  await question.getByText("my secret").waitFor();
  // Enter would not delete.
  await hasFocus(question.getByRole("button", { name: "Cancel" }));
  await bob.page.keyboard.press("Escape");
  await question.waitFor({ state: "detached" });
  await hasFocus(message(bob.page, 1));
  assert.equal((await stored("bob", channel, 1)).content, "my secret");

  await bob.page.keyboard.press("Delete");
  await question.getByRole("button", { name: "Delete" }).click();
  for (const { page } of [bob, olga]) await body(page, 1, "This message was deleted.").waitFor();
  await hasFocus(message(bob.page, 1));
  assert.deepEqual(await offered(bob.page, 1, "bob"), ["Reply", "Show its journey"]);

  await choose(olga.page, 2, "bob", "Delete");
  await olga.page.getByRole("dialog", { name: "Delete the message of bob?" }).getByRole("button", { name: "Delete" }).click();
  for (const { page } of [bob, olga]) await body(page, 2, "This message was deleted.").waitFor();
  assert.deepEqual([(await stored("bob", channel, 2)).content, (await stored("bob", channel, 3)).content], ["", "tell"]);
});

// --- reactions

test("an emoji is found by its name and with the arrows, and the page remembers it", async (t) => {
  const channel = await quietChannel("alice");
  await post("bob", channel, { content: "Ship it?" });
  const { page } = await tab(t, "alice", channel, TWO_TABS);
  const bob = await tab(t, "bob", channel, TWO_TABS);
  const opener = page.getByRole("button", { name: "React to message 1 of bob" });
  const picker = page.getByRole("dialog", { name: "Choose a reaction to message 1" });
  const search = picker.getByRole("combobox", { name: "Search emoji by name" });
  const often = picker.getByRole("group", { name: "Often used" }).getByRole("option");
  const active = () => page.evaluate(() => document.getElementById(document.activeElement.getAttribute("aria-activedescendant"))?.getAttribute("aria-label"));

  await opener.click();
  await hasFocus(search);
  assert.equal(await opener.getAttribute("aria-expanded"), "true");
  assert.equal(await active(), "thumbs up");
  assert.equal(await often.count(), 8);
  await page.keyboard.press("ArrowRight");
  assert.equal(await active(), "red heart");
  await page.keyboard.press("ArrowDown");
  assert.equal(await active(), EMOJI[1].name);
  await page.keyboard.press("ArrowUp");
  await page.keyboard.press("ArrowLeft");
  await page.keyboard.press("ArrowLeft");
  assert.equal(await active(), "thumbs up", "there is nothing before the first");

  await search.fill("no such name");
  await picker.getByText("No emoji has this name").waitFor();
  await page.keyboard.press("Enter");
  assert.equal(await picker.count(), 1, "nothing was chosen");
  await search.fill("rock");
  assert.deepEqual(await picker.getByRole("option").evaluateAll((all) => all.map((one) => one.getAttribute("aria-label"))), ["rocket"]);
  await page.keyboard.press("Enter");
  await picker.waitFor({ state: "detached" });
  await hasFocus(opener);
  await chip(page, "🚀 1, you").waitFor();
  await chip(bob.page, "🚀 1, alice").waitFor();
  assert.equal(await chip(bob.page, "🚀 1, alice").getAttribute("title"), "alice");

  // The choice of one's own reaction takes it back.
  await opener.click();
  assert.equal(await often.first().getAttribute("aria-label"), "rocket");
  assert.equal(await often.first().getAttribute("aria-selected"), "true");
  await often.first().click();
  for (const one of [page, bob.page]) await message(one, 1).locator(".reaction").waitFor({ state: "detached" });

  // A press elsewhere closes the choice, and one on the opener.
  await opener.click();
  await picker.waitFor();
  await page.locator("#channel-name").click();
  await picker.waitFor({ state: "detached" });
  await opener.click();
  await picker.waitFor();
  await opener.click();
  await picker.waitFor({ state: "detached" });
  assert.equal(await opener.getAttribute("aria-expanded"), "false");
});

test("a reaction too many is refused with its reason", async (t) => {
  const channel = await quietChannel("alice");
  await post("bob", channel, { content: "All of them" });
  const users = ["bob", "carol", "dave", "erin"];
  for (const [at, { emoji }] of EMOJI.slice(0, 20).entries()) {
    await api(users[at % users.length], "PUT", `/channels/${channel}/messages/1/reactions/${encodeURIComponent(emoji)}`);
  }
  const { page } = await tab(t, "alice", channel);
  await waitUntil(async () => (await message(page, 1).locator(".reaction").count()) === 20);
  await page.getByRole("button", { name: "React to message 1 of bob" }).click();
  await page.getByRole("combobox", { name: "Search emoji by name" }).fill("popcorn");
  await page.keyboard.press("Enter");
  await page.getByRole("alert").filter({ hasText: "as many reactions as it may" }).waitFor();
  assert.equal(await message(page, 1).locator(".reaction").count(), 20);
  // A reaction that is there can still be joined.
  const [{ emoji }] = EMOJI;
  await chip(page, `${emoji} 1, bob`).click();
  await chip(page, `${emoji} 2, you and bob`).waitFor();
});

// --- threads and quotes

test("a thread is written in its panel, and grows in both tabs", async (t) => {
  const channel = await quietChannel("alice");
  await post("bob", channel, { content: "Where do we meet?" });
  const alice = await tab(t, "alice", channel, { viewport: { width: 1280, height: 760 } });
  const bob = await tab(t, "bob", channel, { viewport: { width: 1280, height: 760 } });

  await choose(alice.page, 1, "bob", "Reply in thread");
  await panel(alice.page).waitFor();
  await hasFocus(threadField(alice.page));
  await inThread(alice.page, 1).getByText("Where do we meet?").waitFor();
  await threadField(alice.page).fill("At the station.");
  await threadField(alice.page).press("Enter");
  await inThread(alice.page, 2).getByText("At the station.").waitFor();
  assert.equal(await inThread(alice.page, 2).locator(".quote").count(), 0, "it is in its thread");
  assert.deepEqual(await stored("alice", channel, 2).then((sent) => [sent.thread_seq, sent.reply_to]), [1, undefined]);

  await message(bob.page, 1).getByRole("button", { name: /^1 reply, last .*; open the thread of message 1$/ }).click();
  await inThread(bob.page, 2).waitFor();
  await threadField(bob.page).fill("Which one?");
  await threadField(bob.page).press("Enter");
  for (const { page } of [alice, bob]) {
    await inThread(page, 3).getByText("Which one?").waitFor();
    await panel(page).getByText("2 replies").first().waitFor();
    await message(page, 1).getByRole("button", { name: /^2 replies, last/ }).waitFor();
  }

  // Edits, deletions and reactions show in the panel too.
  await choose(alice.page, 2, "alice", "Edit", panel(alice.page));
  await editor(alice.page, 2).fill("At the main station.");
  await editor(alice.page, 2).press("Enter");
  await hasFocus(inThread(alice.page, 2));
  for (const { page } of [alice, bob]) await inThread(page, 2).getByText("At the main station.").waitFor();
  await api("alice", "PUT", `/channels/${channel}/messages/3/reactions/${encodeURIComponent("👍")}`);
  await inThread(bob.page, 3).getByRole("button", { name: "👍 1, alice" }).click();
  await inThread(alice.page, 3).getByRole("button", { name: "👍 2, you and bob" }).waitFor();

  // A quote in the thread leads to its message.
  await inThread(alice.page, 3).focus();
  await alice.page.keyboard.press("r");
  await panel(alice.page).getByText("Reply to bob: Which one?").waitFor();
  await threadField(alice.page).fill("The big one.");
  await threadField(alice.page).press("Enter");
  const quote = inThread(bob.page, 4).getByRole("button", { name: "Show message 3, which this answers" });
  await quote.filter({ hasText: "Which one?" }).click();
  await hasFocus(inThread(bob.page, 3));
  assert.deepEqual(await stored("bob", channel, 4).then((sent) => [sent.thread_seq, sent.reply_to]), [1, 3]);

  await api("bob", "DELETE", `/channels/${channel}/messages/1`);
  for (const { page } of [alice, bob]) await inThread(page, 1).getByText("This message was deleted.").waitFor();
  await threadField(alice.page).press("Escape");
  await panel(alice.page).waitFor({ state: "hidden" });
  await hasFocus(message(alice.page, 1));
  // A thread outlives its root.
  await alice.page.keyboard.press("t");
  await inThread(alice.page, 4).waitFor();
});

test("a thread whose root is far back opens whole, and follows its changes", async (t) => {
  const channel = await quietChannel("alice");
  await post("bob", channel, { content: "An old question" });
  await post("bob", channel, { content: "An old reply", thread_seq: 1 });
  for (const number of upTo(54)) await post("bob", channel, { content: `filler ${number}` });
  await post("carol", channel, { content: "A late reply", thread_seq: 1 });
  const { page } = await tab(t, "alice", channel, { viewport: { width: 1280, height: 760 } });
  await message(page, 57).waitFor();
  assert.equal(await message(page, 1).count(), 0);
  await message(page, 57).focus();
  await page.keyboard.press("t");
  for (const [seq, text] of [[1, "An old question"], [2, "An old reply"], [57, "A late reply"]]) await inThread(page, seq).getByText(text).waitFor();
  await edit("bob", channel, 2, "An old reply, edited");
  await inThread(page, 2).getByText("An old reply, edited").waitFor();
  // A reaction of the user to a message that the history lacks.
  await inThread(page, 1).focus();
  await page.keyboard.press("+");
  await page.getByRole("combobox", { name: "Search emoji by name" }).fill("red heart");
  await page.keyboard.press("Enter");
  await inThread(page, 1).getByRole("button", { name: "❤️ 1, you" }).waitFor();
  await post("bob", channel, { content: "A later reply", thread_seq: 1 });
  await inThread(page, 58).waitFor();
});

test("a quote shows its text, and leads to its message", async (t) => {
  const channel = await quietChannel("alice");
  await post("bob", channel, { content: "the first of many" });
  for (const number of upTo(58)) await post("bob", channel, { content: `filler ${number}` });
  await post("carol", channel, { content: "as I said", reply_to: 1 });
  const { page } = await tab(t, "alice", channel);
  const quote = message(page, 60).getByRole("button", { name: "Show message 1, which this answers" });
  await quote.filter({ hasText: "bob the first of many" }).click();
  // The earlier history is read on the way.
  await hasFocus(message(page, 1));
  await showsExactly(page, 60);
});

test("on a phone a thread covers the channel until it is closed", async (t) => {
  const channel = await quietChannel("alice");
  await post("bob", channel, { content: "Where do we meet?" });
  await post("carol", channel, { content: "Here.", thread_seq: 1 });
  const { page } = await tab(t, "alice", channel, { ...PHONE, colorScheme: "dark" });
  await actions(page, 1, "bob").tap();
  await page.getByRole("menuitem", { name: "Reply in thread", exact: true }).tap();
  await inThread(page, 2).getByText("Here.").waitFor();
  const box = await panel(page).boundingBox();
  assert.deepEqual([box.x, box.y, box.width, box.height], [0, 0, PHONE.viewport.width, PHONE.viewport.height]);
  assert.equal(await page.locator("#channel").evaluate((element) => element.inert), true);
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), PHONE.viewport.width);
  await threadField(page).fill("There.");
  await page.getByRole("button", { name: "Send the reply" }).tap();
  await inThread(page, 3).getByText("There.").waitFor();
  const [red, green, blue] = await panel(page).evaluate((element) => getComputedStyle(element).backgroundColor.match(/\d+/g).map(Number));
  assert.ok(Math.max(red, green, blue) < 64, "the dark theme is dark");
  await page.getByRole("button", { name: "Close the thread" }).tap();
  await panel(page).waitFor({ state: "hidden" });
  assert.equal(await page.locator("#channel").evaluate((element) => element.inert), false);

  // The choice of emoji fits too.
  await actions(page, 1, "bob").tap();
  await page.getByRole("menuitem", { name: "Add a reaction" }).tap();
  const picker = await page.getByRole("dialog", { name: "Choose a reaction to message 1" }).boundingBox();
  assert.ok(picker.x >= 0 && picker.x + picker.width <= PHONE.viewport.width && picker.y >= 0 && picker.y + picker.height <= PHONE.viewport.height);
  await page.getByRole("option", { name: "party popper" }).first().tap();
  await chip(page, "🎉 1, you").waitFor();
});

// --- texts that are not sent

/** Types Enter as an input method does: during a composition, and as Safari does after its end. */
const composeWithEnter = (locator) =>
  locator.evaluate((input) => {
    const enter = (options) => input.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", code: "Enter", bubbles: true, cancelable: true, ...options }));
    input.dispatchEvent(new CompositionEvent("compositionstart", { bubbles: true }));
    const during = enter({ isComposing: true, keyCode: 229 });
    input.dispatchEvent(new CompositionEvent("compositionend", { data: input.value, bubbles: true }));
    const afterwards = enter({ isComposing: false, keyCode: 229 });
    return { during, afterwards };
  });

test("Enter that ends a composition sends and saves nothing", async (t) => {
  const channel = await quietChannel("alice");
  const { page } = await tab(t, "alice", channel);
  await field(page).fill("日本");
  // The browser, and not the page, handles the key.
  assert.deepEqual(await composeWithEnter(field(page)), { during: true, afterwards: true });
  assert.equal(await field(page).inputValue(), "日本");
  assert.equal(await page.locator(".message").count(), 0);
  await field(page).press("Shift+Enter");
  await field(page).pressSequentially("語");
  await field(page).press("Enter");
  await showsExactly(page, 1);
  assert.equal(await message(page, 1).locator(".body").textContent(), "日本\n語");

  await field(page).press("ArrowUp");
  await editor(page, 1).fill("日本語");
  assert.deepEqual(await composeWithEnter(editor(page, 1)), { during: true, afterwards: true });
  assert.equal(await editor(page, 1).inputValue(), "日本語");
  await editor(page, 1).press("Enter");
  await body(page, 1, "日本語").waitFor();
  assert.equal((await stored("alice", channel, 1)).version, 2);

  await choose(page, 1, "alice", "Reply in thread");
  await threadField(page).fill("はい");
  assert.deepEqual(await composeWithEnter(threadField(page)), { during: true, afterwards: true });
  assert.equal(await threadField(page).inputValue(), "はい");
  await showsExactly(page, 1);
});

test("each channel and each thread keeps its text until it is sent", async (t) => {
  const user = unique("ada");
  const [here, there] = [unique("here"), unique("there")];
  const first = await quietChannel(user, here);
  await quietChannel(user, there);
  await post(user, first, { content: "root" });
  const { page } = await tab(t, user, first);
  const go = async (name) => {
    await page.getByRole("navigation", { name: "Channels" }).getByRole("button", { name }).first().click();
    await page.getByRole("heading", { level: 1, name }).waitFor();
    await live(page);
  };
  await field(page).fill("half a thought");
  await message(page, 1).focus();
  await page.keyboard.press("t");
  await threadField(page).fill("half a reply");
  await go(there);
  assert.equal(await panel(page).isVisible(), false);
  assert.equal(await field(page).inputValue(), "");
  await field(page).fill("another");
  await go(here);
  assert.equal(await field(page).inputValue(), "half a thought");
  await page.reload();
  await live(page);
  assert.equal(await field(page).inputValue(), "half a thought");
  await message(page, 1).focus();
  await page.keyboard.press("t");
  assert.equal(await threadField(page).inputValue(), "half a reply");
  await field(page).press("Enter");
  await showsExactly(page, 2);
  await page.reload();
  await live(page);
  assert.equal(await field(page).inputValue(), "");
});

test("a message that the server refuses says why, and gives its text back", async (t) => {
  const channel = await quietChannel("alice");
  const { page } = await tab(t, "alice", channel);
  let refusals = 2;
  await page.route(`**/channels/${channel}/messages`, async (route) => {
    if (route.request().method() !== "POST" || refusals === 0) return route.continue();
    refusals -= 1;
    const problem = { title: "Bad Request", status: 400, code: "invalid_request", detail: "The text is not allowed here." };
    return route.fulfill({ status: 400, contentType: "application/problem+json", headers: { "access-control-allow-origin": "*" }, body: JSON.stringify(problem) });
  });
  await say(page, "something odd");
  const failed = page.getByRole("article", { name: "Your message, not sent" });
  await failed.getByText("Not sent. The text is not allowed here.").waitFor();
  await failed.getByRole("button", { name: "Take back" }).click();
  await failed.waitFor({ state: "detached" });
  assert.equal(await field(page).inputValue(), "something odd");
  await hasFocus(field(page));
  await field(page).press("Enter");
  await failed.getByRole("button", { name: "Try again" }).click();
  await showsExactly(page, 1);
  assert.equal(await page.locator("[data-pending]").count(), 0);
});

test("a user that types is named until the message comes, or nothing does", async (t) => {
  await rounds(async () => {
    const channel = await quietChannel("alice");
    const alice = await tab(t, "alice", channel, TWO_TABS);
    const bob = await tab(t, "bob", channel, TWO_TABS);
    const line = alice.page.getByText("bob is typing");
    await field(bob.page).pressSequentially("so");
    if (!(await comes(line))) return false;
    assert.equal(await bob.page.getByText("is typing").count(), 0, "nobody sees oneself typing");
    await field(bob.page).press("Enter");
    await line.waitFor({ state: "detached" });
    await message(alice.page, 1).waitFor();
    return true;
  });
  await rounds(async () => {
    const channel = await quietChannel("alice");
    const alice = await tab(t, "alice", channel, TWO_TABS);
    const bob = await tab(t, "bob", channel, TWO_TABS);
    await field(bob.page).pressSequentially("so");
    const line = alice.page.getByText("bob is typing");
    if (!(await comes(line))) return false;
    await line.waitFor({ state: "detached" });
    return true;
  });
});

// --- keyboard and screen readers

test("all is reached by keyboard, and the focus returns to where it was", async (t) => {
  const channel = await quietChannel("alice");
  for (const number of upTo(3)) await post("bob", channel, { content: `message ${number}` });
  const { page } = await tab(t, "alice", channel, { viewport: { width: 1280, height: 760 } });
  await message(page, 3).waitFor();
  const press = (key) => page.keyboard.press(key);

  // The newest message is before the field, and arrows lead to the others.
  await hasFocus(field(page));
  await press("Shift+Tab");
  await hasFocus(actions(page, 3, "bob"));
  await press("ArrowUp");
  await hasFocus(message(page, 2));
  assert.equal(await message(page, 2).evaluate((element) => getComputedStyle(element).outlineStyle), "solid");
  await press("Home");
  await hasFocus(message(page, 1));
  await press("ArrowUp");
  await hasFocus(message(page, 1));
  await press("End");
  await press("ArrowDown");
  await hasFocus(message(page, 3));
  await press("ArrowUp");
  // Only the buttons of this message are in the order of Tab.
  await press("Tab");
  await hasFocus(message(page, 2).getByRole("button", { name: "Reply to message 2 of bob" }));
  assert.equal(await page.locator('.message-side button[tabindex="0"]').count(), await message(page, 2).locator(".message-side button").count());
  assert.equal(await page.locator('.message[tabindex="0"]').count(), 1);
  await press("Shift+Tab");
  await hasFocus(message(page, 2));

  // A new message moves no focus.
  await post("bob", channel, { content: "message 4" });
  await message(page, 4).waitFor();
  await hasFocus(message(page, 2));

  await press("?");
  const keys = page.getByRole("dialog", { name: "Keys" });
  await keys.getByText("All actions").waitFor();
  await press("Escape");
  await keys.waitFor({ state: "detached" });
  await hasFocus(message(page, 2));

  await press("Enter");
  const menu = page.getByRole("menu", { name: "Actions for message 2" });
  await hasFocus(menu.getByRole("menuitem").first());
  await press("ArrowUp");
  await hasFocus(menu.getByRole("menuitem").last());
  await press("Home");
  await press("ArrowDown");
  await hasFocus(menu.getByRole("menuitem", { name: "Reply", exact: true }));
  await press("Escape");
  await menu.waitFor({ state: "detached" });
  await hasFocus(message(page, 2));

  await press("+");
  await hasFocus(page.getByRole("combobox", { name: "Search emoji by name" }));
  await press("Escape");
  await hasFocus(message(page, 2));

  await press("t");
  await hasFocus(threadField(page));
  await press("Escape");
  await panel(page).waitFor({ state: "hidden" });
  await hasFocus(message(page, 2));

  // The owner deletes messages of others, and edits none.
  await press("e");
  await hasFocus(message(page, 2));
  assert.equal(await page.getByRole("dialog").count(), 0);
  await press("Delete");
  await page.getByRole("dialog").waitFor();
  await press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await hasFocus(message(page, 2));
  await press("r");
  await hasFocus(field(page));
  await page.getByText("Reply to bob: message 2").waitFor();
  await page.keyboard.type("Yes?");
  await press("Enter");
  await message(page, 5).locator(".quote").waitFor();
  assert.equal((await stored("alice", channel, 5)).reply_to, 2);
  await press("Shift+Tab");
  await hasFocus(actions(page, 5, "alice"));
  await press("Escape");
  await press("ArrowUp");
  await press("ArrowDown");
  await press("e");
  await hasFocus(editor(page, 5));
  await page.keyboard.type(" No.");
  await press("Enter");
  await body(page, 5, "Yes? No.").waitFor();
  await hasFocus(message(page, 5));
  await press("Escape");
  await hasFocus(field(page));
  // In a field, keys are text.
  await page.keyboard.type("really?");
  assert.equal(await field(page).inputValue(), "really?");
  assert.equal(await page.getByRole("dialog").count(), 0);
});

test("new messages are announced, and the history is not", async (t) => {
  const channel = await quietChannel("alice");
  for (const number of upTo(55)) await post("bob", channel, { content: `message ${number}` });
  const { page } = await tab(t, "alice", channel);
  const log = page.getByRole("log", { name: "Messages of the channel" });
  await message(page, 55).waitFor();
  assert.equal(await log.getAttribute("aria-live"), "polite");
  await page.locator('#messages[aria-busy="false"]').waitFor();
  // Records the messages that are added while the log is live.
  await page.evaluate(() => {
    window.announced = [];
    const log = document.getElementById("messages");
    const note = (records) => {
      if (log.getAttribute("aria-busy") === "true") return;
      for (const { addedNodes } of records) for (const node of addedNodes) if (node.parentElement === log && node.dataset.seq) window.announced.push(Number(node.dataset.seq));
    };
    new MutationObserver(note).observe(log, { childList: true });
  });
  await page.getByRole("button", { name: "Load earlier messages" }).click();
  await showsExactly(page, 55);
  await page.locator('#messages[aria-busy="false"]').waitFor();
  await post("bob", channel, { content: "message 56" });
  await message(page, 56).waitFor();
  await api("bob", "PUT", `/channels/${channel}/messages/56/reactions/${encodeURIComponent("👍")}`);
  await message(page, 56).locator(".reaction").waitFor();
  assert.deepEqual(await page.evaluate(() => window.announced), [56]);
});

test("everything that can be used has a role and a name", async (t) => {
  const channel = await quietChannel("alice");
  await post("bob", channel, { content: "root" });
  await post("alice", channel, { content: "reply", thread_seq: 1 });
  await api("bob", "PUT", `/channels/${channel}/messages/1/reactions/${encodeURIComponent("👍")}`);
  const { page } = await tab(t, "alice", channel, { viewport: { width: 1280, height: 760 }, reducedMotion: "reduce" });
  await message(page, 1).getByRole("button", { name: /open the thread of message 1$/ }).click();
  await inThread(page, 2).waitFor();
  await choose(page, 2, "alice", "Edit", page.locator("#messages"));
  await page.getByRole("region", { name: "Messages" }).waitFor();
  await page.getByRole("log", { name: "Messages of the thread" }).waitFor();
  await page.getByRole("heading", { level: 2, name: "Thread" }).waitFor();
  await page.getByRole("article", { name: /^bob, / }).first().waitFor();
  await editor(page, 2).waitFor();
  await actions(page, 1, "bob").first().click();
  const items = page.getByRole("menuitem");
  await items.first().waitFor();
  assert.ok((await items.evaluateAll((all) => all.map((one) => one.getAttribute("aria-keyshortcuts")))).every(Boolean));
  // Motion ends at once.
  assert.ok(Number.parseFloat(await page.getByRole("menu").evaluate((element) => getComputedStyle(element).animationDuration)) < 0.001);

  const unnamed = await page.evaluate(() => {
    const named = (element) => element.getAttribute("aria-label") || element.getAttribute("aria-labelledby") || element.labels?.length > 0 || element.textContent.trim();
    const all = [...document.querySelectorAll("button, a[href], input, textarea, dialog, aside, [role]:not([role=status], [role=alert], [role=separator])")];
    return all.filter((element) => element.checkVisibility() && !named(element)).map((element) => element.outerHTML.slice(0, 120));
  });
  assert.deepEqual(unnamed, []);
  const ids = await page.evaluate(() => [...document.querySelectorAll("[id]")].map(({ id }) => id));
  assert.equal(new Set(ids).size, ids.length, "each id is there once");
  const references = await page.evaluate(() =>
    ["aria-controls", "aria-labelledby", "aria-describedby", "aria-activedescendant"].flatMap((name) =>
      [...document.querySelectorAll(`[${name}]`)].flatMap((element) => element.getAttribute(name).split(" ")).filter((id) => !document.getElementById(id)),
    ),
  );
  assert.deepEqual(references, []);
});
