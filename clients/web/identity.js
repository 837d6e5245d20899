// Names, ids and avatars.

import { el, icon } from "./dom.js";

/** Pattern of user and channel ids in the API, without `.` and `..`, which a URL's path would drop. */
const ID = /^(?!\.{1,2}$)[A-Za-z0-9_.:-]{1,128}$/;
/** Number of `data-hue` colours in the style sheet. */
const HUES = 8;

export const isId = (text) => ID.test(text);

/** Derives an id from typed text: "Release planning" → "release-planning". Empty if the text contains no id. */
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

/** Derives the id of a channel from its name. Empty if the id would lack a letter or a picture of the name. */
export function channelId(name) {
  const bare = name.normalize("NFKD").replace(/[\p{M}\p{P}\p{Z}]/gu, "");
  return /^[\x21-\x7e]*$/.test(bare) ? slug(name) : "";
}

/** Hashes a name with FNV-1a, so that it has the same colour everywhere. */
export function hue(name) {
  let hash = 0x811c9dc5;
  for (const character of name) hash = Math.imul(hash ^ character.codePointAt(0), 0x01000193);
  return (hash >>> 0) % HUES;
}

/** Returns one or two letters: "ada.lovelace" → "AL". */
export function initials(name) {
  const words = name.split(/[^\p{L}\p{N}]+/u).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words.at(-1)].map((word) => [...word][0]) : [...(words[0] ?? "?")].slice(0, 1);
  return letters.join("").toUpperCase();
}

export function avatar(name, role = "user") {
  const picture = el("span", { class: "avatar", "data-role": role, "data-hue": String(hue(name)), "aria-hidden": "true" });
  if (role === "agent") picture.append(icon("agent"));
  else picture.textContent = initials(name);
  return picture;
}
