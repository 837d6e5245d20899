// Names, ids and the small picture that goes with them.

import { el, icon } from "./dom.js";

/** Ids of users and channels, as the API takes them: any but `.` and `..`, which a URL's path would lose. */
const ID = /^(?!\.{1,2}$)[A-Za-z0-9_.:-]{1,128}$/;
/** Number of `data-hue` colours in the style sheet. */
const HUES = 8;

export const isId = (text) => ID.test(text);

/** An id from what somebody typed: "Release planning" → "release-planning". Empty when there is no id in it. */
export function slug(text) {
  const id = text
    .trim()
    .normalize("NFKD")
    .replace(/\p{M}/gu, "")
    .replace(/^#/, "")
    .replace(/[^A-Za-z0-9_.:-]+/g, "-")
    .replace(/^-+|-+$/g, "")
    .slice(0, 128);
  return isId(id) ? id : "";
}

/** FNV-1a: the same name has the same colour everywhere. */
export function hue(name) {
  let hash = 0x811c9dc5;
  for (const character of name) hash = Math.imul(hash ^ character.codePointAt(0), 0x01000193);
  return (hash >>> 0) % HUES;
}

/** One or two letters: "ada.lovelace" → "AL". */
export function initials(name) {
  const words = name.split(/[^\p{L}\p{N}]+/u).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words.at(-1)].map((word) => [...word][0]) : [...(words[0] ?? "?")].slice(0, 1);
  return letters.join("").toUpperCase();
}

export function avatar(name, role = "user") {
  const picture = el("span", { class: "avatar", "data-role": role, "data-hue": String(hue(name)), "aria-hidden": "true" });
  if (role === "assistant") picture.append(icon("agent"));
  else picture.textContent = initials(name);
  return picture;
}
