// The channels of a user, as the page asks for them. No DOM.

import { Channels } from "../js/src/channels.js";

/** Maximum number of channels that one search returns. */
const FOUND = 20;
/** Maximum length of a name, and of the searched beginning of one, in characters. */
export const NAME_CHARACTERS = 100;

export class Directory extends Channels {
  #client;

  constructor(client) {
    super(client);
    this.#client = client;
  }

  /** Returns the archived channels of the user. */
  async archived() {
    const channels = await this.find({ archived: true });
    return channels.filter(({ archived_at: archived }) => archived);
  }

  /**
   * Returns the first page of the public channels whose names begin with a text, and whether there are more. Archived
   * ones are among them.
   */
  async search(text, options) {
    // No name is longer.
    if ([...text].length > NAME_CHARACTERS) return { channels: [], hasMore: false };
    const query = { visibility: "public", name_prefix: text, archived: true, limit: FOUND };
    const { channels = [], has_more: hasMore = false } = await this.#client.request("GET", "/channels", { query, ...options });
    return { channels, hasMore };
  }
}
