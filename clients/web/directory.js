// The channels of a user, as the page asks for them. All calls of the client about channels and members are here. No DOM.

/** Maximum number of channels that one search returns. */
const FOUND = 20;
/** Maximum length of a name, and of the searched beginning of one, in characters. */
export const NAME_CHARACTERS = 100;

export class Directory {
  #client;

  constructor(client) {
    this.#client = client;
  }

  /** Channels that are not archived, newest activity first. The same array until the list changes. */
  get entries() {
    return this.#client.channels.entries;
  }

  get(channelId) {
    return this.#client.channels.get(channelId);
  }

  unread(channelId) {
    return this.#client.channels.unread(channelId);
  }

  /** Reads the list of channels. */
  load() {
    return this.#client.loadChannels();
  }

  loadOne(channelId) {
    return this.#client.loadChannel(channelId);
  }

  /** Creates a channel. The server generates its id if `channel_id` is left out. */
  create(channel) {
    return this.#client.createChannel(channel);
  }

  /** Joins a public channel, or accepts an invitation. */
  join(channelId) {
    return this.#client.joinChannel(channelId);
  }

  /** Leaves a channel, or declines an invitation. */
  leave(channelId) {
    return this.#client.leaveChannel(channelId);
  }

  update(channelId, changes) {
    return this.#client.updateChannel(channelId, changes);
  }

  remove(channelId) {
    return this.#client.deleteChannel(channelId);
  }

  members(channelId) {
    return this.#client.members(channelId);
  }

  /** Adds or invites a user, or assigns a role. */
  addMember(channelId, userId, options) {
    return this.#client.addMember(channelId, userId, options);
  }

  removeMember(channelId, userId) {
    return this.#client.removeMember(channelId, userId);
  }

  invitations() {
    return this.#client.invitations();
  }

  /** Returns the archived channels of the user. */
  async archived() {
    const channels = await this.#client.findChannels({ archived: true });
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
