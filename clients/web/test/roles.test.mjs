// Tests of roles, presence and reasons, as the page shows them.

import assert from "node:assert/strict";
import { test } from "node:test";
import { reason, reasons } from "../problem.js";
import { byRole, hereFirst, hereText, permissions } from "../roles.js";

const channel = (role, more = {}) => ({ ...(role ? { membership: { role } } : {}), ...more });
const allowed = (given) => Object.entries(permissions(given)).filter(([name, value]) => value === true && name !== "isArchived").map(([name]) => name);

test("each role has its permissions", () => {
  assert.deepEqual(allowed(channel("member")), ["leaves"]);
  assert.deepEqual(allowed(channel("moderator")), ["leaves", "adds"]);
  assert.deepEqual(allowed(channel("owner")), ["edits", "archives", "deletes", "leaves", "adds", "assigns"]);
  assert.deepEqual(allowed(channel(null)), []);
  assert.deepEqual(allowed(undefined), []);
});

test("an archived channel can only be restored, left and deleted", () => {
  const archived = { archived_at: "2026-05-01T12:00:00.000Z" };
  assert.deepEqual(allowed(channel("owner", archived)), ["archives", "deletes", "leaves"]);
  assert.deepEqual(allowed(channel("moderator", archived)), ["leaves"]);
});

test("moderators remove members, and owners remove all others", () => {
  const removed = (role) =>
    ["member", "moderator", "owner"].filter((other) => permissions(channel(role)).removes({ user_id: "bob", role: other }, "alice"));
  assert.deepEqual(removed("member"), []);
  assert.deepEqual(removed("moderator"), ["member"]);
  assert.deepEqual(removed("owner"), ["member", "moderator", "owner"]);
  assert.equal(permissions(channel("owner")).removes({ user_id: "alice", role: "member" }, "alice"), false);
});

test("owners come first, then moderators, each by id", () => {
  const members = [["zoe", "member"], ["bob", "owner"], ["adam", "member"], ["eve", "moderator"], ["al", "owner"]].map(([user_id, role]) => ({ user_id, role }));
  assert.deepEqual(byRole(members).map(({ user_id: id }) => id), ["al", "bob", "eve", "adam", "zoe"]);
  assert.equal(members[0].user_id, "zoe", "the given list is not changed");
});

test("present users are told in words, the reader first", () => {
  assert.equal(hereText([], "ada"), "No user is here");
  assert.equal(hereText(["ada"], "ada"), "Only you are here");
  assert.equal(hereText(["bob"], "ada"), "1 person is here");
  assert.equal(hereText(["ada", "bob"], "ada"), "2 people are here");
  assert.deepEqual(hereFirst(["zoe", "bob", "ada", "eve"], "bob"), ["bob", "ada", "eve", "zoe"]);
});

test("a refusal is told beside its field, or in the words of the page", () => {
  const refused = { errors: [{ field: "name", message: "must have a visible character" }, { field: "agent.model", message: "is not allowed" }, { field: "", message: "must be an object" }] };
  const { fields, rest } = reasons(refused, ["name", "visibility"]);
  assert.deepEqual([...fields], [["name", "Must have a visible character."]]);
  assert.equal(rest, "Agent.model: is not allowed. Must be an object.");
  const twice = reasons({ errors: [{ field: "name", message: "one" }, { field: "name", message: "two" }] }, ["name"]);
  assert.deepEqual([[...twice.fields], twice.rest], [[["name", "One. Two."]], ""]);
  assert.match(reason({ code: "last_owner", detail: "the last owner cannot leave the channel" }), /last one\. Make another member an owner first/);
  assert.equal(reason({ code: "later_code", detail: "wait a minute" }), "Wait a minute.");
  assert.equal(reason(new Error("The server cannot be reached.")), "The server cannot be reached.");
  assert.equal(reason({}), "Something went wrong.");
});
