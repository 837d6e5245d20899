// The form in front of the chat.

import { channelId as idOf, isId, slug } from "./identity.js";
import { $, DEFAULT_CHANNEL } from "./page.js";
import { reason } from "./problem.js";
import { storage } from "./theme.js";

const LAST_USER = "switchboard.user";

/**
 * Asks for a name and a channel. Calls `join` with the name, the channel's id and its name; the id is empty if none can be
 * derived from the name. `complaint` says why the address is not enough.
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
  $("welcome-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const name = $("welcome-user").value.trim();
    const channelName = $("welcome-channel").value.trim();
    const channelId = channelName ? idOf(channelName) : DEFAULT_CHANNEL;
    if (!isId(name)) {
      const nearest = slug(name);
      return complain(nearest ? `A name has only letters, digits and _ . : - (how about “${nearest}”?)` : "Please enter a name.", $("welcome-user"));
    }
    storage.set(LAST_USER, name);
    $("welcome-submit").disabled = true;
    try {
      await join(name, channelId, channelName || DEFAULT_CHANNEL);
    } catch (error) {
      complain(`${error.errors?.length ? "That name is not possible. " : ""}${reason(error)}`, $("welcome-channel"));
    } finally {
      $("welcome-submit").disabled = false;
    }
  });
}
