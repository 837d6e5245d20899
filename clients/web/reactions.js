// Reactions to messages, and the number of replies in a thread. They change in place, below the text of a message.

import { el, icon, reconcile } from "./dom.js";
import { reactors, threadText } from "./format.js";

/** Emoji that the page offers. */
const OFFERED = ["👍", "❤️", "😂", "🎉", "👀", "✅"];

/**
 * Shows the reactions and the thread of a message in its element. Screen readers do not announce them: the messages are
 * a log, in which only new messages count.
 */
export function extras(element, message, context) {
  const reactions = message.deleted_at ? [] : (message.reactions ?? []);
  let foot = element.querySelector(".message-foot");
  if (!foot) {
    if (reactions.length === 0 && !message.thread) return;
    foot = footer(message.seq);
    element.append(foot);
  }
  const list = foot.querySelector(".reactions");
  const hadFocus = list.contains(document.activeElement);
  reconcile(list, reactions.map((reaction) => chip(reaction, message.seq, context)));
  // The focus stays in the message if its reaction is gone.
  if (hadFocus && !list.contains(document.activeElement)) element.querySelector(".react")?.focus({ preventScroll: true });
  reconcile(foot.querySelector(".thread"), message.thread ? [threadLink(message, context)] : []);
}

const footer = (seq) =>
  el(
    "div",
    { class: "message-foot", "aria-live": "off" },
    el("div", { class: "reactions", role: "group", "aria-label": `Reactions to message ${seq}` }),
    el("div", { class: "thread" }),
  );

function chip(reaction, seq, context) {
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
          onclick: ({ currentTarget }) => context.onReact(seq, emoji, currentTarget.getAttribute("aria-pressed") !== "true"),
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

const threadLink = ({ seq, thread }, context) => ({
  key: "thread",
  version: `${thread.reply_count}|${thread.last_reply_seq}`,
  render: () =>
    el("button", {
      class: "link-button thread-link",
      type: "button",
      "aria-label": `${threadText(thread)} of message ${seq}; show the last one`,
      onclick: () => context.onJump(thread.last_reply_seq),
      text: threadText(thread),
    }),
});

/** Returns the button that opens the choice of reactions to a message. */
export function reactButton(message, context) {
  const button = el(
    "button",
    {
      class: "icon-button small reply react",
      type: "button",
      "aria-label": `React to message ${message.seq} of ${message.sender_id}`,
      "aria-expanded": "false",
      title: "React",
      onclick: () => (button.getAttribute("aria-expanded") === "true" ? closePicker(button) : openPicker(button, message.seq, context)),
    },
    icon("react"),
  );
  return button;
}

function openPicker(button, seq, context) {
  const choose = (emoji) => {
    closePicker(button);
    context.onReact(seq, emoji, true);
  };
  const picker = el(
    "div",
    {
      class: "reaction-picker",
      role: "group",
      "aria-live": "off",
      "aria-label": `Choose a reaction to message ${seq}`,
      onkeydown: (event) => {
        if (event.key !== "Escape") return;
        event.stopPropagation();
        closePicker(button);
      },
    },
    ...OFFERED.map((emoji) => el("button", { type: "button", "aria-label": `React with ${emoji}`, onclick: () => choose(emoji), text: emoji })),
  );
  button.setAttribute("aria-expanded", "true");
  button.closest(".line").after(picker);
  picker.querySelector("button").focus();
  picker.scrollIntoView({ block: "nearest" });
}

function closePicker(button) {
  button.setAttribute("aria-expanded", "false");
  button.closest(".message").querySelector(".reaction-picker")?.remove();
  button.focus();
}
