// Requests of tests to a running stack.

import assert from "node:assert/strict";

/** Sends a request as a user to the stack with these addresses. */
export async function request(stack, user, method, path, body) {
  const issued = await fetch(`${stack.page}/token`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ user }),
  });
  const { token } = await issued.json();
  const response = await fetch(`${stack.rest.replace(/\/$/, "")}${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: body && JSON.stringify(body),
  });
  assert.ok(response.ok, `${method} ${path}: ${response.status} ${await response.clone().text()}`);
  return response.status === 204 ? null : response.json();
}

/** Returns the whole history of a channel as a user sees it, in the words of the page: see `displayed`. */
export async function history(stack, user, channel) {
  const messages = [];
  for (let after = 0; ; ) {
    const page = await request(stack, user, "GET", `/channels/${channel}/messages?after=${after}&limit=100`);
    messages.push(...page.messages);
    if (!page.has_more) break;
    after = messages.at(-1).seq;
  }
  return messages.map(({ seq, content, edited_at: edited, deleted_at: deleted, reactions = [] }) => ({
    seq,
    text: deleted ? "This message was deleted." : content,
    isEdited: Boolean(edited) && !deleted,
    reactions: deleted ? [] : reactions.map(({ emoji, count, reacted }) => `${emoji} ${count} ${reacted}`),
  }));
}

/** Returns the messages of a page as it shows them: number, text, whether edited, and reactions with the user's own. */
export const displayed = (page) =>
  page.locator(".message[data-seq]").evaluateAll((all) =>
    all.map((one) => ({
      seq: Number(one.dataset.seq),
      text: one.querySelector(".body").textContent.trim(),
      isEdited: one.querySelector(".edited") !== null,
      reactions: [...one.querySelectorAll(".reaction")].map(
        (chip) => `${chip.firstElementChild.textContent} ${chip.querySelector(".reaction-count").textContent} ${chip.getAttribute("aria-pressed")}`,
      ),
    })),
  );
