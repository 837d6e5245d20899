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
 * Makes the children of `parent` those of `items` (`{key, version, render}`), in order. Only changed elements are
 * replaced, so that a screen reader announces a new message and not a new list.
 */
export function reconcile(parent, items) {
  const present = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let cursor = parent.firstElementChild;
  for (const { key, version, render } of items) {
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
    if (element === cursor) cursor = cursor.nextElementSibling;
    else parent.insertBefore(element, cursor);
  }
  for (const element of present.values()) element.remove();
}
