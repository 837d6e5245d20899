// DOM helpers of the page. Text is only inserted as text nodes.

/** Creates an element with properties (`class`, `text`, `on*`, `data-*`, `aria-*`, …) and children. */
export function el(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "class") element.className = value;
    else if (key === "text") element.textContent = value;
    else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** Creates an icon of `index.html`'s sprite. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/**
 * Makes the children of `parent` those of `items` (`{key, version, render, update}`), in order. Only changed elements are
 * replaced, so that a screen reader announces a new message and not a new list. `update`, if given, changes an element in
 * place. The focus stays where it is, also if its element is moved or replaced.
 */
export function reconcile(parent, items) {
  const focus = focusWithin(parent);
  const present = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let cursor = parent.firstElementChild;
  for (const { key, version, render, update } of items) {
    let element = present.get(key);
    present.delete(key);
    if (!element || element.dataset.version !== version) {
      const fresh = render();
      fresh.dataset.key = key;
      fresh.dataset.version = version;
      if (element) {
        if (cursor === element) cursor = fresh;
        element.replaceWith(fresh);
      }
      element = fresh;
    }
    update?.(element);
    if (element === cursor) cursor = cursor.nextElementSibling;
    else parent.insertBefore(element, cursor);
  }
  for (const element of present.values()) element.remove();
  restore(parent, focus);
}

const FOCUSABLE = "button, a[href], textarea, [tabindex]";

/** Returns the key of the child with the focus, and the position of the focus in it; `null` if the focus is elsewhere. */
function focusWithin(parent) {
  const { activeElement } = document;
  if (!parent.contains(activeElement)) return null;
  const child = [...parent.children].find((one) => one.contains(activeElement));
  return { key: child?.dataset.key, index: [...(child?.querySelectorAll(FOCUSABLE) ?? [])].indexOf(activeElement), activeElement };
}

function restore(parent, focus) {
  if (!focus || parent.contains(document.activeElement)) return;
  const child = [...parent.children].find((one) => one.dataset.key === focus.key);
  const target = focus.activeElement.isConnected ? focus.activeElement : focus.index < 0 ? child : counterpart(child, focus);
  target?.focus({ preventScroll: true });
}

/** Returns the element in a new child that stands for the one with the focus: by its label, or by its position. */
function counterpart(child, { index, activeElement }) {
  const all = [...(child?.querySelectorAll(FOCUSABLE) ?? [])];
  const label = activeElement.getAttribute("aria-label");
  return all.find((one) => label && one.getAttribute("aria-label") === label) ?? all[index] ?? child;
}
