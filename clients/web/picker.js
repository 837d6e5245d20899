// The choice of an emoji: the most used ones, and a grid with a search by name.

import { el } from "./dom.js";
import { EMOJI, EmojiUse, OFTEN_USED, emojiName, findEmoji } from "./emoji.js";
import { isComposing } from "./message-actions.js";
import { touch } from "./page.js";
import { openPopover } from "./popover.js";
import { storage } from "./theme.js";

/** Number of emoji in a row of the grid; the style sheet has the same. */
const COLUMNS = OFTEN_USED;
const use = new EmojiUse(storage);

/**
 * Opens the choice of a reaction next to an element that `anchor` returns. `own` has the emoji of the user's reactions,
 * which a choice takes back. `onChoose` gets the emoji.
 */
export function openPicker({ anchor, label, own, onChoose }) {
  const search = el("input", {
    class: "picker-search",
    type: "search",
    role: "combobox",
    placeholder: "Search emoji",
    autocomplete: "off",
    spellcheck: "false",
    "aria-label": "Search emoji by name",
    "aria-expanded": "true",
    "aria-controls": "picker-list",
    "aria-autocomplete": "list",
  });
  const list = el("div", { id: "picker-list", class: "picker-list", role: "listbox", "aria-label": "Emoji", tabindex: "-1" });
  const name = el("p", { class: "picker-name", "aria-hidden": "true" });
  const content = el("div", { class: "picker", role: "dialog", "aria-label": label }, search, list, name);
  const close = openPopover(content, anchor);
  if (!close) return;

  let active = 0;
  const options = () => [...list.querySelectorAll("[role=option]")];
  const choose = (emoji) => {
    use.add(emoji);
    close();
    onChoose(emoji);
  };
  const activate = (index) => {
    const all = options();
    active = Math.max(0, Math.min(index, all.length - 1));
    for (const [at, option] of all.entries()) option.toggleAttribute("data-active", at === active);
    const option = all[active];
    for (const element of [search, list]) {
      if (option) element.setAttribute("aria-activedescendant", option.id);
      else element.removeAttribute("aria-activedescendant");
    }
    name.textContent = option?.getAttribute("aria-label") ?? "";
    option?.scrollIntoView({ block: "nearest" });
  };
  const option = (emoji, id) =>
    el("div", {
      id,
      class: "picker-option",
      role: "option",
      "aria-label": emojiName(emoji),
      "aria-selected": String(own.includes(emoji)),
      title: emojiName(emoji),
      text: emoji,
      onclick: () => choose(emoji),
      onpointermove: ({ currentTarget }) => options()[active] !== currentTarget && activate(options().indexOf(currentTarget)),
    });
  const group = (title, emoji) =>
    el(
      "div",
      { class: "picker-group", role: "group", "aria-label": title },
      el("p", { class: "picker-title", "aria-hidden": "true", text: title }),
      ...emoji.map((one, at) => option(one, `picker-${title.replaceAll(" ", "-")}-${at}`)),
    );
  const show = () => {
    const found = findEmoji(search.value).map(({ emoji }) => emoji);
    const isSearch = search.value.trim() !== "";
    list.replaceChildren(...(isSearch ? [group("Found", found)] : [group("Often used", use.most), group("All emoji", EMOJI.map(({ emoji }) => emoji))]));
    if (found.length === 0) list.replaceChildren(el("p", { class: "picker-none", role: "status", text: "No emoji has this name" }));
    activate(0);
  };
  const STEPS = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: COLUMNS, ArrowUp: -COLUMNS };
  content.addEventListener("keydown", (event) => {
    if (isComposing(event)) return;
    if (event.key in STEPS) activate(active + STEPS[event.key]);
    else if (event.key === "Enter") options()[active]?.click();
    else return;
    event.preventDefault();
  });
  search.addEventListener("input", show);
  show();
  // On a phone the keyboard would cover the grid.
  (touch.matches ? list : search).focus();
}
