// Tests of channels and people on the page of several users, in headless Chromium, against a running stack.
//
//   READY_FILE       the file that `cargo local -- --ready-file FILE` writes
//   CHROMIUM_PATH    the browser (default /usr/bin/chromium)

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { DESKTOP, PHONE, TIMEOUT_MS, api, browser, comes, live, post, quietChannel, rounds, say, stack, start, stop, tab, unique, waitUntil } from "./browser.mjs";

before(start);
after(stop);

const link = (page, name) => page.getByRole("navigation", { name: "Channels" }).getByRole("button", { name });
const heading = (page, name) => page.getByRole("heading", { level: 1, name, exact: true });
const detail = (page, text) => page.locator("#channel-detail", { hasText: text });
const channelOf = (page) => new URL(page.url()).searchParams.get("channel");
const hasFocus = (locator) => locator.evaluate((element) => element === document.activeElement);
const searchField = (page) => page.getByRole("searchbox", { name: "Find a channel by its name" });
const found = (page) => page.getByRole("list", { name: "Found channels" });

/** Opens the settings of the open channel. */
async function settings(page, name) {
  await page.getByRole("button", { name: "Settings of this channel" }).click();
  const dialog = page.getByRole("dialog", { name: `Settings of ${name}` });
  await dialog.waitFor();
  return dialog;
}

/** Opens the list of members of the open channel. */
async function members(page, name) {
  await page.locator("#presence-open").click();
  await page.getByRole("button", { name: "All members" }).click();
  const dialog = page.getByRole("dialog", { name: `Members of ${name}` });
  await dialog.waitFor();
  return dialog;
}

/** Opens a tab of a member in a channel of another user, as `tab` does. */
async function ownerAndGuest(t, name = unique("room")) {
  const [owner, guest] = [unique("owner"), unique("guest")];
  const channel = await quietChannel(owner, name);
  const first = await tab(t, owner, channel);
  const second = await tab(t, guest, channel);
  return { name, channel, owner, guest, first: first.page, second: second.page };
}

test("messages of another user raise a badge, and reading lowers it", async (t) => {
  const [reader, writer] = [unique("reader"), unique("writer")];
  const [here, there] = [unique("here"), unique("there")];
  const home = await quietChannel(reader, here);
  const other = await quietChannel(reader, there);
  const { page } = await tab(t, reader, home);
  const second = await tab(t, writer, other);
  const row = link(page, there);
  await row.waitFor();
  const weight = () => row.evaluate((element) => Number(getComputedStyle(element).fontWeight));
  const before = await weight();
  await say(second.page, "one");
  await row.locator(".count", { hasText: "1 unread" }).waitFor();
  await say(second.page, "two");
  await row.locator(".count", { hasText: "2 unread" }).waitFor();
  await row.getByText(`${writer}: two`).waitFor();
  assert.ok((await weight()) > before, "the name is bold");
  assert.match(await page.locator("#channels .channel-link").first().innerText(), new RegExp(there));
  assert.equal(await link(second.page, there).locator(".count").count(), 0, "own messages are no unread ones");

  await page.bringToFront();
  await row.click();
  await heading(page, there).waitFor();
  await row.locator(".count").waitFor({ state: "detached" });
  assert.equal(await row.getAttribute("aria-current"), "page");
  assert.equal(await link(page, here).getAttribute("aria-current"), null);
  await link(page, here).click();
  await heading(page, here).waitFor();
  await say(second.page, "three");
  await row.locator(".count", { hasText: "1 unread" }).waitFor();
});

test("a private channel has a lock, and an archived one is in a list of its own", async (t) => {
  const user = unique("ada");
  const [here, secret] = [unique("here"), unique("secret")];
  const home = await quietChannel(user, here);
  const { channel_id: id } = await api(user, "POST", "/channels", { name: secret, visibility: "private", agent: { mode: "off" } });
  const { page } = await tab(t, user, home);
  const row = link(page, secret);
  await row.locator('use[href="#icon-lock"]').waitFor({ state: "attached" });
  assert.match(await row.textContent(), /, private/);
  assert.equal(await link(page, here).locator('use[href="#icon-lock"]').count(), 0);

  await api(user, "PATCH", `/channels/${id}`, { archived: true });
  await row.waitFor({ state: "detached" });
  await page.getByText("Archived", { exact: true }).click();
  await row.locator(".tag", { hasText: "archived" }).waitFor();
  await row.click();
  await heading(page, secret).waitFor();
  await detail(page, "Private · archived").waitFor();
  await page.locator("#composer-input:disabled").waitFor();
  assert.equal(await page.locator("#composer-input").getAttribute("placeholder"), `${secret} is archived`);

  const dialog = await settings(page, secret);
  await dialog.getByText("This channel is archived. Restore it to change its settings.").waitFor();
  assert.equal(await dialog.getByLabel("Name", { exact: true }).isDisabled(), true);
  await dialog.getByRole("button", { name: "Restore the channel" }).click();
  await dialog.getByRole("status").filter({ hasText: "The channel is restored." }).waitFor();
  await page.keyboard.press("Escape");
  await page.locator("#composer-input:enabled").waitFor();
  await page.getByText("No archived channels").waitFor();
  assert.equal(await row.count(), 1);
});

test("a channel is found by its name and joined, by keyboard only", async (t) => {
  const user = unique("finn");
  const home = await quietChannel(user, unique("home"));
  const name = unique("zebra");
  const channel = await quietChannel(unique("owner"), `${name} crossing`);
  await api(unique("owner"), "POST", "/channels", { name: `${name} secret`, visibility: "private", agent: { mode: "off" } });
  const { page } = await tab(t, user, home);
  const field = searchField(page);
  const join = found(page).getByRole("button", { name: `Join ${name} crossing` });
  const create = found(page).getByRole("button", { name: `Create ${name.toUpperCase()}` });

  await page.keyboard.press("Control+k");
  assert.ok(await hasFocus(field));
  // Names are compared without case.
  await page.keyboard.type(name.toUpperCase());
  await join.waitFor();
  await page.locator("#search-status", { hasText: "1 channel" }).waitFor();
  assert.equal(await found(page).getByRole("button").count(), 2, "a private channel of others is not found");
  await page.keyboard.press("ArrowDown");
  assert.ok(await hasFocus(join));
  await page.keyboard.press("ArrowDown");
  assert.ok(await hasFocus(create));
  await page.keyboard.press("ArrowDown");
  assert.ok(await hasFocus(field));
  await page.keyboard.press("ArrowUp");
  assert.ok(await hasFocus(create));
  await page.keyboard.press("Escape");
  assert.ok(await hasFocus(field));
  assert.equal(await field.inputValue(), "");
  await page.locator("#channels").waitFor();
  assert.equal(await found(page).count(), 0);

  await page.keyboard.type(name);
  await join.waitFor();
  await page.keyboard.press("Enter");
  await heading(page, `${name} crossing`).waitFor();
  await live(page);
  assert.equal(channelOf(page), channel);
  assert.equal((await api(user, "GET", `/channels/${channel}/members/${user}`)).role, "member");
  await link(page, `${name} crossing`).waitFor();
  // It is an own channel from then on.
  await page.keyboard.press("Control+k");
  await page.keyboard.type("CROSSING");
  await found(page).getByRole("button", { name: `Open ${name} crossing` }).waitFor();
});

test("a name that no channel has leads to its creation", async (t) => {
  const { page } = await tab(t, unique("gus"), await quietChannel("gus-owner"));
  const name = unique("nothing");
  await searchField(page).fill(name);
  await page.locator("#search-status", { hasText: `No channel begins with “${name}”` }).waitFor();
  await searchField(page).press("Enter");
  const dialog = page.getByRole("dialog", { name: "Create a channel" });
  await dialog.waitFor();
  assert.equal(await dialog.getByLabel("Name", { exact: true }).inputValue(), name);
  await dialog.getByLabel("Visibility").selectOption("private");
  await dialog.getByLabel("The agent").selectOption("off");
  await dialog.getByRole("button", { name: "Create the channel" }).click();
  await dialog.waitFor({ state: "hidden" });
  await heading(page, name).waitFor();
  await live(page);
  await detail(page, "Private · you are an owner").waitFor();
  assert.equal((await api("stranger", "GET", `/channels?visibility=public&name_prefix=${name}`)).channels.length, 0);
});

test("a name of any script gets a channel", async (t) => {
  const user = unique("poly");
  const { page } = await tab(t, user, await quietChannel(user));
  const tag = unique("").slice(1);
  for (const name of [`日本語${tag}`, `العربية ${tag}`, `नमस्ते ${tag}`, "🎉🏳️‍🌈"]) {
    await page.getByRole("button", { name: "Create a channel" }).click();
    const dialog = page.getByRole("dialog", { name: "Create a channel" });
    await dialog.getByLabel("Name", { exact: true }).fill(name);
    await dialog.getByLabel("Name", { exact: true }).press("Enter");
    await heading(page, name).waitFor();
    await live(page);
    assert.match(channelOf(page), /^[0-9A-Z]{26}$/);
    assert.equal((await api(user, "GET", `/channels/${channelOf(page)}`)).name, name);
    await link(page, name).waitFor();
  }
  await page.reload();
  await live(page);
  await heading(page, "🎉🏳️‍🌈").waitFor();
});

test("a name that no channel may have is refused with the reason", async (t) => {
  const user = unique("bad");
  const { page } = await tab(t, user, await quietChannel(user));
  await page.getByRole("button", { name: "Create a channel" }).click();
  const dialog = page.getByRole("dialog", { name: "Create a channel" });
  const field = dialog.getByLabel("Name", { exact: true });
  const wrong = [
    ["", "1 to 100 characters"],
    ["\u2800", "Must have a visible character."],
    ["🎉".repeat(101), "Must be 1 to 100 characters, is 101."],
    ["safe\u202ecod.exe", "a control of the text direction"],
  ];
  for (const [name, reason] of wrong) {
    await field.fill(name);
    await field.press("Enter");
    await page.locator("#create-name-problem", { hasText: reason }).waitFor();
    assert.equal(await field.getAttribute("aria-invalid"), "true");
    await waitUntil(() => hasFocus(field));
  }
  await field.fill("👍");
  await field.press("Enter");
  await heading(page, "👍").waitFor();
});

test("two users who type the same name in front of the chat meet, in any script", async (t) => {
  const name = `会議 ${unique("").slice(1)}`;
  const enter = async (user, channel) => {
    const context = await browser.newContext({ locale: "en-GB", ...DESKTOP });
    t.after(() => context.close());
    context.setDefaultTimeout(TIMEOUT_MS);
    const page = await context.newPage();
    await page.goto(stack.page);
    await page.getByLabel("Your name").fill(user);
    await page.getByLabel("Channel", { exact: true }).fill(channel);
    await page.getByRole("button", { name: "Join the channel" }).click();
    return page;
  };
  const first = await enter(unique("ayu"), name);
  await heading(first, name).waitFor();
  await live(first);
  const second = await enter(unique("ben"), name);
  await heading(second, name).waitFor();
  await live(second);
  assert.equal(channelOf(second), channelOf(first));
  await say(second, "こんにちは");
  await first.locator(".message .body", { hasText: "こんにちは" }).waitFor();

  const third = await enter(unique("cy"), "\u2800");
  await third.getByRole("alert").filter({ hasText: "must have a visible character" }).waitFor();
});

test("settings that an owner changes are seen by the others, who cannot change them", async (t) => {
  const { name, channel, owner, first, second } = await ownerAndGuest(t);
  const dialog = await settings(first, name);
  const renamed = unique("renamed");
  await dialog.getByLabel("Days until a message expires").fill("0");
  await dialog.getByRole("button", { name: "Save" }).click();
  await first.locator("#settings-retention-problem:not(:empty)").waitFor();
  assert.equal((await api(owner, "GET", `/channels/${channel}`)).version, 1, "a refused change changes nothing");

  await dialog.getByLabel("Days until a message expires").fill("30");
  await dialog.getByLabel("Name", { exact: true }).fill(renamed);
  await dialog.getByLabel("Visibility").selectOption("private");
  await dialog.getByLabel("The agent", { exact: true }).selectOption("mention");
  await dialog.getByLabel("Instructions for the agent").fill("Answer in one sentence.");
  await dialog.getByLabel("Read receipts").check();
  await dialog.getByRole("button", { name: "Save" }).click();
  const saved = first.getByRole("dialog", { name: `Settings of ${renamed}` });
  await saved.getByRole("status").filter({ hasText: "Saved." }).waitFor();
  assert.equal(await first.locator("#settings-retention-problem").textContent(), "");
  const stored = await api(owner, "GET", `/channels/${channel}`);
  assert.deepEqual(
    [stored.name, stored.visibility, stored.agent.mode, stored.agent.instructions, stored.read_receipts, stored.retention_days],
    [renamed, "private", "mention", "Answer in one sentence.", true, 30],
  );
  await saved.getByRole("button", { name: "Save" }).click();
  await saved.getByRole("status").filter({ hasText: "Nothing has changed." }).waitFor();

  await heading(second, renamed).waitFor();
  await detail(second, "Private · the agent answers when mentioned").waitFor();
  const shown = await settings(second, renamed);
  await shown.getByText("You are a member. Only owners change the settings.").waitFor();
  for (const label of ["Name", "Visibility", "The agent"]) assert.equal(await shown.getByLabel(label, { exact: true }).isDisabled(), true, label);
  assert.equal(await shown.getByLabel("Instructions for the agent").inputValue(), "Answer in one sentence.");
  for (const button of ["Save", "Archive the channel", "Delete the channel"]) assert.equal(await shown.getByRole("button", { name: button }).isDisabled(), true, button);
  assert.equal(await shown.getByRole("button", { name: "Leave the channel" }).isDisabled(), false);

  // A change of the other owner comes into the open form, and leaves the typed text alone.
  await saved.getByLabel("Name", { exact: true }).fill("unsaved");
  await api(owner, "PATCH", `/channels/${channel}`, { agent: { instructions: "Be brief." } });
  await waitUntil(async () => (await saved.getByLabel("Instructions for the agent").inputValue()) === "Be brief.");
  assert.equal(await saved.getByLabel("Name", { exact: true }).inputValue(), "unsaved");
});

test("an archived channel is read-only for all, until its owner restores it", async (t) => {
  const { name, first, second } = await ownerAndGuest(t);
  const dialog = await settings(first, name);
  await dialog.getByRole("button", { name: "Archive the channel" }).click();
  await dialog.getByRole("status").filter({ hasText: "The channel is archived." }).waitFor();
  await second.locator("#composer-input:disabled").waitFor();
  await detail(second, "archived").waitFor();
  const shown = await settings(second, name);
  await shown.getByText("This channel is archived. Only owners restore it.").waitFor();
  await dialog.getByRole("button", { name: "Restore the channel" }).click();
  await second.locator("#composer-input:enabled").waitFor();
});

test("a channel is deleted only by typing its name", async (t) => {
  const owner = unique("owner");
  const [here, name] = [unique("here"), unique("doomed")];
  await quietChannel(owner, here);
  const channel = await quietChannel(owner, name);
  const { page } = await tab(t, owner, channel);
  const dialog = await settings(page, name);
  const button = dialog.getByRole("button", { name: "Delete the channel" });
  const field = dialog.getByLabel(`To delete the channel and its messages, type ${name}`);
  assert.equal(await button.isDisabled(), true);
  await field.fill(name.slice(0, -1));
  assert.equal(await button.isDisabled(), true);
  await field.press("Enter");
  assert.equal((await api(owner, "GET", `/channels/${channel}`)).name, name);
  await field.fill(name);
  await button.click();
  await heading(page, here).waitFor();
  await live(page);
  await link(page, name).waitFor({ state: "detached" });
  assert.equal(await page.getByRole("dialog").count(), 0);
  assert.equal(await page.locator(".toast").count(), 0, "the own deletion needs no message");
});

test("a member leaves, and the last owner is told why not", async (t) => {
  const { name, channel, owner, guest, first, second } = await ownerAndGuest(t);
  const refused = await settings(first, name);
  await refused.getByRole("button", { name: "Leave the channel" }).click();
  await refused.getByRole("alert").filter({ hasText: "Make another member an owner first." }).waitFor();
  assert.equal((await api(owner, "GET", `/channels/${channel}/members/${owner}`)).role, "owner");

  const home = unique("home");
  await quietChannel(guest, home);
  await second.reload();
  await live(second);
  const dialog = await settings(second, name);
  await dialog.getByText("You can join again.").waitFor();
  await dialog.getByRole("button", { name: "Leave the channel" }).click();
  await heading(second, home).waitFor();
  await link(second, name).waitFor({ state: "detached" });
  assert.deepEqual((await api(owner, "GET", `/channels/${channel}/members`)).members.map(({ user_id: id }) => id), [owner]);
  assert.equal(await second.locator(".toast").count(), 0);
});

test("a private channel is left only with a second press", async (t) => {
  const user = unique("eve");
  const [home, secret] = [unique("home"), unique("secret")];
  await quietChannel(user, home);
  const owner = unique("owner");
  const { channel_id: channel } = await api(owner, "POST", "/channels", { name: secret, visibility: "private", agent: { mode: "off" } });
  await api(owner, "PUT", `/channels/${channel}/members/${user}`);
  const { page } = await tab(t, user, channel);
  const dialog = await settings(page, secret);
  await dialog.getByText("Only a moderator or an owner can add you again.").waitFor();
  await dialog.getByRole("button", { name: "Leave the channel" }).click();
  await dialog.getByRole("button", { name: "Leave for good?" }).waitFor();
  assert.equal((await api(user, "GET", `/channels/${channel}`)).name, secret);
  await dialog.getByRole("button", { name: "Leave for good?" }).click();
  await heading(page, home).waitFor();
});

test("members have roles, which an owner changes and the others see", async (t) => {
  const { name, owner, guest, first, second } = await ownerAndGuest(t);
  const dialog = await members(first, name);
  const row = (user) => dialog.getByRole("listitem").filter({ hasText: user });
  await row(guest).waitFor();
  assert.match(await dialog.getByRole("listitem").first().innerText(), new RegExp(owner), "owners come first");
  await row(guest).getByText("here", { exact: true }).waitFor();
  const role = (user) => dialog.getByRole("combobox", { name: `Role of ${user}` });
  await role(guest).selectOption("moderator");
  await dialog.getByRole("status").filter({ hasText: `${guest} is a moderator.` }).waitFor();
  await detail(second, "you are a moderator").waitFor();

  // The last owner stays one, and the list shows the role that stayed.
  await role(owner).selectOption("member");
  await dialog.getByRole("alert").filter({ hasText: "Make another member an owner first." }).waitFor();
  await waitUntil(async () => (await role(owner).inputValue()) === "owner");
  assert.equal(await dialog.getByRole("button", { name: `Remove ${owner}` }).count(), 0);

  // A moderator adds and removes members, and assigns no roles.
  const shown = await members(second, name);
  await shown.getByRole("button", { name: `Remove ${owner}` }).waitFor({ state: "detached" });
  assert.equal(await shown.getByRole("combobox").count(), 0);
  const added = unique("carol");
  await shown.getByLabel("Id of a user").fill("no such id!");
  await shown.getByRole("button", { name: "Add", exact: true }).click();
  await second.locator("#members-user-problem:not(:empty)").waitFor();
  await shown.getByLabel("Id of a user").fill(added);
  await shown.getByRole("button", { name: "Add", exact: true }).click();
  await shown.getByRole("status").filter({ hasText: `${added} is in this channel as a member.` }).waitFor();
  await row(added).getByText("away", { exact: true }).waitFor();
  await shown.getByRole("button", { name: `Remove ${added}` }).click();
  await shown.getByRole("status").filter({ hasText: `${added} is removed.` }).waitFor();
  await row(added).waitFor({ state: "detached" });

  // A second owner makes the first one free to go.
  await role(guest).selectOption("owner");
  await dialog.getByRole("status").filter({ hasText: `${guest} is an owner.` }).waitFor();
  await role(owner).selectOption("member");
  await dialog.getByText("You are a member. Moderators and owners add users.").waitFor();
  assert.equal(await dialog.getByRole("combobox").count(), 0);
});

test("present users appear in the header and go", async (t) => {
  const owner = unique("owner");
  const channel = await quietChannel(owner);
  const { page } = await tab(t, owner, channel);
  const here = (text) => page.getByRole("button", { name: text, exact: true });
  await rounds(async () => {
    // A frame that was lost in an earlier round leaves no trace after a reload.
    await page.reload();
    await live(page);
    await here("Only you are here").waitFor();
    const guest = unique("guest");
    const { context } = await tab(t, guest, channel);
    const hasCome = await comes(here("2 people are here"));
    if (hasCome) {
      await here("2 people are here").click();
      const list = page.getByRole("region", { name: "Present users" });
      await list.getByText(guest, { exact: true }).waitFor();
      await list.getByText(`${owner} (you)`).waitFor();
      await page.keyboard.press("Escape");
      await list.waitFor({ state: "hidden" });
      assert.ok(await hasFocus(page.locator("#presence-open")));
    }
    await context.close();
    return hasCome && comes(here("Only you are here"));
  });
});

test("dialogs take the focus and give it back, and nothing moves for readers who want it calm", async (t) => {
  const { page } = await tab(t, unique("key"), await quietChannel("key-owner"), { ...DESKTOP, reducedMotion: "reduce" });
  const opener = page.getByRole("button", { name: "Create a channel" });
  await opener.focus();
  await page.keyboard.press("Enter");
  const dialog = page.getByRole("dialog", { name: "Create a channel" });
  await dialog.waitFor();
  assert.ok(await hasFocus(dialog.getByLabel("Name", { exact: true })));
  assert.ok(Number.parseFloat(await dialog.evaluate((element) => getComputedStyle(element).animationDuration)) < 0.001);
  // The shortcut of the search does not leave the dialog.
  await page.keyboard.press("Control+k");
  assert.ok(await hasFocus(dialog.getByLabel("Name", { exact: true })));
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "hidden" });
  assert.ok(await hasFocus(opener));
  for (const [role, name] of [["navigation", "Channels"], ["search", "Channels"]]) assert.equal(await page.getByRole(role, { name }).count(), 1, role);
  assert.equal(await page.getByRole("main").count(), 1);
});

test("search, members and settings fit a phone, in the dark", async (t) => {
  const owner = unique("ada");
  const name = unique("garden");
  const other = await quietChannel(owner, unique("other"));
  const { page } = await tab(t, owner, await quietChannel(owner, name), { ...PHONE, colorScheme: "dark" });
  const fits = async (root) => {
    const sides = await root.evaluate((element) => [element, ...element.querySelectorAll("*")].map((one) => one.getBoundingClientRect()).filter(({ width }) => width > 0).flatMap(({ left, right }) => [left, right]));
    assert.ok(Math.min(...sides) >= -1 && Math.max(...sides) <= PHONE.viewport.width + 1, `${Math.min(...sides)} to ${Math.max(...sides)}`);
    const [red, green, blue] = await root.evaluate((element) => getComputedStyle(element).backgroundColor.match(/\d+/g).map(Number));
    assert.ok(Math.max(red, green, blue) < 64, "the dark theme is dark");
  };
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), PHONE.viewport.width);
  const dialog = await settings(page, name);
  await fits(dialog);
  await dialog.getByRole("button", { name: "Close the settings" }).tap();
  const list = await members(page, name);
  await list.getByRole("listitem").first().waitFor();
  await fits(list);
  await list.getByRole("button", { name: "Close the list of members" }).tap();

  await post("bob", other, { content: "hello" });
  await page.locator("#elsewhere").waitFor();
  await page.getByRole("button", { name: "Show the list of channels" }).tap();
  await searchField(page).fill(name);
  await found(page).getByRole("button", { name: `Open ${name}` }).tap();
  await page.getByRole("navigation", { name: "Channels" }).waitFor({ state: "hidden" });
  await heading(page, name).waitFor();
});
