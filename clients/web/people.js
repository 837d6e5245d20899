// The parts of the page about channels and people: search, creation, settings, members, presence, invitations, archive.

import { Archived } from "./archived.js";
import { CreateDialog } from "./create.js";
import { el, icon } from "./dom.js";
import { Invitations } from "./invitations.js";
import { MembersDialog } from "./members.js";
import { $ } from "./page.js";
import { Presence } from "./presence.js";
import { Search } from "./search.js";
import { SettingsDialog } from "./settings.js";

/** Texts of a channel that the user has ended. */
const FAREWELLS = { left: "You have left this channel", deleted: "You have deleted this channel" };

export class People {
  #directory;
  #channelId = null;
  /** The channels that the user leaves (`left`) or deletes (`deleted`). */
  #ended = new Map();
  #search;
  #archived;
  #invitations;
  #presence;
  #members;
  #settings;
  #settingsButton;

  /** `open` opens a channel by its id, with `{ name }`. */
  constructor({ client, directory, sidebar, open }) {
    this.#directory = directory;
    const openFromSidebar = (channelId, options) => {
      sidebar.toggle(false);
      open(channelId, options);
    };
    const create = new CreateDialog({ directory, onCreated: ({ channel_id: id, name }) => openFromSidebar(id, { name }) });
    this.#members = new MembersDialog({ client, directory });
    this.#settings = new SettingsDialog({
      directory,
      onEnd: (channelId, kind) => (kind ? this.#ended.set(channelId, kind) : this.#ended.delete(channelId)),
      onArchived: () => this.#archived.load(),
    });
    this.#presence = new Presence({ client, onMembers: () => this.#members.open(this.#channelId) });
    this.#search = new Search({
      directory,
      onOpen: openFromSidebar,
      onCreate: (name) => create.open(name),
      show: () => sidebar.toggle(true),
    });
    this.#archived = new Archived({ directory, userId: client.userId, onOpen: openFromSidebar });
    this.#invitations = new Invitations({
      directory,
      onChange: (count) => (sidebar.invited = count),
      onAccepted: ({ channel_id: id, name }) => openFromSidebar(id, { name }),
    });
    this.#settingsButton = el(
      "button",
      { id: "settings-open", class: "icon-button", type: "button", "aria-label": "Settings of this channel", title: "Settings", onclick: () => this.#settings.open(this.#channelId) },
      icon("settings"),
    );
    $("channel-tools").append(this.#presence.element, this.#settingsButton);
    $("create-open").addEventListener("click", () => create.open());
    client.on("state", ({ name }) => name === "live" && this.#invitations.load());
    client.on("removed", ({ channelId }) => this.#archived.forget(channelId));
    addEventListener("focus", () => this.#invitations.load());
    $("sidebar-open").addEventListener("click", () => this.#invitations.load());
    this.show(null);
  }

  /** Follows the open channel: its id while the user can use it, `null` otherwise. */
  show(channelId) {
    this.#channelId = channelId;
    // The user may join it again.
    this.#ended.delete(channelId);
    this.#presence.show(channelId);
    this.refresh();
  }

  /** Shows later channels and settings. */
  refresh() {
    this.#settingsButton.hidden = !this.#directory.get(this.#channelId);
    this.#search.refresh();
    this.#archived.refresh(this.#channelId);
    this.#settings.refresh();
    this.#members.refresh();
  }

  /** Returns the text for the end of a channel that the user has ended; `undefined` if others have ended it. */
  farewell(channelId) {
    return FAREWELLS[this.#ended.get(channelId)];
  }
}
