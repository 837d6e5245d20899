// The one place from which the hooks take the list of channels.

/** @import { SwitchboardClient } from "../src/client.js" */
/** @import { Abortable } from "../src/types.js" */

/** Returns the channels of a client's user. @param {SwitchboardClient} client */
export const channelsOf = (client) => ({
  get entries() {
    return client.channels.entries;
  },
  unread: (/** @type {string} */ id) => client.channels.unread(id),
  markRead: (/** @type {string} */ id, /** @type {number} */ seq) => client.channel(id).markRead(seq),
  load: (/** @type {Abortable} */ options) => client.loadChannels(options),
});
