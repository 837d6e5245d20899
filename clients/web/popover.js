// A box above the page, next to the element that opened it.

/** Distance from the element, and from the edges of the screen, in px. */
const GAP = 6;
const EDGE = 8;

/** The open popover. There is at most one. */
let open = null;

export const isPopoverOpen = () => open !== null;

/**
 * Shows `content` next to an element. `anchor` returns this element; it may be another one after a change of the page. Escape,
 * Tab and a press elsewhere close the popover. The focus returns to its place, or to the anchor if this is gone. Returns a
 * function that closes the popover, or `null` if that of this anchor was open: then it is closed.
 */
export function openPopover(content, anchor) {
  const opener = anchor();
  const { activeElement: before } = document;
  const isSame = open?.opener === opener;
  open?.close(isSame);
  if (isSame || !opener) return null;

  content.classList.add("popover");
  const ends = new AbortController();
  const { signal } = ends;
  const close = (returnsFocus = true) => {
    if (open?.content !== content) return;
    open = null;
    ends.abort();
    const hadFocus = content.contains(document.activeElement) || document.activeElement === document.body;
    content.remove();
    const target = anchor() ?? opener;
    target.setAttribute("aria-expanded", "false");
    const isThere = before !== document.body && before?.isConnected;
    if (returnsFocus && hadFocus) (isThere ? before : target).focus({ preventScroll: true });
  };
  content.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      event.preventDefault();
      // The page's own Escape would close something else too.
      event.stopPropagation();
      close();
    }
    // The browser moves the focus on from the anchor.
    if (event.key === "Tab") close();
  });
  addEventListener(
    "pointerdown",
    ({ target }) => {
      if (!content.contains(target) && !anchor()?.contains(target)) close(false);
    },
    { capture: true, signal },
  );
  const move = () => place(content, anchor() ?? opener);
  addEventListener("scroll", move, { capture: true, passive: true, signal });
  addEventListener("resize", move, { signal });

  open = { content, opener, close };
  document.body.append(content);
  opener.setAttribute("aria-expanded", "true");
  move();
  return close;
}

/** Closes the open popover, if there is one. */
export const closePopover = () => open?.close(false);

function place(content, anchor) {
  if (!anchor.isConnected) return;
  const { top, bottom, right } = anchor.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = content;
  const isBelow = bottom + GAP + height + EDGE <= innerHeight;
  content.style.top = `${isBelow ? bottom + GAP : Math.max(EDGE, top - GAP - height)}px`;
  content.style.left = `${Math.max(EDGE, Math.min(right - width, innerWidth - width - EDGE))}px`;
}
