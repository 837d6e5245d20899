// The archived channels of the user, at the end of the sidebar. They are read when their list is opened.

import { reconcile } from "./dom.js";
import { $ } from "./page.js";
import { reason } from "./problem.js";
import { channelRow } from "./view.js";

export class Archived {
  #directory;
  #userId;
  #onOpen;
  #all = [];
  /** The channels that were listed as not archived. */
  #listed = [];
  #active = null;
  #status = "";

  /** `onOpen` gets the id of a channel and `{ name }`. */
  constructor({ directory, userId, onOpen }) {
    this.#directory = directory;
    this.#userId = userId;
    this.#onOpen = onOpen;
    $("archived").addEventListener("toggle", () => $("archived").open && this.load());
  }

  /** Reads the archived channels, if they are shown. */
  async load() {
    if (!$("archived").open) return;
    try {
      this.#all = await this.#directory.archived();
      this.#status = "";
    } catch (error) {
      this.#status = reason(error);
    }
    this.#show();
  }

  /** Follows the list of channels. `active` is the id of the open one. */
  refresh(active) {
    this.#active = active;
    const { entries } = this.#directory;
    if (entries !== this.#listed) {
      const known = new Set(this.#all.map(({ channel_id: id }) => id));
      // A channel that has left the list is gone, or another user has archived it.
      const archived = this.#listed
        .map(({ channel_id: id }) => this.#directory.get(id))
        .filter((channel) => channel?.archived_at && !known.has(channel.channel_id));
      this.#all = [...archived, ...this.#all];
      this.#listed = entries;
    }
    this.#show();
  }

  /** Takes a channel out that has ended for the user. */
  forget(channelId) {
    this.#all = this.#all.filter(({ channel_id: id }) => id !== channelId);
    this.#show();
  }

  #show() {
    // The list of the client is newer, for channels that it holds.
    const channels = this.#all
      .map((channel) => this.#directory.get(channel.channel_id) ?? channel)
      .filter((channel) => channel.archived_at);
    reconcile(
      $("archived-list"),
      channels.map((channel) =>
        channelRow({
          channel,
          active: channel.channel_id === this.#active,
          unread: 0,
          userId: this.#userId,
          onOpen: (id) => this.#onOpen(id, { name: channel.name }),
        }),
      ),
    );
    $("archived-status").textContent = this.#status || (channels.length === 0 ? "No archived channels" : "");
  }
}
