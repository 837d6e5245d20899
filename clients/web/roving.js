// The focus among messages: one of them is in the order of Tab, and arrows move on from it.

/** Elements of a message at which arrows move to another message, and not within the element. */
const MOVES = ".message, .message button, .message a[href]";

export class Roving {
  #root;
  #onKey;
  #current = null;

  /** `onKey` gets other keys on a message: the event, and the element of the message. */
  constructor(root, onKey) {
    this.#root = root;
    this.#onKey = onKey;
    root.addEventListener("keydown", (event) => this.#key(event));
    root.addEventListener("focusin", ({ target }) => {
      const element = target.closest(".message");
      if (element) this.#set(element);
    });
  }

  /** Keeps one message in the order of Tab after a change: the one with the focus, or the newest. */
  refresh() {
    const { activeElement } = document;
    const focused = this.#root.contains(activeElement) ? activeElement.closest(".message") : null;
    this.#set(focused ?? [...this.#root.children].findLast(isMessage) ?? null);
  }

  /** Moves the focus to a message. */
  focus(element) {
    element?.focus({ preventScroll: true });
    element?.scrollIntoView({ block: "nearest" });
  }

  #set(element) {
    const before = this.#current;
    if (before && before !== element) reach(before, "-1");
    this.#current = element;
    if (element) reach(element, "0");
  }

  #key(event) {
    const { target, key } = event;
    if (event.defaultPrevented || !target.matches(MOVES)) return;
    const element = target.closest(".message");
    const to = this.#target(key, element);
    if (to !== undefined && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      this.focus(to);
    } else if (target === element) {
      this.#onKey(event, element);
    }
  }

  #target(key, element) {
    const all = [...this.#root.children].filter(isMessage);
    const at = all.indexOf(element);
    switch (key) {
      case "ArrowUp":
        return all[Math.max(0, at - 1)];
      case "ArrowDown":
        return all[Math.min(all.length - 1, at + 1)];
      case "Home":
        return all[0];
      case "End":
        return all.at(-1);
      default:
        return undefined;
    }
  }
}

const isMessage = (element) => element.matches(".message");

/** Puts a message and the buttons at its side into the order of Tab, or takes them out of it. */
function reach(element, tabIndex) {
  for (const one of [element, ...element.querySelectorAll(".message-side .icon-button")]) one.setAttribute("tabindex", tabIndex);
}
