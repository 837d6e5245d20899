// Tests of examples/agent: its model, its page in a browser, and a local run that calls the model.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, test } from "node:test";
import { answerTo, questionOf, sectionsOf } from "../../examples/agent/model.mjs";
import { request } from "../../clients/web/test/api.mjs";
import { browser, file, localRun, program, visit, vite } from "./stand.mjs";

const sections = sectionsOf(await readFile(file("examples/agent/knowledge.md"), "utf8"));
const model = program(after, process.execPath, [file("examples/agent/model.mjs")], { env: { PORT: "0" } });
const [, modelUrl] = await model.prints(/^The model is at (\S+)$/m);
const { addresses } = await localRun(after, { modelUrl });
const url = await vite(after, "agent", addresses);
const started = await browser(after);

const textOf = (name) => sections.find(({ heading }) => heading === name).text;

test("the model finds the section of a question", () => {
  for (const [question, heading] of [
    ["When are you open?", "Opening hours"],
    ["Can a flat tire be REPAIRED?", "Repairs"],
    ["I want to return my bicycle", "Returns"],
    ["How long does delivery take?", "Delivery"],
  ]) {
    assert.equal(answerTo(question, sections), textOf(heading), question);
  }
  assert.match(answerTo("Why?", sections), /^I do not know\. Ask me about: opening hours, repairs/);
});

test("the model reads the last line of the last turn of users", () => {
  const turn = ["One?", "Two?"].map((text) => JSON.stringify({ from: "alice", text })).join("\n");
  const messages = [{ role: "system", content: "" }, { role: "user", content: turn }, { role: "assistant", content: "Yes" }];
  assert.equal(questionOf({ messages }), "Two?");
});

test("the page shows the model's reply, also after a reload", async (t) => {
  const page = await visit(t, started, url);
  await page.getByLabel("Your name").fill("alice");
  await page.getByRole("button", { name: "Enter" }).click();
  await page.getByLabel("Message").fill("When are you open?");
  await page.getByRole("button", { name: "Send" }).click();
  const reply = page.locator('li[data-role="assistant"]');
  const whole = textOf("Opening hours");
  await reply.filter({ hasText: whole }).waitFor();
  await page.getByRole("button", { name: "Send" }).waitFor();

  const { messages } = await request(addresses, "alice", "GET", "/channels/agent-of-alice/messages?after=0");
  const [question, stored] = messages;
  assert.deepEqual([question.content, stored.role, stored.content, stored.agent.status], ["When are you open?", "agent", whole, "complete"]);
  await page.reload();
  await reply.filter({ hasText: whole }).waitFor();
  assert.equal(await reply.count(), 1);
});
