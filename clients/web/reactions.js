// Reactions to messages, and the number of replies in a thread. They change in place, below the text of a message.

import { el, icon, reconcile } from "./dom.js";
import { reactors, threadText } from "./format.js";

/**
 * Shows the reactions and the thread of a message in its element. Screen readers do not announce them: the messages are
 * a log, in which only new messages count.
 */
export function extras(element, message, context) {
  const reactions = message.deleted_at ? [] : (message.reactions ?? []);
  // The panel of a thread shows its replies.
  const hasThread = Boolean(message.thread) && context.place === "channel";
  let foot = element.querySelector(".message-foot");
  if (!foot) {
    if (reactions.length === 0 && !hasThread) return;
    foot = footer(message.seq);
    element.append(foot);
  }
  const list = foot.querySelector(".reactions");
  const hadFocus = list.contains(document.activeElement);
  reconcile(list, reactions.map((reaction) => chip(reaction, message, context)));
  // The focus stays in the message if its reaction is gone.
  if (hadFocus && !list.contains(document.activeElement)) element.focus({ preventScroll: true });
  reconcile(foot.querySelector(".thread"), hasThread ? [threadLink(message, context)] : []);
}

const footer = (seq) =>
  el(
    "div",
    { class: "message-foot", "aria-live": "off" },
    el("div", { class: "reactions", role: "group", "aria-label": `Reactions to message ${seq}` }),
    el("div", { class: "thread" }),
  );

function chip(reaction, message, context) {
  const { emoji, count, reacted } = reaction;
  return {
    key: emoji,
    version: "",
    render: () =>
      el(
        "button",
        {
          class: "reaction",
          type: "button",
          onclick: () => context.onReact(message, emoji),
        },
        el("span", { text: emoji }),
        el("span", { class: "reaction-count" }),
      ),
    update: (element) => {
      const names = reactors(reaction, context.userId);
      element.setAttribute("aria-pressed", String(reacted === true));
      element.setAttribute("aria-label", `${emoji} ${count}, ${names}`);
      element.title = names;
      element.querySelector(".reaction-count").textContent = String(count);
    },
  };
}

const threadLink = (message, context) => ({
  key: "thread",
  version: threadText(message.thread),
  render: () =>
    el("button", {
      class: "link-button thread-link",
      type: "button",
      "aria-label": `${threadText(message.thread)}; open the thread of message ${message.seq}`,
      onclick: () => context.onThread(message),
      text: threadText(message.thread),
    }),
});

/** Returns the button that opens the choice of reactions to a message. */
export const reactButton = (message, context) =>
  el(
    "button",
    {
      class: "icon-button small reply react",
      type: "button",
      "aria-label": `React to message ${message.seq} of ${message.sender_id}`,
      "aria-haspopup": "dialog",
      "aria-expanded": "false",
      title: "React",
      onclick: () => context.onPick(message),
    },
    icon("react"),
  );
