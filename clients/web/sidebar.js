// The list of channels. On a narrow screen it covers the messages while it is open.

import { reconcile } from "./dom.js";
import { leftOutText } from "./format.js";
import { $, narrow } from "./page.js";
import { channelRow } from "./view.js";

export class Sidebar {
  #onOpen;
  #isUnread = false;
  #invited = 0;

  /** `onOpen` gets the id of a channel that the user chooses. */
  constructor(onOpen) {
    this.#onOpen = onOpen;
    $("sidebar-open").addEventListener("click", () => this.toggle(true));
    $("sidebar-close").addEventListener("click", () => this.toggle(false));
    $("scrim").addEventListener("click", () => this.toggle(false));
    narrow.addEventListener("change", () => this.toggle(false));
    this.toggle(false);
  }

  get isOpen() {
    return $("chat").dataset.sidebar === "open";
  }

  toggle(open) {
    const wasOpen = this.isOpen;
    const shown = open && narrow.matches;
    $("chat").dataset.sidebar = shown ? "open" : "closed";
    $("sidebar").inert = narrow.matches && !shown;
    $("scrim").hidden = !shown;
    $("sidebar-open").setAttribute("aria-expanded", String(shown));
    if (shown) $("sidebar-close").focus();
    else if (wasOpen) $("sidebar-open").focus();
  }

  /**
   * Shows the channels in their order, with the open one among them. `active` is the open channel, `null` for none;
   * `unread` returns a channel's number of unread messages. `leftOut` is the number of channels whose messages are not
   * pushed to this page.
   */
  show({ channels: known, active, unread, leftOut, userId }) {
    const activeId = active?.channel_id;
    const isKnown = !active || known.some((channel) => channel.channel_id === activeId);
    const channels = isKnown ? known : [active, ...known];
    const onOpen = (channelId) => {
      this.toggle(false);
      this.#onOpen(channelId);
    };
    reconcile(
      $("channels"),
      channels.map((channel) => channelRow({ channel, active: channel.channel_id === activeId, unread: unread(channel), userId, onOpen })),
    );
    $("left-out").textContent = leftOutText(leftOut);
    $("left-out").hidden = leftOut === 0;
    this.#isUnread = channels.some((channel) => unread(channel) > 0);
    this.#mark();
  }

  /** Number of invitations, which the button of the list tells on a narrow screen. */
  set invited(count) {
    this.#invited = count;
    this.#mark();
  }

  #mark() {
    $("elsewhere").hidden = !this.#isUnread && this.#invited === 0;
  }
}
