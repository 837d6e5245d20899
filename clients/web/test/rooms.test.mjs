// Tests of channels that are created by their first visit.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Directory } from "../directory.js";
import { channelId } from "../identity.js";
import { idOfName, joinOrCreate } from "../rooms.js";

/** Returns a directory whose requests have these outcomes, codes of problems or values, and its requests. */
function directory(...outcomes) {
  const asked = [];
  const request = (name) => async (argument) => {
    asked.push(name);
    asked.last = argument;
    const outcome = outcomes.shift();
    if (typeof outcome === "string") throw Object.assign(new Error(outcome), { code: outcome });
    return outcome;
  };
  return { asked, join: request("join"), create: request("create"), search: request("search") };
}

test("a channel is created only where there is none", async () => {
  const fresh = directory("channel_not_found", "channel_id_taken", { role: "member" });
  assert.equal((await joinOrCreate(fresh, "lobby")).role, "member");
  assert.deepEqual([...fresh.asked], ["join", "create", "join"]);
  await assert.rejects(joinOrCreate(directory("no_such_route"), "lobby"), { code: "no_such_route" });
  await assert.rejects(joinOrCreate(directory("channel_not_found", "too_many_channels"), "lobby"), { code: "too_many_channels" });
});

test("a name without an id leads to the public channel of that name, or to a new one", async () => {
  const listed = { channels: [{ channel_id: "1", name: "日本語会" }, { channel_id: "2", name: "日本語", archived_at: "2026-05-01" }, { channel_id: "3", name: "日本語" }] };
  assert.equal(await idOfName(directory(listed), "日本語"), "3");
  // A name in another width or case is the same name.
  assert.equal(await idOfName(directory({ channels: [{ channel_id: "4", name: "ÉQUIPE Ａ 会" }] }), "équipe A 会"), "4");
  const empty = directory({ channels: [listed.channels[0]] }, { channel_id: "5" });
  assert.equal(await idOfName(empty, "日本語"), "5");
  assert.deepEqual([...empty.asked], ["search", "create"]);
  assert.deepEqual(empty.asked.last, { name: "日本語", visibility: "public", agent: { mode: "always" } });
});

test("an id is derived only from names that it spells", () => {
  const names = { "Release 7": "Release-7", "#Über uns": "Uber-uns", "a.b:c": "a.b:c", "日本語": "", "日本語 team": "", "العربية": "", "🎉 party": "", "!!!": "", "..": "" };
  for (const [name, id] of Object.entries(names)) assert.equal(channelId(name), id, name);
});

test("a search asks for one page of public channels, and for none if no name is as long", async () => {
  const asked = [];
  const client = {
    core: {},
    leftOut: 0,
    on: () => {},
    request: async (...request) => {
      asked.push(request);
      return { channels: [{ channel_id: "a" }], has_more: true };
    },
  };
  const channels = new Directory(client);
  const { signal } = new AbortController();
  assert.deepEqual(await channels.search("日本", { signal }), { channels: [{ channel_id: "a" }], hasMore: true });
  assert.deepEqual(asked, [["GET", "/channels", { query: { visibility: "public", name_prefix: "日本", archived: true, limit: 20 }, signal }]]);
  // A picture is one character, and two units of JavaScript's strings.
  await channels.search("🎉".repeat(100));
  assert.equal(asked.length, 2);
  assert.deepEqual(await channels.search("a".repeat(101)), { channels: [], hasMore: false });
  assert.equal(asked.length, 2);
});
