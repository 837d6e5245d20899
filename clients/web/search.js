// The search field of the sidebar, and its results. Arrow keys move through them.

import { el, icon, reconcile } from "./dom.js";
import { Finder, resultText } from "./finder.js";
import { $ } from "./page.js";

/** Runs an action later. Returns its cancel. */
function after(delay, action) {
  const timer = setTimeout(action, delay);
  return () => clearTimeout(timer);
}

export class Search {
  #finder;
  #onOpen;
  #onCreate;

  /**
   * `onOpen` gets the id of a channel and `{ name }`; the user may not be a member yet. `onCreate` gets a name for which the
   * user wants a channel. `show` makes the field visible.
   */
  constructor({ directory, onOpen, onCreate, show }) {
    this.#onOpen = onOpen;
    this.#onCreate = onCreate;
    this.#finder = new Finder({
      own: () => directory.entries,
      search: (text, options) => directory.search(text, options),
      onChange: () => this.refresh(),
      after,
    });
    const input = $("search-input");
    input.addEventListener("input", () => this.#finder.type(input.value));
    $("search").addEventListener("submit", (event) => event.preventDefault());
    for (const part of [$("search"), $("search-results")]) part.addEventListener("keydown", (event) => this.#press(event));
    document.addEventListener("keydown", (event) => {
      if (event.key.toLowerCase() !== "k" || !(event.ctrlKey || event.metaKey) || event.shiftKey || event.altKey) return;
      if (document.querySelector("dialog[open]")) return;
      event.preventDefault();
      show();
      input.focus();
      input.select();
    });
    $("search-keys").textContent = /mac|iphone|ipad/i.test(navigator.platform) ? "⌘ K" : "Ctrl K";
  }

  /** Shows the results. */
  refresh() {
    const { result } = this.#finder;
    const { text, rows, isSearching } = result;
    $("search-results").hidden = !text;
    $("lists").hidden = Boolean(text);
    reconcile($("search-results"), text ? [...rows.map((row) => this.#row(row)), this.#creation(text)] : []);
    $("search-results").setAttribute("aria-busy", String(isSearching));
    $("search-status").textContent = resultText(result);
  }

  /** Ends the search. */
  clear() {
    $("search-input").value = "";
    this.#finder.type("");
  }

  #press(event) {
    // An input method handles the keys of a composition. Safari tells its last Enter by the code only.
    if (event.isComposing || event.keyCode === 229) return;
    const stops = [$("search-input"), ...$("search-results").querySelectorAll("button")];
    const at = stops.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1 }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      stops[(to + stops.length) % stops.length].focus();
    } else if (event.key === "Enter" && at === 0) {
      event.preventDefault();
      stops[1]?.click();
    } else if (event.key === "Escape" && $("search-input").value) {
      event.stopPropagation();
      this.clear();
      $("search-input").focus();
    }
  }

  #row({ channel, isOwn }) {
    const { channel_id: id, name, visibility, archived_at: archived } = channel;
    const state = archived ? "archived" : isOwn ? "" : "Join";
    return {
      key: id,
      version: [name, visibility, state].join("|"),
      render: () =>
        el(
          "li",
          {},
          el(
            "button",
            {
              class: "channel-link",
              type: "button",
              "aria-label": isOwn ? `Open ${name}${archived ? ", archived" : ""}${visibility === "private" ? ", private" : ""}` : `Join ${name}`,
              onclick: () => {
                this.clear();
                this.#onOpen(id, { name });
              },
            },
            icon(visibility === "private" ? "lock" : "search"),
            el("span", { class: "channel-label" }, el("span", { dir: "auto", text: name })),
            state ? el("span", { class: "tag", text: state }) : null,
          ),
        ),
    };
  }

  /** Returns the last row, which creates a channel with the typed name. */
  #creation(text) {
    return {
      // No id has this character.
      key: "+",
      version: text,
      render: () =>
        el(
          "li",
          {},
          el(
            "button",
            {
              class: "channel-link",
              type: "button",
              onclick: () => {
                this.clear();
                this.#onCreate(text);
              },
            },
            icon("plus"),
            el("span", { class: "channel-label" }, el("span", {}, "Create ", el("b", { dir: "auto", text }))),
          ),
        ),
    };
  }
}
