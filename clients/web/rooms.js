// Channels that are created by their first visit. No DOM.

import { folded } from "./finder.js";

/** Settings of a channel that a visit creates. */
const OPEN = { visibility: "public", agent: { mode: "always" } };

/** Joins a public channel, and creates it if it does not exist. */
export async function joinOrCreate(directory, channelId, name = channelId) {
  try {
    return await directory.join(channelId);
  } catch (error) {
    if (error.code !== "channel_not_found") throw error;
  }
  try {
    return await directory.create({ channel_id: channelId, name, ...OPEN });
  } catch (error) {
    // Another user created it meanwhile.
    if (error.code !== "channel_id_taken") throw error;
    return directory.join(channelId);
  }
}

/**
 * Returns the id of the public channel with a name from which no id can be derived. Creates the channel if there is none;
 * the server generates its id.
 */
export async function idOfName(directory, name) {
  const { channels } = await directory.search(name);
  const same = channels.find((channel) => !channel.archived_at && folded(channel.name) === folded(name));
  return (same ?? (await directory.create({ name, ...OPEN }))).channel_id;
}
