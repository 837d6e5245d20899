// Tests of invitations on the page: a local run in which moderators invite users, and do not add them.
//
//   BIN_DIR          where the runner and the functions are (`target/debug`)
//   CHROMIUM_PATH    the browser (default /usr/bin/chromium)

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startLocalRun } from "./local-run.mjs";

let run;
/** The functions of `browser.mjs`, for this run. */
let tools;

before(async () => {
  run = await startLocalRun(process.env.BIN_DIR, null, { MemberAdditions: "nobody" });
  process.env.READY_FILE = run.readyFile;
  tools = await import("./browser.mjs");
  await tools.start();
});

after(async () => {
  await tools?.stop();
  await run?.stop();
});

const heading = (page, name) => page.getByRole("heading", { level: 1, name, exact: true });
/** Shows the page to its user, as a change of windows does. */
const look = (page) => page.evaluate(() => dispatchEvent(new Event("focus")));

/** Creates a private channel. Returns its id. */
async function secret(owner, name) {
  const { channel_id: id } = await tools.api(owner, "POST", "/channels", { name, visibility: "private", agent: { mode: "off" } });
  return id;
}

test("an invited user accepts, and both see it", async (t) => {
  const { api, live, quietChannel, say, tab, unique } = tools;
  const [alice, bob, name] = [unique("alice"), unique("bob"), unique("秘密")];
  const channel = await secret(alice, name);
  const owner = await tab(t, alice, channel);
  const guest = await tab(t, bob, await quietChannel(bob));
  await owner.page.locator("#presence-open").click();
  await owner.page.getByRole("button", { name: "All members" }).click();
  const dialog = owner.page.getByRole("dialog", { name: `Members of ${name}` });
  await dialog.getByRole("listitem").first().waitFor();
  await dialog.getByLabel("Id of a user").fill(bob);
  await dialog.getByLabel("Role", { exact: true }).selectOption("moderator");
  await dialog.getByRole("button", { name: "Invite" }).click();
  await dialog.getByRole("status").filter({ hasText: `${bob} is invited as a moderator, and becomes a member by accepting.` }).waitFor();
  assert.equal(await dialog.getByRole("listitem").count(), 1, "an invited user is no member");

  const { page } = guest;
  await look(page);
  const section = page.getByRole("region", { name: "Invitations" });
  await section.getByText(`from ${alice}, as a moderator`).waitFor();
  await section.getByRole("button", { name: `Accept the invitation to ${name}` }).click();
  await heading(page, name).waitFor();
  await live(page);
  await section.waitFor({ state: "hidden" });
  await page.locator("#channel-detail", { hasText: "you are a moderator" }).waitFor();
  await dialog.getByRole("listitem").filter({ hasText: bob }).waitFor();
  await owner.page.keyboard.press("Escape");
  await say(owner.page, "welcome");
  await page.locator(".message .body", { hasText: "welcome" }).waitFor();
  assert.equal((await api(alice, "GET", `/channels/${channel}/members/${bob}`)).role, "moderator");
});

test("an invitation is declined by keyboard, and one that was withdrawn vanishes", async (t) => {
  const { api, quietChannel, tab, unique } = tools;
  const [alice, carol] = [unique("alice"), unique("carol")];
  const names = [unique("first"), unique("second")];
  const channels = [await secret(alice, names[0]), await secret(alice, names[1])];
  for (const channel of channels) await api(alice, "PUT", `/channels/${channel}/members/${carol}`);
  const home = unique("home");
  const { page } = await tab(t, carol, await quietChannel(carol, home));
  const section = page.getByRole("region", { name: "Invitations" });
  await section.getByRole("listitem").nth(1).waitFor();
  await page.getByRole("status").filter({ hasText: "2 invitations" }).waitFor({ state: "attached" });

  await section.getByRole("button", { name: `Decline the invitation to ${names[0]}` }).focus();
  await page.keyboard.press("Enter");
  await section.getByText(names[0]).waitFor({ state: "detached" });
  assert.deepEqual((await api(carol, "GET", "/invitations")).invitations.map(({ name }) => name), [names[1]]);

  await api(alice, "DELETE", `/channels/${channels[1]}/members/${carol}`);
  await section.getByRole("button", { name: `Accept the invitation to ${names[1]}` }).click();
  await section.waitFor({ state: "hidden" });
  await heading(page, home).waitFor();
  assert.equal(await page.getByRole("navigation", { name: "Channels" }).getByRole("button", { name: names[1] }).count(), 0);
});

test("a narrow screen shows that there is an invitation", async (t) => {
  const { PHONE, api, quietChannel, tab, unique } = tools;
  const [alice, dan, name] = [unique("alice"), unique("dan"), unique("garden")];
  const channel = await secret(alice, name);
  const { page } = await tab(t, dan, await quietChannel(dan), PHONE);
  assert.equal(await page.locator("#elsewhere").isVisible(), false);
  await api(alice, "PUT", `/channels/${channel}/members/${dan}`);
  await look(page);
  await page.locator("#elsewhere").waitFor();
  await page.getByRole("button", { name: "Show the list of channels" }).tap();
  await page.getByRole("button", { name: `Accept the invitation to ${name}` }).tap();
  await heading(page, name).waitFor();
});
