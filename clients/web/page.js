// Parts of the page that several modules use: elements, the kind of screen, the address, and short messages.

import { toast } from "./view.js";

export const DEFAULT_CHANNEL = "lobby";
const TOAST_MS = 8_000;

/** Returns the element of an id. */
export const $ = (id) => document.getElementById(id);

export const narrow = matchMedia("(max-width: 760px)");
export const touch = matchMedia("(hover: none)");
export const calm = matchMedia("(prefers-reduced-motion: reduce)");

/** Shows an error for a few seconds. */
export function showToast(error) {
  const element = toast(error, () => element.remove());
  $("toasts").append(element);
  setTimeout(() => element.remove(), TOAST_MS);
}

/** Returns the user and the channel of the address. */
export function route() {
  const query = new URLSearchParams(location.search);
  return { user: query.get("user") ?? "", channel: query.get("channel") || DEFAULT_CHANNEL };
}

/** Puts the user and the channel into the address; `push` adds an entry to the history. */
export function address({ user, channel }, push) {
  const url = `${location.pathname}?${new URLSearchParams({ user, channel })}`;
  if (url === location.pathname + location.search) return;
  history[push ? "pushState" : "replaceState"](null, "", url);
}
