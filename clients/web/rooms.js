// Channels that are created by their first visit. No DOM.

/** Joins a public channel, and creates it if it does not exist. */
export async function joinOrCreate(channels, channelId, name = channelId) {
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
