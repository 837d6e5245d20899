// The menu of a message.

import { el, icon } from "./dom.js";
import { ACTIONS } from "./message-actions.js";
import { openPopover } from "./popover.js";

/** Returns the button that opens the menu of a message. */
export const menuButton = (message, context) =>
  el(
    "button",
    {
      class: "icon-button small reply more",
      type: "button",
      "aria-label": `Actions for message ${message.seq} of ${message.sender_id}`,
      "aria-haspopup": "menu",
      "aria-expanded": "false",
      title: "More",
      onclick: () => context.onMenu(message),
    },
    icon("more"),
  );

/** Opens a menu of `names` of actions next to the element that `anchor` returns. `onChoose` gets the name of the action. */
export function openMenu({ anchor, label, names, onChoose }) {
  const content = el(
    "div",
    { class: "menu", role: "menu", "aria-label": label },
    ...names.map((name) => {
      const { text, key, isDangerous } = ACTIONS[name];
      return el(
        "button",
        {
          type: "button",
          role: "menuitem",
          tabindex: "-1",
          "data-danger": isDangerous,
          "aria-keyshortcuts": key,
          onclick: () => {
            close();
            onChoose(name);
          },
        },
        el("span", { text }),
        el("kbd", { "aria-hidden": "true", text: key.length === 1 ? key.toUpperCase() : key }),
      );
    }),
  );
  const close = openPopover(content, anchor);
  if (!close) return;
  const items = [...content.children];
  content.addEventListener("keydown", (event) => {
    const at = items.indexOf(document.activeElement);
    const to = { ArrowDown: (at + 1) % items.length, ArrowUp: (at - 1 + items.length) % items.length, Home: 0, End: items.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    items[to].focus();
  });
  items[0]?.focus();
}
