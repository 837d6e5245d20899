// Tests of the settings of a channel as values of a form.

import assert from "node:assert/strict";
import { test } from "node:test";
import { FIELDS, confirms, patchOf, rebase, valuesOf } from "../settings-values.js";

const channel = { name: "Design", visibility: "public", agent: { mode: "mention", instructions: "Be short." }, read_receipts: false, retention_days: 30 };
const base = valuesOf(channel);

test("a channel becomes the values of a form", () => {
  assert.deepEqual(base, { name: "Design", visibility: "public", mode: "mention", instructions: "Be short.", model: "", receipts: false, retention: "30" });
  assert.deepEqual(Object.keys(FIELDS), Object.keys(base));
  assert.equal(valuesOf({ name: "x", visibility: "private", agent: { mode: "off" }, read_receipts: true }).retention, "");
});

test("a patch has the changed fields only, and null removes one", () => {
  assert.equal(patchOf(base, base), null);
  assert.deepEqual(patchOf(base, { ...base, name: "デザイン" }), { name: "デザイン" });
  assert.deepEqual(patchOf(base, { ...base, visibility: "private", receipts: true }), { visibility: "private", read_receipts: true });
  assert.deepEqual(patchOf(base, { ...base, mode: "off" }), { agent: { mode: "off" } });
  assert.deepEqual(patchOf(base, { ...base, instructions: " ", model: "small" }), { agent: { instructions: null, model: "small" } });
  assert.deepEqual(patchOf(base, { ...base, retention: "" }), { retention_days: null });
  assert.deepEqual(patchOf(base, { ...base, retention: " 7 " }), { retention_days: 7 });
});

test("a wrong number goes to the server as it was typed, which names the fault", () => {
  assert.deepEqual(patchOf(base, { ...base, retention: "soon" }), { retention_days: "soon" });
  assert.deepEqual(patchOf(base, { ...base, retention: "-1" }), { retention_days: "-1" });
  assert.deepEqual(patchOf(base, { ...base, retention: "0" }), { retention_days: 0 });
});

test("changes of others are shown, except where the user has typed", () => {
  const typed = { ...base, name: "Design team" };
  const next = valuesOf({ ...channel, name: "Art", agent: { mode: "off" } });
  const shown = rebase(base, next, typed);
  assert.deepEqual(shown, { ...next, name: "Design team" });
  assert.deepEqual(patchOf(next, shown), { name: "Design team" });
});

test("a deletion is confirmed by the name", () => {
  assert.equal(confirms("Design", "Design"), true);
  assert.equal(confirms(" Design ", "Design"), true);
  assert.equal(confirms("design", "Design"), false);
  assert.equal(confirms("e\u0301quipe", "équipe"), true);
  assert.equal(confirms("", ""), false);
});
