// The present users of the open channel: a button in its header, and their list.

import { el, icon, reconcile } from "./dom.js";
import { avatar } from "./identity.js";
import { hereFirst, hereText } from "./roles.js";

/** Number of users that the button shows as pictures. */
const PICTURES = 3;

export class Presence {
  #client;
  #channelId = null;
  /** `true` once the users of the channel have been read. The client keeps them current from then on. */
  #isRead = false;
  #pictures = el("span", { class: "presence-pictures", "aria-hidden": "true" });
  #count = el("span", { class: "presence-count", "aria-hidden": "true" });
  #label = el("span", { class: "visually-hidden" });
  #list = el("ul", { class: "presence-list", "aria-label": "Present users" });
  #button = el(
    "button",
    { id: "presence-open", class: "presence-open", type: "button", "aria-expanded": "false", "aria-controls": "presence", onclick: () => this.toggle(!this.isOpen) },
    this.#pictures,
    icon("people"),
    this.#count,
    this.#label,
  );
  #panel;

  /** `onMembers` is called if the user wants to see all members. */
  constructor({ client, onMembers }) {
    this.#client = client;
    this.#panel = el(
      "section",
      { id: "presence", class: "presence-panel", "aria-label": "Present users", hidden: true },
      el("h2", { text: "Here now" }),
      this.#list,
      el("button", {
        class: "secondary",
        type: "button",
        onclick: () => {
          // The dialog gives the focus back to the element that has it.
          this.toggle(false);
          onMembers();
        },
        text: "All members",
      }),
    );
    this.element = el("div", { class: "presence" }, this.#button, this.#panel);
    this.element.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || !this.isOpen) return;
      event.stopPropagation();
      this.toggle(false);
    });
    document.addEventListener("pointerdown", ({ target }) => {
      if (this.isOpen && !this.element.contains(target)) this.#expand(false);
    });
    this.element.addEventListener("focusout", ({ relatedTarget }) => {
      if (relatedTarget && !this.element.contains(relatedTarget)) this.#expand(false);
    });
    client.on("presence", ({ channelId }) => channelId === this.#channelId && this.#show());
    client.on("state", ({ name }) => name === "live" && !this.#isRead && this.#read());
    this.#show();
  }

  get isOpen() {
    return !this.#panel.hidden;
  }

  /** Shows the present users of a channel once it is open; `null` for none. */
  show(channelId) {
    this.#channelId = channelId;
    this.#isRead = false;
    this.#expand(false);
    this.#show();
    this.#read();
  }

  /** Opens or closes the list. */
  toggle(open) {
    this.#expand(open);
    this.#button.focus();
  }

  #expand(open) {
    this.#panel.hidden = !open;
    this.#button.setAttribute("aria-expanded", String(open));
  }

  async #read() {
    const channelId = this.#channelId;
    if (!channelId) return;
    try {
      await this.#client.channel(channelId).loadPresence();
      if (this.#channelId === channelId) this.#isRead = true;
    } catch {
      // The next connection reads them.
    }
  }

  #show() {
    const { userId } = this.#client;
    const present = this.#channelId ? hereFirst(this.#client.channel(this.#channelId).present, userId) : [];
    const item = (user, render) => ({ key: user, version: "", render });
    const others = present.filter((user) => user !== userId);
    reconcile(this.#pictures, (others.length > 0 ? others : present).slice(0, PICTURES).map((user) => item(user, () => avatar(user))));
    reconcile(this.#list, present.map((user) => item(user, () => el("li", {}, avatar(user), el("span", { text: user === userId ? `${user} (you)` : user })))));
    this.#count.textContent = String(present.length);
    this.#label.textContent = hereText(present, userId);
    this.#button.title = hereText(present, userId);
    this.element.hidden = this.#channelId === null;
    this.element.dataset.count = String(present.length);
  }
}
