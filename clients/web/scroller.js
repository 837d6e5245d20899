// The scroll position of the messages.

import { $, calm } from "./page.js";

/** Maximum distance from the end at which the newest message counts as read. */
const NEAR_END_PX = 80;

export class Scroller {
  /** `true` if the end is in view. Then it stays there when messages arrive. */
  atEnd = true;

  constructor(onScroll) {
    $("scroller").addEventListener("scroll", onScroll, { passive: true });
    new ResizeObserver(() => this.atEnd && this.toEnd()).observe($("scroller"));
  }

  /** Updates `atEnd` from the position. */
  measure() {
    const { scrollHeight, scrollTop, clientHeight } = $("scroller");
    this.atEnd = scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
  }

  /** Calls `change`, and keeps the end in view, or the read position while rows are inserted above it. */
  keep(change) {
    const scroller = $("scroller");
    const stay = this.atEnd;
    const anchor = stay ? null : this.#anchor();
    change();
    if (stay) this.toEnd();
    else if (anchor?.element.isConnected) scroller.scrollTop += anchor.element.offsetTop - anchor.top;
  }

  #anchor() {
    const top = $("scroller").scrollTop;
    const element = [...$("messages").children].find((child) => child.offsetTop + child.offsetHeight > top);
    return element ? { element, top: element.offsetTop } : null;
  }

  toEnd(smooth = false) {
    const scroller = $("scroller");
    scroller.scrollTo({ top: scroller.scrollHeight, behavior: smooth && !calm.matches ? "smooth" : "instant" });
  }

  toUnreadOrEnd() {
    const mark = document.querySelector(".divider.unread");
    if (mark) mark.scrollIntoView({ block: "center" });
    else this.toEnd();
  }
}

/** Scrolls to a message, gives it the focus, and highlights it. */
export function reveal(element) {
  element.focus({ preventScroll: true });
  element.scrollIntoView({ block: "center", behavior: calm.matches ? "auto" : "smooth" });
  element.classList.remove("found");
  requestAnimationFrame(() => element.classList.add("found"));
  element.addEventListener("animationend", () => element.classList.remove("found"), { once: true });
}
