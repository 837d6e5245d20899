// The form in front of the chat.

import { isId, slug } from "./identity.js";
import { $, DEFAULT_CHANNEL } from "./page.js";
import { storage } from "./theme.js";

const LAST_USER = "switchboard.user";

/**
 * Asks for a name and a channel. Calls `join` with the name, the channel's id and its name. `complaint` says why the
 * address is not enough.
 */
export function welcome({ user, channel }, complaint, join) {
  $("welcome").hidden = false;
  $("welcome-user").value = user || storage.get(LAST_USER) || "";
  $("welcome-channel").value = channel === DEFAULT_CHANNEL ? "" : channel;
  const complain = (text, field) => {
    $("welcome-error").textContent = text;
    field.setAttribute("aria-invalid", "true");
    field.focus();
  };
  $("welcome-user").focus();
  if (complaint) complain(complaint, $("welcome-user"));
  $("welcome-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const name = $("welcome-user").value.trim();
    const channelName = $("welcome-channel").value.trim();
    const channelId = channelName ? slug(channelName) : DEFAULT_CHANNEL;
    if (!isId(name)) {
      const nearest = slug(name);
      return complain(nearest ? `A name has only letters, digits and _ . : - (how about “${nearest}”?)` : "Please enter a name.", $("welcome-user"));
    }
    if (!channelId) return complain("A channel needs a letter or a digit in its name.", $("welcome-channel"));
    storage.set(LAST_USER, name);
    join(name, channelId, channelName || DEFAULT_CHANNEL);
  });
}
