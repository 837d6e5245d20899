// Channels that are created by their first visit. No DOM.

import { channelsOf } from "../js/src/channels.js";

/** Joins a public channel, and creates it if it does not exist. */
export async function joinOrCreate(client, channelId, name = channelId) {
  const channels = channelsOf(client);
  try {
    return await channels.join(channelId);
  } catch (error) {
    if (error.code !== "channel_not_found") throw error;
  }
  try {
    return await channels.create({ channel_id: channelId, name, visibility: "public", agent: { mode: "always" } });
  } catch (error) {
    // Another user created it meanwhile.
    if (error.code !== "channel_id_taken") throw error;
    return channels.join(channelId);
  }
}
