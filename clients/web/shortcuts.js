// The keys of the page, and the dialog that lists them.

import { showDialog } from "./dialogs.js";
import { el } from "./dom.js";
import { ACTIONS, isComposing } from "./message-actions.js";
import { $ } from "./page.js";

/** The keys by the place where they work: the keys of each line, and their effect. */
export const SHORTCUTS = [
  {
    place: "In the message field",
    keys: [
      ["Enter", "Send"],
      ["Shift Enter", "New line"],
      ["↑", "Edit your last message, if the field is empty"],
      ["Escape", "Do not reply"],
    ],
  },
  {
    place: "Among the messages",
    keys: [
      ["↑ ↓", "Previous and next message"],
      ["Home End", "First and last message that is loaded"],
      ["Enter", "All actions"],
      ...Object.values(ACTIONS).map(({ key, text }) => [key.length === 1 ? key.toUpperCase() : key, text]),
      ["Escape", "Back to the message field"],
    ],
  },
  {
    place: "While you edit",
    keys: [
      ["Enter", "Save"],
      ["Shift Enter", "New line"],
      ["Escape", "Cancel"],
    ],
  },
  { place: "Everywhere", keys: [["?", "These keys"]] },
];

/** Returns `true` if keys are text at this element. */
const isField = (element) => element instanceof Element && element.matches("input, textarea, select, [contenteditable]");

/** Handles the keys that no element has handled. `onEscape` gets the element at which Escape was pressed. */
export function listenKeys(onEscape) {
  $("keys").addEventListener("click", showShortcuts);
  document.addEventListener("keydown", (event) => {
    // In a dialog, the keys are those of the dialog.
    if (event.defaultPrevented || isComposing(event) || document.querySelector("dialog[open]")) return;
    if (event.key === "?" && !isField(event.target)) showShortcuts();
    if (event.key === "Escape") onEscape(event.target);
  });
}

/** Opens the list of keys. */
const showShortcuts = () =>
  showDialog({
    title: "Keys",
    isWide: true,
    content: SHORTCUTS.map(({ place, keys }) =>
      el(
        "section",
        { "aria-label": place },
        el("h3", { text: place }),
        el("dl", {}, ...keys.flatMap(([key, text]) => [el("dt", {}, ...key.split(" ").map((one) => el("kbd", { text: one }))), el("dd", { text })])),
      ),
    ),
  });
